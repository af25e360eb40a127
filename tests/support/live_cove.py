"""A real cove beside others on this machine: router and node daemon as processes, on real runsc. Everything it makes goes with it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

READY_S: Final = 30.0
STOP_S: Final = 20.0
POOLS: Final = range(100, 200)
"""Of 10.0.0.0/8, the networks that instances choose from."""

PROJECT: Final = Path(__file__).parents[2]


class LiveCove:
    """One instance. Its network is one of a hundred, so that instances of parallel runs hardly ever share one."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.instance = f"t{secrets.token_hex(3)}"
        self.router_port, self.router_http_port, self.node_port, self.node_http_port = _free_ports(4)
        self._settings = settings
        self.network = f"10.{secrets.choice(POOLS)}.0.0/16"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environ(self) -> dict[str, str]:
        """What daemons, command line and SDK of this instance need in their environment."""
        return {
            **os.environ,
            "COVE_INSTANCE": self.instance,
            "COVE_STATE_DIR": str(self.directory / "state"),
            "COVE_RUN_DIR": str(self.directory / "run"),
            "COVE_CONFIG_PATH": str(self.directory / "cove.toml"),
            "COVE_ROUTER_GRPC_ADDRESS": f"127.0.0.1:{self.router_port}",
            "COVE_ROUTER_HTTP_ADDRESS": f"127.0.0.1:{self.router_http_port}",
            "COVE_NODE_GRPC_ADDRESS": f"127.0.0.1:{self.node_port}",
            "COVE_NODE_HTTP_ADDRESS": f"127.0.0.1:{self.node_http_port}",
            "COVE_NODE_ROUTER_ADDRESS": f"127.0.0.1:{self.router_port}",
            "COVE_NODE_NETWORK_POOL": self.network,
            "COVE_NODE_POOL_BYTES": str(16 * 2**30),
            "COVE_NODE_MEMORY_RESERVE_BYTES": str(2**30),
            "COVE_NODE_WARM_MEMORY_BYTES": "0",  # tests count what is there
            **self._settings,
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[LiveCove]:
        """Router and node run in the block; afterwards nothing of the instance is left."""
        try:
            self.start("router")
            self.start("sandboxd")
            self.wait_ready()
            yield self
        finally:
            self.stop("sandboxd", terminate_sandboxes=True)
            self.stop("router")

    def start(self, name: str) -> None:
        """Start ``router`` or ``sandboxd``."""
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", name], cwd=PROJECT, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def runs(self, name: str) -> bool:
        """Whether a daemon has been started, and not been killed or stopped since."""
        return name in self._processes

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def restart(self, name: str) -> None:
        """kill -9 and start again; returns when the node has registered."""
        self.kill(name)
        self.start(name)
        self.wait_ready()

    def stop(self, name: str, *, terminate_sandboxes: bool = False) -> None:
        """SIGTERM; with ``terminate_sandboxes`` SIGINT-free clean-up of every sandbox first (SIGUSR1 to the node daemon)."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGUSR1 if terminate_sandboxes else signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not stop:\n{self.tail(name)}") from None

    def wait_ready(self) -> None:
        """Return once the node has registered with this router since the last start."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended with {process.returncode}:\n{self.tail(name)}")
            if self._registered():
                return
            time.sleep(0.05)
        raise AssertionError(f"cove is not ready:\n{self.tail('router')}\n{self.tail('sandboxd')}")

    def _registered(self) -> bool:
        """The node's log names each registration and the daemon's pid."""
        with contextlib.suppress(FileNotFoundError):
            for line in reversed(self.log("sandboxd").read_text().splitlines()):
                with contextlib.suppress(json.JSONDecodeError):
                    entry = json.loads(line)
                    if entry.get("event") == "node registered" and entry.get("pid") == self.pid("sandboxd"):
                        return True
        return False

    def tail(self, name: str, lines: int = 40) -> str:
        with contextlib.suppress(FileNotFoundError):
            return f"--- {name}\n" + "\n".join(self.log(name).read_text().splitlines()[-lines:])
        return f"--- {name}: no log"

    @property
    def credentials(self) -> tuple[str, str]:
        """Token id and secret that may do everything."""
        token = json.loads((self.directory / "state" / "router" / "bootstrap-token.json").read_text())
        return token["token_id"], token["token_secret"]


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. All are held until the last is known, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
