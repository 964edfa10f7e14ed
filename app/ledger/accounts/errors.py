"""What can go wrong with accounts."""

from app.core.errors import Conflict, NotFound


class AccountNotFound(NotFound):
    """No such account, or not one of this person's."""

    code = "account_not_found"
    title = "There is no such account"


class BalanceOutOfRange(Conflict):
    """A balance would have more than sixteen digits before the point."""

    code = "balance_out_of_range"
    title = "The balance would become too large"
    detail = "Check the amount."
