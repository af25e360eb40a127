"""Keys of definitions: what decides the content of an image changes them, and nothing else does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.wire import image_pb2
from router.images.builder.keys import keys_of

A, B = (image_pb2.ContextFile(path=path, mode=0o100644, sha256=bytes(32), size_bytes=1) for path in (b"a", b"b"))
LAYER: dict[str, Any] = {
    "commands": ["RUN a", "RUN b"],
    "context": [A, B],
    "build_args": {"X": "1", "Y": "2"},
    "secrets": {"S": "1", "T": "2"},
    "env": {"E": "1"},
}


def keys(*changes: dict[str, Any], **base: Any) -> list[bytes]:
    layers = [image_pb2.ImageLayer(**{**LAYER, **change}) for change in changes or ({},)]
    return keys_of(image_pb2.ImageDefinition(layers=layers, **(base or {"debian": "3.11"})))


@pytest.mark.parametrize(
    "change",
    [
        {"commands": ["RUN b", "RUN a"]},
        {"commands": ["RUN aRUN b"]},
        {"commands": ["RUN a", "RUN b", ""]},
        {"context": [A]},
        {"context": []},
        {"context": [A, image_pb2.ContextFile(path=b"b", mode=0o100755, sha256=bytes(32))]},
        {"context": [A, image_pb2.ContextFile(path=b"b", mode=0o100644, sha256=bytes(31) + b"1")]},
        {"context": [A, image_pb2.ContextFile(path=b"c", mode=0o100644, sha256=bytes(32))]},
        {"build_args": {"X": "2", "Y": "1"}},
        {"build_args": {"X": "1"}},
        {"secrets": {"S": "1"}},
        {"secrets": {"S": "1", "T": "2", "U": ""}},
        {"env": {"E": "2"}},
        {"env": {}},
    ],
)
def test_content_changes_the_key(change: dict[str, Any]) -> None:
    base, changed = keys(), keys(change)
    assert changed[0] == base[0] and changed[1] != base[1]


@pytest.mark.parametrize(
    "change",
    [
        {"context": [B, A]},
        {"secrets": {"T": "other", "S": "values"}},
        {"force_build": True},
        {"build_args": {"Y": "2", "X": "1"}},
    ],
)
def test_order_force_and_values_of_secrets_do_not(change: dict[str, Any]) -> None:
    assert keys(change) == keys()


def test_link_targets_count() -> None:
    one, other = (image_pb2.ContextFile(path=b"l", mode=0o120777, link_target=target) for target in (b"x", b"y"))
    assert keys({"context": [one]})[1] != keys({"context": [other]})[1]


def test_bases_differ_by_kind_and_value_but_not_by_credentials() -> None:
    registry = [image_pb2.RegistryImage(reference="3.11", kind=kind, secret={"a": kind}) for kind in ("", "ecr")]
    bases: list[dict[str, Any]] = [
        {"debian": "3.11"},
        {"debian": "3.12"},
        {"image_id": "3.11"},
        {"rootfs_path": "3.11"},
        {"registry": registry[0]},
        {"registry": image_pb2.RegistryImage(reference="3.12")},
    ]
    found = [keys(**base) for base in bases]
    assert len({key for pair in found for key in pair}) == 2 * len(bases)
    assert keys(registry=registry[0]) == keys(registry=registry[1])
    assert keys_of(image_pb2.ImageDefinition())[0] not in {pair[0] for pair in found}


def test_a_layer_depends_on_all_below_it_and_on_none_above() -> None:
    change = {"commands": ["RUN c"]}
    plain, above, below = keys({}, {}, {}), keys({}, {}, change), keys(change, {}, {})
    assert above[:3] == plain[:3] and above[3] != plain[3]
    assert below[0] == plain[0] and not set(below[1:]) & set(plain)
    assert len(set(plain)) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"build_args": {"a": "1"}, "env": {"b": "env"}}, {"build_args": {"a": "1", "env": "b"}, "env": {}}),
        ({"env": {"secrets": "s"}, "secrets": {}}, {"env": {}, "secrets": {"secrets": "", "s": ""}}),
        ({"commands": ["a", "context"], "context": []}, {"commands": ["a"], "context": []}),
    ],
)
def test_no_part_passes_for_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert keys(one)[1] != keys(other)[1]


WORDS = st.sampled_from(["", "a", "b", "commands", "context", "arguments", "env", "secrets"])
PAIRS = st.dictionaries(WORDS, WORDS, max_size=2)
LAYERS = st.builds(
    image_pb2.ImageLayer,
    commands=st.lists(WORDS, max_size=3),
    build_args=PAIRS,
    env=PAIRS,
    secrets=st.dictionaries(WORDS, st.just("s"), max_size=2),
    context=st.lists(st.builds(image_pb2.ContextFile, path=WORDS.map(str.encode), link_target=WORDS.map(str.encode)), max_size=1),
)


@given(st.lists(LAYERS, min_size=2, max_size=12))
def test_equal_keys_mean_equal_layers(layers: list[image_pb2.ImageLayer]) -> None:
    found = [(keys_of(image_pb2.ImageDefinition(debian="3.11", layers=[layer]))[1], layer) for layer in layers]
    for (one_key, one), (other_key, other) in itertools.combinations(found, 2):
        assert (one_key == other_key) == (one == other)
