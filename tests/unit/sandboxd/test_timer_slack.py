"""Timers of a sandbox in which nothing runs may be late, those of others are exact: over a made-up /proc."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from cove.types import SandboxId
from sandboxd.timer_slack import EXACT_S, LATE_S, MAX_PROCESSES, MAX_STIRRED, Placed, TimerSlack

ONE, TWO = SandboxId("sb-one"), SandboxId("sb-two")


class Machine:
    """Sandboxes of one sentry, with two threads, and programs with one."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.placed: dict[SandboxId, Placed] = {}

    def start(self, sandbox_id: SandboxId, sentry: int, *programs: int) -> None:
        for process, threads in ((sentry, (sentry, sentry + 1)), *((program, (program,)) for program in programs)):
            for thread in threads:
                (self.proc / f"{process}/task/{thread}").mkdir(parents=True)
                (self.proc / str(thread)).mkdir(exist_ok=True)
                (self.proc / f"{thread}/timerslack_ns").write_text(str(round(EXACT_S * 1e9)))
                self.run(process, 1, thread)
        self.placed[sandbox_id] = Placed(sentry, {sentry, *programs})

    def run(self, process: int, nanoseconds: int, thread: int | None = None) -> None:
        (self.proc / f"{process}/task/{thread or process}/schedstat").write_text(f"{nanoseconds} 17 4\n")

    def end(self, sandbox_id: SandboxId) -> None:
        for process in self.placed.pop(sandbox_id).processes:
            shutil.rmtree(self.proc / str(process))

    def place(self, sandbox_id: SandboxId) -> Placed:
        try:
            return self.placed[sandbox_id]
        except KeyError:
            raise ProcessLookupError from None

    def slack(self, sentry: int) -> set[float]:
        return {int((self.proc / f"{thread}/timerslack_ns").read_text()) / 1e9 for thread in (sentry, sentry + 1)}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.start(ONE, 10, 20, 30)
    machine.start(TWO, 40, 50)
    return machine


@pytest.fixture
def slack(machine: Machine) -> TimerSlack:
    return TimerSlack(machine.place, machine.proc)


async def test_timers_are_late_while_nothing_runs_and_exact_while_something_does(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE, TWO])
    assert machine.slack(10) == machine.slack(40) == {EXACT_S}  # nothing is known yet
    machine.run(50, 2)
    await slack.look([ONE, TWO])
    assert machine.slack(10) == {LATE_S} and machine.slack(40) == {EXACT_S}
    for nanoseconds in (2, 3):
        machine.run(30, nanoseconds)
        await slack.look([ONE, TWO])
    assert machine.slack(10) == {EXACT_S} and machine.slack(40) == {LATE_S}


async def test_what_runs_for_a_moment_changes_nothing(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE])
    await slack.look([ONE])
    for nanoseconds in range(2, 12):
        machine.run(30, nanoseconds)
        await slack.look([ONE])
        assert machine.slack(10) == {LATE_S}
        await slack.look([ONE])


async def test_what_an_earlier_daemon_let_be_late_is_exact_again(machine: Machine, slack: TimerSlack) -> None:
    TimerSlack(machine.place, machine.proc).rest(ONE)
    assert machine.slack(10) == {LATE_S}
    slack.stir(ONE)
    await slack.look([ONE])
    assert machine.slack(10) == {EXACT_S}


async def test_who_was_let_rest_before_it_was_looked_at_goes_on_resting(machine: Machine, slack: TimerSlack) -> None:
    slack.rest(ONE)
    await slack.look([TWO])
    await slack.look([ONE, TWO])
    assert machine.slack(10) == {LATE_S}
    slack.stir(ONE)
    assert machine.slack(10) == {EXACT_S}


async def test_what_the_sentry_itself_runs_does_not_count(machine: Machine, slack: TimerSlack) -> None:
    for nanoseconds in range(100, 103):
        machine.run(10, nanoseconds, 11)
        await slack.look([ONE])
    assert machine.slack(10) == {LATE_S}


async def test_who_is_stirred_has_exact_timers_at_once(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE])
    await slack.look([ONE])
    slack.stir(ONE)
    assert machine.slack(10) == {EXACT_S}
    await slack.look([ONE])
    await slack.look([ONE])
    assert machine.slack(10) == {LATE_S}  # it came to nothing


async def test_who_is_stirred_while_it_is_looked_at_stays_exact(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE])
    looking = asyncio.create_task(slack.look([ONE]))
    await asyncio.sleep(0)
    slack.stir(ONE)
    await looking
    assert machine.slack(10) == {EXACT_S}


async def test_the_end_of_a_process_is_something_that_happens(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE])
    machine.placed[ONE] = Placed(10, {10, 20})
    await slack.look([ONE])
    assert machine.slack(10) == {EXACT_S}


async def test_sandboxes_that_end_meanwhile_are_left_out(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE, TWO])
    await slack.look([ONE, TWO])
    machine.end(ONE)
    slack.stir(ONE)
    for nanoseconds in (7, 8):
        machine.run(50, nanoseconds)
        await slack.look([ONE, TWO])
    assert machine.slack(40) == {EXACT_S}
    await slack.look([TWO])
    assert machine.slack(40) == {LATE_S}


async def test_half_of_a_sandbox_that_is_ending_harms_nobody(machine: Machine, slack: TimerSlack) -> None:
    await slack.look([ONE, TWO])
    shutil.rmtree(machine.proc / "30")
    (machine.proc / "11/timerslack_ns").unlink()
    (machine.proc / "11").rmdir()
    (machine.proc / "11").write_text("not a directory")
    await slack.look([ONE, TWO])
    assert machine.slack(40) == {LATE_S}


async def test_a_sandbox_that_grows_into_a_crowd_counts_as_busy(machine: Machine, slack: TimerSlack) -> None:
    for _ in range(2):
        await slack.look([ONE])
    assert machine.slack(10) == {LATE_S}
    machine.placed[ONE] = Placed(10, {10, 20, *range(1000, 1000 + MAX_PROCESSES)})
    for _ in range(3):
        await slack.look([ONE])
    assert machine.slack(10) == {EXACT_S}


async def test_of_a_crowd_that_is_stirred_most_go_on_resting(machine: Machine, slack: TimerSlack) -> None:
    crowd = [SandboxId(f"sb-{number}") for number in range(MAX_STIRRED + 3)]
    for number, sandbox_id in enumerate(crowd):
        machine.start(sandbox_id, 1000 + 10 * number, 1005 + 10 * number)
        slack.rest(sandbox_id)
    for sandbox_id in crowd:
        slack.stir(sandbox_id)
    assert [machine.slack(1000 + 10 * number) for number in range(len(crowd))] == [{EXACT_S}] * MAX_STIRRED + [{LATE_S}] * 3
