"""Where one cove on this machine has its processes, files and addresses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from cove.exception import ConflictError, NotFoundError
from sandboxd.local.process import Background
from sandboxd.settings import NodeSettings, load

BOOTSTRAP_TOKEN: Final = "bootstrap-token.json"
"""In the router's directory: its first token, readable by root alone."""

_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian keeps programs that users' PATH lacks."""


class Credentials(msgspec.Struct, frozen=True):
    token_id: str
    token_secret: str


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """One instance, as its node's settings describe it. The router listens where the node looks for it."""

    settings: NodeSettings
    environ: Mapping[str, str]
    """What the daemons inherit."""

    @property
    def router(self) -> Background:
        return self._background("router", "router")

    @property
    def node(self) -> Background:
        return self._background("node", "sandboxd")

    @property
    def address(self) -> str:
        """host:port of the router: where it runs, else where it would."""
        running = self.router.running()
        return (running.address if running else "") or self.settings.router_address

    @property
    def profile(self) -> str:
        """Name of the profile that ``up`` writes."""
        return self.settings.instance or "local"

    def bootstrap_credentials(self) -> Credentials:
        """The router's first token.

        Raises:  NotFoundError: there is none, or it cannot be read.
        """
        path = self.settings.state_dir / "router" / BOOTSTRAP_TOKEN
        try:
            return msgspec.json.decode(path.read_bytes(), type=Credentials)
        except (OSError, msgspec.MsgspecError) as error:
            raise NotFoundError(f"The router's first token cannot be read from {path}.", remedy="Run as root; is cove up?") from error

    def node_id(self) -> str:
        """The node's id; empty before its first start."""
        try:
            return self.settings.node_id_path.read_text().strip()
        except FileNotFoundError:
            return ""

    def daemon_environ(self, address: str) -> dict[str, str]:
        """Environment of both daemons, the router at ``address``."""
        settings = self.settings
        return {
            **self.environ,
            "PATH": os.pathsep.join((self.environ.get("PATH", ""), _SBIN)).lstrip(os.pathsep),
            "COVE_INSTANCE": settings.instance,
            "COVE_STATE_DIR": str(settings.state_dir),
            "COVE_RUN_DIR": str(settings.run_dir),
            "COVE_CACHE_DIR": str(settings.cache_dir),
            "COVE_ROUTER_GRPC_ADDRESS": address,
            "COVE_NODE_ROUTER_ADDRESS": address,
        }

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one command at a time starts or stops daemons.

        Raises:  ConflictError: another one is at it.
        """
        self.settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.settings.state_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise ConflictError("Another `cove up` or `cove down` is at work.", remedy="Wait for it.", retryable=True) from error
        finally:
            os.close(descriptor)

    def _background(self, name: str, module: str) -> Background:
        settings = self.settings
        return Background(name, module, settings.run_dir / f"{name}.pid", settings.state_dir / "log" / f"{name}.log")


def find(*, state_dir: Path | None = None, environ: Mapping[str, str] = os.environ) -> Installation:
    """The installation that settings, environment and options describe.

    Raises:  InvalidError: the settings are wrong.
    """
    settings = load({"state_dir": state_dir}, environ=environ)
    address = environ.get("COVE_ROUTER_GRPC_ADDRESS", settings.router_address)
    return Installation(settings=msgspec.structs.replace(settings, router_address=address), environ=environ)


def with_port(address: str) -> str:
    """``address`` with a port that is free now in place of port 0: both daemons must be told the same one."""
    host, _, port = address.rpartition(":")
    if int(port):
        return address
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.create_server((host.strip("[]"), 0), family=family) as probe:
        return f"{host}:{probe.getsockname()[1]}"
