"""The examples run as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.leaks import assert_holds
from tests.support.live_cove import LiveCove

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
LAST_LINES: Final = {
    "quickstart.py": "terminated, return code 137",
    "branching.py": "changed: ['changed /root/program.py']",
    "forking.py": "goes on: 100000",
}


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(LAST_LINES)


@pytest.mark.parametrize("name", LAST_LINES)
def test_it_runs(live: LiveCove, name: str) -> None:
    finished = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[-1] == LAST_LINES[name]
    assert_holds(live)
