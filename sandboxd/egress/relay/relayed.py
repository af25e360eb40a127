"""One connection of a sandbox from the verdict about its begin to its end: what it may say, where it is connected to, what the log gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import NamedTuple

import structlog

from policies.egress.ranges import Rule
from sandboxd.egress.model import Attempt, Client, Gatekeeper
from sandboxd.egress.pin_store import PinStore
from sandboxd.egress.relay.connection import Connection
from sandboxd.egress.relay.dial import dial
from sandboxd.egress.relay.proxies import Proxy, ProxyError
from sandboxd.egress.relay.side import Side
from sandboxd.egress.relay.sniffer import Sniffer
from sandboxd.egress.relay.verdicts import RefusedError, check_address, check_name, has_to_say_a_name

log = structlog.get_logger()


class Destination(NamedTuple):
    """Where a connection was going when it was redirected."""

    address: IPv4Address
    port: int


class Surroundings(NamedTuple):
    """What all connections of a relay have in common."""

    gate: Gatekeeper
    pins: PinStore
    clock: Callable[[], float]


class Relayed:
    """One connection. :meth:`begin` starts it; it ends by itself, by a policy, or by :meth:`end`."""

    def __init__(self, around: Surroundings, client: Client, destination: Destination, ended: Callable[[Relayed], None]) -> None:
        """``ended``: told once, if it began."""
        self.client = client
        self._around = around
        self._destination = destination
        self._ended = ended
        self._led = self._pinned()
        """Names for which the sandbox had got the address when it connected: they count for as long as it is connected."""
        self._said: set[str] = set()
        """Names that the connection said it is for, and is allowed to be for."""
        self._rule = ""
        self._is_noted = False
        self._connection: Connection | None = None
        self._dialling: asyncio.Task[None] | None = None

    def begin(self, side: Side, proxy: Proxy | None) -> None:
        """Take the connection that the sandbox opened. Raises: RefusedError."""
        self._rule = self._check_address()
        looks = has_to_say_a_name(self.client.policy, self._destination.address)
        self._connection = Connection(
            side, Sniffer(self._check_name) if looks else None, passed=self._note_unnamed, refused=self.note_refused, ended=self._end
        )
        self._dialling = asyncio.create_task(self._dial(self._connection, proxy))

    def policy_changed(self, client: Client) -> None:
        """Go on under the sandbox's new policy, or end."""
        before, self.client = self.client, client
        if self._connection is None:
            return
        unseen = has_to_say_a_name(client.policy, self._destination.address) and not self._connection.was_looked_at
        if unseen or before.policy.proxy != client.policy.proxy:
            self._connection.reset()
            return
        try:
            self._rule = self._check_address()
        except RefusedError as error:
            self._connection.reset()
            self.note_refused(error)

    def end(self) -> None:
        """End it at once."""
        if self._connection is not None:
            self._connection.reset()

    async def _dial(self, connection: Connection, proxy: Proxy | None) -> None:
        try:
            outer, said = await dial(self._destination.address, self._destination.port, proxy)
        except ProxyError as error:
            connection.reset()
            self.note_refused(RefusedError(Rule.PROXY, f"The proxy {self.client.policy.proxy} does not connect: {error}."))
        except OSError as error:
            connection.reset()
            log.debug("destination not reached", sandbox=self.client.sandbox_id, error=type(error).__name__)
        else:
            connection.connect(outer, said)

    def _end(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        self._note_unnamed()
        self._ended(self)

    # --- verdicts --------------------------------------------------------------------------------------------------------------------

    def _check_address(self) -> str:
        """The rule that allows it, by what it said, or else by what led it here. Raises: RefusedError."""
        address, names = self._destination.address, self._said or self._led
        denied_range = self._around.gate.denied_range(address)
        return check_address(self.client.policy, address, denied_range=denied_range, names=names, all_of_them=bool(self._said))

    def _check_name(self, said: str) -> None:
        name = check_name(self.client.policy, said, self._destination.address, (*self._led, *self._pinned()))
        if name and name not in self._said:
            self._said.add(name)
            self._note(allowed=True, rule=self._rule, name=name)

    def _pinned(self) -> tuple[str, ...]:
        """The names for which the sandbox got the address, of now."""
        return self._around.pins.book(self.client.sandbox_id).names_of(self._destination.address, self._around.clock())

    # --- the log ---------------------------------------------------------------------------------------------------------------------

    def _note_unnamed(self) -> None:
        """An allowed connection of which nothing was noted: by the name that led to its address."""
        if not self._is_noted:
            self._note(allowed=True, rule=self._rule, name=self._led[-1] if self._led else "")

    def note_refused(self, error: RefusedError) -> None:
        """Put it into the sandbox's log."""
        name = error.name or (self._led[-1] if self._led else "")
        self._note(allowed=False, rule=error.rule, name=name, remedy=error.remedy)

    def _note(self, *, allowed: bool, rule: str, name: str, remedy: str = "") -> None:
        self._is_noted = True
        address, port = self._destination
        attempt = Attempt(allowed=allowed, protocol="tcp", address=str(address), port=port, name=name, rule=rule, remedy=remedy)
        self._around.gate.note(self.client.sandbox_id, attempt)
