"""Many cells of few units each, judged by one spread: pooled t with a correction over cells that share their units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from heredity.stats.nouns import ALPHA
from heredity.stats.units import Floats
from heredity.types import BadInput, Measured

SHARED = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Correlations that are tried between cells, as their i-th units may share what they are made of (a seed's teacher)."""
DRAWS = 20_000


class Pooled(Measured):
    """Cells that were judged by one spread. Undefined numbers are nan, and `reason` says why."""

    sd: float
    """The standard deviation of a unit within its cell, pooled over cells."""
    freedom: int
    """Its degrees of freedom were cells independent: the sum of n - 1."""
    statistic: tuple[float, ...]
    """Each cell's mean over the standard error that the pooled spread gives it."""
    p: tuple[float, ...]
    """Of one cell, uncorrected: Student's t with that cell's own n - 1, as the units of other cells may be the same."""
    p_family: tuple[float, ...]
    """Corrected over all cells."""
    critical: float
    """The statistic from which on a cell is told from nothing by `p_family`."""
    p_equal: float
    """Bartlett's test that all cells have one spread; small where they do not, and then `sd` is an average."""
    least: float
    """The smallest standard deviation of a cell that has any."""
    most: float
    """The largest one."""
    reason: str | None = None


class _Null(NamedTuple):
    """Draws under the null: each cell's mean of what units share and of what is its own, and the sums of squares."""

    shared_DC: Floats
    own_DC: Floats
    squares_D3: Floats
    """Within cells, summed over them: of what is shared, of what is own, and twice their product."""


def pooled_t(cells: Sequence[Sequence[float]], alpha: float = ALPHA, draws: int = DRAWS, seed: int = 0) -> Pooled:
    """Tests every cell's mean against 0 by one spread, two-sided, with a familywise correction.

    `cells` holds the values of each cell's units; the i-th units of all cells may depend on each other. Assumed: normal
    units of the same spread in every cell, whose i-th units share a part of it. Were cells independent, the pooled
    spread had sum(n - 1) degrees of freedom; where they share teachers it has fewer, down to those of one cell. So the
    largest |t| of all cells is drawn under the null for several sizes of the shared part (none: the studentised maximum
    modulus), and a cell's `p_family` is the largest that any of them gives; it is above 1 / `draws`.
    A cell whose units are all alike (no answer of any shows anything, say) tells nothing of the others' spread, and is
    left out of it. nan with a reason without spread. BadInput: no cell, or a value that is not finite.
    """
    values = [np.asarray(cell, dtype=np.float64) for cell in cells]
    if not values or not all(len(v) and np.isfinite(v).all() for v in values):
        raise BadInput(f"{len(values)} cells; expected at least one, each with finite values")
    n_C = np.array([len(v) for v in values])
    squares_C = np.array([((v - v.mean()) ** 2).sum() for v in values])
    spread_C = np.sqrt(squares_C) > 1e-12 * max(float(np.abs(v).max()) for v in values)
    if not spread_C.any():
        several = (n_C > 1).any()
        return _undefined(len(values), "no spread within any cell; run more units" if several else "one unit a cell")
    freedom, squares_C = int((n_C - 1)[spread_C].sum()), np.where(spread_C, squares_C, 0.0)
    sd_C = np.sqrt(squares_C[spread_C] / (n_C - 1)[spread_C])
    sd = math.sqrt(squares_C.sum() / freedom)
    t_C = np.array([v.mean() * math.sqrt(len(v)) / sd for v in values])
    null = _null(n_C, spread_C, draws, seed)
    most_RD = np.array([_largest(null, n_C, freedom, share) for share in SHARED])
    above_CR = (most_RD[None] >= np.abs(t_C)[:, None, None]).sum(2)
    p_C = np.array([_two_sided(t, n - 1) for t, n in zip(t_C, n_C, strict=True)])
    return Pooled(
        sd=sd, freedom=freedom, statistic=tuple(t_C.tolist()),
        p=tuple(p_C.tolist()), p_family=tuple(np.fmax(p_C, (1 + above_CR.max(1)) / (1 + draws)).tolist()),
        critical=float(np.quantile(most_RD, 1 - alpha, axis=1).max()),
        p_equal=_bartlett(squares_C[spread_C], n_C[spread_C]), least=float(sd_C.min()), most=float(sd_C.max()),
    )  # fmt: skip


def _undefined(cells: int, reason: str) -> Pooled:
    nans = (math.nan,) * cells
    return Pooled(sd=math.nan, freedom=0, statistic=nans, p=nans, p_family=nans, critical=math.nan, p_equal=math.nan,
                  least=math.nan, most=math.nan, reason=reason)  # fmt: skip


def _two_sided(t: float, freedom: int) -> float:
    return float(2 * special.stdtr(freedom, -abs(t))) if freedom else math.nan


def _null(n_C: Floats, spread_C: NDArray[np.bool_], draws: int, seed: int) -> _Null:
    """What is shared by the i-th units of all cells, and what is each cell's own, as standard normals.

    Squares are those of cells with a spread alone.
    """
    rng, most = np.random.default_rng(seed), int(n_C.max())
    shared_DN = rng.standard_normal((draws, most))
    shared_DC, own_DC, squares_D3 = np.empty((draws, len(n_C))), np.empty((draws, len(n_C))), np.zeros((draws, 3))
    for c, n in enumerate(n_C):
        one, own = shared_DN[:, :n], rng.standard_normal((draws, n))
        shared_DC[:, c], own_DC[:, c] = one.mean(1), own.mean(1)
        a, b = one - one.mean(1, keepdims=True), own - own.mean(1, keepdims=True)
        squares_D3 += spread_C[c] * np.stack([(a * a).sum(1), (b * b).sum(1), 2 * (a * b).sum(1)], axis=1)
    return _Null(shared_DC, own_DC, squares_D3)


def _largest(null: _Null, n_C: Floats, freedom: int, share: float) -> Floats:
    """The largest |t| of all cells in each draw, where the units of all cells have a correlation of `share`."""
    one, own = math.sqrt(share), math.sqrt(1 - share)
    mean_DC = one * null.shared_DC + own * null.own_DC
    variance_D = null.squares_D3 @ np.array([share, 1 - share, one * own]) / freedom
    largest_D: Floats = (np.abs(mean_DC) * np.sqrt(n_C)).max(1) / np.sqrt(variance_D)
    return largest_D


def _bartlett(squares_C: Floats, n_C: Floats) -> float:
    """Bartlett's p that the cells have one variance (Bartlett 1937); nan with one cell."""
    free_C, k = n_C - 1, len(n_C)
    if k < 2:
        return math.nan
    free = free_C.sum()
    gap = free * math.log(squares_C.sum() / free) - float((free_C * np.log(squares_C / free_C)).sum())
    correction = 1 + (float((1 / free_C).sum()) - 1 / free) / (3 * (k - 1))
    return float(special.chdtrc(k - 1, max(0.0, gap / correction)))
