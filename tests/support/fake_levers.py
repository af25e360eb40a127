"""What tests can do to the snapshots of a fake node, of files or of memory, while they are taken and stored."""

from __future__ import annotations

import asyncio
import hashlib

from cove.exception import Error


class Levers:
    """``gate`` holds snapshots before they are taken, ``drop_answers`` takes them and says nothing; ``refusal`` fails stores."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set when something was stored or removed."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.drop_answers = False
        self.refusal: Error | None = None
        self.digest = ""
        """What stores answer instead of a real one."""
        self.stored: list[str] = []
        self.removed: list[str] = []

    async def pass_gate(self) -> None:
        """A snapshot is about to be taken."""
        self.arrived.set()
        await self.gate.wait()

    async def answer_or_not(self) -> None:
        """It has been taken. Does not return where the answer is lost."""
        if self.drop_answers:
            await asyncio.Event().wait()

    def refuse_or_not(self) -> None:
        """Something is about to be stored. Raises: ``refusal``."""
        if self.refusal is not None:
            raise self.refusal

    def keep(self, name: str) -> str:
        """It has been stored. Returns: its digest."""
        self.stored.append(name)
        self.changed.set()
        return self.digest or f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"

    def drop(self, name: str) -> None:
        """It has been removed."""
        self.removed.append(name)
        self.changed.set()
