"""Placement: who may be asked, in which order, and what is said when nobody may."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import Error, InvalidError, ResourceExhaustedError
from cove.types import NodeId, SandboxId, new_id
from router.db.records import Capacity
from router.placement import MAX_CANDIDATES, Demand, NodeView, Origin, candidates


def view(
    node_id: str, *, cpu: int = 1000, memory: int = 1000, used: int = 0, usable: bool = True, pythons: str = "3.11", runsc: str = "r-1"
) -> NodeView:
    return NodeView(
        node_id=NodeId(node_id),
        usable=usable,
        capacity=Capacity(cpu, memory),
        reserved=Capacity(used, used),
        debian_pythons=frozenset(filter(None, pythons.split(","))),
        runsc_version=runsc,
    )


def demand(cpu: int = 10, memory: int = 10, python: str = "3.11", sandbox_id: str = "sb-1") -> Demand:
    return Demand(sandbox_id=SandboxId(sandbox_id), request=Capacity(cpu, memory), debian_python=python)


amounts = st.integers(0, 40)
views = st.lists(
    st.builds(
        NodeView,
        node_id=st.uuids().map(lambda item: NodeId(str(item))),
        usable=st.booleans(),
        capacity=st.builds(Capacity, amounts, amounts),
        reserved=st.builds(Capacity, amounts, amounts),
        debian_pythons=st.frozensets(st.sampled_from(["3.11", "3.12"])),
        proxies=st.frozensets(st.sampled_from(["exit", "other"])),
    ),
    max_size=15,
    unique_by=lambda node: node.node_id,
)
demands = st.builds(
    Demand,
    sandbox_id=st.uuids().map(lambda item: SandboxId(str(item))),
    request=st.builds(Capacity, amounts, amounts),
    debian_python=st.sampled_from(["", "3.11", "3.12", "3.9"]),
    proxy=st.sampled_from(["", "exit"]),
)


@given(views, demands, st.randoms())
def test_candidates_are_exactly_who_could_take_it_whatever_the_order_of_nodes(nodes: list[NodeView], asked: Demand, random: object) -> None:
    could = {
        node.node_id
        for node in nodes
        if node.usable
        and node.capacity.cpu_millis - node.reserved.cpu_millis >= asked.request.cpu_millis
        and node.capacity.memory_bytes - node.reserved.memory_bytes >= asked.request.memory_bytes
        and (not asked.debian_python or asked.debian_python in node.debian_pythons)
        and (not asked.proxy or asked.proxy in node.proxies)
    }
    try:
        found = candidates(nodes, asked)
    except (ResourceExhaustedError, InvalidError):
        assert not could
        return
    assert {node.node_id for node in found} <= could
    assert len(found) == min(len(could), MAX_CANDIDATES) > 0
    assert candidates(reversed(nodes), asked) == found


@given(views, demands)
def test_no_candidate_is_much_fuller_than_one_it_precedes(nodes: list[NodeView], asked: Demand) -> None:
    try:
        found = candidates(nodes, asked)
    except (ResourceExhaustedError, InvalidError):
        return

    def load(node: NodeView) -> float:
        after = node.reserved + asked.request
        return max(after.cpu_millis / max(1, node.capacity.cpu_millis), after.memory_bytes / max(1, node.capacity.memory_bytes))

    for earlier, later in itertools.pairwise(found):
        assert load(earlier) <= load(later) + 1 / 16


def test_equal_nodes_share_evenly() -> None:
    nodes = [view(f"n{item}") for item in range(10)]
    first = Counter(candidates(nodes, demand(sandbox_id=new_id("sb")))[0].node_id for _ in range(2000))
    assert len(first) == 10 and min(first.values()) > 120  # 200 expected; seven standard deviations


def test_the_scarcer_resource_decides() -> None:
    memory_full = msgspec.structs.replace(view("m"), reserved=Capacity(0, 900))
    half = msgspec.structs.replace(view("h"), reserved=Capacity(500, 500))
    assert [node.node_id for node in candidates([memory_full, half], demand())] == ["h", "m"]


@pytest.mark.parametrize(
    ("nodes", "asked", "error", "said"),
    [
        ([], demand(), ResourceExhaustedError, "No node has joined"),
        ([view("a", pythons="3.12")], demand(), ResourceExhaustedError, "3.12"),
        ([view("a", usable=False)], demand(), ResourceExhaustedError, "healthy"),
        ([view("a", used=995)], demand(), ResourceExhaustedError, "free"),
        ([view("a"), view("b", usable=False)], demand(cpu=1001), InvalidError, "largest node has 1 cores"),
        ([view("a"), view("b", cpu=2000, usable=False)], demand(cpu=1001), ResourceExhaustedError, "free"),
        ([view("a", cpu=2000), view("b", memory=2000)], demand(cpu=1500, memory=1500), InvalidError, "largest"),
    ],
)
def test_why_nobody_can_is_told_apart(nodes: list[NodeView], asked: Demand, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        candidates(nodes, asked)


def restore(node_id: str = "home", *, is_stored: bool = True, cpu: int = 10) -> Demand:
    origin = Origin(node_id=NodeId(node_id), is_stored=is_stored, runsc_version="r-1")
    return msgspec.structs.replace(demand(cpu), origin=origin)


@pytest.mark.parametrize("is_stored", [True, False])
def test_memory_is_restored_where_it_is(is_stored: bool) -> None:
    nodes = [view("home", used=900), view("other")]
    assert [node.node_id for node in candidates(nodes, restore(is_stored=is_stored))] == ["home"]


@pytest.mark.parametrize("home", [[], [view("home", usable=False)], [view("home", usable=False, runsc="r-2")]])
def test_stored_memory_is_restored_by_the_gvisor_that_took_it(home: list[NodeView]) -> None:
    nodes = [*home, view("old", runsc="r-0"), view("other", used=10), view("free"), view("away", usable=False)]
    assert sorted(node.node_id for node in candidates(nodes, restore())) == ["free", "other"]


OLD, NEW = f"r-1-{'a' * 16}", f"r-2-{'b' * 16}"


@pytest.mark.parametrize(
    ("build", "expected"),
    [(OLD, ["both", "old"]), (NEW, ["both", "new"]), ("", ["both", "old", "untold"]), (f"r-1-{'c' * 16}", [])],
)
def test_a_node_restores_with_every_build_that_it_has(build: str, expected: list[str]) -> None:
    builds = {"both": (OLD, NEW), "old": (OLD,), "new": (NEW,), "untold": ()}
    nodes = [
        msgspec.structs.replace(view(name, runsc="r-1" if name == "untold" else "r-2"), runsc_builds=frozenset(has))
        for name, has in builds.items()
    ]
    asked = restore()
    assert asked.origin is not None
    asked = msgspec.structs.replace(asked, origin=msgspec.structs.replace(asked.origin, runsc_build=build))
    if expected:
        assert sorted(node.node_id for node in candidates(nodes, asked)) == expected
    else:
        with pytest.raises(ResourceExhaustedError, match=build):
            candidates(nodes, asked)


@pytest.mark.parametrize(
    ("nodes", "asked", "error", "said", "retryable"),
    [
        ([view("other")], restore(is_stored=False), ResourceExhaustedError, "node home alone", True),
        ([view("home", usable=False), view("other")], restore(is_stored=False), ResourceExhaustedError, "node home alone", True),
        ([view("other", runsc="r-0"), view("b", runsc="")], restore(), ResourceExhaustedError, "gVisor .* r-1", False),
        ([view("other", usable=False)], restore(), ResourceExhaustedError, "healthy", True),
        ([view("home", used=995), view("other")], restore(), ResourceExhaustedError, "free", True),
        ([view("home"), view("other", cpu=9000)], restore(cpu=5000), InvalidError, "largest", False),
        ([view("home", pythons="3.12")], restore(), ResourceExhaustedError, "Python 3.11", True),
    ],
)
def test_why_memory_cannot_be_restored_is_told(
    nodes: list[NodeView], asked: Demand, error: type[Error], said: str, retryable: bool
) -> None:
    with pytest.raises(error, match=said) as caught:
        candidates(nodes, asked)
    assert caught.value.retryable == retryable


def test_a_proxy_that_no_node_has_is_named() -> None:
    asked = Demand(sandbox_id=SandboxId("sb-1"), request=Capacity(1, 1), proxy="exit")
    with pytest.raises(ResourceExhaustedError, match="No node has the proxy 'exit'"):
        candidates([view("n")], asked)
