"""Settings layers: which one wins, and what every wrong entry is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from cove._settings import check_instance, load, load_service
from cove.exception import InvalidError


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=0, le=9)] = 1
    place: Path = Path("/default")
    maybe: Path | None = None
    names: tuple[str, ...] = ()
    on: bool = False
    state_dir: Path = Path("/unset")


class Required(msgspec.Struct, frozen=True, kw_only=True):
    secret: str


class Together(msgspec.Struct, frozen=True, kw_only=True):
    low: int = 0
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def _load(tmp_path: Path, *, toml: str = "", environ: dict[str, str] | None = None, **flags: object) -> Example:
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    return load(Example, file=file, env_prefix="COVE_X_", environ=environ or {}, flags=flags)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    toml, environ = "count = 2\non = true\nnames = ['a']", {"COVE_X_COUNT": "3", "COVE_X_NAMES": "b, c"}
    assert _load(tmp_path).count == 1
    assert _load(tmp_path, toml=toml).count == 2
    assert _load(tmp_path, toml=toml, environ=environ, count=None).count == 3
    settings = _load(tmp_path, toml=toml, environ=environ, count=4)
    assert settings == Example(count=4, on=True, names=("b", "c"))


def test_a_service_variable_beats_the_shared_one(tmp_path: Path) -> None:
    assert _load(tmp_path, environ={"COVE_STATE_DIR": "/shared"}).state_dir == Path("/shared")
    assert _load(tmp_path, environ={"COVE_STATE_DIR": "/shared", "COVE_X_STATE_DIR": "/own"}).state_dir == Path("/own")


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "said"),
    [
        ("cuont = 1", {}, {}, "Did you mean 'count'"),
        ("", {"COVE_X_CUONT": "1"}, {}, "COVE_X_CUONT"),
        ("", {}, {"cuont": 1}, "--cuont"),
        ("count = '2'", {}, {}, "key 'count'"),
        ("count = 10", {}, {}, "<= 9"),
        ("", {"COVE_X_COUNT": "many"}, {}, "COVE_X_COUNT"),
        ("", {"COVE_X_ON": "perhaps"}, {}, "COVE_X_ON"),
        ("place = 'relative/path'", {}, {}, "absolute"),
        ("", {"COVE_X_MAYBE": ""}, {}, "COVE_X_MAYBE"),
        ("[count]\nx = 1", {}, {}, "key 'count'"),
        ("count = ", {}, {}, "not valid TOML"),
    ],
)
def test_a_wrong_entry_names_its_layer_and_key(
    tmp_path: Path, toml: str, environ: dict[str, str], flags: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidError, match=r"etting|wrong value|valid TOML") as caught:
        _load(tmp_path, toml=toml, environ=environ, **flags)
    assert said in str(caught.value)


def test_no_error_repeats_the_value(tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as caught:
        _load(tmp_path, environ={"COVE_X_COUNT": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_missing_required_keys_missing_files_and_contradictions_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="secret"):
        load(Required, file=None, env_prefix="X_", environ={})
    with pytest.raises(InvalidError, match="cannot be read"):
        load(Example, file=tmp_path / "none.toml", env_prefix="X_", environ={})
    with pytest.raises(InvalidError, match="low is above high"):
        load(Together, file=None, env_prefix="X_", environ={"X_LOW": "10"})


def test_an_instance_has_directories_of_its_own_and_may_name_its_file(tmp_path: Path) -> None:
    assert load_service(Example, service="x", environ={}).state_dir == Path("/var/lib/cove")
    assert load_service(Example, service="x", environ={"COVE_INSTANCE": "t1"}).state_dir == Path("/var/lib/cove-t1")
    file = tmp_path / "x.toml"
    file.write_text("count = 7")
    assert load_service(Example, service="x", environ={"COVE_X_CONFIG": str(file)}).count == 7


@pytest.mark.parametrize("name", ["../etc", "A", "a" * 17, "-a", "a b", "a\n", "a\0"])
def test_an_instance_name_cannot_leave_its_directory(name: str) -> None:
    with pytest.raises(InvalidError):
        check_instance(name)
