"""Generates ``cove/wire/*_pb2*`` from the protos beside them: ``python sdk/generate_protos.py [--check]``.

With ``--check`` nothing is written; it fails if what is there is not what the protos give. The generator's version is pinned in
pyproject.toml: code of newer ones refuses the protobuf releases that users' environments have.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

SDK = Path(__file__).parent
WIRE = SDK / "cove" / "wire"


def generate(target: Path) -> None:
    """Write the generated modules of all protos below ``target``. Raises: SystemExit: protoc found an error."""
    protos = sorted(str(path.relative_to(SDK)) for path in WIRE.glob("*.proto"))
    wellknown = resources.files("grpc_tools") / "_proto"
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{SDK}", f"-I{wellknown}", *outputs, *protos]) != 0:
        raise SystemExit("protoc failed")


def differences(generated: Path) -> list[str]:
    """Names of generated files in the tree that are missing, extra or other than in ``generated``."""
    fresh = {path.name: path.read_bytes() for path in generated.iterdir()}
    present = {path.name: path.read_bytes() for path in WIRE.glob("*_pb2*") if path.is_file()}
    return sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python sdk/generate_protos.py [--check]", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        generated = Path(directory, "cove", "wire")
        stale = differences(generated)
        if arguments and stale:
            print(f"not what the protos give: {', '.join(stale)}; run `make protos`", file=sys.stderr)
            return 1
        for name in stale:
            if (generated / name).exists():
                shutil.copyfile(generated / name, WIRE / name)
            else:
                (WIRE / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
