"""What of the machine's package settings reaches the steps of a build, and above all what does not."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from sandboxd import apt_sources, build_settings
from sandboxd.apt_sources import AptSource
from sandboxd.build_settings import BuildSettings, apt_configuration, collect, npm_configuration, pip_configuration

SECRET = "pa55word"

SECRETIVE = (
    f"https://user:{SECRET}@index.example/simple",
    f"https://{SECRET}@index.example/simple",
    f"HTTPS://user:{SECRET}@index.example",
    f"//user:{SECRET}@index.example/simple",
    f"user:{SECRET}@proxy.example:3128",
    f"http://user:{SECRET}/with-slash@proxy.example:3128",
    f"http://user:{SECRET}@[::1:3128",
    f"https://user:@{SECRET}@index.example",
)
"""Addresses with credentials in every form that pip, curl or apt takes, and some that only a hasty parser would."""

OWN_FILES = ("file:///opt/simple", "FILE:/opt/simple", "/opt/simple", "file:simple")


def pip_options(listed: str) -> dict[str, str]:
    """As pip would read them."""
    parser = configparser.RawConfigParser()
    parser.read_string(pip_configuration(listed))
    return dict(parser["global"])


def test_pip_options_that_a_sandbox_can_use() -> None:
    listed = (
        "global.index-url='https://index.example/simple'\n"
        "global.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/100%/simple'\n"
        ":env:.default-timeout='180'\n"
        "install.trusted-host='index.example'\n"
        "global.cert='/etc/ssl/certs/ca-certificates.crt'\n"
        "global.find-links='https://wheels.example'\n"
    )
    assert pip_options(listed) == {
        "index-url": "https://index.example/simple",
        "extra-index-url": "https://one.example/simple https://two.example/100%/simple",
        "timeout": "180",
        "trusted-host": "index.example",
    }


@pytest.mark.parametrize("address", [*SECRETIVE, *OWN_FILES])
def test_pip_addresses_with_credentials_and_own_files_are_left_out(address: str) -> None:
    assert pip_options(f"global.index-url='{address}'\nglobal.proxy='{address}'\n") == {}
    several = f"global.extra-index-url='https://one.example {address}\\nhttps://two.example'\n"
    assert pip_options(several) == {"extra-index-url": "https://one.example https://two.example"}


@pytest.mark.parametrize("listed", ["", "\n\n", "=", "WARNING: something\n", "global.index-url=\n", "global.index-url='[\n'", "\x00=\x00"])
def test_anything_may_come_from_pip(listed: str) -> None:
    assert pip_configuration(listed).startswith("[global]\n")
    assert "\x00" not in pip_configuration(listed)


@pytest.mark.parametrize("address", [*SECRETIVE, *OWN_FILES, "undefined", "", "http://one.example\n//one.example/:_authToken=x"])
def test_npm_registries_that_are_left_out(address: str) -> None:
    assert npm_configuration(address + "\n") == ""


def test_npm_registry() -> None:
    assert npm_configuration("https://npm.example/\n") == "registry=https://npm.example/\n"


def test_apt_options_without_credentials_and_own_files() -> None:
    dumped = (
        f'Acquire::http::Proxy "http://user:{SECRET}@proxy.example:3128/";\n'
        'Acquire::https::Proxy "http://proxy.example:3128/";\n'
        'Acquire::Retries "3";\n'
        'Acquire::https::CaInfo "/etc/ssl/own.crt";\n'
        'Dir::Cache "var/cache/apt";\n'
    )
    kept = apt_configuration(dumped)
    assert SECRET not in kept
    assert "own.crt" not in kept
    assert 'Acquire::https::Proxy "http://proxy.example:3128/";' in kept
    assert "Dir::" not in kept


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What programs say on this machine, by their first word; to be changed."""
    said: dict[str, str] = {}

    async def say(*argv: str) -> str:
        return said.get(argv[0] if argv[0] in ("npm", "apt-config") else "pip", "")

    monkeypatch.setattr(build_settings, "_said", say)
    monkeypatch.setattr(apt_sources, "read_sources", lambda: [AptSource("http://mirror.example/debian", "bookworm")])
    return said


