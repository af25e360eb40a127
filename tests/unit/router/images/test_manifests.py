"""What follows from image records, and what instructions do to an image's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from cove.dockerfile import parse_commands
from cove.types import ImageId, NodeId
from cove.wire import common_pb2, image_pb2
from router.db.records import ImageRecord, LayerRecord
from router.images.builder.steps import configure
from router.images.manifests import CHAIN_LENGTH, image_name, only_node, to_image_info, to_manifest, to_merge


def layers(text: str) -> list[LayerRecord]:
    """One layer a letter: b(uild), s(napshot), r(egistry); upper case is not stored yet."""
    sources = {"b": "build", "s": "snapshot", "r": "registry"}
    return [
        LayerRecord(
            layer_id=f"ly-{number}",
            source=sources[letter.lower()],
            node_id=NodeId(f"node-{number}"),
            digest="" if letter.isupper() else f"sha256:{number}",
            size_bytes=0 if letter.isupper() else 10,
            created_at=1.0,
        )
        for number, letter in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("chain", "merged"),
    [
        ("", 0),
        ("b", 0),
        ("s" * (CHAIN_LENGTH - 1), 0),
        ("s" * CHAIN_LENGTH, CHAIN_LENGTH),
        ("s" * (CHAIN_LENGTH + 3), CHAIN_LENGTH + 3),
        ("b" + "s" * CHAIN_LENGTH, CHAIN_LENGTH),
        ("s" * CHAIN_LENGTH + "b", 0),
        ("s" * CHAIN_LENGTH + "b" + "s" * 2, 0),
        ("b" * 50, 0),
        ("r" * 50 + "S" * CHAIN_LENGTH, CHAIN_LENGTH),
    ],
)
def test_a_run_of_snapshots_on_top_is_merged_once_it_is_long(chain: str, merged: int) -> None:
    assert to_merge(layers(chain)) == merged


def test_a_chain_of_snapshots_stays_short_for_ever() -> None:
    chain = layers("rb")
    for _ in range(500):
        count = to_merge(chain)
        chain = [*chain[: len(chain) - count], *layers("s")]
        assert len(chain) <= 2 + CHAIN_LENGTH and [layer.source for layer in chain[:2]] == ["registry", "build"]


@pytest.mark.parametrize(("chain", "node"), [("", None), ("rbs", None), ("rbS", "node-2"), ("Bs", "node-0"), ("rBS", "node-1")])
def test_only_the_node_that_has_it_runs_what_is_not_stored(chain: str, node: str | None) -> None:
    assert only_node(layers(chain)) == node


def test_manifest_and_info_count_the_base() -> None:
    config = image_pb2.ImageConfig(env={"A": "b"}).SerializeToString()
    fields: dict[str, Any] = {"workspace": "ws", "source": "build", "description": "d", "config": config, "created_at": 1.0}
    based = ImageRecord(image_id=ImageId("im-1"), base="debian:3.11", layers=tuple(layers("bB")), **fields)
    whole = ImageRecord(image_id=ImageId("im-2"), layers=tuple(layers("rr")), **fields)
    assert [layer.base or layer.layer_id for layer in to_manifest(based).layers] == ["debian:3.11", "ly-0", "ly-1"]
    assert [layer.layer_id for layer in to_manifest(whole).layers] == ["ly-0", "ly-1"]
    told = [(info.layers, info.size_bytes, info.stored, dict(info.config.env)) for info in map(to_image_info, (based, whole))]
    assert told == [(3, 10, False, {"A": "b"}), (2, 20, True, {"A": "b"})]


def test_names_of_what_sandboxes_start_from() -> None:
    references = [common_pb2.ImageRef(image_id="im-1"), common_pb2.ImageRef(debian="3.11"), common_pb2.ImageRef(rootfs_path="/x")]
    assert [image_name(reference) for reference in references] == ["im-1", "debian:3.11", "rootfs:/x"]


def configured(*commands: str, **config: Any) -> image_pb2.ImageConfig:
    """The configuration after a stage's instructions, none of which has variables."""
    made, own_cmd = image_pb2.ImageConfig(**config), False
    for instruction in parse_commands(commands):
        assert configure(made, instruction, own_cmd=own_cmd), instruction
        own_cmd |= type(instruction).__name__ == "Cmd"
    return made


@pytest.mark.parametrize(
    ("commands", "before", "after"),
    [
        (["ENV A=1 B=2", "ENV A=3"], {"env": {"A": "0", "Z": "z"}}, {"env": {"A": "3", "B": "2", "Z": "z"}}),
        (["LABEL a=1", "LABEL a=2 b=3"], {"labels": {"c": "4"}}, {"labels": {"a": "2", "b": "3", "c": "4"}}),
        (["USER app:staff"], {"user": "root"}, {"user": "app:staff"}),
        (["CMD run it"], {"cmd": ["x"]}, {"cmd": ["/bin/sh", "-c", "run it"]}),
        (['CMD ["run", "it"]'], {"cmd": ["x"]}, {"cmd": ["run", "it"]}),
        (["CMD []"], {"cmd": ["x"]}, {}),
        (['SHELL ["bash", "-ec"]', "CMD a"], {}, {"shell": ["bash", "-ec"], "cmd": ["bash", "-ec", "a"]}),
        (["CMD a"], {"shell": ["zsh", "-c"]}, {"shell": ["zsh", "-c"], "cmd": ["zsh", "-c", "a"]}),
        (['ENTRYPOINT ["e"]'], {"entrypoint": ["old"], "cmd": ["old"]}, {"entrypoint": ["e"]}),
        (['ENTRYPOINT ["e"]', 'CMD ["c"]'], {"cmd": ["old"]}, {"entrypoint": ["e"], "cmd": ["c"]}),
        (['CMD ["c"]', 'ENTRYPOINT ["e"]'], {"cmd": ["old"]}, {"entrypoint": ["e"], "cmd": ["c"]}),
        (["ENTRYPOINT []"], {"entrypoint": ["old"], "cmd": ["old"]}, {}),
        (["ENTRYPOINT e x"], {}, {"entrypoint": ["/bin/sh", "-c", "e x"]}),
        (["EXPOSE 80 443/udp", "EXPOSE 80"], {"exposed_ports": ["22"]}, {"exposed_ports": ["22", "443/udp", "80"]}),
        (["ARG A=1", "MAINTAINER nobody"], {"user": "u"}, {"user": "u"}),
    ],
)
def test_what_instructions_do_to_the_configuration(commands: list[str], before: dict[str, Any], after: dict[str, Any]) -> None:
    assert configured(*commands, **before) == image_pb2.ImageConfig(**after)


def test_a_healthcheck_is_recorded_as_it_was_written() -> None:
    assert "--interval=5s CMD curl" in configured("HEALTHCHECK --interval=5s CMD curl x").healthcheck


@pytest.mark.parametrize("command", ["RUN a", "COPY a b", "ADD a b", "WORKDIR /x"])
def test_what_touches_files_is_left_to_a_sandbox(command: str) -> None:
    (instruction,) = parse_commands([command])
    config = image_pb2.ImageConfig()
    assert not configure(config, instruction, own_cmd=False) and config == image_pb2.ImageConfig()
