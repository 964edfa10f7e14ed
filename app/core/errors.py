"""What can go wrong, and the one way in which a client hears of it (RFC 9457).

A feature's `errors.py` subclasses the family below; each class is one stable code. The family knows the
status. What is shown (`title`, `detail`, `errors`) is apart from what is logged (the chained exception).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from flask import Flask, Response, json, request
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.core import origin

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5


class CofferError(Exception):
    """A refusal that a client may see. `detail` says what to do next."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong"
    detail: str = "The error was logged. Quote the request id when you report it."

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail
        self.errors = errors
        self.headers = dict(headers or {})


class Malformed(CofferError):
    """The request cannot be read at all."""

    status = 400
    code = "malformed_request"
    title = "The request cannot be read"
    detail = "Send a body that is well-formed JSON."


class Unauthenticated(CofferError):
    """Nobody, or nobody any more, is behind the request."""

    status = 401
    code = "authentication_required"
    title = "Authentication is required"
    detail = "Send `Authorization: Bearer` with an access token from POST /api/v1/auth/login."

    # As RFC 6750, 3.1 names it; nothing when no token was sent.
    bearer_error: ClassVar[str | None] = None

    def __init__(self, detail: str | None = None, **kwargs: Any) -> None:
        super().__init__(detail, **kwargs)
        error = f', error="{self.bearer_error}"' if self.bearer_error else ""
        self.headers.setdefault("WWW-Authenticate", f'Bearer realm="coffer"{error}')


class Forbidden(CofferError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"
    title = "You may not do this"
    detail = "Ask an administrator for the permission."


class NotFound(CofferError):
    """No such thing, or not one that the caller may know of."""

    status = 404
    code = "not_found"
    title = "There is no such thing"
    detail = "Check the address and the id in it."


class Conflict(CofferError):
    """The state of things forbids it."""

    status = 409
    code = "conflict"
    title = "This conflicts with what is there"
    detail = "Read the resource again and decide."


class Stale(CofferError):
    """Somebody changed it since the caller read it."""

    status = 412
    code = "stale"
    title = "It was changed in the meantime"
    detail = "Read the resource again and repeat the change with its new ETag in If-Match."


class Invalid(CofferError):
    """The request was read and breaks a rule; `errors` names the fields."""

    status = 422
    code = "invalid"
    title = "Some fields are not valid"
    detail = "Correct the fields named in `errors`."


class TooMany(CofferError):
    """Too often, for now."""

    status = 429
    code = "too_many_requests"
    title = "Too many requests"
    detail = "Wait for the seconds in Retry-After."


class Unavailable(CofferError):
    """A part that Coffer needs does not answer; trying again is right."""

    status = 503
    code = "unavailable"
    title = "Coffer cannot answer now"
    detail = "Try again after the seconds in Retry-After."

    def __init__(self, detail: str | None = None, **kwargs: Any) -> None:
        super().__init__(detail, **kwargs)
        self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))


# What werkzeug itself refuses, in the same words: status to code, title and advice.
HTTP_CODES: dict[int, tuple[str, str, str]] = {
    400: (Malformed.code, Malformed.title, "Check the syntax of the request."),
    404: (NotFound.code, NotFound.title, NotFound.detail),
    405: ("method_not_allowed", "This method is not allowed here", "The Allow header lists those that are."),
    406: ("not_acceptable", "No such representation", "Accept application/json."),
    413: ("body_too_large", "The body is too large", "Send less at once."),
    414: ("address_too_long", "The address is too long", "Shorten the query."),
    415: ("unsupported_media_type", "This media type is not taken", "Send Content-Type: application/json."),
    431: ("headers_too_large", "The headers are too large", "Send fewer or shorter headers."),
}


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    errors: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer in the form of RFC 9457."""
    body: dict[str, Any] = {
        "type": f"urn:coffer:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": origin.current().request_id,
    }
    if errors is not None:
        body["errors"] = errors
    return Response(json.dumps(body), status, headers, content_type=PROBLEM_TYPE)


def register_error_handlers(app: Flask) -> None:
    """Let every refusal of the app leave through this file."""
    app.register_error_handler(CofferError, _refused)
    app.register_error_handler(HTTPException, handle_http_exception)
    for lost in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(lost, _database_lost)
    app.register_error_handler(Exception, _unexpected)


def _refused(error: CofferError) -> Response:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request_failed", code=error.code, exc_info=error)
    return problem(error.status, error.code, error.title, error.detail, errors=error.errors, headers=error.headers)


def handle_http_exception(error: HTTPException) -> Response:
    """Give what Flask, werkzeug or webargs refused the form of our own refusals."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if error.response is not None and status < HTTPStatus.BAD_REQUEST:
        return error.response  # type: ignore[return-value]  # a redirect of the routing
    data = getattr(error, "data", None) or {}
    if status == Invalid.status:
        return problem(status, Invalid.code, Invalid.title, Invalid.detail, errors=_by_field(data.get("messages", {})))
    fallback = (
        f"http_{status}",
        HTTPStatus(status).phrase,
        HTTPStatus(status).description or "See the status.",
    )
    code, title, detail = HTTP_CODES.get(status, fallback)
    kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    return problem(status, code, title, detail, headers=kept)


def _by_field(messages: Mapping[str, Any]) -> Mapping[str, Any]:
    """Drop webargs' outer level, which names the place (`json`, `query`) and not a field."""
    if len(messages) == 1:
        ((place, inner),) = messages.items()
        if place in {"json", "query", "form", "json_or_form"} and isinstance(inner, Mapping):
            return inner
    return messages


def _database_lost(error: DBAPIError | PoolTimeout) -> Response:
    log.warning("database_unavailable", error=type(error).__name__, path=request.path)
    return _refused_quietly(Unavailable())


def _refused_quietly(error: CofferError) -> Response:
    return problem(error.status, error.code, error.title, error.detail, headers=error.headers)


def _unexpected(error: Exception) -> Response:
    log.error("unexpected_error", path=request.path, exc_info=error)
    return _refused_quietly(CofferError())
