"""A real S3 server for tests: SeaweedFS on loopback, with credentials, its data in a temporary directory; one for the whole session."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest

START_S: Final = 60.0
"""Longest wait for its first answer: 3.5 s on an idle machine."""
POLL_S: Final = 0.1

BUCKET: Final = "cove-tests"

_SERVER: Final = pytest.StashKey["S3Server"]()

_ANSWERS: Final = frozenset({403, 409})
"""S3's to a request without a signature, the filer's to a second creation."""

_PORTS: Final = tuple(f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc"))


class S3Server(msgspec.Struct, frozen=True):
    """How to reach it."""

    port: int
    access_key_id: str
    secret_access_key: str
    pid: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def weed_path() -> Path:
    """The program that the package brings, next to the interpreter."""
    return Path(sys.executable).with_name("weed")


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """Run it with its files below ``directory``; the bucket :data:`BUCKET` is there."""
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    key_id, secret = f"key{secrets.token_hex(8)}", secrets.token_hex(20)
    identities = directory / "identities.json"
    identities.write_text(json.dumps(_identities(key_id, secret)))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            _command(directory, identities, ports),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env=_environment(directory),
        )
    try:
        _await_answer(process, ports["filer.port"], ports["s3.port"], directory / "log")
        yield S3Server(ports["s3.port"], key_id, secret, process.pid)
    finally:
        process.kill()  # asked to end, it takes ten seconds, for data that nobody wants
        process.wait()
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # always there, whatever TMPDIR is
                left.unlink(missing_ok=True)


def _command(directory: Path, identities: Path, ports: dict[str, int]) -> list[str]:
    data = directory / "data"
    data.mkdir()
    return [
        str(weed_path()),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={data}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=20",
        "-filer",
        "-s3",
        "-s3.port.iceberg=0",  # two doors with fixed ports, which a second server could not open
        "-s3.port.lance=0",
        f"-s3.config={identities}",
        f"-filer.localSocket={directory}/filer.sock",
        f"-s3.localSocket={directory}/s3.sock",
        *(f"-{option}={port}" for option, port in ports.items()),
    ]


def _environment(directory: Path) -> dict[str, str]:
    """No credentials or settings of the developer's own."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(directory), "TMPDIR": str(directory)}


def _identities(key_id: str, secret: str) -> dict[str, object]:
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "tests", "credentials": [{"accessKey": key_id, "secretKey": secret}], "actions": actions}]}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; held together so that they differ."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _await_answer(process: subprocess.Popen[bytes], filer_port: int, s3_port: int, log: Path) -> None:
    """Wait until S3 answers, the bucket is made, and has room: all through the filer, which needs no signature.

    The first file of a bucket fails until its volumes are made.
    """
    deadline = time.monotonic() + START_S
    bucket = f"http://127.0.0.1:{filer_port}/buckets/{BUCKET}"
    while not (
        _answers(f"http://127.0.0.1:{s3_port}/", "GET")
        and _answers(f"{bucket}/", "POST")
        and _answers(f"{bucket}/room", "PUT", b"x" * 65536)
    ):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the S3 server did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")
        time.sleep(POLL_S)


def _answers(url: str, method: str, data: bytes | None = None) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data, method=method), timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in _ANSWERS
    except OSError:
        return False


def s3_session(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    """The session's server; the first fixture that asks starts it, and it ends with the session."""
    if _SERVER not in config.stash:
        running = contextlib.ExitStack()
        config.stash[_SERVER] = running.enter_context(s3_server(tmp_path_factory.mktemp("s3")))
        config.add_cleanup(running.close)
    return config.stash[_SERVER]


@pytest.fixture(scope="session")
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    """The session's server, for modules that import this fixture."""
    return s3_session(request.config, tmp_path_factory)
