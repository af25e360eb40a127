"""Sandboxes out of the warm pool: create to first exec with its parts, beside raw runsc, and a hundred at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import cove
from benchmarks.series import MS, Check, Outcome, Series
from benchmarks.stage import LIFETIME_S, Stage, end, timed
from cove.wire import control_pb2
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawClient

BURST: Final = 100
SPARE_BYTES: Final = 24 * 2**20
FILLED_S: Final = 180.0
SETTLED_S: Final = 5.0
"""A pool that has not grown for so long is as large as it wants to be: demand that lies back counts less."""
BURSTS: Final = 3

Create = Callable[..., cove.Sandbox]


class Warmed:
    """A cove with room for a burst of spares."""

    def __init__(self, live: LiveCove, client: cove.Client) -> None:
        self._app = cove.App.lookup("warm", create_if_missing=True, client=client)
        self._client = client
        self._raw = RawClient(live)
        self._log = live.log("sandboxd")

    def create(self, *, block_network: bool) -> cove.Sandbox:
        return cove.Sandbox.create(app=self._app, client=self._client, timeout=LIFETIME_S, block_network=block_network)

    async def create_and_ask(self) -> cove.Sandbox | None:
        """One that has answered; None if it did not."""
        try:
            sandbox = await cove.Sandbox.create.aio(app=self._app, client=self._client, timeout=LIFETIME_S, block_network=True)
            process = await sandbox.exec.aio("true")
            return sandbox if await process.wait.aio() == 0 else None
        except cove.exception.Error as error:
            print(f"create failed: {error}")
            return None

    def info(self) -> control_pb2.NodeInfo:
        info: control_pb2.NodeInfo = self._raw.control.NodeList(control_pb2.NodeListRequest()).nodes[0]
        return info

    def filled(self, count: int) -> int:
        """Wait until there are so many spares, or do not become more; returns how many there are."""
        grown_at = began = time.monotonic()
        most = 0
        while (there := self.info().spares) < count and (now := time.monotonic()) < min(began + FILLED_S, grown_at + SETTLED_S):
            if there > most:
                most, grown_at = there, now
            time.sleep(0.05)
        return there

    def claims(self) -> list[float]:
        """Seconds that each claim took, as the node's log tells."""
        entries = [json.loads(line) for line in self._log.read_text().splitlines() if '"spare claimed"' in line]
        return [entry["took_s"] for entry in entries]


def run(stage: Stage) -> Outcome:
    size = 10 if stage.quick else BURST
    with stage.beside(COVE_NODE_WARM_MEMORY_BYTES=str(SPARE_BYTES * (size + 2))) as (live, client):
        warmed = Warmed(live, client)
        outcomes = [_one_by_one(stage, warmed), _burst(warmed, size)]
    return Outcome([one for outcome in outcomes for one in outcome.series], [one for outcome in outcomes for one in outcome.checks])


def _one_by_one(stage: Stage, warmed: Warmed) -> Outcome:
    parts: dict[str, list[float]] = {name: [] for name in ("raw", "blocked", "networked", "create", "start", "wait", "exec alone")}
    for block_network in (True, False):
        end(warmed.create(block_network=block_network))
    for _ in stage.times(20):
        parts["raw"].append(stage.raw.create())
        for name, block_network in (("blocked", True), ("networked", False)):
            warmed.filled(2)
            parts[name].append(_first_exec(warmed, parts if block_network else None, block_network=block_network))
    claims = warmed.claims()
    return Outcome(
        [
            _series("raw runsc: create, start, first process", parts["raw"]),
            _series("create from the pool, first exec", parts["blocked"]),
            _series("the same with network", parts["networked"]),
            _series("of it: Sandbox.create", parts["create"]),
            _series("of it: exec", parts["start"]),
            _series("of it: wait", parts["wait"]),
            _series("a later exec alone", parts["exec alone"]),
            _series("a claim on the node, beside the answer to create", claims),
        ],
        [Check(name="create from the pool, first exec", value=_median(parts["blocked"]) * MS, relation="<=", aim=25, unit="ms")],
    )


def _first_exec(warmed: Warmed, parts: dict[str, list[float]] | None, *, block_network: bool) -> float:
    begin = time.perf_counter()
    sandbox = warmed.create(block_network=block_network)
    created = time.perf_counter()
    process = sandbox.exec("true")
    started = time.perf_counter()
    process.wait()
    ended = time.perf_counter()
    if parts is not None:
        for name, took_s in (("create", created - begin), ("start", started - created), ("wait", ended - started)):
            parts[name].append(took_s)
        parts["exec alone"].append(timed(lambda: sandbox.exec("true").wait()))
    end(sandbox)
    return ended - begin


def _burst(warmed: Warmed, size: int) -> Outcome:
    cold_s, made = asyncio.run(_at_once(warmed, size))
    waiting, claimed, warm_s = [], [], []
    for _ in range(BURSTS):
        waiting.append(warmed.filled(size))
        before = warmed.info().warm_starts
        took_s, answered = asyncio.run(_at_once(warmed, size))
        made += answered
        warm_s.append(took_s)
        claimed.append(warmed.info().warm_starts - before)
    failed = (1 + BURSTS) * size - made
    return Outcome(
        [
            Series.of(f"{size} creates at once that nobody expected, all answered", "s", [cold_s]),
            Series.of(f"{size} creates at once, all answered; spares there were", "", waiting),
            Series.of("the same, spares claimed", "", claimed),
            Series.of("the same, took", "s", warm_s),
        ],
        [
            Check(name=f"failures of {size} creates at once", value=failed, relation="<=", aim=0, unit=""),
            Check(name=f"{size} creates at once from the pool", value=Series.of("", "s", warm_s).median, relation="<=", aim=3, unit="s"),
        ],
    )


async def _at_once(warmed: Warmed, size: int) -> tuple[float, int]:
    """Seconds until all have answered, and how many did. Afterwards they are gone."""
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(warmed.create_and_ask()) for _ in range(size)]
    took_s = time.perf_counter() - begin
    made = [sandbox for task in tasks if (sandbox := task.result()) is not None]
    for one in made:
        await one.terminate.aio()
    for one in made:
        await one.wait.aio(raise_on_termination=False)
    return took_s, len(made)


def _series(name: str, samples_s: list[float]) -> Series:
    return Series.of(name, "ms", [one * MS for one in samples_s])


def _median(samples: list[float]) -> Any:
    return Series.of("", "", samples).median
