"""Worlds where the truth is known, one draw at a time: does the interval hold it, does the test reject a true null?

`tests/test_stats_claims.py` runs them briefly and `bench/coverage.py` at length for docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from heredity.stats import (
    Estimate,
    bet,
    clustered_t,
    holm,
    hommel,
    mean_bootstrap,
    mean_t,
    observed_limit,
    paired_log_odds,
    paired_t,
    permutation,
    ratio,
    sign_flip,
    transfer,
    transfer_test,
)
from heredity.stats.units import Floats

RNG = np.random.Generator
Draw = Callable[[RNG, int], Floats]


@dataclass(frozen=True)
class Case:
    """One claim. `trial` is True where the interval holds the truth or the test rejects; None where it refuses."""

    name: str
    trial: Callable[[RNG, int], bool | None]
    nominal: float
    promise: Literal["exact", "at most", "reported"]
    """Whether the rate is to equal the nominal one, may be smaller, or is only measured."""
    slow: int = 1
    """So many times fewer runs."""
    refuses: tuple[int, ...] = ()
    """Numbers of units at which it must refuse."""
    at: tuple[int, ...] = (3, 5, 20)


def rate(case: Case, n: int, runs: int, seed: int = 0) -> tuple[float, float, int]:
    """The share of True among trials that were not refused, the share refused, and the number of trials."""
    rng, runs = np.random.default_rng([seed, n]), runs // case.slow
    found = [case.trial(rng, n) for _ in range(runs)]
    kept = [f for f in found if f is not None]
    return (sum(kept) / len(kept) if kept else math.nan), 1 - len(kept) / runs, runs


def holds(estimate: Estimate, truth: float) -> bool | None:
    return None if math.isnan(estimate.low) else estimate.low <= truth <= estimate.high


def normal(rng: RNG, n: int) -> Floats:
    return rng.normal(size=n)


def uniform(rng: RNG, n: int) -> Floats:
    return rng.uniform(-1, 1, n)


def skewed(rng: RNG, n: int) -> Floats:
    return rng.exponential(size=n) - 1


def heavy(rng: RNG, n: int) -> Floats:
    """Symmetric about 0, without a variance, every unit on a scale of its own."""
    return rng.standard_t(2, n) * np.arange(1, n + 1)


def two_point(rng: RNG, n: int) -> Floats:
    """Nine small gains for each large loss: mean 0, far from symmetric."""
    return np.where(rng.random(n) < 0.1, -9.0, 1.0) + rng.normal(0, 0.01, n)


def nested_t(rng: RNG, n: int) -> bool | None:
    """Bases differ, teachers within a base less so, students least; the numbers of both vary from base to base."""
    values = []
    for base in rng.normal(0.4, 1, n):
        teachers = [base + rng.normal(0, 0.5) for _ in range(rng.integers(1, 5))]
        values.append([(t + rng.normal(0, 0.3, rng.integers(1, 4))).tolist() for t in teachers])
    return holds(mean_t(values, ("bases", "teacher seeds", "student seeds")), 0.4)


def paired_shares(rng: RNG, n: int) -> bool | None:
    shift = rng.normal(-2, 0.5, n)
    treated, control = 1 / (1 + np.exp(-shift - rng.normal(1, 0.3, n))), 1 / (1 + np.exp(-shift))
    return holds(paired_log_odds(treated.tolist(), control.tolist(), "seeds"), 1.0)


def fieller(rng: RNG, n: int) -> bool | None:
    below = rng.normal(3, 0.3, n)
    above = 0.3 + 0.5 * (below - 3) + rng.normal(0, 0.2, n)
    return holds(ratio(above.tolist(), below.tolist(), "seeds"), 0.1)


def lifts(rng: RNG, n: int, traits: int, gamma: float, spread_K: Floats | float = 1.0) -> Floats:
    """Replicates whose students and traits drift far more than the cells vary; spread_K is that of each column."""
    drift_RKK = rng.normal(0, 3, (n, traits, 1)) + rng.normal(0, 3, (n, 1, traits))
    return drift_RKK + rng.normal(0, spread_K, (n, traits, traits)) + gamma * np.eye(traits)


def with_holes(rng: RNG, lift_RKK: Floats) -> Floats:
    """One cell missing in every replicate."""
    i_R, j_R = rng.integers(0, lift_RKK.shape[1], (2, len(lift_RKK)))
    lift_RKK[np.arange(len(lift_RKK)), i_R, j_R] = np.nan
    return lift_RKK


def matrix_null(rng: RNG, n: int, spread_K: Floats | float = 1.0) -> bool:
    return transfer_test(lifts(rng, n, 4, 0.0, spread_K), "seeds", draws=499).rejects


def two_arms(rng: RNG, n: int, draw: Draw, scale: float) -> tuple[list[list[float]], list[list[float]]]:
    """n clusters in each arm, of one to four values that share their cluster's effect; the second arm scaled."""
    arms = [[(c + rng.normal(0, 0.5, rng.integers(1, 5))).tolist() for c in s * draw(rng, n)] for s in (1.0, scale)]
    return arms[0], arms[1]


def clusters_t(draw: Draw, scale: float) -> Callable[[RNG, int], bool]:
    return lambda rng, n: clustered_t(*two_arms(rng, n, draw, scale), ("bases", "seeds")).rejects


def arms_permuted(rng: RNG, n: int) -> bool:
    values = skewed(rng, 2 * n)
    return permutation(values[:n], values[n:], "seeds", draws=499).rejects


