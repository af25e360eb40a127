"""Whose files are that COPY and ADD bring, and what may be done with them: ``--chown`` and ``--chmod``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from cove.dockerfile.model import Transfer
from cove.exception import InvalidError, UnimplementedError
from router.node_sandbox import NodeSandbox

MAX_ACCOUNTS_BYTES: Final = 2**20
"""Of /etc/passwd and /etc/group."""

MAX_ID: Final = 2**32 - 2
"""The highest user and group: the next one means "none" to the kernel."""

_ID: Final = re.compile(r"[0-9]{1,10}")
_OWNER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}(:[A-Za-z0-9_.-]{1,64})?")


class Ownership(NamedTuple):
    """None: as it is by itself."""

    owner: tuple[int, int] | None
    """User and group."""
    mode: int | None


async def ownership_of(transfer: Transfer, sandbox: NodeSandbox) -> Ownership:
    """What the flags say, names looked up in the image.

    Raises:  InvalidError: the image has no such user or group. UnimplementedError: permissions that are not digits.
    """
    owner = await _owner(transfer.chown, sandbox) if transfer.chown is not None else None
    return Ownership(owner, _mode(transfer.chmod))


def _mode(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3,4}", text):
        raise UnimplementedError(f"--chmod={text[:40]} is not supported.", remedy="Give octal digits, such as --chmod=0755.")
    return int(text, 8)


async def _owner(text: str, sandbox: NodeSandbox) -> tuple[int, int]:
    """Numbers for ``user[:group]``, looked up in the image. Without a group, a name has its own, and a number stands for both.

    Raises:  InvalidError: the image has no such user or group.
    """
    if not _OWNER.fullmatch(text):
        raise InvalidError(f"--chown={text[:80]!r} names no owner.", remedy="Give user:group, names or numbers.")
    user, _, group = text.partition(":")
    users, groups = await _accounts(sandbox, "/etc/passwd"), await _accounts(sandbox, "/etc/group")
    uid = _number(user, users, "user")
    if group:
        return uid, _number(group, groups, "group")
    named = next((fields for fields in users if len(fields) > 3 and fields[0] == user and _ID.fullmatch(fields[3])), None)
    return uid, int(named[3]) if named and not _ID.fullmatch(user) else uid


async def _accounts(sandbox: NodeSandbox, path: str) -> list[list[str]]:
    content = await sandbox.read_file(path, max_bytes=MAX_ACCOUNTS_BYTES)
    return [line.split(":") for line in content.decode("utf-8", "replace").splitlines()]


def _number(name: str, accounts: Sequence[Sequence[str]], what: str) -> int:
    if _ID.fullmatch(name) and int(name) <= MAX_ID:
        return int(name)
    for fields in accounts:
        if len(fields) > 2 and fields[0] == name and _ID.fullmatch(fields[2]) and int(fields[2]) <= MAX_ID:
            return int(fields[2])
    raise InvalidError(f"The image has no {what} {name!r}.", remedy="Create it in a RUN before, or give a number.")
