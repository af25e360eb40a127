"""The resolver over real sockets, with a nameserver that answers, lies, or says nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import structlog.testing

from policies.egress import EgressPolicy, Mode
from sandboxd.egress import EgressServices
from sandboxd.egress.dns import server
from sandboxd.egress.dns.upstream import Upstream
from tests.integration.sandboxd.egress.conftest import Serving
from tests.support import dns_messages as dns
from tests.support.dns_client import SILENCE_S, ask, exchange, stream
from tests.support.dns_upstream import FakeUpstream, from_table
from tests.support.egress_node import FakeNode

SANDBOX, STRANGER = "127.0.0.2", "127.0.0.9"
OPEN = EgressPolicy()
LIST = EgressPolicy(mode=Mode.ALLOWLIST, domains=("*.example.com",))
TABLE = {"www.example.com": [dns.alias("www.example.com", "edge.example"), dns.address("edge.example", "192.0.2.1")]}


async def by_stream(port: int, *queries: bytes) -> list[dns.Parsed]:
    async with stream(port) as (reader, writer):
        writer.write(b"".join(len(query).to_bytes(2, "big") + query for query in queries))
        return [dns.parse(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))) for _ in queries]


async def test_a_name_over_both_protocols(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    node.add(SANDBOX, LIST)
    upstream.answers = from_table(TABLE)
    assert (await ask(services.dns_port, "www.example.com")).addresses == ["192.0.2.1"]
    first, second = await by_stream(services.dns_port, dns.question("WWW.example.com"), dns.question("evil.example", query_id=8))
    assert (first.addresses, second.rcode, second.id) == (["192.0.2.1"], 3, 8)
    assert upstream.asked == ["www.example.com"]


async def test_strangers_get_no_answer(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    node.add(SANDBOX, OPEN)
    with pytest.raises(TimeoutError):
        await exchange(services.dns_port, dns.question("www.example.com"), source=STRANGER, patience_s=SILENCE_S)
    async with stream(services.dns_port, source=STRANGER) as (reader, _):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    assert upstream.asked == []


async def test_a_fault_of_the_resolver_is_an_answer_too(services: EgressServices, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Upstream, name: str) -> None:
        raise KeyError(name)

    node.add(SANDBOX, OPEN)
    monkeypatch.setattr(Upstream, "resolve", broken)
    with structlog.testing.capture_logs() as logged:
        assert (await ask(services.dns_port, "www.example.com")).rcode == 2
        assert [reply.rcode for reply in await by_stream(services.dns_port, *[dns.question("www.example.com")] * 2)] == [2, 2]
    assert [line["event"] for line in logged] == ["question failed"] * 3


async def test_many_who_ask_at_once_cause_one_question(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    for number in range(2, 8):
        node.add(f"127.0.0.{number}", OPEN)
    upstream.answers = from_table(TABLE)
    upstream.held = asyncio.Event()
    asking = [asyncio.ensure_future(ask(services.dns_port, "www.example.com", source=f"127.0.0.{number}")) for number in range(2, 8)]
    await upstream.was_asked(1)
    upstream.held.set()
    assert [(await reply).addresses for reply in asking] == [["192.0.2.1"]] * 6
    assert upstream.asked == ["www.example.com"]


async def test_poisoned_answers_are_passed_over(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    node.add(SANDBOX, OPEN)
    honest = from_table(TABLE)

    def lying(query: bytes, by_stream: bool) -> bytes | None:
        wrong_id = (int.from_bytes(query[:2], "big") + 1) % 65_536
        forged = dns.answer(query, [dns.address("www.example.com", "203.0.113.66")], query_id=wrong_id)
        answers = [forged, dns.answer(query, asked=dns.encode_name("other.example") + b"\0\1\0\1"), b"rubbish", honest(query, by_stream)]
        for answer in answers[:-1]:
            assert answer is not None
            upstream.send_too(answer)
        return answers[-1]

    upstream.answers = lying
    assert (await ask(services.dns_port, "www.example.com")).addresses == ["192.0.2.1"]


async def test_a_long_answer_is_fetched_by_stream(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    node.add(SANDBOX, OPEN)
    records = [dns.address("many.example", f"192.0.2.{number}") for number in range(1, 15)]
    upstream.answers = lambda query, by_stream: dns.answer(query, records) if by_stream else dns.answer(query, flags=0x8380)
    assert len((await ask(services.dns_port, "many.example")).addresses) == 14
    assert upstream.asked == ["many.example", "many.example by stream"]


async def test_a_nameserver_that_says_nothing(
    services: EgressServices, node: FakeNode, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxd.egress.dns.upstream.TRY_S", 0.05)
    node.add(SANDBOX, OPEN)
    upstream.answers = lambda query, by_stream: None
    reply = await ask(services.dns_port, "www.example.com", edns=1232)
    assert (reply.rcode, reply.extended_error is not None) == (2, True)
    assert len(upstream.asked) == 3
    upstream.answers = from_table(TABLE)
    assert (await ask(services.dns_port, "www.example.com")).addresses == ["192.0.2.1"]


async def test_nameservers_are_asked_in_turn(upstream: FakeUpstream) -> None:
    upstream.answers = from_table(TABLE)
    async with FakeUpstream.serving(lambda query, by_stream: dns.answer(query, rcode=5)) as refusing:
        nobody = refusing.server._replace(port=9)  # discard: nothing listens there
        answer = await Upstream(lambda: [nobody, refusing.server, upstream.server]).resolve("www.example.com")
    assert [str(address) for address in answer.addresses] == ["192.0.2.1"]
    assert len(refusing.asked) == 1


async def test_waiting_questions_are_bounded(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    """One sandbox that asks for what never answers does not keep others waiting."""
    node.add(SANDBOX, OPEN)
    node.add("127.0.0.3", OPEN)
    upstream.answers = from_table(TABLE)
    upstream.held = asyncio.Event()
    flood = [asyncio.ensure_future(exchange(services.dns_port, dns.question(f"n{number}.example"), patience_s=60)) for number in range(300)]
    await upstream.was_asked(server.MAX_WAITING_EACH)
    other = asyncio.ensure_future(ask(services.dns_port, "www.example.com", source="127.0.0.3"))
    await upstream.was_asked(server.MAX_WAITING_EACH + 1)
    assert upstream.asked[-1] == "www.example.com"
    upstream.held.set()
    assert (await other).addresses == ["192.0.2.1"]
    for question in flood:
        question.cancel()
    await asyncio.wait(flood)


async def test_streams_are_bounded_in_number_and_time(services: EgressServices, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandboxd.egress.dns.server.STREAM_IDLE_S", 0.1)
    node.add(SANDBOX, OPEN)
    async with contextlib.AsyncExitStack() as stack:
        idle = [(await stack.enter_async_context(stream(services.dns_port)))[0] for _ in range(server.MAX_STREAMS_EACH)]
        assert await (await stack.enter_async_context(stream(services.dns_port)))[0].read() == b""
        assert [await reader.read() for reader in idle] == [b""] * server.MAX_STREAMS_EACH
    (reply,) = await by_stream(services.dns_port, dns.question("no.example"))
    assert reply.rcode == 3


async def test_oversized_and_malformed_streams_are_closed(services: EgressServices, node: FakeNode) -> None:
    node.add(SANDBOX, OPEN)
    for data in (b"\xff\xff" + b"x" * 100, b"\0\5hello", b"\0\0"):
        async with stream(services.dns_port) as (reader, writer):
            writer.write(data)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)


async def test_a_changed_policy_holds_from_the_next_question_on(services: EgressServices, node: FakeNode, upstream: FakeUpstream) -> None:
    client = node.add(SANDBOX, LIST)
    upstream.answers = from_table(TABLE)
    await ask(services.dns_port, "www.example.com")
    (address,) = services.pinned(client.sandbox_id)
    assert services.name_of(client.sandbox_id, address) == "www.example.com"
    tightened = client.__class__(client.sandbox_id, EgressPolicy(mode=Mode.ALLOWLIST, domains=("pypi.org",)))
    node.clients = dict.fromkeys(node.clients, tightened)
    assert services.policy_changed(tightened) == [address]
    assert services.pinned(client.sandbox_id) == {}
    assert (await ask(services.dns_port, "www.example.com")).rcode == 3


async def test_a_restarted_daemon_knows_what_was_pinned(serving: Serving, node: FakeNode, upstream: FakeUpstream) -> None:
    client = node.add(SANDBOX, LIST)
    upstream.answers = from_table(TABLE)
    async with serving() as services:
        await ask(services.dns_port, "www.example.com")
        before = services.pinned(client.sandbox_id)
    async with serving() as services:
        after = services.pinned(client.sandbox_id)
        assert list(after) == list(before)
        assert services.list_() == {client.sandbox_id}
        services.forget(client.sandbox_id)
        assert services.list_() == frozenset()
