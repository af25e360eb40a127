"""Settings and profiles: who wins, what is refused, what is written."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import cove
from cove import config as config_module
from cove._async.client import _server
from cove.config import SETTINGS, Config, config, config_profiles, config_set_active_profile, config_store_profile
from cove.exception import AuthError, InvalidError

FILE = """
[work]
server_url = "work:1"
token_id = "ak-work"
token_secret = "as-work"
loglevel = "debug"
active = true

[home]
server_url = "home:1"
reconnect_s = 5
async_warnings = "false"
"""


@pytest.fixture
def file(no_configuration: Path) -> Path:
    no_configuration.parent.mkdir()
    no_configuration.write_text(FILE)
    return no_configuration


def test_without_anything_there_are_defaults() -> None:
    assert config.to_dict() == {name: setting.default for name, setting in SETTINGS.items()}
    assert config_profiles() == []
    assert config_module._profile == "default"


def test_environment_over_file_over_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (config["server_url"], config["loglevel"], config["reconnect_s"]) == ("work:1", "DEBUG", 30.0)
    monkeypatch.setenv("COVE_SERVER_URL", "environment:1")
    assert config["server_url"] == "environment:1"
    assert config.get("server_url", use_env=False) == "work:1"
    assert config.get("server_url", profile="home", use_env=False) == "home:1"
    assert config.get("server_url", profile="absent", use_env=False) is None


def test_the_profile_is_chosen_by_the_environment_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_module._profile == "work"
    monkeypatch.setenv("COVE_PROFILE", "home")
    assert config_module._profile == "home"
    assert (config["server_url"], config["reconnect_s"], config["async_warnings"]) == ("home:1", 5.0, False)


@pytest.mark.parametrize(
    ("content", "profile"),
    [('[only]\nserver_url = "x"', "only"), ("[a]\n[b]", "default"), ("[a]\nactive = false\n[b]\nactive = 1", "b"), ("", "default")],
)
def test_which_profile_is_active(file: Path, content: str, profile: str) -> None:
    file.write_text(content)
    assert config_module._profile == profile


def test_two_active_profiles_are_an_error(file: Path) -> None:
    file.write_text("[a]\nactive = true\n[b]\nactive = true")
    with pytest.raises(InvalidError, match="a, b"):
        config.get("server_url")


@pytest.mark.parametrize("value", ["0", "false", "False", "no", ""])
def test_what_counts_as_false(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("COVE_FORCE_BUILD", value)
    assert config["force_build"] is False
    monkeypatch.setenv("COVE_FORCE_BUILD", "1")
    assert config["force_build"] is True


@pytest.mark.parametrize(("name", "value"), [("LOGLEVEL", "LOUD"), ("RECONNECT_S", "soon"), ("RECONNECT_S", "-1"), ("RECONNECT_S", "inf")])
def test_values_that_make_no_sense_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"COVE_{name}", value)
    with pytest.raises(InvalidError, match=f"COVE_{name}") as caught:
        config.get(name.lower())
    assert value not in str(caught.value)


def test_unknown_settings_are_refused(file: Path) -> None:
    with pytest.raises(InvalidError, match="sever_url"):
        config["sever_url"]
    file.write_text('[a]\nsever_url = "x"')
    with pytest.raises(InvalidError, match="sever_url"):
        config.get("server_url")


@pytest.mark.parametrize("content", ["not toml", "x = 1", "[a]\nx = [1]", "[a.b]\nc = 1", "\xff"])
def test_a_broken_file_is_named(file: Path, content: str) -> None:
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidError, match=str(file)):
        config.get("server_url")


def test_the_file_is_read_again_when_it_changes(file: Path) -> None:
    assert config["server_url"] == "work:1"
    file.write_text(FILE.replace("work:1", "elsewhere:12345"))
    assert config["server_url"] == "elsewhere:12345"
    file.unlink()
    assert config["server_url"] is None


def test_override_locally_sets_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVE_SERVER_URL", "x:1")  # so that the change is undone
    before = file.read_text()
    Config().override_locally("server_url", "override:1")
    assert config["server_url"] == "override:1"
    assert file.read_text() == before
    with pytest.raises(InvalidError):
        config.override_locally("nonsense", "x")


def test_activating_a_profile(file: Path) -> None:
    config_set_active_profile("home")
    assert config_module._profile == "home"
    assert config.get("token_secret", profile="work") == "as-work"
    assert config_profiles() == ["work", "home"]
    with pytest.raises(InvalidError, match="work, home"):
        config_set_active_profile("absent")


def test_storing_a_profile_makes_a_private_file(no_configuration: Path) -> None:
    no_configuration.parent.mkdir()
    config_store_profile("new", {"server_url": "new:1", "token_secret": 'quote " back \\ line \n', "async_warnings": True})
    assert stat.S_IMODE(no_configuration.stat().st_mode) == 0o600
    assert (config_module._profile, config["token_secret"], config["async_warnings"]) == ("new", 'quote " back \\ line \n', True)
    config_store_profile("new", {"server_url": "newer:1", "async_warnings": None})
    assert (config["server_url"], config["token_secret"], config["async_warnings"]) == ("newer:1", 'quote " back \\ line \n', False)
    config_store_profile("other", {"server_url": "other:1"}, activate=False)
    assert config_module._profile == "new"
    with pytest.raises(InvalidError):
        config_store_profile("new", {"nonsense": "x"})


def test_a_link_to_the_file_stays_a_link(no_configuration: Path, tmp_path: Path) -> None:
    no_configuration.parent.mkdir()
    real = tmp_path / "dotfiles.toml"
    real.touch()
    no_configuration.symlink_to(real)
    config_store_profile("new", {"server_url": "new:1"})
    assert no_configuration.is_symlink()
    assert "new:1" in real.read_text()


def test_without_credentials_the_remedy_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVE_PROFILE", "home")
    with pytest.raises(AuthError, match="token_id") as caught:
        cove.App.lookup("app")
    assert "cove up" in caught.value.remedy
    assert "cove token new" in caught.value.remedy
    monkeypatch.setenv("COVE_PROFILE", "absent")
    with pytest.raises(AuthError, match="server_url"):
        cove.App.lookup("app")


def test_the_secret_is_not_shown(file: Path) -> None:
    server: Any = _server("ak-1", "as-very-secret")
    assert "as-very-secret" not in repr(server)
