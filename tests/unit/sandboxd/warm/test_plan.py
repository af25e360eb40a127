"""How many spares of which shape: traces of creates through demand and plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxd.warm.demand import HALF_LIFE_S, MAX_SHAPES, WINDOW_S, Demand
from sandboxd.warm.plan import plan

MIB = 2**20
HOUR_S = 3600.0


def after(trace: Iterable[tuple[float, str]], now: float, *, room: int = 1000) -> dict[str, int]:
    """What the plan is at ``now`` for creates at these times."""
    demand = Demand()
    for at, shape in trace:
        demand.note(shape, at)
    return plan(demand.wanted(now), memory_bytes=room * MIB, each_bytes=MIB, most=1000)


def steady(shape: str, *, every_s: float, until_s: float) -> list[tuple[float, str]]:
    return [(number * every_s, shape) for number in range(int(until_s / every_s))]


def test_nothing_asked_for_nothing_made() -> None:
    assert after([], 100.0) == {}


def test_a_first_create_has_a_second_one_in_view() -> None:
    assert after([(0.0, "a")], 0.1) == {"a": 1}


def test_what_was_asked_for_once_is_forgotten_after_a_while() -> None:
    assert after([(0.0, "a")], HALF_LIFE_S * 0.9) == {"a": 1}
    assert after([(0.0, "a")], HALF_LIFE_S * 1.1) == {}


def test_a_steady_trickle_needs_what_comes_while_one_is_made() -> None:
    assert after(steady("a", every_s=10.0, until_s=HOUR_S), HOUR_S) == {"a": 1}
    assert after(steady("a", every_s=0.5, until_s=HOUR_S), HOUR_S)["a"] == WINDOW_S / 0.5


def test_a_burst_is_expected_again_and_less_so_with_time() -> None:
    burst = [(number * 0.01, "a") for number in range(100)]
    assert after(burst, 1.0) == {"a": 100}
    assert after(burst, 1.0 + HALF_LIFE_S) == {"a": 50}
    assert after(burst, 1.0 + 3 * HALF_LIFE_S) == {"a": 13}
    assert after(burst, 8 * HOUR_S) == {}


def test_single_creates_after_a_burst_do_not_make_it_forgotten() -> None:
    burst = [(number * 0.01, "a") for number in range(100)]
    assert after([*burst, (600.0, "a")], 601.0)["a"] > 75


def test_day_and_night() -> None:
    day = steady("a", every_s=0.25, until_s=HOUR_S)
    assert after(day, HOUR_S)["a"] == WINDOW_S / 0.25
    assert after(day, 12 * HOUR_S) == {}
    assert after([*day, *((24 * HOUR_S + at, shape) for at, shape in day)], 25 * HOUR_S)["a"] == WINDOW_S / 0.25


def test_many_images_under_a_budget_share_it_by_what_they_want() -> None:
    trace = [(number * 0.001, shape) for shape, count in (("a", 60), ("b", 30), ("c", 10)) for number in range(count)]
    assert after(trace, 1.0, room=10) == {"a": 6, "b": 3, "c": 1}
    assert after(trace, 1.0, room=1) == {"a": 1}
    assert after(trace, 1.0, room=0) == {}


def test_a_client_with_a_thousand_shapes_costs_bounded_memory_and_hides_nobody() -> None:
    demand = Demand()
    for number in range(10):
        demand.note("used", number * 0.1)
    for number in range(1000):
        demand.note(f"once-{number}", 2.0 + number * 0.01)
    wanted = demand.wanted(12.0)
    assert len(wanted) <= MAX_SHAPES
    assert plan(wanted, memory_bytes=4, each_bytes=1, most=100)["used"] == 4


wishes = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0.51, 200), max_size=20)


@settings(deadline=None)
@given(wishes, st.integers(0, 300), st.integers(0, 300))
def test_no_plan_exceeds_what_there_is_or_what_is_wanted(wanted: dict[str, float], room: int, most: int) -> None:
    got = plan(wanted, memory_bytes=room * MIB, each_bytes=MIB, most=most)
    assert sum(got.values()) <= min(room, most)
    assert all(0 < count <= wanted[shape] + 1 for shape, count in got.items())


@settings(deadline=None)
@given(wishes, st.integers(1, 300))
def test_who_wants_more_never_gets_less(wanted: dict[str, float], room: int) -> None:
    got = Counter(plan(wanted, memory_bytes=room, each_bytes=1, most=1000))
    for one, want in wanted.items():
        for other, less in wanted.items():
            if want > less:
                assert got[one] >= got[other]


@settings(deadline=None)
@given(wishes, st.integers(0, 300))
def test_more_room_takes_nothing_from_anybody(wanted: dict[str, float], room: int) -> None:
    small, large = (Counter(plan(wanted, memory_bytes=size, each_bytes=1, most=1000)) for size in (room, room + 1))
    assert small <= large
