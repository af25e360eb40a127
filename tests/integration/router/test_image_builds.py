"""Builds over fake nodes: what is cached and what is not, who shares a build, and what is left of one that failed or was left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cove.exception import InvalidError, NotFoundError, RemoteError, ResourceExhaustedError, UnimplementedError
from cove.wire import image_pb2
from router.images.builder.stages import LayerBuild
from tests.integration.router.conftest import Cluster, running_cluster, settings_for
from tests.integration.router.image_client import Bench, bench_on, build, definition, image_ids, layer, sandbox_of


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """With time for calls on a busy machine: what a node does not hear in time is left to the reconciler, which sleeps here."""
    async with running_cluster(settings_for(tmp_path, node_call_timeout_s=10.0)) as cluster, bench_on(cluster) as found:
        yield found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nothing announces: the other side of a connection learns of its end when it does."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - as the docstring says
            await asyncio.sleep(0.005)


async def test_the_second_build_needs_no_sandbox(bench: Bench) -> None:
    client, what = bench.cluster.client, definition("RUN echo one", "RUN echo two")
    first = await build(client, what)
    assert bench.commands == ["echo one", "echo two"] and first.output == b"one\ntwo\n"
    assert [event.layer for event in first.logs if event.data] == [1, 2]
    made = list(bench.node.sandboxes)
    second = await build(client, what)
    assert (second.image.image_id, second.logs) == (first.image.image_id, [])
    shorter = await build(client, definition("RUN echo one"))
    longer = await build(client, definition("RUN echo one", "RUN echo two", "ENV A=b"))
    assert second.image.parent_image_id == shorter.image.image_id and longer.image.parent_image_id == second.image.image_id
    assert list(bench.node.sandboxes) == made and bench.node.builds == set(made) and not bench.running()


async def test_a_default_image_that_no_node_has_fails_with_those_there_are(bench: Bench) -> None:
    for what in (definition(debian="3.9"), definition("RUN echo one", debian="3.9")):
        with pytest.raises(ResourceExhaustedError, match=r"3\.9.*3\.11"):
            await build(bench.cluster.client, what)
    assert not bench.node.sandboxes and not await image_ids(bench.cluster.client)


async def test_two_callers_share_a_build_and_both_get_all_of_its_log(bench: Bench) -> None:
    client, what = bench.cluster.client, definition("RUN echo before; hang")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(build(client, what))
        await bench.work.hanging.wait()
        second = group.create_task(build(client, what))
        (process,) = bench.work.commands
        builds = bench.cluster.router.parts.images.builds
        await until(lambda: [running.callers for running in builds._running.values()] == [2])
        process.end(said=b"after\n")
    assert first.result().image.image_id == second.result().image.image_id
    assert first.result().output == second.result().output == b"before\nafter\n"
    assert first.result().logs == second.result().logs
    assert len(bench.node.sandboxes) == 1


async def test_the_last_caller_who_leaves_ends_the_build_and_its_sandbox(bench: Bench) -> None:
    client, what = bench.cluster.client, definition("RUN echo a; hang")
    calls = [asyncio.create_task(build(client, what)) for _ in range(2)]
    await bench.work.hanging.wait()
    builds = bench.cluster.router.parts.images.builds
    await until(lambda: [running.callers for running in builds._running.values()] == [2])
    calls[0].cancel()
    await asyncio.wait(calls[:1])
    await until(lambda: [running.callers for running in builds._running.values()] == [1])
    assert len(bench.running()) == 1
    calls[1].cancel()
    await asyncio.wait(calls)
    await until(lambda: not bench.running())
    assert not builds._running
    assert not await bench.cluster.router.parts.db.images.keyless(bench.cluster.settings.workspace, 1e12)


async def test_who_comes_while_a_build_is_being_ended_gets_a_new_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending takes a while, here until the gate opens; the newcomer must not be cancelled with it."""
    client, what = bench.cluster.client, definition("RUN echo a; hang")
    workshops, gate, ending = type(bench.cluster.router.parts.images.builds._builder._workshops), asyncio.Event(), asyncio.Event()
    end = workshops._end

    async def slowly(self: object, record: object) -> None:
        ending.set()
        await gate.wait()
        await end(self, record)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(workshops, "_end", slowly)
    leaving = asyncio.create_task(build(client, what))
    await bench.work.hanging.wait()
    bench.work.hanging.clear()
    leaving.cancel()
    await ending.wait()
    coming = asyncio.create_task(build(client, what))
    builds = bench.cluster.router.parts.images.builds
    await until(lambda: bool(builds._running))
    gate.set()
    await bench.work.hanging.wait()
    bench.work.commands[-1].end()
    assert (await coming).image.image_id
    await asyncio.wait([leaving])


