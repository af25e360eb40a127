"""A default image from a registry: what an operator puts there is what ``debian_slim`` is from the router's next start on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cove.wire import control_pb2, image_pb2
from tests.support.live_cove import LiveCove
from tests.support.live_fixtures import own_cove
from tests.support.raw_client import BUILD_S, RawClient
from tests.support.registry_server import registry_server

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "router.toml"
    file.write_text("loopback_registries = true\n")
    return file


@pytest.fixture
def live(tmp_path: Path, settings_file: Path) -> Iterator[LiveCove]:
    """An instance of this test's own, whose router reads the file."""
    (tmp_path / "cove").mkdir()
    with own_cove(tmp_path / "cove", COVE_ROUTER_CONFIG=str(settings_file)) as instance:
        yield instance


@pytest.fixture
def client(live: LiveCove) -> Iterator[RawClient]:
    client = RawClient(live)
    yield client
    client.close()


def node_is_back(client: RawClient) -> control_pb2.HelloResponse:
    """Once the router hears of its node again: what nodes make themselves is offered by then."""
    deadline = time.monotonic() + 30
    while "3.13" not in (hello := client.control.Hello(control_pb2.HelloRequest())).debian_pythons:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer: control_pb2.HelloResponse = hello
    return answer


def test_a_default_image_comes_from_the_registry(live: LiveCove, client: RawClient, settings_file: Path, tmp_path: Path) -> None:
    layer = image_pb2.ImageLayer(commands=["RUN echo operator > /made-by"])
    made, _ = client.build(image_pb2.ImageDefinition(debian="3.11", layers=[layer]))
    with registry_server(tmp_path / "registry") as registry:
        reference = f"{registry.address}/bases/python:3.11"
        push = image_pb2.ImagePushRequest(image_id=made.image_id, target=image_pb2.RegistryImage(reference=reference))
        assert list(client.control.stream("ImagePush", push, timeout_s=BUILD_S))[-1].digest
        live.stop("router")
        with settings_file.open("a") as file:
            file.write(f'[default_images]\nimages = {{ "3.11" = "{reference}" }}\n')
        live.start("router")
        assert list(node_is_back(client).pulled_pythons) == ["3.11"]
        more = image_pb2.ImageLayer(commands=["RUN cat /made-by > /seen"])
        image, _ = client.build(image_pb2.ImageDefinition(debian="3.11", layers=[more]))
    sandbox = client.ready_from(image)
    assert sandbox.shell("cat /made-by /seen; python3 --version").startswith(b"operator\noperator\nPython 3.11")
    sandbox.terminate()
    sandbox.ended()
