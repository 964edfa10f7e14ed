"""What can go wrong with people."""

from app.core.db_errors import refused_by
from app.core.errors import Conflict, NotFound


class PersonNotFound(NotFound):
    """No such person."""

    code = "person_not_found"
    title = "There is no such person"


@refused_by("uq_users_address")
class AddressTaken(Conflict):
    """Only administrators on the command line ever hear this."""

    code = "address_taken"
    title = "Somebody has this e-mail address already"
    detail = "Choose another address."
