"""Images: the file system that a sandbox starts with."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cove import _spec
from cove._async import _changes
from cove._async._image_build import best_python, build, is_pulled
from cove._async._image_building import Building
from cove._async._image_installing import Installing
from cove._async.app import _App
from cove._async.base import Exposed
from cove._async.client import _Client, connection_of
from cove._async.secret import _Secret
from cove._image import dockerfile, packages, python, text
from cove._image.context import local_path
from cove._image.dockerfile import AUTO_DOCKERIGNORE, Context
from cove._image.imports import deferred_imports
from cove._image.recipe import Recipe, fixed
from cove._transport.connection import Connection
from cove._transport.methods import IMAGE_DIFF
from cove.exception import ConflictError, InvalidError
from cove.types import FileChange
from cove.wire import common_pb2, image_pb2

_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,3})?")
_REGISTRY_KINDS: Final = {"from_registry": "", "from_aws_ecr": "ecr", "from_gcp_artifact_registry": "gcp"}


class _Image(Installing, Building, Exposed):
    """The file system that a sandbox starts with, and how to make it.

    A value: every method that adds a step gives another image, and several can share their first steps. Nothing happens before the image
    is used or :meth:`build` is called; what was built before from the same definition is not built again.
    """

    def __init__(self, recipe: Recipe, *, built: image_pb2.ImageInfo | None = None, client: _Client | None = None) -> None:
        super().__init__(recipe)
        self._image_id = built.image_id if built is not None else recipe.base.image_id if not recipe.steps else ""
        self._client = client
        self._connection: Connection | None = None
        """Of the server that ``_image_id`` was built on."""
        self._building = asyncio.Lock()

    @staticmethod
    def debian_slim(python_version: str | None = None, force_build: bool = False) -> _Image:
        """A small Debian with Python and pip.

        Args:
            python_version: such as ``"3.11"``; the client's own when left out, if the server has it.
            force_build: build all of the image again each time.
        Raises:
            InvalidError: not a version.
        """
        if python_version is not None and not (isinstance(python_version, str) and _PYTHON.fullmatch(python_version)):
            raise InvalidError(f"{python_version!r} is not a Python version.", remedy='Give it as a string such as "3.11".')
        series = ".".join((python_version or "").split(".")[:2])
        return _Image(Recipe(image_pb2.ImageDefinition(debian=series), force_build=force_build))

    @staticmethod
    def from_rootfs(path: str | os.PathLike[str]) -> _Image:
        """A root file system that lies as a tarball on the node.

        Args:    path: absolute, on the node.
        Raises:  InvalidError: the path is relative.
        """
        name = os.fspath(path)
        if not name.startswith("/") or "\0" in name:
            raise InvalidError(f"{name[:80]!r} is not an absolute path.", remedy="Name a tarball on the node by its absolute path.")
        return _Image(Recipe(image_pb2.ImageDefinition(rootfs_path=name)))

    @classmethod
    def from_id(cls, image_id: str, client: _Client | None = None) -> _Image:
        """An image that was built, or made by a snapshot, by its id. Whether there is such an image shows when it is used.

        Args:    client: of the server that has it, instead of the default one.
        Raises:  InvalidError: not an id of an image.
        """
        if not isinstance(image_id, str) or not image_id.startswith("im-"):
            raise InvalidError(f"{image_id!r:.80} is not the id of an image.", remedy="Such an id begins with im-; see object_id.")
        return _Image(Recipe(image_pb2.ImageDefinition(image_id=image_id)), client=client)

    @staticmethod
    def from_registry(
        tag: str,
        secret: _Secret | None = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: object,
    ) -> _Image:
        """An image from a container registry.

        Args:
            tag: such as ``"ubuntu:22.04"`` or ``"registry.example.com/team/image@sha256:…"``; for the processor of the nodes.
            secret: with ``REGISTRY_USERNAME`` and ``REGISTRY_PASSWORD``, for private images.
            setup_dockerfile_commands: Dockerfile instructions that come first.
            force_build: pull and build all of it again each time.
            add_python: make sure that ``python`` is this version, such as ``"3.12"``, from the image's own package manager (apt-get
                or apk) unless the image has it.
        Raises:
            InvalidError: an argument makes no sense.
        """
        return _from_registry("from_registry", tag, secret, setup_dockerfile_commands, force_build, add_python, kwargs)

    @staticmethod
    def from_aws_ecr(
        tag: str,
        secret: _Secret | None = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: object,
    ) -> _Image:
        """A private image from AWS Elastic Container Registry.

        Args:
            tag: the whole URI of the image.
            secret: with ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_REGION``. What it is exchanged for is used for the pull
                and not kept.
            setup_dockerfile_commands, force_build, add_python: as for :meth:`from_registry`.
        """
        return _from_registry("from_aws_ecr", tag, secret, setup_dockerfile_commands, force_build, add_python, kwargs)

    @staticmethod
    def from_gcp_artifact_registry(
        tag: str,
        secret: _Secret | None = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: object,
    ) -> _Image:
        """A private image from Google's Artifact Registry.

        Args:
            tag: the whole URI of the image.
            secret: with ``SERVICE_ACCOUNT_JSON``, the content of a key file (not its path).
            setup_dockerfile_commands, force_build, add_python: as for :meth:`from_registry`.
        """
        return _from_registry("from_gcp_artifact_registry", tag, secret, setup_dockerfile_commands, force_build, add_python, kwargs)

    @staticmethod
    def from_dockerfile(
        path: str | os.PathLike[str],
        *,
        force_build: bool = False,
        context_dir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
        add_python: str | None = None,
        build_args: Mapping[str, str] = MappingProxyType({}),
        ignore: Sequence[str] | Callable[[Path], bool] = AUTO_DOCKERIGNORE,
    ) -> _Image:
        """An image from a local Dockerfile, which is read when the image is built, as are the files that it copies.

        ONBUILD, STOPSIGNAL and VOLUME are not supported.

        Args:
            path: of the Dockerfile.
            force_build: build all of it again each time.
            context_dir: what COPY copies from; the working directory when left out.
            env: environment variables of its commands, not of the image.
            secrets: more of them, of which only the names decide whether it has to be built again.
            add_python: as for :meth:`from_registry`, after all instructions.
            build_args: values of its ARGs.
            ignore: patterns as in ``.dockerignore``, or a predicate over relative paths, for files that stay here; by default
                ``NAME.dockerignore`` beside the Dockerfile decides, else ``.dockerignore`` in the context directory.
        """
        where = dockerfile.context_of(context_dir, ignore)
        arguments = dockerfile.check_build_args(build_args)
        draft = partial(dockerfile.whole_file, local_path(path), where, build_args=arguments)
        base = _Image(Recipe(image_pb2.ImageDefinition(), force_build=force_build))
        return _with_python(base._then("from_dockerfile", draft, env=env, secrets=secrets, gpu=gpu), add_python)

    @staticmethod
    def micromamba(python_version: str | None = None, force_build: bool = False) -> _Image:
        """An image with micromamba and, in its base environment, Python and pip: a base for :meth:`micromamba_install`.

        Args:
            python_version: such as ``"3.11"``; the client's own when left out.
            force_build: build all of it again each time.
        """
        version = python.check_series(python_version or f"{sys.version_info.major}.{sys.version_info.minor}")
        base = image_pb2.ImageDefinition(registry=image_pb2.RegistryImage(reference=packages.MICROMAMBA_IMAGE))
        return _Image(Recipe(base, force_build=force_build))._then("micromamba", fixed(*packages.micromamba_base(version)))

    @property
    def object_id(self) -> str | None:
        """Its id (``im-…``), for :meth:`from_id`; None before it was built."""
        return self._image_id or None

    async def build(self, app: _App) -> _Image:
        """Build it now, or find it built. What happens is shown within ``enable_output()``.

        Args:    app: the App that asks for it, looked up before.
        Returns: this image, which has its ``object_id`` now.
        Raises:
            InvalidError: a step makes no sense, a file that it needs cannot be read, or a command failed; the end of its output is
                in the text.
            NotFoundError: a local file, or an image in a registry, does not exist.
        """
        if app is None or app.app_id is None:
            raise InvalidError("An image is built for an App.", remedy='Pass cove.App.lookup("my-app", create_if_missing=True).')
        await self._build_on(connection_of(app._client or self._client), app.app_id)
        return self

    async def diff(self, other: _Image) -> list[FileChange]:
        """What is different in ``other``, sorted by path. Both must have been built, on one server.

        Raises:  ConflictError: one was not.
        """
        connection = self._connection or connection_of(self._client)
        request = image_pb2.ImageDiffRequest(old_image_id=self._known_id(), new_image_id=other._known_id())
        return await _changes.collect(connection, IMAGE_DIFF, request)

    def imports(self) -> AbstractContextManager[None]:
        """A block for imports that only have to work in containers of this image: elsewhere, what is not installed is passed over.

        ::

            with image.imports():
                import torch
        """
        return deferred_imports(self._image_id)

    async def _build_on(self, connection: Connection, app_id: str) -> str:
        """Its id on the server behind ``connection``; built at most once for each image object."""
        async with self._building:
            if not self._image_id or (self._connection is not None and self._connection.server.address != connection.server.address):
                self._image_id = (await build(connection, app_id, self._recipe)).image_id
                self._connection = connection
            return self._image_id

    def _known_id(self) -> str:
        if not self._image_id:
            raise ConflictError("The image was not built.", remedy="Call build(app) first.")
        return self._image_id


async def reference_of(image: _Image | None, connection: Connection, app_id: str) -> common_pb2.ImageRef:
    """What the wire knows ``image`` by. One with steps is built; the default one asks the server once which Pythons it has."""
    image = image or _Image.debian_slim(await best_python(connection))
    recipe = image._recipe
    if not recipe.steps and not image._image_id and not recipe.force_build:
        match recipe.base.WhichOneof("base"):
            case "debian":
                python = recipe.base.debian or await best_python(connection)
                if not await is_pulled(connection, python):
                    return common_pb2.ImageRef(debian=python)
            case "rootfs_path":
                return common_pb2.ImageRef(rootfs_path=recipe.base.rootfs_path)
    return common_pb2.ImageRef(image_id=await image._build_on(connection, app_id))


def snapshot_image(info: image_pb2.ImageInfo, connection: Connection) -> _Image:
    """The image that a snapshot is."""
    image = _Image(Recipe(image_pb2.ImageDefinition(image_id=info.image_id)))
    image._connection = connection
    return image


def dockerfile_image(path: Path, context_dir: Path, *, build_args: Mapping[str, str], target: str | None, force_build: bool) -> _Image:
    """:meth:`_Image.from_dockerfile` with a stage to build."""
    where = Context(local_path(context_dir))
    draft = partial(dockerfile.whole_file, local_path(path), where, build_args=dict(build_args), target=target)
    return _Image(Recipe(image_pb2.ImageDefinition(), force_build=force_build))._then("from_dockerfile", draft)


def _from_registry(
    method: str,
    tag: str,
    secret: _Secret | None,
    setup_commands: Sequence[str],
    force_build: bool,
    add_python: str | None,
    others: Mapping[str, object],
) -> _Image:
    if others:
        raise InvalidError(f"Image.{method} takes no {next(iter(others))!r}.", remedy="Give such arguments to the methods that add steps.")
    if not text.check_line(tag, what="tag").strip():
        raise InvalidError("The tag is empty.", remedy='Name an image such as "debian:12".')
    variables = _spec.environment(None, [secret.variables] if secret is not None else [])
    registry = image_pb2.RegistryImage(reference=tag, kind=_REGISTRY_KINDS[method], secret=variables)
    image = _Image(Recipe(image_pb2.ImageDefinition(registry=registry), force_build=force_build))
    return _with_python(image.dockerfile_commands(list(setup_commands)), add_python)


def _with_python(image: _Image, version: str | None) -> _Image:
    return image if version is None else image._then("add_python", fixed(*python.commands(version)))
