"""Waits until a daemon works, by asking it, and gives up as soon as it has died."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from cove.exception import AuthError, ConnectionError, Error, NotFoundError, TimeoutError
from sandboxd.local.control import Control, connected
from sandboxd.local.installation import Installation
from sandboxd.local.process import Background, ended

ROUTER_START_S: Final = 30.0
NODE_START_S: Final = 90.0
"""The first start makes the storage pool; a start after a crash takes sandboxes over."""
POLL_S: Final = 0.05

_NOT_YET: Final = (ConnectionError, TimeoutError, NotFoundError)
"""What asking raises while the router does not listen yet, or has not written its first token."""

Question = Callable[[Control], Awaitable[bool]]


async def router_answers(installation: Installation, address: str) -> None:
    """Return once the router takes its own first token.

    Raises:  Error: it ended or does not come up.
    """

    async def answers(control: Control) -> bool:
        await control.hello()
        return True

    await _until(installation, installation.router, address, answers, ROUTER_START_S)


async def node_registered(installation: Installation, address: str) -> None:
    """Return once the router has heard from this node's present process.

    Raises:  Error: it ended or does not come up.
    """
    since = installation.node.pid_file.stat().st_mtime

    async def registered(control: Control) -> bool:
        node_id = installation.node_id()
        return any(node.node_id == node_id and node.state == "healthy" and node.last_seen_at >= since for node in await control.nodes())

    await _until(installation, installation.node, address, registered, NODE_START_S)


async def _until(installation: Installation, daemon: Background, address: str, question: Question, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (process := daemon.running()) is not None:
        if await _asked(installation, address, question):
            return
        if time.monotonic() > deadline:
            raise daemon.failure(f"did not come up within {timeout_s:g} s")
        await ended(process.pid, POLL_S)
    raise daemon.failure("did not come up")


async def _asked(installation: Installation, address: str, question: Question) -> bool:
    try:
        async with connected(address, installation.bootstrap_credentials()) as control:
            return await question(control)
    except _NOT_YET:
        return False
    except AuthError as error:
        remedy = f"Is it another cove's? Else remove {installation.settings.state_dir}/router and start again."
        raise Error(f"The router at {address} does not take this installation's token.", remedy=remedy) from error
