"""What the router's HTTP side answers itself."""

from __future__ import annotations

import base64

import aiohttp
import pytest

from cove.wire import control_pb2
from tests.integration.router.conftest import Cluster


async def test_healthz_tells_nothing_but_ok(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{cluster.http}/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_metrics_need_a_token_and_name_no_sandbox(cluster: Cluster, scheme: str) -> None:
    await cluster.node()
    made = await cluster.client.create(await cluster.client.app())
    pair = f"{cluster.credentials.token_id}:{cluster.credentials.token_secret}"
    value = base64.b64encode(pair.encode()).decode() if scheme == "Basic" else pair
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{cluster.http}/metrics", headers={"Authorization": f"{scheme} {value}"}) as response:
            text = await response.text()
            assert response.status == 200
        assert 'cove_router_nodes{state="healthy"} 1.0' in text
        assert 'cove_router_call_seconds_count{code="ok",method="SandboxCreate"} 1.0' in text
        assert made.sandbox_id not in text and cluster.credentials.token_secret not in text

        await cluster.client.call("TokenRevoke", control_pb2.TokenRevokeRequest(token_id=cluster.credentials.token_id))
        async with session.get(f"{cluster.http}/metrics", headers={"Authorization": f"{scheme} {value}"}) as response:
            assert response.status == 401


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!!", "Basic QQ==", "Bearer", "Bearer ak:as", "Digest a:b", "Basic gA=="])
async def test_metrics_refuse_anything_else(cluster: Cluster, header: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{cluster.http}/metrics", headers={"Authorization": header}) as response:
        assert (response.status, (await response.json())["code"]) == (401, "unauthenticated")


async def test_everything_else_is_a_json_404(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in (("GET", "/"), ("POST", "/metrics/x"), ("GET", "/v1/sandboxes"), ("DELETE", "/nothing")):
            async with session.request(method, cluster.http + path) as response:
                assert (response.status, (await response.json())["code"]) == (404, "not_found")
        async with session.post(f"{cluster.http}/healthz") as response:
            assert (response.status, (await response.json())["code"]) == (405, "not_found")
