"""apt's source lists in the forms that machines have them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandboxd.apt_sources import (
    DEFAULT_MAIN,
    KEYRING,
    AptSource,
    backports,
    debian_mirrors,
    for_suite,
    parse_deb822,
    parse_one_line,
    read_sources,
)

DEB822 = """\
# main archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xsFNBF
"""


def test_deb822_stanzas_give_one_source_for_each_suite() -> None:
    sources = parse_deb822(DEB822)
    assert [(source.uri, source.suite) for source in sources] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://mirror.example/security", "bookworm-security"),
    ]
    assert sources[0].components == ("main", "contrib")
    assert sources[2].signed_by == KEYRING, "a key given inline has no path: Debian's keyring stands in"


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("deb http://m/debian bookworm main", AptSource("http://m/debian", "bookworm")),
        ("  deb  http://m/debian/  bookworm  main contrib # note", AptSource("http://m/debian/", "bookworm", ("main", "contrib"))),
        ("deb [arch=amd64 signed-by=/k.gpg] http://m/debian sid main", AptSource("http://m/debian", "sid", signed_by="/k.gpg")),
        ("deb [ trusted=yes ] http://m/debian sid main", AptSource("http://m/debian", "sid", trusted=True)),
        ("deb http://m/flat ./", AptSource("http://m/flat", "./", ())),
        ("deb-src http://m/debian bookworm main", None),
        ("# deb http://m/debian bookworm main", None),
        ("deb http://m/debian", None),
        ("deb [unclosed http://m/debian bookworm main", None),
        ("", None),
    ],
)
def test_one_line_entries(line: str, source: AptSource | None) -> None:
    assert parse_one_line(line) == ([source] if source else [])


def test_other_releases_come_from_the_same_addresses_with_the_same_trust() -> None:
    sources = [
        AptSource("http://other.example/ubuntu", "jammy"),
        AptSource("cdrom:[Debian]/", "bookworm"),
        AptSource("http://m/debian", "bookworm-updates"),
        AptSource("http://m/debian", "bookworm", ("main", "contrib"), signed_by="/k.gpg", trusted=True),
        AptSource("http://m/security", "bookworm-security", signed_by="/s.gpg"),
    ]
    assert for_suite(sources, "trixie") == [
        AptSource("http://m/debian", "trixie", signed_by="/k.gpg", trusted=True),
        AptSource("http://m/debian", "trixie-updates", signed_by="/k.gpg", trusted=True),
        AptSource("http://m/security", "trixie-security", signed_by="/s.gpg"),
    ]
    assert backports(sources, "bookworm") == AptSource("http://m/debian", "bookworm-backports", signed_by="/k.gpg", trusted=True)


def test_without_a_security_archive_none_is_invented() -> None:
    assert debian_mirrors([AptSource("http://m/debian", "stable")])[1] is None


def test_another_distribution_gets_debians_own_addresses() -> None:
    main, security = debian_mirrors([AptSource("http://m/ubuntu", "jammy"), AptSource("http://m/ubuntu", "jammy-security")])
    assert main == DEFAULT_MAIN
    assert security is not None


def test_both_forms_survive_writing_and_reading() -> None:
    source = AptSource("http://m/debian", "bookworm", ("main", "contrib"), signed_by="/k.gpg", trusted=True)
    assert parse_one_line(source.one_line()) == parse_deb822(source.stanza()) == [source]


def test_sources_are_read_in_apts_order_and_missing_files_are_none(tmp_path: Path) -> None:
    assert read_sources(tmp_path) == []
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first/debian bookworm main\n")
    (parts / "b.list").write_text("deb http://second/debian bookworm main\n")
    (parts / "c.sources").write_bytes(b"Types: deb\nURIs: http://third/debian\nSuites: bookworm\nComponents: main\nX-Note: \xff\n")
    (parts / "d.sources.disabled").write_text("deb http://never/debian bookworm main\n")
    assert [source.uri for source in read_sources(tmp_path)] == ["http://first/debian", "http://second/debian", "http://third/debian"]


def test_the_installer_can_run_it_before_anything_is_installed() -> None:
    """``python3 -S`` has no site-packages, so an import beyond the standard library fails here."""
    argv = [sys.executable, "-S", "-m", "sandboxd.apt_sources", "backports"]
    done = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert "-backports" in done.stdout and done.stdout.startswith("Types: deb\n")
