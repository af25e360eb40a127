"""Repositories as sources of ADD: what is one, and what its address says."""

from __future__ import annotations

import pytest

from cove.dockerfile.git_sources import GitSource, is_git, parse_git
from cove.dockerfile.parser import parse_dockerfile
from cove.dockerfile.plan import make_plan
from cove.dockerfile.transfers import Origin, origin_of
from cove.exception import InvalidError, UnimplementedError

ADDRESSES = {
    "https://example.com/a/b.git": GitSource("https://example.com/a/b.git"),
    "https://example.com/a/b.git#v1.2": GitSource("https://example.com/a/b.git", "v1.2"),
    "https://example.com/a/b.git#feature/x:docs/./en/": GitSource("https://example.com/a/b.git", "feature/x", "docs/en"),
    "https://example.com/a/b.git#:docs": GitSource("https://example.com/a/b.git", "", "docs"),
    "https://example.com/a/b.git#": GitSource("https://example.com/a/b.git"),
    "HTTP://[::1]:8080/b.git": GitSource("HTTP://[::1]:8080/b.git"),
    "git://example.com/b.git#refs/heads/main": GitSource("git://example.com/b.git", "refs/heads/main"),
    "github.com/a/b#main": GitSource("https://github.com/a/b", "main"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses(text: str) -> None:
    assert is_git(text) and origin_of(text) is Origin.GIT
    assert parse_git(text) == ADDRESSES[text]


@pytest.mark.parametrize(
    "text", ["https://example.com/a.tar.gz", "https://example.com/x.github", "a.git", "dir/b.git", "https://e/a.git.zip"]
)
def test_what_is_none(text: str) -> None:
    assert not is_git(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/b.git#--upload-pack=x",
        "https://example.com/b.git#a b",
        "https://example.com/b.git#a..b",
        "https://example.com/b.git#main:../up",
        "https://example.com/b.git#main:a/.git/hooks",
        "https://example.com/b.git#main:a\nb",
        "https://user:word@example.com/b.git",
        "https:///b.git",
        "git://-oProxyCommand=x/b.git\n",
        f"https://example.com/{'x' * 3000}.git",
    ],
)
def test_malformed_addresses(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_git(text)
    assert "user:word" not in str(caught.value) or len(str(caught.value)) < 1024


@pytest.mark.parametrize("text", ["git@github.com:a/b.git", "ssh://git@example.com/b.git", "https://example.com/b.git?ref=x#main"])
def test_what_is_not_there(text: str) -> None:
    with pytest.raises(UnimplementedError):
        parse_git(text)


def test_neither_repositories_nor_urls_take_files_of_the_context() -> None:
    file = parse_dockerfile("FROM a\nARG R=main\nADD https://example.com/b.git#$R https://example.com/x local /d/")
    assert make_plan(file, build_args={}).sources == ("local",)
