"""Passwords: how they are kept, checked and judged.

A password is normalised (NFC), keyed with a pepper (HMAC-SHA-384) and only then hashed with bcrypt, so that
every byte of a long one counts (bcrypt itself reads 72) and a stolen database alone is not enough to guess.
Stored form: `v1$<pepper id>$<bcrypt>`.
"""

import base64
import hmac
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import bcrypt
from zxcvbn import zxcvbn

from app.core.crypto import Keyring
from app.core.extensions import parts

LONGEST = 256
LEAST_SCORE = 2
# Whoever types so much is let in, whatever it is (NIST SP 800-63B-4, 3.1.1.2: at least 64 must be allowed).
NEVER_GUESSED_LENGTH = 64
PRODUCT_WORDS = ("coffer",)


class Verdict(NamedTuple):
    """Whether a password is right, and whether its stored form should be made anew."""

    matches: bool
    outdated: bool


def hash_password(password: str) -> str:
    """The form to keep, with the newest pepper and the configured cost."""
    keyring = parts().keyring
    return _hash(keyring, keyring.newest_pepper_id, password, parts().settings.accounts.bcrypt_rounds)


def check_password(password: str, stored: str | None) -> Verdict:
    """Compare in constant time; without a stored form the same work is done in vain.

    An unknown person, one who only signs in elsewhere, and a wrong password cost the same.
    """
    keyring, rounds = parts().keyring, parts().settings.accounts.bcrypt_rounds
    found = _split(stored)
    pepper = keyring.pepper(found[0]) if found else None
    if found is None or pepper is None:
        _matches(keyring, keyring.newest_pepper_id, password, _dummy_hash(rounds))
        return Verdict(matches=False, outdated=False)
    pepper_id, hashed = found
    matches = _matches(keyring, pepper_id, password, hashed)
    if not matches:
        # A hash from before the cost was raised is quicker: do the rest in vain, or time tells who has an account.
        # Each step costs twice the one before, so these add up to a hash of the full cost.
        for cost in range(_cost(hashed), rounds):
            _matches(keyring, pepper_id, password, _dummy_hash(cost))
    return Verdict(matches, outdated=pepper_id != keyring.newest_pepper_id or _cost(hashed) < rounds)


def weaknesses(password: str, *, about: Sequence[str] = ()) -> list[str]:
    """Reasons against this password, in words for the person; none when it is good enough.

    Length counts code points; there are no rules of composition (NIST SP 800-63B-4, 3.1.1.2). `about` is what
    is known of the person and would be guessed first.
    """
    text = unicodedata.normalize("NFC", password)
    least = parts().settings.accounts.password_min_length
    if len(text) < least:
        return [f"Use at least {least} characters."]
    if len(text) > LONGEST:
        return [f"Use at most {LONGEST} characters."]
    if len(text) >= NEVER_GUESSED_LENGTH:
        return []
    known = [word for one in (*about, *PRODUCT_WORDS) if one for word in {one, *one.replace("@", " ").split()}]
    judged = zxcvbn(text, user_inputs=[word.lower() for word in known])
    if judged["score"] >= LEAST_SCORE:
        return []
    warning = judged["feedback"]["warning"] or "This password is easy to guess."
    return [warning, *judged["feedback"]["suggestions"]]


def _prehash(keyring: Keyring, pepper_id: str, password: str) -> bytes:
    pepper = keyring.pepper(pepper_id)
    if pepper is None:
        raise LookupError(pepper_id)
    normalised = unicodedata.normalize("NFC", password).encode()
    return base64.b64encode(hmac.digest(pepper, normalised, "sha384"))  # 64 bytes, no NUL among them


def _hash(keyring: Keyring, pepper_id: str, password: str, rounds: int) -> str:
    hashed = bcrypt.hashpw(_prehash(keyring, pepper_id, password), bcrypt.gensalt(rounds))
    return f"v1${pepper_id}${hashed.decode()}"


def _matches(keyring: Keyring, pepper_id: str, password: str, hashed: str) -> bool:
    return bcrypt.checkpw(_prehash(keyring, pepper_id, password), hashed.encode())


def _split(stored: str | None) -> tuple[str, str] | None:
    if stored is None:
        return None
    version, _, rest = stored.partition("$")
    pepper_id, _, hashed = rest.partition("$")
    return (pepper_id, hashed) if version == "v1" and hashed.startswith("$2") else None


def _cost(hashed: str) -> int:
    return int(hashed.split("$")[2])


@lru_cache(maxsize=16)
def _dummy_hash(rounds: int) -> str:
    return bcrypt.hashpw(b"nobody", bcrypt.gensalt(rounds)).decode()
