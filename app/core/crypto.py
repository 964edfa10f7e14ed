"""Keys derived from the configured secrets, and the few ways in which they are used."""

import base64
import hashlib
import hmac
import secrets
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.config import SecretSettings

_SEALED_VERSION = b"\x01"
_HEADER_BYTES = 5
_NONCE_BYTES = 12


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose (HKDF with SHA-256, RFC 5869); other purposes tell nothing of them."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"coffer/" + purpose.encode()).derive(secret.encode())


def fingerprint(token: str) -> bytes:
    """What is stored of a random token instead of the token (SHA-256, 32 bytes)."""
    return hashlib.sha256(token.encode()).digest()


class Undecipherable(Exception):
    """Sealed bytes that no key of the keyring opens for this row: withdrawn key, moved or damaged value."""


class Keyring:
    """The encryption keys, newest first; older ones still open what they closed."""

    def __init__(self, settings: SecretSettings) -> None:
        self._secrets = settings.encryption_keys or (settings.secret_key,)
        self._peppers = {_key_id(one): derive(one, "password-pepper") for one in self._secrets}
        self._ciphers = {_key_id(one): AESGCM(derive(one, "at-rest")) for one in self._secrets}
        self._link_keys = [derive(one, "one-time-link") for one in self._secrets]

    @property
    def newest_pepper_id(self) -> str:
        """The id of the pepper for new password hashes."""
        return next(iter(self._peppers))

    def pepper(self, key_id: str) -> bytes | None:
        """The pepper with this id, or None when its key was withdrawn."""
        return self._peppers.get(key_id)

    def seal(self, secret: bytes, *, field: str, row_id: UUID) -> bytes:
        """Encrypt a value of a row (AES-256-GCM) with the newest key.

        The field and the row are bound to it: copied to another row, it does not open. Layout: a version byte, the
        key's id (4 bytes), the nonce (12 bytes), the ciphertext with its tag.
        """
        key_id, cipher = next(iter(self._ciphers.items()))
        header = _SEALED_VERSION + bytes.fromhex(key_id)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, secret, _bound_to(header, field, row_id))

    def open(self, sealed: bytes, *, field: str, row_id: UUID) -> bytes:
        """Decrypt what `seal` made for this field of this row. Raises Undecipherable."""
        header, nonce = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
        cipher = self._ciphers.get(header[1:].hex())
        if header[:1] != _SEALED_VERSION or cipher is None:
            raise Undecipherable
        try:
            return cipher.decrypt(nonce, sealed[_HEADER_BYTES + _NONCE_BYTES :], _bound_to(header, field, row_id))
        except (InvalidTag, ValueError) as error:
            raise Undecipherable from error

    def is_outdated(self, sealed: bytes) -> bool:
        """Whether an older key sealed it, so that it should be sealed anew."""
        return sealed[1:_HEADER_BYTES].hex() != next(iter(self._ciphers))

    def one_time_tokens(self, purpose: str, row_id: UUID) -> list[str]:
        """The token of a one-time row, once for each key, newest first.

        It is computed, never stored: the task that mails the link finds it again from the row's id, so
        that neither the database nor the queue ever holds it, and a mail sent twice has the same link.
        """
        message = f"{purpose}:{row_id}".encode()
        return [_text(hmac.digest(key, message, "sha256")) for key in self._link_keys]


def _bound_to(header: bytes, field: str, row_id: UUID) -> bytes:
    return header + field.encode() + b"\0" + row_id.bytes


def _key_id(secret: str) -> str:
    return derive(secret, "key-id").hex()[:8]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
