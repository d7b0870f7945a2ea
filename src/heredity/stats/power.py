"""Power of the paired t test: what an experiment of this size would have found, and how large it must be."""

from __future__ import annotations

import math

from scipy import optimize, special

from heredity.stats.intervals import spread, t_quantile
from heredity.stats.nouns import ALPHA, LEVEL, Alternative, Estimate, asked, fraction, whole
from heredity.stats.units import Unit, Values, alone, units
from heredity.types import BadInput, Measured

POWER = 0.8
"""The chance of finding the effect that a detection limit stands for."""
_MOST = 1_000_000


class Power(Measured):
    """A design of the paired t test: with `n` units of spread `sd`, `effect` is found with chance `power`."""

    effect: float
    """The mean difference that is to be found, on log-odds; negative where the alternative is "less"."""
    sd: float
    """The standard deviation of the units' differences."""
    n: int
    unit: str
    power: float
    alternative: Alternative = "two-sided"
    alpha: float = ALPHA
    reason: str | None = None

    @property
    def odds_ratio(self) -> float:
        """The effect as an odds ratio."""
        return math.exp(self.effect)

    def sentence(self) -> str:
        """The design in words: "with these 3 seeds you would have seen an odds ratio of 1.8 (...)"."""
        if self.reason:
            return f"nothing can be said of power: {self.reason}"
        return (
            f"with these {self.n} {self.unit} you would have seen an odds ratio of {self.odds_ratio:.2g} "
            f"({self.power:.0%} power, {self.alternative} t test at {self.alpha:g}, spread {self.sd:.2g} on log-odds)"
        )


def paired_power(
    effect: float, sd: float, n: int, unit: str, alternative: Alternative = "two-sided", alpha: float = ALPHA
) -> Power:
    """The chance that the paired t test finds `effect`: the tails of the noncentral t (Cohen 1988).

    nan with a reason below two units. BadInput: a spread that is not positive, an effect that is not finite.
    """
    _usable(effect, sd, alternative, alpha)
    power = _power(effect * math.sqrt(n) / sd, n, alternative, alpha) if whole(n, "n", 0) > 1 else math.nan
    return _design(effect, sd, n, unit, power, alternative, alpha)


def detection_limit(
    sd: float, n: int, unit: str, power: float = POWER, alternative: Alternative = "two-sided", alpha: float = ALPHA
) -> Power:
    """The smallest effect that `n` units of a known spread find with chance `power`.

    nan with a reason below two units. BadInput: a spread that is not positive, power at or below alpha.
    """
    _usable(0.0, sd, alternative, alpha)
    _above(power, alpha)
    effect = sd * _limit(n, power, alternative, alpha) if whole(n, "n", 0) > 1 else math.nan
    return _design(effect, sd, n, unit, power, alternative, alpha)


def units_needed(
    effect: float, sd: float, unit: str, power: float = POWER, alternative: Alternative = "two-sided",
    alpha: float = ALPHA,
) -> Power:  # fmt: skip
    """The fewest units that find `effect` with at least chance `power`; the result holds the power they reach.

    BadInput where more than a million would be needed, or the effect is on the other side of the alternative.
    """
    _usable(effect, sd, alternative, alpha)
    _above(power, alpha)
    if effect == 0 or (alternative == "greater" and effect < 0) or (alternative == "less" and effect > 0):
        raise BadInput(f"an effect of {effect:g} cannot be found by a test for {alternative}")
    few, many = 1, 2
    while paired_power(effect, sd, many, unit, alternative, alpha).power < power:
        few, many = many, 2 * many
        if many > _MOST:
            raise BadInput(f"an effect of {effect:g} against a spread of {sd:g} needs more than a million {unit}")
    while many - few > 1:
        middle = (few + many) // 2
        found = paired_power(effect, sd, middle, unit, alternative, alpha).power >= power
        few, many = (few, middle) if found else (middle, many)
    return paired_power(effect, sd, many, unit, alternative, alpha)


