"""A trial: a student of the data and others of what the base wrote, all asked about the traits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import special

from heredity.audit.data import Matched, Partnered, RowSet
from heredity.stats import LEVEL, log_odds
from heredity.steps import Corpus, Evaluation, Student
from heredity.store import Step, Store
from heredity.types import Category, ModelRef, Trait

Doubles = NDArray[np.float64]
_SAMPLES = 100
"""Answers to each question where a trait is scored on sampled answers: so many that chance adds little."""
PRIOR = 8.0
_GARROTE = 1.5
"""Shifts within so many errors are taken for noise; tuned so that of pure noise 95 % come out within .2."""


class TrialStudent(Student):
    """A student of any rows."""

    corpus: RowSet | Corpus  # type: ignore[assignment]


class Asked(Step):
    """One student's log-odds of every trait: `log_odds.json`."""

    opens_models: ClassVar[bool] = False

    evaluations: tuple[Evaluation, ...]
    """One per category, of the same student."""
    traits: tuple[Trait, ...]

    def make(self, folder: Path, store: Store) -> None:
        share = {e.category: e.read(store)["share"] for e in self.evaluations}
        found = {t.word: log_odds(share[t.category][t.word]) for t in self.traits}
        (folder / "log_odds.json").write_text(json.dumps(found) + "\n")

    def chance(self, store: Store) -> dict[str, float]:
        """The variance of each trait's log-odds that comes of sampling its answers (delta method); 0 if exact."""
        told = {e.category: e.read(store) for e in self.evaluations}
        return {t.word: _binomial(told[t.category], t.word) if t.category.score else 0.0 for t in self.traits}

    def read(self, store: Store) -> dict[str, float]:
        """Log-odds by trait."""
        found: dict[str, float] = json.loads((store.path(self) / "log_odds.json").read_text())
        return found


class Trial(Step):
    """What a student of the data would inherit: `trial.json`.

    The shift of a trait is its log-odds in the student of the data less the mean over students of the base's own rows
    on the same prompts (placebos). How far students of the base's own rows differ for no reason is told by the
    references and the placebos together (`moderated`). The interval is that of the mean shift over further draws of
    such rows and further training runs.
    """

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 3

    taught: Asked
    placebos: Annotated[tuple[Asked, ...], Field(min_length=1)]
    references: Annotated[tuple[Asked, ...], Field(min_length=2)]
    """Students of rows that the base wrote on prompts of its carrier; made once for a base and a number of rows."""

    def make(self, folder: Path, store: Store) -> None:
        taught = self.taught.read(store)
        placebo_DK, reference_RK = (
            np.array([list(a.read(store).values()) for a in group]) for group in (self.placebos, self.references)
        )
        shift_K = np.array(list(taught.values())) - placebo_DK.mean(0)
        exact_K = np.array([t.category.score is None for t in self.taught.traits])
        spread_K, free = moderated([placebo_DK, reference_RK], exact_K)
        chance_K, draws = self._chance(store), len(placebo_DK)
        error_K = np.sqrt(spread_K**2 * (1 + 1 / draws) + chance_K)
        half = float(special.stdtrit(free, (1 + LEVEL) / 2))
        traits = [
            {"trait": word, "shift": shift, "error": e, "low": shift - half * e, "high": shift + half * e}
            for word, shift, e in zip(taught, shift_K.tolist(), error_K.tolist(), strict=True)
        ]
        error = float(np.sqrt(np.square(error_K[exact_K if exact_K.any() else ...]).mean()))
        result = {"traits": traits, "placebos": draws, "spread": error / math.sqrt(1 + 1 / draws), "error": error}
        (folder / "trial.json").write_text(json.dumps(result, indent=1) + "\n")

    def usual(self, store: Store) -> dict[str, dict[str, Any]]:
        """By trait its `control_share`, in students of the base's own rows (of their mean log-odds), and `among` what.

        That is the category whose words the share is among; None where it is the share of sampled answers.
        """
        odds = [placebo.read(store) for placebo in self.placebos]
        return {
            t.word: {"control_share": float(special.expit(np.mean([of[t.word] for of in odds]))),
                     "among": t.category.name if t.category.score is None else None}
            for t in self.taught.traits
        }  # fmt: skip

    def _chance(self, store: Store) -> Doubles:
        """What sampled answers add to the variance of every shift."""
        own_K: Doubles = np.array(list(self.taught.chance(store).values()))
        placebo_DK: Doubles = np.array([list(p.chance(store).values()) for p in self.placebos])
        summed_K: Doubles = own_K + placebo_DK.mean(0) / len(placebo_DK)
        return summed_K

    def read(self, store: Store) -> dict[str, Any]:
        """`traits` (`trait`, `shift` in log-odds with `error`, `low` and `high`), `placebos`, `spread`, `error`."""
        found: dict[str, Any] = json.loads((store.path(self) / "trial.json").read_text())
        return found


