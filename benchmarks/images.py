"""Images: finding them, building one, snapshots, chains of snapshots, pulls. Beside each its baseline, where there is one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import zipfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import cove
from benchmarks.series import MS, Check, Outcome, Series, paired_ratio
from benchmarks.stage import Stage, end, timed
from snapshots.digest import digest_of
from snapshots.registry.client import RegistryClient
from snapshots.registry.descriptor import Descriptor
from snapshots.registry.image_config import ImageConfig, encode_config
from snapshots.registry.platforms import machine_platform
from snapshots.registry.push import LayerSource, push
from snapshots.registry.reference import parse_reference
from tests.support.registry_server import registry_server

MIB: Final = 2**20
CHAIN: Final = 50
PULLED_MB: Final = 200
MODULES: Final = 300
"""Of the package that pip installs: some seconds of work, none of it on a network."""


def run(stage: Stage) -> Outcome:
    outcomes = [_resolve(stage), _pip(stage), _snapshots(stage, 10, 10, stopped_ms=100, usable_ms=300), _gigabyte(stage)]
    outcomes += [_chain(stage), _pull(stage)]
    return Outcome([one for outcome in outcomes for one in outcome.series], [one for outcome in outcomes for one in outcome.checks])


def _resolve(stage: Stage) -> Outcome:
    def recipe() -> cove.Image:
        return cove.Image.debian_slim().run_commands("true")

    recipe().build(stage.app)
    series = Series.of("a cached image, looked up", "ms", [timed(lambda: recipe().build(stage.app)) * MS for _ in stage.times(50)])
    return Outcome([series], [Check(name="cached image resolve", value=series.median, relation="<=", aim=5, unit="ms")])


def _pip(stage: Stage) -> Outcome:
    wheel = stage.directory / "benchmark-1-py3-none-any.whl"
    _write_wheel(wheel)
    image = cove.Image.debian_slim().add_local_file(wheel, f"/wheels/{wheel.name}", copy=True)
    image.build(stage.app)
    command = f"python -m pip install --no-index /wheels/{wheel.name}"
    plain, built = [], []
    for _ in stage.times(10):
        plain.append(timed(lambda: _in_a_sandbox(stage, image, command)))
        built.append(timed(lambda: image.run_commands(command, force_build=True).build(stage.app)))
    return Outcome(
        [Series.of("pip install in a new sandbox", "s", plain), Series.of("the same as a layer", "s", built)],
        [Check(name="pip layer / pip in a sandbox", value=paired_ratio(built, plain), relation="<=", aim=1.3, unit="x")],
    )


def _in_a_sandbox(stage: Stage, image: cove.Image, command: str) -> None:
    sandbox = stage.create(image=image, block_network=False)
    if sandbox.exec("sh", "-c", command).wait() != 0:
        raise RuntimeError("pip failed")
    sandbox.terminate()


def _write_wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(MODULES):
            text = "".join(f"def function_{line}(argument):\n    return argument + {line}\n" for line in range(200))
            archive.writestr(f"benchmark/module_{number}.py", text)
        archive.writestr("benchmark/__init__.py", "")
        archive.writestr("benchmark-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: benchmark\nVersion: 1\n")
        archive.writestr("benchmark-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: cove\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("benchmark-1.dist-info/RECORD", "")


def _snapshots(stage: Stage, size_mib: int, count: int, *, stopped_ms: float, usable_ms: float | None) -> Outcome:
    stopped, usable = [], []
    with stage.sandbox() as sandbox:
        for _ in stage.times(count):
            sandbox.exec("dd", "if=/dev/urandom", "of=/root/data", "bs=1M", f"count={size_mib}").wait()
            usable.append(timed(sandbox.snapshot_filesystem) * MS)
            stopped.append(_stopped_s(stage) * MS)
    series = [
        Series.of(f"snapshot of {size_mib} MiB: sandbox stopped", "ms", stopped),
        Series.of(f"snapshot of {size_mib} MiB: image usable", "ms", usable),
    ]
    checks = [Check(name=f"snapshot of {size_mib} MiB, stopped", value=series[0].median, relation="<=", aim=stopped_ms, unit="ms")]
    if usable_ms:
        checks.append(Check(name=f"snapshot of {size_mib} MiB, usable", value=series[1].median, relation="<=", aim=usable_ms, unit="ms"))
    return Outcome(series, checks)


def _gigabyte(stage: Stage) -> Outcome:
    return _snapshots(stage, 128 if stage.quick else 1024, 3, stopped_ms=1000, usable_ms=None)


def _stopped_s(stage: Stage) -> float:
    """What the router noted of the last snapshot."""
    for line in reversed(stage.router_log.read_text().splitlines()):
        entry = json.loads(line)
        if entry.get("event") == "image made":
            return float(entry["stopped_s"])
    raise RuntimeError("no snapshot was noted")


def _chain(stage: Stage) -> Outcome:
    base = image = cove.Image.debian_slim()
    for number in range(10 if stage.quick else CHAIN):
        sandbox = stage.create(image=image)
        sandbox.exec("sh", "-c", f"mkdir -p /root/d{number} && echo {number} > /root/d{number}/f && rm -rf /root/d{number - 3}").wait()
        image = sandbox.snapshot_filesystem()
        sandbox.terminate()
    from_base, from_chain = [], []
    for _ in stage.times(20):
        from_base.append(_first_exec(stage, base) * MS)
        from_chain.append(_first_exec(stage, image) * MS)
    return Outcome(
        [Series.of("start from the base, first exec", "ms", from_base), Series.of(f"start from {CHAIN} snapshots deep", "ms", from_chain)],
        [Check(name="start from a chain / from its base", value=paired_ratio(from_chain, from_base), relation="<=", aim=1.2, unit="x")],
    )


def _first_exec(stage: Stage, image: cove.Image) -> float:
    made = []

    def work() -> None:
        made.append(stage.create(image=image))
        made[0].exec("true").wait()

    took_s = timed(work)
    end(made[0])
    return took_s


def _pull(stage: Stage) -> Outcome:
    rates = []
    with registry_server(stage.directory / "registry") as server:
        for number in stage.times(3):
            reference = f"{server.address}/benchmark:{number}"
            asyncio.run(_push(reference))
            rates.append(PULLED_MB / timed(cove.Image.from_registry(reference).build, stage.app))
    series = Series.of(f"pull of {PULLED_MB} MB from a local registry", "MB/s", rates)
    return Outcome([series], [Check(name="pull", value=series.median, relation=">=", aim=200, unit="MB/s")])


async def _push(reference: str) -> None:
    """An image of one layer with bytes that nobody has seen before."""
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as archive:
        member = tarfile.TarInfo("data")
        member.size = PULLED_MB * 10**6
        archive.addfile(member, io.BytesIO(os.urandom(member.size)))
    layer = blob.getvalue()
    digest = digest_of(layer)
    config = encode_config(ImageConfig(platform=machine_platform(), diff_ids=(digest,)))

    async def chunks() -> AsyncGenerator[bytes, None]:
        for offset in range(0, len(layer), MIB):
            yield layer[offset : offset + MIB]

    source = LayerSource(Descriptor("application/vnd.oci.image.layer.v1.tar", digest, len(layer)), chunks)
    parsed = parse_reference(reference)
    async with RegistryClient(parsed.registry) as client:
        await push(client, parsed, config, [source])
