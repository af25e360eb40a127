"""Root inside has what the spec gives it and no more: capabilities, devices, system calls, sockets."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, Final

import pytest

import cove
from tests.security.probe import inside
from tests.support.live_fixtures import Sandboxes

# Numbers of linux/capability.h. Written out here so that a change of the spec has to pass by this file, too.
GIVEN: Final = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "SYS_CHROOT": 18,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
GIVEN_BITS: Final = sum(1 << bit for bit in GIVEN.values())

DEVICES: Final = {
    "fd", "full", "fuse", "net", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
}  # fmt: skip
"""Files in /dev. fuse and net/tun are the sentry's own, and need SYS_ADMIN and NET_ADMIN."""


def capabilities() -> dict[str, dict[str, int]]:
    """Capability sets of every process but PID 1, by pid."""
    import glob

    sets: dict[str, dict[str, int]] = {}
    for path in glob.glob("/proc/[0-9]*/status"):
        with open(path) as file:
            lines = [line.split(":") for line in file if line.startswith("Cap")]
        sets[path.split("/")[2]] = {name: int(value, 16) for name, value in lines}
    del sets["1"]
    return sets


def test_every_process_has_the_given_capabilities_at_most(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("sleep", "1000")
    sandbox.exec("sh", "-c", "setsid sleep 1000 & sleep 1000")
    sets = inside(sandbox, capabilities)
    assert len(sets) >= 2
    for found in sets.values():
        for kind, bits in found.items():
            assert bits & ~GIVEN_BITS == 0, kind


def test_root_has_the_given_capabilities(shared: cove.Sandbox) -> None:
    assert all(found["CapEff"] == found["CapBnd"] == GIVEN_BITS for found in inside(shared, capabilities).values())


def test_an_ordinary_user_has_none(shared: cove.Sandbox) -> None:
    own = max(inside(shared, capabilities, user="nobody").items(), key=lambda item: int(item[0]))[1]
    assert own["CapEff"] == own["CapPrm"] == 0


def device_tree() -> list[str]:
    import os

    return sorted(os.listdir("/dev"))


def test_no_devices_but_the_usual(shared: cove.Sandbox) -> None:
    assert set(inside(shared, device_tree)) <= DEVICES


def open_devices(numbers: list[list[Any]]) -> dict[str, list[str]]:
    """mknod each (kind, major, minor) on several file systems, and read from and write to what could be made."""
    import os
    import stat

    outcome: dict[str, list[str]] = {"read": [], "written": []}
    for kind, major, minor in numbers:
        for directory in ("/tmp", "/dev/shm", "/root", "/run/cove"):
            path = f"{directory}/node-{kind}-{major}-{minor}"
            try:
                os.mknod(path, 0o666 | (stat.S_IFBLK if kind == "b" else stat.S_IFCHR), os.makedev(major, minor))
            except OSError:
                continue
            for flags, verb in ((os.O_RDONLY, "read"), (os.O_RDWR, "written")):
                try:
                    os.close(os.open(path, flags | os.O_NONBLOCK))
                    outcome[verb].append(path)
                except OSError:
                    continue
            os.unlink(path)
    return outcome


def test_device_nodes_open_nothing(shared: cove.Sandbox) -> None:
    blocks = [line.split()[:2] for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    numbers: list[list[Any]] = [["b", int(major), int(minor)] for major, minor in blocks[:16]]
    for name in ("mem", "port", "kmsg", "kvm", "fuse", "loop-control", "vhost-net", "cpu_dma_latency", "snapshot", "btrfs-control"):
        if (device := Path("/dev", name)).exists():
            status = os.stat(device)
            numbers.append(["c", os.major(status.st_rdev), os.minor(status.st_rdev)])
    numbers += [["c", 1, 1], ["c", 1, 2], ["c", 1, 4], ["b", 7, 0], ["b", 8, 0]]
    assert inside(shared, open_devices, [number for number in numbers if number != ["c", 10, 229]]) == {"read": [], "written": []}


def attempts() -> dict[str, int]:
    """Privileged system calls of x86-64. Returns: errno of each, 0 for those that succeeded."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    page = ctypes.create_string_buffer(4096)
    os.makedirs("/tmp/mount", exist_ok=True)
    new_namespaces = 0x00020000 | 0x04000000 | 0x40000000
    calls: dict[str, tuple[Any, ...]] = {
        "mount tmpfs": (165, b"none", b"/tmp/mount", b"tmpfs", 0, None),
        "mount proc": (165, b"none", b"/tmp/mount", b"proc", 0, None),
        "mount sysfs": (165, b"none", b"/tmp/mount", b"sysfs", 0, None),
        "mount cgroup": (165, b"none", b"/tmp/mount", b"cgroup", 0, b"pids"),
        "mount bind": (165, b"/", b"/tmp/mount", b"", 4096, None),
        "mount ext4": (165, b"/dev/vda", b"/tmp/mount", b"ext4", 0, None),
        "remount": (165, b"none", b"/sys", b"", 32, None),
        "umount": (166, b"/proc", 2),
        "pivot_root": (155, b"/tmp", b"/tmp/mount"),
        "fsopen": (430, b"tmpfs", 0),
        "open_tree": (428, -100, b"/", 1),
        "unshare": (272, new_namespaces),
        "setns": (308, os.open("/proc/self/ns/net", os.O_RDONLY) if os.path.exists("/proc/self/ns/net") else 0, 0),
        "bpf": (321, 5, page, 64),
        "bpf map": (321, 0, page, 64),
        "perf_event_open": (298, page, 0, -1, -1, 0),
        "kexec_load": (246, 0, 0, None, 0),
        "kexec_file_load": (320, -1, -1, 0, b"", 0),
        "init_module": (175, page, 4096, b""),
        "finit_module": (313, 0, b"", 0),
        "delete_module": (176, b"nf_tables", 0),
        "reboot": (169, 0xFEE1DEAD, 672274793, 0x01234567, None),
        "swapon": (167, b"/tmp", 0),
        "swapoff": (168, b"/dev/vda2"),
        "iopl": (172, 3),
        "ioperm": (173, 0x3F8, 8, 1),
        "settimeofday": (164, page, None),
        "clock_settime": (227, 0, page),
        "adjtimex write": (159, ctypes.create_string_buffer(b"\x01\x80", 4096)),
        "sethostname": (170, b"owned", 5),
        "setdomainname": (171, b"owned", 5),
        "syslog clear": (103, 5, None, 0),
        "acct": (163, b"/tmp/mount"),
        "quotactl": (179, 0x800002, b"/dev/vda", 0, page),
        "lookup_dcookie": (212, 0, page, 4096),
        "userfaultfd": (323, 0),
        "fanotify_init": (300, 0, 0),
        "io_uring_setup": (425, 8, page),
        "nfsservctl": (180, 0, None, None),
        "vhangup": (153,),
    }
    outcome = {}
    for name, (number, *arguments) in calls.items():
        ctypes.set_errno(0)
        outcome[name] = ctypes.get_errno() if libc.syscall(number, *arguments) < 0 else 0
    return outcome


HARMLESS: Final = frozenset({"unshare", "setns", "vhangup", "syslog clear", "io_uring_setup"})
"""May succeed inside the sentry, whose own objects they touch; what they lead to is tested below."""


def test_privileged_calls_fail(sandboxes: Sandboxes) -> None:
    before, uptime = time.time(), Path("/proc/uptime").read_text().split()[0]
    sandbox = sandboxes.create()
    outcome = inside(sandbox, attempts)
    assert {name for name, errno in outcome.items() if errno == 0} - HARMLESS == set()
    assert abs(time.time() - before) < 60
    assert float(Path("/proc/uptime").read_text().split()[0]) >= float(uptime)
    assert platform.node() != "owned"
    assert sandbox.exec("true").wait() == 0


def namespace_escape() -> dict[str, Any]:
    """As root of a user namespace of one's own, where the namespace gives capabilities back."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x00020000) < 0:
        return {"refused": ctypes.get_errno()}
    os.makedirs("/tmp/space", exist_ok=True)
    mounted = []
    for source, kind in ((b"/dev/vda", b"ext4"), (b"/dev/vda", b"btrfs"), (b"none", b"9p"), (b"none", b"overlay"), (b"none", b"gofer")):
        if libc.mount(source, b"/tmp/space", kind, 0, None) == 0:
            mounted.append(kind.decode())
    return {
        "mounted": mounted,
        "root": sorted(os.listdir("/")),
        "disks": [name for name in os.listdir("/dev") if name.startswith(("vd", "sd"))],
    }


def test_a_user_namespace_leads_to_no_host_file_system(shared: cove.Sandbox) -> None:
    found = inside(shared, namespace_escape)
    assert found.get("mounted", []) == [] and found.get("disks", []) == []
    assert found.get("root") in (None, sorted(shared.ls("/")))


def open_sockets() -> dict[str, int]:
    """Sockets that see or forge packets. Returns: errno of each, 0 for those that opened."""
    import socket

    families = {
        "raw icmp": (socket.AF_INET, socket.SOCK_RAW, 1),
        "raw tcp": (socket.AF_INET, socket.SOCK_RAW, 6),
        "raw ip": (socket.AF_INET, socket.SOCK_RAW, 255),
        "raw ip6": (socket.AF_INET6, socket.SOCK_RAW, 58),
        "packet raw": (17, socket.SOCK_RAW, 0x0300),
        "packet dgram": (17, socket.SOCK_DGRAM, 0x0300),
        "vsock": (40, socket.SOCK_STREAM, 0),
        "bluetooth": (31, socket.SOCK_RAW, 1),
        "can": (29, socket.SOCK_RAW, 1),
        "alg": (38, socket.SOCK_SEQPACKET, 0),
        "tipc": (30, socket.SOCK_STREAM, 0),
        "netlink netfilter": (16, socket.SOCK_RAW, 12),
        "netlink audit": (16, socket.SOCK_RAW, 9),
        "netlink generic": (16, socket.SOCK_RAW, 16),
    }
    outcome = {}
    for name, arguments in families.items():
        try:
            socket.socket(*arguments).close()
            outcome[name] = 0
        except OSError as error:
            outcome[name] = error.errno or -1
    return outcome


@pytest.mark.parametrize("blocked", [True, False], ids=["blocked", "open"])
def test_no_raw_sockets(sandboxes: Sandboxes, blocked: bool) -> None:
    outcome = inside(sandboxes.create(block_network=blocked), open_sockets)
    assert {name for name, errno in outcome.items() if errno == 0} == set()


def reconfigure() -> dict[str, int]:
    """Add an address and take the interface down by ioctl. Returns: errno of each, 0 for those that succeeded."""
    import fcntl
    import socket
    import struct

    outcome = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        address = struct.pack("16sH2s4s8s", b"eth0", socket.AF_INET, b"", socket.inet_aton("10.0.0.1"), b"")
        requests = {"address": (0x8916, address), "flags": (0x8914, struct.pack("16sH14s", b"eth0", 0, b"")), "mac": (0x8924, address)}
        for name, (request, argument) in requests.items():
            try:
                fcntl.ioctl(control, request, argument)
                outcome[name] = 0
            except OSError as error:
                outcome[name] = error.errno or -1
    return outcome


def test_the_interface_cannot_be_reconfigured(sandboxes: Sandboxes) -> None:
    assert 0 not in inside(sandboxes.create(block_network=False), reconfigure).values()
