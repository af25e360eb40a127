"""What status finds where nothing runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from sandboxd.local.installation import BOOTSTRAP_TOKEN, find
from sandboxd.local.status import find_status


async def test_a_router_that_is_down_is_told_in_words(tmp_path: Path) -> None:
    with socket.socket() as silent:  # bound, and nobody listens
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        environ = {"COVE_STATE_DIR": str(tmp_path), "COVE_RUN_DIR": str(tmp_path / "run"), "COVE_ROUTER_GRPC_ADDRESS": address}
        (tmp_path / "router").mkdir()
        (tmp_path / "router" / BOOTSTRAP_TOKEN).write_text(json.dumps({"token_id": "ak-x", "token_secret": "as-x"}))
        found = await find_status(find(environ=environ))
    assert (found.up, found.router_pid, found.node_pid) == (False, None, None)
    assert found.problem == f"No router answers at {address}. `cove up` starts one."


async def test_before_the_first_start_it_says_so(tmp_path: Path) -> None:
    found = await find_status(find(environ={"COVE_STATE_DIR": str(tmp_path), "COVE_RUN_DIR": str(tmp_path / "run")}))
    assert not found.up and "is cove up?" in found.problem
