"""Shapes of signing in."""

import marshmallow as ma

from app.auth.passwords.service import LONGEST
from app.core.http import Flag, Schema
from app.people.models import LONGEST_EMAIL

_ANY_PASSWORD = ma.validate.Length(min=1, max=4 * LONGEST)
_ANY_ADDRESS = ma.validate.Length(min=1, max=LONGEST_EMAIL)


class LoginIn(Schema):
    """Who signs in. A malformed address is not told apart from an unknown one."""

    email = ma.fields.String(required=True, validate=_ANY_ADDRESS, metadata={"example": "anna@example.org"})
    password = ma.fields.String(required=True, validate=_ANY_PASSWORD, metadata={"format": "password"})
    remember_me = Flag(
        load_default=True,
        metadata={"description": "`false` ends the session after a day at the latest"},
    )


class PasswordGrantIn(Schema):
    """The resource owner password credentials grant (RFC 6749, 4.3)."""

    grant_type = ma.fields.String(required=True, metadata={"example": "password", "enum": ["password"]})
    username = ma.fields.String(required=True, validate=_ANY_ADDRESS)
    password = ma.fields.String(required=True, validate=_ANY_PASSWORD, metadata={"format": "password"})
    scope = ma.fields.String(metadata={"description": "Ignored: a session may do what its person may do"})
    client_id = ma.fields.String(metadata={"description": "Ignored"})
    client_secret = ma.fields.String(metadata={"description": "Ignored"})


class OAuthErrorOut(ma.Schema):
    """A refusal in the form of RFC 6749, 5.2."""

    error = ma.fields.String(
        required=True, metadata={"enum": ["invalid_request", "invalid_grant", "unsupported_grant_type"]}
    )
    error_description = ma.fields.String(required=True)


class RefreshIn(Schema):
    """The refresh token, unless it is sent as bearer."""

    refresh_token = ma.fields.String(validate=ma.validate.Length(min=1, max=4096))


class LogoutIn(Schema):
    """How far the logout goes."""

    all_devices = Flag(load_default=False)


class GrantOut(Schema):
    """A pair of tokens."""

    access_token = ma.fields.String(required=True)
    refresh_token = ma.fields.String(
        required=True, metadata={"description": "Works once; the answer to it has the next"}
    )
    token_type = ma.fields.String(required=True, metadata={"example": "bearer"})
    expires_in = ma.fields.Integer(required=True, metadata={"description": "Seconds that the access token lives"})
    refresh_expires_in = ma.fields.Integer(
        required=True, metadata={"description": "Seconds that the refresh token lives"}
    )
    session_id = ma.fields.UUID(required=True)
