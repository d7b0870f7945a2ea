"""Bets and power: known answers, chunks that change nothing, and sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from heredity.stats import (
    Alternative,
    EProcess,
    bet,
    detection_limit,
    observed_limit,
    paired_power,
    units_needed,
    would_have_seen,
)
from heredity.types import BadInput
from tests.simulations import TRUE_LIMIT

GRID = np.geomspace(0.01, 0.95, 12)


@pytest.mark.parametrize(("alternative", "signs"), [("two-sided", (1, -1)), ("greater", (1,)), ("less", (-1,))])
def test_the_fortune_is_the_mean_of_the_products(alternative: Alternative, signs: tuple[int, ...]) -> None:
    h = np.random.default_rng(0).uniform(-0.6, 1, 40)
    stakes = np.concatenate([s * GRID for s in signs])
    path = np.cumprod(1 + np.outer(h, stakes), axis=0).mean(1)
    found = bet(h, "pairs", alternative)
    assert math.exp(found.log_e) == pytest.approx(path[-1])
    assert math.exp(found.log_sup) == pytest.approx(max(1.0, path.max()))
    assert found.p == pytest.approx(1 / max(1.0, path.max()))
    crossed = np.flatnonzero(path >= 20)
    assert found.crossed == (crossed[0] + 1 if len(crossed) else None)
    assert (found.n, found.unit) == (40, "pairs")


def test_every_bet_is_fair() -> None:
    """The mean fortune over all 2**10 signs of any scores is exactly 1, which is why it proves anything."""
    size = np.random.default_rng(1).uniform(0, 1, 10)
    signs = ((np.arange(1024)[:, None] >> np.arange(10)) & 1) * 2.0 - 1
    assert np.mean([math.exp(bet(s * size, "pairs").log_e) for s in signs]) == pytest.approx(1)


@pytest.mark.parametrize("cuts", [[1], [7, 8, 9], [500], [0, 0, 1999], list(range(0, 2000, 10))])
def test_chunks_change_nothing(cuts: list[int]) -> None:
    h = np.random.default_rng(2).uniform(-0.9, 1, 2000)
    process, whole = EProcess("pairs"), bet(h, "pairs")
    for chunk in np.split(h, cuts):
        process.feed(chunk)
    parts = process.evidence()
    assert (parts.log_e, parts.log_sup, parts.p) == pytest.approx((whole.log_e, whole.log_sup, whole.p), rel=1e-10)
    assert (parts.n, parts.crossed, parts.rejects) == (whole.n, whole.crossed, whole.rejects)


def test_long_streams_neither_overflow_nor_forget() -> None:
    up = np.ones(100_000)
    found = EProcess("pairs").feed(up).evidence()
    assert found.log_e == pytest.approx(100_000 * math.log(1.95) - math.log(24), rel=1e-6)
    assert found.p == 0
    fallen = EProcess("pairs", "greater").feed(up).feed(-up).evidence()
    assert fallen.log_e < 0 < fallen.log_sup
    assert fallen.rejects
    assert fallen.crossed == bet(up[:100], "pairs", "greater").crossed


@pytest.mark.parametrize(("mean", "pairs"), [(0.05, 12_000), (0.2, 700), (0.8, 60)])
def test_evidence_grows_where_there_is_something(mean: float, pairs: int) -> None:
    """Scores of +-1 with this mean: 9 of 10 streams cross within so many pairs; a bet on the other side does not."""
    streams = np.where(np.random.default_rng(3).random((40, pairs)) < (1 + mean) / 2, 1.0, -1.0)
    sides: list[tuple[int, Alternative]] = [(1, "two-sided"), (-1, "two-sided"), (1, "greater"), (-1, "less")]
    for sign, alternative in sides:
        assert np.mean([bet(sign * h, "pairs", alternative).rejects for h in streams]) >= 0.9
    assert np.mean([bet(h, "pairs", "less").rejects for h in streams]) <= 0.05


@pytest.mark.parametrize("wrong", [[0.1, 1.01], [math.nan], [-1.2], [[0.1]], [math.inf]])
def test_scores_that_are_no_bets_are_refused_and_leave_the_fortune(wrong: list[float]) -> None:
    process = EProcess("pairs").feed([0.5])
    before = process.evidence()
    with pytest.raises(BadInput, match=r"\[-1, 1\]"):
        process.feed(wrong)
    assert process.evidence() == before
    with pytest.raises(BadInput, match="alpha"):
        EProcess("pairs", alpha=0)


def test_no_scores_are_no_evidence() -> None:
    found = bet([], "pairs")
    assert (found.log_e, found.p, found.n, found.crossed, found.reason) == (0.0, 1.0, 0, None, "no scores")


# power


@pytest.mark.parametrize(
    ("effect", "n", "alternative", "power"),
    [
        (0.5, 34, "two-sided", 0.8078),  # G*Power: 34 pairs for d = .5 at 80 %
        (0.5, 27, "greater", 0.8118),  # and 27 one-sided
        (0.8, 15, "two-sided", 0.8213),
    ],
)
def test_power_is_the_published_one(effect: float, n: int, alternative: Alternative, power: float) -> None:
    assert paired_power(effect, 1.0, n, "seeds", alternative).power == pytest.approx(power, abs=5e-4)
    assert units_needed(effect, 1.0, "seeds", 0.8, alternative).n == n


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_power_is_the_share_of_simulated_rejections(n: int, alternative: Alternative) -> None:
    effect, sd = {"less": -1.0}.get(alternative, 1.0) * TRUE_LIMIT[n] * 0.3, 0.3
    values = np.random.default_rng(n).normal(effect, sd, (20_000, n))
    share = (scipy_stats.ttest_1samp(values, 0, axis=1, alternative=alternative).pvalue <= 0.05).mean()
    assert paired_power(effect, sd, n, "seeds", alternative).power == pytest.approx(share, abs=0.012)


@pytest.mark.parametrize("n", [3, 5, 20])
def test_detection_limit_is_the_integral(n: int) -> None:
    limit = detection_limit(0.4, n, "seeds")
    assert limit.effect == pytest.approx(0.4 * TRUE_LIMIT[n], rel=1e-6)
    assert limit.odds_ratio == pytest.approx(math.exp(0.4 * TRUE_LIMIT[n]), rel=1e-5)
    assert paired_power(limit.effect, 0.4, n, "seeds").power == pytest.approx(0.8)
    assert detection_limit(0.4, n, "seeds", alternative="less").effect == pytest.approx(
        -detection_limit(0.4, n, "seeds", alternative="greater").effect
    )


def test_power_without_an_effect_is_alpha_and_grows_to_1() -> None:
    assert paired_power(0.0, 1.0, 5, "seeds", alpha=0.03).power == pytest.approx(0.03)
    powers = [paired_power(d, 1.0, 5, "seeds").power for d in (0.5, 1, 2, 4, 8, 30, 1000)]
    assert powers == sorted(powers)
    assert powers[-1] == pytest.approx(1)


@pytest.mark.parametrize("n", [2, 3, 20])
@pytest.mark.parametrize("shift", [0.1, 2.0, 9.0, 50.0])
def test_power_holds_in_the_tails_where_scipy_gives_up(n: int, shift: float) -> None:
    """Against a midpoint rule over the spread's quantiles."""
    grid = (np.arange(200_000) + 0.5) / 200_000
    spread = np.sqrt(scipy_stats.chi2.ppf(grid, n - 1) / (n - 1)) * scipy_stats.t.ppf(0.975, n - 1)
    expected = (scipy_stats.norm.sf(spread - shift) + scipy_stats.norm.cdf(-spread - shift)).mean()
    assert paired_power(shift / math.sqrt(n), 1.0, n, "seeds").power == pytest.approx(expected, abs=1e-4)


