"""COPY and ADD: which file goes where."""

from __future__ import annotations

import posixpath
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.dockerfile import parse_commands
from cove.dockerfile.copy_rules import Destination, Entry, FileKind, destination_of, download_target, place
from cove.dockerfile.model import Transfer
from cove.exception import Error, InvalidError, RequestSizeError

FILES = ("a.txt", "b.txt", "c.md", "d/e.txt", "d/f/g.md", "d/f/h.txt", "d2/e.txt", "sub/x/y/z.txt", "we ird/[x]", "*")
LINKS = {"l-file": "d/e.txt", "l-dir": "d", "l-abs": "/d/f", "l-out": "../etc/passwd", "l-loop": "l-loop", "l-gone": "gone", "d/l": "e.txt"}


def context() -> list[Entry]:
    directories = {parent for file in FILES for parent in _parents(file)}
    return [
        *(Entry(file, FileKind.FILE) for file in FILES),
        *(Entry(directory, FileKind.DIRECTORY) for directory in directories),
        *(Entry(path, FileKind.LINK, target) for path, target in LINKS.items()),
        Entry("empty", FileKind.DIRECTORY),
    ]


def _parents(path: str) -> list[str]:
    parent = posixpath.dirname(path)
    return [*_parents(parent), parent] if parent else []


def copied(line: str, *, workdir: str = "/", there: Collection[str] = ("/",)) -> dict[str, str]:
    """Target to source of all that is not a directory."""
    (transfer,) = parse_commands([line])
    assert isinstance(transfer, Transfer)
    placed = place(transfer, context(), workdir=workdir, is_directory=lambda path: path in there)
    files = [found for found in placed if found.kind is not FileKind.DIRECTORY]
    return {found.target: f"<<{found.heredoc.name}" if found.heredoc else found.source for found in files}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # A file.
        ("COPY a.txt /x", {"/x": "a.txt"}),
        ("COPY a.txt /x/", {"/x/a.txt": "a.txt"}),
        ("COPY a.txt /", {"/a.txt": "a.txt"}),
        ("COPY a.txt .", {"/w/a.txt": "a.txt"}),
        ("COPY a.txt ./", {"/w/a.txt": "a.txt"}),
        ("COPY a.txt x", {"/w/x": "a.txt"}),
        ("COPY a.txt x/y/", {"/w/x/y/a.txt": "a.txt"}),
        ("COPY a.txt ../x", {"/x": "a.txt"}),
        ("COPY a.txt ../../../x", {"/x": "a.txt"}),
        ("COPY a.txt //x//y", {"/x/y": "a.txt"}),
        ("COPY a.txt /there", {"/there/a.txt": "a.txt"}),
        ("COPY /a.txt /x", {"/x": "a.txt"}),
        ("COPY d/../a.txt /x", {"/x": "a.txt"}),
        ("COPY d/e.txt /x/", {"/x/e.txt": "d/e.txt"}),
        ('COPY ["we ird/[x]", "/x"]', {"/x": "we ird/[x]"}),
        # Directories: what is in them, not they themselves.
        ("COPY d2 /x", {"/x/e.txt": "d2/e.txt"}),
        ("COPY d2/ /x/", {"/x/e.txt": "d2/e.txt"}),
        ("COPY d2 /there", {"/there/e.txt": "d2/e.txt"}),
        ("COPY d/f /x", {"/x/g.md": "d/f/g.md", "/x/h.txt": "d/f/h.txt"}),
        ("COPY d2 d/f /x/", {"/x/e.txt": "d2/e.txt", "/x/g.md": "d/f/g.md", "/x/h.txt": "d/f/h.txt"}),
        ("COPY empty /x", {}),
        # Globs.
        ("COPY *.txt /x/", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt"}),
        ("COPY [ab].txt none* /x/", {"/x/a.txt": "a.txt", "/x/b.txt": "b.txt"}),
        ("COPY c* /x", {"/x": "c.md"}),
        ("COPY d/*/g.md /x", {"/x": "d/f/g.md"}),
        ("COPY d? /x/", {"/x/e.txt": "d2/e.txt"}),
        ("COPY \\* /x", {"/x": "*"}),
        ("COPY a.txt a.txt /there", {"/there/a.txt": "a.txt"}),
        # Links are followed where they are the source, and only there.
        ("COPY l-file /x/", {"/x/l-file": "d/e.txt"}),
        ("COPY l-abs /x", {"/x/g.md": "d/f/g.md", "/x/h.txt": "d/f/h.txt"}),
        ("COPY --exclude=f l-dir /x", {"/x/e.txt": "d/e.txt", "/x/l": "d/l"}),
        # What is left out.
        ("COPY --exclude=*.md d/f /x", {"/x/h.txt": "d/f/h.txt"}),
        ("COPY --exclude=**/*.md --exclude=l --exclude=e.txt d /x", {"/x/f/h.txt": "d/f/h.txt"}),
        ("COPY --exclude=f --exclude=!f/g.md --exclude=l d /x", {"/x/e.txt": "d/e.txt", "/x/f/g.md": "d/f/g.md"}),
        ("COPY --exclude=a.* *.txt /x/", {"/x/b.txt": "b.txt"}),
        # With parents.
        ("COPY --parents d/f/g.md /x/", {"/x/d/f/g.md": "d/f/g.md"}),
        ("COPY --parents a.txt sub/x /x", {"/x/a.txt": "a.txt", "/x/sub/x/y/z.txt": "sub/x/y/z.txt"}),
        ("COPY --parents sub/./x/y/* /x/", {"/x/x/y/z.txt": "sub/x/y/z.txt"}),
        ("COPY --parents ./sub/x/./y /x/", {"/x/y/z.txt": "sub/x/y/z.txt"}),
        ("COPY --parents */*/*.md /x/", {"/x/d/f/g.md": "d/f/g.md"}),
        # Files given in place, and from elsewhere.
        ("COPY <<x /y\nx", {"/y": "<<x"}),
        ("COPY <<x /y/\nx", {"/y/x": "<<x"}),
        ("COPY <<x <<z a.txt /y/\nx\nz", {"/y/x": "<<x", "/y/z": "<<z", "/y/a.txt": "a.txt"}),
        ("ADD https://example.com/q /y", {}),
        ("ADD https://example.com/q a.txt /y/", {"/y/a.txt": "a.txt"}),
    ],
)
def test_targets(line: str, expected: dict[str, str]) -> None:
    assert copied(line, workdir="/w", there=("/", "/there")) == expected


