"""Mail from the outbox to a mail server (F22; security numbers 35 and 57)."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes as algorithms
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask

from app.core import clock
from app.core import mail as core_mail
from app.core.extensions import KEY
from app.core.mail import Mail, MailDelayed, MailUndeliverable, SmtpMailer
from tests.api.client import ApiClient
from tests.conftest import Database, Worker, run_task
from tests.factories.people import PASSWORD, make_person
from tests.smtp_server import HOST, SmtpServer

SENDER = "Coffer <no-reply@exämple.example>"
ADDRESS = "new@example.org"
REGISTRATION = {"email": ADDRESS, "password": PASSWORD, "password_confirm": PASSWORD, "accept_terms": True}


class TestWhatIsSent:
    """From the message's ids to the mail."""

    def test_a_repeat_is_the_same_mail(self, api: ApiClient, worker: Worker, database: Database) -> None:
        """As after a worker that died between sending and noting it: a reader sees one message, one link works."""
        api.post("/auth/register", REGISTRATION)
        (first,) = worker.deliver()
        database.execute("UPDATE outbox SET status = 'waiting', finished_at = NULL")
        worker.app.extensions["coffer.publisher"].envelopes.append(worker.envelopes[0])
        (second,) = worker.deliver()
        assert (second.message_id, second.link) == (first.message_id, first.link)

    def test_each_message_has_an_id_of_its_own(self, api: ApiClient, worker: Worker) -> None:
        for _ in range(2):
            api.post("/auth/register", REGISTRATION)
        assert len({mail.message_id for mail in worker.deliver()}) == 2

    @pytest.mark.parametrize(
        "meanwhile",
        [
            "DELETE FROM users",
            "UPDATE one_time_tokens SET used_at = now()",
            "UPDATE one_time_tokens SET expires_at = now() - interval '1 second'",
        ],
        ids=["the person is gone", "the link is used", "the link has expired"],
    )
    def test_a_link_that_leads_nowhere_is_not_sent(
        self, api: ApiClient, worker: Worker, database: Database, meanwhile: str
    ) -> None:
        api.post("/auth/register", REGISTRATION)
        database.execute(meanwhile)
        assert worker.deliver() == []
        assert database.scalar("SELECT status FROM outbox") == "done"

    def test_who_is_gone_gets_no_mail(self, api: ApiClient, worker: Worker, database: Database) -> None:
        person = make_person(email=ADDRESS)
        api.post("/auth/register", REGISTRATION)
        database.execute("DELETE FROM users WHERE id = :id", id=person.id)
        assert worker.deliver() == []
        assert database.scalar("SELECT status FROM outbox") == "done"


class TestThroughTheTask:
    """The whole way, from a registration to a mail server."""

    @pytest.fixture
    def server(self, app: Flask) -> Iterator[SmtpServer]:
        with SmtpServer() as server:
            self.use(app, server)
            yield server

    def use(self, app: Flask, server: SmtpServer) -> None:
        app.extensions[KEY] = replace(app.extensions[KEY], mailer=SmtpMailer(f"smtp://{server.address}", SENDER))

    def deliver(self, worker: Worker) -> None:
        for envelope in worker.app.extensions["coffer.publisher"].envelopes:
            run_task(envelope)

    def test_the_link_arrives(self, api: ApiClient, worker: Worker, server: SmtpServer, database: Database) -> None:
        api.post("/auth/register", REGISTRATION | {"first_name": "Zoë <b>"})
        self.deliver(worker)
        (mail,) = server.received
        assert (mail.sender, mail.to) == ("no-reply@xn--exmple-cua.example", [ADDRESS])
        assert mail.message.get_content_type() == "multipart/alternative"
        assert mail.message["Subject"] == "Confirm your e-mail address"
        assert mail.message_id == f"<{database.scalar('SELECT id FROM outbox')}@127.0.0.1>"
        assert "Zoë" not in mail.body("plain") + mail.body("html"), "a stranger's words go to nobody"
        assert mail.token in mail.body("html")
        assert api.post("/auth/email/verify", {"token": mail.token}).status_code == 200

    @pytest.mark.parametrize(("code", "status"), [("450", "waiting"), ("550", "failed")])
    def test_a_refusal_is_kept_without_the_address(
        self, api: ApiClient, worker: Worker, database: Database, code: str, status: str
    ) -> None:
        with SmtpServer(answers={"RCPT": f"{code} {ADDRESS}: no"}) as server:
            self.use(worker.app, server)
            api.post("/auth/register", REGISTRATION)
            self.deliver(worker)
        assert database.scalar("SELECT status FROM outbox") == status
        assert code in database.scalar("SELECT last_error FROM outbox")
        assert ADDRESS not in database.scalar("SELECT last_error FROM outbox")


