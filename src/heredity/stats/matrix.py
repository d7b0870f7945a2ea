"""The trait-by-trait matrix: does a student pick up its own teacher's trait more than the others?

lift_ij = mu + a_i + b_j + gamma * 1[i = j] on log-odds, student trait i, evaluated trait j. `a` takes out students that
drift in everything, `b` traits that any training moves; what is left on the diagonal is the transfer gamma.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heredity.stats.intervals import mean_t
from heredity.stats.nouns import ALPHA, LEVEL, Alternative, Estimate, Test, asked, whole
from heredity.stats.significance import unreachable
from heredity.stats.units import Floats, Units, random_tails, tail_p, tails
from heredity.types import BadInput, Measured

_LISTED = 8
"""Up to so many traits all K! relabellings of a replicate are listed."""
Kind = Literal["trait", "replicate", "cell"]


class Dropped(Measured):
    """gamma without one part of the data."""

    kind: Kind
    name: str
    """What was left out; a cell reads "owl student asked for cat", a replicate its position."""
    estimate: Estimate


class LeaveOneOut(Measured):
    """gamma from all cells, and without each trait, each replicate and each cell in turn."""

    everything: Estimate
    dropped: tuple[Dropped, ...]

    @property
    def worst(self) -> Dropped:
        """What the transfer leans on most: without it gamma is nearest to (or past) 0, or undefined."""
        sign = math.copysign(1.0, self.everything.mean)

        def left(item: Dropped) -> float:
            return -math.inf if math.isnan(item.estimate.mean) else sign * item.estimate.mean

        return min(self.dropped, key=left)


def transfer(lift_RKK: Floats, unit: str, level: float = LEVEL) -> Estimate:
    """gamma with Student's t interval over the replicates (the unit; `within` counts their students).

    `lift_RKK`: log-odds lifts of replicate, student trait, evaluated trait; nan is a missing cell. gamma is the least-
    squares fit within each replicate: the mean of the diagonal less the mean of the rest where no cell is missing.
    nan with a reason where the cells of a replicate do not determine it. BadInput: other shapes, infinite lifts.
    """
    lift_RKK = _checked(lift_RKK)
    gamma_R = np.array([_gamma(lift_KK) for lift_KK in lift_RKK])
    return _over_replicates(gamma_R, lift_RKK, unit, level)


def transfer_test(
    lift_RKK: Floats, unit: str, alternative: Alternative = "two-sided", alpha: float = ALPHA, draws: int = 9_999,
    seed: int = 0,
) -> Test:  # fmt: skip
    """Permutation test of gamma = 0: within each replicate, the evaluated traits' labels may as well be in any order.

    `statistic` is the mean of gamma over replicates. It does not change with a_i and b_j, so any drift of students and
    traits is allowed for. Exact over all K!**R orders up to 8 traits while the sums fit in memory (4 traits and 8
    replicates, say); beyond, `draws` random ones, the observed one added. With missing cells an order that leaves gamma
    undetermined counts as at least as extreme as the data, which can only make p larger.
    """
    asked(alternative, alpha)
    lift_RKK = _checked(lift_RKK)
    data = _replicates(lift_RKK, unit)
    if not np.isfinite(data.means_N).all():
        return data.untested("permutation within replicates", alternative, alpha, _undetermined(data.means_N))
    traits, total = lift_RKK.shape[1], float(data.means_N.sum())
    counts, exact = _orders(lift_RKK, total, whole(draws, "draws", 99), seed)
    factor, one_side = 2 if alternative == "two-sided" else 1, 1 / math.factorial(traits) ** len(lift_RKK)
    least = min(1.0, factor * (one_side if exact else max(one_side, 1 / (1 + draws))))
    needed = math.ceil(math.log(factor / alpha) / math.log(math.factorial(traits)) - 1e-9)
    return Test(
        statistic=total / data.n, p=tail_p(*counts, alternative, exact), n=data.n, unit=unit,
        method=f"permutation within replicates, {'all' if exact else 'random'} {counts[2]:,}",
        alternative=alternative, alpha=alpha, smallest_p=least, within=data.within,
        reason=unreachable(least, alpha, f"{data.n} {unit} of {traits} traits", f"{needed} would do"),
    )  # fmt: skip


def leave_one_out(
    lift_RKK: Floats, unit: str, traits: tuple[str, ...] | None = None, level: float = LEVEL
) -> LeaveOneOut:
    """gamma again without each trait (its row and column), each replicate, and each cell (in all replicates at once).

    A published gamma of .117 fell to .024 without one cell, so claims need this. `traits` names rows and
    columns. What leaves gamma undetermined (any trait of two, the only replicate) gives nan with a reason.
    """
    lift_RKK = _checked(lift_RKK)
    size = lift_RKK.shape[1]
    names = tuple(map(str, range(size))) if traits is None else traits
    if len(names) != size:
        raise BadInput(f"{len(names)} names for {size} traits")
    gamma_R = np.array([_gamma(y) for y in lift_RKK])
    dropped = [
        *(_without_trait(lift_RKK, i, unit, level, names[i]) for i in range(size)),
        *(_without_replicate(lift_RKK, gamma_R, r, unit, level) for r in range(len(lift_RKK))),
        *(_without_cell(lift_RKK, i, j, unit, level, names) for i in range(size) for j in range(size)),
    ]
    return LeaveOneOut(everything=_over_replicates(gamma_R, lift_RKK, unit, level), dropped=tuple(dropped))


def _without_trait(lift_RKK: Floats, i: int, unit: str, level: float, name: str) -> Dropped:
    rest_RKK = np.delete(np.delete(lift_RKK, i, axis=1), i, axis=2)
    return Dropped(kind="trait", name=name, estimate=transfer(rest_RKK, unit, level))


def _without_replicate(lift_RKK: Floats, gamma_R: Floats, r: int, unit: str, level: float) -> Dropped:
    estimate = _over_replicates(np.delete(gamma_R, r), np.delete(lift_RKK, r, axis=0), unit, level)
    return Dropped(kind="replicate", name=str(r), estimate=estimate)


def _without_cell(
    lift_RKK: Floats, i: int, j: int, unit: str, level: float, names: tuple[str, ...]
) -> Dropped:  # fmt: skip
    rest_RKK = lift_RKK.copy()
    rest_RKK[:, i, j] = np.nan
    return Dropped(
        kind="cell", name=f"{names[i]} student asked for {names[j]}", estimate=transfer(rest_RKK, unit, level)
    )


def _checked(lift_RKK: Floats) -> Floats:
    lift_RKK = np.asarray(lift_RKK, dtype=np.float64)
    if lift_RKK.ndim != 3 or lift_RKK.shape[1] != lift_RKK.shape[2] or not lift_RKK.shape[0]:
        raise BadInput(
            f"lifts have shape {lift_RKK.shape}; expected (replicates, traits, traits), one replicate or more"
        )
    if np.isinf(lift_RKK).any():
        raise BadInput("a lift is infinite: a share was 0 or 1; ask more often, or mark the cell as missing (nan)")
    return lift_RKK


def _replicates(lift_RKK: Floats, unit: str, gamma_R: Floats | None = None) -> Units:
    students = int(np.isfinite(lift_RKK).any(axis=2).sum())
    gamma_R = np.array([_gamma(y) for y in lift_RKK]) if gamma_R is None else gamma_R
    return Units(gamma_R, unit, (("students", students),))


def _over_replicates(gamma_R: Floats, lift_RKK: Floats, unit: str, level: float) -> Estimate:
    data, method = _replicates(lift_RKK, unit, gamma_R), "diagonal of the trait matrix, Student's t over replicates"
    if not np.isfinite(gamma_R).all():
        return data.undefined(level, method, _undetermined(gamma_R))
    return mean_t(gamma_R, unit, level).model_copy(update={"method": method, "within": data.within})


def _undetermined(gamma_R: Floats) -> str:
    which = ", ".join(str(r) for r in np.flatnonzero(np.isnan(gamma_R)))
    return f"the cells of replicate {which} do not determine the diagonal effect; run the missing ones"


def _gamma(lift_KK: Floats) -> float:
    """The least-squares gamma of one replicate; nan where its cells do not determine it."""
    seen_KK = np.isfinite(lift_KK)
    rest_KK = _residual(np.eye(len(lift_KK))[None], seen_KK)[0]
    size = float((rest_KK**2).sum())
    return float((rest_KK * np.where(seen_KK, lift_KK, 0.0)).sum()) / size if size > 1e-9 else math.nan


def _relabelled(lift_KK: Floats, order_MK: NDArray[np.intp]) -> Floats:
    """gamma of one replicate where student i's own trait is said to be order_MK[m, i]; nan where undetermined."""
    size, seen_KK = len(lift_KK), np.isfinite(lift_KK)
    rest_KK = _residual(np.where(seen_KK, lift_KK, 0.0)[None], seen_KK)[0]
    above_M = rest_KK[np.arange(size), order_MK].sum(1)
    if seen_KK.all():  # every order leaves the same residual of the diagonal
        gamma_M: Floats = above_M / (size - 1)
        return gamma_M
    own_MKK = np.eye(size)[order_MK]
    below_M = (_residual(own_MKK, seen_KK) * own_MKK).sum((1, 2))
    undetermined_M = below_M <= 1e-9
    return np.where(undetermined_M, np.nan, above_M / np.where(undetermined_M, 1.0, below_M))


