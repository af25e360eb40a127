"""What a base image is made of: packages, options, the mmdebstrap command line, and the hash that names the result. Pure.

Source: mmdebstrap(1); Debian's "slim" images for the paths left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from policies.images import DEFAULT_ENV
from sandboxd.apt_sources import KEYRING, AptSource

DEBIAN_PYTHONS: Final[Mapping[str, str]] = {"3.11": "bookworm", "3.13": "trixie"}
"""Minor version of Python to the Debian release that has it."""


_REACHES_MIRROR: Final = re.compile(r"Acquire::(https?|ForceIPv[46]|Retries|Queue-Mode|By-Hash|Check-|Max-FutureTime|Allow)\S* ")
_ID_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 22
_REVISION: Final = 1
"""Raise it to have every machine build its images anew."""

_LEFT_OUT: Final = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
_KEPT: Final = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")
_MERGED_USR: Final = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
"""Makes /bin a link to /usr/bin at once; else a package does it afterwards and brings 50 MB of Perl for that one use."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in an image, but for the packages' versions on the day of the build."""

    codename: str
    python: str = ""
    """Minor version it has; empty: none."""
    variant: str = "minbase"
    packages: tuple[str, ...] = ("python3", "python3-pip", "python3-venv", "ca-certificates", "procps")
    env: Mapping[str, str] = msgspec.field(default_factory=lambda: DEFAULT_ENV)
    hooks: str = ""
    """Text of the hook scripts, so that a change of theirs is a change of the image."""

    @property
    def name(self) -> str:
        """Directory name in the cache: ``debian-3.11-0f3a…``."""
        return f"debian-{self.python or self.codename}-{self.digest()[:12]}"

    def digest(self) -> str:
        """sha256, hexadecimal, of whatever decides the content: change any and it is another image."""
        argv = debootstrap_argv(self, Path("/rootfs"), (), Path("/hooks"))
        return hashlib.sha256(msgspec.json.encode((_REVISION, argv, self.hooks, sorted(self.env.items())))).hexdigest()


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``image.json`` beside an image's ``rootfs``."""

    image_id: str
    source: str
    """Where it came from, for people: ``debian bookworm`` or the tarball's path."""
    python: str
    env: Mapping[str, str]
    created_at: float
    """Unix seconds."""
    size_bytes: int
    notes: tuple[str, ...] = ()
    """What was left out, device nodes for one."""


def image_id(digest: str) -> str:
    """``im-`` and 22 base-62 characters of a hexadecimal digest of at least 33 digits."""
    number = int(digest, 16)
    letters = []
    for _ in range(_ID_LENGTH):
        number, index = divmod(number, len(_ID_ALPHABET))
        letters.append(_ID_ALPHABET[index])
    return "im-" + "".join(letters)


def debootstrap_argv(recipe: Recipe, root: Path, sources: Sequence[AptSource], hooks: Path) -> list[str]:
    """The mmdebstrap command that fills ``root``; ``hooks`` is the directory of the hook scripts."""
    argv = ["mmdebstrap", "--mode=root", "--format=directory", f"--variant={recipe.variant}", f"--include={','.join(recipe.packages)}"]
    argv += [f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT]
    argv += [f"--dpkgopt=path-include={path}" for path in _KEPT]
    argv += ['--aptopt=Acquire::Languages "none"']
    # In this order: the hooks of --hook-dir download, which takes what our setup hook brings.
    argv += [f"--setup-hook={hooks}/image-setup.sh", f"--hook-dir={_MERGED_USR}", f"--customize-hook={hooks}/image-customize.sh"]
    return [*argv, recipe.codename, str(root), *(source.one_line() for source in sources)]


def public_sources(codename: str) -> str:
    """``/etc/apt/sources.list.d/debian.sources`` of an image: Debian's public addresses, whatever mirror built it."""
    main = [AptSource("http://deb.debian.org/debian", suite, signed_by=KEYRING) for suite in (codename, f"{codename}-updates")]
    security = AptSource("http://deb.debian.org/debian-security", f"{codename}-security", signed_by=KEYRING)
    return "\n".join(source.stanza() for source in (*main, security))


def machine_options(apt_config: str) -> str:
    """The lines of ``apt-config dump`` that say how this machine reaches its mirror: proxies, certificates, retries, date checks."""
    kept = [line for line in apt_config.splitlines() if _REACHES_MIRROR.match(line)]
    return "\n".join([*kept, 'APT::Sandbox::User "root";', ""])
