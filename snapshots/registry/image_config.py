"""The config of an image: what a container of it runs, and the digests of its unpacked layers. Read from hostile bytes and written. Pure.

Source: OCI image specification, "OCI Image Configuration"; Docker's image specification 1.3 has the same fields.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cove.exception import InvalidError
from snapshots.digest import Digest, parse_digest
from snapshots.registry.manifest import MAX_CONFIG_BYTES, MAX_LAYERS, decode_json
from snapshots.registry.platforms import Platform

MAX_ENTRIES: Final = 4_096
"""Of each list and map."""
MAX_TEXT_BYTES: Final = 1 << 20
"""Of the texts of one list or map together."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What cove reads of an image's config, with ``null`` and absent as empty."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    """Digests of the uncompressed layers, bottom first."""
    env: tuple[str, ...] = ()
    """``NAME=value``."""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    stop_signal: str = ""
    labels: dict[str, str] = {}
    exposed_ports: tuple[str, ...] = ()
    """``port/protocol``, sorted."""


class _RawRuntime(msgspec.Struct, rename="pascal"):
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    shell: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, msgspec.Raw] | None = None


class _RawRootfs(msgspec.Struct):
    type: str
    diff_ids: list[str] | None = None


class _RawConfig(msgspec.Struct):
    os: str
    architecture: str
    rootfs: _RawRootfs
    variant: str | None = None
    config: _RawRuntime | None = None


def parse_config(data: bytes, layers: int) -> ImageConfig:
    """The config of an image with this number of ``layers``.

    Raises:
        InvalidError: malformed, out of bounds, or of another number of layers.
        RequestSizeError: longer than ``MAX_CONFIG_BYTES``.
    """
    raw = decode_json(data, _RawConfig, "image's config", MAX_CONFIG_BYTES)
    runtime = raw.config or _RawRuntime()
    return ImageConfig(
        platform=Platform(raw.os, raw.architecture, raw.variant or ""),
        diff_ids=_diff_ids(raw.rootfs, layers),
        env=_texts("Env", runtime.env),
        entrypoint=_texts("Entrypoint", runtime.entrypoint),
        cmd=_texts("Cmd", runtime.cmd),
        shell=_texts("Shell", runtime.shell),
        workdir=_text("WorkingDir", runtime.working_dir),
        user=_text("User", runtime.user),
        stop_signal=_text("StopSignal", runtime.stop_signal),
        labels=_labels(runtime.labels or {}),
        exposed_ports=tuple(sorted(_texts("ExposedPorts", list(runtime.exposed_ports or {})))),
    )


def encode_config(config: ImageConfig) -> bytes:
    """The OCI config; the same bytes for equal arguments. It has no history and no time of creation."""
    runtime: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": config.env,
        "Entrypoint": config.entrypoint,
        "Cmd": config.cmd,
        "Shell": config.shell,
        "WorkingDir": config.workdir,
        "Labels": dict(sorted(config.labels.items())),
        "StopSignal": config.stop_signal,
    }
    platform = {"os": config.platform.os, "architecture": config.platform.architecture, "variant": config.platform.variant}
    data = msgspec.json.encode(
        {
            **{key: value for key, value in platform.items() if value},
            "config": {key: value for key, value in runtime.items() if value},
            "rootfs": {"type": "layers", "diff_ids": config.diff_ids},
        }
    )
    parse_config(data, len(config.diff_ids))  # what is pushed must be what can be pulled
    return data


def _diff_ids(rootfs: _RawRootfs, layers: int) -> tuple[Digest, ...]:
    diff_ids = rootfs.diff_ids or []
    if rootfs.type != "layers" or len(diff_ids) != layers or layers > MAX_LAYERS:
        raise InvalidError(f"The image's config describes {len(diff_ids)} layers of type {rootfs.type[:40]!r}, its manifest {layers}.")
    try:
        return tuple(map(parse_digest, diff_ids))
    except InvalidError as error:
        raise InvalidError("The image's config has a diff_id that is not a sha256 digest.") from error


def _texts(field: str, texts: list[str] | None) -> tuple[str, ...]:
    found = tuple(texts or ())
    _check(field, found)
    return found


def _text(field: str, text: str | None) -> str:
    _check(field, (text or "",))
    return text or ""


def _labels(labels: dict[str, str]) -> dict[str, str]:
    _check("Labels", (*labels, *labels.values()))
    return labels


def _check(field: str, texts: tuple[str, ...]) -> None:
    """NUL ends strings in the kernel: what is checked here would not be what runs."""
    if len(texts) > 2 * MAX_ENTRIES or sum(len(text.encode()) for text in texts) > MAX_TEXT_BYTES:
        raise InvalidError(f"The image's config has too much in {field}: allowed are {MAX_ENTRIES} entries and {MAX_TEXT_BYTES} bytes.")
    if any("\0" in text for text in texts):
        raise InvalidError(f"The image's config has a NUL byte in {field}.")
