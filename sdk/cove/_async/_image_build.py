"""Building an image: its definition, the files it needs, and the events of the build until there is an image."""

from __future__ import annotations

import asyncio
import sys

from cove._build_output import BuildOutput
from cove._image.definition import define
from cove._image.recipe import Recipe
from cove._transport import blobs
from cove._transport.connection import Connection
from cove._transport.methods import IMAGE_BUILD
from cove._transport.plane import Stream
from cove.config import config
from cove.exception import ConnectionError
from cove.wire import image_pb2


async def build(connection: Connection, app_id: str, recipe: Recipe) -> image_pb2.ImageInfo:
    """Build ``recipe``, or find it built.

    Raises:  Error: what is wrong with the recipe or its files, or the failure of a step, with the end of its output.
    """
    python = await best_python(connection)
    defined = await asyncio.to_thread(define, recipe, python=python)
    await blobs.upload_missing(connection, defined.blobs.values())
    request = image_pb2.ImageBuildRequest(
        app_id=app_id,
        definition=defined.definition,
        force_build=recipe.force_build or config["force_build"],
        ignore_cache=config["ignore_cache"],
    )
    output = BuildOutput()
    built: image_pb2.ImageInfo | None = None
    try:
        built = await _follow(connection, request, output)
        return built
    finally:
        await output.finish(built.image_id if built is not None else None)


async def best_python(connection: Connection) -> str:
    """The Python version of the server's default images that suits this client best: its own, else the newest."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    offered = list((await connection.hello()).debian_pythons)
    return own if own in offered or not offered else max(offered, key=_version_key)


async def is_pulled(connection: Connection, version: str) -> bool:
    """Whether the server has the default image with this Python from a registry, so that it has to be built first."""
    return version in (await connection.hello()).pulled_pythons


async def _follow(connection: Connection, request: image_pb2.ImageBuildRequest, output: BuildOutput) -> image_pb2.ImageInfo:
    """The image at the end of the stream. One that breaks is asked for again: the server goes on, and lets join."""
    stream = Stream(connection.control, IMAGE_BUILD, lambda: request)
    try:
        while True:
            event = await stream.read()
            if event is None:
                await stream.cut(ConnectionError("The build's events ended before there was an image.", remedy="Try again."))
            elif event.HasField("image"):
                return event.image
            else:
                await output.show(event.log)
    finally:
        stream.cancel()


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
