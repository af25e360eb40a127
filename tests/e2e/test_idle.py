"""A sandbox in which nothing happens rests, and one in which something does is found to, whoever made it happen."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cove
from sandboxd.timer_slack import EXACT_S, LATE_S
from tests.support.leaks import sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes
from tests.support.waiting import eventually

RESTS_S: Final = 30.0
"""Longest wait for what the daemon sees within some seconds."""

WORKER: Final = "sleep 20; exec python -c 'import time\nwhile True: time.sleep(0.001)'"
"""Sleeps for longer than it takes to count as quiet, and from then on for a millisecond at a time."""


def has_slack(live: LiveCove, sandbox: cove.Sandbox, slack_s: float) -> None:
    """Return once all threads of the sentry have this timer slack."""

    def there() -> bool:
        threads = (thread.name for thread in Path(f"/proc/{sentry_pid(live, sandbox.object_id)}/task").iterdir())
        return {int(Path(f"/proc/{thread}/timerslack_ns").read_text()) / 1e9 for thread in threads} == {slack_s}

    eventually(there, RESTS_S)


def test_a_sentry_rests_while_its_programs_sleep(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sleep", "infinity")
    sandbox.exec("true").wait()
    has_slack(live, sandbox, LATE_S)
    sandbox.exec("sleep", "1000")
    has_slack(live, sandbox, EXACT_S)
    has_slack(live, sandbox, LATE_S)


def test_who_works_by_itself_is_found_to(live: LiveCove, sandboxes: Sandboxes) -> None:
    """A process that nobody outside knows of, and nobody asks for anything meanwhile."""
    sandbox = sandboxes.create()
    sandbox.exec("sh", "-c", f"({WORKER}) >/dev/null 2>&1 &").wait()
    has_slack(live, sandbox, LATE_S)
    has_slack(live, sandbox, EXACT_S)
