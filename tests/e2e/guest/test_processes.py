"""Processes: how they start, what they are connected to, how they end."""

from __future__ import annotations

from tests.support.guest_driver import Driver


def test_output_exit_code_and_environment(driver: Driver) -> None:
    process = driver.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (process.stdout, process.stderr) == (b"out\n", b"err\n")
    assert process.exit is not None and (process.exit.killed, process.exit.number, process.exit.timed_out) == (False, 7, False)
