"""One normal form of every address (security number 9)."""

import pytest

from app.people.email_address import normal_form


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Anna@Example.ORG", "anna@example.org"),
        ("anna@example.org.", "anna@example.org"),
        ("  anna@example.org ", "anna@example.org"),
        ("Zoe\u0308@exa\u0308mple.example", "zo\u00eb@ex\u00e4mple.example"),
        ("zoë@xn--exmple-cua.example", "zoë@exämple.example"),
        ("ZOË@EXÄMPLE.example", "zoë@exämple.example"),
    ],
)
def test_ways_to_write_an_address_come_to_one_form(written: str, normal: str) -> None:
    assert normal_form(written) == normal
    assert normal_form(normal) == normal


@pytest.mark.parametrize(
    "written",
    [
        "",
        "anna",
        "@example.org",
        "anna@",
        "a b@example.org",
        "anna@example..org",
        "anna@[127.0.0.1]",
        "a\nb@example.org",
        "anna@example.org,bob@example.org",
        "anna@localhost",
        "ä" * 130 + "@example.org",
    ],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normal_form(written)


def test_letters_that_only_look_alike_stay_different() -> None:
    # The dotless i (Django CVE-2019-19844) and a Cyrillic a are other people.
    assert normal_form("mıke@example.org") != normal_form("mike@example.org")
    assert normal_form("аnna@example.org") != normal_form("anna@example.org")
