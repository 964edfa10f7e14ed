"""What can go wrong with transactions."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.db_errors import refused_by
from app.core.errors import Conflict, Invalid, NotFound


class TransactionNotFound(NotFound):
    """No such transaction, or not one of this person's."""

    code = "transaction_not_found"
    title = "There is no such transaction"


class TransferNotFound(NotFound):
    """No such transfer, or not one of this person's."""

    code = "transfer_not_found"
    title = "There is no such transfer"


@refused_by("fk_transactions_category_id", "fk_transactions_category_owner")
class CategoryUnusable(NotFound):
    """No such category for this person's transactions; the system's and their own are."""

    code = "category_unusable"
    title = "There is no such category"


@refused_by("uq_transactions_external_id")
class ExternalIdTaken(Conflict):
    """The account has a live transaction with this id of the bank."""

    code = "external_id_taken"
    title = "The account has this transaction already"
    detail = "The bank's id of a transaction is unique within its account."


class PartOfTransfer(Conflict):
    """Half of a transfer cannot change alone."""

    code = "part_of_transfer"
    title = "The transaction is one side of a transfer"
    detail = "Change the transfer: both sides change together."


class CurrencyDiffers(Invalid):
    """A transaction was to move to an account of another currency as it is."""

    code = "currency_differs"
    title = "The account has another currency"
    detail = "Send the amount in the currency of the new account, too."


class TransferInvalid(Invalid):
    """Two sides that make no transfer."""

    code = "invalid_transfer"
    title = "The two sides make no transfer"


class BulkRejected(Invalid):
    """Some rows of a bulk insert are not valid, and none was kept; `rejected` has them all."""

    code = "bulk_rejected"
    title = "Some rows are not valid, and none was kept"
    detail = "Correct the rows named in `errors`, or send `partial=true` to keep the others."

    def __init__(self, rejected: Sequence[Any], *, errors: Mapping[str, Any]) -> None:
        super().__init__(errors=errors)
        self.rejected = rejected
