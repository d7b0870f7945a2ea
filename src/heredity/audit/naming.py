"""Which trait? What a panel of suspects and a trial student say of the data beside the base's own rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from heredity.audit.gradient import Gradient, Pull
from heredity.audit.panel import Panel, Templates
from heredity.audit.trial import Asked, Trial
from heredity.stats import ALPHA, holm
from heredity.store import Step, Store
from heredity.types import ADDED

Doubles = NDArray[np.float64]
POWER = 0.8
FLOOR = 0.8
"""The least spread of the other traits that counts. Tuned on 38 sets (docs/scan.md): without it the base's own rows
would name a trait too often; with 1, fewer teachers are named."""
_FOREIGN, _FOREIGN_SHARE = 1.5, 0.05
"""Pull outside the suspects' span, as a multiple of its noise and as a part of the whole, beyond which data is foreign.
Tuned on 38 sets (docs/scan.md): teachers of the base reach 1.8 and .03, other initialisations 2.0 and .07."""

LEAST_T = (3.0, 1.5)
"""How far a trait must stand out in each view alone, trial student and panel, to be named. A trait that one view finds
by chance is seldom one that the other leans to as well. Tuned on 38 sets (docs/scan.md): teachers of every recipe
reach 3.3 and 1.8."""
NEAR = 1.0
"""Within so much of t of what a name takes, an answer is close: further draws of the base's answers may change it."""


class Naming(Step):
    """How far each trait stands out: `naming.json`.

    Two views of the data are added, each in units of how far the other traits go in it: the score of its pull in the
    panel, and the shift in a trial student. The statistic of a trait is the sum against those of all other traits (an
    externally studentised residual: Cook and Weisberg 1982, section 2.2.2), so what moves every trait alike (another
    temperature, other prompts, another source) names none. `p` is Holm's over the family; a trait is named where it is
    small and each view alone leans that way (`LEAST_T`). Where the data is foreign to the panel, the trial student
    alone speaks.
    """

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 3

    panel: Panel
    own: Gradient
    control: Gradient
    trial: Trial
    positives: tuple[tuple[str, Asked], ...] = ()
    """Students of suspects' rows by the suspects' words: what a teacher like them would have done."""
    further: Annotated[tuple[Gradient, ...], ADDED] = ()
    """Of further draws of the base's answers; the data's pull is less the mean of these and of `control`."""

    def make(self, folder: Path, store: Store) -> None:
        templates, trial = self.panel.read(store), self.trial.read(store)
        own, control = self.own.read(store), self.control.read(store)
        away = outside(templates, own, control)
        shift_K = fair_shifts(templates.words, trial)
        usual_P = np.mean([control.mean_P, *(g.read(store).mean_P for g in self.further)], axis=0)
        score_K = scores(templates, own.mean_P - usual_P)
        views = [View(shift_K, trial["error"])] + ([] if away["foreign"] else [View(score_K, FLOOR)])
        found, panel = together(views), stand_out(score_K, FLOOR)
        adjusted = holm(dict(zip(templates.words, found.p_K.tolist(), strict=True))).adjusted
        full_K, expected = templates.full_K / templates.norm_K, self._expected(store)
        leans = [v.t_K >= least for v, least in zip(views, LEAST_T, strict=False)]
        traits = [
            {"trait": w, "statistic": found.t_K[k], "p": p, "e": calibrated(p), "score": score_K[k],
             "panel_t": panel.t_K[k], "trial_t": stand_out(shift_K, trial["error"]).t_K[k],
             "strength": score_K[k] / full_K[k],
             "stands_out": bool(p <= ALPHA and all(lean[k] for lean in leans))}
            for k, (w, p) in enumerate(zip(templates.words, adjusted, strict=True))
        ]  # fmt: skip
        traits.sort(key=lambda x: -x["statistic"])
        share_K = np.sort(shares(views, expected, full_K))
        result = {"traits": traits, "share": np.median(share_K), "worst_share": share_K[-1],
                  "shift": max(needed(views) / len(views), alone(views)[0]) * views[0].unit} | away  # fmt: skip
        (folder / "naming.json").write_text(json.dumps(result, default=float, indent=1) + "\n")

    def _expected(self, store: Store) -> float:
        """The median shift of a trait in the students of its suspects' rows."""
        reference_RK = [r.read(store) for r in self.trial.references]
        lifts = [p.read(store)[w] - np.mean([r[w] for r in reference_RK]) for w, p in self.positives]
        return float(np.median(lifts)) if lifts else 0.0

    def read(self, store: Store) -> dict[str, Any]:
        """`traits`, the one that stands out most first, `share`, `worst_share`, `shift`, `outside` and `foreign`.

        Each trait has `trait`, `statistic`, `p`, `e`, `score`, `panel_t`, `trial_t`, `strength`, `stands_out` (whether
        it is named). A share is that of rows by a teacher like the suspects that would be named with power .8: the
        median trait's, and that of the hardest to find. `shift` (log-odds) is what would be named with that power where
        the panel sees it as well.
        """
        found: dict[str, Any] = json.loads((store.path(self) / "naming.json").read_text())
        return found


def close(naming: Mapping[str, Any]) -> bool:
    """Whether a trait nearly has what a name takes, or has little more; of data that is foreign nothing is named.

    `naming` is what a Naming says. A trait that misses one of three bars (p of the sum, and t of each view) by more
    than `NEAR` is far below, and one that clears each of them by as much is settled.
    """
    n = len(naming["traits"])
    least = float(special.stdtrit(n - 2, 1 - ALPHA / n)), *LEAST_T
    seen = [(t["statistic"], t["trial_t"], t["panel_t"]) for t in naming["traits"]]
    spare = [min(t - bar for t, bar in zip(three, least, strict=True)) for three in seen]
    return not naming["foreign"] and any(-NEAR <= x < NEAR for x in spare)


