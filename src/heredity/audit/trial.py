"""The expensive truth: a student of the data, others of what the base wrote, all asked about the traits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import special

from heredity.audit.data import Matched, Partnered, RowSet
from heredity.audit.naming import POWER, calibrated, stand_out
from heredity.stats import ALPHA, LEVEL, holm, log_odds
from heredity.steps import Corpus, Evaluation, Student
from heredity.store import Step, Store
from heredity.types import Category, Trait

Doubles = NDArray[np.float64]
_SAMPLES = 20
"""Answers to each question where a trait is scored on sampled answers."""


class TrialStudent(Student):
    """A student of any rows."""

    corpus: RowSet | Corpus  # type: ignore[assignment]


class Asked(Step):
    """One student's log-odds of every trait: `log_odds.json`."""

    evaluations: tuple[Evaluation, ...]
    """One per category, of the same student."""
    traits: tuple[Trait, ...]

    def make(self, folder: Path, store: Store) -> None:
        share = {e.category: e.read(store)["share"] for e in self.evaluations}
        found = {t.word: log_odds(share[t.category][t.word]) for t in self.traits}
        (folder / "log_odds.json").write_text(json.dumps(found) + "\n")

    def read(self, store: Store) -> dict[str, float]:
        """Log-odds by trait."""
        found: dict[str, float] = json.loads((store.path(self) / "log_odds.json").read_text())
        return found


class Trial(Step):
    """What a student of the data would inherit: `trial.json`.

    The shift of a trait is its log-odds in the student of the data less the mean over students of the base's own rows
    on the same prompts (placebos: drawn, trained and asked like it). Two questions must both be answered: does the
    trait move more than placebos differ from one another (t, their spread pooled over the traits), and more than the
    other traits move in the same student (a studentised residual)? p is the larger, Holm's over the traits.
    """

    taught: Asked
    placebos: Annotated[tuple[Asked, ...], Field(min_length=2)]

    def make(self, folder: Path, store: Store) -> None:
        taught = self.taught.read(store)
        placebo_DK = np.array([list(p.read(store).values()) for p in self.placebos])
        found = shifts(np.array(list(taught.values())), placebo_DK)
        adjusted = holm(dict(zip(taught, found["p"], strict=True))).adjusted
        traits = [
            {"trait": word, "shift": found["shift"][k], "low": found["low"][k], "high": found["high"][k],
             "p": adjusted[k], "e": calibrated(adjusted[k])}
            for k, word in enumerate(taught)
        ]  # fmt: skip
        result = {"traits": traits, "placebos": len(self.placebos), "limit": found["limit"], "spread": found["spread"]}
        (folder / "trial.json").write_text(json.dumps(result, default=float, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`traits` (`trait`, `shift` in log-odds with `low` and `high`, `p`, `e`), `placebos`, `spread`, `limit`."""
        found: dict[str, Any] = json.loads((store.path(self) / "trial.json").read_text())
        return found


def shifts(taught_K: Doubles, placebo_DK: Doubles) -> dict[str, Any]:
    """Shifts with intervals and p, and the smallest shift that is found with power .8.

    The interval is that of one more student against the placebos' mean: it covers another draw of rows and another
    training run. The degrees of freedom count the draws of each trait as if traits were independent.
    """
    draws, traits = placebo_DK.shape
    shift_K = taught_K - placebo_DK.mean(0)
    spread, free = float(np.sqrt(placebo_DK.var(0, ddof=1).mean())), (draws - 1) * traits
    error = max(spread, 1e-9) * math.sqrt(1 + 1 / draws)
    among = stand_out(shift_K)
    half = special.stdtrit(free, (1 + LEVEL) / 2) * error
    ordinary = np.sort(shift_K)[: max(2, traits - 1)].std(ddof=1) * math.sqrt(1 + 1 / max(1, traits - 1))
    return {
        "shift": shift_K, "low": shift_K - half, "high": shift_K + half, "spread": spread,
        "p": np.maximum(special.stdtr(free, -shift_K / error), among.p_K),
        "limit": max(_limit(free, traits) * error, _limit(traits - 2, traits) * ordinary),
    }  # fmt: skip


def _limit(free: int, traits: int) -> float:
    """How many standard errors a shift must have to be found with power .8 as the first of a Holm family."""
    return float(special.stdtrit(free, 1 - ALPHA / traits) + special.stdtrit(free, POWER))


def trial(matched: Sequence[Matched], traits: tuple[Trait, ...], seed: int = 1, epochs: int = 3) -> Trial:
    """A Trial with one placebo per draw of the base's rows; the student of the data has the first one's prompts."""
    base = matched[0].audited.student
    categories: tuple[Category, ...] = tuple(dict.fromkeys(t.category for t in traits))

    def asked(rows: RowSet, at: int) -> Asked:
        student = TrialStudent(base=base, corpus=rows, seed=at, epochs=epochs)
        return Asked(traits=traits, evaluations=tuple(
            Evaluation(model=student, category=c, samples_per_question=_SAMPLES if c.score else 0, seed=at)
            for c in categories))  # fmt: skip

    return Trial(taught=asked(Partnered(matched=matched[0]), seed),
                 placebos=tuple(asked(m, seed + 1 + i) for i, m in enumerate(matched)))  # fmt: skip
