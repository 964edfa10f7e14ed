"""Shapes of signing up."""

from typing import Any

import marshmallow as ma

from app.auth.passwords.service import LONGEST, weaknesses
from app.core.http import Flag, Schema
from app.people.schemas import EmailField, ProfileFields

LONGEST_TOKEN = 100


class PasswordField(ma.fields.String):
    """A password; its strength is judged together with what is known of the person."""

    def __init__(self, **kwargs: Any) -> None:
        # The bound is on the text as sent; composing it (NFC) can only make it shorter.
        kwargs.setdefault("validate", ma.validate.Length(min=1, max=4 * LONGEST))
        kwargs.setdefault("metadata", {"format": "password", "example": "correct horse battery staple"})
        super().__init__(load_only=True, **kwargs)


class RegistrationIn(ProfileFields):
    """A person who wants an account."""

    email = EmailField(required=True)
    password = PasswordField(required=True)
    password_confirm = PasswordField(
        required=True, metadata={"format": "password", "description": "The password again"}
    )
    accept_terms = Flag(required=True, validate=ma.validate.OneOf([True], error="The terms must be accepted."))

    @ma.validates_schema
    def _check_password(self, data: dict[str, Any], **_: Any) -> None:
        if data["password"] != data["password_confirm"]:
            raise ma.ValidationError("Must be the same as password.", "password_confirm")
        about = [data["email"], data.get("first_name") or "", data.get("last_name") or ""]
        if reasons := weaknesses(data["password"], about=about):
            raise ma.ValidationError(reasons, "password")


class MessageOut(Schema):
    """What happens next."""

    message = ma.fields.String(required=True, metadata={"example": "Look into your mailbox."})


class TokenIn(Schema):
    """The token of a mailed link."""

    token = ma.fields.String(required=True, validate=ma.validate.Length(min=1, max=LONGEST_TOKEN))
    password = PasswordField(
        metadata={"format": "password", "description": "Only when the answer was `password_needed`"}
    )


class AddressIn(Schema):
    """An address that a mail is wanted for."""

    email = EmailField(required=True)
