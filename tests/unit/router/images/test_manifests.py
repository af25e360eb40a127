"""What follows from image records."""

from __future__ import annotations

from typing import Any

import pytest

from cove.types import ImageId, NodeId
from cove.wire import common_pb2, image_pb2
from router.db.records import ImageRecord, LayerRecord
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
