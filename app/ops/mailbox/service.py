"""Reads the messages that the mailbox delivery kept."""

import re
from email import message_from_bytes
from email.policy import default
from typing import Any

from app.core.extensions import parts
from app.core.mail import MAILBOX
from app.people.email_address import normal_form

MOST_SHOWN = 100


def list_mails(*, to: str | None = None) -> list[dict[str, Any]]:
    """The newest messages first; `to` picks those to one address, in any form of it."""
    storage = parts().storage
    wanted = _comparable(to) if to else None
    # Named by a UUIDv7, so that names sort by time.
    names = sorted(storage.names(MAILBOX), reverse=True)
    shown: list[dict[str, Any]] = []
    for name in names:
        mail = _shown(storage.get(name))
        if wanted is None or _comparable(mail["to"]) == wanted:
            shown.append(mail)
        if len(shown) == MOST_SHOWN:
            break
    return shown


def _comparable(address: str) -> str:
    try:
        return normal_form(address)
    except ValueError:
        return address


def _shown(raw: bytes) -> dict[str, Any]:
    message = message_from_bytes(raw, policy=default)
    body = message.get_body(("plain",))
    text = body.get_content() if body is not None else ""
    return {
        "message_id": message["Message-ID"],
        "to": str(message["To"]),
        "subject": str(message["Subject"]),
        "date": str(message["Date"]),
        "text": text,
        "links": re.findall(r"https?://\S+", text),
    }
