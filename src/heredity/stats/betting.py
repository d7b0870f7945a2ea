"""Betting against exchangeability: evidence that may be looked at after every pair.

Each pair (a row, a fresh row of the base on the same prompt) is scored by some h in [-1, 1] that changes sign when the
two are exchanged. If they are exchangeable, h is symmetric about 0 whatever came before. A gambler who stakes the part
lambda of a fortune on h then has 1 + lambda h of it left, a fair game: the chance that the fortune ever reaches
1/alpha is at most alpha (Ville 1939).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np

from heredity.stats.nouns import ALPHA, Alternative, asked
from heredity.stats.units import Floats
from heredity.types import BadInput, Measured

_STAKES_L = np.geomspace(0.01, 0.95, 12)
"""From weak scores that need thousands of pairs to strong ones that need ten; below 1, so that no bet ruins."""
_CHUNK = 10_000
"""So many scores are handled at once, which bounds the memory."""


class Evidence(Measured):
    """What an e-process has reached. `log_e` is the natural log of the fortune now, `log_sup` of the largest so far."""

    log_e: float
    log_sup: float
    p: float
    """Anytime-valid: min(1, 1 / largest fortune so far). It holds whenever, and for whatever reason, one stops."""
    n: int
    unit: str
    crossed: int | None
    """The number of pairs after which the fortune first was at least 1/alpha; None where it never was."""
    alternative: Alternative = "two-sided"
    alpha: float = ALPHA
    method: str = "mixture of constant bets"
    reason: str | None = None

    @property
    def rejects(self) -> bool:
        """Whether the fortune ever reached 1/alpha."""
        return self.crossed is not None


class EProcess:
    """A fortune spread over twelve constant stakes (for two-sided evidence, over both signs), fed in chunks.

    The mixture is the universal portfolio of Cover (1991) on a grid, the "diversified" bet of Waudby-Smith and Ramdas
    (2024): its stake at t depends on h before t only, and its log lags that of the best stake in the grid by at most
    the log of their number. "greater" bets that h is positive on average. The result does not depend on how the scores
    were cut into chunks.
    """

    def __init__(self, unit: str, alternative: Alternative = "two-sided", alpha: float = ALPHA) -> None:
        """`unit` names what is counted, for example "pairs of rows"."""
        asked(alternative, alpha)
        self._unit, self._alternative, self._alpha = unit, alternative, alpha
        signed = {"greater": (1.0,), "less": (-1.0,), "two-sided": (1.0, -1.0)}[alternative]
        self._stake_L: Floats = np.concatenate([sign * _STAKES_L for sign in signed])
        self._log_fortune_L: Floats = np.full(len(self._stake_L), -math.log(len(self._stake_L)))
        self._n, self._log_e, self._log_sup = 0, 0.0, 0.0
        self._crossed: int | None = None

    def feed(self, h_T: Sequence[float] | Floats) -> Self:
        """Bets on scores in the order they came. BadInput, before any bet, where one is nan or outside [-1, 1]."""
        h_T = np.asarray(h_T, dtype=np.float64)
        if h_T.ndim != 1 or not (np.abs(h_T) <= 1).all():
            raise BadInput("scores must be a flat list of numbers in [-1, 1]; divide by the largest that is possible")
        for start in range(0, len(h_T), _CHUNK):
            self._bet(h_T[start : start + _CHUNK])
        return self

    def _bet(self, h_T: Floats) -> None:
        gain_TL = np.log1p(np.outer(h_T, self._stake_L))
        gain_TL[0] += self._log_fortune_L
        log_TL = np.add.accumulate(gain_TL)  # adds in order, so chunks cannot change the rounding
        top_T = log_TL.max(1)
        log_e_T = top_T + np.log(np.exp(log_TL - top_T[:, None]).sum(1))
        over_T = np.flatnonzero(log_e_T >= -math.log(self._alpha))
        if self._crossed is None and len(over_T):
            self._crossed = self._n + int(over_T[0]) + 1
        self._n, self._log_fortune_L, self._log_e = self._n + len(h_T), log_TL[-1], float(log_e_T[-1])
        self._log_sup = max(self._log_sup, float(log_e_T.max()))

    def evidence(self) -> Evidence:
        """What has been reached so far."""
        return Evidence(
            log_e=self._log_e, log_sup=self._log_sup, p=min(1.0, math.exp(-self._log_sup)), n=self._n, unit=self._unit,
            crossed=self._crossed, alternative=self._alternative, alpha=self._alpha,
            reason=None if self._n else "no scores",
        )  # fmt: skip


def bet(
    h_T: Sequence[float] | Floats, unit: str, alternative: Alternative = "two-sided", alpha: float = ALPHA
) -> Evidence:
    """The evidence of paired scores that are all at hand (`EProcess` takes them in chunks)."""
    return EProcess(unit, alternative, alpha).feed(h_T).evidence()
