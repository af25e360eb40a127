"""Tunnels: where servers inside are reached from outside."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cove.exception import InvalidError, UnimplementedError

if TYPE_CHECKING:
    from cove.client import Client


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One port inside, as :meth:`cove.Sandbox.tunnels` gives it. Whoever knows its address is let in: the server decides about the rest.

    Attributes:
        host, port: of its TLS socket.
        unencrypted_host, unencrypted_port: of its TCP socket; empty and 0 if it has none.
        web_url: where its URL is not ``https://host:port``.
    """

    host: str
    port: int
    unencrypted_host: str = ""
    unencrypted_port: int = 0
    web_url: str = ""

    @property
    def url(self) -> str:
        """For clients that speak HTTP. ``https://``, or ``http://`` where a server has no domain and is reached on its own machine only."""
        return self.web_url or f"https://{self.host}" + (f":{self.port}" if self.port != 443 else "")

    @property
    def tls_socket(self) -> tuple[str, int]:
        """Host and port for TLS. What is inside the TLS goes to the port inside as it is."""
        return self.host, self.port

    @property
    def tcp_socket(self) -> tuple[str, int]:
        """Host and port for plain TCP.

        Raises:  InvalidError: it was not opened as an unencrypted port.
        """
        if not self.unencrypted_host:
            raise InvalidError("The tunnel has no plain TCP socket.", remedy="Open the port with unencrypted_ports=[...].")
        return self.unencrypted_host, self.unencrypted_port


@dataclass(frozen=True, slots=True)
class SandboxConnectCredentials:
    """What :meth:`cove.Sandbox.create_connect_token` gives.

    Attributes:
        url: of the server on port 8080 of the sandbox.
        token: opens it: as ``Authorization: Bearer``, or as query parameter or cookie ``_cove_connect_token``.
        token_id: for :meth:`cove.Sandbox.revoke_connect_token`; no secret.
        expires_at: Unix seconds.
    """

    url: str
    token: str
    token_id: str = ""
    expires_at: float = 0.0

    def __repr__(self) -> str:
        return f"SandboxConnectCredentials(url={self.url!r}, token=…, token_id={self.token_id!r}, expires_at={self.expires_at!r})"


def forward(
    port: int, *, unencrypted: bool = False, h2_enabled: bool = False, client: Client | None = None
) -> AbstractContextManager[Tunnel]:
    """Open a tunnel to a port of the Function container that this runs in.

    Raises:  UnimplementedError: it runs in none.
    """
    raise UnimplementedError(
        "cove.forward needs Functions: it opens a port of the container that it is called in.",
        remedy="For a sandbox use Sandbox.create(encrypted_ports=[...]) and Sandbox.tunnels(), or Sandbox.open_port().",
    )
