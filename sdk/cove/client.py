# Written by `make facade` from cove/_async/client.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
"""The connection to a cove server and the credentials it is made with."""

from __future__ import annotations

from cove._async.client import _Client
from cove._dual import Face, function, method, wrap


class Client(Face):
    """A connection to a cove server.

    Objects use a default client with the credentials of the active profile (see :mod:`cove.config`); every method that makes or looks up
    an object takes another one as ``client=``.
    """

    __slots__ = ()
    _impl: _Client

    @staticmethod
    @function
    async def from_credentials(token_id: str, token_secret: str) -> Client:
        """A client with these credentials, on the server of the active profile: to act for somebody else.

        Raises:  AuthError: no server is configured.
        """
        result: Client = wrap(await _Client.from_credentials(token_id, token_secret))
        return result

    @method
    async def hello(self) -> None:
        """Connect, and check that server and credentials are good.

        Raises:
            AuthError: the credentials are wrong.
            ConnectionError: the server cannot be reached.
            VersionError: client and server are too far apart.
        """
        await self._impl.hello()

    @method
    async def close(self) -> None:
        """Close the connection. Objects that use it raise :class:`cove.exception.ClientClosed` from then on."""
        await self._impl.close()

    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._impl.is_closed()


__all__ = ["Client"]
