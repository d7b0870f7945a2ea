"""Numbers that leave the laboratory: estimates with an interval, what they count, and a reason where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats as _scipy

from heredity.types import Frozen

LEVEL = 0.95


class Estimate(Frozen):
    """A mean with a two-sided interval. Undefined numbers are nan, and `reason` says why."""

    mean: float
    low: float
    high: float
    n: int
    unit: str
    """What `n` counts: independent runs (for example "seeds of teacher and student"), never prompts."""
    level: float = LEVEL
    reason: str | None = None

    def odds_ratio(self) -> Estimate:
        """The same estimate with mean and limits as odds ratios (this one being on log-odds)."""
        mean, low, high = map(math.exp, (self.mean, self.low, self.high))
        return self.model_copy(update={"mean": mean, "low": low, "high": high})


def log_odds(share: float) -> float:
    """log(p / (1 - p)); infinite at 0 and 1, nan outside."""
    if not 0 <= share <= 1:
        return math.nan
    if share in (0.0, 1.0):
        return math.copysign(math.inf, share - 0.5)
    return math.log(share) - math.log1p(-share)


def _undefined(mean: float, n: int, unit: str, level: float, reason: str) -> Estimate:
    return Estimate(mean=mean, low=math.nan, high=math.nan, n=n, unit=unit, level=level, reason=reason)


def mean_t(values: Sequence[float], unit: str, level: float = LEVEL) -> Estimate:
    """Mean of independent values with Student's t interval. Needs two finite values for an interval."""
    n = len(values)
    if n == 0 or not all(map(math.isfinite, values)):
        return _undefined(math.nan, n, unit, level, "no values" if n == 0 else "a value is not finite")
    mean = math.fsum(values) / n
    if n == 1:
        return _undefined(mean, n, unit, level, "one unit has no spread; run more seeds")
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = float(_scipy.t.ppf((1 + level) / 2, n - 1)) * error
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n, unit=unit, level=level)


def paired_log_odds(treated: Sequence[float], control: Sequence[float], unit: str, level: float = LEVEL) -> Estimate:
    """Difference of log-odds, treated minus control, paired by position: Student's t over the pairs."""
    pairs = zip(treated, control, strict=True)
    return mean_t([log_odds(t) - log_odds(c) for t, c in pairs], unit, level)


def ratio(above: Sequence[float], below: Sequence[float], unit: str, level: float = LEVEL) -> Estimate:
    """Ratio of two paired means with Fieller's interval (Fieller 1954), exact for normal pairs.

    The limits solve (A - r B)^2 = t^2 Var(A - r B). Undefined where the denominator's own interval holds zero.
    """
    n = len(above)
    if n != len(below) or n < 2:
        mean = math.fsum(above) / math.fsum(below) if n and n == len(below) and math.fsum(below) else math.nan
        return _undefined(mean, n, unit, level, "needs at least two pairs")
    a, b = math.fsum(above) / n, math.fsum(below) / n
    var_a = math.fsum((x - a) ** 2 for x in above) / (n - 1) / n
    var_b = math.fsum((y - b) ** 2 for y in below) / (n - 1) / n
    cov = math.fsum((x - a) * (y - b) for x, y in zip(above, below, strict=True)) / (n - 1) / n
    t2 = float(_scipy.t.ppf((1 + level) / 2, n - 1)) ** 2
    square = b * b - t2 * var_b
    if square <= 0:
        return _undefined(
            a / b if b else math.nan, n, unit, level, "the denominator is not clearly different from zero"
        )
    middle = a * b - t2 * cov
    root = math.sqrt(max(0.0, middle**2 - square * (a * a - t2 * var_a)))
    return Estimate(
        mean=a / b, low=(middle - root) / square, high=(middle + root) / square, n=n, unit=unit, level=level
    )
