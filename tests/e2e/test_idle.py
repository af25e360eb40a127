"""What a sandbox costs in which nothing happens, and that no one inside pays for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cove
from sandboxd.timer_slack import EXACT_S, LATE_S
from tests.support.leaks import sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

WORKER_S: Final = 8
WORKER: Final = f"while [ ! -e /go ]; do sleep {WORKER_S}; done; exec python -c 'import time\nwhile True: time.sleep(0.001)'"
"""Sleeps for seconds, and in the end for a millisecond at a time."""


def slack_s(live: LiveCove, sandbox: cove.Sandbox) -> set[float]:
    """Of the sentry's threads."""
    threads = (thread.name for thread in Path(f"/proc/{sentry_pid(live, sandbox.object_id)}/task").iterdir())
    return {int(Path(f"/proc/{thread}/timerslack_ns").read_text()) / 1e9 for thread in threads}


def switches(live: LiveCove, sandbox: cove.Sandbox) -> int:
    """How often the sentry's threads have gone to sleep."""
    statuses = [(thread / "status").read_text() for thread in Path(f"/proc/{sentry_pid(live, sandbox.object_id)}/task").iterdir()]
    return sum(int(line.split()[1]) for status in statuses for line in status.splitlines() if line.startswith("voluntary"))


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def per_second(live: LiveCove, sandbox: cove.Sandbox) -> float:
    before, began = switches(live, sandbox), time.monotonic()
    time.sleep(3)
    return (switches(live, sandbox) - before) / (time.monotonic() - began)


def test_a_sentry_rests_while_its_programs_sleep(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sleep", "infinity")
    sandbox.exec("true").wait()
    until(lambda: slack_s(live, sandbox) == {LATE_S})
    assert per_second(live, sandbox) < 200  # a thousand and more, if it did not
    sandbox.exec("sleep", "1000")
    until(lambda: slack_s(live, sandbox) == {EXACT_S})
    until(lambda: slack_s(live, sandbox) == {LATE_S})


def test_who_works_by_itself_is_found_to(live: LiveCove, sandboxes: Sandboxes) -> None:
    """A process that nobody outside knows of."""
    sandbox = sandboxes.create()
    sandbox.exec("sh", "-c", f"({WORKER}) >/dev/null 2>&1 &").wait()
    until(lambda: slack_s(live, sandbox) == {LATE_S})
    sandbox.exec("touch", "/go").wait()
    time.sleep(WORKER_S + 2)  # of which the exec is long over
    until(lambda: slack_s(live, sandbox) == {EXACT_S})
    time.sleep(5)
    assert slack_s(live, sandbox) == {EXACT_S}
