"""A keystroke on a PTY until its echo is back."""

from __future__ import annotations

from benchmarks.series import MS, Outcome, Series
from benchmarks.stage import Stage, timed


def run(stage: Stage) -> Outcome:
    with stage.sandbox() as sandbox:
        # Lines are read, or the terminal stops echoing; cat's own output goes elsewhere, so that what comes back is the echo.
        process = sandbox.exec("sh", "-c", "cat > /dev/null", pty=True)
        shown = iter(process.stdout)

        def echo() -> None:
            process.stdin.write("x\n")
            process.stdin.drain()
            if next(shown).strip() != "x":
                raise RuntimeError("another echo than what was typed")

        echoes = [timed(echo) * MS for _ in stage.times(200)]
        process.signal(9)
    return Outcome([Series.of("PTY echo round trip", "ms", echoes)])
