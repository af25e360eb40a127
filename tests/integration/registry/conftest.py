"""One registry without authentication and one set of images for all tests here; clients that do not wait between tries."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec
import pytest

from snapshots.registry.client import RegistryClient
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.faults import FakeImage, FakeRegistry
from tests.support.registry_server import OciLayout, RegistryServer, registry_server, require_programs, skopeo

FAST: Final = RegistrySettings(first_delay_s=0.001)
BIG: Final = random.Random(3).randbytes(3 << 20)
"""Content that no compression shortens."""


LAYER: Final = random.Random(7).randbytes(1 << 20)
"""Of the image that a fake registry has."""


class Images(msgspec.Struct, frozen=True):
    """Where skopeo finds them."""

    two_layers: str
    zstd: str
    arm: str
    multi: str


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    require_programs()
    directory = tmp_path_factory.mktemp("images")
    layout = OciLayout(directory / "layout")
    two_layers = layout.image("two", [{"hello": b"hello\n"}, {"big": BIG}], env="GREETING=hello")
    arm = layout.image("arm", [{"arm": b"arm\n"}], architecture="arm64")
    zstd = f"oci:{directory}/zstd:latest"
    skopeo("copy", "--dest-compress", "--dest-compress-format", "zstd", two_layers, zstd)
    multi = layout.index("multi", {"linux/amd64": "two", "linux/arm64/v8": "arm"})
    return Images(two_layers, zstd, arm, multi)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, images: Images) -> Iterator[RegistryServer]:
    """With ``two:latest``, ``two:docker`` (schema 2), ``zstd:latest`` and the index ``multi:latest``."""
    with registry_server(tmp_path_factory.mktemp("registry")) as running:
        root = f"docker://{running.address}"
        skopeo("copy", images.two_layers, f"{root}/two:latest")
        skopeo("copy", "--format", "v2s2", images.two_layers, f"{root}/two:docker")
        skopeo("copy", images.zstd, f"{root}/zstd:latest")
        skopeo("copy", "--all", images.multi, f"{root}/multi:latest")
        yield running


@pytest.fixture
async def client(server: RegistryServer) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(server.address, settings=FAST) as opened:
        yield opened


@pytest.fixture
async def fake() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry(FakeImage(LAYER)) as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[FakeRegistry]:
    """Another host, as far as credentials are concerned."""
    async with FakeRegistry(FakeImage(LAYER)) as running:
        yield running
