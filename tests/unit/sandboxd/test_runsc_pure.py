"""runsc's command lines, specs and answers, without running it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cove.exception import ConflictError, ResourceExhaustedError
from cove.types import SandboxId
from sandboxd.runsc.argv import RunscOptions
from sandboxd.runsc.parse import checkpoint_failure, failure_text, parse_list, parse_state
from sandboxd.runsc.spec import USER_CAPABILITIES, build_spec
from sandboxd.runtime import Container, ContainerStatus, RuntimeFailed

OPTIONS = RunscOptions(runsc=Path("/usr/bin/runsc"), root=Path("/run/cove/runsc"))


def container(**changes: object) -> Container:
    base = Container(
        sandbox_id=SandboxId("sb-0"),
        directory=Path("/run/cove/sandboxes/sb-0"),
        rootfs=Path("/run/cove/rootfs/sb-0"),
        init="/.cove/init",
        hostname="sb-0",
        env={"A": "b"},
        resources={"memory": {"limit": 1}},
        cgroups_path="/cove/sb-0",
        netns=None,
    )
    return msgspec.structs.replace(base, **changes)


def test_commands_pin_what_isolation_rests_on() -> None:
    for command in (
        OPTIONS.create("sb-0", Path("/b"), network=True),
        OPTIONS.start("sb-0", Path("/b"), network=True),
        OPTIONS.simple("delete", "--force", "sb-0"),
    ):
        assert {"--overlay2=none", "--net-raw=false", "--host-uds=none", "--host-fifo=none", "--platform=systrap"} <= set(command)


def test_network_mode_follows_the_namespace() -> None:
    assert "--network=none" in OPTIONS.create("sb-0", Path("/b"), network=False)
    assert "--network=sandbox" in OPTIONS.create("sb-0", Path("/b"), network=True)
    assert build_spec(container())["linux"]["namespaces"][-1] == {"type": "network"}
    assert build_spec(container(netns=Path("/n")))["linux"]["namespaces"][-1] == {"type": "network", "path": "/n"}


def test_prefix_comes_first() -> None:
    assert OPTIONS.start("sb-0", Path("/b"), network=True, prefix=["nsenter", "--net=/n"])[:3] == ["nsenter", "--net=/n", "/usr/bin/runsc"]


def test_nothing_of_the_host_is_mounted_and_no_device_is_given() -> None:
    spec = build_spec(container())
    assert {mount["type"] for mount in spec["mounts"]} <= {"proc", "tmpfs", "devpts", "sysfs"}
    assert "devices" not in spec["linux"]
    assert not any("bind" in mount.get("options", ()) for mount in spec["mounts"])


def test_only_pid_1_may_mount() -> None:
    capabilities = build_spec(container())["process"]["capabilities"]
    assert set(capabilities["bounding"]) - set(USER_CAPABILITIES) == {"CAP_SYS_ADMIN"}
    assert "CAP_NET_RAW" not in USER_CAPABILITIES


def test_environment_of_pid_1_has_nothing_of_the_users() -> None:
    assert build_spec(container())["process"]["env"] == ["A=b"]


@pytest.mark.parametrize("status", list(ContainerStatus))
def test_state_is_read(status: ContainerStatus) -> None:
    state = parse_state(b'{"ociVersion":"1.0","id":"sb-0","status":"%s","pid":7,"bundle":"/b"}' % status.encode())
    assert (state.id, state.status, state.pid) == ("sb-0", status, 7)


@pytest.mark.parametrize("output", [b"", b"{}", b'{"id":"x","status":"dancing"}', b"null", b"\xff\xfe"])
def test_unexpected_state_is_an_error(output: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        parse_state(output)


def test_list_is_words() -> None:
    assert parse_list(b"sb-1\nsb-2\n") == ["sb-1", "sb-2"]
    assert parse_list(b"") == []


def test_failure_is_told_from_the_log_and_is_bounded() -> None:
    log = b'{"level":"info","msg":"fine"}\nnot json\n{"level":"warning","msg":"FATAL ERROR: no such bundle"}\n'
    assert failure_text(log, b"exit status 128") == "FATAL ERROR: no such bundle"
    assert failure_text(b"", b"plain words\n") == "plain words"
    assert failure_text(b"", b"") == "it said nothing"
    assert len(failure_text(b"", b"x" * 100_000)) == 800


DELETED = (
    b'checkpoint failed: checkpointing container "sb-1": encoding error: gofer.dentry("root/a b").beforeSave: deleted and invalidated '
    b"dentries can't be restored:\ngoroutine 97 [running]:\ngvisor.dev/gvisor/pkg/state.safely.func1()\n"
)


def test_what_cannot_be_kept_is_named() -> None:
    error = checkpoint_failure(DELETED)
    assert isinstance(error, ConflictError) and "/root/a b " in error.cause and "/dev/shm" in error.remedy
    endless = DELETED.replace(b"a b", b"x" * 5000)
    assert len(checkpoint_failure(endless).cause) < 500


def test_other_failures_of_a_checkpoint() -> None:
    assert isinstance(checkpoint_failure(b"write pages.img: no space left on device"), ResourceExhaustedError)
    failed = checkpoint_failure(b"save rejected\n\ngoroutine 1 [running]:\nmain.main()\n")
    assert isinstance(failed, RuntimeFailed) and "save rejected" in failed.cause and "main.main" not in failed.cause
    assert isinstance(checkpoint_failure(b""), RuntimeFailed)
