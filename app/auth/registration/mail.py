"""The mails of signing up. A task calls these with ids; what they stand for is read here."""

from uuid import UUID

from app.auth.registration import service
from app.core.extensions import parts, settings
from app.core.mail import message_id, render
from app.unit_of_work import UnitOfWork


def send_verification(uow: UnitOfWork, *, token_id: UUID, outbox_id: UUID) -> None:
    """Send the link; nothing happens when it was used, replaced or has expired meanwhile."""
    with uow:
        row = uow.one_time_tokens.find_usable(token_id)
        user = uow.users.find(row.user_id) if row else None
    token = service.link_token(row) if row else None
    if user is None or token is None:
        return
    # Behind `#`: browsers do not send that part, so it stands in no server's log and no Referer.
    link = f"{settings().server.public_url}/verify-email#token={token}"
    parts().mailer.send(
        render(
            "verify_email",
            to=user.email,
            message_id=_id(outbox_id),
            name=None,  # it is what somebody typed who may not own the address
            link=link,
            hours=_hours(),
        )
    )


def send_address_taken(uow: UnitOfWork, *, user_id: UUID, outbox_id: UUID) -> None:
    """Tell the owner of an account that somebody wanted to sign up with the address."""
    _tell(uow, "address_taken", user_id, outbox_id)


def send_welcome(uow: UnitOfWork, *, user_id: UUID, outbox_id: UUID) -> None:
    """Say hello to somebody whose address is confirmed."""
    _tell(uow, "welcome", user_id, outbox_id)


def _tell(uow: UnitOfWork, template: str, user_id: UUID, outbox_id: UUID) -> None:
    with uow:
        user = uow.users.find(user_id)
    if user is not None:
        parts().mailer.send(
            render(
                template,
                to=user.email,
                message_id=_id(outbox_id),
                name=user.first_name,
                home=settings().server.public_url,
            )
        )


def _id(outbox_id: UUID) -> str:
    return message_id(outbox_id, settings().server.public_url)


def _hours() -> int:
    return int(service.LINK_LIFETIME.total_seconds() // 3600)
