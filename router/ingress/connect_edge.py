"""The edge of connect tokens: takes visitors' connections, and ends those whose token or entrance is no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cove.wire.keepalive import keep_alive
from router.db.ingress import EntranceRecord
from router.ingress.connect_tokens import ConnectTokens
from router.ingress.dialer import Dialer
from router.ingress.http.conversation import Conversation, Surroundings
from router.ingress.http.wire import Wire
from router.ingress.limits import ConnectionLimits
from router.metrics import Metrics


class ConnectEdge:
    """Serves all HTTP entrances of one router."""

    def __init__(
        self, dialer: Dialer, tokens: ConnectTokens, limits: ConnectionLimits, metrics: Metrics, *, clock: Callable[[], float]
    ) -> None:
        self._limits, self._metrics = limits, metrics
        self._around = Surroundings(dialer=dialer, tokens=tokens, clock=clock, relayed=self._relayed)
        self._open: set[Conversation] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        tokens.on_revoked(self._revoked)

    def __len__(self) -> int:
        return len(self._open)

    def new(self, entrance: EntranceRecord | None, *, tls: bool) -> asyncio.Protocol:
        """The protocol of a visitor's connection. ``entrance`` None: it leads nowhere, which the visitor is told."""
        return _Visitor(self, entrance, tls=tls)

    def break_off(self, name: str) -> None:
        """Break all connections of an entrance off."""
        for conversation in self._open:
            if conversation.entrance is not None and conversation.entrance.name == name:
                conversation.abort()

    async def close(self) -> None:
        """Break everything off."""
        for conversation in self._open:
            conversation.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def accept(self, visitor: _Visitor, entrance: EntranceRecord | None, *, tls: bool) -> asyncio.Task[None] | None:
        """Begin to serve; None: there are too many connections."""
        if not self._limits.enter(entrance.sandbox_id if entrance else None):
            visitor.transport.abort()
            return None
        keep_alive(visitor.transport)
        self._metrics.count_proxied("connect")
        conversation = Conversation(self._around, visitor, entrance, tls=tls, over=self._left)
        self._open.add(conversation)
        task = asyncio.get_running_loop().create_task(conversation.run(), name="visitor")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Not at the end of run(): a task that is cancelled before it began runs nothing of it.
        task.add_done_callback(lambda _: conversation.finish())
        return task

    def _left(self, conversation: Conversation) -> None:
        self._open.discard(conversation)
        self._limits.leave(conversation.entrance.sandbox_id if conversation.entrance else None)

    def _revoked(self, token_id: str) -> None:
        for conversation in self._open:
            if conversation.token_id == token_id:
                conversation.abort()

    def _relayed(self, up: int, down: int) -> None:
        self._metrics.count_bytes("connect", "up", up)
        self._metrics.count_bytes("connect", "down", down)


class _Visitor(Wire):
    """A visitor's connection; its end ends the conversation."""

    def __init__(self, edge: ConnectEdge, entrance: EntranceRecord | None, *, tls: bool) -> None:
        super().__init__(self._leave)
        self._edge, self._entrance, self._tls = edge, entrance, tls
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = self._edge.accept(self, self._entrance, tls=self._tls)

    def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
