"""Access tokens: what a forger, a thief or a confused caller may try."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import AuthError
from cove.types import NodeId, SandboxId
from policies.access import NodeClaims, SandboxClaims, bearer, sign_node, sign_sandbox, verify_node, verify_sandbox

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key()
SANDBOX = SandboxId("sb-" + "0" * 22)
NODE = NodeId("node-a")
CLAIMS = SandboxClaims(SANDBOX, NODE, 1000.0)
GOOD: dict[str, Any] = {"iss": "cove", "aud": "sandbox", "sub": SANDBOX, "node": NODE, "exp": 1000}


def signed(**changes: Any) -> str:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return jwt.encode(claims, KEY, algorithm="EdDSA")


def raw(claims_json: str) -> str:
    """Signed, but not made by a JWT library: it would not write such claims."""
    head = base64.urlsafe_b64encode(b'{"alg":"EdDSA"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(claims_json.encode()).rstrip(b"=")
    return b".".join((head, body, base64.urlsafe_b64encode(KEY.sign(head + b"." + body)).rstrip(b"="))).decode()


def test_what_was_signed_is_what_is_verified() -> None:
    assert verify_sandbox(sign_sandbox(CLAIMS, KEY), PUBLIC, now=999.9) == CLAIMS
    node = NodeClaims(NODE, 1000.0)
    assert verify_node(sign_node(node, KEY), PUBLIC, node_id=NODE, now=0) == node


def test_time_is_over_exactly_at_the_end_and_told_apart() -> None:
    with pytest.raises(AuthError) as caught:
        verify_sandbox(signed(), PUBLIC, now=1000)
    assert (caught.value.code, caught.value.retryable) == ("token_expired", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"iss": None},
        {"aud": "node"},
        {"aud": None},
        {"sub": None},
        {"sub": "sb-short"},
        {"sub": "ap-" + "0" * 22},
        {"node": None},
        {"node": ""},
        {"node": 7},
        {"node": "n" * 129},
        {"exp": None},
        {"pad": "x" * 5000},
    ],
)
def test_claims_that_open_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(AuthError) as caught:
        verify_sandbox(signed(**changes), PUBLIC, now=0)
    assert caught.value.code == "unauthenticated"


@pytest.mark.parametrize("exp", ['"1000"', "true", "null", "[]", "NaN", "Infinity", "1e999", "9" * 400, "{}"])
def test_ends_that_are_no_time(exp: str) -> None:
    token = raw(json.dumps(GOOD).replace("1000", exp))
    with pytest.raises(AuthError) as caught:
        verify_sandbox(token, PUBLIC, now=0)
    assert caught.value.code == "unauthenticated"


@pytest.mark.parametrize("sub", ["7", "null", "[]", '["sb-0000000000000000000000"]'])
def test_subjects_that_are_no_text(sub: str) -> None:
    with pytest.raises(AuthError):
        verify_sandbox(raw(json.dumps(GOOD).replace(f'"{SANDBOX}"', sub)), PUBLIC, now=0)


def test_other_keys_and_algorithms_are_refused() -> None:
    public_bytes = PUBLIC.public_bytes(Encoding.Raw, PublicFormat.Raw)
    forged = [
        jwt.encode(GOOD, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        jwt.encode(GOOD, "", algorithm="none"),
        jwt.encode(GOOD, public_bytes, algorithm="HS256"),
        signed()[:-4] + "AAAA",
        signed().rpartition(".")[0] + ".",
    ]
    for token in forged:
        with pytest.raises(AuthError):
            verify_sandbox(token, PUBLIC, now=0)


def test_a_token_opens_one_kind_of_thing_and_one_node() -> None:
    with pytest.raises(AuthError):
        verify_node(sign_sandbox(CLAIMS, KEY), PUBLIC, node_id=NODE, now=0)
    with pytest.raises(AuthError):
        verify_sandbox(sign_node(NodeClaims(NODE, 1000.0), KEY), PUBLIC, now=0)
    with pytest.raises(AuthError):
        verify_node(sign_node(NodeClaims(NODE, 1000.0), KEY), PUBLIC, node_id=NodeId("node-b"), now=0)


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()) | st.from_regex(r"\A[\w-]*\.[\w-]*\.[\w-]*\Z"))
def test_rubbish_is_an_auth_error_and_nothing_else(token: str) -> None:
    with pytest.raises(AuthError):
        verify_sandbox(token, PUBLIC, now=0)


@pytest.mark.parametrize(("header", "token"), [("Bearer a", "a"), ("bearer a.b", "a.b"), ("BEARER  x ", "x")])
def test_bearer_headers(header: str, token: str) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer   ", "Basic a", "a", "Bearer " + "x" * 4097])
def test_headers_without_a_bearer_token(header: str | None) -> None:
    with pytest.raises(AuthError):
        bearer(header)
