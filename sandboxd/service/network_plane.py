"""The data plane's methods about what a sandbox reached and may reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Final

from cove.wire import network_pb2
from policies.egress import policy_to_wire
from sandboxd.network_log import Record
from sandboxd.sandbox import Sandbox
from sandboxd.service.edge import Context, streaming, unary

CHUNK_RECORDS: Final = 256


class NetworkPlane(ABC):
    """Network methods of cove.v1.DataPlane; ``_sandbox`` is the subclass's."""

    @abstractmethod
    def _sandbox(self, sandbox_id: str, context: Context) -> Sandbox:
        """The sandbox that the caller may work with. Raises: NotFoundError."""

    @streaming
    async def NetworkLog(self, request: network_pb2.NetworkLogRequest, context: Context) -> AsyncIterator[network_pb2.NetworkLogChunk]:
        written, cursor = self._sandbox(request.sandbox_id, context).network_log, request.cursor
        if request.follow:
            async for records in written.follow(cursor, CHUNK_RECORDS):
                yield _chunk(records)
            return
        last = written.cursor  # what changes from now on is for the next time
        while (records := written.after(cursor, CHUNK_RECORDS)) and cursor < last:
            cursor = records[-1].cursor
            yield _chunk(records)

    @unary
    async def NetworkGet(self, request: network_pb2.NetworkGetRequest, context: Context) -> network_pb2.NetworkSummary:
        sandbox = self._sandbox(request.sandbox_id, context)
        written = sandbox.network_log
        needed, totals = written.allowlist(), written.totals
        return network_pb2.NetworkSummary(
            policy=policy_to_wire(sandbox.entry.network),
            cidrs=needed.cidrs,
            domains=needed.domains,
            allowed=totals.allowed,
            denied=totals.denied,
            forgotten=totals.forgotten,
        )


def _chunk(records: Sequence[Record]) -> network_pb2.NetworkLogChunk:
    return network_pb2.NetworkLogChunk(records=[_record(record) for record in records])


def _record(record: Record) -> network_pb2.NetworkRecord:
    return network_pb2.NetworkRecord(
        cursor=record.cursor,
        first_at=record.first_at,
        last_at=record.last_at,
        count=record.count,
        verdict=network_pb2.NETWORK_VERDICT_ALLOWED if record.allowed else network_pb2.NETWORK_VERDICT_DENIED,
        protocol=record.protocol,
        address=record.address,
        port=record.port,
        name=record.name,
        rule=record.rule,
        remedy=record.remedy,
    )
