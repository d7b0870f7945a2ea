"""Tests of whether two models come from one initialisation: pure functions on similarities of hidden units.

The null of all of them: the two models come from independent random initialisations, in which hidden units of a layer
(and the directions of the residual stream) are exchangeable, and training treats them alike. Then labelling the units
of one model anew changes nothing in the law of the pair, whatever both were trained on (Zhu, Ahmed, Kuditipudi, Liang,
ICML 2025, arXiv:2502.12292, section 3). `C_UV` is always a matrix of similarities of units, (units of A, units of B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]
Units = NDArray[np.float32]
Draw = Callable[[Generator], float]
DRAWS, STOP = 4_999, 10
"""Most draws of a Monte-Carlo test, and the number of draws as large as what was observed at which it stops."""
_NOTHING = 3e-6
"""What rounding leaves of a number of the size of a matrix's largest, once the mean is taken off."""
_TIE = 1e-6
"""Cosines that differ by less are equal but for rounding."""


def unit_vectors(rows_UD: Units) -> Units:
    """Rows less their mean row, at length 1. A row that is no different from the mean stays 0."""
    scale = np.float32(np.abs(rows_UD).max(initial=0.0)) or np.float32(1)  # squares of large numbers would overflow
    rows = rows_UD / scale
    rows -= rows.mean(axis=0)
    length = np.sqrt(np.einsum("ud,ud->u", rows, rows))
    length[length < _NOTHING * math.sqrt(rows.shape[1])] = np.inf
    rows /= length[:, None]
    return rows


def similarities(A: Sequence[Units], B: Sequence[Units]) -> Array:
    """C_UV: the cosines of all pairs of units, averaged over the matrices that these units index."""
    total = A[0] @ B[0].T
    for a, b in zip(A[1:], B[1:], strict=True):
        total += a @ b.T
    out: Array = (total / len(A)).astype(np.float64)
    return out


def _doubly_centred(C_UV: Array) -> Array:
    out: Array = C_UV - C_UV.mean(axis=1, keepdims=True) - C_UV.mean(axis=0, keepdims=True) + C_UV.mean()
    return out


def shifts(C_UV: Array, rng: Generator) -> NDArray[np.int64]:
    """How many units of A are nearest to the unit of B whose number is theirs plus s, for each s (modulo the units).

    The entry at 0 counts fixed points. Ties are broken at random.
    """
    nearest = (C_UV + _TIE * rng.random(C_UV.shape)).argmax(axis=1)
    return np.bincount((nearest - np.arange(len(C_UV))) % len(C_UV), minlength=len(C_UV))


def fixed_point_bound(found: Sequence[int]) -> float:
    """Natural log of a bound on the p of so many fixed points, one number a layer; exact in finite samples.

    Under the null the labels of B's units are a uniform permutation that the map "nearest unit" does not depend on, so
    the r-th factorial moment of one layer's count F is at most 1 (as for the fixed points of a random permutation;
    Montmort 1708), and of the sum K over L independent layers at most L^r. Markov's inequality at r = K - L gives
    p <= L^(K-L) L! / K!, which is 1/F! for one layer; 1 where K <= L.
    """
    total, layers = sum(found), len(found)
    if total <= layers:
        return 0.0
    return (total - layers) * math.log(layers) + math.lgamma(layers + 1) - math.lgamma(total + 1)


def placebo(counts: Sequence[NDArray[np.int64]]) -> int:
    """The most fixed points that any shift of the labels other than 0 finds, summed over layers.

    It is small where the order of units is arbitrary. Units that were sorted, or repeat in blocks, raise it.
    """
    smallest = min(map(len, counts))
    return int(np.sum([c[1:smallest] for c in counts], axis=0).max(initial=0))


def monte_carlo(observed: float, draw: Draw, rng: Generator, draws: int = DRAWS, stop: int = STOP) -> float:
    """An exact p from draws under the null; it stops early where p is large (Besag and Clifford 1991, section 3).

    P(p <= a) = a at every value that p can take, and never more than a; the least is 1 / (draws + 1).
    """
    larger, tolerance = 0, 1e-7 * abs(observed)
    for number in range(1, draws + 1):
        larger += draw(rng) >= observed - tolerance
        if larger == stop:
            return stop / number
    return (larger + 1) / (draws + 1)


def trace_test(layers: Sequence[Array], rng: Generator, draws: int = DRAWS) -> tuple[float, float]:
    """The sum of the diagonals of C_UV, in standard deviations under the null, and its exact Monte-Carlo p.

    Mean m mean(C) and variance ||C~||^2 / (m-1) of a trace under permutations, C~ doubly centred (Hoeffding 1951). The
    most sensitive test per row: it finds relations far too weak for a single unit to be recognised.
    """
    observed = sum(float(np.trace(C_UV)) for C_UV in layers)

    def draw(rng: Generator) -> float:
        return sum(float(C_UV[np.arange(len(C_UV)), rng.permutation(len(C_UV))].sum()) for C_UV in layers)

    mean = sum(len(C_UV) * C_UV.mean() for C_UV in layers)
    return float((observed - mean) / (spread(layers) or math.inf)), monte_carlo(observed, draw, rng, draws)


def spread(layers: Sequence[Array]) -> float:
    """The standard deviation of the summed traces under permutations of the labels (Hoeffding 1951)."""
    total = 0.0
    for C_UV in layers:
        total += float((_doubly_centred(C_UV) ** 2).sum()) / max(1, len(C_UV) - 1)
    return math.sqrt(total)


