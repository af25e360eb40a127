"""Methods of images that run commands, add files, and set what processes start with."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cove import _spec
from cove._async._image_steps import Steps
from cove._async.base import Part
from cove._async.secret import _Secret
from cove._image import dockerfile, local, text
from cove._image.context import local_path, matcher
from cove._image.dockerfile import AUTO_DOCKERIGNORE
from cove._image.recipe import Draft, fixed
from cove.exception import InvalidError, UnimplementedError
from cove.file_pattern_matcher import NON_PYTHON_FILES

if TYPE_CHECKING:
    from cove._async.image import _Image


class Building(Steps, Part):
    """Images that can be built upon."""

    def run_commands(
        self,
        *commands: str | list[str],
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        volumes: Mapping[str | os.PathLike[str], object] | None = None,
        gpu: str | Sequence[str | None] | None = None,
        force_build: bool = False,
    ) -> _Image:
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
        _spec.refuse("Image.run_commands", volumes=volumes)
        found = _flattened(commands, what="run_commands")
        if not found:
            return self._same()
        return self._then("run_commands", fixed(*map(text.run, found)), env=env, secrets=secrets, gpu=gpu, force_build=force_build)

    def dockerfile_commands(
        self,
        *dockerfile_commands: str | list[str],
        context_files: Mapping[str, str] = MappingProxyType({}),
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
        gpu: str | Sequence[str | None] | None = None,
        context_dir: str | os.PathLike[str] | None = None,
        force_build: bool = False,
        ignore: Sequence[str] | Callable[[Path], bool] = AUTO_DOCKERIGNORE,
    ) -> _Image:
        """Extend the image with Dockerfile instructions. The files that they copy are uploaded when it is built.

        Args:
            dockerfile_commands: lines, also in lists. ``FROM … AS name`` begins another stage, ``FROM base`` goes on with this image.
            context_files: more files for COPY: path in the context to local path.
            context_dir: what COPY copies from; the working directory when left out.
            ignore: patterns as in ``.dockerignore``, or a predicate over relative paths, for files that stay here; by default
                a ``.dockerignore`` in the context directory decides.
            env, secrets, force_build: as for :meth:`run_commands`.
        """
        lines = [text.check_text(line, what="An argument of dockerfile_commands") for line in _flattened(dockerfile_commands)]
        if not lines:
            return self._same()
        draft = partial(dockerfile.commands, lines, dockerfile.context_of(context_dir, ignore, context_files))
        return self._then("dockerfile_commands", draft, env=env, secrets=secrets, gpu=gpu, force_build=force_build)

    def run_function(
        self,
        raw_f: Callable[..., Any],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Collection[_Secret] | None = None,
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
    ) -> _Image:
        """Run a Python function as a build step. It is recorded; building the image raises UnimplementedError until there are Functions.

        Raises:  InvalidError: ``raw_f`` cannot be called.
        """
        if not callable(raw_f):
            raise InvalidError("run_function takes a function.", remedy="Pass the function itself, not its result.")

        def draft() -> Draft:
            raise UnimplementedError(
                "Image.run_function needs Functions, which are not supported yet.", remedy="Use run_commands with a script that was added."
            )

        return self._then("run_function", draft, env=env, secrets=secrets, force_build=force_build)

    def add_local_file(self, local_path: str | os.PathLike[str], remote_path: str, *, copy: bool = False) -> _Image:
        """Add a file of this machine. It is read when the image is built.

        Args:
            local_path: of the file; ``~`` is your home directory.
            remote_path: absolute, in the image; if it ends in a slash, the directory that the file goes into.
            copy: make it part of the build, so that steps can follow. By default the file is added on top of all steps.
        Raises:
            InvalidError: ``remote_path`` is not absolute.
        """
        return self._then("add_local_file", local.add_file(_here(local_path), remote_path), at_start=not copy)

    def add_local_dir(
        self,
        local_path: str | os.PathLike[str],
        remote_path: str | os.PathLike[str],
        *,
        copy: bool = False,
        ignore: Sequence[str] | Callable[[Path], bool] = (),
    ) -> _Image:
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
        draft = local.add_directory(_here(local_path), os.fspath(remote_path), matcher(ignore))
        return self._then("add_local_dir", draft, at_start=not copy)

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Sequence[str] | Callable[[Path], bool] = NON_PYTHON_FILES
    ) -> _Image:
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
        if not modules:
            return self._same()
        return self._then("add_local_python_source", local.add_modules(modules, matcher(ignore)), at_start=not copy)

    def entrypoint(self, entrypoint_commands: Sequence[str]) -> _Image:
        """Set the ENTRYPOINT, which gets the command as its arguments; an empty list clears one that the base has."""
        return self._then("entrypoint", fixed(text.exec_form("ENTRYPOINT", entrypoint_commands)))

    def shell(self, shell_commands: Sequence[str]) -> _Image:
        """Set what runs the commands of later steps, such as ``["/bin/bash", "-c"]``.

        Raises:  InvalidError: not a list of strings, or an empty one.
        """
        if not shell_commands:
            raise InvalidError("The shell is empty.", remedy='Name a program and its options: ["/bin/bash", "-c"].')
        return self._then("shell", fixed(text.exec_form("SHELL", shell_commands)))

    def cmd(self, cmd: Sequence[str]) -> _Image:
        """Set the command that a sandbox runs which is created without one."""
        return self._then("cmd", fixed(text.exec_form("CMD", cmd)))

    def workdir(self, path: str | os.PathLike[str]) -> _Image:
        """Set the working directory of later steps, and of processes that start in the image.

        Args:    path: made if it does not exist; a relative one continues the one before. ``$NAME`` is a variable of the image.
        """
        return self._then("workdir", fixed(text.workdir(os.fspath(path))))

    def env(self, vars: Mapping[str, str]) -> _Image:
        r"""Set environment variables of later steps, and of processes that start in the image.

        Args:    vars: later ones win over earlier ones. ``$NAME`` and ``${NAME}`` in a value are variables of the image before this step;
            ``\$`` is a dollar.
        Raises:  InvalidError: a name or a value that is no string, or that an image cannot have.
        """
        if not vars:
            return self._same()
        return self._then("env", fixed(text.env_all(vars)))


def _here(path: str | os.PathLike[str]) -> Path:
    return local_path(path)


def _flattened(items: Sequence[str | list[str]], *, what: str = "dockerfile_commands") -> list[str]:
    """``items``, given one by one or in lists. Raises: InvalidError."""
    found = [one for item in items for one in (item if isinstance(item, list | tuple) else [item])]
    if not all(isinstance(one, str) for one in found):
        raise InvalidError(f"Image.{what} takes strings and lists of strings.", remedy="Write each command as one string.")
    return found
