"""With a domain: names below it on one TLS port, certificates from files, raw TCP on a range of ports."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from cove.wire import common_pb2
from router.ingress.domain_tls import DomainTls
from router.ingress.local_ca import LocalCa
from tests.support.echo_server import echo
from tests.support.ingress_stage import IngressStage, ingress_stage
from tests.support.raw_http import Client, mirror

DOMAIN = "tunnels.example.com"
RAW = common_pb2.PortSpec(port=1001, kind="PORT_KIND_UNENCRYPTED")
H2 = common_pb2.PortSpec(port=1002, kind="PORT_KIND_H2")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[IngressStage]:
    settings = {"ingress_domain": DOMAIN, "ingress_tls_address": "127.0.0.1:0", "ingress_tcp_host": "127.0.0.1"}
    async with ingress_stage(tmp_path, **settings, ingress_tcp_ports=(42_000, 42_999)) as made:
        yield made


def trusting(stage: IngressStage) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(stage.cluster.settings.router_dir / f"ingress-ca-{DOMAIN}.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def named(stage: IngressStage, host: str, port: int) -> Client:
    """A connection by name, as a resolver would lead it."""
    client = await stage.connect("127.0.0.1", port, ssl=trusting(stage), server_hostname=host)
    client.host = f"{host}:{port}"
    return client


def alpn(client: Client) -> str:
    chosen: str = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
    return chosen


async def test_names_lead_to_their_ports(stage: IngressStage) -> None:
    await stage.server(echo, RAW.port)
    await stage.server(echo, H2.port)
    tunnels = await stage.tunnels(await stage.sandbox(RAW, H2))
    for spec, agreed in ((RAW, "http/1.1"), (H2, "h2")):
        tunnel = tunnels[spec.port]
        assert tunnel.url == f"https://{tunnel.tls_host}:{tunnel.tls_port}" and tunnel.tls_host.endswith(f".{DOMAIN}")
        client = await named(stage, tunnel.tls_host.upper(), tunnel.tls_port)
        await client.send(b"hello")
        assert (await client.reader.readexactly(5), alpn(client)) == (b"hello", agreed)
    assert tunnels[RAW.port].tls_host != tunnels[H2.port].tls_host


async def test_raw_tcp_has_a_port_of_the_range(stage: IngressStage) -> None:
    await stage.server(echo, RAW.port)
    tunnel = (await stage.tunnels(await stage.sandbox(RAW)))[RAW.port]
    assert 42_000 <= tunnel.tcp_port <= 42_999
    client = await stage.connect("127.0.0.1", tunnel.tcp_port)
    await client.send(b"hello")
    assert await client.reader.readexactly(5) == b"hello"


async def test_connect_tokens_are_for_a_name_and_its_cookie_is_secure(stage: IngressStage) -> None:
    await stage.server(mirror)
    made = await stage.token(await stage.sandbox(), user_metadata="{}")
    host, _, port = made.url.removeprefix("https://").partition(":")
    client = await named(stage, host, int(port))
    answer = await client.ask(f"/?_cove_connect_token={made.token}")
    assert answer.seen.values("X-Forwarded-Proto") == ["https"]
    (cookie,) = answer.header("Set-Cookie")
    assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")
    assert (await client.ask("/", {"Cookie": cookie.partition(";")[0], "Origin": f"https://{client.host}"})).status == 200


async def test_a_token_at_another_sandboxs_name(stage: IngressStage) -> None:
    await stage.server(mirror)
    mine, theirs = await stage.token(await stage.sandbox()), await stage.token(await stage.sandbox())
    host, _, port = theirs.url.removeprefix("https://").partition(":")
    for name in (host, mine.url.removeprefix("https://").partition(":")[0]):
        client = await named(stage, host, int(port))
        client.host = name  # whatever it says in Host: the handshake decides
        assert (await client.ask("/", {"Authorization": f"Bearer {mine.token}"})).status == 401


@pytest.mark.parametrize("host", [f"{'0' * 32}.{DOMAIN}", f"a.b.{DOMAIN}", "localhost"])
async def test_names_that_lead_nowhere_are_told(stage: IngressStage, host: str) -> None:
    tunnel = (await stage.tunnels(await stage.sandbox(RAW)))[RAW.port]
    context = trusting(stage)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = await stage.connect("127.0.0.1", tunnel.tls_port, ssl=context, server_hostname=host)
    answer = await client.ask("/")
    assert answer.status == 404 and b"nothing here" in answer.body


async def test_without_a_name_nothing_is_found(stage: IngressStage) -> None:
    tunnel = (await stage.tunnels(await stage.sandbox(RAW)))[RAW.port]
    context = trusting(stage)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = await stage.connect("127.0.0.1", tunnel.tls_port, ssl=context, server_hostname="")
    assert (await client.ask("/")).status == 404


async def test_an_ended_sandboxs_name_leads_nowhere(stage: IngressStage) -> None:
    sandbox_id = await stage.sandbox(RAW)
    tunnel = (await stage.tunnels(sandbox_id))[RAW.port]
    open_ = await named(stage, tunnel.tls_host, tunnel.tls_port)
    await stage.end(sandbox_id)
    assert await open_.ended()
    assert (await (await named(stage, tunnel.tls_host, tunnel.tls_port)).ask("/")).status == 404


def write_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate and its key as an operator has them, signed by an authority of this name."""
    pem = LocalCa(directory, name, [x509.DNSName(DOMAIN)]).issue([x509.DNSName(f"*.{DOMAIN}")])
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    for path in (certificate, key):
        path.with_suffix(".new").write_bytes(pem)
        os.replace(path.with_suffix(".new"), path)  # noqa: PTH105  # as tools that renew certificates do
    return certificate, key


def presented(tls: DomainTls) -> bytes:
    """The certificate that a client of the port is shown."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(incoming, outgoing, server_hostname=f"a.{DOMAIN}")
    server = tls.shared.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_renewed_certificates_are_taken_and_broken_ones_are_not(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "first")
    tls = DomainTls(DOMAIN, certificate, key, tmp_path, lambda host: None)
    first = presented(tls)
    tls.reload()
    assert presented(tls) == first
    write_certificate(tmp_path, "second")
    tls.reload()
    second = presented(tls)
    assert second != first
    certificate.write_text("nonsense")
    tls.reload()
    certificate.unlink()
    tls.reload()
    assert presented(tls) == second
