"""Keys, sealed values and one-time tokens (security numbers 138, 139, 143)."""

from uuid import uuid4

import pytest

from app.core.config import SecretSettings
from app.core.crypto import Keyring, Undecipherable, derive, fingerprint

FIRST = "kHq2vT9-xW7mZ4rLs8Np3BdYc6FjGa1E"
SECOND = "Zr8-bQ5nVx2KwTm7YsHd4LpJ9cGf3AeU"


def keyring(*keys: str) -> Keyring:
    return Keyring(SecretSettings(secret_key=FIRST, encryption_keys=keys, jwt_algorithm="HS256", jwt_keys=()))


def test_keys_of_different_purposes_tell_nothing_of_each_other() -> None:
    assert len({derive(FIRST, "a"), derive(FIRST, "b"), derive(SECOND, "a")}) == 3
    assert derive(FIRST, "a") == derive(FIRST, "a")


def test_a_link_token_is_the_same_however_often_it_is_computed() -> None:
    row = uuid4()
    assert keyring().one_time_tokens("verify_email", row) == keyring(FIRST).one_time_tokens("verify_email", row)


def test_link_tokens_differ_by_purpose_row_and_key() -> None:
    row = uuid4()
    tokens = {
        keyring().one_time_tokens("verify_email", row)[0],
        keyring().one_time_tokens("reset_password", row)[0],
        keyring().one_time_tokens("verify_email", uuid4())[0],
        keyring(SECOND).one_time_tokens("verify_email", row)[0],
    }
    assert len(tokens) == 4
    assert all(len(token) == 43 for token in tokens)


def test_an_older_key_still_finds_its_tokens() -> None:
    row = uuid4()
    (old,) = keyring(FIRST).one_time_tokens("verify_email", row)
    assert keyring(SECOND, FIRST).one_time_tokens("verify_email", row)[1] == old


def test_a_withdrawn_pepper_is_gone() -> None:
    assert keyring(SECOND).pepper(keyring(FIRST).newest_pepper_id) is None
    assert keyring(SECOND, FIRST).pepper(keyring(FIRST).newest_pepper_id)


def test_a_fingerprint_is_not_the_token() -> None:
    assert fingerprint("token") != b"token"
    assert len(fingerprint("token")) == 32


class TestSealedValues:
    """Number 138: fields at rest."""

    def test_what_was_sealed_opens_for_the_same_row(self) -> None:
        row = uuid4()
        sealed = keyring().seal(b"JBSWY3DPEHPK3PXP", field="mfa_secret", row_id=row)
        assert b"JBSWY3DPEHPK3PXP" not in sealed
        assert keyring().open(sealed, field="mfa_secret", row_id=row) == b"JBSWY3DPEHPK3PXP"

    def test_equal_values_are_sealed_differently(self) -> None:
        row = uuid4()
        assert len({keyring().seal(b"x", field="f", row_id=row) for _ in range(10)}) == 10

    def test_moved_to_another_row_or_field_it_stays_shut(self) -> None:
        row = uuid4()
        sealed = keyring().seal(b"x", field="mfa_secret", row_id=row)
        for elsewhere in ({"field": "mfa_secret", "row_id": uuid4()}, {"field": "other", "row_id": row}):
            with pytest.raises(Undecipherable):
                keyring().open(sealed, **elsewhere)  # type: ignore[arg-type]

    def test_every_bit_counts(self) -> None:
        row = uuid4()
        sealed = keyring().seal(b"secret", field="f", row_id=row)
        for position in range(len(sealed)):
            changed = bytes(b ^ (1 if i == position else 0) for i, b in enumerate(sealed))
            with pytest.raises(Undecipherable):
                keyring().open(changed, field="f", row_id=row)
        with pytest.raises(Undecipherable):
            keyring().open(b"", field="f", row_id=row)

    def test_keys_are_replaced_while_serving(self) -> None:
        row = uuid4()
        old = keyring(FIRST).seal(b"x", field="f", row_id=row)
        both = keyring(SECOND, FIRST)
        assert both.is_outdated(old)
        assert both.open(old, field="f", row_id=row) == b"x"
        new = both.seal(b"x", field="f", row_id=row)
        assert not both.is_outdated(new)
        assert keyring(SECOND).open(new, field="f", row_id=row) == b"x"
        with pytest.raises(Undecipherable):
            keyring(SECOND).open(old, field="f", row_id=row)