async def test_a_build_that_is_left_while_its_sandbox_is_made_leaves_none(bench: Bench) -> None:
    bench.node.gate.clear()
    call = asyncio.create_task(build(bench.cluster.client, definition("RUN echo a")))
    await bench.node.arrived.wait()
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: not bench.cluster.router.parts.images.builds._running)
    bench.node.gate.set()
    await until(lambda: bool(bench.node.sandboxes))
    await until(lambda: not bench.running())
    assert not bench.commands


@pytest.mark.parametrize("lines", [1, 400])
async def test_a_failing_command_tells_the_end_of_its_output_and_leaves_nothing(bench: Bench, lines: int) -> None:
    said = "\n".join(f"echo line {number} of the output" for number in range(lines))
    what = definition("RUN echo fine", layer(f"RUN <<EOF\n{said}\ncomplain the very end\nexit 3\nEOF"))
    client = bench.cluster.client
    with pytest.raises(RemoteError) as caught:
        await build(client, what)
    assert "exit code 3" in caught.value.cause and caught.value.context["exit_code"] == "3"
    assert "the very end" in caught.value.cause and f"line {lines - 1} of" in caught.value.cause
    assert len(await image_ids(client)) == 2  # the base, and the layer that succeeded
    assert not bench.running()
    with pytest.raises(RemoteError):
        await build(client, what)
    assert bench.commands.count("echo fine") == 1


async def test_output_that_is_cut_on_the_way_is_asked_for_again(bench: Bench) -> None:
    bench.work.cut_output = 7
    assert (await build(bench.cluster.client, definition("RUN echo " + "x" * 50))).output == b"x" * 50 + b"\n"


async def test_force_build_of_a_layer_builds_from_it_on_and_replaces(bench: Bench) -> None:
    client = bench.cluster.client
    plain = definition("RUN echo one", "RUN echo two", "RUN echo three")
    first = await build(client, plain)
    forced = definition("RUN echo one", layer("RUN echo two", force_build=True), "RUN echo three")
    second = await build(client, forced)
    assert bench.commands == ["echo one", "echo two", "echo three", "echo two", "echo three"]
    assert second.image.image_id != first.image.image_id
    assert (await build(client, plain)).image.image_id == second.image.image_id
    third = await build(client, plain, force_build=True)
    assert bench.commands[5:] == ["echo one", "echo two", "echo three"]
    assert (await build(client, plain)).image.image_id == third.image.image_id
    # Each attempt made layers of its own: what an earlier one left on some node cannot pass for a later one's.
    assert len({request.layer_id for request in bench.work.layers.taken}) == 8


async def test_ignore_cache_builds_all_and_leaves_the_keys(bench: Bench) -> None:
    client, what = bench.cluster.client, definition("RUN echo one", "RUN echo two")
    ignored = await build(client, what, ignore_cache=True)
    first = await build(client, what)
    assert bench.commands == ["echo one", "echo two"] * 2 and first.image.image_id != ignored.image.image_id
    again = await build(client, what, ignore_cache=True)
    assert len(bench.commands) == 6 and again.image.image_id not in (first.image.image_id, ignored.image.image_id)
    assert (await build(client, what)).image.image_id == first.image.image_id
    await bench.node.report(complete=True)  # that the sandboxes have ended
    left = set(await image_ids(client)) - {first.image.image_id, first.image.parent_image_id}
    dry = await client.call("ImagePrune", image_pb2.ImagePruneRequest(dry_run=True))
    pruned = await client.call("ImagePrune", image_pb2.ImagePruneRequest())
    assert set(dry.image_ids) == set(pruned.image_ids) < left
    assert len(pruned.image_ids) == 4  # two layers of each build that ignored the cache
    assert (await build(client, what)).image.image_id == first.image.image_id


async def test_an_image_that_was_deleted_is_built_anew_and_not_from_its_old_layer(bench: Bench) -> None:
    client, what = bench.cluster.client, definition("RUN echo one")
    first = await build(client, what)
    await client.call("ImageDelete", image_pb2.ImageDeleteRequest(image_id=first.image.image_id))
    second = await build(client, what)
    assert len(bench.commands) == 2
    assert len({request.layer_id for request in bench.work.layers.taken}) == 2
    assert second.image.image_id != first.image.image_id


