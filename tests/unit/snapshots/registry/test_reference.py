"""The grammar of references, at its edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from snapshots.registry.reference import is_loopback, parse_reference, parse_registry

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:bookworm", "docker.io/library/debian:bookworm"),
        ("library/debian", "docker.io/library/debian:latest"),
        ("user/image:1.0_x-y", "docker.io/user/image:1.0_x-y"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest"),
        ("Docker.IO/debian", "docker.io/library/debian:latest"),
        (f"ghcr.io/a/b@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
        (f"ghcr.io/a/b:tag@{DIGEST}", f"ghcr.io/a/b:tag@{DIGEST}"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:tag", "localhost:5000/x:tag"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("[::1]:5000/x:tag", "[::1]:5000/x:tag"),
        ("[2001:db8::1]/x", "[2001:db8::1]/x:latest"),
        ("Localhost.Localdomain/x", "localhost.localdomain/x:latest"),
        ("a.b/c/d/e/f", "a.b/c/d/e/f:latest"),
        ("a__b/c---d/e.f_g", "docker.io/a__b/c---d/e.f_g:latest"),
        ("nvcr.io/nvidia/pytorch:22.12-py3", "nvcr.io/nvidia/pytorch:22.12-py3"),
        ("debian:" + "t" * 128, "docker.io/library/debian:" + "t" * 128),
        ("debian:5000", "docker.io/library/debian:5000"),
        (HEX[:-1], f"docker.io/library/{HEX[:-1]}:latest"),
    ],
)
def test_normalised(text: str, normal: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == normal
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "characters"),
        ("x" * 500, "characters"),
        ("a.b/" + "x" * 252, "more than 255"),
        ("https://ghcr.io/a", "scheme"),
        ("docker://debian", "scheme"),
        ("user/Image", "capital"),
        ("Debian", "capital"),
        ("HOST/x", "capital"),
        ("debian:", "tag"),
        ("debian:-x", "tag"),
        ("debian:" + "t" * 129, "tag"),
        ("debian:a b", "tag"),
        ("debian:é", "tag"),
        ("debian@", "sha256"),
        ("debian@sha256:abc", "sha256"),
        (f"debian@sha512:{HEX}", "sha256"),
        (f"debian@{DIGEST.upper()}", "sha256"),
        (f"debian@{DIGEST}@{DIGEST}", "sha256"),
        ("a//b", "part"),
        ("/a", "part"),
        ("a/", "part"),
        ("ghcr.io/", "no repository"),
        ("../a", "host"),
        ("a/../b", "part"),
        ("a.b/..", "part"),
        ("a.b/.c", "part"),
        ("a.b/c.", "part"),
        ("a.b/c..d", "part"),
        ("a.b/c___d", "part"),
        ("a.b/c d", "part"),
        ("a.b/c\n", "part"),
        ("debian\n", "part"),
        ("a.b/c%2e", "part"),
        ("a.b/c?d", "part"),
        ("a.b/c#d", "part"),
        ("a.b/café", "part"),
        ("a.b:0/x", "port"),
        ("a.b:65536/x", "port"),
        ("a.b:99999999999/x", "port"),
        ("a.b:/x", "port"),
        ("a.b:x/y", "port"),
        ("a.b:１/y", "port"),
        ("-a.b/x", "host"),
        ("a-.b/x", "host"),
        ("a..b/x", "host"),
        ("a.b./x", "host"),
        ("user@a.b/x", "sha256"),
        ("[::1/x", "host"),
        ("[fe80::1%eth0]/x", "host"),
        ("[x]/y", "host"),
        (HEX, "id of an image"),
    ],
)
def test_refused_with_the_part_that_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why) as caught:
        parse_reference(text)
    assert caught.value.remedy


@given(
    st.text(max_size=80) | st.text(alphabet="aA0.:/@-_[]%", max_size=40) | st.from_regex(r"[a-z.:0-9/]+(:[a-z]+)?(@sha256:[0-9a-f]{64})?")
)
def test_any_text_is_refused_or_stands_for_itself(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidError:
        return
    assert parse_reference(str(reference)) == reference
    assert not set(str(reference)) & set(" ?#%\\\r\n\t\"'")
    assert ".." not in reference.repository


@pytest.mark.parametrize(
    ("registry", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("[::1]:5000", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.1", False),
        ("2130706433", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("[::ffff:10.0.0.1]", False),
    ],
)
def test_loopback_is_what_can_be_nothing_else(registry: str, loopback: bool) -> None:
    assert is_loopback(parse_registry(registry)) is loopback
