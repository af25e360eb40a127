"""The router as a process: kill -9 in mid-create, graceful stop, refusal to start twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cove.exception import Error
from cove.types import new_id
from cove.wire import control_pb2
from router.auth import Credentials
from router.bootstrap import FILE_NAME
from tests.support.fake_node import FakeNode, fake_node
from tests.support.router_client import ControlClient


class Process:
    """A router in a process of its own, with a client."""

    def __init__(self, process: asyncio.subprocess.Process, addresses: dict[str, str], state_dir: Path) -> None:
        self.process, self.addresses, self.state_dir = process, addresses, state_dir
        credentials = msgspec.json.decode((state_dir / "router" / FILE_NAME).read_bytes(), type=Credentials)
        self.client = ControlClient(addresses["grpc"], credentials)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


async def spawn(state_dir: Path, *options: str) -> asyncio.subprocess.Process:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVE_")}
    places = ("--state-dir", str(state_dir), "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router", *places, *options), env=environ, stderr=asyncio.subprocess.PIPE
    )


@asynccontextmanager
async def router_process(state_dir: Path, *options: str) -> AsyncIterator[Process]:
    process = await spawn(state_dir, *options)
    assert process.stderr is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        async for line in process.stderr:
            entry = json.loads(line)
            if entry["event"] == "router started":
                break
        else:
            raise AssertionError("the router did not start")
        draining = asyncio.create_task(process.stderr.read())
        router = Process(process, entry, state_dir)
        try:
            yield router
        finally:
            await router.client.channel.close(None)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if draining is not None:
            await draining


async def retried(router: Process, app_id: str, fields: dict[str, Any]) -> control_pb2.SandboxCreateResponse:
    """As a client does: the same key until there is an answer."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await router.client.create(app_id, **fields)
            except Error as error:
                assert error.retryable, error
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("answers_are_lost", [False, True])
async def test_kill_in_mid_create_loses_nothing_and_doubles_nothing(tmp_path: Path, answers_are_lost: bool) -> None:
    """Thirty creates, the router killed while some are done, some at the node and some not begun; every client retries."""
    requests = [{"idempotency_key": new_id("ik"), "name": f"n{item}"} for item in range(30)]
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(router_process(tmp_path))
        join_token = (tmp_path / "router/join-token").read_text()
        node = await stack.enter_async_context(fake_node("a", before.addresses["grpc"], join_token))
        app_id = await before.client.app()
        done = [await before.client.create(app_id, **fields) for fields in requests[:5]]
        if answers_are_lost:
            node.drop_answers = True
        else:
            node.gate.clear()
        calls = [asyncio.create_task(before.client.create(app_id, **fields)) for fields in requests[5:]]
        await asyncio.wait_for(node.arrived_at_least(8), 10)
        await before.kill()
        await asyncio.wait(calls)
        assert all(call.exception() is not None for call in calls)
        node.drop_answers = False
        node.gate.set()

        after = await stack.enter_async_context(router_process(tmp_path))
        await node.register(router_address=after.addresses["grpc"])
        await node.report(complete=True)
        answers = await asyncio.gather(*(retried(after, app_id, fields) for fields in requests))
        ids = [answer.sandbox_id for answer in answers]
        assert len(set(ids)) == 30
        assert ids[:5] == [answer.sandbox_id for answer in done]
        assert set(node.sandboxes) == set(ids)
        listed = (await after.client.list_(include_stopped=True, limit=500)).sandboxes
        assert sorted(info.sandbox_id for info in listed) == sorted(ids)
        assert {info.sandbox_id: info.name for info in listed} == {answer.sandbox_id: f"n{item}" for item, answer in enumerate(answers)}


async def test_a_create_that_nobody_retries_is_found_through_the_nodes_report(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        before = await stack.enter_async_context(router_process(tmp_path))
        join_token = (tmp_path / "router/join-token").read_text()
        node = await stack.enter_async_context(fake_node("a", before.addresses["grpc"], join_token))
        app_id = await before.client.app()
        node.drop_answers = True
        call = asyncio.create_task(before.client.create(app_id, name="n"))
        await node.arrived_at_least(1)
        await before.kill()
        await asyncio.wait([call])
        assert call.exception() is not None

        after = await stack.enter_async_context(router_process(tmp_path))
        await node.register(router_address=after.addresses["grpc"])
        (sandbox_id,) = node.sandboxes
        await node.run(sandbox_id)
        found = await after.client.call("SandboxGetByName", control_pb2.SandboxGetByNameRequest(app_name="app", name="n"))
        assert found.sandbox_id == sandbox_id


async def test_sigterm_ends_it_in_peace_with_the_create_in_progress_done(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(router_process(tmp_path))
        join_token = (tmp_path / "router/join-token").read_text()
        node: FakeNode = await stack.enter_async_context(fake_node("a", router.addresses["grpc"], join_token))
        app_id = await router.client.app()
        node.gate.clear()
        call = asyncio.create_task(router.client.create(app_id))
        await node.arrived.wait()
        router.process.send_signal(signal.SIGTERM)
        node.gate.set()
        made = await call
        assert await asyncio.wait_for(router.process.wait(), 10) == 0
        assert list(node.sandboxes) == [made.sandbox_id]


async def test_a_second_router_on_the_same_state_is_refused_with_a_clear_word(tmp_path: Path) -> None:
    async with router_process(tmp_path):
        second = await spawn(tmp_path)
        assert second.stderr is not None
        text = (await second.stderr.read()).decode()
        assert await second.wait() == 1
        assert "Another router" in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--grpc-address", "203.0.113.1:1"), "cannot listen"),
        (("--http-address", "203.0.113.1:1"), "cannot listen"),
        (("--create-grace-s", "1"), "create_grace_s"),
    ],
)
async def test_what_it_cannot_do_is_said_in_one_line(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    process = await spawn(tmp_path, *options)
    assert process.stderr is not None
    text = (await process.stderr.read()).decode()
    assert await process.wait() == 1
    assert said in text and "Traceback" not in text
