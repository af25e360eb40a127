"""Samples and aims. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

MS: Final = 1e3
"""From seconds."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of one quantity, in the order they were taken."""

    name: str
    unit: str
    samples: list[float]
    median: float = 0.0
    p95: float = 0.0

    @classmethod
    def of(cls, name: str, unit: str, samples: Sequence[float]) -> Series:
        return cls(name=name, unit=unit, samples=list(samples), median=statistics.median(samples), p95=percentile(samples, 0.95))


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """An aim of docs/specification.md and what came out."""

    name: str
    value: float
    relation: Literal["<=", ">="]
    aim: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.aim if self.relation == "<=" else self.value >= self.aim


class Outcome(msgspec.Struct, frozen=True):
    """What one benchmark measured."""

    series: list[Series]
    checks: list[Check] = []
    load_average: float = 0.0
    """Of the machine in the minute before: others may have been using it."""


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """All series, and all checks, in their order."""
    return Outcome([one for outcome in outcomes for one in outcome.series], [one for outcome in outcomes for one in outcome.checks])


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of samples taken one after the other: what slows the machine for a while slows both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the differences of samples taken one after the other."""
    return statistics.median(one - other for one, other in zip(ours, theirs, strict=True))
