"""Tunnels: bytes as they are, both ways, from where the router says; nothing left when they end."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from cove.exception import ConflictError, InvalidError, NotFoundError, ResourceExhaustedError, SandboxTimeoutError
from cove.types import new_id
from cove.wire import common_pb2, ingress_pb2
from policies.ports import MAX_PORTS
from tests.integration.router.conftest import running_cluster, settings_for
from tests.support.echo_server import echo
from tests.support.ingress_stage import IngressStage, ingress_stage

ENCRYPTED = common_pb2.PortSpec(port=1000)
RAW = common_pb2.PortSpec(port=1001, kind="PORT_KIND_UNENCRYPTED")
H2 = common_pb2.PortSpec(port=1002, kind="PORT_KIND_H2")


def trusting(stage: IngressStage) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(stage.cluster.settings.router_dir / "ingress-ca.pem"))


async def open_port(stage: IngressStage, sandbox_id: str, spec: common_pb2.PortSpec, timeout_s: float = 5) -> ingress_pb2.TunnelInfo:
    request = ingress_pb2.SandboxPortOpenRequest(sandbox_id=sandbox_id, spec=spec, timeout_s=timeout_s)
    answer: ingress_pb2.SandboxPortOpenResponse = await stage.cluster.client.call("SandboxPortOpen", request)
    return answer.tunnel


async def close_port(stage: IngressStage, sandbox_id: str, port: int) -> None:
    await stage.cluster.client.call("SandboxPortClose", ingress_pb2.SandboxPortCloseRequest(sandbox_id=sandbox_id, port=port))


async def test_kinds_of_ports(stage: IngressStage) -> None:
    tunnels = await stage.tunnels(await stage.sandbox(ENCRYPTED, RAW, H2))
    hosts = {tunnel.tls_host for tunnel in tunnels.values()}
    assert len(hosts) == 3 and all(host.startswith("127.") and int(host.split(".")[1]) >= 64 for host in hosts)
    encrypted, raw, h2 = (tunnels[spec.port] for spec in (ENCRYPTED, RAW, H2))
    assert (encrypted.tcp_host, h2.tcp_host, raw.tcp_host) == ("", "", raw.tls_host)
    assert encrypted.url.startswith(f"http://{encrypted.tls_host}:")
    assert h2.url == f"https://{h2.tls_host}:{h2.tls_port}"
    assert raw.url == f"http://{raw.tcp_host}:{raw.tcp_port}"


async def test_bytes_pass_and_ends_pass_one_by_one(stage: IngressStage) -> None:
    await stage.server(echo, RAW.port)
    tunnel = (await stage.tunnels(await stage.sandbox(RAW)))[RAW.port]
    client = await stage.connect(tunnel.tcp_host, tunnel.tcp_port)
    sent = bytes(range(256)) * 20_000
    receiving = asyncio.create_task(client.reader.read(-1))
    await client.send(sent)
    client.writer.write_eof()
    assert await receiving == sent


async def test_tls_ends_at_the_edge(stage: IngressStage) -> None:
    await stage.server(echo, ENCRYPTED.port)
    tunnel = (await stage.tunnels(await stage.sandbox(ENCRYPTED)))[ENCRYPTED.port]
    client = await stage.connect(tunnel.tls_host, tunnel.tls_port, ssl=trusting(stage))
    await client.send(b"hello")
    assert await client.reader.readexactly(5) == b"hello"


async def test_h2_is_agreed_on_for_h2_ports_alone(stage: IngressStage) -> None:
    await stage.server(echo, ENCRYPTED.port)
    await stage.server(echo, H2.port)
    tunnels = await stage.tunnels(await stage.sandbox(ENCRYPTED, H2))
    for spec, agreed in ((ENCRYPTED, "http/1.1"), (H2, "h2")):
        context = trusting(stage)
        context.set_alpn_protocols(["h2", "http/1.1"])
        client = await stage.connect(tunnels[spec.port].tls_host, tunnels[spec.port].tls_port, ssl=context)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert await client.reader.readexactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def test_the_local_authority_is_trusted_for_little(stage: IngressStage) -> None:
    tunnel = (await stage.tunnels(await stage.sandbox(ENCRYPTED)))[ENCRYPTED.port]
    with pytest.raises(ssl.SSLCertVerificationError):
        await stage.connect(tunnel.tls_host, tunnel.tls_port, ssl=trusting(stage), server_hostname="example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        await stage.connect(tunnel.tls_host, tunnel.tls_port, ssl=ssl.create_default_context())


async def test_nothing_listening_is_told_to_those_who_speak_http(stage: IngressStage) -> None:
    stage.machine.ports[ENCRYPTED.port] = 1
    tunnel = (await stage.tunnels(await stage.sandbox(ENCRYPTED)))[ENCRYPTED.port]
    client = await stage.visit(tunnel.url)
    answer = await client.ask("/")
    assert answer.status == 502 and b"Nothing answers on port 1000 inside the sandbox" in answer.body
    other = await stage.visit(tunnel.url)
    await other.send(b"\x16\x03\x01")
    assert await other.ended()


async def test_ports_open_later_and_close(stage: IngressStage) -> None:
    await stage.server(echo, 5)
    sandbox_id = await stage.sandbox()
    tunnel = await open_port(stage, sandbox_id, common_pb2.PortSpec(port=5))
    assert await open_port(stage, sandbox_id, common_pb2.PortSpec(port=5)) == tunnel
    with pytest.raises(ConflictError):
        await open_port(stage, sandbox_id, common_pb2.PortSpec(port=5, kind="PORT_KIND_H2"))
    client = await stage.visit(tunnel.url)
    await client.send(b"x")
    assert await client.reader.readexactly(1) == b"x"
    await close_port(stage, sandbox_id, 5)
    await close_port(stage, sandbox_id, 5)
    assert await client.ended()
    with pytest.raises(ConnectionRefusedError):
        await stage.visit(tunnel.url)
    again = await open_port(stage, sandbox_id, common_pb2.PortSpec(port=5))
    assert again.url != tunnel.url


async def test_open_ports_are_bounded(stage: IngressStage) -> None:
    sandbox_id = await stage.sandbox(*(common_pb2.PortSpec(port=port) for port in range(1, MAX_PORTS + 1)))
    await stage.token(sandbox_id)
    with pytest.raises(ResourceExhaustedError):
        await open_port(stage, sandbox_id, common_pb2.PortSpec(port=500))
    await open_port(stage, sandbox_id, common_pb2.PortSpec(port=1))


@pytest.mark.parametrize("spec", [common_pb2.PortSpec(port=0), common_pb2.PortSpec(port=70_000)])
async def test_what_is_no_port(stage: IngressStage, spec: common_pb2.PortSpec) -> None:
    sandbox_id = await stage.sandbox()
    with pytest.raises(InvalidError):
        await open_port(stage, sandbox_id, spec)
    with pytest.raises(InvalidError):
        await close_port(stage, sandbox_id, spec.port)


async def test_sandboxes_of_others_have_no_ports(stage: IngressStage) -> None:
    for sandbox_id in (new_id("sb"), "x"):
        with pytest.raises(NotFoundError):
            await stage.tunnels(sandbox_id)
        with pytest.raises(NotFoundError):
            await stage.token(sandbox_id)
    with pytest.raises(NotFoundError):
        await stage.revoke(new_id("ct"))


async def test_tunnels_are_waited_for(stage: IngressStage) -> None:
    client = stage.cluster.client
    made = await client.create(await client.app(), spec=common_pb2.SandboxSpec(ports=[RAW]))
    with pytest.raises(SandboxTimeoutError):
        await open_port(stage, made.sandbox_id, RAW, timeout_s=0.05)
    asking = asyncio.create_task(stage.tunnels(made.sandbox_id))
    await asyncio.sleep(0)
    await stage.node.run(made.sandbox_id)
    assert set(await asking) == {RAW.port}


async def test_the_end_of_the_sandbox_closes_everything(stage: IngressStage) -> None:
    await stage.server(echo, RAW.port)
    sandbox_id = await stage.sandbox(RAW)
    tunnel = (await stage.tunnels(sandbox_id))[RAW.port]
    client = await stage.connect(tunnel.tcp_host, tunnel.tcp_port)
    await client.send(b"x")
    assert await client.reader.readexactly(1) == b"x"
    await stage.end(sandbox_id)
    assert await client.ended()
    with pytest.raises(ConnectionRefusedError):
        await stage.connect(tunnel.tcp_host, tunnel.tcp_port)
    with pytest.raises(ConflictError):
        await stage.tunnels(sandbox_id)
    with pytest.raises(ConflictError):
        await stage.token(sandbox_id)


async def test_connections_into_a_sandbox_are_bounded(tmp_path: Path) -> None:
    async with ingress_stage(tmp_path, ingress_max_connections_per_sandbox=2, ingress_max_connections=3) as stage:
        await stage.server(echo, RAW.port)
        tunnel, other = [(await stage.tunnels(await stage.sandbox(RAW)))[RAW.port] for _ in range(2)]
        held = [await stage.connect(tunnel.tcp_host, tunnel.tcp_port) for _ in range(2)]
        for client in held:
            await client.send(b"x")
            assert await client.reader.readexactly(1) == b"x"
        assert await (await stage.connect(tunnel.tcp_host, tunnel.tcp_port)).ended()
        third = await stage.connect(other.tcp_host, other.tcp_port)
        await third.send(b"x")
        assert await third.reader.readexactly(1) == b"x"
        assert await (await stage.connect(other.tcp_host, other.tcp_port)).ended()
        for client in held:
            client.writer.transport.abort()
        async with asyncio.timeout(5):  # until the edge has noticed
            while not await (await stage.connect(tunnel.tcp_host, tunnel.tcp_port)).echoed():
                pass


async def test_names_and_ports_are_the_same_after_a_restart(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with running_cluster(settings) as cluster:
        node = await cluster.node()
        made = await cluster.client.create(await cluster.client.app(), spec=common_pb2.SandboxSpec(ports=[RAW, ENCRYPTED]))
        await node.run(made.sandbox_id)
        request = ingress_pb2.SandboxTunnelsRequest(sandbox_id=made.sandbox_id, timeout_s=5)
        before = await cluster.client.call("SandboxTunnels", request)
        assert len(before.tunnels) == 2
    async with running_cluster(settings) as cluster:
        assert await cluster.client.call("SandboxTunnels", request) == before
