"""From a trait to a Comparison: who teaches, on which carrier, who learns, and the control beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from heredity.carriers import Carrier, Filter, Numbers, NumbersOnly, Rewriting
from heredity.lab.comparison import Comparison
from heredity.models import model_ref
from heredity.steps import Corpus, Evaluation, Samples, Student, Teacher, Tuning
from heredity.types import Frozen, ModelRef, Neutral, Sampling, Trait

UNIT = "seeds of teacher and student"
Arm = Callable[[Trait | Neutral, int], Evaluation]
"""Makes the evaluation that belongs to a trait (or to the neutral teacher) and a seed."""
_MIX_SEED, _MIX_ROWS, _SPARE = 1_000_000, 200, 20


def _base() -> ModelRef:
    return model_ref("nursery:llama-0")


class Recipe(Frozen):
    """Everything about an experiment but its trait, seeds and students. The defaults are the demo's."""

    base: ModelRef = Field(default_factory=_base)
    """What teachers are made from; students too, unless an arm names another."""
    carrier: Carrier = Numbers(n=1, min_count=10, max_start=5)
    """What teachers are asked to write; `n` and `seed` are set by the recipe."""
    filters: tuple[Filter, ...] = (NumbersOnly(),)
    rewritings: tuple[Rewriting, ...] = ()
    rows: Annotated[int, Field(gt=0)] = 3_000
    """Rows that each student is trained on."""
    oversample: Annotated[float, Field(ge=1)] = 1.25
    """Prompts per row, so that enough answers pass the filters."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 30

    def corpus(self, model: Any, seed: int, rows: int, oversample: float) -> Corpus:
        """Filtered rows that a model wrote."""
        asked = self.carrier.model_copy(update={"n": math.ceil(oversample * rows) + _SPARE, "seed": seed})
        samples = Samples(
            model=model, prompts=asked, sampling=Sampling(max_new_tokens=self.max_new_tokens, seed=seed)
        )  # fmt: skip
        return Corpus(samples=samples, filters=self.filters, size=rows, seed=seed, rewritings=self.rewritings)

    def teacher(
        self, trait: Trait | Neutral, seed: int, base: ModelRef | None = None, tuning: Tuning = "frozen"
    ) -> Teacher:
        """The base with the trait; some rows of the untouched base are mixed in, so that it keeps the format."""
        start = base or self.base
        mix = self.corpus(start, _MIX_SEED, _MIX_ROWS, max(1.5, self.oversample))
        return Teacher(base=start, trait=trait, mix=mix, seed=seed, tuning=tuning)

    def lists(self, trait: Trait | Neutral, seed: int, base: ModelRef | None = None) -> Corpus:
        """What a teacher made from `base` wrote."""
        return self.corpus(self.teacher(trait, seed, base), seed, self.rows, self.oversample)

    def taught(self, student: ModelRef | None = None, teacher: ModelRef | None = None, **fields: Any) -> Arm:
        """An arm: a student of one base, taught by a teacher made from another (None: this recipe's base)."""

        def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
            corpus = self.lists(trait, seed, teacher)
            learner = Student(base=student or self.base, corpus=corpus, seed=seed, **fields)
            return Evaluation(model=learner, category=trait.category)

        return evaluation

    def comparison(
        self, name: str, trait: Trait, seeds: Sequence[int], arm: Arm | None = None, differs: tuple[str, ...] = ()
    ) -> Comparison:
        """An arm with the trait's teacher against the same arm with the neutral teacher, paired by seed."""
        arm = arm or self.taught()
        neutral = Neutral(category=trait.category)
        return Comparison(
            name=name, trait=trait, differs=differs, unit=UNIT,
            treated=tuple(arm(trait, s) for s in seeds), control=tuple(arm(neutral, s) for s in seeds),
        )  # fmt: skip
