"""Who is calling, and what they may do.

Who the caller is, only the feature that keeps sessions can say: it hands a loader over in `create_app`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from flask import Flask, g, request
from flask_jwt_extended import JWTManager, get_current_user, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException, NoAuthorizationError
from jwt import PyJWTError

from app.core import origin
from app.core.errors import Forbidden, Unauthenticated
from app.core.tokens import Claims, TokenExpired, TokenKind, TokenRefused, TokenSigner, as_claims

Args = ParamSpec("Args")
Answer = TypeVar("Answer")


class TokenInvalid(Unauthenticated):
    """The token is not one of ours, or its session has ended."""

    code = "invalid_token"
    bearer_error = "invalid_token"
    title = "The token is not valid"
    detail = "Log in again, or refresh with POST /api/v1/auth/refresh."


class TokenOutdated(Unauthenticated):
    """The access token's time is over; its session may live on."""

    code = "token_expired"
    bearer_error = "invalid_token"
    title = "The access token has expired"
    detail = "Get a new one with POST /api/v1/auth/refresh."


class PermissionMissing(Forbidden):
    """The caller is known and lacks a permission."""

    code = "permission_missing"
    title = "A permission is missing"


@dataclass(frozen=True, slots=True)
class Caller:
    """The person behind the request, as the database knows them at this moment."""

    id: UUID
    session_id: UUID
    permissions: frozenset[str]


CallerLoader = Callable[[Claims], Caller | None]


class StrictJWTManager(JWTManager):
    """flask-jwt-extended finds the token in the request; what makes it valid is decided in `app.core.tokens`.

    Its own decoding takes tokens without `exp`, `jti` or `type`, so that step is replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self._signer: TokenSigner | None = None

    def init(self, app: Flask, signer: TokenSigner, load_caller: CallerLoader) -> None:
        """Bind to an application."""
        self._signer = signer
        self.init_app(app)
        self.user_lookup_loader(lambda _header, payload: load_caller(as_claims(payload)))

    def _decode_jwt_from_config(self, encoded_token: str, *_: object, **__: object) -> dict[str, Any]:
        if self._signer is None:
            raise RuntimeError("init was not called")
        return self._signer.read(encoded_token, TokenKind.ACCESS)


def requires(permission: str) -> Callable[[Callable[Args, Answer]], Callable[Args, Answer]]:
    """Let only people with this permission in; `caller()` says who it is."""

    def decorate(view: Callable[Args, Answer]) -> Callable[Args, Answer]:
        @wraps(view)
        def guarded(*args: Args.args, **kwargs: Args.kwargs) -> Answer:
            _authenticate()
            if permission not in caller().permissions:
                raise PermissionMissing(f"This takes the permission `{permission}`.")
            return view(*args, **kwargs)

        return _marked(guarded, permission)

    return decorate


def public(view: Callable[Args, Answer]) -> Callable[Args, Answer]:
    """Say that anybody may call this: every route says who may."""
    return _marked(view, None)


def _marked(view: Callable[Args, Answer], permission: str | None) -> Callable[Args, Answer]:
    """Note who may call, for the OpenAPI page and for the tests of the whole."""
    vars(view)["_apidoc"] = {**getattr(view, "_apidoc", {}), "requires": permission}
    return view


def caller() -> Caller:
    """The person behind this request; only inside a view that `requires` something."""
    found: Caller = g.caller
    return found


def _authenticate() -> None:
    # The scheme's case does not matter (RFC 9110, 11.1); flask-jwt-extended knows one form of it.
    given = request.authorization
    if given is not None and given.type == "bearer" and given.token:
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {given.token}"
    try:
        verify_jwt_in_request()
    except TokenExpired as error:
        raise TokenOutdated from error
    except (TokenRefused, PyJWTError) as error:
        raise TokenInvalid from error
    except JWTExtendedException as error:
        raise _missing_or_invalid(error) from error
    g.caller = get_current_user()
    origin.act_as(g.caller.id)


def _missing_or_invalid(error: JWTExtendedException) -> Unauthenticated:
    return Unauthenticated() if isinstance(error, NoAuthorizationError) else TokenInvalid()
