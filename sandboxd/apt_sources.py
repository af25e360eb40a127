"""The Debian mirror that this machine already uses, read from apt's own source lists, and what follows from it.

Standard library only: the installer runs ``python3 -m sandboxd.apt_sources backports`` before there is a virtual environment.
Everything but :func:`read_sources` is pure. Source: sources.list(5).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
CODENAMES: Final = ("bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable")
_SERVICES: Final = ("-updates", "-security", "-backports", "-proposed-updates", "/updates")


@dataclass(frozen=True)
class AptSource:
    """Binary packages of one suite at one address."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    signed_by: str = ""
    """Keyring path; empty: apt's own trusted keys."""
    trusted: bool = False
    """apt takes it unsigned. The operator's decision for this mirror, so it holds wherever the mirror is used."""

    def one_line(self) -> str:
        """As a line of sources.list."""
        options = [f"signed-by={self.signed_by}"] if self.signed_by else []
        options += ["trusted=yes"] if self.trusted else []
        bracket = f"[{' '.join(options)}] " if options else ""
        return f"deb {bracket}{self.uri} {self.suite} {' '.join(self.components)}"

    def stanza(self) -> str:
        """As a deb822 stanza of a ``.sources`` file."""
        fields = {"Types": "deb", "URIs": self.uri, "Suites": self.suite, "Components": " ".join(self.components)}
        if self.signed_by:
            fields["Signed-By"] = self.signed_by
        if self.trusted:
            fields["Trusted"] = "yes"
        return "".join(f"{key}: {value}\n" for key, value in fields.items())


DEFAULT_MAIN: Final = AptSource("http://deb.debian.org/debian", "stable", signed_by=KEYRING)
DEFAULT_SECURITY: Final = AptSource("http://deb.debian.org/debian-security", "stable-security", signed_by=KEYRING)


def read_sources(apt: Path = Path("/etc/apt")) -> list[AptSource]:
    """Every enabled binary source of the machine, in apt's reading order. Files that cannot be read count as empty."""
    found: list[AptSource] = []
    parts = apt / "sources.list.d"
    files = [apt / "sources.list", *sorted([*parts.glob("*.list"), *parts.glob("*.sources")])]
    for file in files:
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        found += parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)
    return found


def parse_one_line(text: str) -> list[AptSource]:
    """Sources of a ``.list`` file; lines that apt would refuse are skipped."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(
            r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>[^\s\[]\S*)\s+(?P<suite>\S+)(?P<components>(?:\s+[^#\s]\S*)*)\s*(?:#.*)?", line
        )
        if match:
            options = dict(item.split("=", 1) for item in (match["options"] or "").split() if "=" in item)
            components = tuple(match["components"].split())
            found.append(_source(match["uri"], match["suite"], components, options.get("signed-by", ""), options.get("trusted", "")))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """Sources of a ``.sources`` file: each stanza gives one per address and suite."""
    return [source for fields in _stanzas(text) for source in _of_stanza(fields)]


def debian_mirrors(sources: Iterable[AptSource]) -> tuple[AptSource, AptSource | None]:
    """The machine's mirror for Debian's main archive and for its security archive, with the suite as it is there.

    A machine without a Debian source (another distribution) gets Debian's own addresses. One with a main archive but no security archive
    has the latter left out: it may be unreachable from there.
    """
    debian = [source for source in sources if base_suite(source.suite) in CODENAMES and "main" in source.components]
    debian = [source for source in debian if not source.uri.startswith("cdrom:")]
    main = next((source for source in debian if source.suite in CODENAMES), None)
    security = next((source for source in debian if source.suite.endswith(("-security", "/updates"))), None)
    return (main, security) if main else (DEFAULT_MAIN, DEFAULT_SECURITY)


def for_suite(sources: Iterable[AptSource], codename: str) -> list[AptSource]:
    """Sources for a release other than the machine's, from the same addresses: main archive, its updates, security."""
    main, security = debian_mirrors(sources)
    of_main = replace(main, components=("main",))
    chosen = [replace(of_main, suite=codename), replace(of_main, suite=f"{codename}-updates")]
    return chosen + ([replace(security, suite=f"{codename}-security", components=("main",))] if security else [])


def backports(sources: Iterable[AptSource], codename: str) -> AptSource:
    """The backports archive of ``codename``, at the machine's main address."""
    main, _ = debian_mirrors(sources)
    return replace(main, suite=f"{codename}-backports", components=("main",))


def base_suite(suite: str) -> str:
    """``bookworm`` for ``bookworm-updates``."""
    for service in _SERVICES:
        suite = suite.removesuffix(service)
    return suite


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Fields of each stanza, names in lower case, continuation lines joined by newlines, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line[:1] in " \t" and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        if fields:
            yield fields


def _of_stanza(fields: Mapping[str, str]) -> Iterator[AptSource]:
    if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off") or "deb" not in fields.get("types", "").split():
        return
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            components = tuple(fields.get("components", "").split())
            yield _source(uri, suite, components, fields.get("signed-by", ""), fields.get("trusted", ""))


def _source(uri: str, suite: str, components: tuple[str, ...], signed_by: str, trusted: str) -> AptSource:
    """A key given inline cannot be passed on as a path: Debian's own keyring stands in for it."""
    keyring = signed_by if signed_by.startswith("/") and "\n" not in signed_by else KEYRING if signed_by else ""
    return AptSource(uri, suite, components, keyring, trusted.lower() == "yes")


def _codename(os_release: Path = Path("/etc/os-release")) -> str:
    match = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', os_release.read_text("utf-8"), re.MULTILINE)
    if not match:
        raise SystemExit(f"{os_release} names no Debian release")
    return match[1]


if __name__ == "__main__":
    if sys.argv[1:] != ["backports"]:
        raise SystemExit("usage: python3 -m sandboxd.apt_sources backports")
    sys.stdout.write(backports(read_sources(), _codename()).stanza())
