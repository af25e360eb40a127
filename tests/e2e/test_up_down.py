"""``cove up``, ``status`` and ``down`` as a user types them, on an instance of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandboxd import kernel
from tests.support.leak_guard import watch_instance

COVE = Path(sys.executable).with_name("cove")
MAKE_SANDBOX = """
import cove
image = cove.Image.debian_slim().add_local_file("/etc/os-release", "/uploaded")  # to where the router says: no setting names it
sandbox = cove.Sandbox.create("sleep", "600", app=cove.App.lookup("up", create_if_missing=True), image=image, block_network=True)
assert sandbox.exec("test", "-s", "/uploaded").wait() == 0
print(sandbox.object_id)
"""
LOOK = "import cove, sys; print(cove.Sandbox.from_id(sys.argv[1]).poll())"


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """An instance on ports of its own, gone afterwards whatever happened."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVE_")}
    environ = {
        **inherited,
        "COVE_INSTANCE": f"tup{os.getpid()}",
        "COVE_STATE_DIR": str(tmp_path / "state"),
        "COVE_RUN_DIR": str(tmp_path / "run"),
        "COVE_CONFIG_PATH": str(tmp_path / "cove.toml"),
        "COVE_NODE_NETWORK_POOL": f"10.{240 + int(number)}.0.0/16",
        "COVE_NODE_POOL_BYTES": str(2 * 2**30),
        "COVE_ROUTER_GRPC_ADDRESS": "127.0.0.1:0",
        "COVE_ROUTER_HTTP_ADDRESS": "127.0.0.1:0",
        "COVE_NODE_GRPC_ADDRESS": "127.0.0.1:0",
        "COVE_NODE_HTTP_ADDRESS": "127.0.0.1:0",
    }
    watch_instance(f"cove-{environ['COVE_INSTANCE']}")
    yield environ
    _cove(environ, "down")


def _cove(environ: Mapping[str, str], *arguments: str, code: int = 0) -> str:
    """Output of a ``cove`` command that must end with ``code``."""
    done = subprocess.run([COVE, *arguments], env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _status(environ: Mapping[str, str], code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_cove(environ, "status", "--json", code=code))
    return found


def _python(environ: Mapping[str, str], source: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", source, *arguments], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_up_and_down_twice_with_a_sandbox_that_lives_through_a_restart(environ: Mapping[str, str], tmp_path: Path) -> None:
    said = _cove(environ, "up")
    assert "router started" in said and "node started" in said and "profile" in said
    first = _status(environ)
    assert first["up"] and [node["state"] for node in first["nodes"]] == ["healthy"]

    said = _cove(environ, "up")
    assert "router is already up" in said and "node is already up" in said and "written" not in said
    assert _status(environ)["node_pid"] == first["node_pid"]

    sandbox_id = _python(environ, MAKE_SANDBOX)
    _cove(environ, "down", "--keep-sandboxes")
    stopped = _status(environ, code=1)
    assert (stopped["up"], stopped["router_pid"], stopped["node_pid"]) == (False, None, None)

    _cove(environ, "up")
    assert _python(environ, LOOK, sandbox_id) == "None", "the sandbox went on"
    _cove(environ, "down", "--keep-sandboxes")
    assert "left running" in _cove(environ, "down"), "a node must be there to end them"
    assert [entry.path for entry in kernel.mounts() if entry.path.is_relative_to(tmp_path)] == []
    assert not (tmp_path / "run").exists()
    assert "was not running" in _cove(environ, "down")


def test_the_token_that_up_made_is_made_anew_once_it_is_revoked(environ: Mapping[str, str], tmp_path: Path) -> None:
    _cove(environ, "up")
    profiles = tmp_path / "cove.toml"
    before = profiles.read_text()
    profiles.write_text(before.replace('token_secret = "as-', 'token_secret = "as-Wrong'))
    assert "no longer good" in _cove(environ, "up")
    assert profiles.read_text() != before
    assert _python(environ, "import cove; print(cove.App.lookup('a', create_if_missing=True).app_id[:3])") == "ap-"


def test_a_node_that_cannot_start_is_explained_and_nothing_keeps_running(environ: Mapping[str, str]) -> None:
    broken = {**environ, "COVE_NODE_RUNSC_PATH": "/nowhere/runsc"}
    said = _cove(broken, "up", code=1)
    assert "The node did not come up" in said and "/nowhere/runsc" in said and "Traceback" not in said
    found = _status(environ, code=1)
    assert (found["router_pid"], found["node_pid"]) == (None, None)


def test_a_wrong_setting_is_named(environ: Mapping[str, str]) -> None:
    assert "COVE_NODE_MAX_SANDBOXS" in _cove({**environ, "COVE_NODE_MAX_SANDBOXS": "1"}, "up", code=2)
