"""Each command of a sandbox is run by the build that made it, also after an upgrade, a restart, and the loss of either."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cove.types import SandboxId, new_id
from sandboxd.runsc.builds import DIGITS, Builds
from sandboxd.runsc.by_build import BuildRuntimes
from sandboxd.runtime import Container, ContainerStatus, RuntimeFailed

RUNSC = """#!/bin/sh
# {more}
[ "$1" = --version ] && {{ echo 'runsc version {version}'; exit; }}
for word; do
    case "$word" in
        --root=*) root=${{word#--root=}} ;;
        --bundle=*) bundle=${{word#--bundle=}} ;;
        create | start | restore | state | pause | resume | delete | checkpoint | list) command=$word ;;
    esac
    last=$word
done
echo "{version} $command $last" >> {log}
state="$root/${{last}}_sandbox:$last.state"
case $command in
    create) touch "$state"; echo {pid} > "$bundle/pid" ;;
    state) [ -e "$state" ] && echo '{{"id": "'$last'", "status": "running", "pid": {pid}}}' ;;
    delete) rm -f "$state" ;;
    list) for file in "$root"/*.state; do [ -e "$file" ] && basename "$file" | cut -d_ -f1; done; exit 0 ;;
esac
"""


class Host:
    """A state directory, a run directory, and a runsc that can be upgraded."""

    def __init__(self, directory: Path, pid: int) -> None:
        self._directory, self._pid = directory, pid
        self.log = directory / "log"
        self.installed = directory / "runsc"
        self.install("r1")

    def install(self, version: str) -> None:
        self.installed.write_text(RUNSC.format(version=version, log=self.log, pid=self._pid, more=version))
        self.installed.chmod(0o755)

    async def daemon(self) -> tuple[Builds, BuildRuntimes]:
        """Another one that starts."""
        builds = Builds(self._directory / "store")
        await builds.take_in(self.installed)
        return builds, BuildRuntimes(builds, self._directory / "run", "systrap")

    def container(self, build: str = "") -> Container:
        sandbox_id = SandboxId(new_id("sb"))
        directory = self._directory / sandbox_id
        directory.mkdir()
        return Container(
            sandbox_id=sandbox_id,
            directory=directory,
            rootfs=directory,
            init="/init",
            hostname="h",
            env={},
            resources={},
            cgroups_path="/x",
            netns=None,
            build=build,
        )

    def ran(self) -> list[str]:
        """Versions and commands since the last time."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return [" ".join(line.split()[:2]) for line in lines]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, os.getpid())


async def make(runtimes: BuildRuntimes, container: Container) -> Container:
    await runtimes.create(container, stdin=0, stdout=0)
    return container


async def test_every_command_goes_to_the_build_that_made_the_container(host: Host) -> None:
    _, runtimes = await host.daemon()
    first = await make(runtimes, host.container())
    host.install("r2")
    for _ in range(2):  # the daemon that upgraded, and one after it
        builds, runtimes = await host.daemon()
        second = await make(runtimes, host.container())
        host.ran()
        for container, version in ((first, "r1"), (second, "r2")):
            sandbox_id = container.sandbox_id
            assert await runtimes.status(sandbox_id) is ContainerStatus.RUNNING
            await runtimes.start(container)
            await runtimes.pause(sandbox_id)
            await runtimes.resume(sandbox_id)
            await runtimes.restore(container, container.directory)
            assert host.ran() == [f"{version} {verb}" for verb in ("state", "start", "pause", "resume", "restore")]
        assert {first.sandbox_id, second.sandbox_id} <= await runtimes.list_()
        assert {"r1 list", "r2 list"} == set(host.ran())
        assert {build.split("-")[0] for build in runtimes.in_use} == {"r1", "r2"}
    await runtimes.delete(first.sandbox_id)
    assert host.ran() == ["r1 delete"]
    assert runtimes.in_use == {builds.current}


async def test_memory_of_an_older_build_is_restored_by_it(host: Host) -> None:
    old = (await host.daemon())[0].current
    host.install("r2")
    _, runtimes = await host.daemon()
    container = await make(runtimes, host.container(old))
    await runtimes.restore(container, container.directory)
    assert host.ran() == ["r1 create", "r1 restore"]
    with pytest.raises(RuntimeFailed, match="exists"):
        await make(runtimes, container)
    await runtimes.delete(container.sandbox_id)


async def test_what_is_nowhere_is_asked_of_the_current_build(host: Host) -> None:
    await host.daemon()
    host.install("r2")
    _, runtimes = await host.daemon()
    nobody = SandboxId(new_id("sb"))
    assert await runtimes.status(nobody) is None
    await runtimes.died(nobody)
    await runtimes.delete(nobody)
    assert {line.split()[0] for line in host.ran()} == {"r2"}
    assert await runtimes.list_() == frozenset() and not runtimes.in_use


async def test_containers_of_a_lost_build_are_the_current_ones_to_end(host: Host, tmp_path: Path) -> None:
    builds, runtimes = await host.daemon()
    container = await make(runtimes, host.container())
    builds.path(builds.current).unlink()
    host.install("r2")
    builds, runtimes = await host.daemon()
    assert len(builds.ids) == 1
    host.ran()
    assert await runtimes.list_() == {container.sandbox_id}
    await runtimes.delete(container.sandbox_id)
    assert await runtimes.list_() == frozenset()
    assert host.ran() == ["r2 list", "r2 delete"]


async def test_containers_of_a_cove_that_knew_one_build_are_adopted(host: Host, tmp_path: Path) -> None:
    sandbox_id = SandboxId(new_id("sb"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"{sandbox_id}_sandbox:{sandbox_id}.state").touch()
    _, runtimes = await host.daemon()
    assert await runtimes.list_() == {sandbox_id}
    assert await runtimes.status(sandbox_id) is ContainerStatus.RUNNING
    fresh = await make(runtimes, host.container())
    assert await runtimes.list_() == {sandbox_id, fresh.sandbox_id}
    await runtimes.delete(sandbox_id)
    assert await runtimes.list_() == {fresh.sandbox_id}


async def test_a_build_that_is_forgotten_leaves_no_directory(host: Host, tmp_path: Path) -> None:
    builds, _ = await host.daemon()
    old = builds.current
    host.install("r2")
    builds, runtimes = await host.daemon()
    await runtimes.delete((await make(runtimes, host.container(old))).sandbox_id)
    assert await builds.forget(()) == [old]
    runtimes.forget(old)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [builds.current[-DIGITS:]]
