"""Sandboxes out of the warm pool: like any other from inside, and whatever dies in between, no create is lost and nothing is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cove.exception import ConflictError
from cove.types import is_id
from cove.wire import common_pb2, control_pb2, network_pb2
from tests.support.leaks import assert_holds, assert_nothing, cgroup_of, sentry_pid
from tests.support.live_cove import LiveCove
from tests.support.raw_client import RawClient, RawSandbox, ending

SPARES: Final = 6
CLAIMED_S: Final = 60.0

LOOK: Final = r"""
show() { echo "== $1"; shift; "$@" 2>&1; }
show pid echo $$
show env sh -c 'env | sort'
show names sh -c 'hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; uname -a'
show mounts cat /proc/mounts
show processes sh -c 'for p in /proc/[0-9]*; do tr "\0" " " < $p/cmdline; grep -E "$0" $p/status; done' "^(Name|State|P|Uid|Gid|Cap|Thr)"
show cores nproc
show memory grep MemTotal /proc/meminfo
show ulimits sh -c 'ulimit -a; cat /proc/self/limits; umask; id'
show group cat /proc/self/cgroup
show descriptors sh -c 'ls -l /proc/1/fd /proc/self/fd | sed "s/.*[0-9][0-9]:[0-9][0-9] //"'
show devices sh -c 'ls -l /dev /dev/shm /run /run/cove /.cove | sed "s/[A-Z][a-z][a-z]  *[0-9]* *[0-9:]* / /"'
show network sh -c 'tail -n +3 /proc/net/dev | cut -d: -f1; cut -f 2,3,8 /proc/net/route; cat /proc/net/tcp'
show disk df --output=target,size,fstype -B1M
show files find / -xdev -printf "%m %U %G %y %n %p %l\n"
show times find /etc /home /opt /root /srv /usr /var ! -path "/etc/host*" ! -path /etc/resolv.conf -printf "%T@ %p\n"
"""
"""Tells all of a sandbox that a program in it could see, but for what time has done to it."""

SPECS: Final[dict[str, dict[str, Any]]] = {
    "blocked": {},
    "limited": {
        "network": network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_BLOCKED),
        "memory_limit_bytes": 256 * 2**20,
        "memory_request_bytes": 64 * 2**20,
        "cpu_limit_millis": 1000,
        "cpu_request_millis": 1000,
        "max_tasks": 64,
        "disk_limit_bytes": 64 * 2**20,
    },
    "open": {"network": network_pb2.NetworkPolicy()},
    "some addresses": {"network": network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_ALLOWLIST, cidrs=["192.0.2.0/24"])},
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCove]:
    """An instance of this module's own, with a small pool, whose parts it may kill."""
    instance = LiveCove(tmp_path_factory.mktemp("cove"), COVE_NODE_WARM_MEMORY_BYTES=str(SPARES * 24 * 2**20))
    with instance.running():
        yield instance
    assert_nothing(instance)


class Pool:
    """What the node has ahead, seen from outside."""

    def __init__(self, live: LiveCove, client: RawClient) -> None:
        self._live, self._client = live, client

    def info(self) -> control_pb2.NodeInfo:
        info: control_pb2.NodeInfo = self._client.control.NodeList(control_pb2.NodeListRequest()).nodes[0]
        return info

    def ids(self) -> set[str]:
        """Sandboxes that exist and that nobody created: there is no record of them in the journal."""
        exist, known = (
            {path.name for path in directory.iterdir() if is_id(path.name, "sb")}
            for directory in (self._live.directory / "run" / "sandboxes", self._live.directory / "state" / "node" / "sandboxes")
        )
        return exist - known

    def claim(self, *command: str, **spec: Any) -> RawSandbox:
        """A sandbox that is one of the spares that were there."""
        deadline = time.monotonic() + CLAIMED_S
        while time.monotonic() < deadline:
            ahead = self.ids()
            sandbox = self._client.ready(*command, **spec)
            if sandbox.sandbox_id in ahead:
                return sandbox
            with ending(sandbox):
                pass
        raise AssertionError(f"no spare was claimed:\n{self._live.tail('sandboxd')}")

    def waiting(self) -> str:
        """A spare that stands still, once there is one."""
        deadline = time.monotonic() + CLAIMED_S
        while time.monotonic() < deadline:
            for sandbox_id in self.ids():
                with contextlib.suppress(FileNotFoundError, StopIteration):
                    if is_frozen(cgroup_of(self._live, sandbox_id)):
                        return sandbox_id
            time.sleep(0.02)
        raise AssertionError(f"no spare came:\n{self._live.tail('sandboxd')}")


def is_frozen(group: Path) -> bool:
    if (group / "freezer.state").exists():
        return (group / "freezer.state").read_text().strip() == "FROZEN"
    return "frozen 1" in (group / "cgroup.events").read_text().splitlines()


@pytest.fixture
def pool(live: LiveCove, client: RawClient) -> Pool:
    return Pool(live, client)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In the place of the general check: spares come and go while tests run. See :func:`emptied`."""


@pytest.fixture(scope="module", autouse=True)
def emptied(live: LiveCove) -> Iterator[None]:
    """After the last test nothing is left but spares, and after the daemon's death nothing at all."""
    yield
    live.restart("sandboxd")
    assert_holds(live)


