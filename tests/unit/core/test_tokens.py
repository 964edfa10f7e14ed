"""Attacks on our own tokens (security numbers 23, 24, 25, 33)."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.core.config import ConfigurationError, SecretSettings
from app.core.tokens import Claims, TokenExpired, TokenKind, TokenRefused, TokenSigner

SECRET = "kHq2vT9-xW7mZ4rLs8Np3BdYc6FjGa1E"
OLD = "Zr8-bQ5nVx2KwTm7YsHd4LpJ9cGf3AeU"
ISSUER = "https://coffer.example.org"
HS256 = SecretSettings(
    secret_key=SECRET, encryption_keys=(), jwt_algorithm="HS256", jwt_keys=(f"new:{SECRET}", f"old:{OLD}")
)


def claims(kind: TokenKind = TokenKind.ACCESS, *, lives: timedelta = timedelta(minutes=5)) -> Claims:
    now = datetime.now(UTC).replace(microsecond=0)
    return Claims(
        kind=kind,
        subject=uuid4(),
        session_id=uuid4(),
        token_id=uuid4(),
        issued_at=now,
        expires_at=now + lives,
    )


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner(HS256, issuer=ISSUER)


def payload_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def forged(
    change: Callable[[dict[str, Any], dict[str, Any]], object],
    *,
    key: Any = SECRET,
    algorithm: str = "HS256",
) -> str:
    """A token signed with the right key, in which one thing is different."""
    header: dict[str, Any] = {"kid": "new", "typ": "at+jwt"}
    payload = payload_of(TokenSigner(HS256, issuer=ISSUER).sign(claims()))
    change(header, payload)
    # Below PyJWT's own checks of what it signs.
    return jwt.api_jws.encode(json.dumps(payload).encode(), key, algorithm, headers=header)


def test_what_was_signed_is_read_back(signer: TokenSigner) -> None:
    wanted = claims()
    assert signer.read_claims(signer.sign(wanted), TokenKind.ACCESS) == wanted


def test_equal_claims_give_equal_tokens(signer: TokenSigner) -> None:
    one = claims()
    assert signer.sign(one) == signer.sign(one)


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "sid", "type", "scope"])
def test_every_claim_is_required(signer: TokenSigner, name: str) -> None:
    with pytest.raises(TokenRefused):
        signer.read(forged(lambda _, payload: payload.pop(name)), TokenKind.ACCESS)


def test_the_forgery_is_good_until_something_is_changed(signer: TokenSigner) -> None:
    assert signer.read(forged(lambda *_: None), TokenKind.ACCESS)["type"] == "access"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "https://coffer.example"),
        ("iss", "https://coffer.example.org/"),
        ("iss", [ISSUER]),
        ("aud", "coffer-admin"),
        ("aud", "coff"),
        ("aud", ["coffer", "other"]),
        ("type", "refresh"),
        ("type", "ACCESS"),
        ("sub", "not-a-uuid"),
        ("sub", None),
        ("sid", 7),
        ("nbf", 4_102_444_800),
        ("iat", 4_102_444_800),
        ("exp", "tomorrow"),
        ("exp", 1e400),
    ],
)
def test_claims_are_compared_exactly(signer: TokenSigner, name: str, value: Any) -> None:
    with pytest.raises(TokenRefused):
        signer.read_claims(forged(lambda _, payload: payload.update({name: value})), TokenKind.ACCESS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typ", "JWT"),
        ("typ", "rt+jwt"),
        ("typ", None),
        ("kid", "unknown"),
        ("kid", "../../etc/passwd"),
        ("kid", "' OR 1=1 --"),
        ("kid", "new\x00"),
        ("kid", ""),
        ("jwk", {"kty": "oct", "k": "AAAA"}),
        ("jku", "https://evil.example/keys"),
        ("x5u", "https://evil.example/cert"),
        ("x5c", ["MIIB"]),
        ("crit", ["exp"]),
        ("b64", False),
    ],
)
def test_headers_that_are_not_ours_are_refused(signer: TokenSigner, name: str, value: Any) -> None:
    with pytest.raises(TokenRefused):
        signer.read(forged(lambda header, _: header.update({name: value})), TokenKind.ACCESS)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_hmac_size_is_refused(signer: TokenSigner, algorithm: str) -> None:
    with pytest.raises(TokenRefused):
        signer.read(forged(lambda *_: None, key=SECRET * 3, algorithm=algorithm), TokenKind.ACCESS)


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE"])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_unsigned_tokens_are_refused(signer: TokenSigner, algorithm: str, signature: str) -> None:
    header = {"alg": algorithm, "kid": "new", "typ": "at+jwt"}
    _, payload, _ = signer.sign(claims()).split(".")
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    with pytest.raises(TokenRefused):
        signer.read(f"{encoded}.{payload}.{signature}", TokenKind.ACCESS)


def test_an_edited_payload_or_signature_is_refused(signer: TokenSigner) -> None:
    header, payload, signature = signer.sign(claims()).split(".")
    other = signer.sign(claims()).split(".")
    for token in (
        f"{header}.{other[1]}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        f"{payload}.{signature}",
    ):
        with pytest.raises(TokenRefused):
            signer.read(token, TokenKind.ACCESS)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "é.é.é", "{}", '{"payload":"","signatures":[]}', "a" * 1_000_000]
)
def test_what_is_no_token_is_refused_quickly(signer: TokenSigner, token: str) -> None:
    with pytest.raises(TokenRefused):
        signer.read(token, TokenKind.ACCESS)


def test_each_kind_is_refused_as_the_other(signer: TokenSigner) -> None:
    for kind, other in ((TokenKind.ACCESS, TokenKind.REFRESH), (TokenKind.REFRESH, TokenKind.ACCESS)):
        with pytest.raises(TokenRefused):
            signer.read(signer.sign(claims(kind)), other)


def test_an_expired_token_is_told_apart(signer: TokenSigner) -> None:
    with pytest.raises(TokenExpired):
        signer.read(signer.sign(claims(lives=timedelta(seconds=-10))), TokenKind.ACCESS)


def test_a_key_may_be_replaced_without_logging_anybody_out() -> None:
    before = TokenSigner(replace(HS256, jwt_keys=(f"old:{OLD}",)), issuer=ISSUER)
    during = TokenSigner(HS256, issuer=ISSUER)
    after = TokenSigner(replace(HS256, jwt_keys=(f"new:{SECRET}",)), issuer=ISSUER)
    token = before.sign(claims())
    assert during.read(token, TokenKind.ACCESS)
    assert jwt.get_unverified_header(during.sign(claims()))["kid"] == "new"
    with pytest.raises(TokenRefused):
        after.read(token, TokenKind.ACCESS)


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def asymmetric(algorithm: str) -> TokenSigner:
    held = base64.b64encode(private_pem(KEYS[algorithm])).decode()
    return TokenSigner(replace(HS256, jwt_algorithm=algorithm, jwt_keys=(f"new:{held}",)), issuer=ISSUER)


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_asymmetric_keys_sign_and_verify(algorithm: str) -> None:
    signer = asymmetric(algorithm)
    wanted = claims()
    assert signer.read_claims(signer.sign(wanted), TokenKind.ACCESS) == wanted


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_the_public_key_is_no_hmac_secret(algorithm: str) -> None:
    public = KEYS[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signer = asymmetric(algorithm)
    good = signer.sign(claims())
    header = {"alg": "HS256", "kid": "new", "typ": "at+jwt"}
    first = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
    signed = first + b"." + good.split(".")[1].encode()
    forged_signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed, public)
    token = (signed + b"." + base64.urlsafe_b64encode(forged_signature).rstrip(b"=")).decode()
    with pytest.raises(TokenRefused):
        signer.read(token, TokenKind.ACCESS)


@pytest.mark.parametrize("algorithm", list(KEYS))
@pytest.mark.parametrize("other", list(KEYS))
def test_algorithms_are_not_swapped(algorithm: str, other: str) -> None:
    if algorithm == other:
        return
    with pytest.raises(TokenRefused):
        asymmetric(algorithm).read(asymmetric(other).sign(claims()), TokenKind.ACCESS)


def test_a_key_of_another_algorithm_stops_the_start() -> None:
    held = base64.b64encode(private_pem(KEYS["EdDSA"])).decode()
    with pytest.raises(ConfigurationError, match="JWT_KEYS"):
        TokenSigner(replace(HS256, jwt_algorithm="RS256", jwt_keys=(f"new:{held}",)), issuer=ISSUER)
