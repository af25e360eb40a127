"""Keeps the pins of all sandboxes, on disk too: a restarted daemon goes on to let through, and to call by name, what was pinned before.

A file per sandbox, named after it, that lines are appended to. It need not survive a reboot, as no sandbox does: times are of the
machine's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.types import SandboxId
from sandboxd.egress.pins import PinBook
from sandboxd.naming import check_sandbox_id, sandbox_ids

log = structlog.get_logger()

MAX_LINES: Final = 20_000
"""Lines of one file (some 2 MB); it then begins anew with what still holds."""


class _Line(msgspec.Struct):
    name: str
    addresses: list[str]
    until: float


class PinStore:
    """The books of all sandboxes of a node. Methods that write take some 50 µs, and belong to the event loop's thread."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """Take over what a former daemon left in ``directory``. Raises: OSError."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._clock = clock
        self._lines: dict[SandboxId, int] = {}
        self._books: dict[SandboxId, PinBook] = {}
        for sandbox_id in self.list_():
            self._load(sandbox_id)

    def book(self, sandbox_id: SandboxId) -> PinBook:
        """The book of a sandbox; an empty one the first time."""
        book = self._books.get(sandbox_id)
        if book is None:
            book = self._books[sandbox_id] = PinBook()
        return book

    def keep(self, sandbox_id: SandboxId, name: str, addresses: Sequence[IPv4Address], *, until: float) -> None:
        """Note a pin, in the book and on disk. Raises: OSError."""
        book = self.book(sandbox_id)
        book.add(name, addresses, until=until, now=self._clock())
        lines = self._lines.get(sandbox_id, 0) + 1
        if lines > MAX_LINES:
            self.rewrite(sandbox_id)
            return
        with self._path(sandbox_id).open("ab") as file:
            file.write(_encode(name, addresses, until))
        self._lines[sandbox_id] = lines

    def rewrite(self, sandbox_id: SandboxId) -> None:
        """Bring the file up to the book, which lost pins. Raises: OSError."""
        book, now = self.book(sandbox_id), self._clock()
        lines = [
            _encode(name, [address], now + left_s) for address, left_s in book.left(now).items() for name in book.names_of(address, now)
        ]
        path = self._path(sandbox_id)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(b"".join(lines))
        fresh.replace(path)
        self._lines[sandbox_id] = len(lines)

    def forget(self, sandbox_id: SandboxId) -> None:
        """The sandbox is gone. Idempotent. Raises: OSError."""
        self._books.pop(sandbox_id, None)
        self._lines.pop(sandbox_id, None)
        self._path(sandbox_id).unlink(missing_ok=True)

    def list_(self) -> frozenset[SandboxId]:
        """Sandboxes that have a file."""
        return sandbox_ids(path.name for path in self._directory.iterdir())

    def _load(self, sandbox_id: SandboxId) -> None:
        self._books[sandbox_id] = book = PinBook()
        now = self._clock()
        for line in filter(None, self._path(sandbox_id).read_bytes().split(b"\n")):
            try:
                pin = msgspec.json.decode(line, type=_Line)
                addresses = [IPv4Address(address) for address in pin.addresses]
            except (msgspec.DecodeError, ValueError):  # the daemon died over it: its answer never left
                log.warning("pin not readable", sandbox=sandbox_id)
                continue
            book.add(pin.name, addresses, until=pin.until, now=now)
        self.rewrite(sandbox_id)  # without what ended, and whole lines alone

    def _path(self, sandbox_id: SandboxId) -> Path:
        return self._directory / check_sandbox_id(sandbox_id)


def _encode(name: str, addresses: Sequence[IPv4Address], until: float) -> bytes:
    return msgspec.json.encode(_Line(name, [str(address) for address in addresses], until)) + b"\n"
