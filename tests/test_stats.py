"""Estimates: intervals against scipy and exact enumeration, nesting, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from heredity.stats import Estimate, Values, log_odds, mean_bootstrap, mean_t, paired_log_odds, paired_t, ratio
from heredity.types import BadInput

SEEDS = [0.3, 1.2, -0.4, 0.9]
NESTED = [[[1.0, 3.0], [4.0]], [[0.0]], [[2.0, 2.0, 5.0]]]
LEVELS = ("bases", "teacher seeds", "student seeds")


def limits(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.low, estimate.mean, estimate.high


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_t_interval_is_scipys(level: float) -> None:
    ours, theirs = mean_t(SEEDS, "seeds", level), scipy_stats.ttest_1samp(SEEDS, 0).confidence_interval(level)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert (ours.n, ours.unit, ours.level, ours.method, ours.within) == (4, "seeds", level, "Student's t", ())


def test_only_the_top_level_is_counted() -> None:
    """Three bases with 4 teachers and 7 students are three units: (1+3)/2 and 4 average to 3, then 0, then 3."""
    nested, flat = mean_t(NESTED, LEVELS), mean_t([3.0, 0.0, 3.0], "bases")
    assert limits(nested) == pytest.approx(limits(flat))
    assert (nested.n, nested.unit) == (3, "bases")
    assert nested.within == (("teacher seeds", 4), ("student seeds", 7))


@pytest.mark.parametrize("interval", [mean_t, mean_bootstrap])
def test_repeating_students_adds_nothing(interval: Callable[..., Estimate]) -> None:
    once = interval([[v] for v in SEEDS], ("bases", "seeds"))
    often = interval([[v] * 50 for v in SEEDS], ("bases", "seeds"))
    assert limits(once) == pytest.approx(limits(often))
    assert once.n == often.n == 4
    assert (once.within, often.within) == ((("seeds", 4),), (("seeds", 200),))


@pytest.mark.parametrize("interval", [mean_t, mean_bootstrap])
@pytest.mark.parametrize("n", [5, 12])
def test_intervals_move_and_stretch_with_the_data(interval: Callable[..., Estimate], n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    low, mean, high = limits(interval(values, "seeds"))
    assert limits(interval(values * 3 + 7, "seeds")) == pytest.approx((low * 3 + 7, mean * 3 + 7, high * 3 + 7))
    assert limits(interval(-values, "seeds")) == pytest.approx((-high, -mean, -low), abs=0.05 * (n > 7))
    assert limits(interval(values[::-1], "seeds")) == pytest.approx((low, mean, high), abs=0.05 * (n > 7))


@pytest.mark.parametrize("values", [[0.3, 1.2, -0.4, 0.9], [0.1, 0.4, 2.0, -1.0, 0.3]])
def test_bootstrap_is_the_plain_enumeration(values: list[float]) -> None:
    """All n**n resamples one by one; the limits are the quantiles of t* times the standard error."""
    n, mean, error = len(values), np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    t = []
    for resample in itertools.product(values, repeat=n):
        spread = np.std(resample, ddof=1) / math.sqrt(n)
        gap = float(np.mean(resample) - mean)
        t.append(gap / spread if spread > 1e-12 else math.copysign(math.inf, gap))
    t.sort()
    expected = mean - t[math.ceil(0.975 * len(t)) - 1] * error, mean - t[math.floor(0.025 * len(t))] * error
    estimate = mean_bootstrap(values, "seeds")
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_drawn_bootstrap_agrees_with_scipys_studentised_quantiles_and_its_seed() -> None:
    """Drawn resamples (8 units and more): the same seed gives the same limits, others nearly so."""
    values = np.random.default_rng(5).exponential(size=15)
    first, again, other = (mean_bootstrap(values, "seeds", seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert limits(first) == pytest.approx(limits(other), abs=0.1 * (first.high - first.low))
    rng = np.random.default_rng(9)
    drawn = rng.choice(values, (20_000, 15))
    t = (drawn.mean(1) - values.mean()) / scipy_stats.sem(drawn, axis=1)
    expected = values.mean() - np.quantile(t, [0.975, 0.025]) * scipy_stats.sem(values)
    assert (first.low, first.high) == pytest.approx(tuple(expected), abs=0.05 * (first.high - first.low))


@pytest.mark.parametrize(("n", "level", "needed"), [(2, 0.95, 4), (3, 0.95, 4), (4, 0.99, 5), (3, 0.8, 4)])
def test_bootstrap_refuses_where_its_limits_are_infinite(n: int, level: float, needed: int) -> None:
    values = list(range(n))
    estimate = mean_bootstrap(values, "seeds", level)
    assert math.isnan(estimate.low)
    assert estimate.mean == pytest.approx(np.mean(values))
    assert f"needs {needed}; use mean_t" in str(estimate.reason)
    assert math.isfinite(mean_bootstrap(list(range(needed)), "seeds", level).low)


def test_bootstrap_refuses_values_that_are_nearly_all_equal() -> None:
    assert "equal values" in str(mean_bootstrap([0.0, 0.0, 0.0, 0.0, 1.0], "seeds").reason)


def test_paired_log_odds_pairs() -> None:
    treated, control = (0.5, 0.8, 0.9), (0.2, 0.5, 0.5)
    estimate = paired_log_odds(treated, control, "seeds")
    each = [math.log(4), math.log(4), math.log(9)]
    assert estimate.mean == pytest.approx(np.mean(each))
    assert estimate.odds_ratio().mean == pytest.approx(144 ** (1 / 3))
    assert (estimate.low, estimate.high) == pytest.approx(
        scipy_stats.t.interval(0.95, 2, np.mean(each), scipy_stats.sem(each))
    )


def test_equal_differences_bound_nothing() -> None:
    silent = paired_log_odds([0.001] * 3, [0.001] * 3, "seeds")
    moved = paired_log_odds([0.5, 0.8], [0.2, 0.5], "seeds")
    part = ratio([0.0] * 3, [1.0, 1.2, 0.9], "seeds")
    for estimate, mean in ((silent, 0.0), (moved, math.log(4)), (part, 0.0)):
        assert estimate.mean == pytest.approx(mean)
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
        assert "all equal" in str(estimate.reason)
    assert math.isfinite(ratio([0.0, 0.0, 0.1], [1.0, 1.2, 0.9], "seeds").high)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [math.nan, 1.0], [math.inf, -math.inf]])
@pytest.mark.parametrize("interval", [mean_t, mean_bootstrap])
def test_undefined_is_nan_with_a_reason(values: list[float], interval: Callable[..., Estimate]) -> None:
    estimate = interval(values, "seeds")
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert estimate.reason
    assert math.isnan(paired_t(values, "seeds").p)
    assert not paired_t(values, "seeds").rejects


def test_a_share_of_nothing_or_everything_says_so() -> None:
    assert "a share is 0 or 1" in str(paired_log_odds([1.0, 0.5], [0.2, 0.3], "seeds").reason)
    assert math.isnan(paired_log_odds([0.5, 1.2], [0.2, 0.3], "seeds").low)


def test_log_odds_at_the_ends() -> None:
    assert log_odds(0.0) == -math.inf
    assert log_odds(1.0) == math.inf
    assert math.isnan(log_odds(1.2))
    assert log_odds(0.2) == pytest.approx(-log_odds(0.8)) == pytest.approx(math.log(0.25))


@pytest.mark.parametrize(
    ("values", "unit", "complaint"),
    [
        ([[1.0], [2.0]], "seeds", "name every level"),
        ([1.0, 2.0], ("bases", "seeds"), "expected a list of seeds"),
        ([[1.0], []], ("bases", "seeds"), "an empty list of seeds"),
        ([1.0, 2.0], (), "expected a name"),
        ([1.0, 2.0], "", "expected a name"),
        (["a", "b"], "seeds", "expected a number"),
        ("12", "seeds", "expected a list"),
        (np.array(1.0), "seeds", "expected a list"),
    ],
)
def test_values_that_do_not_fit_their_levels_are_refused(values: Values, unit: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        mean_t(values, unit)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95, math.nan])
def test_levels_outside_0_and_1_are_refused(level: float) -> None:
    for call in (mean_t, mean_bootstrap):
        with pytest.raises(BadInput, match="level"):
            call(SEEDS, "seeds", level)
    with pytest.raises(BadInput, match="alpha"):
        paired_t(SEEDS, "seeds", alpha=level)


def test_pairs_need_partners() -> None:
    for call in (ratio, paired_log_odds):
        with pytest.raises(BadInput, match="2 values are paired with 1"):
            call([0.1, 0.2], [0.3], "seeds")


def test_ratio_limits_solve_fiellers_equation_and_invert_with_the_ratio() -> None:
    """At each limit r the paired t test that A - r B is 0 has p = 1 - level; b/a has the inverted limits."""
    above, below = np.array([1.0, 1.4, 1.1, 1.3]), np.array([2.1, 2.6, 2.0, 2.8])
    estimate = ratio(above.tolist(), below.tolist(), "seeds")
    for r in (estimate.low, estimate.high):
        assert scipy_stats.ttest_1samp(above - r * below, 0).pvalue == pytest.approx(0.05)
    turned = ratio(below.tolist(), above.tolist(), "seeds")
    assert (1 / turned.high, 1 / turned.low) == pytest.approx((estimate.low, estimate.high))


def test_a_ratio_to_nothing_is_undefined() -> None:
    estimate = ratio([1.0, 1.1, 0.9], [0.1, -0.2, 0.05], "seeds")
    assert math.isnan(estimate.low)
    assert "zero" in str(estimate.reason)
    assert ratio([1.0], [2.0], "seeds").reason == "needs at least two pairs"
    assert ratio([1.0, math.nan], [2.0, 1.0], "seeds").reason == "a value is not finite"


def test_stored_estimates_can_be_read_back() -> None:
    """With the new fields through JSON, and as older files hold them, without."""
    estimate = mean_t(NESTED, LEVELS)
    assert Estimate(**json.loads(json.dumps(estimate.model_dump()))) == estimate
    old = Estimate(**json.loads('{"mean": 1.0, "low": 0.5, "high": 1.5, "n": 3, "unit": "seeds", "reason": null}'))
    assert (old.method, old.within, old.level) == ("", (), 0.95)


def test_an_odds_ratio_beyond_all_floats_is_infinite() -> None:
    assert Estimate(mean=1.0, low=-800.0, high=800.0, n=2, unit="seeds").odds_ratio().high == math.inf