def trace_power(layers: Sequence[Array], cosine: float, level: float) -> float:
    """How often the trace test would reject at `level`, were the units' mean cosine so large (normal approximation)."""
    noise = spread(layers)
    return float(ndtr(sum(map(len, layers)) * cosine / noise + ndtri(level))) if noise else math.nan


def detectable_cosine(layers: Sequence[Array], level: float, power: float = 0.99) -> float:
    """The mean cosine of units that the trace test would find with that power."""
    return float((ndtri(power) - ndtri(level)) * spread(layers) / sum(map(len, layers)))


def gram_test(pairs: Sequence[tuple[Array, Array]], rng: Generator, draws: int = DRAWS) -> tuple[float, float]:
    """The correlation of the two models' matrices of cosines between their own units, and its exact p (Mantel 1967).

    A pair of `gram`s for each layer. Whatever turns the residual stream (QuaRot, SpinQuant, another basis) leaves these
    cosines as they are, so models may also differ in width. Null: units of B are relabelled.
    """
    size = math.sqrt(sum((K**2).sum() for K, _ in pairs) * sum((G**2).sum() for _, G in pairs))
    observed = sum(float(np.vdot(K, G)) for K, G in pairs)

    def draw(rng: Generator) -> float:
        orders = [rng.permutation(len(G)) for _, G in pairs]
        return sum(float(np.vdot(K, G[o][:, o])) for (K, G), o in zip(pairs, orders, strict=True))

    return observed / (size or math.inf), monte_carlo(observed, draw, rng, draws)


def gram(parts: Sequence[Units]) -> Array:
    """Cosines between a model's own units, doubly centred, without the diagonal (which is 1 in every model)."""
    K_UU = similarities(parts, parts)
    np.fill_diagonal(K_UU, 0.0)
    centred = _doubly_centred(K_UU)
    np.fill_diagonal(centred, 0.0)
    return centred


def matched_test(
    A: Sequence[Sequence[Units]], B: Sequence[Sequence[Units]], rng: Generator, draws: int = DRAWS
) -> tuple[float, float]:
    """The mean over units of A of the cosine to the nearest unit of B wherever it stands, and its exact p.

    Finds units that were put into another order, and does not care how units are sorted. Null: the directions of the
    residual stream of A are relabelled, all matrices alike, as they are exchangeable too and form one group for the
    whole model; some of the directions will do. That needs learned or rotary positions (fixed sinusoids tell
    directions apart).
    """
    width, units = A[0][0].shape[1], sum(len(a[0]) for a in A)

    def score(order: NDArray[np.int64]) -> float:
        found = (similarities([p[:, order] for p in a], b) for a, b in zip(A, B, strict=True))
        return sum(float(C_UV.max(axis=1).sum()) for C_UV in found)

    observed = score(np.arange(width))
    return observed / units, monte_carlo(observed, lambda rng: score(rng.permutation(width)), rng, draws)


def matched_share(layers: Sequence[Sequence[Array]]) -> float:
    """The share of units for which two of their matrices agree on which unit of B is theirs; nan where there is one.

    A matrix C_UV for each matrix of each layer. One assignment of units for each (Kuhn 1955), as in phi_MATCH of Zhu
    et al. 2025, section 3.3. A score and no test: matrices of a unit are trained together, so that units of one
    function may agree without a relation.
    """
    shares = []
    for parts in layers:
        first, *others = (linear_sum_assignment(C_UV, maximize=True)[1] for C_UV in parts)
        shares += [float((first == other).mean()) for other in others]
    return float(np.mean(shares)) if shares else math.nan


def order_test(layers: Sequence[Array], rng: Generator, draws: int = 1_999) -> tuple[float, float]:
    """Whether the order of units means something apart from which is which: the largest shifted trace, and its exact p.

    Where it does (sorted or nested units, blocks that repeat), units are not exchangeable, and tests that take them to
    be so are void. Of one model's `gram`s it tells whether its own units repeat. Null: both models' units are
    relabelled alike, which also holds for related models; here in all layers at once, so that one matrix, the sum over
    layers of equally many units, tells all.
    """
    units = min(map(len, layers))
    total_UV = np.zeros((units, units))
    for C_UV in (C_UV[:units, :units] for C_UV in layers):
        total_UV += (C_UV - C_UV.mean()) / (spread([C_UV]) or 1.0)

    def largest(order: NDArray[np.int64]) -> float:
        return float(shifted_sums(total_UV[order][:, order])[1:].max(initial=0.0))

    observed = largest(np.arange(units))
    if observed == 0:
        return observed, 1.0
    return observed, monte_carlo(observed, lambda rng: largest(rng.permutation(units)), rng, draws)


def shifted_sums(C_UU: Array) -> Array:
    """The sum of C over units i and i + s (modulo the units), for each s; the trace at 0."""
    units = len(C_UU)
    twice = np.concatenate([C_UU, C_UU], axis=1)
    down, right = twice.strides
    out: Array = as_strided(twice, (units, units), (down + right, right)).sum(axis=0)
    return out


def mean_cosine(layers: Sequence[Array]) -> float:
    """The mean cosine of the units of the same number, over all layers."""
    return float(np.mean(np.concatenate([np.diag(C_UV) for C_UV in layers])))
