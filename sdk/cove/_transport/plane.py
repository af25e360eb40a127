"""One call and one stream, whatever lies between: finds the way, sends credentials, tries again where that is safe, gives our errors."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs lack it

from cove._transport.channels import Peer
from cove._transport.methods import Streamed, Unary
from cove._transport.retry import Attempts
from cove.exception import AuthError, ClientClosed, ConnectionError, Error, ServiceError
from cove.wire import errors

Q = TypeVar("Q")
A = TypeVar("A")

Metadata = tuple[tuple[str, str], ...]


class Route(NamedTuple):
    """Where the next attempt goes, and what it shows there."""

    peer: Peer
    metadata: Metadata


class Plane(ABC):
    """The common part of control and data plane.

    Args:    reconnect_s: how long a call outlives an unreachable server; 0 fails at once.
    """

    def __init__(self, reconnect_s: float) -> None:
        self._reconnect_s = reconnect_s

    @abstractmethod
    async def route(self) -> Route:
        """The way to take now, its connection standing.

        Raises:  ConnectionError: there is none at the moment.
        """

    @abstractmethod
    def renew(self, rejected: Metadata) -> bool:
        """Forget the credentials in ``rejected``; whether the next :meth:`route` will bring others."""

    @abstractmethod
    def failed(self, peer: Peer) -> None:
        """Take note that ``peer`` broke off a call."""

    async def call(self, method: Unary[Q, A], request: Q, *, deadline_s: float | None = None) -> A:
        """Call ``method``.

        Args:    deadline_s: of one attempt; only for calls that the server bounds itself, so that missing it means a dead link.
        Raises:  Error: what the server answered, or ConnectionError when it could not be reached in time.
        """
        attempts = Attempts(self._reconnect_s)
        while True:
            route = await self._route(attempts)
            try:
                return await route.peer.unary(method)(request, metadata=route.metadata, timeout=deadline_s)
            except asyncio.CancelledError:
                _check_open(route.peer)
                raise
            except grpc.aio.AioRpcError as rpc_error:
                await self.recover(rpc_error, route, attempts, repeatable=method.repeatable)

    async def recover(self, rpc_error: grpc.aio.AioRpcError, route: Route, attempts: Attempts, *, repeatable: bool) -> None:
        """Return, after a pause, if the call may be tried again.

        Raises:  Error: it may not, or not any more.
        """
        error = decode(rpc_error)
        if isinstance(error, AuthError) and not attempts.renewed and self.renew(route.metadata):
            attempts.renewed = True
        elif isinstance(error, ConnectionError):
            self.failed(route.peer)
            if not repeatable:
                raise _perhaps_done(error) from rpc_error
            await attempts.pause(error)
        else:
            raise error from rpc_error

    async def _route(self, attempts: Attempts) -> Route:
        while True:
            try:
                return await self.route()
            except ConnectionError as error:  # nothing was sent, so any call may wait for the next try
                await attempts.pause(error)


class Stream(Generic[Q, A]):
    """Answers of a streaming method. After a cut it is asked for again with a fresh ``request()``, which says where to go on.

    Reading may be cancelled and taken up again: a read that was cancelled gave nothing and lost nothing, if ``request()`` tells so.
    """

    def __init__(self, plane: Plane, method: Streamed[Q, A], request: Callable[[], Q]) -> None:
        self._plane = plane
        self._method = method
        self._request = request
        self._attempts = Attempts(plane._reconnect_s)
        self._open: tuple[Route, grpc.aio.UnaryStreamCall[Q, A]] | None = None

    async def read(self) -> A | None:
        """The next answer; None when the server ended the stream.

        Raises:  Error: as :meth:`Plane.call`.
        """
        while True:
            route, call = self._open or await self._start()
            try:
                answer = await call.read()
            except asyncio.CancelledError:
                self.cancel()
                _check_open(route.peer)
                raise
            except grpc.aio.AioRpcError as rpc_error:
                self._open = None
                await self._plane.recover(rpc_error, route, self._attempts, repeatable=self._method.repeatable)
                continue
            if answer is EOF:
                self._open = None
                return None
            self._attempts.succeeded()
            return answer  # type: ignore[return-value]  # what is not EOF is an answer

    def cancel(self) -> None:
        """Break off; a later :meth:`read` starts anew."""
        if self._open is not None:
            self._open[1].cancel()
            self._open = None

    async def cut(self, error: Error) -> None:
        """The stream ended though there must be more (``error`` says why): wait a little before it is asked for again.

        Raises:  ``error`` after too many such ends in a row.
        """
        await self._attempts.pause(error)

    async def _start(self) -> tuple[Route, grpc.aio.UnaryStreamCall[Q, A]]:
        route = await self._plane._route(self._attempts)
        self._open = (route, route.peer.streamed(self._method)(self._request(), metadata=route.metadata))
        return self._open


def decode(rpc_error: grpc.aio.AioRpcError) -> Error:
    """Our error for ``rpc_error``, where gRPC speaks and not the server."""
    error = errors.decode(rpc_error)
    if not isinstance(error, ServiceError):
        return error
    if rpc_error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:  # that only this client set
        return ConnectionError("The server stopped answering.", remedy="Check the network between here and the server.")
    if rpc_error.code() is grpc.StatusCode.CANCELLED:  # from afar: calls that we cancel raise CancelledError
        return ConnectionError("The server dropped the call: it has too many.", remedy="Try again, with fewer calls at a time.")
    return error


def _check_open(peer: Peer) -> None:
    """After a cancellation: gRPC cancels its calls when their channel is closed, which is not a cancellation of the caller.

    Raises:  ClientClosed: that is what happened.
    """
    task = asyncio.current_task()
    if peer.closed and task is not None and not task.cancelling():
        raise ClientClosed("The client was closed during the call.", remedy="Make a new one.") from None


def _perhaps_done(error: Error) -> ConnectionError:
    return ConnectionError(
        error.cause,
        code=error.code,
        remedy="The connection broke during the call, which may or may not have had its effect: look before trying again.",
        retryable=False,
        context=error.context,
    )
