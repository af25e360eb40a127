"""gRPC channels: one per address, shared by everything that one client does."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from cove._transport.methods import Streamed, Unary
from cove.exception import ClientClosed, ConnectionError

Q = TypeVar("Q")
A = TypeVar("A")

MAX_MESSAGE_BYTES: Final = 16 * 2**20
"""Largest message either way; data travels in chunks of at most 1 MiB."""

OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A daemon that comes back shall be found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # This one is how long an attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 3000),
    # A dead link must not hold a long poll or a followed stream for ever.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # What may be repeated is decided in `plane`, not underneath.
    ("grpc.enable_retries", 0),
    # Two clients in one process must not share, and so close, each other's connections.
    ("grpc.use_local_subchannel_pool", 1),
    # Nodes are on loopback or a private network, where a web proxy does not lead.
    ("grpc.enable_http_proxy", 0),
)

AGAIN_S: Final = 0.5
"""How long a call waits for an address that failed before; calls that may be repeated come back."""

_READY: Final = grpc.ChannelConnectivity.READY
_FAILED: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class Peer:
    """One address and the channel to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.reached = False
        """Whether a connection ever stood."""
        self.avoid_until = 0.0
        """Loop time until which another way is taken, after this one failed."""
        self.closed = False
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._calls: dict[str, Any] = {}

    async def reach(self, timeout_s: float) -> None:
        """Return once a connection stands.

        Raises:  ConnectionError: refused, or not there after ``timeout_s``.
        """
        state = self._channel.get_state(try_to_connect=True)
        if state is _READY:
            return
        # A channel that failed shows nothing of its further attempts but success, so there is no refusal to wait for.
        failed_before = state is _FAILED
        try:
            async with asyncio.timeout(min(timeout_s, AGAIN_S) if failed_before else timeout_s):
                while state is not _READY:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
                    if state is _FAILED:
                        raise self._unreachable("the connection was refused")
        except TimeoutError:
            raise self._unreachable("it still does not answer" if failed_before else f"no answer in {timeout_s:g} s") from None
        self.reached = True

    def unary(self, method: Unary[Q, A]) -> grpc.aio.UnaryUnaryMultiCallable[Q, A]:
        """The callable of a method with one answer."""
        call = self._calls.get(method.path)
        if call is None:
            call = self._calls[method.path] = self._channel.unary_unary(method.path, method.encode, method.decode)
        return call

    def streamed(self, method: Streamed[Q, A]) -> grpc.aio.UnaryStreamMultiCallable[Q, A]:
        """The callable of a method that answers with a stream."""
        call = self._calls.get(method.path)
        if call is None:
            call = self._calls[method.path] = self._channel.unary_stream(method.path, method.encode, method.decode)
        return call

    async def close(self) -> None:
        """Cut the connection; running calls are cancelled."""
        self.closed = True
        await self._channel.close(grace=None)

    def _unreachable(self, why: str) -> ConnectionError:
        return ConnectionError(
            f"{self.address} cannot be reached: {why}.",
            remedy="Check that the server runs (`cove up`) and that the address in the profile is right.",
        )


class Peers:
    """All peers of one client."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}
        self.closed = False

    def get(self, address: str) -> Peer:
        """The peer at ``address`` (``host:port``).

        Raises:  ClientClosed: after :meth:`close`.
        """
        if self.closed:
            raise ClientClosed("The client is closed.", remedy="Make a new one.")
        peer = self._peers.get(address)
        if peer is None:
            peer = self._peers[address] = Peer(address)
        return peer

    async def close(self) -> None:
        """Close every channel. Idempotent."""
        self.closed = True
        while self._peers:
            _, peer = self._peers.popitem()
            await peer.close()
