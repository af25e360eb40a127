"""What sandboxes are told of names, with an upstream that is a table."""

from __future__ import annotations

import asyncio
import secrets
from ipaddress import IPv4Address

import pytest

from cove.exception import InternalFailure
from policies.egress import EgressPolicy, Mode
from sandboxd.egress.dns.cache import MAX_TTL_S
from sandboxd.egress.dns.limits import LETTERS_BURST, QUESTIONS_BURST
from sandboxd.egress.dns.message import Answer, Rcode, RecordType, read_query
from sandboxd.egress.dns.resolver import Reply, Resolver
from sandboxd.egress.dns.upstream import Upstream
from sandboxd.egress.model import Client
from sandboxd.egress.pin_store import PinStore
from sandboxd.egress.pins import LASTS_S
from tests.support import dns_messages as dns
from tests.support.egress_node import FakeNode
from tests.unit.sandboxd.egress.conftest import Clock

OPEN = EgressPolicy()
LIST = EgressPolicy(mode=Mode.ALLOWLIST, domains=("*.example.com", "pypi.org"))
PUBLIC, OTHER, METADATA = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv4Address("169.254.169.254")


class Table(Upstream):
    """An upstream without sockets."""

    def __init__(self) -> None:
        super().__init__(list)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.held: asyncio.Event | None = None
        """Answers wait for it."""

    async def resolve(self, name: str) -> Answer:
        self.asked.append(name)
        if self.held:
            await self.held.wait()
        return self.answers.get(name, Answer(Rcode.NXDOMAIN, (), 60))

    def has(self, name: str, *addresses: IPv4Address, ttl_s: int = 60) -> None:
        self.answers[name] = Answer(Rcode.NOERROR, addresses, ttl_s)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def resolver(node: FakeNode, table: Table, pins: PinStore, clock: Clock) -> Resolver:
    return Resolver(node, table, pins, clock)


async def ask(resolver: Resolver, client: Client, name: str, kind: int = dns.A) -> Reply:
    reply = resolver.answer(client, read_query(dns.question(name, kind)))
    return reply if isinstance(reply, Reply) else await reply


