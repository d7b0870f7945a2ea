"""Nested units: what is averaged, what is counted, and how independent units add up in an exact permutation.

Seeds under one base are no independent repetitions of a claim about bases. So every function of this room takes values
nested as they were made, with the names of the levels, averages everything below the top level, and counts only that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.stats.nouns import Alternative, Estimate, Test
from heredity.types import BadInput

Floats: TypeAlias = NDArray[np.float64]
Values: TypeAlias = "Sequence[float | Values] | Floats"
"""One number a unit, or nested lists of them: bases, their teacher seeds, their student seeds."""
Unit: TypeAlias = str | tuple[str, ...]
"""The name of the unit, or of every level, outermost first: ("bases", "teacher seeds", "student seeds")."""
_HALF = 2**20
"""The longest list of partial sums that an exact permutation keeps."""


@dataclass(frozen=True)
class Units:
    """The means of the top-level units, their name, and the counts of the levels below."""

    means_N: Floats
    name: str
    within: tuple[tuple[str, int], ...]

    @property
    def n(self) -> int:
        """How many independent units there are."""
        return len(self.means_N)

    @property
    def fault(self) -> str | None:
        """Why nothing can be computed, if nothing can."""
        if not self.n:
            return "no values"
        return None if np.isfinite(self.means_N).all() else "a value is not finite"

    def undefined(self, level: float, method: str, reason: str, mean: float = math.nan) -> Estimate:
        """An Estimate without an interval, and why."""
        return Estimate(
            mean=mean, low=math.nan, high=math.nan, n=self.n, unit=self.name, level=level, reason=reason,
            method=method, within=self.within,
        )  # fmt: skip

    def untested(self, method: str, alternative: Alternative, alpha: float, reason: str) -> Test:
        """A Test without a p, and why."""
        return Test(
            statistic=math.nan, p=math.nan, smallest_p=math.nan, n=self.n, unit=self.name, method=method,
            alternative=alternative, alpha=alpha, reason=reason, within=self.within,
        )  # fmt: skip


def units(values: Values, unit: Unit) -> Units:
    """Averages everything below the top level: the plain mean of each innermost list, then of those means, and so on.

    Every list counts once in the one above it, however long it is. Unbalanced data therefore estimate the mean over
    top-level units, each weighing the same; their differing precision goes into their spread.
    BadInput: lists nested more or less deeply than `unit` has names, or an empty list below the top level.
    """
    names = (unit,) if isinstance(unit, str) else tuple(unit)
    if not names or not all(isinstance(n, str) and n for n in names):
        raise BadInput(f"unit is {unit!r}; expected a name, or a name for every level of nesting")
    counts = dict.fromkeys(names[1:], 0)
    means = [_average(v, names[1:], counts) for v in _listed(values, names[0])]
    return Units(np.array(means, dtype=np.float64), names[0], tuple(counts.items()))


def alone(name: str) -> str:
    """Why one unit has no interval and no test."""
    return f"one unit has no spread; run more {name}"


def _average(value: Any, names: tuple[str, ...], counts: dict[str, int]) -> float:
    if not names:
        if not isinstance(value, Real):
            raise BadInput(f"expected a number, found {value!r}; name every level of nesting, outermost first")
        return float(value)
    inner = _listed(value, names[0])
    if not inner:
        raise BadInput(f"an empty list of {names[0]}; leave out what was not run")
    counts[names[0]] += len(inner)
    return sum(_average(v, names[1:], counts) for v in inner) / len(inner)


def _listed(value: Any, name: str) -> list[Any]:
    array = isinstance(value, np.ndarray) and value.ndim > 0
    if not array and (isinstance(value, str) or not isinstance(value, Sequence)):
        raise BadInput(f"expected a list of {name}, found {value!r}")
    return list(value)


def tails(parts: Sequence[Floats], observed: float) -> tuple[int, int, int] | None:
    """Of all sums with one number from each part: how many are >= observed, how many <= it, and how many there are.

    Exact without listing every sum: the parts are joined into two halves, and every sum of one looks its place up in
    the other (meet in the middle; Horowitz and Sahni 1974), so 20 coin flips need lists of 1,024. Sums within a
    billionth of the observed one, relative to the largest, are ties. None where a half would be too long.
    """
    halves: list[list[Floats]] = [[], []]
    for part in sorted(parts, key=len, reverse=True):
        min(halves, key=_ways).append(part)
    if max(map(_ways, halves)) > _HALF:
        return None
    one, two = (np.sort(reduce(np.add.outer, half, np.zeros(1)), axis=None) for half in halves)
    slack = 1e-9 * sum(float(np.abs(p).max()) for p in parts)
    above = len(one) * len(two) - int(np.searchsorted(one, observed - slack - two, side="left").sum())
    below = int(np.searchsorted(one, observed + slack - two, side="right").sum())
    return above, below, len(one) * len(two)


def _ways(parts: Sequence[Floats]) -> int:
    return math.prod(map(len, parts))


def tail_p(above: int, below: int, total: int, alternative: Alternative, exact: bool) -> float:
    """p from counts of permutations; a two-sided p is twice the smaller side, at most 1 (as in scipy).

    `exact` counts hold the observed arrangement already. Random ones do not, and it is added to both (Phipson and
    Smyth 2010): without it p could be 0 and the test would reject too often.
    """
    extra = 0 if exact else 1
    greater, less = ((extra + count) / (extra + total) for count in (above, below))
    return {"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}[alternative]


def random_tails(drawn_M: Floats, observed: float) -> tuple[int, int, int]:
    """`tails` for sums that were drawn at random."""
    slack = 1e-9 * max(float(np.abs(drawn_M).max()), abs(observed))
    return int((drawn_M >= observed - slack).sum()), int((drawn_M <= observed + slack).sum()), len(drawn_M)
