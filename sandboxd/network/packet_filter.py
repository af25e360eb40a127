"""The packet filter in force: which sandbox may send where. One table per node, in the kernel; this object knows what is in it.

Large changes (a start, a table that somebody flushed) replace the whole table in one transaction. What comes and goes with sandboxes,
their policies and names is changed by small ones. Should the table not be as expected, it is replaced whole.
"""

from __future__ import annotations

import errno
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

from cove.exception import ConflictError
from policies.egress.model import EgressPolicy
from sandboxd.network import changes, membership, rules
from sandboxd.network.framing import find_attributes
from sandboxd.network.membership import Member
from sandboxd.network.nfnetlink import BODY_OFFSET, NfMessage, NfNetlink
from sandboxd.network.nftables import Nftables

_UNEXPECTED: Final = (errno.ENOENT, errno.EEXIST, errno.EBUSY)
_OBJECT_NAME, _OBJECT_DATA, _COUNTER_PACKETS = 2, 4, 2
_ENTRY_CHAINS: Final = ("input", "prerouting", "forward", "output", "postrouting")


class PacketFilter:
    """One node's table. Methods take a fraction of a millisecond, but for :meth:`build`; they may come from any thread.

    Args:    clock: monotonic seconds.
    """

    def __init__(self, spec: rules.Filter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self._clock = clock
        self._nftables = Nftables()
        # Kept open: the kernel ends what was deleted before it closes a socket, which takes it tens of milliseconds.
        self._netlink = NfNetlink()
        weakref.finalize(self, self._netlink.close)
        self._lock = threading.RLock()
        self._members: dict[str, Member] = {}
        """By link: what the table has, or has to be given when it is replaced."""

    def build(self, members: Mapping[str, Member] | None = None) -> None:
        """Replace the table in one transaction: by one for ``members``, or for those it had. Raises: InternalFailure: nftables refuses."""
        with self._lock:
            if members is not None:
                self._members = dict(members)
            table, now = self.spec.table, self._clock()
            parts = (membership.script(table, link, member, now) for link, member in self._members.items())
            self._nftables.run(rules.build(self.spec) + "".join(parts))

    def delete(self) -> None:
        """Remove the table. Raises: InternalFailure."""
        with self._lock:
            self._members.clear()
            self._nftables.run(rules.delete(self.spec.table))
            self._netlink.close()

    def ensure(self) -> bool:
        """Put the table back if somebody removed or emptied it. Returns: whether that was so. Raises: InternalFailure."""
        with self._lock:
            if self._is_whole():
                return False
            self.build()
            return True

    def denied(self) -> dict[str, int]:
        """Packets denied since the table was built, by rule. Raises: OSError: there is none."""
        with self._lock:
            found = [_counter(body) for body in self._netlink.dump(changes.list_counters(self.spec.table))]
        return {name.removeprefix("denied_"): packets for name, packets in found}

    # --- sandboxes ---------------------------------------------------------------------------------------------------------------------

    def admit(self, link: str, address: IPv4Address, policy: EgressPolicy) -> None:
        """Let packets from ``link`` in, if they come from ``address`` and ``policy`` allows them. Raises: OSError, InternalFailure."""
        with self._lock:
            self._members[link] = Member(address, policy)
            self._apply([*membership.admission(self.spec.table, link, address), *membership.added(self.spec.table, link, policy)])

    def expel(self, link: str) -> None:
        """Let nothing from ``link`` in any more. Idempotent. Raises: OSError, InternalFailure."""
        with self._lock:
            if (member := self._members.pop(link, None)) is None:
                return
            table, pins = self.spec.table, member.pins_left(self._clock())
            address = membership.dismissal(table, link, member.address)
            self._apply([*address, *membership.removed(table, link, member.policy), *membership.unpinned(table, link, pins)])

    def set_policy(self, link: str, policy: EgressPolicy) -> None:
        """Put ``policy`` in the place of the one in force, in one step. Raises: ConflictError: no such link. OSError, InternalFailure."""
        with self._lock:
            member = self._member(link)
            before, member.policy = member.policy, policy
            self._apply([*membership.removed(self.spec.table, link, before), *membership.added(self.spec.table, link, policy)])

    def policy_of(self, link: str) -> EgressPolicy:
        """The policy in force. Raises: ConflictError: no such link."""
        return self._member(link).policy

    def pin(self, link: str, addresses: Iterable[IPv4Address], lasts_s: float) -> None:
        """Let ``link`` reach ``addresses`` by name for so long, or longer where it may already. Raises: ConflictError, OSError."""
        with self._lock:
            member, until = self._member(link), self._clock() + lasts_s
            fresh = {address: until for address in addresses if member.pins.get(address, 0.0) < until}
            known = [address for address in fresh if address in member.pins]
            member.pins |= fresh
            # An element's time cannot be prolonged in place: it is taken out and put in again in one step.
            self._apply([*membership.unpinned(self.spec.table, link, known), *membership.pinned(self.spec.table, link, fresh, lasts_s)])
            self._forget_stale(member)

    def unpin(self, link: str, addresses: Iterable[IPv4Address]) -> None:
        """Forget ``addresses``. Raises: ConflictError, OSError."""
        with self._lock:
            member = self._member(link)
            gone = [address for address in addresses if member.pins.pop(address, None) is not None]
            self._apply(membership.unpinned(self.spec.table, link, gone))

    def _member(self, link: str) -> Member:
        try:
            return self._members[link]
        except KeyError:
            raise ConflictError("The sandbox's network is being made, or has ended.", remedy="Look at its state.") from None

    # --- changes -----------------------------------------------------------------------------------------------------------------------

    def _apply(self, messages: list[NfMessage]) -> None:
        """Change the table, or replace it if it is not what it should be."""
        if not messages:
            return
        try:
            self._netlink.batch(messages)
        except OSError as error:
            if error.errno not in _UNEXPECTED:
                raise
            self.build()

    def _forget_stale(self, member: Member) -> None:
        now = self._clock()
        member.pins = {address: until for address, until in member.pins.items() if until > now}

    def _is_whole(self) -> bool:
        try:
            return all(list(self._netlink.dump(changes.list_rules(self.spec.table, chain))) for chain in _ENTRY_CHAINS)
        except FileNotFoundError:
            return False


def _counter(body: bytes) -> tuple[str, int]:
    found = find_attributes(body, BODY_OFFSET, (_OBJECT_NAME, _OBJECT_DATA))
    values = find_attributes(found.get(_OBJECT_DATA, b""), 0, (_COUNTER_PACKETS,))
    (packets,) = struct.unpack(">Q", values.get(_COUNTER_PACKETS, bytes(8)))
    return found.get(_OBJECT_NAME, b"").rstrip(b"\0").decode(errors="replace"), packets
