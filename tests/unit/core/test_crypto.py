"""Keys and one-time tokens (security numbers 139, 143)."""

from uuid import uuid4

from app.core.config import SecretSettings
from app.core.crypto import Keyring, derive, fingerprint

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
