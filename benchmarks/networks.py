"""Networks of sandboxes: claimed from those laid ahead, laid from nothing, and another policy for one among fifty that have lists.

In a namespace that plays the host, without sandboxes: what is measured is the kernel and the daemon's part of a create or an update.
"""

from __future__ import annotations

from typing import Final

from benchmarks.series import MS, Check, Outcome, Series
from benchmarks.stage import Stage, timed
from sandboxd.network import NetworkManager
from tests.support.node_world import OPEN, fresh_id, listed, managed, node_world

AIM_CLAIM_MS: Final = 2.0
AIM_UPDATE_MS: Final = 3.0
OTHERS: Final = 50
"""The namespace that plays the host has addresses for 63 links."""
RANGES: Final = 10
"""In the list of each."""


def run(stage: Stage) -> Outcome:
    rounds = 10 if stage.quick else 50
    directory = stage.directory / "networks"
    directory.mkdir()
    with node_world(directory) as world, managed(world) as manager:
        laid = [timed(manager.attach, fresh_id(), OPEN) * MS for _ in range(rounds)]
        _clear(manager)
        updates = _updates(manager, rounds)
        _clear(manager)
        claimed: list[float] = []
        for _ in range(rounds):
            manager.lay_spares(1)
            claimed.append(timed(manager.attach, fresh_id(), OPEN) * MS)
    claim, update = Series.of("network claimed", "ms", claimed), Series.of("policy update among fifty lists", "ms", updates)
    return Outcome(
        [claim, Series.of("network laid from nothing", "ms", laid), update],
        [
            Check(name="network claim", value=claim.median, relation="<=", aim=AIM_CLAIM_MS, unit="ms"),
            Check(name="policy update", value=update.median, relation="<=", aim=AIM_UPDATE_MS, unit="ms"),
        ],
    )


def _updates(manager: NetworkManager, rounds: int) -> list[float]:
    for number in range(OTHERS):
        manager.attach(fresh_id(), listed(*(f"203.{number}.{index}.0/24" for index in range(RANGES))))
    sandbox_id = fresh_id()
    manager.attach(sandbox_id, OPEN)
    policies = [listed(*(f"198.51.{index}.0/24" for index in range(RANGES))), OPEN, listed("203.0.113.0/24", domains=("a.example",))]
    return [timed(manager.set_policy, sandbox_id, policies[number % 3]) * MS for number in range(rounds)]


def _clear(manager: NetworkManager) -> None:
    for sandbox in manager.list_():
        manager.detach(sandbox)