def test_fewest_units_are_just_enough() -> None:
    needed = units_needed(math.log(1.8), 0.5, "seeds")
    assert needed.power >= 0.8
    assert paired_power(needed.effect, needed.sd, needed.n - 1, "seeds").power < 0.8
    for effect, alternative in ((0.0, "two-sided"), (-1.0, "greater"), (1.0, "less"), (1e-5, "two-sided")):
        with pytest.raises(BadInput):
            units_needed(effect, 1.0, "seeds", alternative=alternative)  # type: ignore[arg-type]


def test_sentences() -> None:
    sd = math.log(1.8) / TRUE_LIMIT[3]
    said = detection_limit(sd, 3, "seeds").sentence()
    assert said.startswith(
        "with these 3 seeds you would have seen an odds ratio of 1.8 (80% power, two-sided t test at 0.05"
    )
    differences = np.array([-1.0, 0.0, 1.0]) * sd
    seen = would_have_seen(differences, "seeds")
    assert seen.startswith("with these 3 seeds you would have seen an odds ratio of 1.8 (80% power")
    odds = observed_limit(differences, "seeds").odds_ratio()
    assert f"from {odds.low:.2g} to {odds.high:.2g}" in seen
    assert "nothing can be said" in would_have_seen([0.4], "seeds")
    assert "nothing can be said" in detection_limit(0.4, 1, "seeds").sentence()


def test_observed_limit_has_the_chi_square_interval_of_a_spread() -> None:
    values = [0.2, 0.9, 0.1, 0.5]
    found = observed_limit(values, "seeds")
    variance, scale = np.var(values, ddof=1), detection_limit(1.0, 4, "seeds").effect
    low, high = (math.sqrt(3 * variance / scipy_stats.chi2.ppf(q, 3)) * scale for q in (0.975, 0.025))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.mean == pytest.approx(math.sqrt(variance) * scale)
    down = observed_limit(values, "seeds", alternative="less")
    assert down.low < down.mean < down.high < 0
    assert math.isnan(observed_limit([0.3, 0.3], "seeds").mean)


@pytest.mark.parametrize("n", [0, 1])
def test_power_of_too_few_units_is_undefined(n: int) -> None:
    for design in (paired_power(1.0, 1.0, n, "seeds"), detection_limit(1.0, n, "seeds")):
        assert design.reason
    assert math.isnan(paired_power(1.0, 1.0, n, "seeds").power)
    assert math.isnan(detection_limit(1.0, n, "seeds").effect)


def test_designs_that_mean_nothing_are_refused() -> None:
    for effect, sd, n, alpha in ((1, 0.0, 3, 0.05), (math.nan, 1, 3, 0.05), (1, 1, -1, 0.05), (1, 1, 3, 1.5)):
        with pytest.raises(BadInput):
            paired_power(effect, sd, n, "seeds", alpha=alpha)
    for sd, power in ((1.0, 0.04), (1.0, 1.0), (math.inf, 0.8), (-1.0, 0.8)):
        with pytest.raises(BadInput):
            detection_limit(sd, 3, "seeds", power)
