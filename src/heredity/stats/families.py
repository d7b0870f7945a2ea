"""Families of tests: which of many nulls fall when the chance of even one false rejection is to stay at alpha."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from heredity.stats.nouns import ALPHA, fraction
from heredity.types import BadInput, Measured

_LARGEST = 12
"""Closed testing asks the local test 2**12 - 1 times for so many nulls."""


class Family(Measured):
    """A family of nulls with their p and adjusted p, in the order given."""

    names: tuple[str, ...]
    p: tuple[float, ...]
    adjusted: tuple[float, ...]
    """The least alpha of the whole family at which this null falls."""
    method: str
    alpha: float = ALPHA

    @property
    def rejected(self) -> tuple[str, ...]:
        """The nulls that fall; the chance that any true one is among them is at most alpha."""
        return tuple(n for n, p in zip(self.names, self.adjusted, strict=True) if p <= self.alpha)


def holm(p_values: Mapping[str, float], alpha: float = ALPHA) -> Family:
    """Holm's step-down procedure (Holm 1979): valid however the tests depend on one another.

    `p_values` maps the name of each null to its p. BadInput where there is none, or one is not between 0 and 1.
    """
    names, p = _checked(p_values)
    fraction(alpha, "alpha")
    adjusted, largest = dict.fromkeys(names, 0.0), 0.0
    for place, name in enumerate(sorted(names, key=lambda n: p_values[n])):
        largest = max(largest, min(1.0, (len(names) - place) * p_values[name]))
        adjusted[name] = largest
    return Family(names=names, p=p, adjusted=tuple(adjusted.values()), method="Holm", alpha=alpha)


def closed_testing(
    names: Sequence[str], local: Callable[[tuple[str, ...]], float], alpha: float = ALPHA,
    method: str = "closed testing",
) -> Family:  # fmt: skip
    """A null falls where every intersection that contains it falls (Marcus, Peritz and Gabriel 1976).

    `local(subset)` gives the p of the null that all names in the subset are true nulls, for example a permutation test
    of their largest statistic; it alone decides what dependence is allowed. A null's adjusted p is the largest of its
    subsets'. BadInput: no name, repeated names, more than 12, or a local p that is not between 0 and 1.
    """
    names = tuple(names)
    fraction(alpha, "alpha")
    if not 0 < len(set(names)) == len(names) <= _LARGEST:
        raise BadInput(f"{len(names)} names in the family; expected 1 to {_LARGEST} different ones")
    subsets = [s for size in range(1, len(names) + 1) for s in combinations(names, size)]
    local_p = {s: _checked({" and ".join(s): local(s)})[1][0] for s in subsets}
    adjusted = tuple(max(p for s, p in local_p.items() if name in s) for name in names)
    single = tuple(local_p[(name,)] for name in names)
    return Family(names=names, p=single, adjusted=adjusted, method=method, alpha=alpha)


def hommel(p_values: Mapping[str, float], alpha: float = ALPHA) -> Family:
    """Closed testing with Simes' test of each intersection (Hommel 1988): never rejects less than Holm.

    Simes' test holds its size for independent and for positively dependent tests (Sarkar 1998), such as lifts of
    several traits over one control; where tests may oppose one another use `holm`. Up to 12 nulls.
    """
    _checked(p_values)
    return closed_testing(tuple(p_values), lambda s: _simes([p_values[n] for n in s]), alpha, "Hommel")


def _simes(p: Sequence[float]) -> float:
    """min over i of m p_(i) / i (Simes 1986)."""
    return min(len(p) * value / place for place, value in enumerate(sorted(p), start=1))


def _checked(p_values: Mapping[str, float]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if not p_values:
        raise BadInput("the family has no p values")
    for name, p in p_values.items():
        if math.isnan(p) or not 0 <= p <= 1:
            raise BadInput(f"p of {name} is {p!r}; leave out what was not tested, and say so")
    return tuple(p_values), tuple(float(p) for p in p_values.values())
