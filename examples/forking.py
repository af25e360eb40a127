"""A live Python session, forked three ways: an agent tries three ideas on the state it has built up, and keeps the session that did best.

Nothing is computed twice: the forks have the session's memory, its variables and its half-done work. Run it with `cove up` running.
"""

from __future__ import annotations

import cove

SETUP = """
import random
numbers = random.Random(7)
data = [numbers.gauss(100, 15) for _ in range(100_000)]
def score(estimate): return round(abs(estimate - 100), 3)
"""

# What three ideas of a language model might look like.
IDEAS = {
    "first value": "answer = data[0]",
    "mean": "answer = sum(data) / len(data)",
    "middle of the range": "answer = (min(data) + max(data)) / 2",
}

# Runs each line that it is sent, and says what came of it; its variables stay.
PROGRAM = """
import sys
scope = {}
for line in sys.stdin:
    exec(eval(line), scope)
    print(scope.get("answer", "ready"), flush=True)
"""


class Session:
    """A Python that keeps its variables, in a sandbox. In a fork it is another one, that knows the same."""

    def __init__(self, sandbox: cove.Sandbox, exec_id: str, said: int) -> None:
        self.sandbox, self.exec_id, self.said = sandbox, exec_id, said
        self.process = sandbox.process(exec_id)
        self.lines = iter(self.process.stdout)
        for _ in range(said):  # output is kept from its first byte: what was said before the fork comes first
            next(self.lines)

    def run(self, code: str) -> str:
        """Run some lines. Returns: what the session says."""
        self.process.stdin.write(f"{code!r}\n")
        self.process.stdin.drain()
        self.said += 1
        return next(self.lines).strip()

    def fork(self, count: int) -> list[Session]:
        """So many sessions that go on from here; this one does, too."""
        return [Session(sandbox, self.exec_id, self.said) for sandbox in self.sandbox.fork(count)]


def main() -> None:
    app = cove.App.lookup("forking", create_if_missing=True)
    sandbox = cove.Sandbox.create(app=app, block_network=True)
    session = Session(sandbox, sandbox.exec("python", "-c", PROGRAM).exec_id, said=0)
    print("set up:", session.run(SETUP))

    # The session stands still for a moment; then there are four, each with all the data in its memory.
    branches = dict(zip(IDEAS, session.fork(len(IDEAS)), strict=True))
    for name, branch in branches.items():
        print(f"{name}: {branch.run(IDEAS[name])}")

    best = min(branches, key=lambda name: float(branches[name].run("answer = score(answer)")))
    for name, branch in branches.items():
        if name != best:
            branch.sandbox.terminate()
    print("kept:", best)
    print("goes on:", branches[best].run("answer = len(data)"))

    branches[best].sandbox.terminate()
    sandbox.terminate()


if __name__ == "__main__":
    main()
