"""Which addresses a sandbox got for which names: what it may connect to by name, and what its connections are called in the log.

Bounded per sandbox; no I/O. Times are seconds of a clock that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

import msgspec

LASTS_S: Final = 900.0
"""How long an address may be connected to beyond its time in DNS: programs keep what they got longer than they should."""
MAX_ADDRESSES: Final = 4_096
"""Of one sandbox; beyond that those that end first go."""
MAX_NAMES: Final = 8
"""Of one address: big hosts serve names by the thousand from the same ones."""


class Pin(msgspec.Struct):
    """What is known of an address of one sandbox."""

    until: float
    names: tuple[str, ...]
    """Those it was given for, the latest last."""


class PinBook:
    """The pins of one sandbox. An address is noted when the packet filter has it, never before."""

    def __init__(self, pins: Mapping[IPv4Address, Pin] | None = None) -> None:
        self._pins: dict[IPv4Address, Pin] = dict(pins or {})

    def __len__(self) -> int:
        return len(self._pins)

    def names_of(self, address: IPv4Address, now: float) -> tuple[str, ...]:
        """The names that ``address`` was given for, the latest last; empty: none, or too long ago."""
        pin = self._pins.get(address)
        return pin.names if pin and pin.until > now else ()

    def missing(self, addresses: Iterable[IPv4Address], ttl_s: float, now: float) -> list[IPv4Address]:
        """Those that are not pinned for long enough to be given for another ``ttl_s``."""
        # Half the margin is left at least: not every question need change the packet filter.
        enough = now + ttl_s + LASTS_S / 2
        return [address for address in addresses if (pin := self._pins.get(address)) is None or pin.until < enough]

    def add(self, name: str, addresses: Iterable[IPv4Address], *, until: float, now: float) -> None:
        """Note that ``addresses`` were given for ``name`` and are pinned ``until`` then, or longer."""
        for address in addresses:
            pin = self._pins.setdefault(address, Pin(until, ()))
            pin.until = max(pin.until, until)
            if pin.names[-1:] != (name,):
                pin.names = (*(known for known in pin.names if known != name), name)[-MAX_NAMES:]
        if len(self._pins) > MAX_ADDRESSES:
            self._make_room(now)

    def keep_only(self, allowed: Callable[[str], bool]) -> list[IPv4Address]:
        """Forget the names that are not ``allowed``. Returns: addresses that are left without any, and forgotten, too."""
        for pin in self._pins.values():
            pin.names = tuple(name for name in pin.names if allowed(name))
        bare = [address for address, pin in self._pins.items() if not pin.names]
        for address in bare:
            del self._pins[address]
        return bare

    def left(self, now: float) -> dict[IPv4Address, float]:
        """Each address with the seconds it has left: what the packet filter should have."""
        return {address: pin.until - now for address, pin in self._pins.items() if pin.until > now}

    def _make_room(self, now: float) -> None:
        """An eighth at a time, so that a sandbox that asks for ever more does not make this a habit."""
        by_end = sorted(self._pins.items(), key=lambda item: item[1].until, reverse=True)
        self._pins = {address: pin for address, pin in by_end[: MAX_ADDRESSES * 7 // 8] if pin.until > now}
