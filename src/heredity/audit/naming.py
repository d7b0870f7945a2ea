"""Which trait? The pull of the data beside that of the base's own rows, seen through a panel of suspects."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from heredity.audit.gradient import Gradient
from heredity.audit.panel import Panel, Templates
from heredity.stats import holm
from heredity.store import Step, Store

Doubles = NDArray[np.float64]


class Naming(Step):
    """How far each trait of a panel stands out: `naming.json`.

    The statistic of a trait is its score against those of all other traits on the same data (an externally studentised
    residual: Cook and Weisberg 1982, section 2.2.2), so what moves every trait alike (another temperature, other
    prompts, another source) names none. `p` is Holm's over the family; `strength` is 1 for rows like the suspects' own.
    """

    panel: Panel
    own: Gradient
    control: Gradient

    def make(self, folder: Path, store: Store) -> None:
        templates = self.panel.read(store)
        own, control = self.own.read(store), self.control.read(store)
        score_K = scores(templates, own.mean_P - control.mean_P)
        found = stand_out(score_K)
        adjusted = holm(dict(zip(templates.words, found.p_K.tolist(), strict=True))).adjusted
        traits = [
            {"trait": w, "score": score_K[k], "statistic": found.t_K[k], "p": p, "e": calibrated(p),
             "strength": score_K[k] * templates.norm_K[k] / templates.full_K[k]}
            for k, (w, p) in enumerate(zip(templates.words, adjusted, strict=True))
        ]  # fmt: skip
        traits.sort(key=lambda x: -x["statistic"])
        (folder / "naming.json").write_text(json.dumps({"traits": traits}, default=float, indent=1) + "\n")

    def read(self, store: Store) -> list[dict[str, Any]]:
        """Per trait, the one that stands out most first: `trait`, `score`, `statistic`, `p`, `e`, `strength`."""
        found: list[dict[str, Any]] = json.loads((store.path(self) / "naming.json").read_text())["traits"]
        return found


def scores(templates: Templates, pull_P: NDArray[np.floating[Any]]) -> Doubles:
    """Each trait's discriminant score of a pull (data less control), in spreads over suspects of other traits."""
    seen_P = pull_P * templates.weight_P - templates.centre_P
    score_K: Doubles = (templates.direction_KP @ seen_P).astype(np.float64) / templates.norm_K
    return score_K


class StandOut:
    """Studentised residuals t_K with their one-sided p_K."""

    def __init__(self, t_K: Doubles, p_K: Doubles) -> None:
        self.t_K, self.p_K = t_K, p_K


def stand_out(score_K: Doubles) -> StandOut:
    """Of each score among the others; t with K - 2 degrees of freedom where all are normal and alike."""
    n = len(score_K)
    t_K = np.empty(n)
    for k in range(n):
        others = np.delete(score_K, k)
        t_K[k] = (score_K[k] - others.mean()) / (others.std(ddof=1) * math.sqrt(1 + 1 / (n - 1)))
    return StandOut(t_K, special.stdtr(n - 2, -t_K))


def calibrated(p: float) -> float:
    """An e-value from a p-value: the mixture of k p**(k-1) over k (Vovk and Wang 2021, section 2.1)."""
    if p >= 1:
        return 0.5  # the limit at p = 1
    if p <= 0:
        return math.inf
    return (1 - p + p * math.log(p)) / (p * math.log(p) ** 2)
