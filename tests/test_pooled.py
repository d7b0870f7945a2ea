"""Cells judged by one spread: the family's error holds however cells share their seeds, and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from heredity.stats import paired_t, pooled_t
from heredity.types import BadInput

DRAWS = 20_000


def largest(cells: int, n: int, share: float, seed: int) -> np.ndarray:
    """The largest |t| of cells without effect whose i-th units share a part, by the plain formula: (draws,)."""
    rng = np.random.default_rng(seed)
    seed_D1N, own_DCN = rng.standard_normal((DRAWS, 1, n)), rng.standard_normal((DRAWS, cells, n))
    value_DCN = math.sqrt(share) * seed_D1N + math.sqrt(1 - share) * own_DCN
    sd_D1 = np.sqrt(value_DCN.var(2, ddof=1).mean(1, keepdims=True))
    return np.asarray(np.abs(value_DCN.mean(2) * math.sqrt(n) / sd_D1).max(1))


def critical(cells: int, n: int) -> float:
    return pooled_t([[0.1 * i + 0.01 * c for i in range(n)] for c in range(cells)]).critical


@pytest.mark.parametrize(("cells", "n"), [(4, 3), (9, 5), (24, 3)])
def test_the_familys_error_holds_whatever_cells_share(cells: int, n: int) -> None:
    bound = critical(cells, n)
    errors = {
        share: float((largest(cells, n, share, 77) >= bound).mean()) for share in (0.0, 0.5, 0.85, 0.93, 0.97, 1.0)
    }
    assert max(errors.values()) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
    assert max(errors.values()) >= 0.04  # at the worst it gives away nothing


def test_cells_that_share_seeds_must_not_be_taken_for_independent_ones() -> None:
    """With sum(n - 1) degrees of freedom and a correction over 24 cells the family would err twice as often."""
    naive = float(stats.t.ppf(1 - 0.05 / 24 / 2, 24 * 2))
    assert (largest(24, 3, 0.0, 5) >= naive).mean() <= 0.055
    assert (largest(24, 3, 0.95, 5) >= naive).mean() >= 0.09
    assert critical(24, 3) < 5 < float(stats.t.ppf(1 - 0.05 / 24 / 2, 2))  # and by its own spread a cell needs 22


def test_one_cell_is_students_test() -> None:
    values = [0.4, 1.1, 0.7, 0.2, 0.9]
    found, own = pooled_t([values]), paired_t(values, "seeds")
    assert found.statistic == pytest.approx((own.statistic,))
    assert found.p == pytest.approx((own.p,))
    assert found.p_family[0] == pytest.approx(own.p, abs=0.003)
    assert found.critical == pytest.approx(float(special.stdtrit(4, 0.975)), rel=0.02)


def test_the_spread_is_that_within_cells_and_units_are_counted() -> None:
    cells = [[1.0, 1.2, 1.4], [5.0, 5.4, 5.2, 5.6], [-0.1, 0.1]]
    found = pooled_t(cells)
    assert found.freedom == 2 + 3 + 1
    assert found.sd**2 == pytest.approx(sum(np.var(c) * len(c) for c in cells) / 6)
    assert found.statistic[1] == pytest.approx(5.3 * 2 / found.sd)
    assert found.p_equal == pytest.approx(stats.bartlett(*cells).pvalue)
    assert found.p[0] == pytest.approx(2 * float(stats.t.sf(found.statistic[0], 2)))
    assert found.p_family[1] < 0.01
    assert found.p_family[2] > 0.9


def test_a_small_effect_is_found_that_three_seeds_alone_would_not_show() -> None:
    rng = np.random.default_rng(3)
    cells = [[mean + rng.normal(0, 0.2) for _ in range(3)] for mean in (0.8, *[0.0] * 19)]
    found = pooled_t(cells)
    assert found.p_family[0] <= 0.05 < 20 * paired_t(cells[0], "seeds").p
    assert min(found.p_family[1:]) > 0.05


def test_without_spread_nothing_is_told_and_a_cell_without_tells_nothing_of_the_others() -> None:
    for cells, why in (([[1.0], [2.0]], "one unit a cell"), ([[1.0, 1.0], [2.0, 2.0]], "no spread")):
        found = pooled_t(cells)
        assert why in str(found.reason)
        assert all(map(math.isnan, (*found.p, *found.p_family, found.sd)))
    cells, empty = [[1.0, 1.2, 1.1], [0.5, 0.2, 0.6]], [0.0, 0.0, 0.0]
    mixed, alone = pooled_t([empty, *cells]), pooled_t(cells)
    assert (mixed.sd, mixed.freedom, mixed.least, mixed.p_equal) == (alone.sd, 4, alone.least, alone.p_equal)
    assert mixed.statistic[1:] == alone.statistic
    assert mixed.p_family[0] == 1.0


def test_a_correction_never_makes_a_p_smaller() -> None:
    for cells in ([[0.3, 0.4, 0.2]], [[0.3, 0.4, 0.2], [3.0, 3.2, 3.1]], [[2.6, 2.5, 2.7], [2.6, 2.6, 2.5]]):
        found = pooled_t(cells)
        assert all(family >= p for family, p in zip(found.p_family, found.p, strict=True))
    wrongs: list[list[list[float]]] = [[], [[1.0, math.nan]], [[]]]
    for wrong in wrongs:
        with pytest.raises(BadInput, match="expected at least one"):
            pooled_t(wrong)
