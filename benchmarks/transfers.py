"""1 GiB into a sandbox and out again, beside a plain copy on the same file system."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path
from typing import Final

from benchmarks.series import Check, Outcome, Series
from benchmarks.stage import Stage, timed

AIM_UPLOAD_MB_S: Final = 400.0
MIB: Final = 2**20


def run(stage: Stage) -> Outcome:
    size_mib = 128 if stage.quick else 1024
    source, copy, back = (stage.directory / name for name in ("source", "copy", "back"))
    _fill(source, size_mib)
    copies, uploads, downloads = [], [], []
    megabytes = size_mib * MIB / 1e6
    with stage.sandbox() as sandbox:
        for _ in range(1 if stage.quick else 5):
            copies.append(megabytes / timed(lambda: shutil.copyfile(source, copy)))
            uploads.append(megabytes / timed(lambda: sandbox.upload(source, "/root/big")))
            downloads.append(megabytes / timed(lambda: sandbox.download("/root/big", back)))
            sandbox.rm("/root/big")
        if not filecmp.cmp(source, back, shallow=False):
            raise RuntimeError("the file came back changed")
    return Outcome(
        [
            Series.of(f"plain copy of {size_mib} MiB", "MB/s", copies),
            Series.of(f"upload of {size_mib} MiB", "MB/s", uploads),
            Series.of(f"download of {size_mib} MiB", "MB/s", downloads),
        ],
        [Check(name="upload", value=Series.of("", "", uploads).median, relation=">=", aim=AIM_UPLOAD_MB_S, unit="MB/s")],
    )


def _fill(path: Path, size_mib: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(block)
