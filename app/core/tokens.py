"""Signed tokens (JWT, RFC 7519 and RFC 8725): one place that signs them and one that reads them.

The algorithm and the keys come from the configuration and never from the token. A key has an id; tokens
that an older key signed stay good while that key stays in the list. Every kind of token has a `typ` and a
`type` of its own, and is refused wherever another kind is expected.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.core.config import ConfigurationError, SecretSettings
from app.core.crypto import derive

LEEWAY_SECONDS = 5
LONGEST_TOKEN = 4096
AUDIENCE = "coffer"
REQUIRED = ("iss", "aud", "exp", "nbf", "iat", "sub", "jti", "sid", "type", "scope")


class TokenKind(StrEnum):
    """What a token is for."""

    ACCESS = "access"
    REFRESH = "refresh"

    @property
    def header_type(self) -> str:
        """The JOSE `typ`; for access tokens that of RFC 9068."""
        return {"access": "at+jwt", "refresh": "rt+jwt"}[self.value]


class TokenRefused(Exception):
    """Not a token of ours, or not one of this kind."""


class TokenExpired(TokenRefused):
    """It was one, and its time is over."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, once it is known to be ours."""

    kind: TokenKind
    subject: UUID
    session_id: UUID
    token_id: UUID
    issued_at: datetime
    expires_at: datetime
    scope: str = ""


@dataclass(frozen=True, slots=True)
class _Key:
    key_id: str
    signing: Any
    verifying: Any


class TokenSigner:
    """Signs with the newest key, reads with any that is in the list."""

    def __init__(self, settings: SecretSettings, *, issuer: str) -> None:
        self._issuer = issuer
        self._algorithm = settings.jwt_algorithm
        keys = [_load_key(settings.jwt_algorithm, one) for one in settings.jwt_keys]
        if not keys:
            derived = derive(settings.secret_key, "jwt")
            keys = [_Key(derive(settings.secret_key, "jwt-key-id").hex()[:8], derived, derived)]
        self._newest = keys[0]
        self._keys = {key.key_id: key for key in keys}

    def sign(self, claims: Claims) -> str:
        """The compact form. Equal claims give equal tokens (except under ES256, whose signatures are random)."""
        payload = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(claims.subject),
            "sid": str(claims.session_id),
            "jti": str(claims.token_id),
            "type": claims.kind.value,
            "scope": claims.scope,
            "iat": int(claims.issued_at.timestamp()),
            "nbf": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
        }
        headers = {"kid": self._newest.key_id, "typ": claims.kind.header_type}
        return jwt.encode(payload, self._newest.signing, self._algorithm, headers=headers)

    def read(self, token: str, kind: TokenKind) -> dict[str, Any]:
        """The claims of a token of this kind.

        Raises TokenExpired when only its time is over, TokenRefused for everything else.
        """
        try:
            if len(token) > LONGEST_TOKEN or not token.isascii():
                raise TokenRefused("not the size or the alphabet of a token")
            key = self._key_for(jwt.get_unverified_header(token), kind)
            payload: dict[str, Any] = jwt.decode(
                token,
                key.verifying,
                algorithms=[self._algorithm],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": list(REQUIRED), "strict_aud": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired(str(error)) from error
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise TokenRefused(str(error)) from error
        if payload["type"] != kind.value:
            raise TokenRefused("another kind of token")
        return payload

    def read_claims(self, token: str, kind: TokenKind) -> Claims:
        """As `read`, with ids and times of their own types."""
        return as_claims(self.read(token, kind))

    def _key_for(self, header: Mapping[str, Any], kind: TokenKind) -> _Key:
        if header.get("typ") != kind.header_type or header.get("alg") != self._algorithm:
            raise TokenRefused("another kind of token, or another algorithm")
        if set(header) != {"alg", "typ", "kid"}:
            raise TokenRefused("header parameters that our tokens do not have")
        key_id = header["kid"]
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise TokenRefused("unknown key")
        return self._keys[key_id]


def as_claims(payload: Mapping[str, Any]) -> Claims:
    """The claims of a payload that `read` returned. Raises TokenRefused when an id is none."""
    try:
        return Claims(
            kind=TokenKind(payload["type"]),
            subject=UUID(payload["sub"]),
            session_id=UUID(payload["sid"]),
            token_id=UUID(payload["jti"]),
            issued_at=datetime.fromtimestamp(payload["iat"]).astimezone(),
            expires_at=datetime.fromtimestamp(payload["exp"]).astimezone(),
            scope=payload["scope"],
        )
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise TokenRefused(str(error)) from error


def _load_key(algorithm: str, configured: str) -> _Key:
    key_id, _, held = configured.partition(":")
    if algorithm == "HS256":
        return _Key(key_id, held.encode(), held.encode())
    try:
        private = load_pem_private_key(base64.b64decode(held, validate=True), password=None)
        public = private.public_key()
        # Signing once proves that key and algorithm fit, before anything is served.
        jwt.decode(jwt.encode({}, private, algorithm), public, algorithms=[algorithm])  # type: ignore[arg-type]
    except (ValueError, TypeError, binascii.Error, jwt.PyJWTError) as error:
        raise ConfigurationError(
            f"JWT_KEYS holds a key {key_id!r} that does not fit {algorithm}; it takes the base64 of a PEM private key"
        ) from error
    return _Key(key_id, private, public)