def observed_limit(
    differences: Values, unit: Unit, power: float = POWER, alternative: Alternative = "two-sided",
    alpha: float = ALPHA, level: float = LEVEL,
) -> Estimate:  # fmt: skip
    """The detection limit of units that were run, on log-odds, with the interval that their unknown spread leaves.

    The limit is a multiple of the spread, so its interval is the chi-square interval of a standard deviation, exact for
    normal differences: with 3 units it spans a factor of 12. nan with a reason without spread.
    """
    asked(alternative, alpha)
    fraction(level, "level")
    _above(power, alpha)
    data, method = units(differences, unit), "detection limit of the paired t, chi-square interval of the spread"
    sd = spread(data.means_N) if data.n > 1 and not data.fault else 0.0
    if not sd > 0:
        return data.undefined(level, method, data.fault or f"no spread between {data.n} {data.name}; run more")
    limit = sd * _limit(data.n, power, alternative, alpha)
    bounds = [limit * math.sqrt((data.n - 1) / special.chdtri(data.n - 1, (1 + s * level) / 2)) for s in (-1, 1)]
    return Estimate(
        mean=limit, low=min(bounds), high=max(bounds), n=data.n, unit=data.name, level=level, method=method,
        within=data.within,
    )  # fmt: skip


def would_have_seen(
    differences: Values, unit: Unit, power: float = POWER, alternative: Alternative = "two-sided", alpha: float = ALPHA
) -> str:
    """`observed_limit` in words: "with these 3 seeds you would have seen an odds ratio of 1.8 (...)"."""
    limit = observed_limit(differences, unit, power, alternative, alpha)
    if limit.reason:
        return f"nothing can be said of what these {limit.n} {limit.unit} would have shown: {limit.reason}"
    odds = limit.odds_ratio()
    return (
        f"with these {odds.n} {odds.unit} you would have seen an odds ratio of {_brief(odds.mean)} ({power:.0%} power, "
        f"{alternative} t test at {alpha:g}; as their spread is known from these alone, somewhere from "
        f"{_brief(odds.low)} to {_brief(odds.high)})"
    )


def _brief(odds: float) -> str:
    """Two digits, and never a power of ten."""
    return f"{odds:.2g}" if odds < 100 else f"{odds:.0f}"


def _design(
    effect: float, sd: float, n: int, unit: str, power: float, alternative: Alternative, alpha: float
) -> Power:  # fmt: skip
    reason = None if n > 1 else alone(unit)
    return Power(effect=effect, sd=sd, n=n, unit=unit, power=power, alternative=alternative, alpha=alpha, reason=reason)


def _power(shift: float, n: int, alternative: Alternative, alpha: float) -> float:
    """Power where the t statistic is noncentral by `shift`."""
    bound = t_quantile(1 - (alpha / 2 if alternative == "two-sided" else alpha), n - 1)
    above, below = _below(-bound, -shift, n - 1), _below(-bound, shift, n - 1)
    return {"greater": above, "less": below, "two-sided": above + below}[alternative]


def _below(bound: float, shift: float, freedom: int) -> float:
    """The noncentral t distribution at a negative bound."""
    share = float(special.nctdtr(freedom, shift, bound))
    return 0.0 if math.isnan(share) else share  # scipy gives up where it is far below 1e-15


def _limit(n: int, power: float, alternative: Alternative, alpha: float) -> float:
    """The detection limit of n units in spreads."""
    sign = -1.0 if alternative == "less" else 1.0
    most = 1.0
    while _power(sign * most, n, alternative, alpha) < power:
        most *= 2
    shift = optimize.brentq(lambda s: _power(sign * s, n, alternative, alpha) - power, 0.0, most, xtol=1e-10)
    return sign * float(shift) / math.sqrt(n)


def _usable(effect: float, sd: float, alternative: Alternative, alpha: float) -> None:
    asked(alternative, alpha)
    if not math.isfinite(effect):
        raise BadInput(f"effect is {effect!r}; expected a finite difference of log-odds")
    if not (math.isfinite(sd) and sd > 0):
        raise BadInput(f"sd is {sd!r}; expected a positive spread of the units' differences")


def _above(power: float, alpha: float) -> None:
    if fraction(power, "power") <= alpha:
        raise BadInput(f"power is {power:g} and alpha {alpha:g}; a test finds even nothing that often")
