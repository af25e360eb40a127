"""The OCI runtime spec (config.json) of a sandbox. Pure.

Source: OCI runtime-spec 1.0.2; gVisor user guide, "Filesystem" and "Networking".
"""

from __future__ import annotations

from typing import Any, Final

from sandboxd.runtime import Container

USER_CAPABILITIES: Final = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What root in a sandbox has: the set container engines give by default, less NET_RAW. All of it holds only inside the sentry."""

INIT_CAPABILITIES: Final = (*USER_CAPABILITIES, "CAP_SYS_ADMIN")
"""PID 1 alone also has SYS_ADMIN, to mount the pids cgroup; it drops it before every exec."""

_MOUNTS: Final[tuple[dict[str, Any], ...]] = (
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    },
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/run/cove", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=755"]},
)

OPEN_FILES: Final = 65_536


def build_spec(container: Container) -> dict[str, Any]:
    """config.json for ``container``."""
    network = {"type": "network", "path": str(container.netns)} if container.netns else {"type": "network"}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": [container.init],
            "env": [f"{key}={value}" for key, value in container.env.items()],
            "cwd": "/",
            "capabilities": {kind: list(INIT_CAPABILITIES) for kind in ("bounding", "effective", "inheritable", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": OPEN_FILES, "hard": OPEN_FILES}],
        },
        "root": {"path": str(container.rootfs), "readonly": False},
        "hostname": container.hostname,
        "mounts": list(_MOUNTS),
        "linux": {
            "cgroupsPath": container.cgroups_path,
            "resources": dict(container.resources),
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, network],
        },
    }
