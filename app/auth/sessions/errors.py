"""What can go wrong when somebody signs in or stays signed in."""

from app.core.errors import Unauthenticated


class InvalidCredentials(Unauthenticated):
    """Unknown address, wrong password, an account that is closed or not verified: one answer for all."""

    code = "invalid_credentials"
    title = "The e-mail address or the password is wrong"
    detail = "Check both. If you signed up just now, follow the link in the mail first."


class RefreshTokenInvalid(Unauthenticated):
    """Not a refresh token of ours, expired, or of a session that has ended."""

    code = "invalid_refresh_token"
    title = "The refresh token is not valid"
    detail = "Log in again."


class RefreshTokenReused(Unauthenticated):
    """A token that was spent came back: somebody has a copy. The session was ended."""

    code = "refresh_token_reused"
    title = "The refresh token was used before"
    detail = "The session was ended, since a copy of the token may be in other hands. Log in again."
