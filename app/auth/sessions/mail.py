"""The mails about sessions."""

from uuid import UUID

from app.core.extensions import parts, settings
from app.core.mail import message_id, render
from app.unit_of_work import UnitOfWork


def send_reuse_notice(uow: UnitOfWork, *, user_id: UUID, outbox_id: UUID) -> None:
    """Tell a person that a spent refresh token came back, and that the session was ended for it."""
    with uow:
        user = uow.users.find(user_id)
    if user is not None:
        home = settings().server.public_url
        parts().mailer.send(
            render(
                "token_reused",
                to=user.email,
                message_id=message_id(outbox_id, home),
                name=user.first_name,
                home=home,
            )
        )
