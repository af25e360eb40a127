"""The choice of an image from an index."""

from __future__ import annotations

import pytest

from cove.exception import InvalidError
from snapshots.registry.platforms import Platform, choose, parse_platform, platform_of


def offered(*texts: str | None) -> list[Platform | None]:
    return [None if text is None else parse_platform(text) for text in texts]


@pytest.mark.parametrize(
    ("wanted", "there", "position"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["windows/amd64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64", ["linux/amd64/v1", "linux/amd64"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], 1),
        ("linux/amd64/v3", ["linux/amd64/v2", "linux/amd64"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/amd64", ["unknown/unknown", "linux/amd64", "linux/amd64"], 1),
        ("linux/amd64", [None], 0),
        ("linux/amd64", [None, "linux/amd64"], 1),
    ],
)
def test_the_best_match(wanted: str, there: list[str | None], position: int) -> None:
    assert choose(parse_platform(wanted), offered(*there)) == position


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        ([], "no platform at all"),
        ([None, None], "no platform at all"),
        (["unknown/unknown", "linux/arm64", "windows/amd64", "linux/arm64"], "there is linux/arm64, windows/amd64."),
        (["linux/amd64/v3"], "there is linux/amd64/v3."),
        ([f"linux/a{n:02}" for n in range(30)], "linux/a19 and 10 more."),
    ],
)
def test_no_match_lists_what_there_is(there: list[str | None], listed: str) -> None:
    with pytest.raises(InvalidError, match=listed):
        choose(Platform(), offered(*there))


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "Linux/amd64", "linux/amd 64", "linux/amd64\n"])
def test_what_is_not_a_platform(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_platform(text)


def test_machines() -> None:
    assert [str(platform_of(machine)) for machine in ("x86_64", "AMD64", "aarch64")] == ["linux/amd64", "linux/amd64", "linux/arm64"]
    with pytest.raises(InvalidError):
        platform_of("mips")
