"""Signing in, refreshing and leaving over HTTP."""

from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, request

from app.auth.sessions import service
from app.auth.sessions.errors import (
    InvalidCredentials,
    RefreshTokenInvalid,
    RefreshTokenReused,
)
from app.auth.sessions.schemas import GrantOut, LoginIn, LogoutIn, OAuthErrorOut, PasswordGrantIn, RefreshIn
from app.core.errors import CofferError, Invalid
from app.core.http import API_PREFIX, Blueprint, parse_body
from app.core.security import caller, public, requires
from app.unit_of_work import UnitOfWork

blp = Blueprint("sessions", __name__, url_prefix=f"{API_PREFIX}/auth", description="Signing in and out")

FORM = "application/x-www-form-urlencoded"


@blp.route("/login", methods=["POST"])
@public
@blp.doc(
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": LoginIn}, FORM: {"schema": PasswordGrantIn}},
    }
)
@blp.response(200, GrantOut)
@blp.alt_response(400, schema=OAuthErrorOut, description="The form was sent, and refused as RFC 6749 says")
@blp.refuses(InvalidCredentials)
def log_in() -> Response | dict[str, Any] | service.Grant:
    """Sign in.

    Send JSON, or the form of the OAuth2 password grant (RFC 6749, 4.3), whose refusals then have the form of that
    standard. Every reason not to let somebody in has the same answer, an address that is not confirmed yet included.
    """
    if request.mimetype == FORM:
        return _password_grant()
    return service.log_in(UnitOfWork(everybody=True), **parse_body(LoginIn))


def _password_grant() -> Response:
    if request.form.getlist("grant_type") not in ([], ["password"]):
        return _oauth_error("unsupported_grant_type", "Only `password` is taken here.")
    try:
        form = parse_body(PasswordGrantIn, "form")
    except CofferError as error:
        return _oauth_error("invalid_request", error.detail)
    except Exception as error:
        if getattr(error, "code", None) != Invalid.status:
            raise
        return _oauth_error("invalid_request", "Send grant_type, username and password, each once.")
    try:
        grant = service.log_in(UnitOfWork(everybody=True), email=form["username"], password=form["password"])
    except InvalidCredentials as error:
        return _oauth_error("invalid_grant", f"{error.title}. {error.detail}")
    answer = jsonify(GrantOut().dump(grant))
    answer.headers["Pragma"] = "no-cache"
    return answer


def _oauth_error(error: str, description: str) -> Response:
    answer = jsonify(OAuthErrorOut().dump({"error": error, "error_description": description}))
    answer.status_code = HTTPStatus.BAD_REQUEST
    return answer


@blp.route("/refresh", methods=["POST"])
@public
@blp.arguments(RefreshIn, required=False)
@blp.response(200, GrantOut)
@blp.refuses(RefreshTokenInvalid, RefreshTokenReused)
def refresh(body: dict[str, Any]) -> service.Grant:
    """Trade a refresh token, in the body or as bearer, for the next pair.

    It works once. Sent again within 10 seconds it gets the same pair, so that two tabs or a lost answer do no harm;
    sent again later, it ends the session, since somebody has a copy.
    """
    token = body.get("refresh_token") or _bearer()
    if not token:
        raise Invalid(errors={"refresh_token": ["Missing data for required field."]})
    return service.refresh(UnitOfWork(everybody=True), refresh_token=token)


def _bearer() -> str | None:
    given = request.authorization
    return given.token if given is not None and given.type == "bearer" else None


@blp.route("/logout", methods=["POST"])
@requires("sessions:write")
@blp.arguments(LogoutIn, required=False)
@blp.response(204)
def log_out(body: dict[str, Any]) -> None:
    """End this session, or with `all_devices` every session of the person."""
    service.log_out(UnitOfWork(), user_id=caller().id, session_id=caller().session_id, **body)
