"""The one normal form of an e-mail address, everywhere that addresses are kept or compared."""

import unicodedata

from email_validator import EmailNotValidError, validate_email

from app.people.models import LONGEST_EMAIL


def normal_form(address: str) -> str:
    """Lower case, composed Unicode (NFC), the domain in its Unicode form and without a dot at its end.

    `Anna@Example.ORG.`, `anna@example.org` and `anna@EXAMPLE.org` are one address, and so are an
    internationalised domain and its `xn--` form. Raises ValueError, with a reason for the person.
    """
    cleaned = unicodedata.normalize("NFC", address.strip()).removesuffix(".")
    try:
        checked = validate_email(cleaned, check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error
    found = unicodedata.normalize("NFC", checked.normalized.lower())
    if len(found.encode()) > LONGEST_EMAIL:
        raise ValueError(f"The address is longer than {LONGEST_EMAIL} bytes.")
    return found
