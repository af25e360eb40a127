"""Joins what the node does about its sandboxes' traffic: packet filter and its log, resolver, relay, and each sandbox's egress log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from ipaddress import IPv4Address

from cove.exception import ConflictError
from cove.types import SandboxId
from policies.egress import EgressPolicy
from policies.egress.judge import remedy
from policies.egress.ranges import Rule
from sandboxd.egress.model import Attempt, Client
from sandboxd.egress.services import EgressServices
from sandboxd.network import NetworkManager
from sandboxd.network.packet_log import Packet, PacketLog
from sandboxd.network_log import NetworkLog, Record


class EgressGate:
    """The node as resolver and relay see it (``sandboxd.egress.model.Gatekeeper``), and what sandboxes have to do with those two.

    Belongs to the event loop's thread. It is made before the services are, which are needed before the packet filter is: until
    :meth:`open` nobody is known and nothing is answered.
    """

    def __init__(self) -> None:
        self._networks: NetworkManager | None = None
        self._services: EgressServices | None = None
        self._logs: Callable[[SandboxId], NetworkLog | None] = lambda _: None

    def open(self, networks: NetworkManager, services: EgressServices) -> None:
        """From now on sandboxes are known."""
        self._networks, self._services = networks, services

    def write_to(self, logs: Callable[[SandboxId], NetworkLog | None]) -> None:
        """Where to find a sandbox's log; None: there is no such sandbox any more."""
        self._logs = logs

    # --- for resolver and relay --------------------------------------------------------------------------------------------------------

    def client_at(self, address: IPv4Address) -> Client | None:
        networks = self._networks
        sandbox_id = networks.sandbox_at(address) if networks else None
        if networks is None or sandbox_id is None:
            return None
        with contextlib.suppress(ConflictError):  # it is being made, or has just gone
            return Client(sandbox_id, networks.policy_of(sandbox_id))
        return None

    def denied_range(self, address: IPv4Address) -> str:
        if self._networks is None:
            return Rule.HOST
        return self._networks.denied_range(address) or ""

    async def pin(self, client: Client, addresses: Sequence[IPv4Address], lasts_s: float) -> None:
        networks = self._networks
        if networks is None or networks.policy_of(client.sandbox_id) != client.policy:
            raise ConflictError("The sandbox's policy has changed.", remedy="Ask again.")
        networks.pin(client.sandbox_id, addresses, lasts_s)  # a tenth of a millisecond, and in order with changes of the policy

    def note(self, sandbox_id: SandboxId, attempt: Attempt) -> None:
        self._write(
            sandbox_id,
            Record(
                allowed=attempt.allowed,
                protocol=attempt.protocol,
                address=attempt.address,
                port=attempt.port,
                name=attempt.name,
                rule=attempt.rule,
                remedy=attempt.remedy,
            ),
        )

    # --- for sandboxes -----------------------------------------------------------------------------------------------------------------

    def set_policy(self, sandbox_id: SandboxId, policy: EgressPolicy) -> None:
        """Let ``policy`` hold; what it does not allow has ended when this returns. Raises: ConflictError: no network. Error, OSError."""
        networks, services = self._opened()
        networks.set_policy(sandbox_id, policy)  # a fraction of a millisecond, and in order with pins
        networks.unpin(sandbox_id, services.policy_changed(Client(sandbox_id, policy)))
        if policy.domains:
            self._pin_known(networks, sandbox_id, services.pinned(sandbox_id))

    def _pin_known(self, networks: NetworkManager, sandbox_id: SandboxId, left_s: Mapping[IPv4Address, float]) -> None:
        """Let the sandbox reach what names led to while nothing depended on it: the resolver takes that for pinned."""
        by_minute: dict[int, list[IPv4Address]] = {}
        for address, seconds in left_s.items():
            by_minute.setdefault(int(seconds // 60), []).append(address)
        for minutes, addresses in by_minute.items():
            networks.pin(sandbox_id, addresses, max(1, minutes * 60))

    def forget(self, sandbox_id: SandboxId) -> None:
        """The sandbox is gone. Idempotent. Raises: OSError."""
        self._opened()[1].forget(sandbox_id)

    def list_(self) -> frozenset[SandboxId]:
        """Sandboxes of which something is kept."""
        return self._opened()[1].list_()

    # --- the packet log ----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def listening(self, packets: PacketLog) -> AsyncIterator[None]:
        """Write what ``packets`` tells into sandboxes' logs while the block runs."""
        loop = asyncio.get_running_loop()
        loop.add_reader(packets.fileno(), packets.read, self._heard)
        try:
            yield
        finally:
            loop.remove_reader(packets.fileno())

    def _heard(self, packet: Packet) -> None:
        networks, services = self._opened()
        if (sandbox_id := networks.sandbox_on(packet.link_number)) is None:
            return
        address = str(packet.address)
        name = services.name_of(sandbox_id, packet.address) if isinstance(packet.address, IPv4Address) else ""
        self._write(
            sandbox_id,
            Record(
                allowed=packet.allowed,
                protocol=packet.protocol,
                address=address,
                port=packet.port,
                name=name,
                rule=packet.rule,
                remedy="" if packet.allowed else _remedy(packet.rule, address, [name] if name else []),
            ),
        )

    def _write(self, sandbox_id: SandboxId, attempt: Record) -> None:
        if (written := self._logs(sandbox_id)) is not None:
            written.add(attempt)

    def _opened(self) -> tuple[NetworkManager, EgressServices]:
        assert self._networks is not None and self._services is not None, "open() comes before sandboxes"
        return self._networks, self._services


def _remedy(rule: str, address: str, names: Collection[str]) -> str:
    try:
        return remedy(Rule(rule), address, names)
    except ValueError:
        return ""
