"""What goes wrong while a sandbox is paused or woken: it goes on, or is reported lost, and nothing is left."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from cove.exception import DataLossError, Error
from cove.wire import common_pb2
from tests.e2e.test_memory_faults import counting, counts_on, filled
from tests.support.leaks import assert_holds, holdings, sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawClient, RawSandbox, ending
from tests.support.runsc_hold import RunscHold

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def live(held_live: LiveCove) -> LiveCove:
    return held_live


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove, client: RawClient) -> Iterator[None]:
    """Nothing of any sandbox may be left. The general check cannot serve: daemons come and go here."""
    yield
    assert_holds(live)


class Asking(threading.Thread):
    """Somebody who asks for something that fails when the daemon dies under it."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._ask()
        except (Error, grpc.RpcError) as error:
            self.error = error


def goes_on(sandbox: RawSandbox, counter: str) -> None:
    """Pass once its process has counted further; nobody but this wakes it."""
    sandbox.resume()
    counts_on(sandbox, counter)


def daemon_killed(live: LiveCove, hold: RunscHold, moment: str, ask: Callable[[], None]) -> None:
    """Kill the daemon at a moment of what ``ask`` asks for, and start it again."""
    with hold.holding(moment):
        asking = Asking(ask)
        hold.wait_reached(moment)
        live.kill("sandboxd")
    live.start("sandboxd")
    live.wait_ready()
    asking.join()


def sentry_killed(live: LiveCove, hold: RunscHold, moment: str, source: RawSandbox, ask: Callable[[], None]) -> None:
    with hold.holding(moment):
        asking = Asking(ask)
        hold.wait_reached(moment)
        os.kill(sentry_pid(live, source.sandbox_id), signal.SIGKILL)
    asking.join()


PAUSING = ["before-pause", "after-pause", "before-checkpoint", "after-checkpoint", "before-delete", "after-delete"]


@pytest.mark.parametrize("moment", PAUSING)
def test_daemon_killed_at_every_step_of_pausing(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    source, counter = counting(client)
    with ending(source):
        daemon_killed(live, hold, moment, source.pause)
        goes_on(source, counter)
        source.pause()
        goes_on(source, counter)


@pytest.mark.parametrize("moment", ["before-create", "after-create", "before-restore", "after-restore"])
def test_daemon_killed_at_every_step_of_waking(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    source, counter = counting(client)
    with ending(source):
        source.pause()
        daemon_killed(live, hold, moment, source.resume)
        goes_on(source, counter)


def test_daemons_come_and_go_over_a_paused_sandbox(live: LiveCove, client: RawClient) -> None:
    source, counter = counting(client)
    with ending(source):
        source.pause()
        for _ in range(2):
            live.restart("sandboxd")
            assert source.sandbox_id in holdings(live).paused
        goes_on(source, counter)
        live.restart("sandboxd")
        goes_on(source, counter)


@pytest.mark.parametrize("moment", ["before-checkpoint", "after-checkpoint"])
def test_sentry_killed_while_its_memory_is_written(live: LiveCove, client: RawClient, hold: RunscHold, moment: str) -> None:
    source, _ = counting(client)
    sentry_killed(live, hold, moment, source, source.pause)
    assert source.ended().reason == common_pb2.END_REASON_INTERNAL_FAILURE


def test_sentry_killed_as_it_wakes(live: LiveCove, client: RawClient, hold: RunscHold) -> None:
    source, _ = counting(client)
    source.pause()
    sentry_killed(live, hold, "after-restore", source, source.resume)
    assert source.ended().reason == common_pb2.END_REASON_INTERNAL_FAILURE


def test_a_full_disk_refuses_and_it_runs_on(live: LiveCove, client: RawClient) -> None:
    source, counter = counting(client)
    with ending(source):
        with filled(live):
            with pytest.raises(Error) as caught:
                source.pause()
            assert caught.value.code == "exhausted", caught.value
            goes_on(source, counter)
        source.pause()
        goes_on(source, counter)


def test_damage_is_told_and_what_is_whole_again_goes_on(live: LiveCove, client: RawClient) -> None:
    source, counter = counting(client)
    with ending(source):
        source.pause()
        place = live.directory / "state" / "paused" / source.sandbox_id
        for file in sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size):
            whole = file.read_bytes()
            for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:]):
                file.write_bytes(damaged)
                with pytest.raises(DataLossError, match="damaged"):
                    source.resume()
            file.write_bytes(whole)
        goes_on(source, counter)


CYCLES = 50


@pytest.mark.timeout(900)
def test_files_are_the_same_and_processes_alive_after_many_cycles(client: RawClient) -> None:
    """Random edits of files and processes that come and go, between pauses; a model tells what must be there."""
    chance = random.Random(11)
    files: dict[str, bytes] = {}
    source, counter = counting(client)
    with ending(source):
        readers: dict[str, int] = {}
        for cycle in range(CYCLES):
            for _ in range(chance.randrange(4)):
                _edit(chance, source, files)
            _start_or_use(chance, source, readers)
            source.pause()
            if cycle % 10 == 9:
                _check(source, files)
        for exec_id, said in readers.items():
            source.write(exec_id, said, b"", eof=True)
            assert source.wait(exec_id).exit_code == 0
            assert source.output(exec_id) == b"x" * said
        _check(source, files)
        goes_on(source, counter)


def _edit(chance: random.Random, sandbox: RawSandbox, files: dict[str, bytes]) -> None:
    name = f"/root/{chance.randrange(12)}"
    if chance.random() < 0.2 and name in files:
        assert sandbox.run("rm", name).exit_code == 0
        del files[name]
    else:
        files[name] = chance.randbytes(chance.choice([0, 1, 5_000, 300_000]))
        sandbox.http("PUT", name, body=files[name])


def _start_or_use(chance: random.Random, sandbox: RawSandbox, readers: dict[str, int]) -> None:
    if len(readers) < 5:
        readers[sandbox.start("cat")] = 0
    exec_id = chance.choice(list(readers))
    readers[exec_id] = sandbox.write(exec_id, readers[exec_id], b"x" * chance.randrange(1, 200))


def _check(sandbox: RawSandbox, files: dict[str, bytes]) -> None:
    told = sandbox.shell("cd /root && for f in *; do [ -f $f ] && sha256sum $f; done; true").decode().split("\n")
    there = {f"/root/{Path(line.split()[1]).name}": line.split()[0] for line in told if line}
    assert there == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
