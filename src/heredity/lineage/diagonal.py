"""The diagonal: every unit of every layer against the unit of the same number, in one pass over both models' bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from heredity.lineage.layouts import Layer
from heredity.lineage.weights import Floats, Weights
from heredity.types import Measured

_BLOCK = 1 << 18
"""Numbers of one model that are looked at together: what a processor's cache holds."""
_PLACEBO = 8
"""Of so many units one is also set against its neighbour."""


class LayerDiagonal(Measured):
    """The mean cosine of all units of one pair of layers in place, and that of some with the next unit."""

    a: int
    b: int
    units: int
    cosine: float
    placebo: float


class Diagonal(Measured):
    """All layers together. Where models are unrelated, units are as close to the next unit as to their own."""

    cosine: float
    placebo: float
    z: float
    """How far the two means lie apart, in standard errors (cosines of different units count as independent)."""
    units: int
    layers: tuple[LayerDiagonal, ...]


def diagonal(A: Weights, B: Weights, pairs: Sequence[tuple[Layer, Layer]]) -> Diagonal | None:
    """The cosines of all units, each in the matrix into the units, as far as both models have them.

    Rows are taken as they are: a mean that all share moves both the diagonal and its placebo. None where no pair of
    layers has one width.
    """
    found, own, beside = [], list[Floats](), list[Floats]()
    for x, y in pairs:
        if x.width == y.width:
            parts = list(_cosines(A, B, x, y))
            here, there = (np.concatenate(c) for c in zip(*parts, strict=True))
            own.append(here)
            beside.append(there)
            found.append(LayerDiagonal(a=x.number, b=y.number, units=len(here), cosine=float(here.mean()),
                                       placebo=float(there.mean()) if len(there) else math.nan))  # fmt: skip
    if not found:
        return None
    all_own, all_beside = np.concatenate(own), np.concatenate(beside)
    error = math.sqrt(all_own.var() / len(all_own) + all_beside.var() / max(1, len(all_beside)))
    apart = float(all_own.mean() - all_beside.mean()) if len(all_beside) else math.nan
    return Diagonal(
        cosine=float(all_own.mean()), placebo=float(all_beside.mean()) if len(all_beside) else math.nan,
        z=apart / error if error else math.nan, units=len(all_own), layers=tuple(found),
    )  # fmt: skip


def _cosines(A: Weights, B: Weights, x: Layer, y: Layer) -> Iterator[tuple[Floats, Floats]]:
    """(cosines in place, cosines of some with the next unit), block by block."""
    units, step = min(x.units, y.units), max(2, _BLOCK // x.width)
    for first in range(0, units, step):
        count = min(step, units - first)
        a, size_a = _with_lengths(A, x, count, first)
        b, size_b = _with_lengths(B, y, count, first)
        some = max(1, count // _PLACEBO) if count > 1 else 0
        yield (
            np.vecdot(a, b) / (size_a * size_b),
            np.vecdot(a[:some], b[1 : some + 1]) / (size_a[:some] * size_b[1 : some + 1]),
        )


def _with_lengths(weights: Weights, layer: Layer, count: int, first: int) -> tuple[Floats, Floats]:
    """Some units and their lengths; a unit that is nothing has the length inf. BadInput where a number is no number."""
    part = layer.parts[0]
    rows = weights.take_unchecked(part.name, count, part.columns, part.first + first)
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.vecdot(rows, rows)
    if not np.isfinite(square).all():  # too large for a square, or no number
        if not np.isfinite(rows).all():
            raise weights.not_finite(part.name)
        rows = rows / np.abs(rows).max()
        square = np.vecdot(rows, rows)
    length = np.sqrt(square)
    length[length == 0] = np.inf
    return rows, length
