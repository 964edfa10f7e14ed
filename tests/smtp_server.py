"""A mail server of the tests' own: real SMTP on loopback, which answers as a test wants."""

import asyncio
import ssl
import threading
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import MISSING, SMTP, Envelope, Session

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Received:
    """A message that reached the server, whatever it answered."""

    sender: str
    to: list[str]
    raw: bytes
    login: str | None

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.raw, policy=SMTPUTF8)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])

    def body(self, kind: str) -> str:
        """The text of one form, `plain` or `html`."""
        part = self.message.get_body((kind,))
        assert part is not None
        text: str = part.get_content()
        return text

    @property
    def token(self) -> str:
        """The token behind the link."""
        return next(word for word in self.body("plain").split() if "#token=" in word).partition("#token=")[2]


class SmtpServer:
    """Serves from `with` to its end. `answers` are what it says to a command instead of its usual answer.

    While `hold` is called for, it keeps the messages that reach it waiting for their answer.
    """

    def __init__(
        self,
        *,
        answers: dict[str, str] | None = None,
        cut_after_data: bool = False,
        implicit_tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        self.received: list[Received] = []
        self.port = 0
        self._answers = answers or {}
        self._cut_after_data = cut_after_data
        self._implicit_tls = implicit_tls
        self._options = {"enable_SMTPUTF8": True, "hostname": "mail.test", **options}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp-server", daemon=True)
        self._may_answer = asyncio.Event()
        self._may_answer.set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def hold(self) -> None:
        """Take messages, and let their senders wait for the answer."""
        self._loop.call_soon_threadsafe(self._may_answer.clear)

    def release(self) -> None:
        """Answer those that wait, and all that follow."""
        self._loop.call_soon_threadsafe(self._may_answer.set)

    async def _start(self) -> asyncio.Server:
        return await self._loop.create_server(
            lambda: SMTP(self, loop=self._loop, **self._options), HOST, 0, ssl=self._implicit_tls
        )

    async def _stop(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # What aiosmtpd calls, by these names.

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" in self._answers:
            return self._answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "RCPT" in self._answers:
            return self._answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.received.append(
            Received(str(envelope.mail_from), list(envelope.rcpt_tos), envelope.content, session.auth_data)
        )
        if self._cut_after_data:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        await self._may_answer.wait()
        return self._answers.get("DATA", "250 OK")

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> Any:  # noqa: N802
        return self._answers.get("QUIT", MISSING)
