"""What ADD takes from other servers: fetched in a sandbox of its own, so that an address leads where any sandbox may go, and no further.

The router is no browser for its clients: it stands in the operator's network, and would bring back what only that network may see.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from cove.dockerfile.copy_rules import context_path
from cove.dockerfile.git_sources import GitSource
from cove.exception import DataLossError
from policies.images import DEFAULT_ENV
from router.images.builder.items import MAX_FETCHED_BYTES, Item, temporary_file
from router.images.builder.stage_files import StageFiles
from router.images.builder.workshop import Workshop

FILE_MODE: Final = 0o600
"""Of what comes from a URL, as Docker has it."""

GIT_TOKEN: Final = "GIT_AUTH_TOKEN"
"""Secret for repositories that are not public; its name is Docker's."""

_PLACE: Final = "/fetched"

_FETCH: Final = """
import email.utils, os, sys, urllib.error, urllib.request
url, path, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(os.path.dirname(path))
try:
    request = urllib.request.Request(url, headers={"User-Agent": "cove"})
    with urllib.request.urlopen(request, timeout=60) as answer, open(path, "wb") as file:
        while chunk := answer.read(1 << 20):
            file.write(chunk)
            if file.tell() > most:
                sys.exit("it is too large")
        told = answer.headers.get("Last-Modified")
except (OSError, ValueError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
try:
    when = email.utils.parsedate_to_datetime(told).timestamp() if told else None
except ValueError:
    when = None
if when is not None and when >= 0:
    os.utime(path, (when, when))
"""
"""Arguments: the URL, the file to write, the most bytes it may have. The file's time is what the server says, where it does."""

_CLONE: Final = """
set -eu
url=$1 ref=$2 keep=$3 commit=$4 place=$5
git init -q "$place"
cd "$place"
git remote add origin "$url"
if git fetch -q --depth 1 origin "${ref:-HEAD}"; then
    git checkout -q --detach FETCH_HEAD
else
    git fetch -q origin '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*'
    git checkout -q --detach "$ref"
fi
git submodule update -q --init --recursive --depth 1
found=$(git rev-parse HEAD)
if [ -n "$commit" ] && [ "$found" != "$commit" ]; then
    echo "its commit is $found and not $commit" >&2
    exit 1
fi
[ "$keep" = 1 ] || find . -name .git -prune -exec rm -rf {} +
"""
"""A shallow clone; all of the history only where the server does not give a commit by its hash."""

Helper = Callable[[bool], Awaitable[Workshop]]
"""Opens the sandbox to fetch in; with git in it where told so."""


class Downloads:
    """Of one layer. ``secrets``: of its commands."""

    def __init__(self, helper: Helper, secrets: Mapping[str, str]) -> None:
        self._helper, self._secrets = helper, secrets
        self._count = 0

    @asynccontextmanager
    async def file(self, url: str, checksum: str | None) -> AsyncIterator[Item]:
        """What is at ``url``, for the block.

        Raises:  RemoteError: it could not be fetched. DataLossError: it has another checksum. Other errors: the node.
        """
        helper, path = await self._helper(False), self._place()
        argv = ["python3", "-c", _FETCH, url, path, str(MAX_FETCHED_BYTES)]
        await helper.run(f"Fetching {url[:80]}", argv, env=DEFAULT_ENV)
        with temporary_file() as file:
            files = StageFiles(file)
            await files.fetch(helper.sandbox, path)
            item = files.items[context_path(path)]
            await _check(item, url, checksum)
            yield replace(item, mode=FILE_MODE)

    @asynccontextmanager
    async def repository(
        self, source: GitSource, *, keep_git_dir: bool, commit: str | None
    ) -> AsyncIterator[tuple[str, Mapping[str, Item]]]:
        """For the block, the files of a repository, and the path among them of the directory that is wanted.

        Args:    commit: the full hash of what must be found.
        Raises:  RemoteError: it could not be fetched, or another commit was. Other errors: the node.
        """
        helper, path = await self._helper(True), self._place()
        argv = ["/bin/sh", "-c", _CLONE, "clone", source.url, source.ref, "1" if keep_git_dir else "", commit or "", path]
        await helper.run(f"Cloning {source.url[:80]}", argv, env={**DEFAULT_ENV, **self._git_settings(source.url)})
        wanted = f"{path}/{source.directory}" if source.directory else path
        with temporary_file() as file:
            files = StageFiles(file)
            await files.fetch(helper.sandbox, wanted)
            yield context_path(wanted), files.items

    def _place(self) -> str:
        self._count += 1
        return f"{_PLACE}/{self._count}/content"

    def _git_settings(self, url: str) -> dict[str, str]:
        """Environment of git. A token is sent to this server alone, and is in no command line."""
        settings = {"GIT_TERMINAL_PROMPT": "0"}
        if token := self._secrets.get(GIT_TOKEN):
            parts = urlsplit(url)
            told = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            settings |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{parts.scheme}://{parts.netloc}/.extraheader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {told}",
            }
        return settings


async def _check(item: Item, url: str, checksum: str | None) -> None:
    if checksum is None:
        return
    hasher = hashlib.sha256()
    async for chunk in item.content():
        hasher.update(chunk)
    if checksum != f"sha256:{hasher.hexdigest()}":
        raise DataLossError(
            f"What came from {url[:80]} has the checksum sha256:{hasher.hexdigest()}.", remedy="Compare it with --checksum: one is wrong."
        )
