"""Brings up what stands between sandboxes and the outside, in the order in which one needs the other. Wiring only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import IPv4Network

import msgspec
import structlog

from cove.exception import Error
from sandboxd.egress.services import EgressServices, EgressSettings
from sandboxd.egress_gate import EgressGate
from sandboxd.journal import Journal
from sandboxd.network import NetworkManager, NetworkOptions, claim_service
from sandboxd.network.manager import Before
from sandboxd.network.packet_log import PacketLog
from sandboxd.network.rules import Caps, Service
from sandboxd.settings import NodeSettings
from snapshots.backends.threads import in_thread

log = structlog.get_logger()


class Egress(msgspec.Struct, frozen=True):
    """All of it, in force."""

    networks: NetworkManager
    gate: EgressGate


@contextlib.asynccontextmanager
async def serving_egress(settings: NodeSettings) -> AsyncIterator[Egress]:
    """Resolver and relay serve, the packet filter is in force and told of, until the block is left; the filter stays.

    Raises: InvalidError: the pool overlaps a network of this machine. InternalFailure, OSError: something is missing or refuses.
    """
    address = claim_service(settings.network_pool)
    gate = EgressGate()
    async with contextlib.AsyncExitStack() as stack:
        services = await stack.enter_async_context(
            EgressServices.serving(
                gate,
                EgressSettings(
                    host=str(address),
                    dns_port=0,
                    directory=settings.run_dir / "pins",
                    proxies=settings.proxy_targets,
                    nameservers=settings.nameserver_source,
                ),
            )
        )
        packets = PacketLog()
        stack.callback(packets.close)
        networks = NetworkManager.open(
            settings.name,
            settings.run_dir,
            NetworkOptions(
                pool=settings.network_pool,
                allow_private=settings.allow_private_networks,
                exceptions=tuple(map(IPv4Network, settings.network_exceptions)),
                caps=Caps(connections=settings.max_connections, bandwidth_bytes_per_s=settings.network_bytes_per_s),
                service=Service(address, services.dns_port, services.relay_port),
                log_group=packets.group,
            ),
            Before(Journal(settings.node_dir).policy_of, services.pinned),
        )
        gate.open(networks, services)
        await stack.enter_async_context(gate.listening(packets))
        await stack.enter_async_context(_spared(networks, settings.spare_networks))
        yield Egress(networks, gate)


@contextlib.asynccontextmanager
async def _spared(networks: NetworkManager, count: int) -> AsyncIterator[None]:
    """While the block runs, ``count`` networks are laid ahead again as soon as one was claimed."""
    loop, wanted = asyncio.get_running_loop(), asyncio.Event()
    networks.when_claimed(lambda: loop.call_soon_threadsafe(wanted.set))

    async def fill() -> None:
        while True:
            wanted.clear()
            try:
                await in_thread(networks.lay_spares, count)  # to its end: a half-made one must not outlive this
            except (Error, OSError) as error:
                log.warning("networks not laid ahead", error=str(error))
            await wanted.wait()

    filling = asyncio.create_task(fill(), name="spare networks")
    try:
        yield
    finally:
        networks.when_claimed(lambda: None)
        filling.cancel()
        await asyncio.wait({filling})