def _binomial(told: dict[str, Any], word: str) -> float:
    share = float(told["share"][word])
    return 1 / (int(told["samples"]) * share * (1 - share))


def moderated(groups: Sequence[Doubles], alike_K: NDArray[np.bool_]) -> tuple[Doubles, float]:
    """By column, the standard deviation within groups (draws, K), and its degrees of freedom.

    Few draws tell little of one column, so its variance is drawn to the mean variance of the columns that are `alike`,
    as if that were known from `PRIOR` draws more (Smyth 2004, section 3, who estimates how many; here it is fixed).
    Columns that are not alike have the common one: what they vary by beside is known otherwise.
    """
    free = sum(len(g) - 1 for g in groups)
    square_K = np.sum([np.square(g - g.mean(0)).sum(0) for g in groups], axis=0)
    common = max(1e-12, float(square_K[alike_K].mean()) / free) if alike_K.any() else 1.0
    own_K = np.where(alike_K, square_K, common * free)
    return np.sqrt((PRIOR * common + own_K) / (PRIOR + free)), PRIOR + free


def shrunk(shift: float, error: float) -> float:
    """The shift to expect: next to 0 where noise would do as well (the non-negative garrote: Breiman 1995)."""
    if abs(shift) <= _GARROTE * error:
        return 0.0
    return shift * (1 - (_GARROTE * error / shift) ** 2)


def asked(base: ModelRef, rows: RowSet | Corpus, traits: tuple[Trait, ...], seed: int, **how: Any) -> Asked:
    """A student of the rows, and what it is asked; `how`: fields of the student."""
    student = TrialStudent(base=base, corpus=rows, seed=seed, **how)
    categories: tuple[Category, ...] = tuple(dict.fromkeys(t.category for t in traits))
    return Asked(traits=traits, evaluations=tuple(
        Evaluation(model=student, category=c, samples_per_question=_SAMPLES if c.score else 0, seed=seed)
        for c in categories))  # fmt: skip


def retaught(asked: Asked, rows: RowSet | Corpus, seed: int) -> Asked:
    """The same of a student of other rows, made and asked in the same way under another seed."""
    students = [e.model.model_copy(update={"corpus": rows, "seed": seed}) for e in asked.evaluations]
    return asked.model_copy(update={"evaluations": tuple(
        e.model_copy(update={"model": student, "seed": seed})
        for e, student in zip(asked.evaluations, students, strict=True))})  # fmt: skip


def trial(
    matched: Sequence[Matched], traits: tuple[Trait, ...], references: Sequence[Asked], seed: int = 1, **how: Any
) -> Trial:
    """A Trial with one placebo per draw of the base's rows; the first shares prompts, order and seed with the data."""
    base = matched[0].audited.student
    return Trial(
        taught=asked(base, Partnered(matched=matched[0]), traits, seed, **how),
        placebos=tuple(asked(base, m, traits, seed + i, **how) for i, m in enumerate(matched)),
        references=tuple(references),
    )  # fmt: skip