def test_everything() -> None:
    found = copied("COPY . /x")
    assert set(found.values()) == {*FILES, *LINKS}
    assert found["/x/d/f/g.md"] == "d/f/g.md"


def test_directories_come_before_what_they_contain() -> None:
    (transfer,) = parse_commands(["COPY --parents sub/x d /x/"])
    assert isinstance(transfer, Transfer)
    placed = place(transfer, context(), workdir="/", is_directory=lambda _: False)
    assert [(found.source, found.target) for found in placed if found.kind is FileKind.DIRECTORY] == [
        ("sub", "/x/sub"),
        ("sub/x", "/x/sub/x"),
        ("sub/x/y", "/x/sub/x/y"),
        ("d", "/x/d"),
        ("d/f", "/x/d/f"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("COPY a.txt b.txt /x", "Several sources need a directory"),
        ("COPY *.txt /x", "Several sources need a directory"),
        ("COPY d d2 /x", "Several sources need a directory"),
        ("COPY <<x <<y /z\nx\ny", "Several sources need a directory"),
        ("ADD https://example.com/q a.txt /y", "Several sources need a directory"),
        ("COPY nope /x", "'nope' does not exist"),
        ("COPY a.txt nope /x/", "'nope' does not exist"),
        ("COPY d/nope /x", "'d/nope' does not exist"),
        ("COPY nope* no? /x/", "Nothing matches"),
        ("COPY ../x /x", "outside the context"),
        ("COPY d/../../x /x", "outside the context"),
        ("COPY l-out /x", "outside the context"),
        ("COPY l-loop /x", "link to nothing"),
        ("COPY l-gone /x", "link to nothing"),
        ("COPY [ /x", "malformed"),
        ("COPY --exclude=[ a.txt /x", "malformed"),
        ("COPY <<'..' /x/\n..", "how to name the file"),
        (f"COPY a.txt /{'x' * 5000}", "too long"),
    ],
)
def test_errors(line: str, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        copied(line)
    assert said in caught.value.cause
    assert "line 1" in caught.value.cause
    assert caught.value.remedy


def test_too_many_comparisons() -> None:
    (transfer,) = parse_commands([f"COPY {'* ' * 900} /x/"])
    assert isinstance(transfer, Transfer)
    entries = [Entry(str(number), FileKind.FILE) for number in range(30_000)]
    with pytest.raises(RequestSizeError, match="patterns"):
        place(transfer, entries, workdir="/", is_directory=lambda _: False)


def test_too_many_sources() -> None:
    with pytest.raises(RequestSizeError):
        copied(f"COPY {'a.txt ' * 2000} /x/")


@pytest.mark.parametrize(
    ("text", "workdir", "expected"),
    [
        ("/a", "/w", Destination("/a", False)),
        ("a/", "/w", Destination("/w/a", True)),
        (".", "/w", Destination("/w", True)),
        ("./.", "/w", Destination("/w", True)),
        ("", "/w", Destination("/w", True)),
        ("/", "/", Destination("/", True)),
        ("../../..", "/w", Destination("/", False)),
        ("//a", "/w", Destination("/a", False)),
        ("a", "w", Destination("/w/a", False)),
    ],
)
def test_destinations(text: str, workdir: str, expected: Destination) -> None:
    assert destination_of(text, workdir) == expected


def test_downloads() -> None:
    directory, file = Destination("/d", True), Destination("/f", False)
    assert download_target("https://example.com/a/b%20c.tar?x=/y#z", directory) == "/d/b c.tar"
    assert download_target("https://example.com/", file) == "/f"
    for url in ("https://example.com", "https://example.com/a/", "https://example.com/..", "https://example.com/%2e%2e", "http://[/x"):
        with pytest.raises(InvalidError):
            download_target(url, directory)
    assert download_target("https://example.com/%2e%2e%2fpasswd", directory) == "/d/passwd"


@pytest.mark.parametrize("path", ["", ".", "..", "../a", "/a", "a/", "a//b", "a/../b", "./a"])
def test_entries_are_relative_and_normal(path: str) -> None:
    with pytest.raises(InvalidError):
        Entry(path, FileKind.FILE)


PATHS = st.text("ad./*[]?\\-x", max_size=10)


@settings(max_examples=300, deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=3), PATHS, st.booleans(), PATHS)
def test_whatever_is_copied_exists_and_lands_below_the_destination(
    sources: list[str], destination: str, parents: bool, exclude: str
) -> None:
    (transfer,) = parse_commands(["COPY --parents a b" if parents else "COPY a b"])
    assert isinstance(transfer, Transfer)
    changed = type(transfer)(
        **{
            **{name: getattr(transfer, name) for name in ("line", "original", "parents", "from_")},
            "sources": tuple(sources),
            "destination": destination,
            "exclude": (exclude,),
        }
    )
    entries = context()
    try:
        placed = place(changed, entries, workdir="/w", is_directory=lambda path: path == "/w")
    except Error as error:
        assert error.remedy
        return
    root = destination_of(destination, "/w").path
    for found in placed:
        assert found.source in {".", *(entry.path for entry in entries)}
        assert found.target == posixpath.normpath(found.target)
        assert found.target == root or found.target.startswith(root.rstrip("/") + "/")
