"""What can go wrong when somebody signs up."""

from app.core.errors import Conflict, Invalid


class LinkUnusable(Invalid):
    """The token of a mailed link is unknown, used or too old; which of these is not told."""

    code = "link_unusable"
    title = "The link cannot be used"
    detail = "It was used already or has expired. Ask for a new one with POST /api/v1/auth/email/resend."


class AdministratorExists(Conflict):
    """The first administrator is made once; on the command line only."""

    code = "administrator_exists"
    title = "There is an administrator already"
    detail = "Create the person without --admin, then run `flask users promote EMAIL`."


class PasswordNeeded(Invalid):
    """Several people began an account with the address; the password tells which of them follows the link."""

    code = "password_needed"
    title = "The password is needed as well"
    detail = "This address was registered more than once. Send the password that you chose, as `password`."
