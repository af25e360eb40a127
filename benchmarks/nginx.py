"""nginx as a plain proxy: what others put in front of a server, as a measure of what ours costs."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

START_S: Final = 10.0

_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream server {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@contextlib.contextmanager
def in_front_of(source: str, directory: Path, upstream: int) -> Iterator[int]:
    """A Python server that listens on the port ``upstream`` of the host, and nginx before it, for the block. Yields: nginx's port."""
    directory.mkdir(exist_ok=True)
    port = _free_port()
    (directory / "nginx.conf").write_text(_CONFIGURATION.format(directory=directory, upstream=upstream, port=port))
    commands = [[sys.executable, "-c", source], ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]]
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.terminate)
        for listening in (upstream, port):
            _await_listener(listening)
        yield port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _await_listener(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