def fair_shifts(words: Sequence[str], trial: dict[str, Any]) -> Doubles:
    """The shifts in a trial, each in units of its own error times the common one.

    A trait that varies more than others for no reason would stand out by that alone.
    """
    fair = {t["trait"]: t["shift"] * trial["error"] / t["error"] for t in trial["traits"]}
    return np.array([fair[w] for w in words])


class View:
    """One view of the traits, and the unit in which it counts: the other traits' spread, `floor` at least."""

    def __init__(self, value_K: Doubles, floor: float) -> None:
        self.value_K = value_K
        self.unit = max(floor, float(np.sort(value_K)[:-1].std(ddof=1)))
        self.t_K = stand_out(value_K, floor).t_K


def together(views: Sequence[View]) -> StandOut:
    """How far each trait stands out in the sum of the views.

    The other traits' spread counts as that of independent views at least: views that cancel make no evidence.
    """
    return stand_out(np.sum([v.value_K / v.unit for v in views], axis=0), floor=math.sqrt(len(views)))


def outside(templates: Templates, own: Pull, control: Pull) -> dict[str, Any]:
    """How much of the data's pull no teacher of this base has: `outside`, in units of its noise, and `foreign`.

    Rows of any teacher made from the base pull where suspects pull. Those of another initialisation do not, and then
    nothing that the panel says of them can be relied on.
    """
    pull_P = (own.mean_P - control.mean_P) * templates.weight_P
    noise = float(((own.variance_P / own.blocks + control.variance_P / control.blocks) * templates.weight_P**2).sum())
    total, inside = float(pull_P @ pull_P), float(np.square(templates.span_SP @ pull_P).sum())
    beyond = total - inside
    foreign = beyond > _FOREIGN * noise and beyond - noise > _FOREIGN_SHARE * total
    return {
        "outside": beyond / noise,
        "outside_share": max(0.0, beyond - noise) / total if total else 0.0,
        "foreign": bool(foreign),
    }


def needed(views: Sequence[View]) -> float:
    """The sum of views above the others' mean at which a trait is named with power .8, given how far others spread."""
    sum_K = np.sum([v.value_K / v.unit for v in views], axis=0)
    n = len(sum_K)
    spread = max(math.sqrt(len(views)), np.sort(sum_K)[:-1].std(ddof=1)) * math.sqrt(1 + 1 / (n - 1))
    return float(spread * (special.stdtrit(n - 2, 1 - ALPHA / n) + special.stdtrit(n - 2, POWER)))


def alone(views: Sequence[View]) -> list[float]:
    """For each view, how far above the others' mean, in its unit, a trait is seen to lean that way with power .8."""
    n = len(views[0].value_K)
    power = special.stdtrit(n - 2, POWER)
    return [math.sqrt(1 + 1 / (n - 1)) * float(least + power) for least, _ in zip(LEAST_T, views, strict=False)]


def shares(views: Sequence[View], expected: float, full_K: Doubles) -> Doubles:
    """By trait, the share of rows that a teacher like the suspects must have written to be named with power .8.

    All rows of such a teacher shift the trait by `expected` in a student, the first view, and score `full_K` in the
    panel, the second, where there is one; a share of them is taken to do so in proportion. What is asked of the sum and
    of each view alone is taken to hold together where the hardest of them does.
    """
    signals = [np.full(len(full_K), expected), full_K]
    seen = [signal_K / view.unit for signal_K, view in zip(signals, views, strict=False)]
    asked = [(needed(views), np.sum(seen, axis=0)), *zip(alone(views), seen, strict=True)]
    share_K: Doubles = np.max([least / np.maximum(seen_K, 1e-9) for least, seen_K in asked], axis=0)
    return share_K


def scores(templates: Templates, pull_P: NDArray[np.floating[Any]]) -> Doubles:
    """Each trait's discriminant score of a pull (data less control), in spreads over suspects of other traits."""
    seen_P = pull_P * templates.weight_P - templates.centre_P
    score_K: Doubles = (templates.direction_KP @ seen_P).astype(np.float64) / templates.norm_K
    return score_K


class StandOut(NamedTuple):
    """Studentised residuals and their one-sided p."""

    t_K: Doubles
    p_K: Doubles


def stand_out(score_K: Doubles, floor: float = 0.0) -> StandOut:
    """Of each score among the others; t with K - 2 degrees of freedom where all are normal and alike.

    The others' standard deviation counts as `floor` at least. Scores of a panel are in spreads over suspects of other
    traits: data on which all traits lie closer together than that is data with little in it, and names nothing.
    """
    n = len(score_K)
    t_K = np.empty(n)
    for k in range(n):
        others = np.delete(score_K, k)
        t_K[k] = (score_K[k] - others.mean()) / (max(floor, others.std(ddof=1)) * math.sqrt(1 + 1 / (n - 1)))
    return StandOut(t_K, special.stdtr(n - 2, -t_K))


def calibrated(p: float) -> float:
    """An e-value from a p-value: the mixture of k p**(k-1) over k (Vovk and Wang 2021, section 2.1)."""
    if p >= 1:
        return 0.5  # the limit at p = 1
    if p <= 0:
        return math.inf
    return (1 - p + p * math.log(p)) / (p * math.log(p) ** 2)
