"""Secrets from dicts, from the environment and from .env files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cove
from cove import _dotenv
from cove._async.secret import _Secret
from cove.exception import InvalidError, NotFoundError

ENV = r"""
# a comment
PLAIN=value with spaces   # not part of it
export EXPORTED=yes
EMPTY=
SINGLE='literal \n $PLAIN # no comment'
DOUBLE="line\nnext \"quoted\" \\ back"   # comment
MULTI="first
second"
HASH=a#b
  INDENTED = spaced
PLAIN2="x"
PLAIN2=later wins
"""


def test_dotenv() -> None:
    assert _dotenv.parse(ENV, source="x") == {
        "PLAIN": "value with spaces",
        "EXPORTED": "yes",
        "EMPTY": "",
        "SINGLE": r"literal \n $PLAIN # no comment",
        "DOUBLE": 'line\nnext "quoted" \\ back',
        "MULTI": "first\nsecond",
        "HASH": "a#b",
        "INDENTED": "spaced",
        "PLAIN2": "later wins",
    }


@pytest.mark.parametrize("line", ["no assignment", "1A=x", 'OPEN="never closed', "=x", "A B=x"])
def test_lines_that_are_no_assignments_are_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(InvalidError, match=r"Line 2 of here") as caught:
        _dotenv.parse(f"GOOD=1\n{line}\n", source="here")
    assert line not in str(caught.value)


@given(text=st.text(alphabet="A='\"\\\n# x", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidError):
        _dotenv.parse(text, source="x")


def test_from_dict() -> None:
    assert _Secret.from_dict({"A": "1", "GONE": None}).variables == {"A": "1"}
    assert _Secret.from_dict().variables == {}
    with pytest.raises(InvalidError):
        _Secret.from_dict({"A": 1})  # type: ignore[dict-item]  # that is the point


def test_from_local_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "x")
    monkeypatch.delenv("ABSENT", raising=False)
    assert _Secret.from_local_environ(["HERE"]).variables == {"HERE": "x"}
    with pytest.raises(InvalidError, match="ABSENT"):
        _Secret.from_local_environ(["HERE", "ABSENT"])


def test_from_dotenv_looks_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".env").write_text("WHERE=top")
    (tmp_path / ".env-dev").write_text("WHERE=dev")
    script = inner / "script.py"
    script.touch()
    assert _Secret.from_dotenv(script).variables == {"WHERE": "top"}
    assert _Secret.from_dotenv(str(inner), filename=".env-dev").variables == {"WHERE": "dev"}
    (tmp_path / "a" / ".env").write_text("WHERE=nearer")
    monkeypatch.chdir(inner)
    assert _Secret.from_dotenv().variables == {"WHERE": "nearer"}
    with pytest.raises(NotFoundError):
        _Secret.from_dotenv(inner, filename=".env-absent")


def test_values_are_not_shown() -> None:
    assert "hunter2" not in repr(cove.Secret.from_dict({"PASSWORD": "hunter2"}))
