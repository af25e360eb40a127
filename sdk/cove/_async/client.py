"""The connection to a cove server and the credentials it is made with."""

from __future__ import annotations

from cove._async.base import Exposed
from cove._transport.connection import Connection, Server
from cove.config import config, config_path
from cove.exception import AuthError


class _Client(Exposed):
    """A connection to a cove server.

    Objects use a default client with the credentials of the active profile (see :mod:`cove.config`); every method that makes or looks up
    an object takes another one as ``client=``.
    """

    def __init__(self, server: Server) -> None:
        self.connection = Connection(server)

    @classmethod
    async def from_credentials(cls, token_id: str, token_secret: str) -> _Client:
        """A client with these credentials, on the server of the active profile: to act for somebody else.

        Raises:  AuthError: no server is configured.
        """
        return cls(_server(token_id, token_secret))

    async def hello(self) -> None:
        """Connect, and check that server and credentials are good.

        Raises:
            AuthError: the credentials are wrong.
            ConnectionError: the server cannot be reached.
            VersionError: client and server are too far apart.
        """
        await self.connection.hello()

    async def close(self) -> None:
        """Close the connection. Objects that use it raise :class:`cove.exception.ClientClosed` from then on."""
        await self.connection.close()

    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self.connection.closed


class _Default:
    """The default client of this process."""

    client: _Client | None = None


def default_client() -> _Client:
    """The client with the active profile's credentials, made on first use.

    Raises:  AuthError: no server or no credentials are configured.
    """
    if _Default.client is None or _Default.client.is_closed():
        _Default.client = _Client(_server(config["token_id"], config["token_secret"]))
    return _Default.client


def connection_of(client: _Client | None) -> Connection:
    """The connection behind ``client``, or behind the default client."""
    return (client or default_client()).connection


def _server(token_id: str | None, token_secret: str | None) -> Server:
    address = config["server_url"]
    if not address or not token_id or not token_secret:
        missing = "server_url" if not address else "token_id" if not token_id else "token_secret"
        raise AuthError(
            f"No {missing} is configured: neither COVE_{missing.upper()} nor a profile in {config_path()} has it.",
            remedy="`cove up` starts a server here and stores its profile; `cove token new` makes credentials for a running one.",
        )
    return Server(
        address=address,
        token_id=token_id,
        token_secret=token_secret,
        http_url=config["server_http_url"] or "",
        environment=config["environment"] or "",
        reconnect_s=config["reconnect_s"],
    )
