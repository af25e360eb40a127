"""Which addresses a sandbox's link gets: the pool cut into blocks of four, counted from 0. Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import msgspec

from cove.exception import InvalidError, ResourceExhaustedError

PREFIX: Final = 30
_BLOCK: Final = 4


class Block(msgspec.Struct, frozen=True):
    """One link's addresses. /30 rather than /31: guests' network stacks know what to make of it."""

    index: int
    gateway: IPv4Address
    """The host's end."""
    address: IPv4Address
    """The sandbox's end."""


class AddressPool:
    """Blocks by number. Which are taken is the caller's knowledge."""

    def __init__(self, network: IPv4Network) -> None:
        self.network = network
        self._next = 0

    def __len__(self) -> int:
        return self.network.num_addresses // _BLOCK - 1

    @property
    def service(self) -> IPv4Address:
        """The node's own address in the pool: in the last block, which no sandbox gets."""
        return self.block(len(self)).gateway

    def index_of(self, address: IPv4Address) -> int | None:
        """The number of the block that has ``address``; None if it is no sandbox's."""
        index = (int(address) - int(self.network.network_address)) // _BLOCK
        return index if 0 <= index < len(self) else None

    def block(self, index: int) -> Block:
        base = self.network.network_address + index * _BLOCK
        return Block(index, base + 1, base + 2)

    def choose(self, is_free: Callable[[Block], bool]) -> Block:
        """A block that ``is_free``, going round: addresses rest as long as can be before they serve another sandbox.

        Raises: ResourceExhaustedError: all are taken.
        """
        for step in range(len(self)):
            block = self.block((self._next + step) % len(self))
            if is_free(block):
                self._next = (block.index + 1) % len(self)
                return block
        raise ResourceExhaustedError(f"All {len(self)} links of {self.network} are in use.", remedy="Use a larger network_pool.")


def parse_pool(text: str) -> AddressPool:
    """The pool written as ``10.200.0.0/16``. Raises: InvalidError: not a private IPv4 range, or fewer than eight addresses."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise InvalidError(f"network_pool is not an IPv4 range: {error}.", remedy="Write it like 10.200.0.0/16.") from error
    if network.num_addresses < 2 * _BLOCK or not network.is_private:
        raise InvalidError(f"network_pool {network} cannot be used.", remedy="Use a private IPv4 range of eight addresses or more.")
    return AddressPool(network)


def link_number(name: str, prefix: str) -> int | None:
    """The block number in an interface's name; None if it is not one of ours."""
    number = name.removeprefix(prefix)
    if number == name or not number.isascii() or not number.isdecimal():
        return None
    return int(number)
