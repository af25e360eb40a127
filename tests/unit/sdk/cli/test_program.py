"""The program itself: what it loads, how it ends, what it prints of errors, and how it shows times."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from cove.cli import _copy, _show
from cove.cli._run import run
from cove.exception import InvalidError
from tests.unit.sdk.cli.conftest import Cli

_LOADED = (
    "import sys, json; from cove.cli import main\ntry: main()\nexcept SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
)


@pytest.mark.parametrize("arguments", [["sandbox", "--help"], ["token", "--help"], ["shell", "--help"], ["profile", "current"]])
def test_help_loads_nothing_that_is_slow(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, *arguments], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr))
    assert "typer" in loaded
    assert not loaded & {"grpc", "rich", "asyncio", "aiohttp", "google.protobuf", "importlib.metadata"}


def test_help_of_everything_loads_no_client() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, "--help"], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stderr.splitlines()[-1])) & {"grpc", "rich", "aiohttp", "google.protobuf"}
    for noun in ("token", "profile", "config", "sandbox", "shell"):
        assert noun in done.stdout


def test_closed_standard_streams_are_not_taken_by_files() -> None:
    """Else the first socket would become standard input and be read as such."""
    show = "import os; from cove.cli import main\ntry: main()\nexcept SystemExit: os.write(1, os.readlink('/proc/self/fd/0').encode())"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", show, "profile", "current"], capture_output=True, check=True
    )
    assert done.stdout.endswith(os.devnull.encode())


def test_the_first_of_several_errors_is_told() -> None:
    async def fail() -> None:
        raise InvalidError("first")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(asyncio.Event().wait())

    with pytest.raises(InvalidError, match="first"):
        run(work())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_in_order(number: signal.Signals) -> None:
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may ignore it
    try:
        with pytest.raises(typer.Exit) as end:
            run(work())
        assert end.value.exit_code == 128 + number
        assert cleaned
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_nohup_ignores_stays_ignored() -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(work()) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_is_130_without_a_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("cove.cli.profile.active_profile", interrupted)
    result = cli("profile", "current")
    assert (result.exit_code, result.out, result.err) == (130, "", "")


def test_a_bug_is_called_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("cove.cli.profile.active_profile", broken)
    result = cli("profile", "current")
    assert result.exit_code == 1
    assert "bug" in result.err
    assert "Traceback" not in result.err


def test_a_file_error_is_none(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/nope")

    monkeypatch.setattr("cove.cli.profile.active_profile", missing)
    result = cli("profile", "current")
    assert (result.exit_code, result.err) == (1, "Error: /nope: No such file or directory\n")


@pytest.fixture
def cli(run: Cli) -> Cli:
    return run


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (3_661, "1h 1m"), (86_401, "1d 1s"), (200_000, "2d 7h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert _show.duration(seconds) == text


def test_times_from_a_clock_that_is_ahead_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 100.0)
    assert (_show.ago(0), _show.ago(130.0), _show.ago(40.0)) == ("-", "0s ago", "1m ago")
    assert (_show.ahead(0), _show.ahead(40.0), _show.ahead(160.0)) == ("-", "-", "in 1m")


@pytest.mark.parametrize("text", ["/a:b", "./a:b", "../a:b", "a", "a/b", "C", "-"])
def test_local_paths(text: str) -> None:
    assert _copy.parse(text) is None


@pytest.mark.parametrize(
    ("text", "reference", "path"),
    [("web:/a", "web", "/a"), ("app/web:/a:b", "app/web", "/a:b"), ("sb-1:a", "sb-1", "a"), ("web:a:b", "web", "a:b")],
)
def test_remote_paths(text: str, reference: str, path: str) -> None:
    assert _copy.parse(text) == (reference, path)
