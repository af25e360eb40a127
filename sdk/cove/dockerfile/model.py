"""What a Dockerfile says, as values. Nothing here is expanded: variables and quotes are as written, see :mod:`cove.dockerfile.expand`.

Wherever a command can be given in two forms, a ``str`` is the shell form and a tuple of ``str`` the exec form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_LEADING_TABS: Final = re.compile(r"^\t+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A body given in place: ``<<EOF`` and the lines up to ``EOF``.

    Attributes:
        raw: the lines as written, each with its newline.
        expands: whether variables in it are expanded: true unless a part of the delimiter was quoted.
        strips_tabs: written as ``<<-``: tabs at the start of lines do not count.
    """

    name: str
    raw: str
    expands: bool = True
    strips_tabs: bool = False

    @property
    def content(self) -> str:
        """The lines without the tabs that do not count."""
        return _LEADING_TABS.sub("", self.raw) if self.strips_tabs else self.raw


class MountKind(StrEnum):
    """What a ``RUN --mount`` shows the command."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One ``RUN --mount``.

    Attributes:
        target: where it appears; empty for a secret, whose default is ``/run/secrets/<id>``.
        source: path in ``from_`` (or in the context) that is shown.
        from_: stage or image that ``source`` lies in; None is the context.
        id: of a cache or a secret; empty is the default.
        read_only: the command cannot write there. A bind mount's writes, where allowed, are dropped afterwards.
        required: a missing secret fails the step.
        sharing: of a cache between builds: ``shared``, ``private`` or ``locked``.
        mode: permissions of what is made for it; None is the default of its kind.
        size_bytes: limit of a tmpfs.
        env: environment variable that carries the secret instead of a file.
    """

    kind: MountKind
    target: str = ""
    source: str = ""
    from_: str | None = None
    id: str = ""
    read_only: bool = False
    required: bool = False
    sharing: str = "shared"
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size_bytes: int | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all instructions have.

    Attributes:
        line: number of its first line, counted from 1.
        original: its text as written, continuation lines and heredocs included.
    """

    line: int
    original: str


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """Begins a stage."""

    base: str
    name: str | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """Declares a build argument. One that declares several is several of these."""

    name: str
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """Runs a command.

    Attributes:
        heredocs: bodies that the shell form's ``<<EOF`` refer to, in order.
        network: ``default`` or ``none``.
    """

    command: str | tuple[str, ...]
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD have in common.

    Attributes:
        sources: paths or globs in the order written.
        heredocs: files given in place; each becomes a file of its name.
        link: a layer that does not depend on what is below it.
        exclude: patterns of what is left out.
    """

    sources: tuple[str, ...]
    heredocs: tuple[Heredoc, ...] = ()
    destination: str
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    """Copies from the context, or from the stage or image ``from_``. With ``parents`` the sources' directories come along."""

    from_: str | None = None
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """Copies from the context or from URLs, and unpacks local archives.

    Attributes:
        checksum: ``sha256:…`` that what comes from a URL must have.
        unpack: whether archives are unpacked; None is the default: local ones are, downloaded ones are not.
    """

    checksum: str | None = None
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """Sets environment variables for later steps and for what runs in the image."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """Metadata of the image."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """The working directory from here on; relative to the one before."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """Who later commands run as: ``user[:group]``, names or numbers."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    """The image's default command; an empty tuple clears it."""

    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    """What the image's command is given to; an empty tuple clears it."""

    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """What runs shell forms from here on."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """Ports that the image listens on, such as ``80`` or ``5000-5010/udp``. Metadata."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """How to see that the image's command is well: recorded; nothing acts on it. ``command`` None disables an inherited one."""

    command: str | tuple[str, ...] | None
    interval_s: float | None = None
    timeout_s: float | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """Who looks after the image. Metadata."""

    name: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it.

    Attributes:
        base: a stage, an image reference or ``scratch``; None is the image that commands are added to.
        name: in lower case; None without ``AS``.
        line: of the FROM; 0 where there is none.
    """

    base: str | None
    name: str | None
    platform: str | None
    instructions: tuple[Instruction, ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file: at least one stage.

    Attributes:
        global_args: the ARGs before the first FROM, visible to FROM lines.
        escape: the character that escapes: a backslash or a backtick.
        syntax: what the ``# syntax`` directive names. Not acted on: there is one grammar here.
    """

    stages: tuple[Stage, ...]
    global_args: tuple[Arg, ...] = ()
    escape: str = "\\"
    syntax: str | None = None
