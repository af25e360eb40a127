"""What differs between two memory snapshots: files, processes and what listens, as the sandbox itself had it."""

from __future__ import annotations

import pytest

import cove
from cove.types import PortChange, ProcessChange, SnapshotPort
from tests.support.live_fixtures import Sandboxes

pytestmark = pytest.mark.timeout(180)

SERVER = """
import os, socket, subprocess, sys
kept = [socket.create_server(("127.0.0.1", 8001)), socket.create_server(("0.0.0.0", 8002))]
kept.append(socket.create_server(("::1", 8003), family=socket.AF_INET6))
kept.append(socket.create_connection(("127.0.0.1", 8001)))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 9001))
bound = socket.socket()
bound.bind(("127.0.0.1", 8009))
children = []
print("ready", flush=True)
for line in sys.stdin:
    if line == "more\\n":
        kept.pop(0).close()
        kept.append(socket.create_server(("127.0.0.1", 8005)))
        children.append(subprocess.Popen(["sleep", "3600"]))
        open("/tmp/new", "w").close()
    else:
        children.pop().kill()
    print(line, end="", flush=True)
"""


class Server:
    """A program that listens, starts and ends children, and does more of it when told."""

    def __init__(self, sandbox: cove.Sandbox) -> None:
        self.sandbox = sandbox
        self.process = sandbox.exec("python3", "-c", SERVER)
        self._lines = iter(self.process.stdout)
        assert next(self._lines) == "ready\n"

    def tell(self, word: str) -> None:
        self.process.stdin.write(word + "\n")
        self.process.stdin.drain()
        assert next(self._lines) == word + "\n"


@pytest.fixture
def server(sandboxes: Sandboxes) -> Server:
    return Server(sandboxes.create())


def port(address: str, number: int, protocol: str = "tcp") -> SnapshotPort:
    return SnapshotPort(protocol, address, number)


def test_all_that_came_and_went_is_told(server: Server) -> None:
    first = server.sandbox.snapshot()
    info = first.info()
    (process,) = info.processes
    assert info.children == ()
    assert set(info.ports or ()) == {
        port("127.0.0.1", 8001),
        port("0.0.0.0", 8002),
        port("::1", 8003),
        port("127.0.0.1", 9001, "udp"),
    }
    server.tell("more")
    second = server.sandbox.snapshot()
    (child,) = second.info().children or ()
    assert (child.parent_pid, child.program) == (process.pid, "sleep")
    diff = first.diff(second)
    assert ("/tmp/new", "added") in {(change.path, change.kind) for change in diff.files}
    assert diff.processes == (
        ProcessChange("kept", server.process.exec_id, process.pid, "python3"),
        ProcessChange("started", None, child.pid, "sleep"),
    )
    assert diff.ports == (PortChange("closed", port("127.0.0.1", 8001)), PortChange("opened", port("127.0.0.1", 8005)))
    server.tell("fewer")  # the child is a zombie now
    third = server.sandbox.snapshot()
    assert second.diff(third).processes[-1] == ProcessChange("ended", None, child.pid, "sleep")
    assert second.diff(third).ports == ()


def test_a_clone_has_what_its_snapshot_had(server: Server, sandboxes: Sandboxes) -> None:
    server.tell("more")
    snapshot = server.sandbox.snapshot()
    clone = sandboxes.keep(cove.Sandbox.from_snapshot(snapshot))
    added = clone.exec("sleep", "3600")
    of_clone = clone.snapshot()
    diff = snapshot.diff(of_clone)
    assert [change.kind for change in diff.processes] == ["kept", "kept", "started"]
    assert diff.processes[-1].exec_id == added.exec_id
    assert diff.ports == ()
    assert [change.kind for change in of_clone.diff(snapshot).processes] == ["kept", "kept", "ended"]
