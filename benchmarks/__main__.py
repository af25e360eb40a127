"""``python -m benchmarks [--quick] [name ...]``: run all or some, print tables, store what is not quick."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from rich.console import Console

from benchmarks import (
    concurrency,
    create,
    egress,
    ending,
    execs,
    files,
    forks,
    images,
    memory,
    networks,
    pausing,
    terminal,
    transfers,
    tunnels,
    uppers,
    warm,
)
from benchmarks.report import Report, print_outcome, store, this_host
from benchmarks.series import Outcome
from benchmarks.stage import Stage

BENCHMARKS: Final[Mapping[str, Callable[[Stage], Outcome]]] = {
    "create": create.run,
    "exec": execs.run,
    "files": files.run,
    "transfers": transfers.run,
    "terminal": terminal.run,
    "concurrency": concurrency.run,
    "memory": memory.run,
    "ending": ending.run,
    "images": images.run,
    "forks": forks.run,
    "pausing": pausing.run,
    "warm": warm.run,
    "uppers": uppers.run,
    "networks": networks.run,
    "egress": egress.run,
    "tunnels": tunnels.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which to run: {', '.join(BENCHMARKS)}; all if left out")
    parser.add_argument("--quick", action="store_true", help="fewer samples and less data; nothing is stored")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    console, host = Console(), this_host()
    outcomes: dict[str, Outcome] = {}
    with Stage.set_up(quick=options.quick) as stage:
        for name in options.names or BENCHMARKS:
            load_average = os.getloadavg()[0]
            outcomes[name] = msgspec.structs.replace(BENCHMARKS[name](stage), load_average=load_average)
            print_outcome(name, outcomes[name], console)
    if not options.quick:
        path = store(Report(at=datetime.datetime.now(datetime.UTC), host=host, benchmarks=outcomes))
        console.print(f"stored: {path}")
    # A missed aim is a fact to look at, not an error: the machine may be busy.
    return 0


if __name__ == "__main__":
    sys.exit(main())
