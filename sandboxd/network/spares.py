"""Networks that are laid ahead, for sandboxes to come: a claim takes a millisecond, laying one some four.

A spare is a whole network but for its place in the packet filter, so nothing passes it. Its namespace is mounted under the number of its
block in a directory of its own, and its link's alias says what it is; a restarted daemon finds it again by both.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sandboxd import kernel
from sandboxd.network import netns
from sandboxd.network.addresses import Block

ALIAS: Final = "spare"


class Spares:
    """Those that are there, first laid first claimed. From any thread.

    Args:    directory: made if missing.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory.resolve()
        self._lock = threading.Lock()
        self._blocks: deque[Block] = deque()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._blocks)

    def path(self, block: Block) -> Path:
        """Where the namespace of a spare is mounted."""
        return self._directory / str(block.index)

    def is_whole(self, block: Block) -> bool:
        """Whether the namespace of a link that says it is a spare is there."""
        return os.path.ismount(self.path(block))

    def add(self, block: Block) -> None:
        """One more is laid."""
        with self._lock:
            self._blocks.append(block)

    def take(self) -> Block | None:
        """One that is nobody else's from now on; None: there is none."""
        with self._lock:
            return self._blocks.popleft() if self._blocks else None

    def fresh_path(self) -> Path:
        """Where a spare can be made whose block is not chosen yet. What is found there after a crash is swept away."""
        return self._directory / f"fresh-{next(self._numbers)}"

    def settle(self, fresh: Path, block: Block) -> Block:
        """Mount what was made at ``fresh`` where spares of this block are. Returns: ``block``. Raises: OSError."""
        _move(fresh, self.path(block))
        return block

    def hand_over(self, block: Block, path: Path) -> None:
        """Mount the namespace of ``block`` at ``path`` instead. Raises: OSError."""
        _move(self.path(block), path)

    def sweep(self, kept: Iterable[Block]) -> None:
        """Remove namespaces of which no link is left. Raises: OSError."""
        wanted = {str(block.index) for block in kept}
        for name in set(netns.names(self._directory)) - wanted:
            netns.remove(self._directory / name)


def _move(source: Path, target: Path) -> None:
    """Mount the namespace at ``source`` at ``target``, and there alone. (Mounts below a shared one cannot be moved in one step.)"""
    target.touch(0o600, exist_ok=False)
    kernel.mount(str(source), target, flags=kernel.MountFlag.BIND)
    netns.remove(source)
