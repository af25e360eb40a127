"""Connect tokens for servers in real sandboxes with the network blocked: a plain client, curl with cookies, a WebSocket client."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import aiohttp
import pytest

import cove
from tests.support.live_fixtures import Sandboxes
from tests.support.visitor import START_S

SERVER = r"""
import base64, hashlib, json, socketserver
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            return self.websocket()
        body = json.dumps({"path": self.path, "headers": list(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, 65536))
            digest.update(piece)
            left -= len(piece)
        body = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            first, length = self.rfile.read(2)
            length &= 127
            if length == 126:
                length = int.from_bytes(self.rfile.read(2), "big")
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            size = bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
            self.wfile.write(bytes([first]) + size + data)
            if first & 15 == 8:
                return

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

Server(("0.0.0.0", 8080), Handler).serve_forever()
"""


@pytest.fixture
def sandbox(sandboxes: Sandboxes) -> cove.Sandbox:
    """One whose server tells what it gets; started."""
    made = sandboxes.create("python", "-c", SERVER)
    credentials = made.create_connect_token()
    request = urllib.request.Request(credentials.url, headers={"Authorization": f"Bearer {credentials.token}"})
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return made
        except urllib.error.HTTPError as error:
            assert error.code == 502 and time.monotonic() < deadline
            time.sleep(0.1)


def test_a_request_with_the_header_as_documented(sandbox: cove.Sandbox) -> None:
    credentials = sandbox.create_connect_token(user_metadata={"user_id": "foo"})
    headers = {"Authorization": f"Bearer {credentials.token}", "X-Verified-User-Data": "root"}
    with urllib.request.urlopen(urllib.request.Request(f"{credentials.url}/a", headers=headers), timeout=10) as response:
        seen = json.load(response)
    assert seen["path"] == "/a"
    assert [value for name, value in seen["headers"] if name.lower() == "x-verified-user-data"] == ['{"user_id": "foo"}']
    assert credentials.token not in str(seen)
    sandbox.revoke_connect_token(credentials)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(credentials.url, headers=headers), timeout=10)
    assert caught.value.code == 401
    caught.value.close()


def test_curl_keeps_the_cookie_and_sends_large_bodies(sandbox: cove.Sandbox, tmp_path: Path) -> None:
    def curl(*arguments: str) -> bytes:
        return subprocess.run(["curl", "-sS", "-f", *arguments], capture_output=True, check=True, timeout=60).stdout

    credentials, jar = sandbox.create_connect_token({"user": "x"}), str(tmp_path / "jar")
    curl("-c", jar, f"{credentials.url}/?_modal_connect_token={credentials.token}")
    seen = json.loads(curl("-b", jar, f"{credentials.url}/next"))
    assert seen["path"] == "/next" and "Cookie" not in dict(seen["headers"])
    content = bytes(range(256)) * 200_000
    (tmp_path / "large").write_bytes(content)
    digest = curl("-b", jar, "--data-binary", f"@{tmp_path / 'large'}", f"{credentials.url}/upload")
    assert digest == subprocess.run(["sha256sum", tmp_path / "large"], capture_output=True, check=True).stdout.split()[0]
    with pytest.raises(subprocess.CalledProcessError):
        curl(f"{credentials.url}/next")


async def test_a_websocket_client(sandbox: cove.Sandbox) -> None:
    credentials = await sandbox.create_connect_token.aio({"user": "x"})
    url = f"{credentials.url}/?_cove_connect_token={credentials.token}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url.replace("http://", "ws://")) as socket:
        for message in ("hello", "x" * 50_000):
            await socket.send_str(message)
            assert await socket.receive_str(timeout=10) == message
