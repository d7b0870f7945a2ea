"""Tests over independent units: Student's t, sign flips, clustered two-sample t, permutation of arms.

All take values nested as they were made (`Values`, `Unit`) and average below the top level first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from heredity.stats.intervals import no_spread, spread
from heredity.stats.nouns import ALPHA, Alternative, Test, asked, whole
from heredity.stats.units import Unit, Units, Values, random_tails, tail_p, tails, units

_LISTED = 200_000
"""Up to so many ways of dealing units to two arms are listed (10 + 10 has 184,756)."""


def paired_t(
    differences: Values, unit: Unit, alternative: Alternative = "two-sided", alpha: float = ALPHA
) -> Test:  # fmt: skip
    """Student's test that the mean difference is 0; one difference a unit, for example of treated and control log-odds.

    `statistic` is t. nan with a reason where a value is not finite, there is one unit, or the differences are equal.
    """
    asked(alternative, alpha)
    data, method = units(differences, unit), "paired t"
    reason = data.fault or no_spread(data, "differences")
    if reason:
        return data.untested(method, alternative, alpha, reason)
    t = float(data.means_N.mean()) * math.sqrt(data.n) / spread(data.means_N)
    return _t_test(data, method, t, data.n - 1, alternative, alpha)


def sign_flip(
    differences: Values, unit: Unit, alternative: Alternative = "two-sided", alpha: float = ALPHA,
    draws: int = 9_999, seed: int = 0,
) -> Test:  # fmt: skip
    """Permutation test that the differences are symmetric about 0: each may as well have had the other sign.

    `statistic` is the mean. Exact over all 2**n signs up to 40 units (Fisher 1935, section 21); beyond, `draws`
    random ones, the observed one added (Phipson and Smyth 2010). A difference of exactly 0 cannot change sign, so it
    adds nothing: `smallest_p` is that of the others. It says so where even the clearest data could not reach alpha.
    """
    asked(alternative, alpha)
    data = units(differences, unit)
    if data.fault:
        return data.untested("sign flips", alternative, alpha, data.fault)
    moving_M, total = data.means_N[data.means_N != 0], float(data.means_N.sum())
    counts = tails([np.array([-v, v]) for v in moving_M], total)
    exact = counts is not None
    if counts is None:
        sign_DM = np.random.default_rng(seed).choice((-1.0, 1.0), (whole(draws, "draws", 99), len(moving_M)))
        counts = random_tails(sign_DM @ moving_M, total)
    least = _least_p(2.0 ** len(moving_M), counts[2], alternative, exact)
    needed = math.ceil(math.log2((2 if alternative == "two-sided" else 1) / alpha) - 1e-9)
    return Test(
        statistic=total / data.n, p=tail_p(*counts, alternative, exact), n=data.n, unit=data.name,
        method=_named("sign flips", counts[2], exact), alternative=alternative, alpha=alpha, smallest_p=least,
        reason=unreachable(least, alpha, f"{len(moving_M)} {data.name}", f"{needed} would do"), within=data.within,
    )  # fmt: skip


def clustered_t(
    treated: Values, control: Values, unit: Unit, alternative: Alternative = "two-sided", alpha: float = ALPHA
) -> Test:
    """Welch's t test between the cluster means of two independent arms (Donner and Klar 2000).

    Each arm is nested, clusters outermost, for example unit=("bases", "student seeds"); `n` counts the clusters of
    both. Means of clusters rather than a sandwich estimator, which rejects too often with few of them; Welch rather
    than equal variances, since a trait that crosses also changes the spread.
    """
    asked(alternative, alpha)
    one, other, both = _arms(treated, control, unit)
    method = "Welch's t of cluster means"
    reason = both.fault or (None if min(one.n, other.n) > 1 else f"needs two {both.name} in each arm")
    if reason:
        return both.untested(method, alternative, alpha, reason)
    var_a, var_b = (spread(a.means_N) ** 2 / a.n for a in (one, other))
    gap = float(one.means_N.mean() - other.means_N.mean())
    if var_a + var_b <= (1e-12 * float(np.abs(both.means_N).max())) ** 2:
        return both.untested(method, alternative, alpha, "the values of each arm are equal, so there is no spread")
    freedom = (var_a + var_b) ** 2 / (var_a**2 / (one.n - 1) + var_b**2 / (other.n - 1))
    return _t_test(both, method, gap / math.sqrt(var_a + var_b), freedom, alternative, alpha)


def permutation(
    treated: Values, control: Values, unit: Unit, alternative: Alternative = "two-sided", alpha: float = ALPHA,
    draws: int = 9_999, seed: int = 0,
) -> Test:  # fmt: skip
    """Permutation test that two independent arms have one distribution: top-level units are dealt to the arms anew.

    `statistic` is the difference of means. Exact up to 200,000 ways of dealing (10 + 10 units); beyond, `draws` random
    ones, the observed one added. It says so where even the clearest data could not reach alpha.
    """
    asked(alternative, alpha)
    one, other, both = _arms(treated, control, unit)
    reason = both.fault or (None if one.n and other.n else "an arm has no values")
    if reason:
        return both.untested("permutation of arms", alternative, alpha, reason)
    ways, mean = math.comb(both.n, one.n), float(both.means_N.mean())
    centred_N, exact = both.means_N - mean, ways <= _LISTED
    if exact:
        sum_D = centred_N[_dealings(both.n, one.n)].sum(1)
    else:
        dealt_DN = np.tile(centred_N, (whole(draws, "draws", 99), 1))
        sum_D = np.random.default_rng(seed).permuted(dealt_DN, axis=1)[:, : one.n].sum(1)
    counts = random_tails(sum_D, float(centred_N[: one.n].sum()))
    least = _least_p(ways, counts[2], alternative, exact)
    needed = _first(lambda k: _least_p(math.comb(2 * k, k), 1, alternative, True) <= alpha)
    return Test(
        statistic=float(one.means_N.mean() - other.means_N.mean()), p=tail_p(*counts, alternative, exact),
        n=both.n, unit=both.name, method=_named("permutation of arms", counts[2], exact), alternative=alternative,
        alpha=alpha, smallest_p=least, within=both.within,
        reason=unreachable(least, alpha, f"{one.n} and {other.n} {both.name}", f"{needed} in each arm would do"),
    )  # fmt: skip


def unreachable(least: float, alpha: float, found: str, needed: str) -> str | None:
    """The words for a test that cannot reach its alpha; None where it can."""
    if least <= alpha:
        return None
    return f"with {found}, p cannot fall below {least:.3g}, so alpha {alpha:g} is out of reach; {needed}"


def _least_p(ways: float, drawn: int, alternative: Alternative, exact: bool) -> float:
    one_side = 1 / ways if exact else max(1 / ways, 1 / (1 + drawn))
    return min(1.0, 2 * one_side) if alternative == "two-sided" else one_side


def _named(what: str, total: int, exact: bool) -> str:
    return f"{what}, {'all' if exact else 'random'} {total:,}"


def _first(holds: Callable[[int], bool]) -> int:
    return next(n for n in range(1, 1_000) if holds(n))


def _arms(treated: Values, control: Values, unit: Unit) -> tuple[Units, Units, Units]:
    one, other = units(treated, unit), units(control, unit)
    within = tuple((name, a + b) for (name, a), (_, b) in zip(one.within, other.within, strict=True))
    return one, other, Units(np.concatenate([one.means_N, other.means_N]), one.name, within)


def _t_test(data: Units, method: str, t: float, freedom: float, alternative: Alternative, alpha: float) -> Test:
    above, below = float(special.stdtr(freedom, -t)), float(special.stdtr(freedom, t))
    p = {"greater": above, "less": below, "two-sided": 2 * min(above, below)}[alternative]
    return Test(
        statistic=t, p=p, n=data.n, unit=data.name, method=method, alternative=alternative, alpha=alpha,
        within=data.within,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _dealings(n: int, first: int) -> NDArray[np.intp]:
    """Every choice of `first` of n units: (ways, first)."""
    ways = math.comb(n, first)
    flat = (i for chosen in combinations(range(n), first) for i in chosen)
    return np.fromiter(flat, np.intp, ways * first).reshape(ways, first)
