"""Methods of images that install packages."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cove._async._image_steps import Steps
from cove._async.base import Part
from cove._async.secret import _Secret
from cove._image import packages as commands
from cove._image import projects, text
from cove._image.context import file, local_path
from cove._image.packages import Indexes, flatten
from cove._image.recipe import Draft, fixed
from cove.exception import InvalidError

if TYPE_CHECKING:
    from cove._async.image import _Image


class Installing(Steps, Part):
    """Images that packages can be installed into.

    Packages are quoted: nothing in them is run. ``extra_options`` goes to the shell as it is.
    """

    def apt_install(
        self,
        *packages: str | list[str],
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
        """Install Debian packages with apt-get.

        Args:
            packages: names, also in lists; ``name=version`` for one version.
            force_build: do this step, and all later ones, again each time.
            env: environment variables of this step alone.
            secrets: more of them, of which only the names decide whether the step has to be done again.
        Raises:
            InvalidError: an option among the packages.
        """
        names = flatten(packages, what="apt_install")
        if not names:
            return self._same()
        return self._then("apt_install", fixed(*commands.apt(names)), env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
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
        names = flatten(packages, what="pip_install")
        if not names:
            return self._same()
        indexes = Indexes(find_links, index_url, extra_index_url, pre, extra_options)
        return self._then("pip_install", fixed(*commands.pip(names, indexes)), env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        force_build: bool = False,
    ) -> _Image:
        """Install Python packages from private repositories of GitHub or GitLab, with pip.

        Args:
            repositories: such as ``"github.com/owner/name@ref#subdirectory=path"``; ref and path may be left out.
            git_user: whose token it is.
            secrets: with ``GITHUB_TOKEN`` or ``GITLAB_TOKEN``. The token stays out of command lines and of the image.
            find_links, index_url, extra_index_url, pre, extra_options, env, force_build: as for :meth:`pip_install`.
        Raises:
            InvalidError: not such a repository, or no secret has its token.
        """
        if not repositories:
            return self._same()
        indexes = Indexes(find_links, index_url, extra_index_url, pre, extra_options)
        known = {name for secret in secrets or () for name in secret.variables}
        steps = commands.private_repositories(repositories, indexes, git_user=git_user, secrets=known)
        return self._then("pip_install_private_repos", fixed(*steps), env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
        """Install Python packages from a local requirements file, with pip. Other files that it names do not come along.

        Args:
            requirements_txt: path of the file, read when the image is built.
            find_links, index_url, extra_index_url, pre, extra_options, force_build, env, secrets: as for :meth:`pip_install`.
        """
        indexes = Indexes(find_links, index_url, extra_index_url, pre, extra_options)
        indexes.options()
        draft = partial(projects.pip_requirements, local_path(requirements_txt), indexes)
        return self._then("pip_install_from_requirements", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
        """Install ``project.dependencies`` of a local pyproject.toml, with pip. The project itself is not installed.

        Args:
            pyproject_toml: path of the file, read when the image is built.
            optional_dependencies: groups of ``project.optional-dependencies`` to install too.
            find_links, index_url, extra_index_url, pre, extra_options, force_build, env, secrets: as for :meth:`pip_install`.
        """
        indexes = Indexes(find_links, index_url, extra_index_url, pre, extra_options)
        indexes.options()
        path, groups = local_path(pyproject_toml), list(optional_dependencies)
        draft = partial(projects.pip_pyproject, path, groups, indexes)
        return self._then("pip_install_from_pyproject", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
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
        names, indexes = flatten(packages, what="uv_pip_install"), Indexes(find_links, index_url, extra_index_url, pre, extra_options)
        if isinstance(requirements, str):
            raise InvalidError("requirements= is a list of paths.", remedy="Write requirements=[path] for one file.")
        if not names and not requirements:
            return self._same()
        commands.uv(names, indexes, requirements=(), version=uv_version)
        draft = partial(projects.uv_requirements, names, [local_path(path) for path in requirements or ()], indexes, uv_version)
        return self._then("uv_pip_install", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
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
        draft = partial(
            projects.uv_sync,
            local_path(uv_project_dir),
            groups=flatten(groups or (), what="groups"),
            extras=flatten(extras or (), what="extras"),
            frozen=frozen,
            extra_options=text.check_line(extra_options, what="extra_options"),
            version=None if uv_version is None else commands.tool_version(uv_version, what="uv_version"),
        )
        return self._then("uv_sync", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)

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
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
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
        pyproject, lock = local_path(poetry_pyproject_toml), None if poetry_lockfile is None else local_path(poetry_lockfile)
        groups = projects.PoetryGroups(*(tuple(flatten(names, what="groups of Poetry")) for names in (with_, without, only)))
        draft = partial(
            projects.poetry,
            pyproject,
            lock,
            groups,
            lock_ignored=ignore_lockfile,
            install=None if poetry_version is None else projects.poetry_package(poetry_version),
            old_installer=old_installer,
        )
        return self._then("poetry_install_from_file", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)

    def micromamba_install(
        self,
        *packages: str | list[str],
        spec_file: str | os.PathLike[str] | None = None,
        channels: Sequence[str] = (),
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
    ) -> _Image:
        """Install Conda packages with micromamba, into the base environment. Begin with :meth:`Image.micromamba`.

        Args:
            packages: specifications such as ``"numpy=1.26"``, also in lists.
            spec_file: path of a local file with more of them, as text or YAML, read when the image is built.
            channels: where to look, such as ``["conda-forge"]``.
            force_build, env, secrets: as for :meth:`apt_install`.
        """
        names, spec = flatten(packages, what="micromamba_install"), None if spec_file is None else local_path(spec_file)
        if not names and spec is None:
            return self._same()
        slot = None if spec is None else "environment.yml" if spec.suffix in (".yml", ".yaml") else "packages.txt"
        target = None if slot is None else f"{projects.REMOTE}/{slot}"
        install = commands.micromamba(names, channels, spec_file=target)

        def draft() -> Draft:
            if spec is None or slot is None or target is None:
                return Draft((install,))
            return Draft((text.copy(slot, target), install), (file(slot, spec),))

        return self._then("micromamba_install", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)
