"""What leaves this room: an Estimate with its interval, a Test with the least p it could have given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from heredity.types import BadInput, Measured

LEVEL = 0.95
"""Of intervals: the share of repetitions in which they hold the truth."""
ALPHA = 0.05
"""Of tests: the share of true nulls that they may reject."""
Alternative = Literal["two-sided", "greater", "less"]


def _pairs(value: Any) -> Any:
    """JSON has no tuples: lists of lists are taken as what `model_dump` made them from."""
    return tuple(tuple(v) if isinstance(v, list) else v for v in value) if isinstance(value, list | tuple) else value


Within = Annotated[tuple[tuple[str, int], ...], BeforeValidator(_pairs)]


class Estimate(Measured):
    """A mean with a two-sided interval. Undefined numbers are nan, and `reason` says why."""

    mean: float
    low: float
    high: float
    n: int
    unit: str
    """What `n` counts: independent runs (for example "seeds of teacher and student"), never prompts."""
    level: float = LEVEL
    reason: str | None = None
    method: str = ""
    """How the interval was made, for example "Student's t"."""
    within: Within = ()
    """How many there were of each level below the unit, outermost first; they were averaged, never counted in `n`."""

    def odds_ratio(self) -> Estimate:
        """The same estimate with mean and limits as odds ratios (this one being on log-odds)."""
        mean, low, high = map(_exp, (self.mean, self.low, self.high))
        return self.model_copy(update={"mean": mean, "low": low, "high": high})

    def words(self, shown: Callable[[float], str] = "{:.3g}".format) -> str:
        """`mean (low to high)`, each as `shown` writes it; says so where there is no interval, or no mean."""
        if math.isfinite(self.low):
            return f"{shown(self.mean)} ({shown(self.low)} to {shown(self.high)})"
        return "undefined" if math.isnan(self.mean) else f"{shown(self.mean)}, no interval"


class Test(Measured):
    """A test's p, and the least p that this many units could have given. Undefined numbers are nan, with a reason."""

    __test__: ClassVar[bool] = False  # or pytest takes the class for a test of its own

    statistic: float
    p: float
    n: int
    unit: str
    method: str
    alternative: Alternative = "two-sided"
    alpha: float = ALPHA
    smallest_p: float = 0.0
    """0 where p can be as small as one likes. Above `alpha`, no data could have been rejected; `reason` says so."""
    reason: str | None = None
    within: Within = ()

    @property
    def rejects(self) -> bool:
        """Whether p is at most alpha; False where p is undefined."""
        return self.p <= self.alpha


def log_odds(share: float) -> float:
    """log(p / (1 - p)); infinite at 0 and 1, nan outside."""
    if not 0 <= share <= 1:
        return math.nan
    if share in (0.0, 1.0):
        return math.copysign(math.inf, share - 0.5)
    return math.log(share) - math.log1p(-share)


def fraction(value: float, name: str) -> float:
    """`value` itself where it lies strictly between 0 and 1; otherwise BadInput."""
    if not 0 < value < 1:
        raise BadInput(f"{name} is {value!r}; expected a number between 0 and 1, both excluded")
    return value


def whole(value: int, name: str, least: int = 1) -> int:
    """`value` itself where it is an integer of at least `least`; otherwise BadInput."""
    if not isinstance(value, int) or value < least:
        raise BadInput(f"{name} is {value!r}; expected a whole number of at least {least}")
    return value


def asked(alternative: str, alpha: float) -> None:
    """BadInput where a test is asked for a side that does not exist, or an alpha outside 0 and 1."""
    if alternative not in ("two-sided", "greater", "less"):
        raise BadInput(f"alternative is {alternative!r}; expected two-sided, greater or less")
    fraction(alpha, "alpha")


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
