"""What can go wrong with money itself."""

from app.core.errors import Invalid


class AmountInvalid(Invalid):
    """No amount of money in its currency."""

    code = "invalid_amount"
    title = "The amount is not valid"
    detail = "Send a decimal string with at most twelve digits, and no more decimals than the currency has."


class CurrencyUnknown(Invalid):
    """No currency that money can be counted in."""

    code = "unknown_currency"
    title = "There is no such currency"
    detail = "Send a three-letter code of ISO 4217, such as EUR."


class FieldsInvalid(Invalid):
    """Fields of an account or a transaction that break a rule; `errors` names them."""

    code = "invalid_fields"
    title = "Some fields of the row are not valid"
