"""Connect tokens: what they open, and that nothing else is one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cove.exception import AuthError, InvalidError
from cove.types import NodeId, SandboxId, new_id
from policies.access import SandboxClaims, sign_sandbox, verify_sandbox
from policies.connect_tokens import ConnectClaims, check_metadata, is_ours, sign_connect, verify_connect

KEY = Ed25519PrivateKey.generate()
CLAIMS = ConnectClaims(new_id("ct"), SandboxId(new_id("sb")), '{"user": "x"}', 1000.0)
TOKEN = sign_connect(CLAIMS, KEY)


def body(**changes: object) -> dict[str, object]:
    claims = {"iss": "cove", "aud": "connect", "sub": CLAIMS.sandbox_id, "jti": CLAIMS.token_id, "data": "x", "exp": 1000.0}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def refused(token: str, now: float = 0.0) -> str:
    with pytest.raises(AuthError) as caught:
        verify_connect(token, KEY.public_key(), now=now)
    return caught.value.code


def test_a_token_says_what_was_signed() -> None:
    assert verify_connect(TOKEN, KEY.public_key(), now=999.9) == CLAIMS
    assert is_ours(TOKEN)


def test_time_is_over() -> None:
    assert refused(TOKEN, now=1000.0) == "token_expired"


@pytest.mark.parametrize(
    "changes",
    [
        *({"aud": "sandbox"}, {"aud": None}, {"iss": "else"}, {"iss": None}, {"sub": "sb-1"}, {"sub": None}, {"sub": 7}),
        *({"jti": None}, {"jti": "x"}, {"jti": 7}, {"jti": new_id("sb")}, {"data": None}, {"data": 7}, {"data": {"a": 1}}),
        *({"exp": None}, {"exp": "1000"}, {"exp": True}, {"exp": float("inf")}, {"exp": float("nan")}),
    ],
)
def test_other_claims_are_no_token(changes: dict[str, Any]) -> None:
    assert refused(jwt.encode(body(**changes), KEY, algorithm="EdDSA")) == "unauthenticated"


def test_metadata_that_a_header_cannot_carry_is_not_sent_even_if_signed() -> None:
    token = jwt.encode(body(data="a\r\nX-Admin: 1"), KEY, algorithm="EdDSA")
    with pytest.raises(InvalidError):
        verify_connect(token, KEY.public_key(), now=0)


def unsigned(algorithm: str) -> str:
    head, content = ({"alg": algorithm, "typ": "JWT"}, body())
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, content)), ""])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "EdDSA", "HS256"])
def test_without_a_signature(algorithm: str) -> None:
    assert refused(unsigned(algorithm)) == "unauthenticated"


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    message = unsigned("HS256").rstrip(".")
    for secret in (
        KEY.public_key().public_bytes_raw(),
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        b"",
    ):
        signature = base64.urlsafe_b64encode(hmac.new(secret, message.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
        assert refused(f"{message}.{signature}") == "unauthenticated"


def test_other_keys_and_algorithms() -> None:
    rsa = generate_private_key(public_exponent=65537, key_size=2048)
    assert refused(jwt.encode(body(), rsa, algorithm="RS256")) == "unauthenticated"
    assert refused(sign_connect(CLAIMS, Ed25519PrivateKey.generate())) == "unauthenticated"


def test_every_bit_counts() -> None:
    head, content, signature = TOKEN.split(".")
    for part in (0, 1, 2):
        parts = [head, content, signature]
        raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
        raw[len(raw) // 2] ^= 1
        parts[part] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        assert refused(".".join(parts)) == "unauthenticated"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 5000, "é.é.é", TOKEN + "x", TOKEN[:-10], TOKEN.replace(".", "..")])
def test_nonsense(token: str) -> None:
    assert refused(token) == "unauthenticated"


def test_tokens_for_other_doors_open_not_this_one_nor_the_other_way_round() -> None:
    data_plane = sign_sandbox(SandboxClaims(CLAIMS.sandbox_id, NodeId("n"), 1000.0), KEY)
    assert refused(data_plane) == "unauthenticated"
    with pytest.raises(AuthError):
        verify_sandbox(TOKEN, KEY.public_key(), now=0)


@pytest.mark.parametrize("metadata", ["", "{}", '{"a": "\\u00e4"}', "x" * 511])
def test_metadata(metadata: str) -> None:
    assert check_metadata(metadata) == metadata


@pytest.mark.parametrize("metadata", ["x" * 512, "a\nb", "a\rb", "a\0b", "ä", " a", "a ", "\x7f", "\x1b[2J", "\t"])
def test_metadata_no_header_can_carry(metadata: str) -> None:
    with pytest.raises(InvalidError):
        check_metadata(metadata)


def test_who_else_issues_tokens() -> None:
    assert not is_ours("opaque") and not is_ours(jwt.encode({"iss": "else"}, KEY, algorithm="EdDSA")) and not is_ours("")
    assert is_ours(jwt.encode({"iss": "cove"}, Ed25519PrivateKey.generate(), algorithm="EdDSA"))
