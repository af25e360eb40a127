"""Bounds on definitions: whatever a client sends is either within them or refused with an error of ours."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import InvalidError, RequestSizeError
from cove.types import new_id
from cove.wire import image_pb2
from policies import images
from policies.images import check_definition

FILE = stat.S_IFREG | 0o644
LINK = stat.S_IFLNK | 0o777
DIRECTORY = stat.S_IFDIR | 0o755


def definition(*layers: image_pb2.ImageLayer, **base: Any) -> image_pb2.ImageDefinition:
    return image_pb2.ImageDefinition(layers=layers, **(base or {"debian": "3.11"}))


def context(**fields: Any) -> image_pb2.ImageDefinition:
    return definition(image_pb2.ImageLayer(context=[image_pb2.ContextFile(**{"path": b"a", "mode": DIRECTORY, **fields})]))


@pytest.mark.parametrize("python", ["3.9", "3.11", "3.99"])
def test_python_versions_pass(python: str) -> None:
    check_definition(definition(debian=python))


@pytest.mark.parametrize("python", ["", "3", "3.", "3.111", "2.7", "3.11.2", " 3.11", "3.11\n", "3.１１", "3.1/../x", "٣.11"])
def test_anything_else_is_no_python(python: str) -> None:
    with pytest.raises(InvalidError):
        check_definition(definition(debian=python))


@pytest.mark.parametrize(
    "path",
    ["", "a", "./a", "../a", "/../a", "/a/..", "/a/../b", "/a\0b", "/a\nb", "/\x1b", "/" + "a" * images.MAX_PATH_BYTES, "/\u202e"],
)
def test_rootfs_paths_are_absolute_and_plain(path: str) -> None:
    check_definition(definition(rootfs_path="/srv/rootfs..tar"))
    with pytest.raises(InvalidError):
        check_definition(definition(rootfs_path=path))


@pytest.mark.parametrize("image_id", ["", "im-", "sb-" + "0" * 22, "im-" + "0" * 21, "im-" + "0" * 21 + "/", "../im"])
def test_image_ids_have_their_form(image_id: str) -> None:
    check_definition(definition(image_id=new_id("im")))
    with pytest.raises(InvalidError):
        check_definition(definition(image_id=image_id))


def test_a_definition_defines_something_and_its_registry_is_of_a_kind() -> None:
    with pytest.raises(InvalidError):
        check_definition(image_pb2.ImageDefinition())
    check_definition(image_pb2.ImageDefinition(layers=[image_pb2.ImageLayer(commands=["FROM a"])]))
    check_definition(definition(registry=image_pb2.RegistryImage(reference="a", kind="ecr")))
    with pytest.raises(InvalidError):
        check_definition(definition(registry=image_pb2.RegistryImage(reference="a", kind="docker")))


@pytest.mark.parametrize(
    "path", [b"", b"/", b"/a", b"a/", b"a//b", b".", b"..", b"a/..", b"./a", b"a/./b", b"../a", b"a\0b", b"a" * (images.MAX_PATH_BYTES + 1)]
)
def test_context_paths_stay_in_the_context(path: bytes) -> None:
    with pytest.raises(InvalidError):
        check_definition(context(path=path))


@pytest.mark.parametrize("path", [b"a", b"...", b".a", b"a/..b", b"\xff\xfe", b"a b\n", b"a" * images.MAX_PATH_BYTES])
def test_odd_names_are_names(path: bytes) -> None:
    check_definition(context(path=path))


@pytest.mark.parametrize(
    ("fields", "is_fine"),
    [
        ({"mode": FILE, "sha256": bytes(32)}, True),
        ({"mode": FILE}, False),
        ({"mode": FILE, "sha256": bytes(31)}, False),
        ({"mode": FILE, "sha256": bytes(32), "link_target": b"x"}, False),
        ({"mode": DIRECTORY}, True),
        ({"mode": DIRECTORY, "sha256": bytes(32)}, False),
        ({"mode": DIRECTORY, "link_target": b"x"}, False),
        ({"mode": LINK, "link_target": b"/../x"}, True),
        ({"mode": LINK}, False),
        ({"mode": LINK, "link_target": b"x\0"}, False),
        ({"mode": LINK, "link_target": b"x" * (images.MAX_PATH_BYTES + 1)}, False),
        ({"mode": LINK, "link_target": b"x", "sha256": bytes(32)}, False),
        ({"mode": 0o644, "sha256": bytes(32)}, False),
        ({"mode": stat.S_IFCHR | 0o666}, False),
        ({"mode": stat.S_IFIFO | 0o666}, False),
        ({"mode": stat.S_IFSOCK | 0o666}, False),
        ({"mode": 2**32 - 1, "sha256": bytes(32)}, False),
    ],
)
def test_context_files_are_files_directories_or_links(fields: dict[str, Any], is_fine: bool) -> None:
    if is_fine:
        check_definition(context(**fields))
        return
    with pytest.raises(InvalidError):
        check_definition(context(**fields))


@pytest.mark.parametrize("field", ["build_args", "secrets", "env"])
@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"A.b-c_1": ""}, None),
        ({"A": "x" * images.MAX_VALUE_BYTES}, None),
        ({"A": "ü" * (images.MAX_VALUE_BYTES // 2 + 1)}, InvalidError),
        ({"A": "a\0b"}, InvalidError),
        ({"": "x"}, InvalidError),
        ({"1a": "x"}, InvalidError),
        ({"A=B": "x"}, InvalidError),
        ({"A\n": "x"}, InvalidError),
        ({"a/../b": "x"}, InvalidError),
        ({"ü": "x"}, InvalidError),
        ({"A" * 256: "x"}, InvalidError),
        ({f"A{number}": "" for number in range(images.MAX_VARIABLES)}, None),
        ({f"A{number}": "" for number in range(images.MAX_VARIABLES + 1)}, RequestSizeError),
    ],
)
def test_variables_are_bounded(field: str, variables: dict[str, str], error: type[Exception] | None) -> None:
    made = definition(image_pb2.ImageLayer(**{field: variables}))  # type: ignore[arg-type]  # one of the three maps
    if error is None:
        check_definition(made)
        return
    with pytest.raises(error) as caught:
        check_definition(made)
    assert "x" * 100 not in str(caught.value)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_CONTEXT_FILES", 3)
    half = "x" * (images.MAX_COMMAND_CHARACTERS // 2)
    files = [image_pb2.ContextFile(path=b"%d" % number, mode=DIRECTORY) for number in range(4)]
    check_definition(definition(*[image_pb2.ImageLayer(commands=[half, half], context=files[:3])] * images.MAX_LAYERS))
    for layers in (
        [image_pb2.ImageLayer()] * (images.MAX_LAYERS + 1),
        [image_pb2.ImageLayer(commands=[half, half, "x"])],
        [image_pb2.ImageLayer(context=files)],
    ):
        with pytest.raises(RequestSizeError):
            check_definition(definition(*layers))


files = st.builds(
    image_pb2.ContextFile,
    path=st.binary(max_size=20) | st.sampled_from([b"a", b"a/b", b"../a"]),
    mode=st.integers(0, 2**32 - 1) | st.sampled_from([FILE, LINK, DIRECTORY]),
    sha256=st.binary(max_size=40) | st.just(bytes(32)),
    size_bytes=st.integers(0, 2**64 - 1),
    link_target=st.binary(max_size=20),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
variables = st.dictionaries(texts, texts, max_size=3)
layers = st.builds(
    image_pb2.ImageLayer,
    commands=st.lists(texts, max_size=3),
    context=st.lists(files, max_size=3),
    build_args=variables,
    secrets=variables,
    env=variables,
)
bases: st.SearchStrategy[dict[str, Any]] = st.one_of(
    *(st.fixed_dictionaries({name: texts}) for name in ("debian", "image_id", "rootfs_path")),
    st.fixed_dictionaries({"registry": st.builds(image_pb2.RegistryImage, reference=texts, kind=texts, secret=variables)}),
)


@given(st.lists(layers, max_size=3), bases)
def test_whatever_comes_is_passed_or_refused_in_words(made: list[image_pb2.ImageLayer], base: dict[str, Any]) -> None:
    what = image_pb2.ImageDefinition(layers=made, **base)
    before = what.SerializeToString(deterministic=True)
    try:
        check_definition(what)
    except (InvalidError, RequestSizeError) as error:
        assert error.cause and len(str(error)) < 2000
    else:
        for item in (item for one in made for item in one.context):
            assert b".." not in item.path.split(b"/") and not item.path.startswith(b"/")
    assert what.SerializeToString(deterministic=True) == before
