from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from heredity.stats import log_odds, mean_t, paired_log_odds, ratio


def test_t_interval_is_scipys() -> None:
    values = [0.3, 1.2, -0.4, 0.9]
    ours, theirs = mean_t(values, "seeds"), scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert (ours.n, ours.unit) == (4, "seeds")


def test_paired_log_odds_pairs() -> None:
    estimate = paired_log_odds([0.5, 0.8], [0.2, 0.5], "seeds")
    assert estimate.mean == pytest.approx(math.log(4))
    assert estimate.odds_ratio().mean == pytest.approx(4)
    assert estimate.high - estimate.low == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [math.nan, 1.0]])
def test_undefined_is_nan_with_a_reason(values: list[float]) -> None:
    estimate = mean_t(values, "seeds")
    assert math.isnan(estimate.low)
    assert estimate.reason


def test_log_odds_at_the_ends() -> None:
    assert log_odds(0.0) == -math.inf
    assert log_odds(1.0) == math.inf
    assert math.isnan(log_odds(1.2))


@pytest.mark.parametrize("n", [3, 5, 20])
def test_intervals_cover_at_their_level(n: int) -> None:
    rng = np.random.default_rng(n)
    runs = 2000
    cover = mean = 0
    for _ in range(runs):
        below = rng.normal(3, 0.3, n)
        above = 0.1 * 3 + 0.5 * (below - 3) + rng.normal(0, 0.2, n)
        r, m = ratio(above.tolist(), below.tolist(), "seeds"), mean_t(above.tolist(), "seeds")
        cover += r.low <= 0.1 <= r.high
        mean += m.low <= 0.3 <= m.high
    error = 4 * math.sqrt(0.95 * 0.05 / runs)
    assert cover / runs == pytest.approx(0.95, abs=error)
    assert mean / runs == pytest.approx(0.95, abs=error)


def test_a_ratio_to_nothing_is_undefined() -> None:
    estimate = ratio([1.0, 1.1, 0.9], [0.1, -0.2, 0.05], "seeds")
    assert math.isnan(estimate.low)
    assert "zero" in str(estimate.reason)
