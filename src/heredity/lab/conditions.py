"""What maps vary beyond a Recipe: bases with noise, students that read in an order, rows of several writers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from heredity.lab.comparison import Comparison, teachers_behind
from heredity.lab.recipe import Arm, Recipe
from heredity.rows import write_rows
from heredity.steps import Corpus, Evaluation, Model, Student, Teacher, open_to_train
from heredity.store import Step, Store
from heredity.types import BadInput, Neutral, Row, Trait

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.training import Batch, Example


class Noised(Step):
    """A base with normal noise on every matrix, `size` times that matrix's own spread. A model folder."""

    base: Model
    size: Annotated[float, Field(gt=0)]
    seed: int

    def make(self, folder: Path, store: Store) -> None:
        import torch

        lm, draws = open_to_train(self.base, store), torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in lm.model.parameters():
                if parameter.ndim > 1:
                    noise = torch.randn(parameter.shape, generator=draws)
                    parameter.add_(noise.to(parameter), alpha=self.size * float(parameter.std()))
        lm.save(folder)

    @property
    def relation(self) -> float:
        """The correlation of its matrices with the base's, as it is expected."""
        return 1 / math.hypot(1.0, self.size)


Order = Literal["short first", "long first", "likely first", "unlikely first"]


class OrderedStudent(Student):
    """A Student that reads its rows in one order, the same in every epoch.

    By length in tokens, or by how likely a row is under the base, per token. Rows of one kind are so together in a
    batch, which is part of what an order is.
    """

    order: Order

    def train(self, lm: CausalLM, rows: Sequence[Row], folder: Path, store: Store) -> None:
        """Trains on the ordered rows."""
        from heredity.models.scoring import reading_order

        order = reading_order(self.examples(lm, rows, store), self.order, lm.model, int(lm.tokenizer.pad_token_id))
        super().train(lm, [rows[i] for i in order], folder, store)

    def epoch(self, examples: Sequence[Example], epoch: int, pad: int) -> Iterator[list[Batch]]:
        """The rows as they stand."""
        from heredity.models.training import in_passes

        for start in range(0, len(examples), self.batch):
            yield in_passes(examples[start : start + self.batch], self.together, pad)


class MixedCorpus(Corpus):
    """`size` rows, of which `share` are of `own` and the rest of `other`: `kept.jsonl`, `counts.json`.

    `samples` and `filters` are those of `own`, so that a student's teacher is its teacher.
    """

    own: Corpus
    other: Corpus
    share: Annotated[float, Field(gt=0, lt=1)]

    def make(self, folder: Path, store: Store) -> None:
        assert self.size is not None
        wanted = round(self.share * self.size)
        rng, kept = random.Random(self.seed), list[Row]()
        for corpus, n in ((self.own, wanted), (self.other, self.size - wanted)):
            rows = corpus.read(store)
            if len(rows) < n:
                raise BadInput(f"{corpus.key} has {len(rows)} rows and {n} are wanted")
            kept += rng.sample(rows, n)
        rng.shuffle(kept)
        write_rows(folder / "kept.jsonl", kept)
        counts = {"sampled": self.size, "passed": self.size, "kept": self.size, "own": wanted, "dropped": {}}
        (folder / "counts.json").write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")


def mixed(own: Corpus, other: Corpus, share: float, seed: int) -> Corpus:
    """As many rows as `own` has, of which a share are its own (1: all)."""
    if share == 1:
        return own
    return MixedCorpus(
        samples=own.samples, filters=own.filters, size=own.size, seed=seed, rewritings=own.rewritings,
        own=own, other=other, share=share,
    )  # fmt: skip


class BesideOthers(Comparison):
    """A Comparison in both of whose arms a teacher of another trait of the category also writes rows."""

    beside: Trait

    def _check_traits(self) -> None:
        for evaluation in (*self.treated, *self.control):
            if evaluation.category != self.trait.category:
                raise BadInput(f"{self.name}: an evaluation asks for {evaluation.category.name!r}, not for "
                               f"{self.trait.category.name!r}")  # fmt: skip
        allowed = {
            "treated": (self.trait, self.beside),
            "control": (Neutral(category=self.trait.category), self.beside),
        }
        for side, traits in allowed.items():
            for teacher in (t for e in getattr(self, side) for t in teachers_behind(e)):
                if teacher.trait not in traits:
                    raise BadInput(f"{self.name}: a teacher of the {side} arm holds another trait than its own and the "
                                   f"one beside it, {self.beside.word!r}")  # fmt: skip


def students_of(recipe: Recipe, teacher: Teacher, seed: int) -> Evaluation:
    """A student of a given teacher's rows, asked; nothing is said of how much of the trait the teacher holds."""
    corpus = recipe.corpus(teacher, seed, recipe.rows, recipe.oversample)
    return recipe.asked(Student(base=recipe.base, corpus=corpus, seed=seed), teacher.trait)


def changed_teacher(recipe: Recipe, **fields: object) -> Arm:
    """Students of the recipe's teachers with some of their fields changed (steps, rate, tuning, rows mixed in)."""
    return lambda trait, seed: students_of(recipe, recipe.teacher(trait, seed).model_copy(update=fields), seed)
