"""``cove profile`` and ``cove config``: the file of profiles is what they show and change."""

from __future__ import annotations

from pathlib import Path

import pytest

from cove import _profiles
from tests.unit.sdk.cli.conftest import Cli

TWO: dict[str, _profiles.Profile] = {
    "one": {"server_url": "a:1", "token_secret": "as-hidden"},
    "two": {"server_url": "b:2", "active": True},
}


def test_without_a_file_the_list_is_empty_and_says_how_to_begin(run: Cli) -> None:
    result = run("profile", "list")
    assert (result.exit_code, result.out) == (0, "")
    assert "cove up" in result.err
    assert run("profile", "list", "--json").json == []


def test_list_shows_no_secret(run: Cli, profiles: Path) -> None:
    _profiles.write(profiles, TWO)
    assert "as-hidden" not in run("profile", "list").out
    assert run("profile", "list", "--json").json == [
        {"name": "one", "active": False, "server_url": "a:1", "token_id": None, "environment": None},
        {"name": "two", "active": True, "server_url": "b:2", "token_id": None, "environment": None},
    ]


def test_the_environment_variable_chooses_the_profile_in_use(run: Cli, profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _profiles.write(profiles, TWO)
    assert run("profile", "current").out == "two\n"
    monkeypatch.setenv("COVE_PROFILE", "one")
    assert run("profile", "current").out == "one\n"
    assert [profile["active"] for profile in run("profile", "list", "--json").json] == [True, False]


def test_activate_leaves_one_active(run: Cli, profiles: Path) -> None:
    _profiles.write(profiles, TWO)
    assert run("profile", "activate", "one").exit_code == 0
    assert [values.get("active") for values in _profiles.read(profiles).values()] == [True, None]


def test_activating_an_unknown_profile_changes_nothing(run: Cli, profiles: Path) -> None:
    _profiles.write(profiles, TWO)
    before = profiles.read_bytes()
    result = run("profile", "activate", "three")
    assert result.exit_code == 2
    assert "one, two" in result.err
    assert profiles.read_bytes() == before


def test_a_file_that_is_not_toml_is_a_short_error(run: Cli, profiles: Path) -> None:
    profiles.write_text("][")
    result = run("profile", "current")
    assert result.exit_code == 2
    assert "not valid TOML" in result.err
    assert "Traceback" not in result.err


def test_config_show_is_json_and_hides_the_secret_unless_told_not_to(run: Cli, profiles: Path) -> None:
    _profiles.write(profiles, {"one": TWO["one"]})
    shown = run("config", "show")
    assert "as-hidden" not in shown.out
    assert shown.json["server_url"] == "a:1"
    assert run("config", "show", "--no-redact").json["token_secret"] == "as-hidden"


def test_config_show_does_not_invent_a_secret(run: Cli) -> None:
    assert run("config", "show").json["token_secret"] is None


def test_set_environment_writes_to_the_active_profile_and_does_not_activate(
    run: Cli, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _profiles.write(profiles, TWO)
    monkeypatch.setenv("COVE_PROFILE", "one")
    assert run("config", "set-environment", "dev").exit_code == 0
    found = _profiles.read(profiles)
    assert found["one"]["environment"] == "dev"
    assert found["two"]["active"] is True
    assert "active" not in found["one"]


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../up"])
def test_an_environment_with_a_wrong_name_is_refused(run: Cli, profiles: Path, name: str) -> None:
    assert run("config", "set-environment", name).exit_code == 2
    assert not profiles.exists()
