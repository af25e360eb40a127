"""Under which key the image after each layer of a definition is found again: a hash of everything that decides its content. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cove.wire import image_pb2

BUILDER: Final = b"1"
"""Raise it to have everything built anew."""


def keys_of(definition: image_pb2.ImageDefinition) -> list[bytes]:
    """The key of the base, then that of the image after each layer. Values of secrets are in none."""
    keys = [_digest(BUILDER, *_base(definition))]
    for layer in definition.layers:
        keys.append(_digest(keys[-1], *_content(layer)))
    return keys


def _base(definition: image_pb2.ImageDefinition) -> list[bytes]:
    kind = definition.WhichOneof("base") or ""
    value = definition.registry.reference if kind == "registry" else getattr(definition, kind, "") if kind else ""
    return [kind.encode(), str(value).encode()]


def _content(layer: image_pb2.ImageLayer) -> list[bytes]:
    """A digest for each part: a variable called ``env``, for one, must not pass for the beginning of another part."""
    files = sorted(layer.context, key=lambda file: file.path)
    return [
        _digest(*(command.encode() for command in layer.commands)),
        _digest(*(part for file in files for part in (file.path, str(file.mode).encode(), file.sha256, file.link_target))),
        _digest(*_pairs(layer.build_args)),
        _digest(*_pairs(layer.env)),
        _digest(*(name.encode() for name in sorted(layer.secrets))),
    ]


def _pairs(variables: Mapping[str, str]) -> list[bytes]:
    return [text.encode() for pair in sorted(variables.items()) for text in pair]


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
