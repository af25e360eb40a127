"""Default images that the operator has in a registry go before those that nodes make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from cove.exception import AuthError, InvalidError
from router.images.default_images import DefaultImages
from snapshots.registry.credentials import Credentials
from tests.integration.registry.faults import FakeImage, FakeRegistry
from tests.integration.router.conftest import running_cluster, settings_for
from tests.integration.router.image_client import Bench, bench_on, build, definition


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry(FakeImage(b"layer")) as running:
        yield running


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def bench_with(stack: AsyncExitStack, directory: Path, defaults: DefaultImages) -> Bench:
    settings = settings_for(directory, node_call_timeout_s=10.0, default_images=defaults, loopback_registries=True)
    return await stack.enter_async_context(bench_on(await stack.enter_async_context(running_cluster(settings))))


async def test_clients_hear_what_there_is_and_what_has_to_be_pulled(stack: AsyncExitStack, tmp_path: Path, registry: FakeRegistry) -> None:
    bench = await bench_with(stack, tmp_path, DefaultImages(images={"3.9": f"{registry.address}/repo:tag"}))
    hello = await bench.cluster.client.call("Hello")
    assert (list(hello.debian_pythons), list(hello.pulled_pythons)) == (["3.9", "3.11"], ["3.9"])


async def test_the_registry_s_image_is_the_base(stack: AsyncExitStack, tmp_path: Path, registry: FakeRegistry) -> None:
    bench = await bench_with(stack, tmp_path, DefaultImages(images={"3.12": f"{registry.address}/repo:tag"}))
    client = bench.cluster.client
    plain = await build(client, definition(debian="3.12"))
    assert (plain.image.source, plain.image.layers) == ("registry", 1)
    above = await build(client, definition("RUN write /x 1", debian="3.12"))
    assert above.image.layers == 2 and above.image.parent_image_id == plain.image.image_id
    asked = len(registry.requests)
    assert (await build(client, definition("RUN write /x 1", debian="3.12"))).image.image_id == above.image.image_id
    assert (await build(client, definition(debian="3.11"))).image.description == "debian:3.11"
    assert len(registry.requests) == asked


async def test_what_is_configured_now_counts_and_not_what_is_cached(tmp_path: Path, registry: FakeRegistry) -> None:
    what = definition("RUN write /x 1", debian="3.11")
    ids, settings = [], (DefaultImages(), DefaultImages(images={"3.11": f"{registry.address}/repo:tag"}), DefaultImages())
    for defaults in settings:
        async with AsyncExitStack() as stack:
            bench = await bench_with(stack, tmp_path, defaults)
            ids.append((await build(bench.cluster.client, what)).image.image_id)
    assert ids[0] == ids[2] != ids[1]


async def test_the_operator_s_password_is_for_the_pull_alone(stack: AsyncExitStack, tmp_path: Path, registry: FakeRegistry) -> None:
    right = Credentials("puller", "pass-word").basic()

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == right:
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    registry.override = answer
    reference = f"{registry.address}/repo:tag"
    bench = await bench_with(stack, tmp_path, DefaultImages(images={"3.12": reference}, username="puller", password="pass-word"))
    made = await build(bench.cluster.client, definition(debian="3.12"))
    assert "pass-word" not in str(made)
    with pytest.raises(AuthError):
        await build(bench.cluster.client, definition(registry={"reference": reference.replace("tag", "other")}))


def test_settings_are_checked_and_hide_the_password() -> None:
    for images in ({"3.12": "UPPER CASE"}, {"3.12": "https://x/y"}, {"3.12": ""}):
        with pytest.raises((ValueError, InvalidError)):
            DefaultImages(images=images)
    shown = DefaultImages(username="u", password="hidden-word")
    assert "hidden-word" not in f"{shown!r} {shown} {list(shown.__rich_repr__())}"