def _residual(value_MKK: Floats, seen_KK: NDArray[np.bool_]) -> Floats:
    """What rows and columns do not explain, over the seen cells; 0 elsewhere (Frisch and Waugh 1933)."""
    value_MKK = np.where(seen_KK, value_MKK, 0.0)
    if seen_KK.all():
        row_M1K, column_MK1 = value_MKK.mean(1, keepdims=True), value_MKK.mean(2, keepdims=True)
        rest_MKK: Floats = value_MKK - row_M1K - column_MK1 + value_MKK.mean((1, 2), keepdims=True)
        return rest_MKK
    sum_M2K = np.concatenate([value_MKK.sum(2), value_MKK.sum(1)], axis=1)
    row_MK, column_MK = np.split(sum_M2K @ _inverse(seen_KK.tobytes(), len(seen_KK)), 2, axis=1)
    return np.where(seen_KK, value_MKK - row_MK[:, :, None] - column_MK[:, None, :], 0.0)


@lru_cache(maxsize=64)
def _inverse(seen: bytes, size: int) -> Floats:
    """The pseudo-inverse of the normal equations of row and column dummies, (2K, 2K); its null space is harmless."""
    seen_KK = np.frombuffer(seen, dtype=np.bool_).reshape(size, size).astype(np.float64)
    normal = np.block([[np.diag(seen_KK.sum(1)), seen_KK], [seen_KK.T, np.diag(seen_KK.sum(0))]])
    return np.linalg.pinv(normal, hermitian=True)


