"""Tunnels into real sandboxes, whose network is blocked: HTTP as printed, TLS, raw TCP, HTTP/2, ports opened later."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time

import pytest

import cove
from cove.exception import ConflictError, InvalidError, SandboxTimeoutError
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import Sandboxes
from tests.support.visitor import START_S, fetch

ECHO = """
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"hello\\n")
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"bye\\n")
class Server(socketserver.ThreadingTCPServer):
    address_family = socketserver.socket.AF_INET6
Server(("::1", 7), Echo).serve_forever()
"""


def greeting(sandbox: cove.Sandbox, address: tuple[str, int]) -> socket.socket:
    """A connection to the echo server inside that has said hello."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        connection = socket.create_connection(address, timeout=10)
        if connection.recv(6) == b"hello\n":
            return connection
        connection.close()
        time.sleep(0.1)
    raise AssertionError("the server inside does not answer")


def test_a_url_can_be_fetched_as_printed(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("python", "-m", "http.server", "12345", workdir="/etc", encrypted_ports=[12345])
    tunnel = sandbox.tunnels()[12345]
    assert b"Debian" in fetch(f"{tunnel.url}/os-release")
    curl = subprocess.run(["curl", "-sS", f"{tunnel.url}/hostname"], capture_output=True, check=True, timeout=20)
    assert curl.stdout == fetch(f"{tunnel.url}/hostname")
    with pytest.raises(InvalidError, match="unencrypted_ports"):
        tunnel.tcp_socket  # noqa: B018  # a property that raises


def test_tls_of_the_local_authority(sandboxes: Sandboxes, live: LiveCove) -> None:
    sandbox = sandboxes.create("python", "-m", "http.server", "8000", "--bind", "::1", workdir="/etc", encrypted_ports=[8000])
    tunnel = sandbox.tunnels()[8000]
    fetch(tunnel.url)
    context = ssl.create_default_context(cafile=str(live.directory / "state/router/ingress-ca.pem"))
    host, port = tunnel.tls_socket
    with socket.create_connection((host, port), timeout=10) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
        secured.sendall(b"GET /os-release HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: secured.recv(65_536), b""))
    assert received.startswith(b"HTTP/1.0 200") and b"Debian" in received


def test_raw_tcp_with_a_server_that_speaks_first_and_last(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("python", "-c", ECHO, unencrypted_ports=[7])
    with greeting(sandbox, sandbox.tunnels()[7].tcp_socket) as connection:
        connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: connection.recv(65_536), b"")) == b"x" * 100_000 + b"bye\n"


def test_ports_opened_and_closed_later(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("python", "-c", ECHO)
    assert sandbox.tunnels() == {}
    tunnel = sandbox.open_port(7, unencrypted=True)
    assert sandbox.open_port(7, unencrypted=True) == tunnel == sandbox.tunnels()[7]
    with pytest.raises(ConflictError):
        sandbox.open_port(7)
    with greeting(sandbox, tunnel.tcp_socket) as connection:
        sandbox.close_port(7)
        with pytest.raises(OSError):
            while connection.recv(100):
                pass
            raise ConnectionResetError  # an end is as good as a reset
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(tunnel.tcp_socket, timeout=5)
    assert sandbox.tunnels() == {}


def test_an_open_connection_keeps_an_idle_sandbox(sandboxes: Sandboxes) -> None:
    sandbox = sandboxes.create("python", "-c", ECHO, unencrypted_ports=[7], idle_timeout=3)
    with greeting(sandbox, sandbox.tunnels()[7].tcp_socket) as connection:
        with pytest.raises(SandboxTimeoutError):
            sandboxes.create(idle_timeout=3).wait()  # one that began later, and that nobody holds
        connection.sendall(b"still there")
        assert connection.recv(100) == b"still there"
        assert sandbox.poll() is None
    with pytest.raises(SandboxTimeoutError):
        sandbox.wait()


H2_SERVER = r"""
import socketserver

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        assert self.rfile.read(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.wfile.write(frame(4, 0, 0))
        while head := self.rfile.read(9):
            self.rfile.read(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == 4 and not flags & 1:
                self.wfile.write(frame(4, 1, 0))
            if kind == 1:
                self.wfile.write(frame(1, 4, stream, b"\x88") + frame(0, 1, stream, b"hello over h2"))

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

Server(("127.0.0.1", 4359), Handler).serve_forever()
"""


def test_curl_speaks_http_2_to_an_h2_port(sandboxes: Sandboxes, live: LiveCove) -> None:
    sandbox = sandboxes.create("python", "-c", H2_SERVER, h2_ports=[4359])
    url, authority = sandbox.tunnels()[4359].url, str(live.directory / "state/router/ingress-ca.pem")
    command = ["curl", "-sS", "--http2", "--retry", "30", "--retry-all-errors", "--retry-delay", "1", "--cacert", authority]
    done = subprocess.run([*command, "-w", " %{http_version}", url], capture_output=True, check=True, timeout=60, text=True)
    assert done.stdout == "hello over h2 2"
