"""What ``cove image`` asks the server, and what it tells of images."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from cove._async.app import _App
from cove._async.client import connection_of
from cove._async.image import dockerfile_image
from cove._printing import enable_output
from cove._transport.methods import IMAGE_DELETE, IMAGE_GET, IMAGE_LIST, IMAGE_PRUNE, IMAGE_PUSH
from cove._transport.plane import Stream
from cove.cli._many import each, first
from cove.cli._show import clean, when
from cove.exception import ConnectionError, Error
from cove.wire import image_pb2


async def list_(limit: int) -> list[image_pb2.ImageInfo]:
    """The newest images, at most ``limit``."""
    return await first(limit, IMAGE_LIST, image_pb2.ImageListRequest(), lambda page: page.images)


async def get(image_id: str) -> image_pb2.ImageInfo:
    """One image. Raises: NotFoundError."""
    return await connection_of(None).control.call(IMAGE_GET, image_pb2.ImageGetRequest(image_id=image_id))


async def build(file: Path, context: Path, *, target: str | None, build_args: Mapping[str, str], app: str, force: bool) -> str:
    """Build a Dockerfile, with what happens on stderr; the image's id."""
    image = dockerfile_image(file, context, build_args=build_args, target=target, force_build=force)
    with contextlib.redirect_stdout(sys.stderr), enable_output():
        await image.build(await _App.lookup(app, create_if_missing=True))
    return image.object_id or ""


async def push(image_id: str, reference: str, kind: str, credentials: Mapping[str, str]) -> str:
    """Push an image, with what happens on stderr; the digest. One that is cut goes on where layers are missing."""
    target = image_pb2.RegistryImage(reference=reference, kind=kind, secret=credentials)
    stream = Stream(connection_of(None).control, IMAGE_PUSH, lambda: image_pb2.ImagePushRequest(image_id=image_id, target=target))
    try:
        while True:
            event = await stream.read()
            if event is None:
                await stream.cut(ConnectionError("The push ended before the image was there.", remedy="Push again."))
            elif event.digest:
                return event.digest
            else:
                typer.echo(clean(event.status), err=True)
    finally:
        stream.cancel()


async def prune(older_than_s: float, *, dry_run: bool) -> image_pb2.ImagePruneResponse:
    """Remove what nothing uses."""
    request = image_pb2.ImagePruneRequest(dry_run=dry_run, older_than_s=older_than_s)
    return await connection_of(None).control.call(IMAGE_PRUNE, request)


async def remove(image_ids: list[str]) -> list[Error]:
    """Remove images; what went wrong. One that fails does not keep the others."""
    control = connection_of(None).control
    return await each(image_ids, lambda image_id: control.call(IMAGE_DELETE, image_pb2.ImageDeleteRequest(image_id=image_id)))


def facts(info: image_pb2.ImageInfo) -> dict[str, Any]:
    """One image for JSON. Times are Unix seconds; what is not known is null."""
    config = info.config
    return {
        "image_id": info.image_id,
        "source": info.source,
        "description": info.description or None,
        "created_at": when(info.created_at),
        "parent_image_id": info.parent_image_id or None,
        "sandbox_id": info.sandbox_id or None,
        "layers": info.layers,
        "size_bytes": info.size_bytes,
        "stored": info.stored,
        "config": {
            "env": dict(sorted(config.env.items())),
            "workdir": config.workdir or None,
            "user": config.user or None,
            "entrypoint": list(config.entrypoint),
            "cmd": list(config.cmd),
            "shell": list(config.shell),
            "labels": dict(sorted(config.labels.items())),
            "exposed_ports": list(config.exposed_ports),
            "healthcheck": config.healthcheck or None,
        },
    }
