"""A recipe in the wire's form, and the files whose content has to be uploaded. Synchronous, for threads: reads and hashes files."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cove._image.hashes import HASHES, Hashes
from cove._image.recipe import Draft, LocalFile, Recipe, Step
from cove.exception import InvalidError, RequestSizeError
from cove.wire import image_pb2

MAX_DEFINITION_BYTES: Final = 15 * 2**20
"""A message can have 16 MiB. Some 150,000 files fit."""


@dataclass(frozen=True, slots=True)
class LocalBlob:
    """Content that a build needs: what was in the file when it was hashed."""

    sha256: bytes
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Defined:
    """A definition and, by sha256, the content that it refers to."""

    definition: image_pb2.ImageDefinition
    blobs: Mapping[bytes, LocalBlob]


def define(recipe: Recipe, *, python: str, hashes: Hashes = HASHES) -> Defined:
    """What ``recipe`` comes to, now.

    Args:    python: for a Debian base that does not say which.
    Raises:
        Error: a step's own: a file that is not there, a Dockerfile that makes no sense.
        RequestSizeError: more files than a definition can have.
    """
    definition = image_pb2.ImageDefinition()
    definition.CopyFrom(recipe.base)
    if definition.WhichOneof("base") == "debian" and not definition.debian:
        definition.debian = python
    blobs: dict[bytes, LocalBlob] = {}
    for step in recipe.steps:
        draft = step.draft()
        if draft.commands:
            definition.layers.append(_layer(step, draft, blobs, hashes))
        if definition.ByteSize() > MAX_DEFINITION_BYTES:
            raise RequestSizeError(
                f"The files of {step.method} are too many for one image definition.", remedy="Ignore those that are not needed."
            )
    return Defined(definition, blobs)


def _layer(step: Step, draft: Draft, blobs: dict[bytes, LocalBlob], hashes: Hashes) -> image_pb2.ImageLayer:
    return image_pb2.ImageLayer(
        commands=draft.commands,
        context=[_context_file(file, blobs, hashes) for file in draft.context],
        build_args=draft.build_args,
        secrets=step.secrets,
        env=step.env,
        force_build=step.force_build,
    )


def _context_file(file: LocalFile, blobs: dict[bytes, LocalBlob], hashes: Hashes) -> image_pb2.ContextFile:
    found = image_pb2.ContextFile(path=file.path.encode(), mode=file.mode)
    if stat.S_ISLNK(file.mode):
        found.link_target = file.link_target.encode("utf-8", "surrogateescape")
    elif stat.S_ISREG(file.mode):
        try:
            found.sha256, found.size_bytes = hashes.of(file.local)
        except OSError as error:
            raise InvalidError(f"{file.local} cannot be read: {error.strerror}.", remedy="Change its permissions, or ignore it.") from error
        blobs.setdefault(found.sha256, LocalBlob(found.sha256, file.local, found.size_bytes))
    return found
