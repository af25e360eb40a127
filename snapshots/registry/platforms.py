"""Platforms that images are made for, as ``os/architecture[/variant]``, and the choice of one from an index. Pure."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cove.exception import InvalidError

_MACHINES: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_PLAIN_VARIANTS: Final = {"amd64": ("", "v1"), "arm64": ("", "v8")}
"""Variants that every machine of the architecture runs, best first."""
_PLATFORM: Final = re.compile(r"[a-z0-9]{1,32}/[a-z0-9_]{1,32}(?:/[a-z0-9.]{1,32})?")
_SHOWN: Final = 20


class Platform(msgspec.Struct, frozen=True):
    """What an image runs on, in Go's names."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def runs(self, other: Platform) -> bool:
        """Whether an image made for ``other`` runs here."""
        return (self.os, self.architecture) == (other.os, other.architecture) and other.variant in self.variants

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants that run here, best first."""
        plain = _PLAIN_VARIANTS.get(self.architecture, ("",))
        return (self.variant, *(variant for variant in plain if variant != self.variant)) if self.variant else plain


def parse_platform(text: str) -> Platform:
    """Raises:  InvalidError: ``text`` is not ``os/architecture[/variant]``."""
    if not _PLATFORM.fullmatch(text):
        raise InvalidError(f"{text[:80]!r} is not a platform.", remedy="Write it as os/architecture, such as linux/amd64.")
    return Platform(*text.split("/"))


def platform_of(machine: str) -> Platform:
    """The platform of a Linux machine that calls itself ``machine`` (``platform.machine()``).

    Raises:  InvalidError: cove does not run there.
    """
    architecture = _MACHINES.get(machine.lower())
    if architecture is None:
        raise InvalidError(f"The machine type {machine[:40]!r} is not known.", remedy="Use a machine with x86_64 or aarch64.")
    return Platform("linux", architecture)


def machine_platform() -> Platform:
    """Of this machine. Raises: InvalidError: cove does not run here."""
    return platform_of(platform.machine())


def choose(wanted: Platform, offered: Sequence[Platform | None]) -> int:
    """Position of the best match. What names no platform is taken only where it is all there is: its config tells what it is for.

    Raises:  InvalidError: none matches; the text lists what there is.
    """
    for variant in wanted.variants:
        for position, candidate in enumerate(offered):
            if candidate == Platform(wanted.os, wanted.architecture, variant):
                return position
    if len(offered) == 1 and offered[0] is None:
        return 0
    raise InvalidError(
        f"The image is not made for {wanted}; there is {_listed(offered)}.", remedy="Choose an image made for this platform."
    )


def _listed(offered: Iterable[Platform | None]) -> str:
    """Build tools add attestations as ``unknown/unknown``: no platform of anything that runs."""
    names = sorted({str(platform)[:60] for platform in offered if platform is not None and platform.os != "unknown"})
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "no platform at all") + more