def family(method: Callable[..., object]) -> Callable[[RNG, int], bool]:
    """Five nulls, the last false; t tests on n units that share a common part, so that they depend on one another."""

    def trial(rng: RNG, n: int) -> bool:
        value_N5 = rng.normal(size=(n, 5)) + rng.normal(size=(n, 1)) + np.array([0, 0, 0, 0, 3])
        p = {str(k): paired_t(value_N5[:, k], "seeds").p for k in range(5)}
        return bool(set(method(p).rejected) & {"0", "1", "2", "3"})  # type: ignore[attr-defined]

    return trial


def adaptive(rng: RNG, n: int) -> Floats:
    """Fair, but the size of each score follows what was won before, as a hostile order of rows would have it."""
    sign_T, h_T, won = rng.choice([-1.0, 1.0], n), np.zeros(n), 0.0
    for t in range(n):
        h_T[t] = sign_T[t] * (1.0 if won > 0 else 0.1 + 0.4 * (t % 2))
        won += h_T[t]
    return h_T


NULL_SCORES: dict[str, Draw] = {
    "uniform": uniform,
    "all at the ends": lambda rng, n: rng.choice([-1.0, 1.0], n),
    "mostly 0": lambda rng, n: rng.choice([-1.0, 1.0], n) * (rng.random(n) < 0.05),
    "tiny": lambda rng, n: rng.normal(0, 1e-3, n).clip(-1, 1),
    "following what was won": adaptive,
}


def interval(method: Callable[..., Estimate], draw: Draw) -> Callable[[RNG, int], bool | None]:
    return lambda rng, n: holds(method(draw(rng, n), "seeds"), 0.0)


def bets(draw: Draw) -> Callable[[RNG, int], bool]:
    return lambda rng, n: bet(draw(rng, n), "pairs").rejects


TRUE_LIMIT = {3: 3.2640435, 5: 1.6819970, 20: 0.6604416}
"""Detection limits at a spread of 1 (two-sided, 5 %, power .8), by integrating over the spread's distribution."""
INTERVALS = [
    Case("mean_t, normal", interval(mean_t, normal), 0.95, "exact"),
    Case("mean_t, nested and unbalanced", nested_t, 0.95, "exact", slow=2),
    Case("mean_t, uniform", interval(mean_t, uniform), 0.95, "reported"),
    Case("mean_t, skewed (exponential)", interval(mean_t, skewed), 0.95, "reported"),
    Case("mean_t, one large loss in ten", interval(mean_t, two_point), 0.95, "reported"),
    Case("paired_log_odds, normal on log-odds", paired_shares, 0.95, "exact"),
    Case("mean_bootstrap, normal", interval(mean_bootstrap, normal), 0.95, "exact", slow=4, refuses=(3,)),
    Case("mean_bootstrap, uniform", interval(mean_bootstrap, uniform), 0.95, "reported", slow=4, refuses=(3,)),
    Case("mean_bootstrap, skewed", interval(mean_bootstrap, skewed), 0.95, "reported", slow=4, refuses=(3,)),
    Case("mean_bootstrap, one large loss in ten", interval(mean_bootstrap, two_point), 0.95, "reported", slow=4,
         refuses=(3,)),
    Case("ratio, normal pairs", fieller, 0.95, "exact"),
    Case(
        "transfer, 4 traits",
        lambda rng, n: holds(transfer(lifts(rng, n, 4, 0.5), "seeds"), 0.5), 0.95, "exact", slow=2,
    ),
    Case(
        "transfer, one cell missing in each replicate",
        lambda rng, n: holds(transfer(with_holes(rng, lifts(rng, n, 4, 0.5)), "seeds"), 0.5), 0.95, "exact", slow=4,
    ),
    Case(
        "observed_limit, normal",
        lambda rng, n: holds(observed_limit(normal(rng, n), "seeds"), TRUE_LIMIT[n]), 0.95, "exact", slow=4,
    ),
]  # fmt: skip
TESTS = [
    Case("paired_t, normal", lambda rng, n: paired_t(normal(rng, n), "seeds").rejects, 0.05, "exact"),
    Case("paired_t, skewed", lambda rng, n: paired_t(skewed(rng, n), "seeds").rejects, 0.05, "reported"),
    Case("sign_flip, symmetric and heavy", lambda rng, n: sign_flip(heavy(rng, n), "seeds").rejects, 0.05, "at most"),
    Case(
        "sign_flip at alpha 1/4", lambda rng, n: sign_flip(heavy(rng, n), "seeds", alpha=0.25).rejects, 0.25, "exact"
    ),
    Case("sign_flip, skewed", lambda rng, n: sign_flip(skewed(rng, n), "seeds").rejects, 0.05, "reported"),
    Case("clustered_t, normal", clusters_t(normal, 1.0), 0.05, "at most", slow=2),
    Case("clustered_t, one arm 4 times the spread", clusters_t(normal, 4.0), 0.05, "reported", slow=2),
    Case("permutation, skewed", arms_permuted, 0.05, "at most", slow=4),
    Case("transfer_test, 4 traits", matrix_null, 0.05, "at most", slow=6),
    Case(
        "transfer_test, traits of spreads 1, 1, 1 and 4",
        lambda rng, n: matrix_null(rng, n, np.array([1.0, 1.0, 1.0, 4.0])), 0.05, "reported", slow=6,
    ),
    Case(
        "transfer_test, one cell missing in each replicate",
        lambda rng, n: transfer_test(with_holes(rng, lifts(rng, n, 3, 0.0)), "seeds", draws=499).rejects,
        0.05, "at most", slow=10,
    ),
    Case("holm, any of 4 true nulls of 5", family(holm), 0.05, "at most", slow=4),
    Case("hommel, any of 4 true nulls of 5", family(hommel), 0.05, "at most", slow=4),
    *(Case(f"bet, {k}", bets(draw), 0.05, "at most", slow=4, at=(3, 5, 20, 1000)) for k, draw in NULL_SCORES.items()),
]  # fmt: skip
