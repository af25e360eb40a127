"""Spares of a node as its router knows them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cove.types import SandboxId
from router.spares import NodeSpares, Starts

A, B, C = SandboxId("sb-a"), SandboxId("sb-b"), SandboxId("sb-c")


def test_each_is_given_away_once() -> None:
    spares = NodeSpares()
    spares.tell({A: "x", B: "y", C: "x"}, Starts())
    assert [spares.take("x"), spares.take("x"), spares.take("x"), spares.take("y"), spares.take("z")] == [A, C, None, B, None]


def test_old_news_does_not_bring_back_what_was_given_away() -> None:
    spares = NodeSpares()
    spares.tell({A: "x"}, Starts())
    assert spares.take("x") == A
    spares.tell({A: "x", B: "x"}, Starts())
    assert [spares.take("x"), spares.take("x")] == [B, None]


def test_what_came_to_nothing_can_be_given_again_if_it_is_still_there() -> None:
    spares = NodeSpares()
    spares.tell({A: "x", B: "x"}, Starts())
    assert {spares.take("x"), spares.take("x")} == {A, B}
    spares.tell({A: "x"}, Starts())
    spares.give_back(A)
    spares.give_back(B)
    spares.give_back(C)
    assert [spares.take("x"), spares.take("x")] == [A, None]


def test_news_replace_all() -> None:
    spares = NodeSpares()
    spares.tell({A: "x"}, Starts(1, 2))
    spares.tell({}, Starts(3, 4))
    assert (len(spares), spares.take("x"), spares.starts) == (0, None, Starts(3, 4))


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(["take", "give back"]), st.sets(st.sampled_from([A, B, C]))), max_size=40))
def test_nobody_is_given_what_another_one_has(steps: list[str | set[SandboxId]]) -> None:
    spares, out = NodeSpares(), set[SandboxId]()
    for step in steps:
        if step == "take":
            taken = spares.take("x")
            assert taken not in out
            out |= {taken} if taken else set()
        elif step == "give back":
            if out:
                spares.give_back(out.pop())
        else:
            assert isinstance(step, set)
            out &= step  # what the node has no more was claimed, or has ended: its id never comes back
            spares.tell(dict.fromkeys(step, "x"), Starts())
