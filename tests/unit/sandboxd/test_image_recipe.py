"""Recipes, ids and command lines of base images."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cove.exception import InvalidError
from cove.types import is_id
from sandboxd.apt_sources import AptSource, parse_deb822
from sandboxd.base_image import debian_recipe
from sandboxd.image_recipe import Recipe, debootstrap_argv, image_id, machine_options, public_sources

RECIPE = Recipe(codename="bookworm", python="3.11", hooks="#!/bin/sh\n")


@pytest.mark.parametrize(
    "change",
    [{"codename": "trixie"}, {"packages": ("python3",)}, {"variant": "apt"}, {"env": {"PATH": "/bin"}}, {"hooks": "#!/bin/sh\ntrue\n"}],
)
def test_every_change_of_content_is_another_image(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(RECIPE, **change)
    assert changed.digest() != RECIPE.digest()
    assert changed.name != RECIPE.name


def test_the_same_recipe_is_the_same_image_whatever_the_mirror() -> None:
    assert Recipe(codename="bookworm", python="3.11", hooks="#!/bin/sh\n").digest() == RECIPE.digest()


def test_image_ids_have_the_form_of_ids_and_differ() -> None:
    ids = {image_id(f"{number:064x}") for number in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(text, "im") for text in ids)
    assert is_id(image_id("f" * 64), "im")


def test_the_machines_options_go_first_because_later_hooks_download() -> None:
    argv = debootstrap_argv(RECIPE, Path("/target"), [AptSource("http://m/debian", "bookworm")], Path("/hooks"))
    hooks = [option.split("=")[0] for option in argv if "hook" in option.split("=")[0]]
    assert hooks == ["--setup-hook", "--hook-dir", "--customize-hook"]
    assert argv[-3:] == ["bookworm", "/target", "deb http://m/debian bookworm main"]


def test_of_apts_configuration_only_what_reaches_the_mirror_is_passed_on() -> None:
    dump = """\
APT::Architecture "amd64";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::mirror.example::CaInfo "/etc/ssl/own.pem";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::Languages:: "none";
Dir::Etc "etc/apt";
DPkg::Post-Invoke:: "rm -rf /";
"""
    kept = machine_options(dump).splitlines()
    assert [line.split()[0] for line in kept] == [
        "Acquire::http::Proxy",
        "Acquire::https::mirror.example::CaInfo",
        "Acquire::Check-Valid-Until",
        "Acquire::Retries",
        "APT::Sandbox::User",
    ]


def test_an_image_names_debians_public_archive_only() -> None:
    sources = parse_deb822(public_sources("trixie"))
    assert {source.uri for source in sources} == {"http://deb.debian.org/debian", "http://deb.debian.org/debian-security"}
    assert [source.suite for source in sources] == ["trixie", "trixie-updates", "trixie-security"]


@pytest.mark.parametrize("python", ["3.12", "2.7", "", "3.11; rm -rf /", "x" * 10_000])
def test_a_python_that_debian_lacks_is_refused_with_the_choice(python: str) -> None:
    with pytest.raises(InvalidError, match=r"3\.11, 3\.13") as caught:
        debian_recipe(python)
    assert len(str(caught.value)) < 200
