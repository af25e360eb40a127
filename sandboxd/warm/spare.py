"""One spare: what it is made for, how it boots, and how it becomes a sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Final

import msgspec

from cove.types import SandboxId, TaskId, new_id
from policies.egress import EgressPolicy, Mode
from policies.shapes import shape_key
from sandboxd.assembly import Assembly, Made
from sandboxd.channel.client import Guest
from sandboxd.channel.link import Fifos
from sandboxd.channel.streams import ByteStream, StreamCut
from sandboxd.journal import Entry, Image, Resources, new_guest_marker
from sandboxd.runtime import Runtime

BOOT_S: Final = 60.0
"""From its first file to standing still."""

WAKE_S: Final = 10.0
"""A guest that was thawed answers in a millisecond. Of a hundred thawed at once the last takes seconds; cold starts would take more."""

CLOSED: Final = {
    False: EgressPolicy(mode=Mode.ALLOWLIST),
    True: EgressPolicy(mode=Mode.ALLOWLIST, domains=("invalid",)),
}
"""What is in force while it waits, by whether it is to have a resolver: no address, and a name that leads nowhere (RFC 6761, 6.4)."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What spares of a shape are made of."""

    image: Image
    resources: Resources
    has_network: bool
    has_resolver: bool

    @classmethod
    def of(cls, entry: Entry) -> Model:
        return cls(
            image=entry.image,
            resources=entry.resources,
            has_network=entry.network.mode is not Mode.BLOCKED,
            has_resolver=entry.network.has_resolver,
        )

    def stands_on(self, layer_id: str) -> bool:
        return any(layer.layer_id == layer_id for layer in self.image.layers)

    def entry(self) -> Entry:
        """For :meth:`Assembly.make`. It is never written down: a daemon that finds the container without a journal entry frees it."""
        return Entry(
            sandbox_id=SandboxId(new_id("sb")),
            task_id=TaskId(""),
            command=[],
            workdir="/",
            timeout_s=0,
            idle_timeout_s=0,
            resources=self.resources,
            image=self.image,
            network=CLOSED[self.has_resolver] if self.has_network else EgressPolicy(mode=Mode.BLOCKED),
            pty=False,
            verbose=False,
            guest_marker=new_guest_marker(),
            created_at=time.time(),
        )


class Spare(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A container that waits."""

    sandbox_id: SandboxId
    shape: str
    model: Model
    made: Made
    guest_marker: str
    since: float
    """Monotonic seconds: when it began to wait."""


def shape_of(entry: Entry) -> str:
    """The key of what ``entry`` stands on; empty: nothing can be made ahead for it."""
    if entry.build or entry.restore is not None:
        return ""
    return shape_key(entry.image.image_id or entry.image.base, entry.resources, entry.network)


async def boot(assembly: Assembly, model: Model, entry: Entry) -> Spare:
    """Make a spare of ``model`` and let it stand still; ``entry`` is the model's.

    Raises: Error, OSError, StreamCut, TimeoutError. Whatever exists then is ``Assembly.free``'s to remove.
    """
    async with asyncio.timeout(BOOT_S):
        made = await assembly.make(entry)
        try:
            await _greet(made.fifos, entry.guest_marker, is_new=True)
            assembly.rest(entry.sandbox_id)
            await assembly.freeze(entry.sandbox_id)
        except BaseException:
            made.fifos.close()
            raise
    return Spare(
        sandbox_id=entry.sandbox_id,
        shape=shape_of(entry),
        model=model,
        made=made,
        guest_marker=entry.guest_marker,
        since=time.monotonic(),
    )


async def wake(assembly: Assembly, runtime: Runtime, spare: Spare, entry: Entry) -> Made:
    """Make ``spare`` the sandbox of ``entry``, which gets its guest's marker.

    Raises: Error, OSError, StreamCut, TimeoutError: it is of no use any more, and its FIFOs are closed.
    """
    try:
        async with asyncio.timeout(WAKE_S):
            assembly.stir(spare.sandbox_id)
            await assembly.thaw(spare.sandbox_id)
            if spare.model.has_network:
                await assembly.set_network(spare.sandbox_id, entry.network)
            await _unless_dead(runtime, spare.sandbox_id, _greet(spare.made.fifos, spare.guest_marker, is_new=False))
    except BaseException:
        spare.made.fifos.close()
        raise
    entry.guest_marker = spare.guest_marker
    return msgspec.structs.replace(spare.made, is_greeted=True)


async def _greet(fifos: Fifos, marker: str, *, is_new: bool) -> None:
    """Return once the guest has answered."""
    guest = Guest(fifos, bytes.fromhex(marker), violated=_ignore, api_opened=_refuse)
    try:
        await (guest.start() if is_new else guest.reset())
    finally:
        guest.close()


async def _unless_dead(runtime: Runtime, sandbox_id: SandboxId, work: Coroutine[None, None, None]) -> None:
    """Do ``work``. A sentry that was killed while it was frozen dies now, and nobody else would tell who waits for its answer.

    Raises: StreamCut: it is dead. What ``work`` raises.
    """
    working, dying = asyncio.ensure_future(work), asyncio.ensure_future(runtime.died(sandbox_id))
    try:
        await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise StreamCut("its sentry is dead")
        working.result()
    finally:
        working.cancel()
        dying.cancel()
        await asyncio.wait({working, dying})


def _ignore(error: Exception) -> None:
    """Whoever waits for the guest hears of it."""


def _refuse(stream: ByteStream, peer: object) -> None:
    """Nothing runs there that could ask."""
    stream.close()
