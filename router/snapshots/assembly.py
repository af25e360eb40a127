"""The router's parts for memory snapshots, wired."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from policies.limits import Limits
from router.creation import Creation
from router.db.protocol import Database
from router.images.storekeeper import Storekeeper
from router.metrics import Metrics
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.pausing import Pausing
from router.sandboxes import Sandboxes
from router.snapshot_api import SnapshotApi
from router.snapshots.restores import Restores
from router.snapshots.shelf import Shelf
from router.snapshots.sweeper import Sweeper
from router.snapshots.taking import Taking
from router.tasks import Finisher


class SnapshotParts(msgspec.Struct, frozen=True, kw_only=True):
    """What looks after memory snapshots."""

    taking: Taking
    shelf: Shelf
    restores: Restores
    sweeper: Sweeper

    def api(self, sandboxes: Sandboxes, pausing: Pausing) -> SnapshotApi:
        """The methods of the service."""
        return SnapshotApi(self.taking, self.shelf, self.restores, pausing, sandboxes)


def assemble_snapshots(
    db: Database,
    nodes: NodeTable,
    client: NodeClient,
    creation: Creation,
    finisher: Finisher,
    keeper: Storekeeper,
    metrics: Metrics,
    limits: Limits,
    clock: Callable[[], float],
) -> SnapshotParts:
    """All of them."""
    shelf = Shelf(db, nodes, client, metrics, clock=clock)
    return SnapshotParts(
        taking=Taking(db, nodes, client, finisher, keeper, metrics, clock=clock),
        shelf=shelf,
        restores=Restores(db, shelf, creation, metrics, limits=limits, clock=clock),
        sweeper=Sweeper(db, keeper.memories, keeper.layers, metrics, shelf.deletions, clock=clock),
    )
