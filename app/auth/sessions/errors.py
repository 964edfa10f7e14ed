"""What can go wrong when somebody signs in or stays signed in."""

from app.core.errors import Forbidden, Unauthenticated


class InvalidCredentials(Unauthenticated):
    """Unknown address, wrong password, an account that is closed: one answer for all."""

    code = "invalid_credentials"
    title = "The e-mail address or the password is wrong"
    detail = "Check both. A forgotten password can be reset."


class EmailNotVerified(Forbidden):
    """Only who gave the right password is told."""

    code = "email_not_verified"
    title = "The e-mail address is not verified yet"
    detail = "Follow the link in the mail, or ask for another with POST /api/v1/auth/email/resend."


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
