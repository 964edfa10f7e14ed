"""E-mail: templates, the message itself, and two ways to deliver it."""

import contextlib
import smtplib
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import idna
import jinja2

from app.core import clock
from app.core.storage import Storage

TIMEOUT_SECONDS = 10
MAILBOX = "mailbox/"

# Every server takes seven bits; only SMTPUTF8 promises more.
_ASCII = SMTP.clone(cte_type="7bit")

_text_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates" / "mail"),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=jinja2.select_autoescape(["html"]),
)


class MailUndeliverable(Exception):
    """The server will never take this message; trying again is useless."""


class MailDelayed(Exception):
    """The server cannot be reached or is busy; trying again is right."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message. The id stays the same when the message is sent again, so that a repeat can be seen."""

    message_id: str
    to: str
    subject: str
    text: str
    html: str


class Mailer(Protocol):
    """A way to deliver mail."""

    def send(self, mail: Mail) -> None:
        """Hand the message over.

        Raises MailDelayed when another try may work, MailUndeliverable when none will.
        """


def message_id(outbox_id: UUID, public_url: str) -> str:
    """The Message-ID of the mail that an outbox row asks for: the same, however often it is sent."""
    return f"<{outbox_id}@{urlsplit(public_url).hostname}>"


def render(template: str, *, to: str, message_id: str, **values: Any) -> Mail:
    """A message from `<template>.txt` (its first line is the subject) and `<template>.html`."""
    subject, _, body = _text_templates.get_template(f"{template}.txt").render(**values).partition("\n")
    html = _text_templates.get_template(f"{template}.html").render(**values, subject=subject)
    return Mail(message_id=message_id, to=to, subject=" ".join(subject.split()), text=body.lstrip("\n"), html=html)


def compose(mail: Mail, sender: str) -> EmailMessage:
    """The message in two forms, text and HTML.

    Domains are written in ASCII (IDNA), as RFC 5321 wants them; only a local part beyond ASCII asks the
    server for SMTPUTF8.
    """
    receiver = _address("", mail.to)
    message = EmailMessage(policy=_ASCII if receiver.username.isascii() else SMTPUTF8)
    message["From"] = _address(*parseaddr(sender))
    message["To"] = receiver
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = mail.message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


def _address(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    return Address(display_name=name, username=local, domain=ascii_domain)


class SmtpMailer:
    """Delivery to the mail server at `smtp://` (with `?starttls=true`) or `smtps://`."""

    def __init__(self, url: str, sender: str) -> None:
        self._parts = urlsplit(url)
        self._starttls = parse_qs(self._parts.query).get("starttls", ["false"])[-1].lower() in {"true", "1"}
        self._sender = sender

    def send(self, mail: Mail) -> None:
        message = compose(mail, self._sender)
        try:
            server = self._connect()
        except (smtplib.SMTPException, OSError) as error:
            # A refused login or missing TLS says nothing about the message: it is for us to repair, and passes.
            raise MailDelayed(type(error).__name__) from error
        try:
            server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _by_code(min(codes)) from error
        except smtplib.SMTPResponseException as error:
            raise _by_code(error.smtp_code) from error
        except smtplib.SMTPNotSupportedError as error:
            raise MailUndeliverable("the mail server cannot take this address") from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailDelayed(type(error).__name__) from error
        finally:
            # The message was taken or refused by now; how the server says goodbye changes nothing.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()

    def _connect(self) -> smtplib.SMTP:
        host, port = self._parts.hostname or "localhost", self._parts.port
        context = ssl.create_default_context()
        if self._parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(host, port or 587, timeout=TIMEOUT_SECONDS)
        try:
            if self._starttls:
                server.starttls(context=context)
            if self._parts.username:
                server.login(unquote(self._parts.username), unquote(self._parts.password or ""))
        except BaseException:
            server.close()
            raise
        return server


def _by_code(code: int) -> MailUndeliverable | MailDelayed:
    """RFC 5321, 4.2.1: 5yz is for ever, 4yz passes. A refused login is our configuration's fault and passes too."""
    for_ever = code // 100 == 5 and code not in {530, 534, 535, 538}  # noqa: PLR2004  # as the RFC names them
    return (MailUndeliverable if for_ever else MailDelayed)(f"the mail server answered {code}")


class MailboxMailer:
    """Delivery into a folder of the storage, shown at /dev/mailbox; for development and tests."""

    def __init__(self, storage: Storage, sender: str) -> None:
        self._storage = storage
        self._sender = sender

    def send(self, mail: Mail) -> None:
        message = compose(mail, self._sender)
        # Named by the Message-ID: a message that is sent again takes the place of the first.
        name = mail.message_id.strip("<>").partition("@")[0]
        self._storage.put(f"{MAILBOX}{name}.eml", bytes(message))
