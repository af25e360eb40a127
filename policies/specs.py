"""Checks a ``SandboxSpec`` that a client sent: every field bounded, every default filled in. Pure.

Quantities are in ``policies.limits``, the network in ``policies.egress``; the form of command, environment, paths and image is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cove.exception import InvalidError
from cove.types import is_id
from cove.wire.common_pb2 import END_ACTION_PAUSE, EndAction, ImageRef, SandboxSpec
from policies.egress import fill_policy
from policies.limits import DEFAULT_LIMITS, Limits, fill_resources
from policies.ports import check_ports

MAX_ARGUMENTS: Final = 16_384
MAX_ARGUMENT_BYTES: Final = 131_071
"""Linux's MAX_ARG_STRLEN less the terminating NUL: the longest single argument or ``NAME=value`` that execve takes."""
MAX_COMMAND_BYTES: Final = 132 << 10
MAX_ENV_ENTRIES: Final = 4_096
MAX_ENV_BYTES: Final = 48 << 10
"""Of a sandbox, and again of a process in it. A command and both environments fit into one frame to the guest (256 KiB) together,
the 4 bytes included that each string takes for its length there."""

_LENGTH_BYTES: Final = 4
MAX_PATH_BYTES: Final = 4_095
DEFAULT_PYTHON: Final = "3.11"
"""Python of the default Debian image where the client names none: Debian 12's own, which every node has."""

_PYTHON = re.compile(r"3\.[0-9]{1,2}")


def fill_spec(spec: SandboxSpec, limits: Limits = DEFAULT_LIMITS) -> SandboxSpec:
    """A checked copy of ``spec`` with every default filled in. Filling a filled one changes nothing.

    Raises:
        InvalidError: a field is malformed or out of range; the text names field, value and what is allowed.
    """
    check_command(spec.command)
    check_env(spec.env)
    check_workdir(spec.workdir)
    filled = SandboxSpec()
    filled.CopyFrom(spec)
    filled.timeout_s = limits.timeout_s.check("timeout", spec.timeout_s)
    filled.idle_timeout_s = limits.idle_timeout_s.check("idle_timeout", spec.idle_timeout_s)
    filled.resources.CopyFrom(fill_resources(spec.resources, limits))
    filled.image.CopyFrom(_fill_image(spec.image))
    filled.network.CopyFrom(fill_policy(spec.network))
    check_ports(spec.ports)
    _check_end_actions(spec)
    return filled


def _check_end_actions(spec: SandboxSpec) -> None:
    for field, action in (("on_idle", spec.on_idle), ("on_timeout", spec.on_timeout)):
        if action not in EndAction.values():
            raise _invalid(field, f"the action {action}", "Terminate or pause.")
    if spec.on_idle == END_ACTION_PAUSE and not spec.idle_timeout_s:
        raise _invalid("on_idle", "no idle_timeout to go with it", "Give one.")


def check_command(command: Iterable[bytes]) -> None:
    """Pass if execve can take ``command``; an empty one means no process.

    Raises:
        InvalidError: NUL bytes, an empty program name, or too large.
    """
    arguments = list(command)
    if len(arguments) > MAX_ARGUMENTS:
        raise _invalid("command", f"{len(arguments)} arguments", f"Allowed are {MAX_ARGUMENTS}.")
    if arguments and not arguments[0]:
        raise _invalid("command", "an empty program name", "Name a program first.")
    for position, argument in enumerate(arguments):
        if b"\0" in argument:
            raise _invalid("command", f"a NUL byte in argument {position}", "Leave it out.")
        if len(argument) > MAX_ARGUMENT_BYTES:
            raise _invalid("command", f"{len(argument)} bytes in argument {position}", f"Allowed are {MAX_ARGUMENT_BYTES}.")
    total = sum(len(argument) + _LENGTH_BYTES for argument in arguments)
    if total > MAX_COMMAND_BYTES:
        raise _invalid("command", f"{total} bytes", f"Allowed are {MAX_COMMAND_BYTES} bytes in all.")


def check_env(env: Mapping[str, str]) -> None:
    """Pass if ``env`` can be a process's environment. Errors name variables, never values: those may be secrets.

    Raises:
        InvalidError: an empty name, ``=`` or NUL in a name, NUL in a value, or too large.
    """
    if len(env) > MAX_ENV_ENTRIES:
        raise _invalid("env", f"{len(env)} variables", f"Allowed are {MAX_ENV_ENTRIES}.")
    total = sum(_check_variable(name, value) for name, value in env.items())
    if total > MAX_ENV_BYTES:
        raise _invalid("env", f"{total} bytes", f"Allowed are {MAX_ENV_BYTES} bytes in all.")


def check_workdir(workdir: str) -> None:
    """Pass if ``workdir`` is empty (the image's) or an absolute path.

    Raises:
        InvalidError: it is neither.
    """
    if workdir:
        _check_path("workdir", workdir)


def _check_variable(name: str, value: str) -> int:
    """Bytes that the variable takes in a frame."""
    if not name or "=" in name or "\0" in name:
        raise _invalid("env", f"the variable name {name[:80]!r}", "A name is not empty and has neither '=' nor NUL.")
    if "\0" in value:
        raise _invalid("env", f"a NUL byte in the value of {name[:80]!r}", "Leave it out.")
    size = len(name.encode()) + len(value.encode()) + 1
    if size > MAX_ARGUMENT_BYTES:
        raise _invalid("env", f"{size} bytes in {name[:80]!r}", f"Allowed are {MAX_ARGUMENT_BYTES} for name and value.")
    return size - 1 + 2 * _LENGTH_BYTES


def _fill_image(image: ImageRef) -> ImageRef:
    source = image.WhichOneof("source")
    if source == "image_id" and not is_id(image.image_id, "im"):
        raise _invalid("image", f"the image id {image.image_id[:80]!r}", "Image ids begin with im-.")
    if source is None:
        return ImageRef(debian=DEFAULT_PYTHON)
    if source == "debian" and not _PYTHON.fullmatch(image.debian):
        raise _invalid("image", f"the Python version {image.debian[:80]!r}", "Give major and minor version, such as '3.11'.")
    if source == "rootfs_path":
        _check_path("rootfs path", image.rootfs_path)
        if ".." in image.rootfs_path.split("/"):
            raise _invalid("rootfs path", "a '..' component", "Give the path without it.")
    return image


def _check_path(field: str, path: str) -> None:
    if not path.startswith("/"):
        raise _invalid(field, repr(path[:80]), "Give an absolute path.")
    if "\0" in path:
        raise _invalid(field, "a NUL byte", "Leave it out.")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise _invalid(field, f"{len(path.encode())} bytes", f"Allowed are {MAX_PATH_BYTES}.")


def _invalid(field: str, value: str, remedy: str) -> InvalidError:
    return InvalidError(f"The {field} has {value}.", remedy=remedy, context={"field": field})
