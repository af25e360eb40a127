"""What ``cove up`` and ``cove down`` do. Each tells its steps to ``say`` and raises errors that explain themselves."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
from collections.abc import Callable
from typing import Final

from cove.exception import AuthError, PermissionDeniedError
from sandboxd import kernel
from sandboxd.local import profile
from sandboxd.local.control import connected
from sandboxd.local.installation import Installation, with_port
from sandboxd.local.process import Background, ended
from sandboxd.local.readiness import node_registered, router_answers

STOP_S: Final = 30.0
CLEAR_S: Final = 600.0
"""There may be many sandboxes, and the machine busy."""

Say = Callable[[str], None]


async def up(installation: Installation, say: Say) -> None:
    """Start what does not run yet, wait until it works, and write the invoking user's profile.

    Raises:  PermissionDeniedError: not root. Error: a daemon did not come up; the text has the end of its log.
    """
    _require_root("cove up")
    with installation.locked():
        address = await _start(installation, say)
        await _write_profile(installation, address, say)


async def down(installation: Installation, say: Say, *, keep_sandboxes: bool) -> None:
    """Stop the node, then the router: so the ends of sandboxes are still told to it.

    Args:    keep_sandboxes: leave them running; the next ``up`` takes them over. Else all are terminated and everything is freed.
    Raises:  PermissionDeniedError: not root. ConflictError: a daemon does not end.
    """
    _require_root("cove down")
    with installation.locked():
        if not keep_sandboxes and not installation.node.running() and _left_behind(installation):
            say("sandboxes were left running: starting the node to end them")
            await _start(installation, say)
        if keep_sandboxes:
            await _stop(installation.node, signal.SIGTERM, STOP_S, say)
        else:
            await _stop(installation.node, signal.SIGUSR1, CLEAR_S, say)
        await _stop(installation.router, signal.SIGTERM, STOP_S, say)
        if not keep_sandboxes:
            _remove_run_dir(installation)


async def foreground(installation: Installation, say: Say) -> None:
    """``up``, and stay until SIGINT or SIGTERM; then stop both. Sandboxes go on and the next start takes them over. For service managers.

    Raises:  Error: a daemon ended by itself.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    await up(installation, say)
    try:
        dead = await _first_end(installation, asked)
    finally:
        await down(installation, say, keep_sandboxes=True)
    if dead is not None:
        raise dead.failure("ended by itself")


async def _start(installation: Installation, say: Say) -> str:
    """Start both daemons as far as they do not run; stop again what was started if one does not come up. Returns the router's address."""
    running = installation.router.running()
    address = (running.address if running else "") or with_port(installation.settings.router_address)
    started: list[Background] = []
    try:
        for daemon, works in ((installation.router, router_answers), (installation.node, node_registered)):
            if not daemon.running():
                daemon.start(installation.daemon_environ(address), address=address)
                started.append(daemon)
            await works(installation, address)
            say(f"{daemon.name} {'started' if daemon in started else 'is already up'}")
    except BaseException:
        for daemon in reversed(started):
            await daemon.stop(signal.SIGTERM, STOP_S)
        raise
    return address


async def _stop(daemon: Background, number: signal.Signals, timeout_s: float, say: Say) -> None:
    say(f"{daemon.name} {'stopped' if await daemon.stop(number, timeout_s) else 'was not running'}")


async def _first_end(installation: Installation, asked: asyncio.Event) -> Background | None:
    """The daemon that ends first; None when ``asked`` comes before."""
    running = {daemon: daemon.running() for daemon in (installation.router, installation.node)}
    gone = next((daemon for daemon, process in running.items() if process is None), None)
    if gone is not None:
        return gone
    waits: dict[asyncio.Task[bool], Background | None] = {}
    async with asyncio.TaskGroup() as group:
        waits[group.create_task(asked.wait())] = None
        waits.update({group.create_task(ended(process.pid)): daemon for daemon, process in running.items() if process})
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
    return waits[done.pop()]


async def _write_profile(installation: Installation, address: str, say: Say) -> None:
    """Give the invoking user a profile with a token of their own, unless theirs still works."""
    user = profile.invoking_user(installation.environ)
    path = profile.profile_path(user, installation.environ)
    known = profile.read_credentials(user, path, installation.profile, address)
    if known is not None:
        try:
            async with connected(address, known) as control:
                await control.hello()
            return
        except AuthError:
            say(f"the token of profile {installation.profile!r} is no longer good")
    async with connected(address, installation.bootstrap_credentials()) as control:
        credentials = await control.create_token(f"{user.name}@{platform.node()}")
    active = profile.store(user, path, installation.profile, address, credentials)
    say(f"profile {installation.profile!r} written to {path}")
    if not active:
        say(f"another profile is active; use this one with: cove profile activate {installation.profile}")


def _left_behind(installation: Installation) -> bool:
    """Whether sandboxes outlived their daemon."""
    sandboxes = installation.settings.run_dir / "sandboxes"
    return sandboxes.is_dir() and any(sandboxes.iterdir())


def _remove_run_dir(installation: Installation) -> None:
    """Nothing in it outlives the sandboxes; the next start makes it anew. Left alone if something is still mounted there."""
    run_dir = installation.settings.run_dir
    if not any(run_dir in (entry.path, *entry.path.parents) for entry in kernel.mounts()):
        shutil.rmtree(run_dir, ignore_errors=True)


def _require_root(command: str) -> None:
    if os.geteuid() != 0:
        raise PermissionDeniedError(f"`{command}` needs root: sandboxes take mounts, namespaces and runsc.", remedy=f"Run: sudo {command}")
