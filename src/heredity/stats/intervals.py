"""Intervals: Student's t over the top-level units, the bootstrap-t, and Fieller's for a ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from scipy import special

from heredity.stats.nouns import LEVEL, Estimate, fraction, log_odds, whole
from heredity.stats.units import Floats, Unit, Units, Values, alone, units
from heredity.types import BadInput

_LISTED = 7
"""Up to so many units the bootstrap lists every resample (1,716 distinct ones of 7 units)."""


def mean_t(values: Values, unit: Unit, level: float = LEVEL) -> Estimate:
    """Mean over the top-level units with Student's t interval; everything below them is averaged first.

    Exact where the units' means are normal; docs/statistics.md has its coverage where they are not. nan with a reason
    where a value is not finite or there are fewer than two units.
    """
    fraction(level, "level")
    data, method = units(values, unit), "Student's t"
    if data.fault:
        return data.undefined(level, method, data.fault)
    mean = math.fsum(data.means_N) / data.n
    if data.n == 1:
        return data.undefined(level, method, alone(data.name), mean)
    half = t_quantile((1 + level) / 2, data.n - 1) * spread(data.means_N) / math.sqrt(data.n)
    return _interval(data, level, method, mean, mean - half, mean + half)


def mean_difference(differences: Values, unit: Unit, level: float = LEVEL) -> Estimate:
    """`mean_t` of differences; undefined where all are equal, as an interval of no width would bound what it cannot.

    So it is where no answer of any unit shows what is asked about: every difference is 0, whatever the true one.
    """
    data, found = units(differences, unit), mean_t(differences, unit, level)
    reason = None if found.reason else no_spread(data, "differences")
    return found if reason is None else data.undefined(level, found.method, reason, found.mean)


def no_spread(data: Units, of: str) -> str | None:
    """Why units have no spread to judge by: there is one, or their values are all equal; None where they have one."""
    if data.n == 1:
        return alone(data.name)
    flat = spread(data.means_N) <= 1e-12 * float(np.abs(data.means_N).max())
    return f"the {of} are all equal, so there is no spread" if flat else None


def mean_bootstrap(values: Values, unit: Unit, level: float = LEVEL, draws: int = 9_999, seed: int = 0) -> Estimate:
    """Mean over the top-level units with the bootstrap-t interval (Efron and Tibshirani 1993, section 12.5).

    Asks less of the units' distribution than Student's t and is wider for few units. Only top-level units are drawn.
    Up to 7 of them every resample is listed and weighted, so nothing is random; beyond, `draws` resamples from `seed`.
    A resample of n times the same unit has no spread. Where those are too likely (n**(1 - n) of all, against the tail
    (1 - level) / 2), the limits are infinite: nan with a reason. At 95 % that refuses fewer than 4 units.
    """
    fraction(level, "level")
    data, method = units(values, unit), "bootstrap-t"
    if data.fault:
        return data.undefined(level, method, data.fault)
    mean, tail = math.fsum(data.means_N) / data.n, (1 - level) / 2
    if data.n == 1:
        return data.undefined(level, method, alone(data.name), mean)
    if data.n ** (1 - data.n) >= tail:
        needed = next(n for n in range(2, 1000) if n ** (1 - n) < tail)
        reason = (
            f"{data.n} {data.name} are too few for a bootstrap interval at {level:g}: it needs {needed}; use mean_t"
        )
        return data.undefined(level, method, reason, mean)
    low, high = _studentised(data.means_N - mean, tail, whole(draws, "draws", 99), seed)
    if not math.isfinite(low + high):
        return data.undefined(level, method, f"too many of the {data.name} have equal values to resample them", mean)
    return _interval(data, level, method, mean, mean + low, mean + high)


def _studentised(centred_N: Floats, tail: float, draws: int, seed: int) -> tuple[float, float]:
    """The limits less the mean: minus the upper and lower quantile of t*, times the standard error."""
    n, error = len(centred_N), spread(centred_N) / math.sqrt(len(centred_N))
    times_DN, weight_D = _resamples(n) if n <= _LISTED else _random_resamples(n, draws, seed)
    mean_D = times_DN @ centred_N / n
    variance_D = np.maximum(times_DN @ centred_N**2 / n - mean_D**2, 0.0) / (n - 1)
    flat_D = variance_D <= 1e-18 * error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        t_D = np.where(flat_D, np.sign(mean_D) * np.inf, mean_D / np.sqrt(variance_D))
    t_D[flat_D & (mean_D == 0)] = 0.0
    return -error * _upper(t_D, weight_D, tail), error * _upper(-t_D, weight_D, tail)


def _upper(value_D: Floats, weight_D: Floats, tail: float) -> float:
    """The smallest value that at most `tail` of the weight lies above."""
    order_D = np.argsort(value_D)
    place = int(np.searchsorted(np.cumsum(weight_D[order_D]), 1 - tail - 1e-12))
    return float(value_D[order_D[min(place, len(order_D) - 1)]])


@lru_cache(maxsize=8)
def _resamples(n: int) -> tuple[Floats, Floats]:
    """Every distinct resample of n units as counts (resample, unit), and its probability n! / prod(count!) / n**n."""
    times_DN = np.array([np.bincount(c, minlength=n) for c in combinations_with_replacement(range(n), n)])
    log_D = special.gammaln(n + 1) - special.gammaln(times_DN + 1.0).sum(1) - n * math.log(n)
    return times_DN.astype(np.float64), np.exp(log_D)


@lru_cache(maxsize=2)
def _random_resamples(n: int, draws: int, seed: int) -> tuple[Floats, Floats]:
    times_DN = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return times_DN.astype(np.float64), np.full(draws, 1 / draws)


def paired_log_odds(treated: Sequence[float], control: Sequence[float], unit: str, level: float = LEVEL) -> Estimate:
    """Difference of log-odds, treated minus control, paired by position: Student's t over the pairs.

    `treated` and `control` are shares. nan with a reason where one is 0 or 1 and where all differences are equal
    (`mean_difference`), and BadInput where the lengths differ.
    """
    same_length(treated, control)
    result = mean_difference([log_odds(t) - log_odds(c) for t, c in zip(treated, control, strict=True)], unit, level)
    if any(s in (0, 1) for s in (*treated, *control)):
        return result.model_copy(update={"reason": "a share is 0 or 1, so its log-odds are infinite: ask more often"})
    return result


def ratio(above: Sequence[float], below: Sequence[float], unit: str, level: float = LEVEL) -> Estimate:
    """Ratio of two paired means with Fieller's interval (Fieller 1954), exact for normal pairs.

    The limits solve (A - r B)^2 = t^2 Var(A - r B). Undefined where the denominator's own interval holds zero, and
    where the numerators are all equal (`mean_difference`).
    """
    fraction(level, "level")
    same_length(above, below)
    top, base, method = units(above, unit), units(below, unit), "Fieller"
    if top.fault or base.fault:
        return top.undefined(level, method, str(top.fault or base.fault))
    n, a, b = top.n, math.fsum(top.means_N) / top.n, math.fsum(base.means_N) / base.n
    mean = a / b if b else math.nan
    if n < 2:
        return top.undefined(level, method, "needs at least two pairs", mean)
    if flat := no_spread(top, "numerators"):
        return top.undefined(level, method, flat, mean)
    (var_a, cov), (_, var_b) = np.cov(top.means_N, base.means_N) / n
    t2 = t_quantile((1 + level) / 2, n - 1) ** 2
    square = b * b - t2 * var_b
    if square <= 0:
        return top.undefined(level, method, "the denominator is not clearly different from zero", mean)
    middle = a * b - t2 * cov
    root = math.sqrt(max(0.0, middle**2 - square * (a * a - t2 * var_a)))
    return _interval(top, level, method, mean, float(middle - root) / square, float(middle + root) / square)


def wilson(successes: int, trials: int, unit: str, level: float = LEVEL) -> Estimate:
    """A share of independent trials with Wilson's score interval (Wilson 1927), which also holds at 0 and at 1.

    For counts of rows that a filter or a judge decides on, never for claims about models: those are counted in seeds.
    nan with a reason where there are no trials.
    """
    fraction(level, "level")
    whole(trials, "trials", 0)
    if whole(successes, "successes", 0) > trials:
        raise BadInput(f"{successes} successes in {trials} trials; expected at most as many")
    z2, share = float(special.ndtri((1 + level) / 2)) ** 2, successes / trials if trials else math.nan
    if trials:
        middle, scale = share + z2 / (2 * trials), 1 + z2 / trials
        half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2)))
        low = 0.0 if successes == 0 else (middle - half) / scale
        high = 1.0 if successes == trials else (middle + half) / scale
    else:
        low = high = math.nan
    reason = None if trials else f"no {unit}"
    return Estimate(mean=share, low=low, high=high, n=trials, unit=unit, level=level, method="Wilson", reason=reason)


def same_length(one: Sequence[float], other: Sequence[float]) -> None:
    """BadInput where two lists that are paired by position differ in length."""
    if len(one) != len(other):
        raise BadInput(f"{len(one)} values are paired with {len(other)}; each needs its own partner")


def t_quantile(share: float, freedom: float) -> float:
    """The value that `share` of Student's t lies below, with `freedom` degrees of freedom."""
    return float(special.stdtrit(freedom, share))


def spread(values_N: Floats) -> float:
    """The standard deviation of a sample (n - 1 in the denominator)."""
    return float(np.std(values_N, ddof=1))


def _interval(data: Units, level: float, method: str, mean: float, low: float, high: float) -> Estimate:
    return Estimate(
        mean=mean, low=float(low), high=float(high), n=data.n, unit=data.name, level=level, method=method,
        within=data.within,
    )  # fmt: skip
