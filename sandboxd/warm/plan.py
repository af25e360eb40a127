"""How many spares of which shape to have. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

NEARLY = 0.05
"""Of one spare: demand that decayed by less than this does not cost a spare that is there."""


def plan(wanted: Mapping[str, float], *, memory_bytes: int, each_bytes: int, most: int) -> dict[str, int]:
    """Spares by shape.

    Where there is room for all that is wanted, each shape gets that. Otherwise room goes one spare at a time to the shape that has the
    fewest for what it wants (the method of highest averages): no shape that is in use goes without before another one has several.

    Args:    wanted: sandboxes that may come at once. each_bytes: memory of one spare. most: spares of all shapes together.
    Returns: what to have; shapes that get none are left out.
    """
    counts = {shape: math.ceil(want - NEARLY) for shape, want in wanted.items()}
    room = max(0, min(memory_bytes // each_bytes, most))
    if sum(counts.values()) <= room:
        return {shape: count for shape, count in counts.items() if count > 0}
    got: dict[str, int] = {}
    queue = [(-wanted[shape], shape) for shape, count in counts.items() if count > 0]
    heapq.heapify(queue)
    while queue and room:
        _, shape = heapq.heappop(queue)
        got[shape] = got.get(shape, 0) + 1
        room -= 1
        if got[shape] < counts[shape]:
            heapq.heappush(queue, (-wanted[shape] / (got[shape] + 1), shape))
    return got
