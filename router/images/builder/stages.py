"""One layer of a definition: its Dockerfile commands as stages, each built in a workshop; the last one becomes the layer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Protocol

from cove.dockerfile import parse_commands, parse_dockerfile, stages_of_commands
from cove.dockerfile.plan import SCRATCH, Plan, PlannedStage, make_plan
from cove.dockerfile.scope import platform_args
from cove.exception import InternalError
from cove.types import ImageId, new_id
from cove.wire import image_pb2
from policies.images import DEFAULT_ENV
from router.auth import Caller
from router.db.protocol import Database
from router.db.records import ImageRecord
from router.images.builder.account import Account
from router.images.builder.downloads import Downloads
from router.images.builder.items import Context, Item
from router.images.builder.steps import Steps
from router.images.builder.workshop import Workshop, Workshops
from router.images.manifests import config_of
from router.node_sandbox import NodeSandbox
from snapshots.registry.platforms import machine_platform
from snapshots.store import Store

Say = Callable[[str], None]
Output = Callable[[bytes], None]


class Surroundings(Protocol):
    """Images that a layer's commands need beside the one it is added to."""

    async def pulled(self, reference: str) -> ImageRecord:
        """The one behind a public reference."""
        ...

    async def scratch(self) -> ImageRecord:
        """The one without any files."""
        ...

    async def tools(self, *, git: bool) -> ImageRecord:
        """The one to fetch things in: it has Python, and git where asked for."""
        ...


class LayerBuild:
    """Builds one layer; thrown away afterwards.

    Args:
        parent: what the layer is added to; None where its commands begin with FROM.
        around: for images that FROM, ``--from`` and ADD need.
    """

    def __init__(
        self,
        db: Database,
        store: Store,
        workshops: Workshops,
        caller: Caller,
        layer: image_pb2.ImageLayer,
        parent: ImageRecord | None,
        around: Surroundings,
        *,
        say: Say,
        output: Output,
        now: float,
    ) -> None:
        self._db, self._workshops, self._caller, self._layer, self._parent = db, workshops, caller, layer, parent
        self._around, self._say, self._output, self._now = around, say, output, now
        self._items: Mapping[str, Item] = Context(layer.context, store).items
        self._open: dict[int | str, Workshop] = {}
        self._helpers: dict[bool, Workshop] = {}
        self._configs: dict[int, image_pb2.ImageConfig] = {}

    async def build(self, key: bytes, *, replace: bool) -> ImageRecord:
        """The image after the layer, under ``key``; empty: none.

        Raises:  RemoteError: a command failed. InvalidError, UnimplementedError: the commands, with the line. Other errors: the node.
        """
        plan = await asyncio.to_thread(self._plan)  # a Dockerfile made for it keeps the parser busy for seconds
        description = (self._layer.commands[-1] if self._layer.commands else "").strip().partition("\n")[0][:200] or "nothing"
        if (config := self._configured(plan)) is not None and self._parent is not None:
            image = self._with_config(self._parent, config, description)
            return await self._db.images.add(image, key, replace=replace)
        async with AsyncExitStack() as stack:
            for stage in plan.stages:
                await self._build_stage(stage, plan, stack)
            last = plan.stages[-1].index
            return await self._open[last].snapshot(key, self._configs[last], description=description, replace=replace)

    def _plan(self) -> Plan:
        commands = list(self._layer.commands)
        file = parse_dockerfile("\n".join(commands)) if self._parent is None else stages_of_commands(parse_commands(commands))
        return make_plan(file, build_args={**platform_args(machine_platform().architecture), **self._layer.build_args})

    def _configured(self, plan: Plan) -> image_pb2.ImageConfig | None:
        """The configuration after a layer that does nothing else; None: it has to run."""
        stage = plan.stages[-1]
        if len(plan.stages) > 1 or stage.base is not None or self._parent is None:
            return None
        account = _account(self._parent, plan)
        does_only_that = all(account.enter(account.scope.expanded(instruction)) for instruction in stage.stage.instructions)
        return account.config if does_only_that else None

    def _with_config(self, parent: ImageRecord, config: image_pb2.ImageConfig, description: str) -> ImageRecord:
        return ImageRecord(
            image_id=ImageId(new_id("im")),
            workspace=self._caller.workspace,
            source="build",
            description=description,
            parent_image_id=parent.image_id,
            base=parent.base,
            config=config.SerializeToString(deterministic=True),
            created_at=self._now,
            layers=parent.layers,
        )

    async def _build_stage(self, stage: PlannedStage, plan: Plan, stack: AsyncExitStack) -> None:
        if isinstance(stage.base, int):
            # Without a key: nobody finds it again, and pruning takes it.
            image = await self._open[stage.base].snapshot(b"", self._configs[stage.base], description="stage of a build", replace=False)
        else:
            image = await self._image(stage.base)
        account = _account(image, plan)
        workshop = await stack.enter_async_context(self._workshops.open(self._caller, image, self._output))
        self._open[stage.index], self._configs[stage.index] = workshop, account.config

        async def other(name: str) -> NodeSandbox:
            return await self._other(name, plan, stack)

        async def helper(git: bool) -> Workshop:
            return await self._helper(stack, git=git)

        downloads = Downloads(helper, self._layer.secrets)
        steps = Steps(workshop, account, self._items, other, downloads, env=self._layer.env, secrets=self._layer.secrets, say=self._say)
        for instruction in stage.stage.instructions:
            await steps.perform(instruction)

    async def _image(self, base: str | None) -> ImageRecord:
        if base is not None:
            return await (self._around.scratch() if base == SCRATCH else self._around.pulled(base))
        if self._parent is None:
            raise InternalError("A stage without a base in a definition that has none.")
        return self._parent

    async def _other(self, name: str, plan: Plan, stack: AsyncExitStack) -> NodeSandbox:
        """The sandbox of the stage or image that a ``--from`` names."""
        names = {stage.stage.name: stage.index for stage in plan.stages if stage.stage.name} | {
            str(stage.index): stage.index for stage in plan.stages
        }
        index: int | str = names.get(name.lower(), name)
        if index not in self._open:
            image = await self._around.pulled(name)
            self._open[index] = await stack.enter_async_context(self._workshops.open(self._caller, image, self._output, network=False))
        return self._open[index].sandbox

    async def _helper(self, stack: AsyncExitStack, *, git: bool) -> Workshop:
        """The sandbox that things are fetched in, one for all of the layer."""
        if git not in self._helpers:
            image = await self._around.tools(git=git)
            self._helpers[git] = await stack.enter_async_context(self._workshops.open(self._caller, image, self._output))
        return self._helpers[git]


def _account(image: ImageRecord, plan: Plan) -> Account:
    """Of a stage on the image, which begins with the environment that every image has."""
    config = config_of(image)
    if not config.env:
        config.env.update(DEFAULT_ENV)
    return Account(plan.stage_scope(dict(config.env)), config)