def mail(to: str = "anna@example.org") -> Mail:
    return Mail("<1@coffer.example>", to, "Grüße", "Text ä\n.\n", "<p>HTML ä</p>")


def send(
    server: SmtpServer, *, to: str = "anna@example.org", scheme: str = "smtp", login: str = "", **query: str
) -> None:
    asked = "".join(f"?{name}={value}" for name, value in query.items())
    SmtpMailer(f"{scheme}://{login}{server.address}{asked}", SENDER).send(mail(to))


class TestSmtp:
    """What arrives, and what each answer of a server means."""

    def test_both_forms_arrive(self) -> None:
        with SmtpServer() as server:
            send(server)
        (received,) = server.received
        assert received.to == ["anna@example.org"]
        assert received.message["Subject"] == "Grüße"
        assert [part.get_content_type() for part in received.message.walk()] == [
            "multipart/alternative",
            "text/plain",
            "text/html",
        ]
        assert received.body("plain").splitlines() == ["Text ä", "."]
        assert received.body("html").strip() == "<p>HTML ä</p>"
        assert received.raw.isascii()

    def test_an_internationalised_domain_is_ascii_in_the_envelope(self) -> None:
        with SmtpServer(enable_SMTPUTF8=False) as server:
            send(server, to="anna@exämple.example")
        assert server.received[0].to == ["anna@xn--exmple-cua.example"]

    def test_an_internationalised_address_arrives(self) -> None:
        with SmtpServer() as server:
            send(server, to="zoë@exämple.example")
        assert server.received[0].to == ["zoë@xn--exmple-cua.example"]
        assert server.received[0].message["To"] == "zoë@xn--exmple-cua.example"

    def test_a_server_without_smtputf8_will_never_take_such_an_address(self) -> None:
        with SmtpServer(enable_SMTPUTF8=False) as server, pytest.raises(MailUndeliverable):
            send(server, to="zoë@example.org")
        assert server.received == []

    @pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
    def test_4xx_passes(self, command: str) -> None:
        with SmtpServer(answers={command: "451 later"}) as server, pytest.raises(MailDelayed, match="451"):
            send(server)

    @pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
    def test_5xx_is_for_ever(self, command: str) -> None:
        with SmtpServer(answers={command: "550 no"}) as server, pytest.raises(MailUndeliverable, match="550"):
            send(server)

    def test_a_server_that_wants_a_login_passes(self) -> None:
        """530: our settings lack the login, and the message is none the worse for it."""
        with SmtpServer(answers={"MAIL": "530 authentication required"}) as server, pytest.raises(MailDelayed):
            send(server)

    @pytest.mark.parametrize("goodbye", ["421 too busy", "500 what?"])
    def test_a_bad_goodbye_does_not_undo_what_was_taken(self, goodbye: str) -> None:
        with SmtpServer(answers={"QUIT": goodbye}) as server:
            send(server)
        assert len(server.received) == 1

    def test_a_line_cut_after_the_message_passes(self) -> None:
        """It may have arrived; it is sent again under the same Message-ID."""
        with SmtpServer(cut_after_data=True) as server:
            for _ in range(2):
                with pytest.raises(MailDelayed):
                    send(server)
        assert {one.message_id for one in server.received} == {"<1@coffer.example>"}
        assert len(server.received) == 2

    def test_a_server_that_is_away_passes(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(MailDelayed, match="ConnectionRefused"):
            SmtpMailer(f"smtp://{HOST}:{port}", SENDER).send(mail())

    def test_a_silent_server_is_left_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(core_mail, "TIMEOUT_SECONDS", 0.1)
        with socket.create_server((HOST, 0)) as silent, pytest.raises(MailDelayed):
            SmtpMailer(f"smtp://{HOST}:{silent.getsockname()[1]}", SENDER).send(mail())

    def test_a_server_that_falls_silent_is_left_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(core_mail, "TIMEOUT_SECONDS", 0.1)
        with SmtpServer() as server:
            server.hold()
            with pytest.raises(MailDelayed):
                send(server)


class TestLoginAndTls:
    """A password or a message goes to the right server only, and under TLS where it was asked for."""

    @pytest.fixture
    def trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
        """A server's certificate that this machine trusts, for the time of the test."""
        context, certificate = server_certificate(tmp_path, HOST)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return context

    def test_a_login_is_sent_as_it_was_written(self) -> None:
        with SmtpServer(authenticator=check_login, auth_require_tls=False) as server:
            send(server, login="coffer:s%3Acret%401@")
        assert [one.login for one in server.received] == ["coffer"]

    def test_a_wrong_login_passes(self) -> None:
        with (
            SmtpServer(authenticator=check_login, auth_require_tls=False) as server,
            pytest.raises(MailDelayed, match="Authentication"),
        ):
            send(server, login="coffer:wrong@")
        assert server.received == []

    def test_a_server_that_knows_no_login_passes(self) -> None:
        with SmtpServer(auth_exclude_mechanism=["LOGIN", "PLAIN"]) as server, pytest.raises(MailDelayed):
            send(server, login="coffer:x@")
        assert server.received == []

    def test_under_tls_the_message_arrives(self, trusted: ssl.SSLContext) -> None:
        with SmtpServer(tls_context=trusted, require_starttls=True) as server:
            send(server, starttls="true")
        assert len(server.received) == 1
        with SmtpServer(implicit_tls=trusted) as server:
            send(server, scheme="smtps")
        assert len(server.received) == 1

    def test_tls_that_is_not_offered_is_not_done_without(self) -> None:
        """Whoever sits on the line can strike the offer out: nothing goes there in clear."""
        with SmtpServer(authenticator=check_login, auth_require_tls=False) as server, pytest.raises(MailDelayed):
            send(server, login="coffer:s%3Acret%401@", starttls="true")
        assert server.received == []

    @pytest.mark.parametrize("scheme", ["smtp", "smtps"])
    def test_a_certificate_that_nobody_vouches_for_is_refused(self, tmp_path: Path, scheme: str) -> None:
        context, _ = server_certificate(tmp_path, HOST)
        self.refused(scheme, context)

    @pytest.mark.parametrize("scheme", ["smtp", "smtps"])
    def test_the_certificate_of_another_server_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        context, certificate = server_certificate(tmp_path, "192.0.2.1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        self.refused(scheme, context)

    def refused(self, scheme: str, context: ssl.SSLContext) -> None:
        direct = scheme == "smtps"
        with (
            SmtpServer(implicit_tls=context if direct else None, tls_context=None if direct else context) as server,
            pytest.raises(MailDelayed, match="SSLCertVerificationError"),
        ):
            send(server, scheme=scheme, starttls=str(not direct))
        assert server.received == []


def check_login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    right = (given.login, given.password) == (b"coffer", b"s:cret@1")
    return AuthResult(success=right, handled=False, auth_data=given.login.decode())


def server_certificate(folder: Path, address: str) -> tuple[ssl.SSLContext, Path]:
    """A self-signed certificate for this address, and the context of a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(hours=1))
        .not_valid_after(clock.now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, algorithms.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file
