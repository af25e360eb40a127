"""Writing and reading a file of 1 KiB with ``Sandbox.open``."""

from __future__ import annotations

from typing import Final

import cove
from benchmarks.series import MS, Check, Outcome, Series
from benchmarks.stage import Stage, timed

AIM_MS: Final = 2.0
CONTENT: Final = bytes(range(256)) * 4


def run(stage: Stage) -> Outcome:
    writes, reads, both = [], [], []
    with stage.sandbox() as sandbox:
        for number in stage.times(200):
            path = f"/root/file-{number % 8}"
            writes.append(timed(_write, sandbox, path) * MS)
            reads.append(timed(_read, sandbox, path) * MS)
            both.append(writes[-1] + reads[-1])
    return Outcome(
        [Series.of("1 KiB: open, write, close", "ms", writes), Series.of("1 KiB: open, read, close", "ms", reads)],
        [Check(name="1 KiB write + read", value=Series.of("", "ms", both).median, relation="<=", aim=AIM_MS, unit="ms")],
    )


def _write(sandbox: cove.Sandbox, path: str) -> None:
    with sandbox.open(path, "wb") as file:
        file.write(CONTENT)


def _read(sandbox: cove.Sandbox, path: str) -> None:
    with sandbox.open(path, "rb") as file:
        if file.read() != CONTENT:
            raise RuntimeError(f"{path} came back changed")