def everything(settings: BuildSettings) -> str:
    """All that a sandbox sees of them."""
    files = "\n".join(f"{path}\n{path.read_text()}" for path in settings.directory.rglob("*") if path.is_file())
    return files + "\n".join(f"{name}={value}" for name, value in settings.env.items())


async def collected(tmp_path: Path, environ: Mapping[str, str]) -> BuildSettings:
    return await collect(tmp_path / "settings", environ)


@pytest.mark.parametrize("address", SECRETIVE)
async def test_no_credentials_come_through(tmp_path: Path, machine: dict[str, str], monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    machine["pip"] = f"global.index-url='{address}'\n:env:.proxy='{address}'\n"
    machine["npm"] = address
    machine["apt-config"] = f'Acquire::http::Proxy "{address}";\n'
    monkeypatch.setattr(apt_sources, "read_sources", lambda: [AptSource(address, "bookworm"), AptSource(address, "bookworm-security")])
    names = ("http_proxy", "HTTPS_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "PIP_PROXY")
    environ = dict.fromkeys(names, address) | {"AWS_SECRET_ACCESS_KEY": SECRET, "PIP_PASSWORD": SECRET, "NPM_TOKEN": SECRET}
    environ["PIP_EXTRA_INDEX_URL"] = f"https://public.example/simple {address}"
    settings = await collected(tmp_path, environ)
    seen = everything(settings)
    assert SECRET not in seen
    assert settings.env["PIP_EXTRA_INDEX_URL"] == "https://public.example/simple"
    assert "http_proxy" not in settings.env
    assert "deb.debian.org" in (settings.layer("bookworm") / "etc/apt/sources.list.d/debian.sources").read_text()


async def test_certificates_are_those_of_the_first_variable_that_leads_to_a_file(tmp_path: Path, machine: dict[str, str]) -> None:
    bundle = tmp_path / "own.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    environ = {"SSL_CERT_FILE": str(tmp_path / "missing"), "REQUESTS_CA_BUNDLE": str(bundle), "PIP_CERT": "/dev/null"}
    settings = await collected(tmp_path, environ)
    inside = settings.env["SSL_CERT_FILE"]
    assert inside == settings.env["PIP_CERT"] == settings.env["NODE_EXTRA_CA_CERTS"]
    for codename in ("bookworm", "something else", ""):
        layer = settings.layer(codename)
        assert (layer / inside.lstrip("/")).read_text() == bundle.read_text()
        assert f'CaInfo "{inside}"' in (layer / "etc/apt/apt.conf.d/90cove-build").read_text()
    assert str(bundle) not in everything(settings)


async def test_what_is_there_from_last_time_goes(tmp_path: Path, machine: dict[str, str]) -> None:
    machine["npm"] = "https://npm.example/"
    settings = await collected(tmp_path, {})
    assert "npm.example" in everything(settings)
    stale = settings.layer("") / "stale"
    stale.touch()
    machine["npm"] = ""
    assert "npm.example" not in everything(await collected(tmp_path, {}))
    assert not stale.exists()


async def test_readable_by_every_user_of_a_sandbox_whatever_our_umask(tmp_path: Path, machine: dict[str, str]) -> None:
    before = os.umask(0o077)
    try:
        settings = await collected(tmp_path, {})
    finally:
        os.umask(before)
    for path in settings.layer("bookworm").rglob("*"):
        assert path.stat().st_mode & 0o005 == (0o005 if path.is_dir() else 0o004), path
    assert settings.layer("bookworm").stat().st_mode & 0o777 == 0o755


async def test_a_machine_without_any_of_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = await collected(tmp_path, {})
    assert settings.env["PIP_CONFIG_FILE"].endswith("pip.conf")
    assert all(layer.is_dir() for layer in map(settings.layer, ("bookworm", "trixie", "")))
