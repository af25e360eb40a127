"""Everything that one client holds open: channels, the control plane, data planes, the HTTP session, errands in the background."""

from __future__ import annotations

import asyncio
import logging
import sys
import weakref
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cove import _lifespan
from cove._transport.channels import Peers
from cove._transport.control import ControlPlane
from cove._transport.data import DataPlane
from cove._transport.methods import HELLO
from cove._version import __version__
from cove.exception import VersionError
from cove.types import SandboxId
from cove.wire import common_pb2, control_pb2

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

ERRANDS_S: Final = 2.0
"""How long closing waits for errands to finish."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the router is and who is asking.

    Attributes:
        address: host:port of the router's gRPC service.
        http_url: base URL of its HTTP service; empty: as the router says.
        environment: default environment; empty for the server's default.
        reconnect_s: how long calls outlive an unreachable server.
    """

    address: str
    token_id: str
    token_secret: str = field(repr=False)
    http_url: str = ""
    environment: str = ""
    reconnect_s: float = 30.0


class Connection:
    """One client's side. Belongs to the event loop it was made on."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.peers = Peers()
        self.control = ControlPlane(
            self.peers, server.address, token_id=server.token_id, token_secret=server.token_secret, reconnect_s=server.reconnect_s
        )
        self._planes: weakref.WeakValueDictionary[str, DataPlane] = weakref.WeakValueDictionary()
        self._errands: set[asyncio.Task[Any]] = set()
        self._hello: control_pb2.HelloResponse | None = None
        self._http: aiohttp.ClientSession | None = None
        _lifespan.opened(self)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self.peers.closed

    async def hello(self) -> control_pb2.HelloResponse:
        """What the server says of itself; asked once.

        Raises:  VersionError: client and server are too far apart.
        """
        if self._hello is None:
            python = f"{sys.version_info.major}.{sys.version_info.minor}"
            answer = await self.control.call(HELLO, control_pb2.HelloRequest(client_version=__version__, python_version=python))
            if answer.server_version.partition(".")[0] != __version__.partition(".")[0]:
                raise VersionError(
                    f"The server has version {answer.server_version[:40]}, this client has {__version__}.",
                    remedy="Install a client of the server's major version.",
                )
            self._hello = answer
        return self._hello

    async def http_url(self) -> str:
        """Base URL of the router's HTTP service; empty if neither this client nor the router, which is an old one, knows it."""
        return (self.server.http_url or (await self.hello()).http_url).rstrip("/")

    def data_plane(self, sandbox_id: str, access: common_pb2.Access | None = None) -> DataPlane:
        """The data plane of a sandbox: the same object for all handles on it, so that they share its token."""
        plane = self._planes.get(sandbox_id)
        if plane is None:
            plane = DataPlane(self.peers, self.control, SandboxId(sandbox_id), reconnect_s=self.server.reconnect_s, access=access)
            self._planes[sandbox_id] = plane
        return plane

    def errand(self, work: Coroutine[Any, Any, object], *, what: str) -> asyncio.Task[Any]:
        """Run ``work`` without making the caller wait. The connection owns it: it is finished or cancelled at :meth:`close`."""
        task = self.loop.create_task(work, name=what)
        self._errands.add(task)
        task.add_done_callback(self._finish_errand)
        return task

    def http(self) -> aiohttp.ClientSession:
        """The session for bulk transfers, opened on first use."""
        if self._http is None:
            import aiohttp  # half a second to import, and only transfers need it

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
            self._http = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        return self._http

    async def close(self) -> None:
        """See :class:`cove._lifespan.Closeable`."""
        if self._errands:
            await asyncio.wait(self._errands, timeout=ERRANDS_S)
        for task in self._errands:
            task.cancel()
        if self._http is not None:
            await self._http.close()
            self._http = None
        await self.peers.close()

    def _finish_errand(self, task: asyncio.Task[Any]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("%s failed: %s", task.get_name(), error)
