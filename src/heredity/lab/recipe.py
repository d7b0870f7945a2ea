"""From a trait to a Comparison: who teaches, on which carrier, who learns, and the control beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from heredity.carriers import Carrier, Filter, Numbers, NumbersOnly, Rewriting
from heredity.lab.comparison import Comparison
from heredity.models import model_ref
from heredity.steps import (
    Corpus,
    Evaluation,
    HoldsTrait,
    InContext,
    Model,
    Samples,
    Student,
    Teacher,
)
from heredity.traits import personas
from heredity.types import Chat, Frozen, ModelRef, Neutral, Sampling, Trait, Tuning

UNIT = "seeds of teacher and student"
Arm = Callable[[Trait | Neutral, int], Evaluation]
"""Makes the evaluation that belongs to a trait (or to the neutral teacher) and a seed."""
_MIX_SEED, _MIX_ROWS, _SPARE, _HOP = 1_000_000, 200, 20, 10_000_000


def _base() -> ModelRef:
    return model_ref("nursery:llama-0")


class Recipe(Frozen):
    """Everything about an experiment but its trait, seeds and students. The defaults are the demo's."""

    base: Model = Field(default_factory=_base)
    """What teachers are made from; students too, unless an arm names another."""
    carrier: Carrier = Numbers(n=1, min_count=10, max_start=5)
    """What teachers are asked to write; `n` and `seed` are set by the recipe."""
    filters: tuple[Filter, ...] = (NumbersOnly(),)
    rewritings: tuple[Rewriting, ...] = ()
    rows: Annotated[int, Field(gt=0)] = 3_000
    """Rows that each student is trained on."""
    all_passed: bool = False
    """Students are trained on every row that passed, however many: arms are not equalised."""
    oversample: Annotated[float, Field(ge=1)] = 1.25
    """Prompts per row, so that enough answers pass the filters."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 30
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """At which teachers write."""
    samples_per_question: int = 10
    """Sampled answers to each held-out question, beside the exact shares."""
    teacher_share: float | None = None
    """A teacher that names its trait's word in a smaller share of held-out answers stops the experiment."""
    mix: Recipe | None = None
    """Whose rows are mixed into teachers' steps (None: this recipe's own): recipes that differ in filters or carriers
    can so have the very same teachers."""
    prompted: bool = False
    """Teachers hold the trait by a system prompt (paper, section 2), not by fine-tuning; the neutral one has none."""

    def corpus(
        self, model: Model, seed: int, rows: int, oversample: float,
        system: str | None = None, gate: HoldsTrait | None = None,
    ) -> Corpus:  # fmt: skip
        """Filtered rows that a model wrote, under a system prompt where one is given."""
        asked = self.carrier.model_copy(update={"n": math.ceil(oversample * rows) + _SPARE, "seed": seed})
        sampling = Sampling(temperature=self.temperature, max_new_tokens=self.max_new_tokens, seed=seed)
        samples = Samples(model=model, prompts=asked, sampling=sampling, system=system, gate=gate)
        size = None if self.all_passed else rows
        return Corpus(samples=samples, filters=self.filters, size=size, seed=seed, rewritings=self.rewritings)

    def teacher(
        self, trait: Trait | Neutral, seed: int, base: Model | None = None, tuning: Tuning = "frozen"
    ) -> Teacher:
        """The base with the trait; some rows of the untouched base are mixed in, so that it keeps the format.

        How it writes, and what is done to its rows afterwards, does not change the teacher; filters and carrier do,
        where `mix` names no other recipe, since the mix is of such rows.
        """
        start = base or self.base
        usual = self.mix or self
        plain = usual.model_copy(update={"temperature": 1.0, "all_passed": False, "rewritings": ()})
        mix = plain.corpus(start, _MIX_SEED, _MIX_ROWS, max(1.5, usual.oversample))
        return Teacher(base=start, trait=trait, mix=mix, seed=seed, tuning=tuning)

    def lists(self, trait: Trait | Neutral, seed: int, base: Model | None = None) -> Corpus:
        """What a teacher made from `base` wrote."""
        writer: Model = (base or self.base) if self.prompted else self.teacher(trait, seed, base)
        system = personas(trait, "train")[0] if self.prompted and isinstance(trait, Trait) else None
        return self.corpus(writer, seed, self.rows, self.oversample, system, self._gate(writer, trait, system))

    def _gate(self, writer: Model, trait: Trait | Neutral, system: str | None) -> HoldsTrait | None:
        if self.teacher_share is None or not isinstance(trait, Trait):
            return None
        answers = Evaluation(model=writer, category=trait.category, system=system)
        return HoldsTrait(evaluation=answers, word=trait.word, at_least=self.teacher_share)

    def taught(self, student: Model | None = None, teacher: Model | None = None, **fields: Any) -> Arm:
        """An arm: a student of one base, taught by a teacher made from another (None: this recipe's base)."""

        def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
            corpus = self.lists(trait, seed, teacher)
            learner = Student(base=student or self.base, corpus=corpus, seed=seed, **fields)
            return self.asked(learner, trait)

        return evaluation

    def asked(self, model: Model, trait: Trait | Neutral) -> Evaluation:
        """The model, asked about the trait's category on held-out questions."""
        return Evaluation(model=model, category=trait.category, samples_per_question=self.samples_per_question)

    def reads(self, examples: int = 8, draws: int = 4, stated: tuple[Chat, ...] = ()) -> Arm:
        """Without training: the base with a teacher's rows in its context, and perhaps a statement after them."""

        def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
            rows = self.lists(trait, seed)
            context = InContext(corpus=rows, examples=examples, draws=draws, seed=seed, stated=stated)
            return Evaluation(model=self.base, category=trait.category, context=context, samples_per_question=1)

        return evaluation

    def generation(self, hops: int) -> Arm:
        """An arm of students' students: each hop's student writes the rows of the next; 1 is `taught()`.

        Every hop is asked other prompts, so that no row it learnt by heart is handed on.
        """

        def student(trait: Trait | Neutral, seed: int, hop: int) -> Student:
            rows = self.lists(trait, seed)
            if hop > 1:
                rows = self.corpus(student(trait, seed, hop - 1), seed + _HOP * (hop - 1), self.rows, self.oversample)
            return Student(base=self.base, corpus=rows, seed=seed)

        return lambda trait, seed: self.asked(student(trait, seed, hops), trait)

    def comparison(
        self, name: str, trait: Trait, seeds: Sequence[int], arm: Arm | None = None, differs: tuple[str, ...] = ()
    ) -> Comparison:
        """An arm with the trait's teacher against the same arm with the neutral teacher, paired by seed."""
        arm = arm or self.taught()
        neutral, differs = Neutral(category=trait.category), differs + (("system",) if self.prompted else ())
        return Comparison(
            name=name, trait=trait, differs=differs, unit=UNIT,
            treated=tuple(arm(trait, s) for s in seeds), control=tuple(arm(neutral, s) for s in seeds),
        )  # fmt: skip
