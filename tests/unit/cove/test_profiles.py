"""The file of profiles: what is written is read back, by its owner alone, and nothing else is taken for profiles."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cove import _profiles
from cove.exception import InvalidError

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_VALUE = st.one_of(_TEXT, st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False))


@given(profiles=st.dictionaries(_TEXT, st.dictionaries(_TEXT, _VALUE, max_size=4), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_names_and_values_survive(tmp_path: Path, profiles: dict[str, _profiles.Profile]) -> None:
    path = tmp_path / "profiles.toml"
    _profiles.write(path, profiles)
    assert _profiles.read(path) == profiles


def test_only_the_owner_may_read_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / ".cove.toml"
    path.write_text("")
    path.chmod(0o644)
    _profiles.write(path, {"local": {"token_secret": "s"}})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_is_no_profile(tmp_path: Path) -> None:
    assert _profiles.read(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "content", [b"[x", b"\xff\xfe", b"key = 1\n", b"[a]\nlist = [1]\n", b"[a.b]\nc = 1\n", b"[a]\nd = 2020-01-01\n", b"#" * (2**20 + 1)]
)
def test_what_is_no_file_of_profiles_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profiles.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidError, match=r"profiles\.toml"):
        _profiles.read(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot be written"):
        _profiles.write(tmp_path / "missing" / "profiles.toml", {})