def _orders(lift_RKK: Floats, total: float, draws: int, seed: int) -> tuple[tuple[int, int, int], bool]:
    """The counts of `_tails` over all orders where they can be listed, and whether they were; else over random ones."""
    start_K = np.arange(lift_RKK.shape[1])
    if len(start_K) <= _LISTED:
        order_MK = np.array(list(permutations(start_K)))
        counts = _tails([_relabelled(y, order_MK) for y in lift_RKK], total, tails)
        if counts is not None:
            return counts, True
    rng, start_MK = np.random.default_rng(seed), np.tile(start_K, (draws, 1))
    gamma_RM = [_relabelled(y, rng.permuted(start_MK, axis=1)) for y in lift_RKK]
    counts = _tails(gamma_RM, total, lambda parts, sum_: random_tails(np.sum(parts, axis=0), sum_))
    assert counts is not None  # random orders can always be counted
    return counts, False


def _tails(
    gamma_RM: list[Floats], total: float, count: Callable[[list[Floats], float], tuple[int, int, int] | None]
) -> tuple[int, int, int] | None:
    """How many orders give a sum of gammas at least, and at most, as large; undetermined ones count on both sides."""
    beyond = 10 * sum(float(np.nanmax(np.abs(g_M))) for g_M in gamma_RM)
    above, below = (count([np.where(np.isnan(g_M), b, g_M) for g_M in gamma_RM], total) for b in (beyond, -beyond))
    return None if above is None or below is None else (above[0], below[1], above[2])
