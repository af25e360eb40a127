"""Steps that install packages by name: pip, uv, apt-get, micromamba. Pure; every name is quoted for the shell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cove._image import text
from cove.exception import InvalidError

UV_HOME: Final = "/.uv"
"""Where uv is installed, apart from everything else in the image."""

UV: Final = f"{UV_HOME}/bin/uv"
PIP: Final = "python -m pip install --no-cache-dir"

MICROMAMBA_IMAGE: Final = "mambaorg/micromamba:1.5.10"
"""Pinned, so that the same definition gives the same image."""

_TOOL_VERSION: Final = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")
_REPOSITORY: Final = re.compile(
    r"(?P<host>github\.com|gitlab\.com)(?:/[\w.-]+){2,}(?:@[\w./+-]+)?(?:#[\w.-]+=[\w./-]+(?:&[\w.-]+=[\w./-]+)*)?", re.ASCII
)
_TOKENS: Final = {"github.com": "GITHUB_TOKEN", "gitlab.com": "GITLAB_TOKEN"}


class Indexes(NamedTuple):
    """Where packages come from, as pip and uv take it."""

    find_links: str | None = None
    index_url: str | None = None
    extra_index_url: str | None = None
    pre: bool = False
    extra_options: str = ""

    def options(self, *, pre: str = "--pre") -> str:
        """The options, with a space before each."""
        named = (("--find-links", self.find_links), ("--index-url", self.index_url), ("--extra-index-url", self.extra_index_url))
        words = [word for option, value in named if value for word in (option, text.check_line(value, what=option))]
        quoted = [text.shell_words(words)] if words else []
        flags = [pre] if self.pre else []
        extra = [text.check_line(self.extra_options, what="extra_options")] if self.extra_options else []
        return "".join(f" {part}" for part in [*quoted, *flags, *extra])


def flatten(names: Iterable[str | list[str]], *, what: str) -> list[str]:
    """``names``, given one by one or in lists.

    Raises:  InvalidError: one is not text, or empty, or an option.
    """
    found: list[str] = []
    for name in names:
        found.extend(name if isinstance(name, list | tuple) else [name])
    for name in found:
        text.check_line(name, what=f"An argument of {what}")
        if not name.strip():
            raise InvalidError(f"An argument of {what} is empty.", remedy="Leave it out.")
        if name.lstrip().startswith("-"):
            raise InvalidError(
                f"{name[:80]!r} in {what} is an option, not a package.",
                remedy="Options go into extra_options, where there is that parameter.",
            )
    return found


def apt(packages: Sequence[str]) -> tuple[str, ...]:
    """apt-get install."""
    install = f"apt-get install -y {text.shell_words(packages)}"
    return (text.run(f"apt-get update && DEBIAN_FRONTEND=noninteractive {install} && rm -rf /var/lib/apt/lists/*"),)


def pip(packages: Sequence[str], indexes: Indexes) -> tuple[str, ...]:
    """pip install."""
    return (text.run(f"{PIP}{indexes.options()} {text.shell_words(packages)}"),)


def uv_itself(version: str | None) -> str:
    """The instruction that installs uv: this version, or whatever is newest where the image has none yet."""
    install = f"{PIP} --target {UV_HOME}"
    if version is None:
        return text.run(f"test -x {UV} || {install} uv")
    return text.run(f"{install} --upgrade uv=={tool_version(version, what='uv_version')}")


def uv(packages: Sequence[str], indexes: Indexes, *, requirements: Sequence[str], version: str | None) -> tuple[str, ...]:
    """uv pip install, for the first ``python`` on the ``PATH``.

    Args:    requirements: paths of requirements files in the image.
    """
    files = [word for path in requirements for word in ("--requirements", path)]
    words = text.shell_words([*files, *packages])
    options = indexes.options(pre="--prerelease allow")
    install = f'{UV} pip install --python "$(command -v python)" --compile-bytecode --no-cache{options} {words}'
    return (uv_itself(version), text.run(install))


def micromamba_base(python: str) -> tuple[str, ...]:
    """What makes micromamba's image one of ours: root, an ordinary shell, Python with pip in the base environment."""
    return (
        "USER root",
        text.exec_form("SHELL", ["/bin/bash", "-c"]),
        text.exec_form("ENTRYPOINT", []),
        text.exec_form("CMD", []),
        text.env("MAMBA_ROOT_PREFIX", "/opt/conda"),
        text.env("PATH", "/opt/conda/bin:$PATH"),
        text.run(f"micromamba install --name base --yes --channel conda-forge python={python} pip && micromamba clean --all --yes"),
        text.workdir("/root"),
    )


def micromamba(packages: Sequence[str], channels: Sequence[str], *, spec_file: str | None) -> str:
    """micromamba install. Args: spec_file: its path in the image."""
    words = [word for channel in flatten(channels, what="channels") for word in ("--channel", channel)]
    words += ["--file", spec_file] if spec_file else []
    return text.run(f"micromamba install --name base --yes {text.shell_words([*words, *packages])} && micromamba clean --all --yes")


def private_repositories(repositories: Sequence[str], indexes: Indexes, *, git_user: str, secrets: Iterable[str]) -> tuple[str, ...]:
    """pip install from private repositories. git asks for the token where it is, in the environment: no command line has it.

    Args:    secrets: names of the variables that the step's secrets have.
    Raises:  InvalidError: not a repository of GitHub or GitLab, or no token for it.
    """
    wrong = [name for name in repositories if not isinstance(name, str) or not _REPOSITORY.fullmatch(name)]
    if wrong:
        raise InvalidError(
            f"Not repositories of GitHub or GitLab: {', '.join(map(repr, wrong))}.",
            remedy='Write "github.com/owner/name@ref#subdirectory=path", where ref and path may be left out.',
        )
    hosts = sorted({name.partition("/")[0] for name in repositories})
    missing = sorted({_TOKENS[host] for host in hosts} - set(secrets))
    if missing:
        raise InvalidError(f"No secret has {', '.join(missing)}.", remedy="Pass secrets=[...] with a token that may read the repositories.")
    text.check_line(git_user, what="git_user")
    words = text.shell_words(f"git+https://{name}" for name in repositories)
    return (
        text.run(
            "command -v git >/dev/null || "
            "{ apt-get update && apt-get install -y --no-install-recommends git ca-certificates && rm -rf /var/lib/apt/lists/*; }"
        ),
        text.run(f"{_git_settings(hosts, git_user)} {PIP}{indexes.options()} {words}"),
    )


def tool_version(version: str, *, what: str) -> str:
    """``version`` if it looks like one.

    Raises:  InvalidError: it does not.
    """
    if not isinstance(version, str) or not _TOOL_VERSION.fullmatch(version):
        raise InvalidError(f"{what} is {version!r:.80}, which is not a version.", remedy='Give one such as "1.2.3".')
    return version


def _git_settings(hosts: Sequence[str], git_user: str) -> str:
    """Assignments before a command that make git find its credentials in the environment."""
    settings = {"GIT_TERMINAL_PROMPT": "0", "COVE_GIT_USER": git_user, "GIT_CONFIG_COUNT": str(len(hosts))}
    for index, host in enumerate(hosts):
        answer = f'printf "username=%s\\npassword=%s\\n" "$COVE_GIT_USER" "${_TOKENS[host]}"'
        settings[f"GIT_CONFIG_KEY_{index}"] = f"credential.https://{host}.helper"
        settings[f"GIT_CONFIG_VALUE_{index}"] = f"!f() {{ {answer}; }}; f"
    return " ".join(f"{name}={text.shell_words([value])}" for name, value in settings.items())
