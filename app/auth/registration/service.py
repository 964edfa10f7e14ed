"""Signing up: register, verify the address, ask for the mail again.

Whether an address is known is told to nobody but its owner, by mail. A registration that is not verified binds nobody.
When several with different passwords wait for one address, the link alone does not decide between them, since a
stranger's mail looks like one's own: the password is asked for, and the registration that it belongs to is confirmed.
"""

from datetime import timedelta
from typing import Any

from app.auth.passwords.service import check_password, hash_password
from app.auth.registration.errors import AdministratorExists, LinkUnusable, PasswordNeeded
from app.auth.registration.models import OneTimeToken, TokenPurpose
from app.core import clock
from app.core.crypto import fingerprint
from app.core.db import new_id
from app.core.extensions import parts
from app.jobs.names import SEND_ADDRESS_TAKEN, SEND_VERIFICATION, SEND_WELCOME
from app.people.cards import card_of
from app.people.errors import AddressTaken
from app.people.models import User, UserRole
from app.unit_of_work import UnitOfWork

LINK_LIFETIME = timedelta(hours=24)
# Of the registrations that wait for one address, so many are compared with the password.
MOST_WAITING = 20
TERMS_VERSION = "2026-11"


def register(uow: UnitOfWork, *, email: str, password: str, profile: dict[str, Any]) -> None:
    """Begin an account, or tell the owner of a known address that somebody tried.

    Both take the same time: the hash, which takes nearly all of it, is made before anything is looked up.
    """
    password_hash = hash_password(password)
    fresh = User(
        email=email,
        password_hash=password_hash,
        terms_version=TERMS_VERSION,
        terms_accepted_at=clock.now(),
        password_changed_at=clock.now(),
        **profile,
    )
    with uow:
        added = uow.users.add_if_new(fresh)
        user = added or uow.users.get_by_email(email)
        if user.email_verified:
            uow.outbox.send(SEND_ADDRESS_TAKEN, user_id=user.id)
            uow.audit.record("registration.repeated", user)
        else:
            _send_link(uow, user, {"password_hash": password_hash, "profile": profile})
            uow.audit.record("registration.begun", user)
        uow.commit()


def resend_link(uow: UnitOfWork, *, email: str) -> None:
    """Send a link again; nothing happens for addresses that do not wait for one."""
    with uow:
        user = uow.users.find_by_email(email)
        if user is None or user.email_verified:
            return
        _send_link(uow, user, {})
        uow.audit.record("registration.link_resent", user)
        uow.commit()


def verify_email(uow: UnitOfWork, *, token: str, password: str | None = None) -> None:
    """Spend the token of a link; the address is the person's from now on.

    Raises LinkUnusable; PasswordNeeded when several registrations wait and the password is missing or none of theirs.
    The link stays usable then.
    """
    token_hash = fingerprint(token)
    with uow:
        owner_id = uow.one_time_tokens.find_owner_id(token_hash, TokenPurpose.VERIFY_EMAIL)
        if owner_id is None:
            raise LinkUnusable
        waiting = uow.one_time_tokens.list_payloads(owner_id)
    confirmed = _chosen(waiting, password)
    with uow:
        # The person is locked before the token: two links of one person, followed at once, would wait for each other.
        user = uow.users.get_for_update(owner_id)
        spent = uow.one_time_tokens.spend(token_hash, TokenPurpose.VERIFY_EMAIL)
        if spent is None:
            raise LinkUnusable
        _take_over(uow, user, confirmed)
        user.email_verified_at = clock.now()
        uow.one_time_tokens.void(user.id, TokenPurpose.VERIFY_EMAIL)
        uow.audit.record("email.verified", user)
        uow.outbox.send(SEND_WELCOME, user_id=user.id)
        uow.commit()


def link_token(token: OneTimeToken) -> str | None:
    """The token that the link carries, computed again; None when its key was withdrawn meanwhile."""
    for candidate in parts().keyring.one_time_tokens(token.purpose, token.id):
        if fingerprint(candidate) == token.token_hash:
            return candidate
    return None


def _send_link(uow: UnitOfWork, user: User, payload: dict[str, Any]) -> None:
    token_id = new_id()
    newest = parts().keyring.one_time_tokens(TokenPurpose.VERIFY_EMAIL, token_id)[0]
    uow.one_time_tokens.issue(
        token_id=token_id,
        user_id=user.id,
        purpose=TokenPurpose.VERIFY_EMAIL,
        token_hash=fingerprint(newest),
        payload=payload,
        lifetime=LINK_LIFETIME,
    )
    uow.outbox.send(SEND_VERIFICATION, token_id=token_id)


def _chosen(payloads: list[dict[str, Any]], password: str | None) -> dict[str, Any]:
    """The registration to confirm, of those that wait for the address, newest first."""
    waiting = list({one["password_hash"]: one for one in payloads if one}.values())[:MOST_WAITING]
    if len(waiting) <= 1:
        return waiting[0] if waiting else {}
    for one in waiting:
        if password is not None and check_password(password, one["password_hash"]).matches:
            return one
    raise PasswordNeeded


def _take_over(uow: UnitOfWork, user: User, payload: dict[str, Any]) -> None:
    """Let the registration that was confirmed decide, and end whatever another one of this address began."""
    chosen = payload.get("password_hash")
    if chosen is None or chosen == user.password_hash:
        return
    user.password_hash = chosen
    user.password_changed_at = clock.now()
    for name, value in payload["profile"].items():
        setattr(user, name, value)
    uow.sessions.end_all(user.id, reason="registration_confirmed")
    uow.outdate(card_of(user.id))


def create_person(
    uow: UnitOfWork,
    *,
    email: str,
    password: str,
    first_name: str | None = None,
    last_name: str | None = None,
    admin: bool = False,
) -> User:
    """Make a person from the command line, verified at once.

    Raises AddressTaken; AdministratorExists when an administrator is wanted and there is one already.
    """
    password_hash = hash_password(password)
    with uow:
        if admin:
            uow.users.lock_administrators()
            if uow.users.has_administrator():
                raise AdministratorExists
        user = uow.users.add_if_new(
            User(
                email=email,
                password_hash=password_hash,
                first_name=first_name,
                last_name=last_name,
                role=UserRole.ADMIN if admin else UserRole.USER,
                email_verified_at=clock.now(),
                password_changed_at=clock.now(),
            )
        )
        if user is None:
            raise AddressTaken
        uow.audit.record("person.created", user, role=user.role.value)
        uow.commit()
    return user
