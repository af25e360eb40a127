"""``python -m sandboxd``: reads settings, checks the host, sets up logging, runs until a signal. Wiring only.

SIGTERM and SIGINT end the daemon and leave its sandboxes running: the next start takes them over. SIGUSR1 ends every sandbox first and
gives everything back to the kernel; ``cove down`` sends it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence

import structlog
import uvloop

from cove._settings import flags
from cove.exception import Error
from sandboxd import orphans
from sandboxd.app import running
from sandboxd.doctor import hard_failures
from sandboxd.settings import NodeSettings, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node daemon. Returns the exit status: 0 after a signal, 1 if it could not start."""
    try:
        given = flags(NodeSettings, program="python -m sandboxd", description="The node daemon of cove.", arguments=arguments)
        settings = load(given)
        _configure_logging(settings.log_level)
        # Descriptors: each sandbox and each connection to a port takes some. How many may be had is the operator's to say, not the shell's.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        orphans.adopt()
        uvloop.run(_run(settings))
    except (Error, OSError) as error:
        print(f"cove sandboxd: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: NodeSettings) -> None:
    for failure in await hard_failures(settings):
        raise failure
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        loop.add_signal_handler(number, signals.put_nowait, number)
    async with running(settings) as daemon:
        if await signals.get() == signal.SIGUSR1:
            await daemon.clear()


def _configure_logging(level: str) -> None:
    """JSON lines on standard error; each has the daemon's pid, so that runs can be told apart in one file."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(pid=os.getpid())


if __name__ == "__main__":
    sys.exit(main())
