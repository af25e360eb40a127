"""One workspace, branched three ways: an agent tries three repairs side by side and goes on with the one that works.

Run it with `cove up` running: `python examples/branching.py`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cove

PROGRAM = """
def median(numbers):
    return sorted(numbers)[len(numbers) // 2]
"""

TESTS = """
from program import median
assert median([3, 1, 2]) == 2
assert median([4, 1, 2, 3]) == 2.5, "of an even count it is the mean of the two in the middle"
assert median([1, 2, 9]) == 2, "it is not the mean of all"
print("all tests passed")
"""

# What three attempts of a language model might look like.
REPAIRS = {
    "off by one": "sed -i 's|// 2]|// 2 - 1]|' program.py",
    "mean of all": "sed -i 's|return .*|return sum(numbers) / len(numbers)|' program.py",
    "standard library": "sed -i 's|return .*|from statistics import median as m; return m(numbers)|' program.py",
}


def main() -> None:
    app = cove.App.lookup("branching", create_if_missing=True)
    workspace = cove.Sandbox.create(app=app, workdir="/root", block_network=True)
    for name, content in {"program.py": PROGRAM, "test.py": TESTS}.items():
        with workspace.open(f"/root/{name}", "w") as file:
            file.write(content)
    print("before:", run(workspace, "python test.py"))

    # The workspace stands still for some milliseconds; nothing is copied but what was changed.
    image = workspace.snapshot_filesystem()
    with ThreadPoolExecutor() as pool:
        outcomes = dict(zip(REPAIRS, pool.map(lambda repair: attempt(app, image, repair), REPAIRS.values()), strict=True))

    for name, (passed, said, _) in outcomes.items():
        print(f"{name}: {'passed' if passed else 'failed'}: {said}")
    best = next(branch for passed, _, branch in outcomes.values() if passed)

    # The best branch becomes the workspace; what it changed is easy to see.
    workspace.terminate()
    workspace = cove.Sandbox.create(app=app, image=best, workdir="/root", block_network=True)
    print("after:", run(workspace, "python test.py"))
    print("changed:", [f"{change.kind} {change.path}" for change in image.diff(best) if "__pycache__" not in change.path])
    workspace.terminate()


def attempt(app: cove.App, image: cove.Image, repair: str) -> tuple[bool, str, cove.Image]:
    """One branch: apply a repair, run the tests, keep the files. Returns: whether they passed, the last line, the branch."""
    sandbox = cove.Sandbox.create(app=app, image=image, workdir="/root", block_network=True)
    run(sandbox, repair)
    said = run(sandbox, "python test.py")
    branch = sandbox.snapshot_filesystem()
    sandbox.terminate()
    return said == "all tests passed", said, branch


def run(sandbox: cove.Sandbox, command: str) -> str:
    """The last line of what a shell command says."""
    process = sandbox.exec("sh", "-c", f"{command} 2>&1")
    process.wait()
    return (process.stdout.read().strip().splitlines() or [""])[-1]


if __name__ == "__main__":
    main()
