"""Pausing and waking: what was running goes on, whatever wakes it, whoever dies meanwhile."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Final

import msgspec
import pytest

import cove
from cove.exception import ConflictError, InvalidError, SandboxTimeoutError
from tests.support.leaks import holdings
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes

pytestmark = pytest.mark.timeout(180)

REPL: Final = """
import sys
said = []
for line in sys.stdin:
    said.append(line.strip())
    print(len(said), said[-1], flush=True)
"""
"""Answers each line with how many there have been."""

HOLDER: Final = """
import os, sys
file = open("/gone", "w")
os.remove("/gone")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_process_goes_on_where_it_stood(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    repl = sandbox.exec("python", "-c", REPL)
    lines = iter(repl.stdout)
    repl.stdin.write("one\n")
    repl.stdin.drain()
    assert next(lines) == "1 one\n"
    sandbox.pause()
    sandbox.hydrate()
    assert sandbox.paused and sandbox.poll() is None
    repl.stdin.write("two\n")
    repl.stdin.drain()
    assert next(lines) == "2 two\n"
    sandbox.hydrate()
    assert not sandbox.paused
    repl.stdin.write_eof()
    repl.stdin.drain()
    assert repl.wait() == 0


def test_pausing_twice_and_resuming_twice_is_fine(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    sandbox.exec("touch", "/kept").wait()
    for _ in range(3):
        sandbox.pause()
        sandbox.pause()
        sandbox.resume()
        sandbox.resume()
    assert sandbox.exec("ls", "/kept").wait() == 0
    assert sandbox.exec("sh", "-c", "mount | grep -c ' /tmp '").stdout.read().strip() == "0"


def test_a_paused_sandbox_has_nothing_in_the_kernel(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create(block_network=False)
    sandbox.exec("true").wait()
    sandbox.pause()
    held, own = holdings(live), frozenset([sandbox.object_id])
    assert {kind for kind, ids in msgspec.structs.asdict(held).items() if own & frozenset(ids)} == {"uppers", "paused"}
    assert not [process for process in held.processes if process.startswith(sandbox.object_id)]
    sandbox.resume()
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    assert sandbox.object_id not in holdings(live).paused


def test_files_and_ports_wake_it(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("python", "-m", "http.server", "8000", encrypted_ports=[8000])
    url = sandbox.tunnels()[8000].url
    _await_server(url)
    with sandbox.open("/kept", "w") as file:
        file.write("kept")
    sandbox.pause()
    with sandbox.open("/kept") as file:
        assert file.read() == "kept"
    sandbox.pause()
    with urllib.request.urlopen(url, timeout=30) as response:
        assert response.status == 200


def test_an_idle_sandbox_is_paused_and_woken(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create(idle_timeout=1, on_idle="pause")
    sandbox.exec("touch", "/kept").wait()
    _await_paused(sandbox)
    assert sandbox.exec("ls", "/kept").wait() == 0
    _await_paused(sandbox)


def test_the_end_of_its_lifetime_pauses_it_and_waking_begins_another(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create(timeout=3, on_timeout="pause")
    sandbox.exec("touch", "/kept").wait()
    _await_paused(sandbox)
    assert sandbox.exec("ls", "/kept").wait() == 0
    _await_paused(sandbox)


def test_its_lifetime_stands_still_while_it_is_paused(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create(timeout=4)
    sandbox.exec("true").wait()
    sandbox.pause()
    time.sleep(4)
    assert sandbox.exec("true").wait() == 0
    with pytest.raises(SandboxTimeoutError):
        sandbox.wait()


def test_what_cannot_be_kept_leaves_it_running(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    holder = sandbox.exec(
        "python", "-c", "import os,sys; f=open('/gone','w'); os.remove('/gone'); print('open', flush=True); sys.stdin.read()"
    )
    assert next(iter(holder.stdout)) == "open\n"
    with pytest.raises(ConflictError, match="/gone"):
        sandbox.pause()
    holder.stdin.write_eof()
    holder.stdin.drain()
    assert holder.wait() == 0
    sandbox.pause()


def test_a_paused_sandbox_can_be_terminated(live: LiveCove, sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    sandbox.exec("true").wait()
    sandbox.pause()
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    with pytest.raises(ConflictError):
        sandbox.pause()


def test_idle_pausing_needs_an_idle_time(sandboxes: Sandboxes) -> None:
    with pytest.raises(InvalidError, match="idle_timeout"):
        sandboxes.create(on_idle="pause")


def _await_server(url: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=30).close()
        except urllib.error.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server did not come up")


def _await_paused(sandbox: cove.Sandbox, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not sandbox.hydrate().paused:
        assert sandbox.poll() is None
        assert time.monotonic() < deadline, "it was not paused"
        time.sleep(0.05)
