"""Signing up over HTTP."""

from typing import Any

from flask import Response, make_response, render_template

from app.auth.registration import service
from app.auth.registration.errors import LinkUnusable, PasswordNeeded
from app.auth.registration.schemas import AddressIn, MessageOut, RegistrationIn, TokenIn
from app.core.http import API_PREFIX, Blueprint
from app.core.security import public
from app.unit_of_work import UnitOfWork

blp = Blueprint("registration", __name__, url_prefix=f"{API_PREFIX}/auth", description="Signing up")
# The page behind the mailed link; not part of the API.
pages = Blueprint("registration-pages", __name__)

NEXT_STEP = "If the address can be used, a mail is on its way to it. Follow the link in it."


@blp.route("/register", methods=["POST"])
@public
@blp.arguments(RegistrationIn)
@blp.response(202, MessageOut)
def register(body: dict[str, Any]) -> dict[str, str]:
    """Sign up.

    The answer is the same whether or not the address is known already; its owner gets a mail in either case.
    """
    email, password = body.pop("email"), body.pop("password")
    del body["password_confirm"], body["accept_terms"]
    service.register(UnitOfWork(everybody=True), email=email, password=password, profile=body)
    return {"message": NEXT_STEP}


@blp.route("/email/verify", methods=["POST"])
@public
@blp.arguments(TokenIn)
@blp.response(200, MessageOut)
@blp.refuses(LinkUnusable, PasswordNeeded)
def verify_email(body: dict[str, Any]) -> dict[str, str]:
    """Confirm an e-mail address with the token of the mailed link, once."""
    service.verify_email(UnitOfWork(everybody=True), **body)
    return {"message": "The address is confirmed. You can log in now."}


@blp.route("/email/resend", methods=["POST"])
@public
@blp.arguments(AddressIn)
@blp.response(202, MessageOut)
def resend_link(body: dict[str, Any]) -> dict[str, str]:
    """Send the link of a registration again; the answer is the same for every address."""
    service.resend_link(UnitOfWork(everybody=True), email=body["email"])
    return {"message": NEXT_STEP}


@pages.route("/verify-email", methods=["GET"])
@public
def verify_page() -> Response:
    """Show a button that sends the link's token. Reading the page changes nothing: mail scanners follow links."""
    page = make_response(render_template("pages/verify_email.html"))
    page.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return page
