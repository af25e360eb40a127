"""Changes of the packet filter that come with every sandbox, as nf_tables messages. Pure. Source: linux/netfilter/nf_tables.h.

Elements of sets and maps, and chains of two kinds of rule: "address in this set: go there" and "go there". All else is in the
table from the start (``rules``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from sandboxd.network.framing import CREATE, attribute, c_string
from sandboxd.network.nfnetlink import NFTABLES, NfMessage

_INET: Final = 1
"""NFPROTO_INET: tables for IPv4 and IPv6."""

_NEW_CHAIN, _DELETE_CHAIN = 3, 5
_NEW_RULE, _DELETE_RULE = 6, 8
_NEW_SET, _DELETE_SET = 9, 11
_NEW_ELEMENTS, _DELETE_ELEMENTS = 12, 14
_GET_RULE: Final = 7
_GET_OBJECT: Final = 19
_APPEND: Final = 0x800

_NESTED: Final = 0x8000
_TABLE, _LIST_ITEM = 1, 1
_CHAIN_NAME, _RULE_CHAIN, _RULE_EXPRESSIONS = 3, 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_BYTES, _SET_ID = 2, 3, 4, 5, 10
_ELEMENTS_SET, _ELEMENTS_LIST = 2, 3
_KEY, _DATA, _FLAGS, _TIMEOUT = 1, 2, 3, 4
_VALUE, _VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_OBJECT_TYPE: Final = 3

_SET_INTERVAL: Final = 4
_IPV4_TYPE: Final = 7
"""nft's number for addresses, for its listings. Source: nftables, include/datatype.h."""
_INTERVAL_END: Final = 1
_GOTO: Final = -4
_REGISTER: Final = 1
_VERDICT_REGISTER: Final = 0
_META_FAMILY: Final = 15
_IPV4: Final = 2
_EQUAL: Final = 0
_NETWORK_HEADER: Final = 1
_SOURCE_OFFSET: Final = 12
_DESTINATION_OFFSET: Final = 16
"""Of the addresses in an IPv4 header."""
_COUNTER: Final = 1
_INTERFACE_BYTES: Final = 16
_ELEMENTS_AT_ONCE: Final = 512
"""An attribute has at most 65,535 bytes."""


def interface_key(link: str) -> bytes:
    return link.encode().ljust(_INTERFACE_BYTES, b"\0")


def pair_key(link: str, address: IPv4Address) -> bytes:
    """Interface and address in one."""
    return interface_key(link) + address.packed


def add_keys(table: str, name: str, keys: Sequence[bytes], *, lasts_s: float = 0) -> list[NfMessage]:
    """Put ``keys`` into a set. Those that are in it stay as they are. ``lasts_s``: after which they go again, where the set has that."""
    timeout = attribute(_TIMEOUT, struct.pack(">Q", max(1, round(lasts_s * 1000)))) if lasts_s else b""
    return _elements(_NEW_ELEMENTS, CREATE, table, name, [_key(key) + timeout for key in keys])


def delete_keys(table: str, name: str, keys: Sequence[bytes]) -> list[NfMessage]:
    """Take ``keys`` out of a set or a map; ENOENT if one is not in it."""
    return _elements(_DELETE_ELEMENTS, 0, table, name, [_key(key) for key in keys])


def add_gotos(table: str, name: str, chains: Sequence[tuple[bytes, str]]) -> list[NfMessage]:
    """Put (key, chain to go to) into a verdict map; EEXIST if a key has another."""
    elements = [_key(key) + _nested(_DATA, _verdict(chain)) for key, chain in chains]
    return _elements(_NEW_ELEMENTS, CREATE, table, name, elements)


def add_ranges(table: str, name: str, networks: Sequence[IPv4Network]) -> list[NfMessage]:
    """A new set of addresses that has exactly ``networks``, which do not overlap or touch."""
    flags, kind = struct.pack(">I", _SET_INTERVAL), struct.pack(">I", _IPV4_TYPE)
    body = _in_table(table) + attribute(_SET_NAME, c_string(name)) + attribute(_SET_FLAGS, flags) + attribute(_SET_KEY_TYPE, kind)
    body += attribute(_SET_KEY_BYTES, struct.pack(">I", 4)) + attribute(_SET_ID, struct.pack(">I", 1))
    edges = [edge for network in networks for edge in _edges(network)]
    return [_message(_NEW_SET, CREATE, body), *_elements(_NEW_ELEMENTS, CREATE, table, name, edges)]


