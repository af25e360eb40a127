"""Bounds on image definitions, and what an image has that says nothing itself. Pure."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from typing import Final

from cove.exception import InvalidError, RequestSizeError
from cove.types import is_id
from cove.wire import image_pb2

DEFAULT_ENV: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
"""Environment of every process in an image that says nothing else."""

MAX_LAYERS: Final = 100
"""Of one definition. A mount takes some more."""

MAX_COMMAND_CHARACTERS: Final = 2**20
MAX_CONTEXT_FILES: Final = 200_000
MAX_PATH_BYTES: Final = 4095
MAX_VARIABLES: Final = 500
MAX_VALUE_BYTES: Final = 128 * 1024
SHA256_BYTES: Final = 32

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
_PYTHON: Final = re.compile(r"3\.[0-9]{1,2}")
_KINDS: Final = frozenset({"", "ecr", "gcp"})


def in_order(pythons: Iterable[str]) -> list[str]:
    """Python versions, each once, oldest first."""
    return sorted(set(pythons), key=lambda python: [int(part) for part in python.split(".")])


def check_definition(definition: image_pb2.ImageDefinition) -> None:
    """Pass if a build may begin with it.

    Raises:  InvalidError, RequestSizeError: naming what is wrong.
    """
    if len(definition.layers) > MAX_LAYERS:
        raise RequestSizeError(f"The image is defined by {len(definition.layers)} layers.", remedy=f"Use at most {MAX_LAYERS}.")
    _check_base(definition)
    for number, layer in enumerate(definition.layers, start=1):
        _check_layer(number, layer)


def _check_base(definition: image_pb2.ImageDefinition) -> None:
    match definition.WhichOneof("base"):
        case "debian" if not _PYTHON.fullmatch(definition.debian):
            raise InvalidError(
                f"{definition.debian[:80]!r} is not a Python version.", remedy="Give major and minor version, such as '3.11'."
            )
        case "registry" if definition.registry.kind not in _KINDS:
            raise InvalidError(f"{definition.registry.kind[:80]!r} is no kind of registry.")
        case "image_id" if not is_id(definition.image_id, "im"):
            raise InvalidError(f"{definition.image_id[:80]!r} is not an image id.", remedy="Image ids begin with im-.")
        case "rootfs_path" if not _is_plain_path(definition.rootfs_path):
            raise InvalidError(
                "The rootfs tarball's path is not absolute.", remedy="Name it by its absolute path on the node, without '..'."
            )
        case None if not definition.layers:
            raise InvalidError("The image is defined by nothing.", remedy="Begin with Image.debian_slim() or another base.")


def _is_plain_path(path: str) -> bool:
    return path.startswith("/") and path.isprintable() and ".." not in path.split("/") and len(path.encode()) <= MAX_PATH_BYTES


def _check_layer(number: int, layer: image_pb2.ImageLayer) -> None:
    size = sum(len(command) for command in layer.commands)
    if size > MAX_COMMAND_CHARACTERS:
        raise RequestSizeError(f"Layer {number} has commands of {size} characters.", remedy=f"At most {MAX_COMMAND_CHARACTERS} are taken.")
    if len(layer.context) > MAX_CONTEXT_FILES:
        raise RequestSizeError(f"Layer {number} needs {len(layer.context)} files.", remedy="Leave some out with ignore patterns.")
    for file in layer.context:
        _check_file(number, file)
    for what, variables in (("build arguments", layer.build_args), ("secrets", layer.secrets), ("environment", layer.env)):
        _check_variables(f"{what} of layer {number}", variables)


def _check_file(number: int, file: image_pb2.ContextFile) -> None:
    parts = file.path.split(b"/")
    if not file.path or len(file.path) > MAX_PATH_BYTES or b"\0" in file.path or not all(part not in (b"", b".", b"..") for part in parts):
        raise InvalidError(f"Layer {number} has the context path {file.path[:80]!r}.", remedy="Give relative paths without '.' and '..'.")
    kind = stat.S_IFMT(file.mode)
    fits = {
        stat.S_IFREG: len(file.sha256) == SHA256_BYTES and not file.link_target,
        stat.S_IFDIR: not file.sha256 and not file.link_target,
        stat.S_IFLNK: not file.sha256 and 0 < len(file.link_target) <= MAX_PATH_BYTES and b"\0" not in file.link_target,
    }
    if not fits.get(kind, False):
        raise InvalidError(f"Layer {number}: the context file {file.path[:80]!r} is neither file, directory nor link.")


def _check_variables(what: str, variables: Mapping[str, str]) -> None:
    if len(variables) > MAX_VARIABLES:
        raise RequestSizeError(f"There are {len(variables)} {what}.", remedy=f"At most {MAX_VARIABLES} are taken.")
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise InvalidError(f"{name[:80]!r} cannot be a name among the {what}.")
        if "\0" in value or len(value.encode()) > MAX_VALUE_BYTES:
            raise InvalidError(f"The value of {name[:80]!r} among the {what} has a NUL byte or is longer than {MAX_VALUE_BYTES} bytes.")