async def test_an_allowed_name_is_pinned_before_its_addresses_are_told(
    resolver: Resolver, node: FakeNode, table: Table, pins: PinStore, clock: Clock
) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("pypi.org", PUBLIC, OTHER)
    node.pinning.clear()
    asking = asyncio.ensure_future(ask(resolver, client, "pypi.org"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not asking.done()
    assert pins.book(client.sandbox_id).names_of(PUBLIC, clock()) == ()
    node.pinning.set()
    reply = await asking
    assert reply.answer.addresses == (PUBLIC, OTHER)
    assert node.pinned == [(client.sandbox_id, ["192.0.2.1", "192.0.2.2"], 60 + LASTS_S)]
    assert pins.book(client.sandbox_id).names_of(PUBLIC, clock()) == ("pypi.org",)
    assert [attempt.name for _, attempt in node.notes if attempt.allowed] == ["pypi.org"]


async def test_a_name_that_is_not_allowed_is_refused_and_never_leaves(resolver: Resolver, node: FakeNode, table: Table) -> None:
    client = node.add("10.200.0.2", LIST)
    for name in ("evil.example", "example.com", "pypi.org.evil.example", "xpypi.org"):
        reply = await ask(resolver, client, name)
        assert (reply.answer.rcode, reply.answer.addresses) == (Rcode.NXDOMAIN, ())
        assert reply.why is not None
        assert name in reply.why[1]
    assert table.asked == []
    assert node.denials()[0] == ("not_listed", "evil.example")
    assert len(node.denials()) == 4


async def test_programs_that_ask_for_ipv6_too_cause_one_line_in_the_log(resolver: Resolver, node: FakeNode, table: Table) -> None:
    client = node.add("10.200.0.2", LIST)
    for kind in (dns.A, dns.AAAA, RecordType.HTTPS):
        assert (await ask(resolver, client, "evil.example", kind)).answer.rcode is Rcode.NXDOMAIN
    assert len(node.denials()) == 1
    table.has("pypi.org", PUBLIC)
    assert (await ask(resolver, client, "pypi.org", dns.AAAA)).answer == Answer(Rcode.NOERROR, (), 1)
    assert table.asked == []


@pytest.mark.parametrize("kind", [dns.TXT, dns.MX, dns.NS, dns.CNAME, dns.SOA, 10, 255, 65_280])
async def test_odd_types_are_refused_unasked(resolver: Resolver, node: FakeNode, table: Table, kind: int) -> None:
    for policy in (OPEN, LIST):
        assert (await ask(resolver, node.add("10.200.0.2", policy), "a.example.com", kind)).answer.rcode is Rcode.REFUSED
    assert table.asked == []
    assert {rule for rule, _ in node.denials()} == {"dns_type"}


async def test_reverse_lookups_find_nothing(resolver: Resolver, node: FakeNode, table: Table) -> None:
    reply = await ask(resolver, node.add("10.200.0.2", OPEN), "1.2.0.192.in-addr.arpa", dns.PTR)
    assert reply.answer.rcode is Rcode.NXDOMAIN
    assert (table.asked, node.denials()) == ([], [])


async def test_rebinding_addresses_that_no_sandbox_may_reach_are_taken_out(resolver: Resolver, node: FakeNode, table: Table) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("a.example.com", METADATA, PUBLIC, IPv4Address("10.200.0.6"))
    table.has("b.example.com", METADATA)
    assert (await ask(resolver, client, "a.example.com")).answer.addresses == (PUBLIC,)
    reply = await ask(resolver, client, "b.example.com")
    assert (reply.answer.rcode, reply.answer.addresses) == (Rcode.NXDOMAIN, ())
    assert node.denials() == [("link_local", "b.example.com")]
    assert [addresses for _, addresses, _ in node.pinned] == [["192.0.2.1"]]


async def test_upstream_is_asked_again_when_the_time_is_over(resolver: Resolver, node: FakeNode, table: Table, clock: Clock) -> None:
    client = node.add("10.200.0.2", OPEN)
    table.has("a.example", PUBLIC, ttl_s=30)
    assert (await ask(resolver, client, "a.example")).answer.ttl_s == 30
    clock.now += 29.5
    assert (await ask(resolver, client, "A.example")).answer.ttl_s == 1
    assert table.asked == ["a.example"]
    clock.now += 0.5
    await ask(resolver, client, "a.example")
    assert table.asked == ["a.example"] * 2


async def test_times_of_upstream_are_bounded(resolver: Resolver, node: FakeNode, table: Table) -> None:
    table.has("a.example", PUBLIC, ttl_s=2**31 - 1)
    assert (await ask(resolver, node.add("10.200.0.2", OPEN), "a.example")).answer.ttl_s == MAX_TTL_S


async def test_the_kernel_is_told_again_before_a_pin_ends(resolver: Resolver, node: FakeNode, table: Table, clock: Clock) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("pypi.org", PUBLIC, ttl_s=60)
    for _ in range(40):
        await ask(resolver, client, "pypi.org")
        clock.now += 30
    ends = 0.0
    asked_at = 1000.0
    assert len(node.pinned) < 5
    for _, _, lasts_s in node.pinned:
        assert lasts_s == 60 + LASTS_S
        ends = max(ends, asked_at + lasts_s)
    assert ends > 1000


async def test_what_could_not_be_pinned_is_not_told(resolver: Resolver, node: FakeNode, table: Table, pins: PinStore) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("pypi.org", PUBLIC)
    node.pin_error = InternalFailure("nftables refused")
    assert (await ask(resolver, client, "pypi.org")).answer == Answer(Rcode.SERVFAIL, (), 1)
    assert pins.list_() == frozenset()
    node.pin_error = None
    assert (await ask(resolver, client, "pypi.org")).answer.addresses == (PUBLIC,)


async def test_a_policy_that_changed_while_a_name_was_looked_up(resolver: Resolver, node: FakeNode, table: Table) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("pypi.org", PUBLIC)
    node.pinning.clear()
    asking = asyncio.ensure_future(ask(resolver, client, "pypi.org"))
    await asyncio.sleep(0)
    node.clients[IPv4Address("10.200.0.2")] = Client(client.sandbox_id, EgressPolicy(mode=Mode.ALLOWLIST, domains=("other.example",)))
    node.pinning.set()
    assert (await asking).answer.rcode is Rcode.SERVFAIL


async def test_open_sandboxes_need_no_pins(resolver: Resolver, node: FakeNode, table: Table, pins: PinStore, clock: Clock) -> None:
    client = node.add("10.200.0.2", OPEN)
    table.has("a.example", PUBLIC)
    await ask(resolver, client, "a.example")
    assert node.pinned == []
    assert pins.book(client.sandbox_id).names_of(PUBLIC, clock()) == ("a.example",)


async def test_one_sandbox_cannot_ask_without_end(resolver: Resolver, node: FakeNode, table: Table, clock: Clock) -> None:
    client, other = node.add("10.200.0.2", OPEN), node.add("10.200.0.6", OPEN)
    table.has("a.example", PUBLIC)
    for _ in range(int(QUESTIONS_BURST)):
        assert (await ask(resolver, client, "a.example")).answer.rcode is Rcode.NOERROR
    assert (await ask(resolver, client, "a.example")).answer.rcode is Rcode.REFUSED
    assert node.denials() == [("dns_rate", "a.example")]
    assert (await ask(resolver, other, "a.example")).answer.rcode is Rcode.NOERROR
    clock.now += 1
    assert (await ask(resolver, client, "a.example")).answer.rcode is Rcode.NOERROR


async def test_a_tunnel_through_an_allowed_wildcard_runs_dry(resolver: Resolver, node: FakeNode, table: Table, clock: Clock) -> None:
    client = node.add("10.200.0.2", LIST)
    carried = 0
    for _ in range(400):
        clock.now += 0.01
        name = f"{secrets.token_hex(30)}.{secrets.token_hex(30)}.example.com"
        if (await ask(resolver, client, name)).answer.rcode is not Rcode.REFUSED:
            carried += len(name)
    assert carried <= LETTERS_BURST + 400
    assert ("dns_names", name) in node.denials()
    table.has("pypi.org", PUBLIC)
    clock.now += 1
    assert (await ask(resolver, client, "pypi.org")).answer.addresses == (PUBLIC,)


async def test_a_build_that_fetches_from_many_hosts_is_no_tunnel(resolver: Resolver, node: FakeNode, clock: Clock) -> None:
    client = node.add("10.200.0.2", LIST)
    for number in range(300):
        clock.now += 0.05
        assert (await ask(resolver, client, f"bucket-{number}.example.com")).answer.rcode is not Rcode.REFUSED


async def test_a_forgotten_sandbox_leaves_nothing(resolver: Resolver, node: FakeNode, table: Table, pins: PinStore) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("pypi.org", PUBLIC)
    await ask(resolver, client, "pypi.org")
    assert pins.list_() == {client.sandbox_id}
    resolver.forget(client.sandbox_id)
    pins.forget(client.sandbox_id)
    assert pins.list_() == frozenset()


async def test_a_sandbox_that_ends_while_it_asks_leaves_nothing(resolver: Resolver, node: FakeNode, table: Table, pins: PinStore) -> None:
    client = node.add("10.200.0.2", LIST)
    table.has("pypi.org", PUBLIC)
    table.held = asyncio.Event()
    asking = asyncio.ensure_future(ask(resolver, client, "pypi.org"))
    await asyncio.sleep(0)
    resolver.forget(client.sandbox_id)
    pins.forget(client.sandbox_id)
    table.held.set()
    assert (await asking).answer.rcode is Rcode.SERVFAIL
    assert (pins.list_(), node.pinned) == (frozenset(), [])