def delete_set(table: str, name: str) -> NfMessage:
    return _message(_DELETE_SET, 0, _in_table(table) + attribute(_SET_NAME, c_string(name)))


def add_chain(table: str, name: str) -> NfMessage:
    return _message(_NEW_CHAIN, CREATE, _in_table(table) + attribute(_CHAIN_NAME, c_string(name)))


def delete_chain(table: str, name: str) -> list[NfMessage]:
    """With its rules."""
    rules = _in_table(table) + attribute(_RULE_CHAIN, c_string(name))
    return [_message(_DELETE_RULE, 0, rules), _message(_DELETE_CHAIN, 0, _in_table(table) + attribute(_CHAIN_NAME, c_string(name)))]


def add_goto(table: str, chain: str, target: str, *, listed: str = "", by_source: bool = False) -> NfMessage:
    """A rule at the end of ``chain``: go to ``target``; with ``listed`` only if that set has the packet's destination (or its source)."""
    expressions = [_expression("immediate", attribute(1, struct.pack(">I", _VERDICT_REGISTER)) + _nested(2, _verdict(target)))]
    if listed:
        offset = _SOURCE_OFFSET if by_source else _DESTINATION_OFFSET
        load = ((1, _REGISTER), (2, _NETWORK_HEADER), (3, offset), (4, 4))
        payload = b"".join(attribute(kind, struct.pack(">I", value)) for kind, value in load)
        family = attribute(1, struct.pack(">I", _REGISTER)) + attribute(2, struct.pack(">I", _META_FAMILY))
        is_ipv4 = attribute(1, struct.pack(">I", _REGISTER)) + attribute(2, struct.pack(">I", _EQUAL))
        is_ipv4 += _nested(3, attribute(_VALUE, bytes([_IPV4])))
        lookup = attribute(1, c_string(listed)) + attribute(2, struct.pack(">I", _REGISTER))
        expressions[:0] = [
            _expression("meta", family),
            _expression("cmp", is_ipv4),
            _expression("payload", payload),
            _expression("lookup", lookup),
        ]
    body = _in_table(table) + attribute(_RULE_CHAIN, c_string(chain)) + _nested(_RULE_EXPRESSIONS, b"".join(expressions))
    return _message(_NEW_RULE, CREATE | _APPEND, body)


def list_rules(table: str, chain: str) -> NfMessage:
    return _message(_GET_RULE, 0, _in_table(table) + attribute(_RULE_CHAIN, c_string(chain)))


def list_counters(table: str) -> NfMessage:
    return _message(_GET_OBJECT, 0, _in_table(table) + attribute(_OBJECT_TYPE, struct.pack(">I", _COUNTER)))


def _message(kind: int, flags: int, attributes: bytes) -> NfMessage:
    return NfMessage(NFTABLES, kind, flags, _INET, attributes)


def _elements(kind: int, flags: int, table: str, name: str, elements: Sequence[bytes]) -> list[NfMessage]:
    head = _in_table(table) + attribute(_ELEMENTS_SET, c_string(name))
    starts = range(0, len(elements), _ELEMENTS_AT_ONCE)
    parts = [elements[start : start + _ELEMENTS_AT_ONCE] for start in starts]
    return [_message(kind, flags, head + _nested(_ELEMENTS_LIST, b"".join(_nested(_LIST_ITEM, item) for item in part))) for part in parts]


def _edges(network: IPv4Network) -> Iterator[bytes]:
    """Where a range begins and where what is not in it begins; beyond the last address there is nothing."""
    yield _key(network.network_address.packed)
    beyond = int(network.broadcast_address) + 1
    if beyond < 2**32:
        yield _key(beyond.to_bytes(4, "big")) + attribute(_FLAGS, struct.pack(">I", _INTERVAL_END))


def _key(key: bytes) -> bytes:
    return _nested(_KEY, attribute(_VALUE, key))


def _verdict(chain: str) -> bytes:
    code = attribute(_VERDICT_CODE, struct.pack(">i", _GOTO))
    return _nested(_VERDICT, code + attribute(_VERDICT_CHAIN, c_string(chain)))


def _expression(name: str, data: bytes) -> bytes:
    return _nested(_LIST_ITEM, attribute(_EXPRESSION_NAME, c_string(name)) + _nested(_EXPRESSION_DATA, data))


def _in_table(table: str) -> bytes:
    return attribute(_TABLE, c_string(table))


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | _NESTED, value)
