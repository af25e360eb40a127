# Written by `make facade` from cove/_async/image.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""Images: the file system that a sandbox starts with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cove._async.app import _App
from cove._async.client import _Client
from cove._async.image import _Image
from cove._async.secret import _Secret
from cove._dual import Face, method, unwrap, unwrap_all, wrap
from cove._image.dockerfile import AUTO_DOCKERIGNORE
from cove.file_pattern_matcher import NON_PYTHON_FILES

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    from cove.app import App
    from cove.client import Client
    from cove.secret import Secret
    from cove.types import FileChange


class Image(Face):
    """The file system that a sandbox starts with, and how to make it.

    A value: every method that adds a step gives another image, and several can share their first steps. Nothing happens before the image
    is used or :meth:`build` is called; what was built before from the same definition is not built again.
    """

    __slots__ = ()
    _impl: _Image

    @staticmethod
    def debian_slim(python_version: str | None = None, force_build: bool = False) -> Image:
        """A small Debian with Python and pip.

        Args:
            python_version: such as ``"3.11"``; the client's own when left out, if the server has it.
            force_build: build all of the image again each time.
        Raises:
            InvalidError: not a version.
        """
        result: Image = wrap(_Image.debian_slim(python_version, force_build))
        return result

    @staticmethod
    def from_rootfs(path: str | os.PathLike[str]) -> Image:
        """A root file system that lies as a tarball on the node.

        Args:    path: absolute, on the node.
        Raises:  InvalidError: the path is relative.
        """
        result: Image = wrap(_Image.from_rootfs(path))
        return result

    @staticmethod
    def from_id(image_id: str, client: Client | None = None) -> Image:
        """An image that was built, or made by a snapshot, by its id. Whether there is such an image shows when it is used.

        Args:    client: of the server that has it, instead of the default one.
        Raises:  InvalidError: not an id of an image.
        """
        result: Image = wrap(_Image.from_id(image_id, unwrap(client, _Client)))
        return result

    @staticmethod
    def from_registry(
        tag: str,
        secret: Secret | None = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: object,
    ) -> Image:
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
        result: Image = wrap(
            _Image.from_registry(
                tag,
                unwrap(secret, _Secret),
                setup_dockerfile_commands=setup_dockerfile_commands,
                force_build=force_build,
                add_python=add_python,
                **kwargs,
            )
        )
        return result

    @staticmethod
    def from_aws_ecr(
        tag: str,
        secret: Secret | None = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: object,
    ) -> Image:
        """A private image from AWS Elastic Container Registry.

        Args:
            tag: the whole URI of the image.
            secret: with ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_REGION``. What it is exchanged for is used for the pull
                and not kept.
            setup_dockerfile_commands, force_build, add_python: as for :meth:`from_registry`.
        """
        result: Image = wrap(
            _Image.from_aws_ecr(
                tag,
                unwrap(secret, _Secret),
                setup_dockerfile_commands=setup_dockerfile_commands,
                force_build=force_build,
                add_python=add_python,
                **kwargs,
            )
        )
        return result

    @staticmethod
    def from_gcp_artifact_registry(
        tag: str,
        secret: Secret | None = None,
        *,
        setup_dockerfile_commands: Sequence[str] = (),
        force_build: bool = False,
        add_python: str | None = None,
        **kwargs: object,
    ) -> Image:
        """A private image from Google's Artifact Registry.

        Args:
            tag: the whole URI of the image.
            secret: with ``SERVICE_ACCOUNT_JSON``, the content of a key file (not its path).
            setup_dockerfile_commands, force_build, add_python: as for :meth:`from_registry`.
        """
        result: Image = wrap(
            _Image.from_gcp_artifact_registry(
                tag,
                unwrap(secret, _Secret),
                setup_dockerfile_commands=setup_dockerfile_commands,
                force_build=force_build,
                add_python=add_python,
                **kwargs,
            )
        )
        return result

    @staticmethod
    def from_dockerfile(
        path: str | os.PathLike[str],
        *,
        force_build: bool = False,
        context_dir: str | os.PathLike[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
        add_python: str | None = None,
        build_args: Mapping[str, str] = MappingProxyType({}),
        ignore: Sequence[str] | Callable[[Path], bool] = AUTO_DOCKERIGNORE,
    ) -> Image:
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
        result: Image = wrap(
            _Image.from_dockerfile(
                path,
                force_build=force_build,
                context_dir=context_dir,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
                add_python=add_python,
                build_args=build_args,
                ignore=ignore,
            )
        )
        return result

    @staticmethod
    def micromamba(python_version: str | None = None, force_build: bool = False) -> Image:
        """An image with micromamba and, in its base environment, Python and pip: a base for :meth:`micromamba_install`.

        Args:
            python_version: such as ``"3.11"``; the client's own when left out.
            force_build: build all of it again each time.
        """
        result: Image = wrap(_Image.micromamba(python_version, force_build))
        return result

    @property
    def object_id(self) -> str | None:
        """Its id (``im-…``), for :meth:`from_id`; None before it was built."""
        return self._impl.object_id

    @method
    async def build(self, app: App) -> Image:
        """Build it now, or find it built. What happens is shown within ``enable_output()``.

        Args:    app: the App that asks for it, looked up before.
        Returns: this image, which has its ``object_id`` now.
        Raises:
            InvalidError: a step makes no sense, a file that it needs cannot be read, or a command failed; the end of its output is
                in the text.
            NotFoundError: a local file, or an image in a registry, does not exist.
        """
        result: Image = wrap(await self._impl.build(unwrap(app, _App)))
        return result

    @method
    async def diff(self, other: Image) -> list[FileChange]:
        """What is different in ``other``, sorted by path. Both must have been built, on one server.

        Raises:  ConflictError: one was not.
        """
        return await self._impl.diff(unwrap(other, _Image))

    def imports(self) -> AbstractContextManager[None]:
        """A block for imports that only have to work in containers of this image: elsewhere, what is not installed is passed over.

        ::

            with image.imports():
                import torch
        """
        return self._impl.imports()

    def apt_install(
        self,
        *packages: str | list[str],
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install Debian packages with apt-get.

        Args:
            packages: names, also in lists; ``name=version`` for one version.
            force_build: do this step, and all later ones, again each time.
            env: environment variables of this step alone.
            secrets: more of them, of which only the names decide whether the step has to be done again.
        Raises:
            InvalidError: an option among the packages.
        """
        result: Image = wrap(
            self._impl.apt_install(*packages, force_build=force_build, env=env, secrets=unwrap_all(secrets, _Secret), gpu=gpu)
        )
        return result

    def pip_install(
        self,
        *packages: str | list[str],
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install Python packages with pip, into the first ``python`` on the ``PATH``.

        Args:
            packages: requirements such as ``"numpy"`` or ``"matplotlib>=3.5.0"``, also in lists.
            find_links, index_url, extra_index_url: where to look for them, as pip takes it.
            pre: allow pre-releases.
            extra_options: more options for pip, such as ``"--no-build-isolation"``.
            force_build, env, secrets: as for :meth:`apt_install`.
        Raises:
            InvalidError: an option among the packages.
        """
        result: Image = wrap(
            self._impl.pip_install(
                *packages,
                find_links=find_links,
                index_url=index_url,
                extra_index_url=extra_index_url,
                pre=pre,
                extra_options=extra_options,
                force_build=force_build,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def pip_install_private_repos(
        self,
        *repositories: str,
        git_user: str,
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        gpu: str | Sequence[str | None] | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        force_build: bool = False,
    ) -> Image:
        """Install Python packages from private repositories of GitHub or GitLab, with pip.

        Args:
            repositories: such as ``"github.com/owner/name@ref#subdirectory=path"``; ref and path may be left out.
            git_user: whose token it is.
            secrets: with ``GITHUB_TOKEN`` or ``GITLAB_TOKEN``. The token stays out of command lines and of the image.
            find_links, index_url, extra_index_url, pre, extra_options, env, force_build: as for :meth:`pip_install`.
        Raises:
            InvalidError: not such a repository, or no secret has its token.
        """
        result: Image = wrap(
            self._impl.pip_install_private_repos(
                *repositories,
                git_user=git_user,
                find_links=find_links,
                index_url=index_url,
                extra_index_url=extra_index_url,
                pre=pre,
                extra_options=extra_options,
                gpu=gpu,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                force_build=force_build,
            )
        )
        return result

    def pip_install_from_requirements(
        self,
        requirements_txt: str | os.PathLike[str],
        find_links: str | None = None,
        *,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install Python packages from a local requirements file, with pip. Other files that it names do not come along.

        Args:
            requirements_txt: path of the file, read when the image is built.
            find_links, index_url, extra_index_url, pre, extra_options, force_build, env, secrets: as for :meth:`pip_install`.
        """
        result: Image = wrap(
            self._impl.pip_install_from_requirements(
                requirements_txt,
                find_links,
                index_url=index_url,
                extra_index_url=extra_index_url,
                pre=pre,
                extra_options=extra_options,
                force_build=force_build,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def pip_install_from_pyproject(
        self,
        pyproject_toml: str | os.PathLike[str],
        optional_dependencies: Sequence[str] = (),
        *,
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install ``project.dependencies`` of a local pyproject.toml, with pip. The project itself is not installed.

        Args:
            pyproject_toml: path of the file, read when the image is built.
            optional_dependencies: groups of ``project.optional-dependencies`` to install too.
            find_links, index_url, extra_index_url, pre, extra_options, force_build, env, secrets: as for :meth:`pip_install`.
        """
        result: Image = wrap(
            self._impl.pip_install_from_pyproject(
                pyproject_toml,
                optional_dependencies,
                find_links=find_links,
                index_url=index_url,
                extra_index_url=extra_index_url,
                pre=pre,
                extra_options=extra_options,
                force_build=force_build,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def uv_pip_install(
        self,
        *packages: str | list[str],
        requirements: Sequence[str] | None = None,
        find_links: str | None = None,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        pre: bool = False,
        extra_options: str = "",
        force_build: bool = False,
        uv_version: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install Python packages with uv, into the first ``python`` on the ``PATH``. uv itself is installed first, in ``/.uv``.

        Args:
            packages: requirements, URLs, ``git+`` URLs, wheels; also in lists.
            requirements: paths of local requirements files, read when the image is built.
            uv_version: of uv; the newest when left out, or the one that the image has.
            pre: allow pre-releases.
            extra_options: more options for ``uv pip install``.
            find_links, index_url, extra_index_url, force_build, env, secrets: as for :meth:`pip_install`.
        Raises:
            InvalidError: an option among the packages, or ``requirements`` is not a list.
        """
        result: Image = wrap(
            self._impl.uv_pip_install(
                *packages,
                requirements=requirements,
                find_links=find_links,
                index_url=index_url,
                extra_index_url=extra_index_url,
                pre=pre,
                extra_options=extra_options,
                force_build=force_build,
                uv_version=uv_version,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def uv_sync(
        self,
        uv_project_dir: str | os.PathLike[str] = "./",
        *,
        force_build: bool = False,
        groups: Sequence[str] | None = None,
        extras: Sequence[str] | None = None,
        frozen: bool = True,
        extra_options: str = "",
        uv_version: str | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Make a virtual environment with the dependencies of a local uv project; it comes first on the ``PATH``.

        The project itself is not installed: add its source with ``add_local_python_source``. Workspaces are not supported.

        Args:
            uv_project_dir: directory with ``pyproject.toml`` and ``uv.lock``, which are read when the image is built.
            groups: dependency groups to install too.
            extras: optional dependencies to install too.
            frozen: install what the lock file says, where there is one, without looking whether it is up to date.
            extra_options: more options for ``uv sync``.
            uv_version, force_build, env, secrets: as for :meth:`uv_pip_install`.
        """
        result: Image = wrap(
            self._impl.uv_sync(
                uv_project_dir,
                force_build=force_build,
                groups=groups,
                extras=extras,
                frozen=frozen,
                extra_options=extra_options,
                uv_version=uv_version,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def poetry_install_from_file(
        self,
        poetry_pyproject_toml: str | os.PathLike[str],
        poetry_lockfile: str | os.PathLike[str] | None = None,
        *,
        ignore_lockfile: bool = False,
        force_build: bool = False,
        with_: Sequence[str] = (),
        without: Sequence[str] = (),
        only: Sequence[str] = (),
        poetry_version: str | None = "latest",
        old_installer: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install the dependencies of a local Poetry project. The project itself is not installed.

        Args:
            poetry_pyproject_toml: path of its pyproject.toml, read when the image is built.
            poetry_lockfile: path of its lock file; ``poetry.lock`` beside it when left out.
            ignore_lockfile: do without a lock file, even where there is one.
            with_, without, only: dependency groups to add, to leave out, to have alone.
            poetry_version: Poetry to install first; None where the image has one.
            old_installer: use the installer of old versions.
            force_build, env, secrets: as for :meth:`apt_install`.
        Raises:
            NotFoundError: when it is built: there is no lock file.
        """
        result: Image = wrap(
            self._impl.poetry_install_from_file(
                poetry_pyproject_toml,
                poetry_lockfile,
                ignore_lockfile=ignore_lockfile,
                force_build=force_build,
                with_=with_,
                without=without,
                only=only,
                poetry_version=poetry_version,
                old_installer=old_installer,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def micromamba_install(
        self,
        *packages: str | list[str],
        spec_file: str | os.PathLike[str] | None = None,
        channels: Sequence[str] = (),
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> Image:
        """Install Conda packages with micromamba, into the base environment. Begin with :meth:`Image.micromamba`.

        Args:
            packages: specifications such as ``"numpy=1.26"``, also in lists.
            spec_file: path of a local file with more of them, as text or YAML, read when the image is built.
            channels: where to look, such as ``["conda-forge"]``.
            force_build, env, secrets: as for :meth:`apt_install`.
        """
        result: Image = wrap(
            self._impl.micromamba_install(
                *packages,
                spec_file=spec_file,
                channels=channels,
                force_build=force_build,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
            )
        )
        return result

    def run_commands(
        self,
        *commands: str | list[str],
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        volumes: Mapping[str | os.PathLike[str], object] | None = None,
        gpu: str | Sequence[str | None] | None = None,
        force_build: bool = False,
    ) -> Image:
        """Run shell commands.

        Args:
            commands: each is run by a shell of its own (``/bin/sh -c``, or see :meth:`shell`); also in lists. Several lines are a script.
            env: environment variables of this step alone.
            secrets: more of them, of which only the names decide whether the step has to be done again.
            force_build: do this step, and all later ones, again each time.
        Raises:
            InvalidError: a command is no text.
            UnimplementedError: ``volumes`` and ``gpu`` are not supported yet.
        """
        result: Image = wrap(
            self._impl.run_commands(
                *commands, env=env, secrets=unwrap_all(secrets, _Secret), volumes=volumes, gpu=gpu, force_build=force_build
            )
        )
        return result

    def dockerfile_commands(
        self,
        *dockerfile_commands: str | list[str],
        context_files: Mapping[str, str] = MappingProxyType({}),
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
        context_dir: str | os.PathLike[str] | None = None,
        force_build: bool = False,
        ignore: Sequence[str] | Callable[[Path], bool] = AUTO_DOCKERIGNORE,
    ) -> Image:
        """Extend the image with Dockerfile instructions. The files that they copy are uploaded when it is built.

        Args:
            dockerfile_commands: lines, also in lists. ``FROM … AS name`` begins another stage, ``FROM base`` goes on with this image.
            context_files: more files for COPY: path in the context to local path.
            context_dir: what COPY copies from; the working directory when left out.
            ignore: patterns as in ``.dockerignore``, or a predicate over relative paths, for files that stay here; by default
                a ``.dockerignore`` in the context directory decides.
            env, secrets, force_build: as for :meth:`run_commands`.
        """
        result: Image = wrap(
            self._impl.dockerfile_commands(
                *dockerfile_commands,
                context_files=context_files,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                gpu=gpu,
                context_dir=context_dir,
                force_build=force_build,
                ignore=ignore,
            )
        )
        return result

    def run_function(
        self,
        raw_f: Callable[..., Any],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[Secret] | None = None,
        volumes: Mapping[str | os.PathLike[str], object] = MappingProxyType({}),
        network_file_systems: Mapping[str | os.PathLike[str], object] = MappingProxyType({}),
        gpu: str | Sequence[str | None] | None = None,
        cpu: float | None = None,
        memory: int | None = None,
        timeout: int = 60 * 60,
        cloud: str | None = None,
        region: str | Sequence[str] | None = None,
        force_build: bool = False,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
        include_source: bool = True,
    ) -> Image:
        """Run a Python function as a build step. It is recorded; building the image raises UnimplementedError until there are Functions.

        Raises:  InvalidError: ``raw_f`` cannot be called.
        """
        result: Image = wrap(
            self._impl.run_function(
                raw_f,
                env=env,
                secrets=unwrap_all(secrets, _Secret),
                volumes=volumes,
                network_file_systems=network_file_systems,
                gpu=gpu,
                cpu=cpu,
                memory=memory,
                timeout=timeout,
                cloud=cloud,
                region=region,
                force_build=force_build,
                args=args,
                kwargs=kwargs,
                include_source=include_source,
            )
        )
        return result

    def add_local_file(self, local_path: str | os.PathLike[str], remote_path: str, *, copy: bool = False) -> Image:
        """Add a file of this machine. It is read when the image is built.

        Args:
            local_path: of the file; ``~`` is your home directory.
            remote_path: absolute, in the image; if it ends in a slash, the directory that the file goes into.
            copy: make it part of the build, so that steps can follow. By default the file is added on top of all steps.
        Raises:
            InvalidError: ``remote_path`` is not absolute.
        """
        result: Image = wrap(self._impl.add_local_file(local_path, remote_path, copy=copy))
        return result

    def add_local_dir(
        self,
        local_path: str | os.PathLike[str],
        remote_path: str | os.PathLike[str],
        *,
        copy: bool = False,
        ignore: Sequence[str] | Callable[[Path], bool] = (),
    ) -> Image:
        """Add what is in a directory of this machine. It is read when the image is built.

        Permissions and symbolic links come along as they are; all belongs to root.

        Args:
            local_path: of the directory; ``~`` is your home directory.
            remote_path: absolute, in the image: the directory that gets the content.
            copy: make it part of the build, so that steps can follow. By default the files are added on top of all steps.
            ignore: patterns as in ``.dockerignore``, or a predicate that is true for relative paths to leave out.
        Raises:
            InvalidError: ``remote_path`` is not absolute, or a pattern is malformed.
        """
        result: Image = wrap(self._impl.add_local_dir(local_path, remote_path, copy=copy, ignore=ignore))
        return result

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Sequence[str] | Callable[[Path], bool] = NON_PYTHON_FILES
    ) -> Image:
        """Add the source of modules and packages that can be imported here, such that they can be imported in the image.

        They go to ``/root``, which comes first on the image's ``PYTHONPATH`` then. Names that begin with a dot, ``.pyc`` files and
        ``__pycache__`` never come along.

        Args:
            modules: names as in import statements.
            copy: make it part of the build, so that steps can follow. By default the files are added on top of all steps.
            ignore: as for :meth:`add_local_dir`, relative to each package; by default all but ``.py`` files.
        Raises:
            InvalidError: not the name of a module.
            ModuleNotMountable: when it is built: there is no such module, or it has no source.
        """
        result: Image = wrap(self._impl.add_local_python_source(*modules, copy=copy, ignore=ignore))
        return result

    def entrypoint(self, entrypoint_commands: Sequence[str]) -> Image:
        """Set the ENTRYPOINT, which gets the command as its arguments; an empty list clears one that the base has."""
        result: Image = wrap(self._impl.entrypoint(entrypoint_commands))
        return result

    def shell(self, shell_commands: Sequence[str]) -> Image:
        """Set what runs the commands of later steps, such as ``["/bin/bash", "-c"]``.

        Raises:  InvalidError: not a list of strings, or an empty one.
        """
        result: Image = wrap(self._impl.shell(shell_commands))
        return result

    def cmd(self, cmd: Sequence[str]) -> Image:
        """Set the command that a sandbox runs which is created without one."""
        result: Image = wrap(self._impl.cmd(cmd))
        return result

    def workdir(self, path: str | os.PathLike[str]) -> Image:
        """Set the working directory of later steps, and of processes that start in the image.

        Args:    path: made if it does not exist; a relative one continues the one before. ``$NAME`` is a variable of the image.
        """
        result: Image = wrap(self._impl.workdir(path))
        return result

    def env(self, vars: Mapping[str, str]) -> Image:
        """Set environment variables of later steps, and of processes that start in the image.

        Args:    vars: later ones win over earlier ones. ``$NAME`` and ``${NAME}`` in a value are variables of the image before this step;
            ``\\$`` is a dollar.
        Raises:  InvalidError: a name or a value that is no string, or that an image cannot have.
        """
        result: Image = wrap(self._impl.env(vars))
        return result


__all__ = ["Image"]
