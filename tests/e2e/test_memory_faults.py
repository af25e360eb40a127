"""What goes wrong while memory is written, kept or restored: the source runs on, no half snapshot is ever listed, nothing is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cove
from cove.exception import DataLossError, Error, NotFoundError
from sandboxd.settings import NodeSettings
from tests.support.leaks import assert_holds, assert_nothing
from tests.support.live_cove import LiveCove
from tests.support.runsc_hold import RunscHold

pytestmark = pytest.mark.timeout(240)

COUNT = "import time\nn = 0\nwhile True:\n    n += 1\n    print(n, flush=True)\n    time.sleep(0.02)\n"
