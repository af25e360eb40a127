"""Many execs at once, in one sandbox and over twenty."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Final

import cove
from benchmarks.series import Check, Outcome, Series
from benchmarks.stage import Stage

IN_ONE: Final = 200
IN_ALL: Final = 1500
SANDBOXES: Final = 20


def run(stage: Stage) -> Outcome:
    with stage.sandboxes(1) as one:
        alone = asyncio.run(_execs(one, IN_ONE))
    with stage.sandboxes(SANDBOXES) as twenty:
        spread = asyncio.run(_execs(twenty, IN_ALL))
    return Outcome(
        [
            Series.of(f"{IN_ONE} concurrent execs in one sandbox", "execs/s", [alone[0]]),
            Series.of(f"{IN_ALL} concurrent execs in {SANDBOXES} sandboxes", "execs/s", [spread[0]]),
        ],
        [
            Check(name=f"errors of {IN_ONE} concurrent execs", value=alone[1], relation="<=", aim=0, unit=""),
            Check(name=f"errors of {IN_ALL} concurrent execs", value=spread[1], relation="<=", aim=0, unit=""),
        ],
    )


async def _execs(sandboxes: Sequence[cove.Sandbox], count: int) -> tuple[float, int]:
    """Execs a second, and how many failed or answered wrongly."""
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_echo(sandbox, str(number)))
            for number, sandbox in zip(range(count), itertools.cycle(sandboxes), strict=False)
        ]
    return count / (time.perf_counter() - begin), sum(not task.result() for task in tasks)


async def _echo(sandbox: cove.Sandbox, text: str) -> bool:
    try:
        process = await sandbox.exec.aio("echo", text)
        output = await process.stdout.read.aio()
        return await process.wait.aio() == 0 and output == f"{text}\n"
    except cove.exception.Error as error:
        print(f"exec failed: {error}")
        return False
