"""The messages themselves (security number 57: no header injection, templates are inert)."""

import pytest

from app.core.mail import Mail, MailboxMailer, compose, render
from app.core.storage import open_storage

SENDER = "Coffer <no-reply@coffer.example>"


def mail(to: str = "anna@example.org", subject: str = "Hello") -> Mail:
    return Mail("<1@coffer.example>", to, subject, "text ä\n", "<p>html ä</p>")


def test_a_message_has_a_text_and_an_html_form() -> None:
    message = compose(mail(), SENDER)
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert message["Message-ID"] == "<1@coffer.example>"
    assert message["Auto-Submitted"] == "auto-generated"


def test_an_internationalised_domain_is_written_in_ascii() -> None:
    raw = bytes(compose(mail(to="anna@exämple.example"), SENDER))
    assert b"To: anna@xn--exmple-cua.example\r\n" in raw
    assert raw.isascii()


def test_a_local_part_beyond_ascii_asks_for_smtputf8() -> None:
    assert "To: zoë@xn--exmple-cua.example" in bytes(compose(mail(to="zoë@exämple.example"), SENDER)).decode()


@pytest.mark.parametrize("to", ["anna@example.org\nBcc: evil@example.org", "anna@example.org\r\n\r\nbody"])
def test_line_breaks_in_an_address_cannot_add_headers(to: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compose(mail(to=to), SENDER)


@pytest.mark.parametrize("name", ["{{ 7 * 7 }}", "{% raw %}", "<b>Anna</b>", "</p><script>alert(1)</script>"])
def test_names_are_text_and_nothing_else(name: str) -> None:
    rendered = render("welcome", to="anna@example.org", message_id="<1@x>", name=name, home="https://coffer.example")
    assert name in rendered.text
    assert "49" not in rendered.text
    assert "<script>" not in rendered.html
    assert "<b>Anna" not in rendered.html


def test_a_message_sent_twice_is_one_in_the_mailbox() -> None:
    storage = open_storage("memory:///")
    for _ in range(2):
        MailboxMailer(storage, SENDER).send(mail())
    assert list(storage.names("mailbox/")) == ["mailbox/1.eml"]
