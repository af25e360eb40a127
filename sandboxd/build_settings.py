"""How this machine reaches package mirrors, for the steps of image builds: lower directories and variables that no snapshot ever takes.

Files lie in a layer between image and upper, so they are there while a step runs and nowhere in what it makes. Credentials in addresses
stay here: an address that has them is left out.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from sandboxd import apt_sources, image_recipe, programs

CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
INSIDE: Final = "/.cove/build"
ANY_RELEASE: Final = "any"
"""Directory for images that are no Debian of ours."""

QUERY_S: Final = 20.0

_CERTIFICATE_VARIABLES: Final = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
)
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PIP_OPTIONS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout")
_PIP_VARIABLES: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "UV_INDEX_URL")


class BuildSettings(msgspec.Struct, frozen=True):
    """What a step's sandbox gets beside its image."""

    directory: Path
    """Holds one lower directory per Debian release, and ``any``."""
    env: Mapping[str, str]

    def layer(self, codename: str) -> Path:
        """The lower directory for images of a Debian release; empty: of anything else."""
        return self.directory / (codename if codename in image_recipe.DEBIAN_PYTHONS.values() else ANY_RELEASE)


async def collect(directory: Path, environ: Mapping[str, str] = os.environ) -> BuildSettings:
    """Read the machine's settings and write the lower directories, anew; under a second.

    Raises: OSError.
    """
    shutil.rmtree(directory, ignore_errors=True)
    bundle = next((path for name in _CERTIFICATE_VARIABLES if (path := environ.get(name)) and Path(path).is_file()), CERTIFICATES)
    async with asyncio.TaskGroup() as group:
        pip = group.create_task(_said(sys.executable, "-m", "pip", "config", "list"))
        npm = group.create_task(_said("npm", "config", "get", "registry"))
        apt = group.create_task(_said("apt-config", "dump"))
    files = {
        f"{INSIDE}/pip.conf": pip_configuration(pip.result()),
        f"{INSIDE}/npmrc": npm_configuration(npm.result()),
        "/etc/apt/apt.conf.d/90cove-build": apt_configuration(apt.result()),
    }
    env = {name: value for name in (*_PROXY_VARIABLES, *_PIP_VARIABLES) if (value := _public_words(environ.get(name, "")))}
    env |= {"PIP_ROOT_USER_ACTION": "ignore", "PIP_CONFIG_FILE": f"{INSIDE}/pip.conf", "NPM_CONFIG_USERCONFIG": f"{INSIDE}/npmrc"}
    if Path(bundle).is_file():
        files[f"{INSIDE}/ca-certificates.crt"] = Path(bundle).read_text("utf-8", "replace")
        env |= dict.fromkeys(_CERTIFICATE_VARIABLES, f"{INSIDE}/ca-certificates.crt")
        files["/etc/apt/apt.conf.d/90cove-build"] += f'Acquire::https::CaInfo "{INSIDE}/ca-certificates.crt";\n'
    sources = [source for source in apt_sources.read_sources() if _is_public(source.uri)]
    for codename in (*image_recipe.DEBIAN_PYTHONS.values(), ANY_RELEASE):
        _write(directory / codename, files)
        if codename != ANY_RELEASE:
            stanzas = "\n".join(source.stanza() for source in apt_sources.for_suite(sources, codename))
            _write(directory / codename, {"/etc/apt/sources.list.d/debian.sources": stanzas})
    return BuildSettings(directory, env)


def pip_configuration(listed: str) -> str:
    """``pip config list`` as a configuration file, with what a sandbox can use: addresses on the network, without credentials."""
    kept: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        words = _public_words(value.strip().strip("'\"").replace("\\n", " "))
        if option in _PIP_OPTIONS and words:
            kept[option.removeprefix("default-")] = words
    return "[global]\n" + "".join(f"{option} = {value}\n" for option, value in kept.items())


def npm_configuration(registry: str) -> str:
    """``npm config get registry`` as an ``.npmrc``."""
    words = registry.split()
    return f"registry={words[0]}\n" if len(words) == 1 and words[0].startswith("http") and _is_public(words[0]) else ""


def apt_configuration(dumped: str) -> str:
    """``apt-config dump`` as a file of options that say how mirrors are reached."""
    options = image_recipe.machine_options(dumped).splitlines()
    return "".join(f"{option}\n" for option in options if all(_is_public(quoted) for quoted in option.split('"')[1::2]))


def _public_words(value: str) -> str:
    """``value``, a list of addresses perhaps, without those words that are not a sandbox's."""
    return " ".join(word for word in value.split() if _is_public(word))


def _is_public(word: str) -> bool:
    """Whether a sandbox may know and could use ``word``: no address with a user in it, none of this machine's own files.

    Not parsed as an address: a proxy may be ``user:password@proxy:3128``, and a password may have any character in it.
    """
    return "@" not in word and not word.lower().startswith(("/", "file:", "cdrom:", "copy:"))


def _write(root: Path, files: Mapping[str, str]) -> None:
    """Every user of the sandbox can read them, whatever our umask."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    for directory in (root, *(path for path in root.rglob("*") if path.is_dir())):
        directory.chmod(0o755)


async def _said(*argv: str) -> str:
    """What a program prints; empty where there is none or it fails."""
    try:
        finished = await programs.capture(list(argv), timeout_s=QUERY_S)
    except (OSError, TimeoutError):
        return ""
    return finished.stdout.decode("utf-8", "replace") if finished.code == 0 else ""
