"""Rates with their limits: how often something was right, and how rare it is at most."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import optimize, stats

LEVEL = 0.05


def rate(hits: Sequence[bool]) -> float | None:
    """The share of hits; None of nothing."""
    return round(sum(hits) / len(hits), 4) if hits else None


def upper(hits: int, of: int) -> float:
    """The upper 95 % limit of a rate, one-sided (Clopper and Pearson 1934)."""
    return float(stats.beta.ppf(1 - LEVEL, hits + 1, of - hits)) if hits < of else 1.0


def lower(hits: Sequence[bool]) -> float | None:
    """The lower 95 % limit of the rate of hits, one-sided; None of nothing."""
    return round(1 - upper(len(hits) - sum(hits), len(hits)), 4) if hits else None


def upper_of_two(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The upper 95 % limit of a rate of which more trials are made where exactly one of the first was a hit.

    Both are (hits, trials). Results are ordered as they are found: none among the first; one, then so many among the
    second; more among the first. The limit is the rate at which what was found, or less, has probability .05: as if
    all had been planned, it would be too low.
    """
    (hits, of), (more, added) = first, second
    if hits != 1:
        return upper(hits, of)

    def excess(p: float) -> float:
        none, one = stats.binom.pmf(0, of, p), stats.binom.pmf(1, of, p)
        return float(none + one * stats.binom.cdf(more, added, p)) - LEVEL

    if excess(1 - 1e-12) >= 0:  # one trial, and it was a hit
        return 1.0
    return float(optimize.brentq(excess, 1e-12, 1 - 1e-12))
