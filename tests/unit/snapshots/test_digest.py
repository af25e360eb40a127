"""The names of blobs and of the objects that hold them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from snapshots.backends.protocol import check_name, check_prefix
from snapshots.digest import Hasher, digest_of, hex_of, parse_digest
from snapshots.layout import blob_name, blobs_prefix, digest_in

GOOD = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        GOOD[:-1],
        GOOD + "0",
        GOOD.upper(),
        GOOD.replace("a", "A", 1),
        GOOD.replace("f", "g", 1),
        GOOD.replace("sha256", "sha512"),
        GOOD.removeprefix("sha256:"),
        f" {GOOD}",
        f"{GOOD}\n",
        GOOD.replace("0", "٠", 1),  # a digit, though not one of ours
        "sha256:" + "../" * 21 + "a",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_digest(text)


@given(st.lists(st.binary(max_size=100)))
def test_chunks_hash_like_the_whole(chunks: list[bytes]) -> None:
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(memoryview(chunk))
    whole = b"".join(chunks)
    assert hasher.size_bytes == len(whole)
    assert hasher.digest() == digest_of(bytearray(whole)) == parse_digest(f"sha256:{hashlib.sha256(whole).hexdigest()}")


@given(st.binary())
def test_blobs_have_names_that_backends_take_and_that_lead_back(data: bytes) -> None:
    digest = digest_of(data)
    name = check_name(blob_name(digest))
    assert digest_in(name) == digest
    for digits in (hex_of(digest)[:length] for length in range(65)):
        assert name.startswith(check_prefix(blobs_prefix(digits)))


@given(st.text())
def test_other_names_lead_to_no_digest(name: str) -> None:
    assert digest_in(name) is None
    digest = parse_digest(GOOD)
    assert digest_in(f"{name}x/{blob_name(digest)}") is None
    assert digest_in(blob_name(digest).replace("/01/", f"/{name}/")) in ({digest, None} if name == "01" else {None})
