"""Tests, families and the trait matrix against scipy, brute force and an independent least-squares fit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from heredity.stats import (
    Alternative,
    Test,
    closed_testing,
    clustered_t,
    holm,
    hommel,
    leave_one_out,
    paired_t,
    permutation,
    sign_flip,
    transfer,
    transfer_test,
)
from heredity.stats.units import Floats
from heredity.types import BadInput
from tests.simulations import lifts, with_holes

ALTERNATIVES: tuple[Alternative, ...] = ("two-sided", "greater", "less")
both_sides = pytest.mark.parametrize("alternative", ALTERNATIVES)


def mean_gap(x: Any, y: Any, axis: int) -> Any:
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


@both_sides
def test_paired_t_is_scipys(alternative: Alternative) -> None:
    values = [0.3, 1.2, -0.4, 0.9]
    ours, theirs = paired_t(values, "seeds", alternative), scipy_stats.ttest_1samp(values, 0, alternative=alternative)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.n, ours.smallest_p, ours.reason) == (4, 0.0, None)


@both_sides
@pytest.mark.parametrize("n", [2, 5, 9])
def test_sign_flips_are_scipys_permutations(alternative: Alternative, n: int) -> None:
    values = np.random.default_rng(n).normal(0.4, 1, n)
    theirs = scipy_stats.permutation_test(
        (values,), np.mean, permutation_type="samples", alternative=alternative, n_resamples=math.inf, vectorized=True
    )
    assert sign_flip(values, "seeds", alternative).p == pytest.approx(theirs.pvalue)


@both_sides
@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 5), (5, 6)])
def test_permuted_arms_are_scipys(alternative: Alternative, n: int, m: int) -> None:
    values = np.random.default_rng(n).normal(size=n + m)
    theirs = scipy_stats.permutation_test(
        (values[:n], values[n:]), mean_gap, alternative=alternative, n_resamples=math.inf, vectorized=True
    )
    ours = permutation(values[:n], values[n:], "seeds", alternative)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))


@both_sides
def test_clusters_are_scipys_welch_test_of_their_means(alternative: Alternative) -> None:
    treated, control = [[1.0, 2.0], [4.0], [2.0, 2.0, 5.0]], [[0.0, 1.0], [0.4]]
    ours = clustered_t(treated, control, ("bases", "seeds"), alternative)
    theirs = scipy_stats.ttest_ind([1.5, 4.0, 3.0], [0.5, 0.4], equal_var=False, alternative=alternative)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.n, ours.unit, ours.within) == (5, "bases", (("seeds", 9),))


@pytest.mark.parametrize("n", [3, 5, 6, 20, 40])
def test_the_clearest_data_reach_the_smallest_p_and_no_less(n: int) -> None:
    flips = sign_flip(np.arange(1.0, n + 1), "seeds")
    assert flips.p == pytest.approx(flips.smallest_p) == pytest.approx(2 / 2**n)
    assert flips.rejects == (n >= 6)
    assert (
        flips.reason is None
        if n >= 6
        else f"with {n} seeds" in str(flips.reason) and "; 6 would do" in str(flips.reason)
    )


def test_smallest_p_of_two_arms_says_what_would_do() -> None:
    three = permutation([4.0, 5, 6], [1.0, 2, 3], "seeds")
    assert three.p == pytest.approx(three.smallest_p) == pytest.approx(0.1)
    assert "cannot fall below 0.1" in str(three.reason)
    assert "4 in each arm would do" in str(three.reason)
    assert permutation([4.0, 5, 6], [1.0, 2, 3], "seeds", "greater").reason is None  # 1/20 is just enough
    assert permutation([4.0, 5, 6, 7], [0.0, 1, 2, 3], "seeds").rejects


def test_differences_of_zero_cannot_change_sign() -> None:
    flips = sign_flip([0.0, 0.0, 1.0, 2.0], "seeds", "greater")
    assert flips.p == pytest.approx(flips.smallest_p) == pytest.approx(1 / 4)
    assert sign_flip([0.0, 0.0], "seeds").p == 1


@pytest.mark.parametrize("test", [sign_flip, lambda v, u, **k: permutation(v, -v, u, **k)])
def test_random_permutations_agree_with_all_of_them_and_never_give_0(test: Callable[..., Test]) -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(0.3, 1, 10), rng.normal(0.1, 1, 45)
    assert "all" in test(small, "seeds").method
    drawn = [test(large, "seeds", draws=4_999, seed=s) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert "random 4,999" in drawn[0].method
    reference = paired_t(large, "seeds") if test is sign_flip else clustered_t(large, -large, "seeds")
    assert drawn[0].p == pytest.approx(reference.p, abs=0.03)
    assert drawn[2].p == pytest.approx(reference.p, abs=0.03)
    assert test(np.arange(1.0, 60), "seeds", draws=999).p == pytest.approx(2 / 1000)


@pytest.mark.parametrize("test", [paired_t, sign_flip])
def test_sides_add_up_and_turn_with_the_sign(test: Callable[..., Test]) -> None:
    values = np.array([0.4, -0.1, 0.8, 0.5, 0.7, -0.3])
    greater, less, two = (test(values, "seeds", side).p for side in ("greater", "less", "two-sided"))
    assert test(-values, "seeds", "less").p == pytest.approx(greater)
    assert two == pytest.approx(2 * min(greater, less))
    assert test(values * 1e-9, "seeds").p == pytest.approx(two)
    assert test([[v, v] for v in values], ("bases", "seeds")).p == pytest.approx(two)


def test_tests_without_spread_or_units_say_why() -> None:
    for test in (paired_t([0.5, 0.5, 0.5], "seeds"), clustered_t([1.0, 1.0], [2.0, 2.0], "seeds")):
        assert math.isnan(test.p)
        assert "no spread" in str(test.reason)
        assert not test.rejects
    assert "two seeds in each arm" in str(clustered_t([1.0], [2.0, 3.0], "seeds").reason)
    assert "no values" in str(permutation([1.0], [], "seeds").reason)
    with pytest.raises(BadInput, match="alternative"):
        paired_t([1.0, 2.0], "seeds", "upper")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="draws"):
        sign_flip(np.arange(50.0), "seeds", draws=0)


# the trait matrix


def fitted(lift_RKK: Floats) -> float:
    """gamma by least squares with a dummy for every row, column and the diagonal, replicate by replicate."""
    gammas = []
    for lift_KK in lift_RKK:
        size = len(lift_KK)
        cells = [(i, j) for i in range(size) for j in range(size) if math.isfinite(lift_KK[i, j])]
        design = [[float(i == j), *np.eye(size)[i], *np.eye(size)[j]] for i, j in cells]
        gammas.append(np.linalg.lstsq(np.array(design), np.array([lift_KK[c] for c in cells]), rcond=None)[0][0])
    return float(np.mean(gammas))


@pytest.mark.parametrize("size", [2, 3, 6])
def test_gamma_is_the_least_squares_fit(size: int) -> None:
    lift_RKK = lifts(np.random.default_rng(size), 3, size, 0.7)
    off = ~np.eye(size, dtype=bool)
    by_hand = np.mean([np.diag(y).mean() - y[off].mean() for y in lift_RKK])
    assert transfer(lift_RKK, "seeds").mean == pytest.approx(fitted(lift_RKK)) == pytest.approx(by_hand)
    if size > 2:
        holes_RKK = with_holes(np.random.default_rng(1), lift_RKK)
        assert transfer(holes_RKK, "seeds").mean == pytest.approx(fitted(holes_RKK))


def test_gamma_without_noise_is_exact_whatever_drifts() -> None:
    rng = np.random.default_rng(0)
    drift = rng.normal(0, 5, (4, 5, 1)) + rng.normal(0, 5, (4, 1, 5))
    estimate = transfer(drift + 1.25 * np.eye(5), "seeds")
    assert (estimate.low, estimate.mean, estimate.high) == pytest.approx((1.25, 1.25, 1.25))
    assert (estimate.n, estimate.unit, estimate.within) == (4, "seeds", (("students", 20),))


def permuted_p(lift_RKK: Floats, alternative: Alternative) -> float:
    """Every relabelling of every replicate, refitted from scratch."""
    size = lift_RKK.shape[1]
    per_replicate = [
        [fitted(y[None][:, :, list(order)]) for order in itertools.permutations(range(size))] for y in lift_RKK
    ]
    sums = np.array([sum(c) for c in itertools.product(*per_replicate)])
    observed = fitted(lift_RKK) * len(lift_RKK)
    greater, less = (sums >= observed - 1e-9).mean(), (sums <= observed + 1e-9).mean()
    return float({"greater": greater, "less": less, "two-sided": min(1, 2 * min(greater, less))}[alternative])


@both_sides
@pytest.mark.parametrize("holes", [False, True])
def test_relabelling_is_brute_force(alternative: Alternative, holes: bool) -> None:
    lift_RKK = lifts(np.random.default_rng(4), 2, 4 if holes else 3, 0.8)
    if holes:
        lift_RKK[0, 1, 2] = np.nan
    ours = transfer_test(lift_RKK, "seeds", alternative)
    assert ours.p == pytest.approx(permuted_p(lift_RKK, alternative))
    assert ours.statistic == pytest.approx(transfer(lift_RKK, "seeds").mean)


def test_orders_that_leave_gamma_undetermined_count_against_rejection() -> None:
    """With these three cells missing, 4 of 6 orders have no gamma of their own; both tails must hold them."""
    lift_KK = np.array([[3.0, np.nan, 0.4], [0.3, 2.0, np.nan], [np.nan, 0.2, 4.0]])
    found = []
    for order in itertools.permutations(range(3)):
        cells = [(i, j) for i in range(3) for j in range(3) if math.isfinite(lift_KK[i, j])]
        design = np.array([[float(order[i] == j), *np.eye(3)[i], *np.eye(3)[j]] for i, j in cells])
        determined = np.linalg.matrix_rank(design) > np.linalg.matrix_rank(design[:, 1:])
        fit = np.linalg.lstsq(design, np.array([lift_KK[c] for c in cells]), rcond=None)[0][0]
        found.append(fit if determined else math.nan)
    observed, undetermined = found[0], np.isnan(found).sum()
    assert undetermined == 4
    above, below = (float((sign * (np.array(found) - observed) >= -1e-9).sum()) for sign in (1, -1))
    assert transfer_test(lift_KK[None], "seeds", "greater").p == pytest.approx((above + undetermined) / 6)
    assert transfer_test(lift_KK[None], "seeds", "less").p == pytest.approx((below + undetermined) / 6)


def test_relabelling_ignores_drift_and_knows_its_limit() -> None:
    rng = np.random.default_rng(2)
    cells = rng.normal(size=(2, 4, 4)) + 0.5 * np.eye(4)
    drift = rng.normal(0, 50, (2, 4, 1)) + rng.normal(0, 50, (2, 1, 4))
    assert transfer_test(cells + drift, "seeds").p == pytest.approx(transfer_test(cells, "seeds").p)
    clear = transfer_test(10 * np.eye(3)[None], "seeds")
    assert clear.p == pytest.approx(clear.smallest_p) == pytest.approx(2 / 6)
    assert "3 would do" in str(clear.reason)  # 2 / 6**3 = .009, 2 / 6**2 = .056
    assert transfer_test(np.stack([10 * np.eye(3)] * 3), "seeds").rejects


def test_random_relabelling_agrees_with_all_orders() -> None:
    lift_RKK = lifts(np.random.default_rng(8), 3, 9, 0.15)
    drawn = transfer_test(lift_RKK, "seeds", "greater")
    assert "random 9,999" in drawn.method
    assert drawn == transfer_test(lift_RKK, "seeds", "greater")
    spread = np.std([fitted(lift_RKK[:, :, np.random.default_rng(s).permutation(9)]) for s in range(400)])
    assert drawn.p == pytest.approx(scipy_stats.norm.sf(drawn.statistic / spread), abs=0.05)


def test_undetermined_cells_give_nan_and_name_the_replicate() -> None:
    lift_RKK = lifts(np.random.default_rng(0), 3, 2, 1.0)
    lift_RKK[1, 0, 1] = np.nan  # two rows, two columns and a diagonal need all four cells
    estimate, test = transfer(lift_RKK, "seeds"), transfer_test(lift_RKK, "seeds")
    assert math.isnan(estimate.mean)
    assert math.isnan(test.p)
    assert "replicate 1" in str(estimate.reason)
    assert "replicate 1" in str(test.reason)
    for wrong in (np.zeros((2, 2)), np.zeros((0, 2, 2)), np.full((1, 2, 2), np.inf)):
        with pytest.raises(BadInput):
            transfer(wrong, "seeds")


def test_leaving_one_out_is_the_fit_without_it_and_finds_the_cell_that_carries_the_effect() -> None:
    lift_RKK = lifts(np.random.default_rng(3), 3, 4, 0.0, 0.01)
    lift_RKK[:, 2, 2] += 5.0
    found = leave_one_out(lift_RKK, "seeds", ("owl", "cat", "dog", "fox"))
    assert [d.kind for d in found.dropped] == ["trait"] * 4 + ["replicate"] * 3 + ["cell"] * 16
    assert found.everything == transfer(lift_RKK, "seeds")
    assert found.everything.mean == pytest.approx(5 / 4, abs=0.1)
    assert found.worst.name in ("dog", "dog student asked for dog")
    assert found.worst.estimate.mean == pytest.approx(0, abs=0.05)
    named = {d.name: d.estimate for d in found.dropped}
    without_cell = lift_RKK.copy()
    without_cell[:, 1, 3] = np.nan
    assert named["cat student asked for fox"].mean == pytest.approx(fitted(without_cell))
    keep = [0, 1, 3]
    assert named["dog"].mean == pytest.approx(fitted(lift_RKK[:, keep][:, :, keep]))
    assert named["1"] == transfer(lift_RKK[[0, 2]], "seeds")


def test_the_worst_part_of_a_negative_transfer_is_the_one_that_lifts_it() -> None:
    lift_RKK = lifts(np.random.default_rng(3), 2, 4, 0.0, 0.01)
    lift_RKK[:, 1, 1] -= 5.0
    assert "1" in leave_one_out(lift_RKK, "seeds").worst.name
    assert leave_one_out(lift_RKK, "seeds").worst.estimate.mean == pytest.approx(0, abs=0.05)
    assert math.isnan(leave_one_out(lift_RKK[:1], "seeds").worst.estimate.mean)
    with pytest.raises(BadInput, match="2 names for 4 traits"):
        leave_one_out(lift_RKK, "seeds", ("owl", "cat"))


# families


def test_holm_is_the_textbook_example() -> None:
    """0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, made monotone."""
    family = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.02})
    assert family.adjusted == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert family.rejected == ("b",)


def closed_by_hand(p: dict[str, float], local: Callable[[list[float]], float]) -> dict[str, float]:
    subsets = [s for k in range(1, len(p) + 1) for s in itertools.combinations(p, k)]
    return {n: max(local([p[m] for m in s]) for s in subsets if n in s) for n in p}


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_holm_is_closed_testing_with_bonferroni_and_hommel_with_simes(size: int) -> None:
    p = {str(k): float(v) for k, v in enumerate(np.random.default_rng(size).beta(0.5, 5, size))}
    closed = closed_testing(tuple(p), lambda s: min(1.0, len(s) * min(p[n] for n in s)))
    assert holm(p).adjusted == pytest.approx(closed.adjusted)
    assert closed.p == tuple(p.values())
    simes = closed_by_hand(p, lambda v: float(np.min(scipy_stats.false_discovery_control(v))))
    assert hommel(p).adjusted == pytest.approx(tuple(simes.values()))
    assert all(h <= b + 1e-12 for h, b in zip(hommel(p).adjusted, holm(p).adjusted, strict=True))


def test_families_refuse_what_has_no_p() -> None:
    for wrong in ({}, {"a": math.nan}, {"a": 1.2}, {"a": -0.1}):
        for method in (holm, hommel):
            with pytest.raises(BadInput):
                method(wrong)
    with pytest.raises(BadInput, match="13 names"):
        closed_testing([str(k) for k in range(13)], lambda _: 0.5)
    with pytest.raises(BadInput, match="different"):
        closed_testing(["a", "a"], lambda _: 0.5)
    with pytest.raises(BadInput, match="p of a and b"):
        closed_testing(["a", "b"], lambda s: float(len(s)))
