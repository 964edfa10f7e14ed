"""Mails of signing up and of sessions."""

from uuid import UUID

from app.auth.registration import mail as registration_mail
from app.auth.sessions import mail as session_mail
from app.jobs.names import SEND_ADDRESS_TAKEN, SEND_REUSE_NOTICE, SEND_VERIFICATION, SEND_WELCOME
from app.unit_of_work import UnitOfWork
from tasks.base import outbox_task


@outbox_task(SEND_VERIFICATION)
def send_verification(*, outbox_id: UUID, token_id: UUID) -> None:
    """Mail the link that confirms an address."""
    registration_mail.send_verification(UnitOfWork(everybody=True), token_id=token_id, outbox_id=outbox_id)


@outbox_task(SEND_ADDRESS_TAKEN)
def send_address_taken(*, outbox_id: UUID, user_id: UUID) -> None:
    """Mail that somebody signed up with a known address."""
    registration_mail.send_address_taken(UnitOfWork(acting_for=user_id), user_id=user_id, outbox_id=outbox_id)


@outbox_task(SEND_WELCOME)
def send_welcome(*, outbox_id: UUID, user_id: UUID) -> None:
    """Mail that the account is ready."""
    registration_mail.send_welcome(UnitOfWork(acting_for=user_id), user_id=user_id, outbox_id=outbox_id)


@outbox_task(SEND_REUSE_NOTICE)
def send_reuse_notice(*, outbox_id: UUID, user_id: UUID) -> None:
    """Mail that a session was ended because its refresh token was used twice."""
    session_mail.send_reuse_notice(UnitOfWork(acting_for=user_id), user_id=user_id, outbox_id=outbox_id)
