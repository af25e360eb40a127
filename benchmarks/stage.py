"""What the benchmarks run on: a cove of their own, and raw runsc beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec

import cove
from benchmarks.raw import RawRunsc
from cove.types import SandboxId
from sandboxd import kernel
from sandboxd.cgroup import Cgroups
from sandboxd.cgroup.hierarchy import find_hierarchies
from tests.support.live_cove import LiveCove

P = ParamSpec("P")

LIFETIME_S: Final = 3600
MANY_CORES_MILLIS: Final = 1_000_000
"""Admission is not what is measured: let fifty sandboxes onto two cores."""


class Stage:
    """One run's surroundings.

    Args: quick: fewer samples and less data, to see that everything works.
    """

    def __init__(self, live: LiveCove, raw: RawRunsc, directory: Path, *, quick: bool) -> None:
        self.raw = raw
        self.directory = directory
        self.quick = quick
        self.app = cove.App.lookup("benchmarks", create_if_missing=True)
        self.router_log = live.log("router")
        self.pid = live.pid
        """Of a daemon, by its module's name."""
        self._cgroups = Cgroups(find_hierarchies(kernel.mounts()), instance=f"cove-{live.instance}", node_memory_bytes=0)

    @classmethod
    @contextlib.contextmanager
    def set_up(cls, *, quick: bool) -> Iterator[Stage]:
        """Everything started ends with the block."""
        with contextlib.ExitStack() as stack:
            directory = Path(tempfile.mkdtemp(prefix="cove-bench-"))
            stack.callback(shutil.rmtree, directory)
            for name in ("cove", "raw", "files"):
                (directory / name).mkdir()
            settings = {"COVE_NODE_CPU_CAPACITY_MILLIS": str(MANY_CORES_MILLIS), "COVE_ROUTER_LOOPBACK_REGISTRIES": "true"}
            live = stack.enter_context(LiveCove(directory / "cove", **settings).running())
            _point_client_at(live)
            yield cls(live, stack.enter_context(RawRunsc.in_directory(directory / "raw")), directory / "files", quick=quick)

    @contextlib.contextmanager
    def beside(self, **settings: str) -> Iterator[tuple[LiveCove, cove.Client]]:
        """Another cove, with settings of its own, and a client of it; both go with the block."""
        directory = Path(tempfile.mkdtemp(prefix="beside-", dir=self.directory))
        with LiveCove(directory, COVE_NODE_CPU_CAPACITY_MILLIS=str(MANY_CORES_MILLIS), **settings).running() as live:
            before = dict(os.environ)
            _point_client_at(live)
            client = cove.Client.from_credentials(*live.credentials)
            os.environ.update(before)
            yield live, client
            client.close()

    def times(self, count: int) -> range:
        """How often to repeat what a full run repeats ``count`` times."""
        return range(max(3, count // 10) if self.quick else count)

    def create(self, *command: str, **options: Any) -> cove.Sandbox:
        options.setdefault("block_network", True)
        return cove.Sandbox.create(*command, app=self.app, timeout=LIFETIME_S, **options)

    @contextlib.contextmanager
    def sandbox(self) -> Iterator[cove.Sandbox]:
        """One that has answered, gone whole at the end of the block."""
        with self.sandboxes(1) as made:
            yield made[0]

    @contextlib.contextmanager
    def sandboxes(self, count: int, **options: Any) -> Iterator[list[cove.Sandbox]]:
        made = [self.create(**options) for _ in range(count)]
        try:
            for one in made:
                one.exec("true").wait()
            yield made
        finally:
            end_all(made)

    def host_pids(self, sandbox: cove.Sandbox) -> frozenset[int]:
        """The sandbox's processes on the host: sentry, gofer, and what they started."""
        return self._cgroups.pids(SandboxId(sandbox.object_id))


def end(sandbox: cove.Sandbox) -> None:
    """Terminate and wait until everything is freed, so that it does not burden the next sample."""
    end_all([sandbox])


def end_all(sandboxes: Sequence[cove.Sandbox]) -> None:
    """The same for several at once."""
    for one in sandboxes:
        one.terminate()
    for one in sandboxes:
        one.wait(raise_on_termination=False)


def ask(sandbox: cove.Sandbox) -> bool:
    """Whether a process runs to its end in it."""
    return sandbox.exec("true").wait() == 0


def timed(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Seconds that the call takes."""
    begin = time.perf_counter()
    work(*args, **kwargs)
    return time.perf_counter() - begin


def _point_client_at(live: LiveCove) -> None:
    token_id, token_secret = live.credentials
    os.environ |= {
        "COVE_CONFIG_PATH": str(live.directory / "cove.toml"),
        "COVE_SERVER_URL": f"127.0.0.1:{live.router_port}",
        "COVE_SERVER_HTTP_URL": f"http://127.0.0.1:{live.router_http_port}",
        "COVE_TOKEN_ID": token_id,
        "COVE_TOKEN_SECRET": token_secret,
    }
