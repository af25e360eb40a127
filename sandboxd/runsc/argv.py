"""runsc command lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

PID_FILE: Final = "pid"


class RunscOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every container of a daemon."""

    runsc: Path
    root: Path
    """runsc's state directory; one per daemon instance."""
    platform: str = "systrap"

    def command(self, *arguments: str, network: bool, log: Path | None = None) -> list[str]:
        """A whole runsc command line.

        ``--overlay2=none``: writes go to the host's overlay, where quotas and snapshots are. ``--net-raw=false``: no crafted packets.
        ``--net-disconnect-ok``: connections to the outside are reset when memory is written; without it that fails where there is one.
        ``--host-uds=none --host-fifo=none``: no host socket or pipe is reachable through the file system (runsc's defaults, pinned here).
        """
        options = [
            str(self.runsc),
            f"--root={self.root}",
            f"--platform={self.platform}",
            f"--network={'sandbox' if network else 'none'}",
            "--overlay2=none",
            "--net-raw=false",
            "--net-disconnect-ok=true",
            "--host-uds=none",
            "--host-fifo=none",
        ]
        if log is not None:
            options += [f"--log={log}", "--log-format=json", f"--panic-log={log.with_suffix('.panic')}"]
        return [*options, *arguments]

    def create(self, sandbox_id: str, bundle: Path, *, network: bool) -> list[str]:
        """Writes the sentry's pid to ``pid`` in the bundle."""
        arguments = [f"--bundle={bundle}", f"--pid-file={bundle / PID_FILE}"]
        return self.command("create", *arguments, sandbox_id, network=network, log=bundle / "runsc.log")

    def start(self, sandbox_id: str, bundle: Path, *, network: bool, prefix: Sequence[str] = ()) -> list[str]:
        return [*prefix, *self.command("start", sandbox_id, network=network, log=bundle / "runsc.log")]

    def checkpoint(self, sandbox_id: str, directory: Path, *, log: Path) -> list[str]:
        """Pages as they are, so that writing is a copy and reading can be one; what is zero is left out."""
        options = ["--leave-running", "--compression=none", "--exclude-committed-zero-pages", f"--image-path={directory}"]
        return self.simple("checkpoint", *options, sandbox_id, log=log)

    def restore(self, sandbox_id: str, bundle: Path, directory: Path, *, network: bool, prefix: Sequence[str] = ()) -> list[str]:
        arguments = ["--detach", f"--image-path={directory}", f"--bundle={bundle}", sandbox_id]
        return [*prefix, *self.command("restore", *arguments, network=network, log=bundle / "runsc.log")]

    def simple(self, verb: str, *arguments: str, log: Path | None = None) -> list[str]:
        """A command on an existing container; runsc takes the network mode from its saved state."""
        return self.command(verb, *arguments, network=False, log=log)
