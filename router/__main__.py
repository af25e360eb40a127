"""``python -m router``: reads settings, sets up logging, runs until SIGTERM. Wiring only."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Sequence

import structlog
import uvloop

from cove._settings import flags
from cove.exception import Error
from router.app import running
from router.settings import RouterSettings, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a router. Returns the exit status: 0 after SIGTERM or SIGINT, 1 if it could not start."""
    try:
        settings = load(
            flags(RouterSettings, program="python -m router", description="The control plane and edge of cove.", arguments=arguments)
        )
        _configure_logging(settings.log_level)
        # Descriptors: the edge holds two descriptors for each visitor. What may be had is the operator's to say, not the shell's.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        uvloop.run(_run(settings))
    except Error as error:
        print(f"cove router: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: RouterSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings):
        await stop.wait()


def _configure_logging(level: str) -> None:
    """JSON lines on standard error."""
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


if __name__ == "__main__":
    sys.exit(main())
