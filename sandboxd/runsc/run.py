"""Runs runsc. The only place that starts it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cove.types import SandboxId
from sandboxd import programs
from sandboxd.runsc.ahead import SUFFIX, Ahead, end_left_behind, started_ahead
from sandboxd.runsc.argv import PID_FILE, RunscOptions
from sandboxd.runsc.parse import State, checkpoint_failure, failure_text, parse_list, parse_state
from sandboxd.runsc.spec import build_spec
from sandboxd.runtime import Container, ContainerStatus, RuntimeFailed
from snapshots.backends.threads import in_thread
from snapshots.children import pidfd_ended

COMMAND_TIMEOUT_S: Final = 60.0
"""runsc commands answer in under 2 s; one that hangs is killed so that it cannot hold a sandbox for ever."""

MEMORY_TIMEOUT_S: Final = 600.0
"""Those that write or read a container's memory may take as long as a caller may be willing to wait."""


class RunscRuntime:
    """The Runtime protocol over one runsc root directory."""

    def __init__(self, options: RunscOptions) -> None:
        self._options = options
        self._sentries: dict[SandboxId, int] = {}
        """pidfds of the sentries that this object started: their deaths are seen without asking runsc."""
        options.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def sweep(self) -> None:
        """End what a daemon that died had started ahead; before anything else."""
        await in_thread(end_left_behind, self._options.root)

    @property
    def has_containers(self) -> bool:
        """Whether there are any, half-made ones included."""
        return any(True for _ in _state_files(self._options.root))

    def knows(self, sandbox_id: SandboxId) -> bool:
        """Whether there is state of this container."""
        return any(name.startswith(f"{sandbox_id}_") for name in _state_files(self._options.root))

    async def create(self, container: Container, *, stdin: int, stdout: int) -> None:
        bundle, sandbox_id = container.directory, container.sandbox_id
        if self.knows(sandbox_id):
            # runsc itself would clean up after the refused creation: by destroying the container that has the id.
            raise RuntimeFailed(f"container {sandbox_id} exists")
        (bundle / "config.json").write_bytes(msgspec.json.encode(build_spec(container)))
        argv = self._options.create(sandbox_id, bundle, network=container.netns is not None)
        await self._run(argv, "create", bundle, stdin=stdin, stdout=stdout)
        self._sentries[sandbox_id] = os.pidfd_open(int((bundle / PID_FILE).read_text()))

    async def start(self, container: Container) -> None:
        bundle, network = container.directory, container.netns is not None
        argv = self._options.start(container.sandbox_id, bundle, network=network, prefix=container.start_prefix)
        await self._run(argv, "start", bundle)

    async def restore(self, container: Container, directory: Path) -> None:
        bundle, network = container.directory, container.netns is not None
        argv = self._options.restore(container.sandbox_id, bundle, directory, network=network, prefix=container.start_prefix)
        await self._run(argv, "restore", bundle, timeout_s=MEMORY_TIMEOUT_S)

    async def status(self, sandbox_id: SandboxId) -> ContainerStatus | None:
        state = await self._state(sandbox_id)
        return state.status if state else None

    async def died(self, sandbox_id: SandboxId) -> None:
        pidfd = os.dup(self._sentries[sandbox_id]) if sandbox_id in self._sentries else await self._open_sentry(sandbox_id)
        if pidfd is None:
            return
        try:
            await pidfd_ended(pidfd)
        finally:
            os.close(pidfd)

    async def pause(self, sandbox_id: SandboxId) -> None:
        await self._simple("pause", sandbox_id)

    async def resume(self, sandbox_id: SandboxId) -> None:
        await self._simple("resume", sandbox_id)

    @contextlib.asynccontextmanager
    async def ready_checkpoint(self, sandbox_id: SandboxId, directory: Path) -> AsyncIterator[_Checkpoint]:
        directory.mkdir(mode=0o700)
        async with contextlib.AsyncExitStack() as stack:

            async def ahead(verb: str, command: Callable[[Path], list[str]]) -> Ahead:
                gate = self._options.root / f"{verb}-{sandbox_id}{SUFFIX}"
                return await stack.enter_async_context(started_ahead(command(gate), gate))

            yield _Checkpoint(
                to_write=await ahead("checkpoint", lambda gate: self._options.checkpoint(sandbox_id, directory, log=gate)),
                to_resume=await ahead("resume", lambda gate: self._options.simple("resume", sandbox_id, log=gate)),
                to_pause=await ahead("pause", lambda gate: self._options.simple("pause", sandbox_id, log=gate)),
            )

    async def delete(self, sandbox_id: SandboxId) -> None:
        pidfd = self._sentries.pop(sandbox_id, None)
        if pidfd is not None:
            os.close(pidfd)
        finished = await self._capture(self._options.simple("delete", "--force", sandbox_id))
        if finished.code != 0 and sandbox_id in await self.list_():
            raise RuntimeFailed(f"runsc delete failed: {failure_text(b'', finished.stderr)}")
        for name in (f"{sandbox_id}_sandbox:{sandbox_id}.lock", f"runsc-{sandbox_id}.sock"):
            # What a `runsc create` that was killed before it wrote its state leaves, and delete does not know of.
            (self._options.root / name).unlink(missing_ok=True)

    async def list_(self) -> frozenset[SandboxId]:
        finished = await self._capture(self._options.simple("list", "--quiet"))
        if finished.code != 0:
            raise RuntimeFailed(f"runsc list failed: {failure_text(b'', finished.stderr)}")
        half_made = {name.split("_")[0] for name in _state_files(self._options.root)}
        return frozenset(SandboxId(name) for name in {*parse_list(finished.stdout), *half_made})

    # --- helpers ---------------------------------------------------------------------------------------------------------------------

    async def _open_sentry(self, sandbox_id: SandboxId) -> int | None:
        """A pidfd of a sentry that another daemon started; None if it is gone.

        The pid could be another's by the time it is opened: so runsc is asked again afterwards.
        """
        state = await self._state(sandbox_id)
        if state is None or not state.pid:
            return None
        try:
            pidfd = os.pidfd_open(state.pid)
        except ProcessLookupError:
            return None
        again = await self._state(sandbox_id)
        if again is None or again.pid != state.pid:
            os.close(pidfd)
            return None
        return pidfd

    async def _state(self, sandbox_id: SandboxId) -> State | None:
        finished = await self._capture(self._options.simple("state", sandbox_id))
        if finished.code != 0:
            return None
        state = parse_state(finished.stdout)
        return state if state.pid == 0 or is_running(state.pid) else State(state.id, ContainerStatus.STOPPED)

    async def _simple(self, verb: str, sandbox_id: SandboxId) -> None:
        finished = await self._capture(self._options.simple(verb, sandbox_id))
        if finished.code != 0:
            raise RuntimeFailed(f"runsc {verb} failed: {failure_text(b'', finished.stderr)}")

    async def _capture(self, argv: Sequence[str]) -> programs.Finished:
        try:
            return await programs.capture(argv, timeout_s=COMMAND_TIMEOUT_S)
        except TimeoutError:
            raise _hung(COMMAND_TIMEOUT_S) from None

    async def _run(self, argv: Sequence[str], verb: str, bundle: Path, *, timeout_s: float = COMMAND_TIMEOUT_S, **descriptors: int) -> None:
        """A command on a bundle. The sentry inherits stderr from ``create``: so that goes to a file, never to a pipe."""
        output, log = bundle / f"{verb}.stderr", bundle / "runsc.log"
        with output.open("ab") as stderr:
            try:
                code = await programs.run(argv, timeout_s=timeout_s, stderr=stderr.fileno(), **descriptors)
            except TimeoutError:
                raise _hung(timeout_s) from None
        if code != 0:
            raise RuntimeFailed(f"runsc {verb} failed: {failure_text(log.read_bytes() if log.exists() else b'', output.read_bytes())}")


class _Checkpoint:
    """The Checkpoint protocol over commands that are up already."""

    def __init__(self, *, to_pause: Ahead, to_write: Ahead, to_resume: Ahead) -> None:
        self._to_pause, self._to_write, self._to_resume = to_pause, to_write, to_resume

    async def pause(self) -> None:
        await self._act(self._to_pause, "pause")

    async def write(self) -> None:
        finished = await self._let_go(self._to_write, MEMORY_TIMEOUT_S)
        if finished.code != 0:
            raise checkpoint_failure(finished.stderr)

    async def resume(self) -> None:
        await self._act(self._to_resume, "resume")

    async def _act(self, command: Ahead, verb: str) -> None:
        finished = await self._let_go(command, COMMAND_TIMEOUT_S)
        if finished.code != 0:
            raise RuntimeFailed(f"runsc {verb} failed: {failure_text(b'', finished.stderr)}")

    async def _let_go(self, command: Ahead, timeout_s: float) -> programs.Finished:
        try:
            return await command.go(timeout_s=timeout_s)
        except TimeoutError:
            raise _hung(timeout_s) from None


def _hung(after_s: float) -> RuntimeFailed:
    return RuntimeFailed(f"runsc did not answer within {after_s:g} s")


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
