"""``COPY`` and ``ADD``: sources, files given in place, destination, flags."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from cove.dockerfile.flags import Flags
from cove.dockerfile.git_sources import is_git, parse_git
from cove.dockerfile.model import Add, Copy, Heredoc
from cove.dockerfile.problems import cut
from cove.dockerfile.statements import Statement
from cove.dockerfile.words import heredoc_mark, parse_json, split_plain
from cove.exception import InvalidError

_SHARED_FLAGS: Final = ("chown", "chmod", "link", "exclude")
_CHECKSUM: Final = re.compile(r"sha256:[0-9a-f]{64}|[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""Of a file, or a commit of Git."""
_URL: Final = re.compile(r"https?://", re.IGNORECASE)


class Origin(Enum):
    """Where a source of ADD comes from."""

    CONTEXT = "context"
    URL = "url"
    GIT = "git"


def origin_of(source: str) -> Origin:
    """Where ADD takes ``source`` from."""
    if is_git(source):
        return Origin.GIT
    return Origin.URL if _URL.match(source) else Origin.CONTEXT


def parse_copy(statement: Statement) -> Copy:
    """A COPY.

    Raises:  InvalidError: no source or no destination, or flags that it does not have.
    """
    flags = Flags(statement.flags, (*_SHARED_FLAGS, "from", "parents"), many=("exclude",))
    sources, heredocs, destination = _arguments(statement)
    if "$" in (flags.text("from") or ""):
        raise InvalidError("The flag --from cannot have variables.", remedy="Add FROM $IMAGE AS name, and use --from=name.")
    return Copy(
        line=statement.line,
        original=statement.original,
        sources=sources,
        heredocs=heredocs,
        destination=destination,
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link") or False,
        exclude=flags.texts("exclude"),
        parents=flags.switch("parents") or False,
    )


def parse_add(statement: Statement) -> Add:
    """An ADD.

    Raises:
        InvalidError: as for COPY, a checksum that is none, or a malformed address of a Git repository.
        UnimplementedError: a Git repository that is reached in a way that cove does not have.
    """
    flags = Flags(statement.flags, (*_SHARED_FLAGS, "checksum", "keep-git-dir", "unpack"), many=("exclude",))
    sources, heredocs, destination = _arguments(statement)
    for source in sources:
        if is_git(source) and "$" not in source:
            parse_git(source)
    checksum = flags.text("checksum")
    if checksum is not None and "$" not in checksum and not _CHECKSUM.fullmatch(checksum):
        raise InvalidError(
            f"{cut(checksum)!r} is not a checksum.", remedy="Write --checksum=sha256: and 64 hexadecimal digits, or a commit's full hash."
        )
    return Add(
        line=statement.line,
        original=statement.original,
        sources=sources,
        heredocs=heredocs,
        destination=destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.switch("link") or False,
        exclude=flags.texts("exclude"),
        checksum=checksum,
        keep_git_dir=flags.switch("keep-git-dir") or False,
        unpack=flags.switch("unpack"),
    )


def _arguments(statement: Statement) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Sources that are paths, sources given in place, and the destination."""
    exec_form = parse_json(statement.rest)
    words = tuple(split_plain(statement.rest)) if exec_form is None else exec_form
    if len(words) < 2:
        raise InvalidError(
            f"{statement.keyword} needs a source and a destination.", remedy=f"Write {statement.keyword} source destination."
        )
    *sources, destination = words
    if exec_form is not None:
        return tuple(sources), (), destination
    if heredoc_mark(destination):
        raise InvalidError("A heredoc cannot be the destination.", remedy="Add a path after it.")
    # Two heredocs of one name hold what the second one holds.
    by_name = {heredoc.name: heredoc for heredoc in statement.heredocs}
    marks = [heredoc_mark(source) for source in sources]
    paths = tuple(source for source, mark in zip(sources, marks, strict=True) if mark is None)
    if any(mark is not None and mark.name not in by_name for mark in marks):
        raise InvalidError("A heredoc is in quotes that do not end.", remedy="Close the quotes.")
    return paths, tuple(by_name[mark.name] for mark in marks if mark), destination
