"""Writes to /proc and /sys change nothing on the host, and there is no cgroup to climb out by."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cove
from tests.security.probe import inside
from tests.support.live_fixtures import Sandboxes

DANGEROUS: Final = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/threads-max",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/all/rp_filter",
    "/proc/sys/net/core/rmem_max",
    "/proc/sysrq-trigger",
    "/proc/kcore",
    "/proc/kmem",
    "/proc/kmsg",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/mtrr",
    "/proc/bus/pci",
    "/proc/acpi/alarm",
    "/proc/scsi/scsi",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/power/state",
    "/sys/class/mem/mem/uevent",
    "/sys/devices/system/cpu/cpu1/online",
    "/sys/module/apparmor/parameters/enabled",
    "/sys/firmware/efi/vars",
    "/sys/fs/cgroup/release_agent",
    "/sys/fs/cgroup/pids/release_agent",
)


def write_all(paths: list[str]) -> list[str]:
    """Write something to each. Returns: those that took it."""
    taken = []
    for path in paths:
        # "h" asks sysrq for help, the one command that could do no harm, were this not a sandbox.
        text = "h" if path.endswith("sysrq-trigger") else "1" if path.startswith("/proc/sys/") else "|/tmp/cove-owned"
        try:
            with open(path, "w") as file:
                file.write(text)
            taken.append(path)
        except OSError:
            continue
    return taken


def _host_values() -> dict[str, str]:
    values = {}
    for path in DANGEROUS:
        if path.startswith("/proc/sys/") and Path(path).is_file():
            try:
                values[path] = Path(path).read_text()
            except OSError:
                continue
    return values


def test_writes_change_nothing_on_the_host(sandboxes: Sandboxes) -> None:
    sandbox, neighbour = sandboxes.create(), sandboxes.create()
    before = _host_values()
    assert len(before) > 10
    inside(sandbox, write_all, list(DANGEROUS))
    assert _host_values() == before
    assert neighbour.exec("true").wait() == 0
    assert sandbox.exec("true").wait() == 0


def read_secrets() -> dict[str, int]:
    """How much can be read of files that would show the host's memory, log or keys."""
    readable = {}
    for path in ("/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/proc/keys", "/proc/kallsyms", "/proc/iomem", "/sys/kernel/debug"):
        try:
            import os

            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            readable[path] = len(os.read(descriptor, 4096))
            os.close(descriptor)
        except OSError:
            continue
    return readable


def test_memory_log_and_keys_of_the_host_are_not_there(shared: cove.Sandbox) -> None:
    assert inside(shared, read_secrets) == {}


def writable_cgroup_files() -> list[str]:
    """Files below /sys/fs/cgroup, and anywhere named as cgroups name them, that open for writing."""
    import os

    found = []
    for top in ("/sys/fs/cgroup", "/run", "/tmp", "/dev"):
        for directory, _, files in os.walk(top):
            for name in files:
                if top == "/sys/fs/cgroup" or name in ("release_agent", "notify_on_release", "cgroup.procs", "pids.max"):
                    path = os.path.join(directory, name)
                    try:
                        os.close(os.open(path, os.O_WRONLY))
                        found.append(path)
                    except OSError:
                        continue
    return found


def test_no_cgroup_can_be_written(shared: cove.Sandbox) -> None:
    assert inside(shared, writable_cgroup_files) == []


def dump_core() -> int:
    """Die of SIGSEGV after asking for a core dump through a pipe. Returns: the child's signal."""
    import os
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def test_a_crash_runs_no_helper_of_the_host(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create()
    inside(sandbox, write_all, ["/proc/sys/kernel/core_pattern"])
    assert inside(sandbox, dump_core) == 11
    assert not Path("/tmp/cove-owned").exists()
