"""The lifecycle table, walked whole."""

from __future__ import annotations

import itertools

import pytest

from cove.exception import InternalError
from cove.types import EndReason
from sandboxd.lifecycle import (
    LATE,
    TRANSITIONS,
    Booted,
    BootFailed,
    Command,
    ContainerDied,
    Event,
    Freed,
    GuestBroke,
    IdleOver,
    LifetimeOver,
    MainEnded,
    PauseAsked,
    Paused,
    PauseFailed,
    Record,
    State,
    TerminateAsked,
    WakeAsked,
    WakeFailed,
    step,
)

EVENTS: tuple[Event, ...] = (
    Booted(),
    BootFailed(EndReason.INIT_FAILURE, "no image"),
    MainEnded(0),
    MainEnded(3),
    TerminateAsked(),
    LifetimeOver(300),
    IdleOver(60),
    ContainerDied(True, "out of memory"),
    ContainerDied(False, "gone"),
    GuestBroke("garbage"),
    PauseAsked(),
    Paused(),
    PauseFailed(),
    WakeAsked(),
    WakeFailed(),
    Freed(),
)

ENDINGS: tuple[tuple[Event, EndReason, int], ...] = (
    (MainEnded(0), EndReason.SUCCESS, 0),
    (MainEnded(3), EndReason.FAILURE, 3),
    (TerminateAsked(), EndReason.TERMINATED, 137),
    (LifetimeOver(300), EndReason.TIMEOUT, 124),
    (IdleOver(60), EndReason.IDLE_TIMEOUT, 124),
    (ContainerDied(True, "x"), EndReason.OUT_OF_MEMORY, 137),
    (ContainerDied(False, "x"), EndReason.INTERNAL_FAILURE, 137),
    (GuestBroke("x"), EndReason.INTERNAL_FAILURE, 137),
)


@pytest.mark.parametrize(("event", "reason", "exit_code"), ENDINGS)
def test_each_end_has_its_reason_and_code(event: Event, reason: EndReason, exit_code: int) -> None:
    record, commands = step(Record(state=State.RUNNING), event)
    assert record.state is State.STOPPING
    assert record.result is not None
    assert (record.result.reason, record.result.exit_code) == (reason, exit_code)
    assert commands == (Command.KILL, Command.REPORT, Command.FREE)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations([ending[0] for ending in ENDINGS], 2)))
def test_the_first_end_decides(first: Event, second: Event) -> None:
    record, _ = step(Record(state=State.RUNNING), first)
    assert step(record, second) == (record, ())


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_pair_is_decided_late_or_a_bug(state: State, event: Event) -> None:
    key = (state, type(event))
    record = Record(state=state)
    if key in TRANSITIONS:
        assert step(record, event)[0].state is TRANSITIONS[key]
    elif key in LATE:
        assert step(record, event) == (record, ())
    else:
        with pytest.raises(InternalError, match=type(event).__name__):
            step(record, event)


def test_no_state_is_a_dead_end_but_stopped() -> None:
    for state in State:
        if state is not State.STOPPED:
            assert any(source is state for source, _ in TRANSITIONS)


def test_history_is_bounded() -> None:
    record = Record(state=State.RUNNING, history=tuple(map(str, range(100))))
    assert len(step(record, TerminateAsked())[0].history) == 32
