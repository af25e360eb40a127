"""The router's image parts, wired."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from policies.images import in_order
from router.creation import Creation
from router.db.protocol import Database
from router.image_api import ImageApi
from router.images.builder.layers import Builder
from router.images.builder.pulls import Pulls
from router.images.builder.workshop import Workshops
from router.images.builds import Builds
from router.images.catalogue import Catalogue
from router.images.pushes import Pushes
from router.images.snapshots import Snapshots
from router.images.storekeeper import Storekeeper
from router.node_client import NodeClient
from router.nodes import NodeTable
from router.sandboxes import Sandboxes
from router.settings import RouterSettings
from router.tasks import Finisher
from snapshots.store import Store


class ImageParts(msgspec.Struct, frozen=True, kw_only=True):
    """What looks after images."""

    store: Store
    catalogue: Catalogue
    keeper: Storekeeper
    snapshots: Snapshots
    builds: Builds
    pushes: Pushes

    def api(self, sandboxes: Sandboxes, nodes: NodeTable, client: NodeClient) -> ImageApi:
        """The methods of the service."""
        return ImageApi(self.catalogue, self.builds, self.snapshots, self.pushes, self.keeper, self.store, sandboxes, nodes, client)


def assemble_images(
    settings: RouterSettings,
    db: Database,
    nodes: NodeTable,
    client: NodeClient,
    creation: Creation,
    finisher: Finisher,
    store: Store,
    clock: Callable[[], float],
) -> ImageParts:
    """All of them."""
    catalogue = Catalogue(db, clock=clock)
    keeper = Storekeeper(db, nodes, client, store, clock=clock)
    snapshots = Snapshots(db, nodes, client, finisher, keeper, clock=clock)
    workshops = Workshops(
        db,
        nodes,
        client,
        creation,
        snapshots,
        finisher,
        environment=settings.environment,
        timeout_s=settings.build_timeout_s,
        clock=clock,
    )
    pulls = Pulls(db, store, settings.registry, loopback=settings.loopback_registries, clock=clock)
    defaults = settings.default_images
    builder = Builder(
        db,
        store,
        catalogue,
        workshops,
        pulls,
        defaults,
        pythons=lambda: in_order([*nodes.debian_pythons(), *defaults.images]),
        clock=clock,
    )
    return ImageParts(
        store=store,
        catalogue=catalogue,
        keeper=keeper,
        snapshots=snapshots,
        builds=Builds(db, builder),
        pushes=Pushes(catalogue, keeper, store, settings.registry, loopback=settings.loopback_registries, base_node=nodes.any_reachable),
    )
