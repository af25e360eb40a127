"""The web terminal in a real browser while what serves it dies: a pause, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser_terminal import PROMPT, lines, terminal
from tests.support.chromium import Chromium
from tests.support.leaks import assert_holds
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

pytestmark = pytest.mark.needs_chromium


@pytest.fixture(autouse=True)
def nothing_left_behind(live: LiveCove) -> Iterator[None]:
    """In the place of the general check: daemons come and go here."""
    yield
    assert_holds(live)


@pytest.mark.parametrize("daemon", ["router", "sandboxd"])
async def test_a_daemon_that_dies_is_a_pause(browser: Chromium, sandboxes: Sandboxes, live: LiveCove, daemon: str) -> None:
    tab = await terminal(browser, sandboxes.create())
    await tab.see(PROMPT)
    await tab.type("x=before\r")
    live.kill(daemon)
    await tab.see("Reconnecting", "#banner")
    await tab.type("echo $x and after\r")
    live.start(daemon)
    await tab.see("^before and after *$")
    assert len([line for line in await lines(tab) if line.startswith("before and after")]) == 1
    live.wait_ready()
    browser.complaints.clear()  # that nobody was there
