"""A web server somewhere else, as sandboxes see it: in a network namespace of its own, one hop behind the host, with a public address."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from sandboxd import kernel
from sandboxd.network import netns
from sandboxd.network.netlink import Netlink, add_address, add_default_route, delete_link, new_veth, set_up

_FIRST: Final = IPv4Address("198.51.100.0") + 4 * (os.getpid() % 63)
"""Of a network that documentation is for: public, and nobody's. Each process has a part of its own."""

HOST: Final = _FIRST + 1
ADDRESS: Final = _FIRST + 2

BASE_TIME: Final = "Mon, 02 Jan 2006 15:04:05 GMT"
BASE_TIME_S: Final = 1_136_214_245


class Outside:
    """The server at ``url``; ``files`` are what it has by path, ``repositories`` a directory of bare Git repositories below ``/git/``."""

    def __init__(self, repositories: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.repositories = repositories
        self.asked: list[str] = []
        self.url = f"http://{ADDRESS}"

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """One request's answer."""
        self.asked.append(handler.path)
        path = handler.path.partition("?")[0]
        if path.startswith("/git/"):
            _git(handler, self.repositories, body)
        elif path in self.files:
            handler.send_response(200)
            handler.send_header("Last-Modified", BASE_TIME)
            handler.send_header("Content-Length", str(len(self.files[path])))
            handler.end_headers()
            handler.wfile.write(self.files[path])
        else:
            handler.send_error(404)


@contextmanager
def outside(directory: Path) -> Iterator[Outside]:
    """The server, for the block; its repositories lie in ``directory``."""
    served = Outside(directory / "repositories")
    served.repositories.mkdir()
    namespace, link = directory / "outside", f"o{os.getpid()}"
    with netns.created(namespace) as (fd, inside), Netlink() as netlink:
        netlink.request(new_veth(link, peer_name="eth0", peer_netns_fd=fd, mtu=1500), set_up(link))
        netlink.request(add_address(netlink.number_of(link), HOST, 30))
        inside.request(add_address(inside.number_of("eth0"), ADDRESS, 30), set_up("eth0"), add_default_route(HOST))
    try:
        with kernel.in_netns(namespace):
            listener = socket.create_server((str(ADDRESS), 80))
        with listener, _serving(listener, served.answer):
            yield served
    finally:
        with Netlink() as netlink:
            netlink.request(delete_link(link))
        netns.remove(namespace)


@contextmanager
def _serving(listener: socket.socket, answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, b"")

        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def log_message(self, *_: object) -> None:
            pass  # to stderr, otherwise

    server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def _git(handler: BaseHTTPRequestHandler, repositories: Path, body: bytes) -> None:
    """Git's own server, as a CGI program."""
    path, _, query = handler.path.partition("?")
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(repositories),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path.removeprefix("/git"),
        "QUERY_STRING": query,
        "REQUEST_METHOD": handler.command,
        "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
    }
    done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, check=True)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    handler.send_response(int(headers.pop("Status", "200").split()[0]))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
