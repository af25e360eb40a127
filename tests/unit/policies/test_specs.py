"""The form of commands, environments, paths and images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError
from cove.wire.common_pb2 import ImageRef, SandboxSpec
from cove.wire.network_pb2 import NetworkMode, NetworkPolicy
from policies.specs import (
    MAX_ARGUMENT_BYTES,
    MAX_ARGUMENTS,
    MAX_COMMAND_BYTES,
    MAX_ENV_BYTES,
    MAX_ENV_ENTRIES,
    check_command,
    check_env,
    check_workdir,
    fill_spec,
)


@pytest.mark.parametrize(
    "command",
    [
        [b""],
        [b"", b"x"],
        [b"a\0"],
        [b"sh", b"\0"],
        [b"x" * (MAX_ARGUMENT_BYTES + 1)],
        [b"x"] * (MAX_ARGUMENTS + 1),
        [b"x" * MAX_ARGUMENT_BYTES] * (MAX_COMMAND_BYTES // MAX_ARGUMENT_BYTES + 1),
    ],
)
def test_commands_that_execve_would_not_take(command: list[bytes]) -> None:
    with pytest.raises(InvalidError) as caught:
        check_command(command)
    assert caught.value.context["field"] == "command"


@pytest.mark.parametrize("command", [[], [b"x" * MAX_ARGUMENT_BYTES], [b"sh", b"", b"\xff\xfe"], [b"x"] * MAX_ARGUMENTS])
def test_commands_that_it_takes(command: list[bytes]) -> None:
    check_command(command)


@pytest.mark.parametrize(
    "env",
    [
        {"": "x"},
        {"A=B": "x"},
        {"A\0": "x"},
        {"A": "secret\0"},
        {"A": "s" * MAX_ARGUMENT_BYTES},
        {f"N{number}": "" for number in range(MAX_ENV_ENTRIES + 1)},
        {f"N{number}": "s" * 120_000 for number in range(MAX_ENV_BYTES // 120_000 + 1)},
    ],
)
def test_environments_that_cannot_be_and_whose_values_stay_secret(env: dict[str, str]) -> None:
    with pytest.raises(InvalidError) as caught:
        check_env(env)
    assert "secret" not in str(caught.value) and "sss" not in str(caught.value)


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_an_environment_passes_exactly_if_a_process_could_have_it(env: dict[str, str]) -> None:
    try:
        pairs = {name: value for name, value in env.items() if (name + value).encode() is not None}
    except UnicodeEncodeError:
        return  # surrogates cannot come through protobuf
    fine = all(name and "=" not in name and "\0" not in name + value for name, value in pairs.items())
    if fine:
        check_env(env)
    else:
        with pytest.raises(InvalidError):
            check_env(env)


@pytest.mark.parametrize("workdir", ["", "/", "/a b/ü", "/" + "x" * 4094])
def test_workdirs(workdir: str) -> None:
    check_workdir(workdir)


@pytest.mark.parametrize("workdir", ["a", "./a", "~", "/a\0b", "/" + "x" * 4095, "/" + "ü" * 2048])
def test_workdirs_that_are_none(workdir: str) -> None:
    with pytest.raises(InvalidError, match="workdir"):
        check_workdir(workdir)


@pytest.mark.parametrize(
    "image",
    [
        ImageRef(debian=""),
        ImageRef(debian="3"),
        ImageRef(debian="3.11.2"),
        ImageRef(debian="2.7"),
        ImageRef(debian="3.11\n"),
        ImageRef(debian="../3.1"),
        ImageRef(rootfs_path=""),
        ImageRef(rootfs_path="rel.tar"),
        ImageRef(rootfs_path="/images/../../etc/shadow"),
        ImageRef(rootfs_path="/a\0.tar"),
    ],
)
def test_images_that_cannot_be_meant(image: ImageRef) -> None:
    with pytest.raises(InvalidError):
        fill_spec(SandboxSpec(image=image))


def test_an_unknown_network_mode_is_not_taken_for_an_open_one() -> None:
    with pytest.raises(InvalidError, match="network"):
        fill_spec(SandboxSpec(network=NetworkPolicy(mode=7)))  # type: ignore[arg-type]  # a newer client's


def test_filling_copies_keeps_and_repeats() -> None:
    blocked = NetworkPolicy(mode=NetworkMode.NETWORK_MODE_BLOCKED)
    spec = SandboxSpec(command=[b"sh"], env={"A": "b"}, workdir="/w", pty=True, verbose=True, idle_timeout_s=5, network=blocked)
    filled = fill_spec(spec)
    assert not spec.HasField("resources")
    assert (list(filled.command), dict(filled.env), filled.workdir, filled.pty, filled.network) == (
        [b"sh"],
        {"A": "b"},
        "/w",
        True,
        blocked,
    )
    assert fill_spec(filled) == filled
