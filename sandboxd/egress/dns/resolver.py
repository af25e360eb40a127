"""Decides what a sandbox is told of a name.

What is allowed is decided by the sandbox's policy; nothing that is not allowed leaves the node, and is refused at once. Only addresses are
looked up: other kinds of records carry more than they need to. Addresses that no sandbox may reach are taken out of answers, so that no
name of an attacker's leads inside. In an allowlist the packet filter has the addresses before the sandbox does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple

import structlog

from cove.exception import Error
from cove.types import SandboxId
from policies.egress import Mode
from policies.egress.judge import remedy
from policies.egress.ranges import Rule
from sandboxd.egress.dns.cache import Cache
from sandboxd.egress.dns.limits import Allowance
from sandboxd.egress.dns.message import Answer, ExtendedError, Query, Rcode, RecordType
from sandboxd.egress.dns.upstream import FAILED, Upstream
from sandboxd.egress.model import Attempt, Client, Gatekeeper
from sandboxd.egress.pin_store import PinStore
from sandboxd.egress.pins import LASTS_S

log = structlog.get_logger()

NO_SUCH_NAME: Final = Answer(Rcode.NXDOMAIN, (), 1)
NO_RECORDS: Final = Answer(Rcode.NOERROR, (), 1)
REFUSED: Final = Answer(Rcode.REFUSED, (), 1)

_WITHOUT_CONTENT: Final = (RecordType.AAAA, RecordType.HTTPS, RecordType.SVCB)
"""Programs ask for these beside A and must hear that there are none: sandboxes have no IPv6."""


class Reply(NamedTuple):
    """What a sandbox is told."""

    answer: Answer
    why: tuple[ExtendedError, str] | None = None
    """Of a refusal, for clients that speak EDNS."""


class Resolver:
    """Answers the questions of all sandboxes of a node."""

    def __init__(self, gate: Gatekeeper, upstream: Upstream, pins: PinStore, clock: Callable[[], float]) -> None:
        """``clock``: seconds, as ``pins`` has them."""
        self._gate = gate
        self._upstream = upstream
        self._pins = pins
        self._clock = clock
        self._cache = Cache()
        self._allowances: dict[SandboxId, Allowance] = {}

    def forget(self, sandbox_id: SandboxId) -> None:
        """The sandbox has ended."""
        self._allowances.pop(sandbox_id, None)

    def answer(self, client: Client, query: Query) -> Reply | Coroutine[Any, Any, Reply]:
        """The reply; where upstream or the packet filter has to be asked first, what will give it."""
        refusal = self._refusal(client, query)
        if refusal is not None:
            return refusal
        known = self._cache.get(query.name, self._clock())
        if known is None or self._to_pin(client, known):
            return self._look_up(client, query.name, known)
        return self._told(client, query.name, known)

    async def _look_up(self, client: Client, name: str, known: Answer | None) -> Reply:
        if known is None:
            known = self._cache.put(name, await self._upstream.resolve(name), self._clock())
            if client.sandbox_id not in self._allowances:  # it has ended meanwhile, and nothing of it shall be kept
                return Reply(FAILED)
        addresses = self._to_pin(client, known)
        if addresses:
            try:
                until = self._clock() + known.ttl_s + LASTS_S
                await self._gate.pin(client, addresses, known.ttl_s + LASTS_S)
                self._pins.keep(client.sandbox_id, name, addresses, until=until)
            except (Error, OSError) as error:
                log.warning("addresses not pinned", sandbox=client.sandbox_id, count=len(addresses), error=type(error).__name__)
                return Reply(FAILED)
        return self._told(client, name, known)

    def _told(self, client: Client, name: str, known: Answer) -> Reply:
        """The reply from what is known; the packet filter has its addresses."""
        addresses = self._reachable(known)
        if addresses:
            now = self._clock()
            self._pins.book(client.sandbox_id).add(name, addresses, until=now + known.ttl_s, now=now)
            self._note(client, name, Rule.OPEN if client.policy.mode is not Mode.ALLOWLIST else Rule.DOMAIN, allowed=True)
            return Reply(known._replace(addresses=addresses))
        if known.addresses:
            rule = self._gate.denied_range(known.addresses[0])
            return self._denied(client, name, rule, f"It leads to {known.addresses[0]}, which no sandbox may reach.", NO_SUCH_NAME)
        if known.rcode is Rcode.SERVFAIL:
            return Reply(known, (ExtendedError.NO_REACHABLE_AUTHORITY, "The nameservers of the host gave no answer."))
        return Reply(known)

    def _reachable(self, known: Answer) -> tuple[IPv4Address, ...]:
        return tuple(address for address in known.addresses if not self._gate.denied_range(address))

    def _to_pin(self, client: Client, known: Answer) -> list[IPv4Address]:
        """The addresses that the packet filter must have first."""
        if client.policy.mode is not Mode.ALLOWLIST:
            return []
        return self._pins.book(client.sandbox_id).missing(self._reachable(known), known.ttl_s, self._clock())

    # --- what is decided without asking anybody --------------------------------------------------------------------------------------

    def _refusal(self, client: Client, query: Query) -> Reply | None:
        """The reply to what is not looked up; None: go on."""
        now, name = self._clock(), query.name
        allowance = self._allowances.get(client.sandbox_id)
        if allowance is None:
            allowance = self._allowances[client.sandbox_id] = Allowance(now)
        if not allowance.takes_question(now):
            return self._denied(client, name, Rule.DNS_RATE, "Ask less often.")
        if query.type == RecordType.PTR:
            return Reply(NO_SUCH_NAME)
        if not name or query.type not in (RecordType.A, *_WITHOUT_CONTENT):
            return self._denied(client, name, Rule.DNS_TYPE, "Only addresses (A records) can be looked up.")
        if not client.policy.allows_name(name):
            line = remedy(Rule.NOT_LISTED, "", [name])
            return self._denied(client, name, Rule.NOT_LISTED, line, NO_SUCH_NAME, told=query.type == RecordType.A)
        if query.type != RecordType.A:
            return Reply(NO_RECORDS)
        if not allowance.takes_name(name, now, restricted=client.policy.mode is Mode.ALLOWLIST):
            return self._denied(client, name, Rule.DNS_NAMES, "Look up fewer new names, or shorter ones.")
        return None

    def _denied(self, client: Client, name: str, rule: str, line: str, answer: Answer = REFUSED, *, told: bool = True) -> Reply:
        """The refusal, with what would allow it in one line.

        Args:    told: whether the log gets a line; of the questions that programs ask in pairs, one is enough.
        """
        if told:
            self._note(client, name, rule, allowed=False, line=line)
        return Reply(answer, (ExtendedError.PROHIBITED, line))

    def _note(self, client: Client, name: str, rule: str, *, allowed: bool, line: str = "") -> None:
        self._gate.note(client.sandbox_id, Attempt(allowed=allowed, protocol="dns", name=name, rule=rule, remedy=line))
