"""What image definitions come to, for tests of the methods that make them."""

from __future__ import annotations

from pathlib import Path

from cove._async.image import _Image
from cove._image.definition import Defined, define
from cove._image.hashes import Hashes
from cove.dockerfile import parse_commands, parse_dockerfile
from cove.wire import image_pb2


def defined(image: _Image) -> Defined:
    """The definition of ``image``, every command of which the Dockerfile parser takes."""
    found = define(image._recipe, python="3.11", hashes=Hashes())
    for index, layer in enumerate(found.definition.layers):
        whole = index == 0 and found.definition.WhichOneof("base") is None
        assert parse_dockerfile("\n".join(layer.commands)) if whole else parse_commands(list(layer.commands))
    return found


def layers(image: _Image) -> list[list[str]]:
    return [list(layer.commands) for layer in defined(image).definition.layers]


def last(image: _Image) -> image_pb2.ImageLayer:
    return defined(image).definition.layers[-1]


def context(image: _Image) -> dict[str, image_pb2.ContextFile]:
    return {file.path.decode(): file for file in last(image).context}


def write(root: Path, **files: str) -> None:
    """Files by name, in which ``__`` is a slash and ``_`` a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