def normal(text: bytes, sandbox: RawSandbox) -> list[str]:
    """``text`` without what differs between any two sandboxes: ids and addresses."""
    plain = text.decode().replace(sandbox.sandbox_id, "ID").replace(sandbox.sandbox_id.lower(), "id")
    plain = re.sub(r"ta-[A-Za-z0-9]{22}", "TASK", plain)
    plain = re.sub(r"host:\[\d+\]", "host:[]", plain)  # numbered as the sentry comes upon them
    plain = re.sub(r"10\.\d+\.\d+\.\d+", "ADDRESS", plain)
    return re.sub(r"\b[0-9A-F]{8}\t[0-9A-F]{8}\t[0-9A-F]{8}", "ROUTE", plain).splitlines()


@pytest.mark.parametrize("kind", SPECS)
def test_a_claim_is_like_a_cold_start(client: RawClient, pool: Pool, kind: str) -> None:
    """In all that a program sees, with the caller's own things in it, and in what is kept of it."""
    disk_bytes = (100 + len(kind)) * 2**20  # a shape that nobody asked for before
    spec = {"env": {"TOKEN": "s3", "LANG": "C"}, "workdir": "/usr", "disk_limit_bytes": disk_bytes, **SPECS[kind]}
    cold = client.ready("sleep", "300", **spec)
    warm = pool.claim("sleep", "300", **spec)
    with ending(cold, warm):
        seen = sorted(normal(cold.shell(LOOK), cold))
        assert seen == sorted(normal(warm.shell(LOOK), warm))
        assert {"TOKEN=s3", "COVE_SANDBOX_ID=ID", "127.0.0.1\tlocalhost", "== times"} <= set(seen)
        for sandbox in (cold, warm):
            assert sandbox.shell("touch -d @1 /root/made; rm /etc/motd; cat /proc/self/cgroup >/dev/null") == b""
        assert cold.diff() == warm.diff()
        images = [sandbox.snapshot() for sandbox in (cold, warm)]
        assert client.image_diff(*images) == {}


def test_clocks_of_a_sandbox_that_stood_still_are_right(pool: Pool) -> None:
    sandbox = pool.claim()
    with ending(sandbox):
        assert abs(float(sandbox.shell("date +%s.%N")) - time.time()) < 1
        began = time.monotonic()
        slept = float(sandbox.shell('a=$(date +%s.%N); sleep 0.5; b=$(date +%s.%N); python3 -c "print($b - $a)"'))
        assert 0.5 <= slept <= time.monotonic() - began


def test_a_spare_has_no_record_and_reaches_nothing(live: LiveCove, pool: Pool) -> None:
    with ending(pool.claim(network=network_pb2.NetworkPolicy(), env={"TOKEN": "only mine"})):
        waiting = pool.waiting()
        assert not (live.directory / "state" / "node" / "sandboxes" / waiting).exists()
        environ = Path(f"/proc/{sentry_pid(live, waiting)}/environ").read_bytes()
        assert b"only mine" not in environ


def test_a_policy_holds_from_the_first_packet(pool: Pool) -> None:
    connect = "timeout 5 bash -c '</dev/tcp/192.0.2.1/9' 2>&1; cat /etc/resolv.conf | wc -l"
    listed = network_pb2.NetworkPolicy(mode=network_pb2.NETWORK_MODE_ALLOWLIST, cidrs=["198.51.100.0/24"])
    sandbox = pool.claim(network=listed)
    with ending(sandbox):
        assert b"refused" in sandbox.shell(connect) or b"unreachable" in sandbox.shell(connect)


def test_a_spare_killed_while_it_stands_still_costs_no_create(live: LiveCove, client: RawClient, pool: Pool) -> None:
    with ending(pool.claim()):
        for sandbox_id in {pool.waiting(), *pool.ids()}:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(sentry_pid(live, sandbox_id), signal.SIGKILL)
        sandboxes = [client.create() for _ in range(4)]
        with ending(*sandboxes):
            for sandbox in sandboxes:
                assert sandbox.run("true").exit_code == 0


def test_a_killed_daemon_frees_what_nobody_claimed_and_keeps_what_somebody_did(live: LiveCove, pool: Pool) -> None:
    sandbox = pool.claim("sleep", "300", env={"TOKEN": "s3"})
    with ending(sandbox):
        pool.waiting()
        live.restart("sandboxd")
        assert_holds(live, sandbox.sandbox_id)
        assert sandbox.shell("echo $TOKEN") == b"s3\n"


def test_a_daemon_killed_in_the_middle_of_claims_loses_none_without_a_word(live: LiveCove, client: RawClient, pool: Pool) -> None:
    for delay_ms in (0, 1, 3, 10):
        with ending(pool.claim()):
            pool.waiting()
        sandbox = client.create()
        time.sleep(delay_ms / 1000)
        live.restart("sandboxd")
        with contextlib.suppress(ConflictError):  # it has ended
            assert sandbox.run("true").exit_code == 0
        sandbox.terminate()
        assert sandbox.ended().reason in (common_pb2.END_REASON_INTERNAL_FAILURE, common_pb2.END_REASON_TERMINATED)
        assert_holds(live)


def test_the_memory_of_one_that_was_claimed_goes_on_elsewhere(client: RawClient, pool: Pool) -> None:
    source = pool.claim("sh", "-c", "echo begun; read line; echo $line >/root/line; sleep 300")
    with ending(source):
        assert source.first_output("main") == b"begun\n"
        clone = client.restore(source.memory())
        with ending(clone):
            clone.write("main", 0, b"and gone on\n")
            assert clone.shell("until [ -s /root/line ]; do sleep 0.05; done; cat /root/line") == b"and gone on\n"
            assert clone.shell("hostname").strip().decode() == clone.sandbox_id.lower()


def test_spares_are_told_and_claims_counted(pool: Pool) -> None:
    with ending(pool.claim()):
        pool.waiting()
        info = pool.info()
        assert info.warm_starts >= 1
        assert info.cold_starts >= 1
