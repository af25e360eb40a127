"""Git repositories as sources of ADD: ``https://host/path.git#ref:directory``. Pure. Source: Dockerfile reference, "ADD", "Git context"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cove.dockerfile.problems import cut, unsupported
from cove.exception import InvalidError

MAX_URL_CHARACTERS: Final = 2048

_SHORT: Final = re.compile(r"github\.com/", re.IGNORECASE)
_GIT: Final = re.compile(r"git@|git://|ssh://|https?://[^#?]*\.git(?:[#?]|\Z)|github\.com/", re.IGNORECASE)
_FETCHED: Final = re.compile(r"(?:https?|git)://[A-Za-z0-9.\[\]:_-]+/[!-~]*", re.IGNORECASE)
_REF: Final = re.compile(r"(?!-)(?!.*\.\.)[A-Za-z0-9._/@+-]{1,255}")


@dataclass(frozen=True, slots=True)
class GitSource:
    """What to check out.

    Attributes:
        url: of the repository, http, https or git.
        ref: branch, tag or commit; empty: the repository's default branch.
        directory: of the repository that is wanted, relative; empty: all of it.
    """

    url: str
    ref: str = ""
    directory: str = ""


def is_git(source: str) -> bool:
    """Whether ADD takes ``source`` for a repository and not for a file."""
    return _GIT.match(source) is not None


def parse_git(source: str) -> GitSource:
    """The repository that ``source`` names.

    Raises:
        InvalidError: malformed, or a directory outside the repository.
        UnimplementedError: over SSH, or with a query.
    """
    url, _, fragment = source.partition("#")
    if source.lower().startswith(("git@", "ssh://")):
        raise unsupported(
            "ADD of a Git repository over SSH", instead="Use its https:// address, with the secret GIT_AUTH_TOKEN if it is private."
        )
    if "?" in url:
        raise unsupported("A query in a Git repository's address", instead="Write #ref:directory after it.")
    if _SHORT.match(url):
        url = f"https://{url}"
    if len(url) > MAX_URL_CHARACTERS or not _FETCHED.fullmatch(url):
        raise InvalidError(
            f"{cut(source)!r} is not the address of a Git repository.", remedy="Write https://host/path.git, without user and password."
        )
    ref, _, directory = fragment.partition(":")
    if ref and not _REF.fullmatch(ref):
        raise InvalidError(f"{cut(ref)!r} is not the name of a branch, tag or commit.", remedy="Write it after the #.")
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    if ".." in parts or ".git" in parts or not directory.isprintable():
        raise InvalidError(f"The directory {cut(directory)!r} is not in the repository.", remedy="Name one without '..'.")
    return GitSource(url, ref, "/".join(parts))
