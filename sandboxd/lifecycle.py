"""The life of a sandbox: states, events, commands, one table and a pure :func:`step`.

Rule: everything that decides what a sandbox does next lives here. The actor in ``sandbox.py`` only turns the outside world into events and
carries commands out; it never looks at the state to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from cove.exception import InternalError
from cove.types import EXIT_TERMINATED, EXIT_TIMEOUT, EndReason


class State(StrEnum):
    PENDING = "pending"
    """Admitted; the container is being made."""
    RUNNING = "running"
    PAUSING = "pausing"
    """Its memory is being written to disk."""
    PAUSED = "paused"
    """Nothing of it is in memory; memory, files and records are on disk."""
    WAKING = "waking"
    """A container is being made that goes on from that memory."""
    STOPPING = "stopping"
    """The end is decided; processes are dead or dying and resources are being freed."""
    STOPPED = "stopped"
    """Everything is freed but the record and the spools."""


ENDED: Final = frozenset({State.STOPPING, State.STOPPED})
BETWEEN: Final = frozenset({State.PENDING, State.PAUSING, State.WAKING})
"""On the way to a state that lasts."""


class Result(msgspec.Struct, frozen=True):
    """How the sandbox ended. ``exit_code`` is what ``returncode`` shows."""

    reason: EndReason
    exit_code: int
    message: str = ""


class Record(msgspec.Struct, frozen=True):
    """All that :func:`step` knows. ``history`` is for the reader of a bug report."""

    state: State = State.PENDING
    result: Result | None = None
    history: tuple[str, ...] = ()


# --- events ---


class Booted(msgspec.Struct, frozen=True):
    """The container runs and its guest serves; a main process, if any, was started."""


class BootFailed(msgspec.Struct, frozen=True):
    """The sandbox could not be made. ``reason`` is INIT_FAILURE (the request's doing) or INTERNAL_FAILURE (ours)."""

    reason: EndReason
    message: str


class MainEnded(msgspec.Struct, frozen=True):
    """The main process ended by itself; ``exit_code`` is 128 + n for signal n."""

    exit_code: int


class TerminateAsked(msgspec.Struct, frozen=True):
    """A caller wants it gone."""


class LifetimeOver(msgspec.Struct, frozen=True):
    timeout_s: float
    unpausable: str = ""
    """Why it was not paused then, though it should have been."""


class IdleOver(msgspec.Struct, frozen=True):
    idle_timeout_s: float


class ContainerDied(msgspec.Struct, frozen=True):
    """The sentry is gone without our doing."""

    out_of_memory: bool
    message: str


class GuestBroke(msgspec.Struct, frozen=True):
    """The guest broke its protocol or does not answer."""

    message: str


class PauseAsked(msgspec.Struct, frozen=True):
    """A caller wants it paused, or its lifetime or idle time is over and it was created to be paused then."""


class Paused(msgspec.Struct, frozen=True):
    """All of it is on disk, and nothing in the kernel."""


class PauseFailed(msgspec.Struct, frozen=True):
    """It could not be paused, and runs on."""


class WakeAsked(msgspec.Struct, frozen=True):
    """Somebody needs it running; :class:`Booted` tells that it does."""


class WakeFailed(msgspec.Struct, frozen=True):
    """It could not be woken, and is as it was; another time it may work."""


class Freed(msgspec.Struct, frozen=True):
    """Nothing of the sandbox is left in the kernel."""


Event = (
    Booted
    | BootFailed
    | MainEnded
    | TerminateAsked
    | LifetimeOver
    | IdleOver
    | ContainerDied
    | GuestBroke
    | PauseAsked
    | Paused
    | PauseFailed
    | WakeAsked
    | WakeFailed
    | Freed
)


class Command(StrEnum):
    """What the actor must do after a step, in order."""

    ARM_TIMERS = "arm_timers"
    PAUSE = "pause"
    """Write it to disk and free the rest; then post :class:`Paused` or :class:`PauseFailed`."""
    WAKE = "wake"
    """Let it go on from disk; then post :class:`Booted`, :class:`WakeFailed` or how it broke."""
    KILL = "kill"
    """Kill every process of the container, now."""
    FREE = "free"
    """Remove container, mounts, network, cgroup, FIFOs; then post :class:`Freed`."""
    REPORT = "report"
    """Tell the router and everyone who waits."""


TRANSITIONS: Final[Mapping[tuple[State, type[Event]], State]] = {
    (State.PENDING, Booted): State.RUNNING,
    (State.PENDING, BootFailed): State.STOPPING,
    (State.PENDING, MainEnded): State.STOPPING,
    (State.PENDING, TerminateAsked): State.STOPPING,
    (State.PENDING, LifetimeOver): State.STOPPING,
    (State.PENDING, ContainerDied): State.STOPPING,
    (State.PENDING, GuestBroke): State.STOPPING,
    (State.RUNNING, MainEnded): State.STOPPING,
    (State.RUNNING, TerminateAsked): State.STOPPING,
    (State.RUNNING, LifetimeOver): State.STOPPING,
    (State.RUNNING, IdleOver): State.STOPPING,
    (State.RUNNING, ContainerDied): State.STOPPING,
    (State.RUNNING, GuestBroke): State.STOPPING,
    (State.RUNNING, PauseAsked): State.PAUSING,
    (State.PAUSING, Paused): State.PAUSED,
    (State.PAUSING, PauseFailed): State.RUNNING,
    (State.PAUSING, MainEnded): State.STOPPING,
    (State.PAUSING, TerminateAsked): State.STOPPING,
    (State.PAUSING, ContainerDied): State.STOPPING,
    (State.PAUSING, GuestBroke): State.STOPPING,
    (State.PAUSED, WakeAsked): State.WAKING,
    (State.PAUSED, TerminateAsked): State.STOPPING,
    (State.WAKING, Booted): State.RUNNING,
    (State.WAKING, WakeFailed): State.PAUSED,
    (State.WAKING, MainEnded): State.STOPPING,
    (State.WAKING, TerminateAsked): State.STOPPING,
    (State.WAKING, ContainerDied): State.STOPPING,
    (State.WAKING, GuestBroke): State.STOPPING,
    (State.STOPPING, Freed): State.STOPPED,
}

_ALWAYS_LATE: Final[tuple[type[Event], ...]] = (
    Booted,
    BootFailed,
    MainEnded,
    TerminateAsked,
    LifetimeOver,
    IdleOver,
    ContainerDied,
    GuestBroke,
    PauseAsked,
    Paused,
    PauseFailed,
    WakeAsked,
    WakeFailed,
)

LATE: Final[frozenset[tuple[State, type[Event]]]] = frozenset(
    [(state, event) for state in ENDED for event in _ALWAYS_LATE]
    + [(state, WakeAsked) for state in (State.RUNNING, State.PAUSING, State.WAKING)]
    + [(state, event) for state in (State.PAUSING, State.PAUSED, State.WAKING) for event in (LifetimeOver, IdleOver, PauseAsked)]
)
"""What may still arrive though it means nothing any more: it changes nothing."""

_COMMANDS: Final[Mapping[State, tuple[Command, ...]]] = {
    State.RUNNING: (Command.ARM_TIMERS, Command.REPORT),
    State.PAUSING: (Command.PAUSE, Command.REPORT),
    State.PAUSED: (Command.REPORT,),
    State.WAKING: (Command.WAKE, Command.REPORT),
    State.STOPPING: (Command.KILL, Command.REPORT, Command.FREE),
    State.STOPPED: (Command.REPORT,),
}


def step(record: Record, event: Event) -> tuple[Record, tuple[Command, ...]]:
    """The record after ``event``, and what to do.

    Raises: InternalError: an event that cannot come in this state (a bug; the text has the sandbox's history).
    """
    key = (record.state, type(event))
    state = TRANSITIONS.get(key)
    history = (*record.history[-31:], f"{record.state}+{type(event).__name__}")
    if state is None:
        if key in LATE:
            return record, ()
        raise InternalError(f"{type(event).__name__} in state {record.state}; history: {', '.join(history)}")
    result = record.result or _result_of(event)
    return Record(state=state, result=result, history=history), _COMMANDS[state]


def _result_of(event: Event) -> Result | None:
    match event:
        case BootFailed(reason, message):
            return Result(reason, EXIT_TERMINATED, message)
        case MainEnded(0):
            return Result(EndReason.SUCCESS, 0)
        case MainEnded(exit_code):
            return Result(EndReason.FAILURE, exit_code, f"The main process exited with code {exit_code}.")
        case TerminateAsked():
            return Result(EndReason.TERMINATED, EXIT_TERMINATED, "The sandbox was terminated.")
        case LifetimeOver(timeout_s, unpausable):
            message = f"The sandbox reached the end of its lifetime of {timeout_s:g} s. {unpausable}".rstrip()
            return Result(EndReason.TIMEOUT, EXIT_TIMEOUT, message)
        case IdleOver(idle_timeout_s):
            return Result(EndReason.IDLE_TIMEOUT, EXIT_TIMEOUT, f"The sandbox was idle for {idle_timeout_s:g} s.")
        case ContainerDied(True, message):
            return Result(EndReason.OUT_OF_MEMORY, EXIT_TERMINATED, message)
        case ContainerDied(False, message) | GuestBroke(message):
            return Result(EndReason.INTERNAL_FAILURE, EXIT_TERMINATED, message)
    return None