async def test_two_workspaces_share_neither_images_nor_layers(bench: Bench) -> None:
    """The same definition has the same key in both: only the workspace keeps them apart."""
    foreigner = bench.cluster.new_client(await bench.cluster.router.parts.authenticator.create("elsewhere", "t"))
    what = definition(layer("RUN write /secret $TOKEN", secrets={"TOKEN": "mine"}))
    ours = await build(bench.cluster.client, what)
    theirs = await build(foreigner, what)
    assert ours.image.image_id != theirs.image.image_id
    assert len(bench.commands) == 2 and len({request.layer_id for request in bench.work.layers.taken}) == 2


async def test_layers_that_only_configure_need_no_sandbox(bench: Bench) -> None:
    client = bench.cluster.client
    what = definition(layer("ENV A=1 B=$A", "USER app", "LABEL l=v"), 'CMD ["run"]', layer("EXPOSE 80"), layer("ARG X=1", "ENV C=$X"))
    built = await build(client, what)
    config = built.image.config
    assert config.env["A"] == "1" and config.env["B"] == "" and config.env["C"] == "1" and "PATH" in config.env
    assert (config.user, list(config.cmd), dict(config.labels), list(config.exposed_ports)) == ("app", ["run"], {"l": "v"}, ["80"])
    assert not bench.node.sandboxes


async def test_base_image_by_id_builds_on_it(bench: Bench) -> None:
    client = bench.cluster.client
    first = await build(client, definition("RUN write /a 1", "ENV A=1"))
    same = await build(client, definition(image_id=first.image.image_id))
    assert same.image.image_id == first.image.image_id
    more = await build(client, definition("RUN write /b 2", image_id=first.image.image_id))
    assert more.image.parent_image_id == first.image.image_id and more.image.config.env["A"] == "1"
    assert bench.work.layers.layers[bench.work.layers.taken[-1].layer_id].keys() >= {"/a", "/b"}
    with pytest.raises(NotFoundError):
        await build(client, definition("RUN echo a", image_id="im-" + "0" * 22))


async def test_no_node_and_a_full_one_are_told(cluster: Cluster) -> None:
    with pytest.raises(ResourceExhaustedError):
        await build(cluster.client, definition("RUN echo a"))
    assert len(await image_ids(cluster.client)) == 1  # the base


@pytest.mark.parametrize("command", ["NONSENSE x", "RUN", "COPY missing /x", "RUN []", "RUN --network=none true"])
async def test_what_cannot_be_built_is_the_callers_to_know(bench: Bench, command: str) -> None:
    with pytest.raises((InvalidError, UnimplementedError)):
        await build(bench.cluster.client, definition(command))
    assert not bench.running()


@pytest.mark.parametrize("commands", [["  "], ["\n\n"], ["# a comment"], []])
async def test_commands_that_do_nothing_give_an_image_all_the_same(bench: Bench, commands: list[str]) -> None:
    built = await build(bench.cluster.client, definition(layer(*commands)))
    assert built.image.image_id in await image_ids(bench.cluster.client)
    assert not bench.running()


async def test_the_router_answers_while_it_reads_a_hostile_dockerfile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    there, go = threading.Event(), threading.Event()
    plan = LayerBuild._plan

    def slowly(self: LayerBuild) -> object:
        there.set()
        assert go.wait(10)
        return plan(self)

    monkeypatch.setattr(LayerBuild, "_plan", slowly)
    built = asyncio.create_task(build(bench.cluster.client, definition("RUN echo a")))
    await until(there.is_set)
    await asyncio.wait_for(image_ids(bench.cluster.client), 5)
    go.set()
    assert (await built).output == b"a\n"


async def test_a_sandbox_of_the_image_starts_as_it_says(bench: Bench) -> None:
    client = bench.cluster.client
    built = await build(client, definition(layer("WORKDIR /srv", 'ENTRYPOINT ["/init", "--"]', 'CMD ["serve"]')))
    plain = bench.node.specs[await sandbox_of(client, built.image.image_id)]
    own = bench.node.specs[await sandbox_of(client, built.image.image_id, command=[b"x"], workdir="/w")]
    assert (list(plain.command), plain.workdir) == ([b"/init", b"--", b"serve"], "/srv")
    assert (list(own.command), own.workdir) == ([b"/init", b"--", b"x"], "/w")
