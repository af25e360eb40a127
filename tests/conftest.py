"""What holds for every test: where it can run, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import platform
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest

from tests.support.chromium import PROGRAM as CHROMIUM
from tests.support.leak_guard import Traces
from tests.support.live_fixtures import app, live, sandboxes, shared

__all__ = ["app", "live", "sandboxes", "shared"]

hypothesis.settings.register_profile("no deadlines", deadline=None)  # timing says how busy the machine is
hypothesis.settings.load_profile("no deadlines")

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background, and so in all that tests start

TASK_GRACE_S: Final = 0.5
"""How long tasks that were told to end may take; waited only where some are left."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need more than this machine has are skipped with the reason; in CI, which has it all, they fail."""
    missing = None
    if item.get_closest_marker("needs_runsc"):
        missing = _missing_for_runsc()
    elif item.get_closest_marker("needs_root"):
        missing = _missing_for_root()
    if not missing and item.get_closest_marker("needs_chromium") and not Path(CHROMIUM).exists():
        missing = "chromium is not installed"
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must be able to run this test, but {missing}", pytrace=False)
    if missing:
        pytest.skip(missing)


def _missing_for_root() -> str | None:
    if platform.system() != "Linux":
        return f"this is {platform.system()}, not Linux"
    return None if os.geteuid() == 0 else "this is not root"


def _missing_for_runsc() -> str | None:
    installed = any(Path(directory, "runsc").exists() for directory in ("/usr/local/bin", "/usr/bin"))
    return _missing_for_root() or (None if installed else "runsc is not installed")


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail if the test leaves a task, a child process, a mount, a loop device, or a control group or link of an instance it named.

    First of the function's fixtures, so it looks after all others have cleaned up; what fixtures of wider scope made is there before.
    """
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left_behind")
    directory = tmp_path_factory.getbasetemp()
    before = Traces.take(directory)
    yield
    left = before.left(directory)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail if the test leaves a task in its event loop, which would be cancelled in silence otherwise."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=TASK_GRACE_S)
    if left:
        pytest.fail("the test left tasks behind:\n  " + "\n  ".join(map(repr, left)), pytrace=False)
