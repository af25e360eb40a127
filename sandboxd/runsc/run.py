"""Runs runsc. The only place that starts it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cove.types import SandboxId
from sandboxd.runsc.argv import RunscOptions
from sandboxd.runsc.parse import State, failure_text, parse_list, parse_state
from sandboxd.runsc.spec import build_spec
from sandboxd.runtime import Container, ContainerStatus, RuntimeFailed

COMMAND_TIMEOUT_S: Final = 60.0
"""runsc commands answer in under 2 s; one that hangs is killed so that it cannot hold a sandbox for ever."""


class RunscRuntime:
    """The Runtime protocol over one runsc root directory."""

    def __init__(self, options: RunscOptions) -> None:
        self._options = options
        options.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def create(self, container: Container, *, stdin: int, stdout: int) -> None:
        bundle = container.directory
        if any(name.startswith(f"{container.sandbox_id}_") for name in _state_files(self._options.root)):
            # runsc itself would clean up after the refused creation: by destroying the container that has the id.
            raise RuntimeFailed(f"container {container.sandbox_id} exists")
        (bundle / "config.json").write_bytes(msgspec.json.encode(build_spec(container)))
        argv = self._options.create(container.sandbox_id, bundle, network=container.netns is not None)
        with (bundle / "guest.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*argv, stdin=stdin, stdout=stdout, stderr=log)
            await self._finish(process, "create", bundle / "guest.log", bundle)

    async def start(self, container: Container) -> None:
        bundle = container.directory
        argv = self._options.start(
            container.sandbox_id, bundle, network=container.netns is not None, prefix=container.start_prefix if container.netns else ()
        )
        with (bundle / "start.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)
            await self._finish(process, "start", bundle / "start.log", bundle)

    async def status(self, sandbox_id: SandboxId) -> ContainerStatus | None:
        state = await self._state(sandbox_id)
        return state.status if state else None

    async def died(self, sandbox_id: SandboxId) -> None:
        state = await self._state(sandbox_id)
        if state is None or state.status is ContainerStatus.STOPPED or not state.pid:
            return
        try:
            pidfd = os.pidfd_open(state.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(pidfd, gone.set)
        try:
            again = await self._state(sandbox_id)
            if again is not None and again.pid == state.pid:
                await gone.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)

    async def pause(self, sandbox_id: SandboxId) -> None:
        await self._simple("pause", sandbox_id)

    async def resume(self, sandbox_id: SandboxId) -> None:
        await self._simple("resume", sandbox_id)

    async def delete(self, sandbox_id: SandboxId) -> None:
        code, _, stderr = await self._capture(self._options.simple("delete", "--force", sandbox_id))
        if code != 0 and sandbox_id in await self.list_():
            raise RuntimeFailed(f"runsc delete failed: {failure_text(b'', stderr)}")

    async def list_(self) -> frozenset[SandboxId]:
        code, stdout, stderr = await self._capture(self._options.simple("list", "--quiet"))
        if code != 0:
            raise RuntimeFailed(f"runsc list failed: {failure_text(b'', stderr)}")
        half_made = {name.split("_")[0] for name in _state_files(self._options.root)}
        return frozenset(SandboxId(name) for name in {*parse_list(stdout), *half_made})

    # --- helpers ---------------------------------------------------------------------------------------------------------------------

    async def _state(self, sandbox_id: SandboxId) -> State | None:
        code, stdout, _ = await self._capture(self._options.simple("state", sandbox_id))
        if code != 0:
            return None
        state = parse_state(stdout)
        return state if state.pid == 0 or is_running(state.pid) else State(state.id, ContainerStatus.STOPPED)

    async def _simple(self, verb: str, sandbox_id: SandboxId) -> None:
        code, _, stderr = await self._capture(self._options.simple(verb, sandbox_id))
        if code != 0:
            raise RuntimeFailed(f"runsc {verb} failed: {failure_text(b'', stderr)}")

    async def _capture(self, argv: Sequence[str]) -> tuple[int, bytes, bytes]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        async with _killed_unless_done(process):
            stdout, stderr = await process.communicate()
        return process.returncode or 0, stdout, stderr

    async def _finish(self, process: asyncio.subprocess.Process, verb: str, output: Path, bundle: Path) -> None:
        async with _killed_unless_done(process):
            code = await process.wait()
        if code != 0:
            log = bundle / "runsc.log"
            text = failure_text(log.read_bytes() if log.exists() else b"", output.read_bytes())
            raise RuntimeFailed(f"runsc {verb} failed: {text}")


@contextlib.asynccontextmanager
async def _killed_unless_done(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Bound a command in time; never leave it behind, also when the caller is cancelled."""
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            yield
    except TimeoutError:
        raise RuntimeFailed(f"runsc did not answer within {COMMAND_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())


def _state_files(root: Path) -> Iterator[str]:
    """Names of runsc's state files, ``<id>_sandbox:<id>.state``: containers too broken to be listed still have one."""
    for entry in root.iterdir():
        if entry.suffix in (".state", ".lock") and "_sandbox:" in entry.name:
            yield entry.name


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie that its parent has not collected yet, which runsc takes for alive, does not.

    Source: proc(5), /proc/pid/stat: the state follows the name, which may contain anything, in parentheses.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")
