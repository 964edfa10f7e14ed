"""Shapes of the profile, and the fields that other features share."""

import re
import unicodedata
import zoneinfo
from collections.abc import Callable
from functools import cache
from typing import Any

import marshmallow as ma

from app.core.http import Schema
from app.people.email_address import normal_form
from app.people.models import LONGEST_EMAIL, UserRole, UserTier

LONGEST_NAME = 100
# As JSON Schema writes them (ECMA 262); `_matching` applies them to the whole text.
_E164 = r"^\+[1-9][0-9]{6,14}$"
# The common forms of BCP 47: language, script, region.
_LANGUAGE = r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$"
# They turn the text around them about.
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class EmailField(ma.fields.String):
    """An address; the value is its normal form."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("validate", ma.validate.Length(min=3, max=LONGEST_EMAIL))
        kwargs.setdefault("metadata", {"format": "email", "example": "anna@example.org"})
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        given: str = super()._deserialize(value, attr, data, **kwargs)
        if len(given) > LONGEST_EMAIL:
            raise ma.ValidationError(f"Longer than {LONGEST_EMAIL} characters.")
        try:
            return normal_form(given)
        except ValueError as error:
            raise ma.ValidationError(str(error)) from error


class NameField(ma.fields.String):
    """A name as people write it: one line, in composed Unicode, without spaces around it."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("allow_none", True)
        kwargs.setdefault("validate", ma.validate.Length(min=1, max=LONGEST_NAME))
        kwargs.setdefault("metadata", {"example": "Zoë"})
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = unicodedata.normalize("NFC", super()._deserialize(value, attr, data, **kwargs)).strip()
        kinds = {unicodedata.category(char) for char in name}
        if kinds & {"Cc", "Cs", "Cn", "Co", "Zl", "Zp"} or _BIDI & set(name):
            raise ma.ValidationError("Must be one line without control characters.")
        if name and not any(kind[0] in "LN" for kind in kinds):
            raise ma.ValidationError("Must have a letter or a digit.")
        return name


def _matching(pattern: str, advice: str) -> Callable[[str], None]:
    whole = re.compile(pattern.removeprefix("^").removesuffix("$"))

    def check(value: str) -> None:
        if whole.fullmatch(value) is None:
            raise ma.ValidationError(advice)

    return check


@cache
def _timezones() -> set[str]:
    return zoneinfo.available_timezones()


def _check_timezone(value: str) -> None:
    if value not in _timezones():
        raise ma.ValidationError("Must be a name of the IANA time zone database, such as Europe/Berlin.")


class ProfileFields(Schema):
    """What a person may say of themselves."""

    first_name = NameField()
    last_name = NameField()
    phone = ma.fields.String(
        allow_none=True,
        validate=_matching(_E164, "Must be in E.164 form, such as +4930123456."),
        metadata={"example": "+4930123456", "pattern": _E164},
    )
    timezone = ma.fields.String(validate=_check_timezone, metadata={"example": "Europe/Berlin"})
    language = ma.fields.String(
        validate=_matching(_LANGUAGE, "Must be a language tag (BCP 47), such as en or pt-BR."),
        metadata={"example": "en", "pattern": _LANGUAGE},
    )


class ProfilePatch(ProfileFields):
    """Fields to change; those left out stay."""


class ProfileOut(ProfileFields):
    """A person's profile."""

    id = ma.fields.UUID(required=True)
    email = ma.fields.String(required=True, metadata={"format": "email"})
    email_verified = ma.fields.Boolean(required=True)
    role = ma.fields.Enum(UserRole, by_value=True, required=True)
    tier = ma.fields.Enum(UserTier, by_value=True, required=True)
    avatar_url = ma.fields.String(required=True, allow_none=True, attribute="avatar_key")
    mfa_enabled = ma.fields.Boolean(required=True)
    created_at = ma.fields.AwareDateTime(required=True, metadata={"format": "date-time"})
