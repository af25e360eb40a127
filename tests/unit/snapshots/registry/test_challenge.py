"""``WWW-Authenticate`` as registries and attackers write it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshots.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        ([], []),
        ([""], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="a b"'], [("basic", {"realm": "a b"})]),
        (["bEARER Realm=x,SERVICE=y"], [("bearer", {"realm": "x", "service": "y"})]),
        (
            ['Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push"'],
            [("bearer", {"realm": "https://auth.example/token", "service": "r", "scope": "repository:a/b:pull,push"})],
        ),
        (['Basic realm="x", Bearer realm="y" , service = "z"'], [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})]),
        (['Basic realm="x"', "Negotiate"], [("basic", {"realm": "x"}), ("negotiate", {})]),
        (["Negotiate dG9rZW4=, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        ([r'Basic realm="a \"quoted\" \\ realm"'], [("basic", {"realm": 'a "quoted" \\ realm'})]),
        (['Bearer realm="first",realm="second"'], [("bearer", {"realm": "first"})]),
        (['Bearer realm="not closed'], [("bearer", {})]),
        (["Bearer realm=x;service=y"], [("bearer", {"realm": "x"})]),
        (["realm=x"], []),
    ],
)
def test_parsed(headers: list[str], challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(headers) == [Challenge(*challenge) for challenge in challenges]


@given(st.lists(st.text(alphabet=' ,="\\aB:/', max_size=60), max_size=3))
def test_any_text_has_challenges_or_none(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""


@pytest.mark.parametrize("piece", ["a ", "a,", 'a="', "a=b,", '\\"', '"\\', "a\t,", "=", "a a=", ", ,"])
def test_long_headers_take_no_time(piece: str) -> None:
    started_s = time.process_time()
    parse_challenges(["Bearer " + piece * 100_000] * 4)
    assert time.process_time() - started_s < 1.0
