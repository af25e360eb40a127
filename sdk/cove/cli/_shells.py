"""What ``cove shell`` does: a process with our standard streams, in a sandbox that may be its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

from cove._async.app import _App
from cove._async.image import _Image
from cove._async.sandbox import _Sandbox
from cove.cli import _attach, _sandboxes
from cove.cli._show import progress
from cove.types import is_id

APP: Final = "cove-shell"
"""App of the sandboxes that shells make."""

LIFETIME_S: Final = 24 * 60 * 60
"""The longest a sandbox may have: somebody sits in it, and it is ended with the shell."""

_TERMINATE_S: Final = 10.0
"""How long leaving tries to end the sandbox: whoever leaves because the connection is gone shall not wait for it."""


async def in_running(reference: str, command: list[str], *, pty: bool | None) -> int:
    """Run ``command`` in the sandbox that ``reference`` means; its exit code."""
    return await _attach.run_in(await _sandboxes.find(reference), command, pty=pty)


class Wanted(NamedTuple):
    """The sandbox that a shell wants.

    ``memory`` in MiB, ``timeout`` in seconds; ``image``: an id, a Python version, a path on the node, or a reference to a registry.
    """

    cpu: float | None
    memory: int | None
    block_network: bool
    image: str | None
    timeout: int | None


async def in_new(wanted: Wanted, command: list[str], *, pty: bool | None) -> int:
    """Run ``command`` in a sandbox made for it and ended with it, whatever way this is left; its exit code."""
    with progress("Starting a sandbox"):
        sandbox = await _keep_hold(_create(wanted))
    try:
        return await _attach.run_in(sandbox, command, pty=pty)
    finally:
        with contextlib.suppress(TimeoutError):  # its lifetime ends it where we cannot
            async with asyncio.timeout(_TERMINATE_S):
                await sandbox.terminate()


async def _keep_hold(work: Coroutine[Any, Any, _Sandbox]) -> _Sandbox:
    """The sandbox that ``work`` makes. One that is being made when Ctrl-C comes is ended, not forgotten."""
    creation = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(creation)
    except asyncio.CancelledError:
        await (await creation).terminate()
        raise


async def _create(wanted: Wanted) -> _Sandbox:
    return await _Sandbox.create(
        app=await _App.lookup(APP, create_if_missing=True),
        image=_image(wanted.image),
        timeout=LIFETIME_S if wanted.timeout is None else wanted.timeout,
        cpu=wanted.cpu,
        memory=wanted.memory,
        block_network=wanted.block_network,
    )


def _image(text: str | None) -> _Image | None:
    if text is None:
        return None
    if is_id(text, "im"):
        return _Image.from_id(text)
    if text.startswith("/"):
        return _Image.from_rootfs(text)
    return _Image.debian_slim(text) if text[:1].isdigit() and ":" not in text else _Image.from_registry(text)
