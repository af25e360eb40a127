"""The three backends, each empty, for suites that run over all of them; and what such suites measure."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import pytest

from snapshots.backends.local import LocalBackend
from snapshots.backends.memory import MemoryBackend
from snapshots.backends.protocol import Backend
from snapshots.backends.s3 import S3Access, S3Backend
from tests.support.leaks import peak_bytes
from tests.support.s3_server import BUCKET, S3Server, s3_session

PLACES: Final = ("memory", "local", "s3")


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, S3Server | None]:
    """The kind of backend, and the session's S3 server where that is one. Of session scope so that the server is no single test's."""
    return request.param, s3_session(request.config, tmp_path_factory) if request.param == "s3" else None


@pytest.fixture
async def backend(place: tuple[str, S3Server | None], tmp_path: Path) -> Backend:
    """An empty one."""
    kind, server = place
    if server:
        return S3Backend(s3_access(server))
    if kind == "memory":
        return MemoryBackend()
    local = LocalBackend(tmp_path / "store")
    await local.create()
    return local


def s3_access(server: S3Server, *, endpoint: str = "", timeout_s: float = 15.0, secret_access_key: str = "") -> S3Access:
    """A prefix of its own in the server's bucket."""
    return S3Access(
        bucket=BUCKET,
        prefix=f"{secrets.token_hex(8)}/of-a-test/",
        endpoint=endpoint or server.endpoint,
        access_key_id=server.access_key_id,
        secret_access_key=secret_access_key or server.secret_access_key,
        timeout_s=timeout_s,
    )


def reset_peak_bytes() -> int:
    """What this process has in memory now; :func:`tests.support.leaks.peak_bytes` counts from here. Source: proc(5), clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes(os.getpid())
