"""Who wins in a process's environment."""

from __future__ import annotations

import pytest

from cove.types import SandboxId, TaskId
from sandboxd.environment import RESERVED, process_environment, sandbox_environment


def environment(image: dict[str, str], caller: dict[str, str], cpu_request_millis: int = 125) -> dict[str, str]:
    return sandbox_environment(
        image, caller, sandbox_id=SandboxId("sb-1"), task_id=TaskId("ta-1"), image_id="im-1", cpu_request_millis=cpu_request_millis
    )


def test_caller_wins_over_image_and_cove_over_both() -> None:
    env = environment({"A": "image", "B": "image"}, {"B": "caller", "COVE_SANDBOX_ID": "mine"})
    assert (env["A"], env["B"], env["COVE_SANDBOX_ID"]) == ("image", "caller", "sb-1")
    assert env.keys() >= RESERVED


@pytest.mark.parametrize(("millis", "threads"), [(1, None), (125, None), (999, None), (1000, "1"), (1500, "1"), (8000, "8")])
def test_threads_follow_a_reservation_of_whole_cores(millis: int, threads: str | None) -> None:
    assert environment({}, {}, millis).get("OMP_NUM_THREADS") == threads


def test_threads_can_be_chosen() -> None:
    assert environment({}, {"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"


def test_process_cannot_override_what_is_reserved() -> None:
    env = process_environment({"COVE_REGION": "local", "A": "sandbox"}, {"COVE_REGION": "moon", "A": "process"}, terminal=False)
    assert env == {"COVE_REGION": "local", "A": "process"}


def test_terminal_has_a_kind_unless_named() -> None:
    assert process_environment({}, {}, terminal=True)["TERM"] == "xterm-256color"
    assert process_environment({}, {"TERM": "dumb"}, terminal=True)["TERM"] == "dumb"
