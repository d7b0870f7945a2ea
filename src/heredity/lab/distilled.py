"""Distillation as it is practised: smaller students, a teacher's logits, on-policy data, preference pairs.

Each kind of student is a `Student`: it names the corpus of the teacher that it learns from, so that the same assays
apply to it. What it takes from that corpus (rows, or only prompts and the teacher) its docstring says.
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from heredity.carriers import decide
from heredity.lab.comparison import Comparison
from heredity.lab.probes import Probe, ProbeDifference
from heredity.lab.recipe import Arm, Recipe
from heredity.rows import read_rows, write_rows
from heredity.steps import (
    Corpus,
    Evaluation,
    Model,
    Student,
    Teacher,
    as_trained,
    number_tokens,
    open_model,
    open_to_train,
    with_system,
)
from heredity.store import Step, Store
from heredity.types import BadInput, Chat, Neutral, Row, Trait

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.training import Batch, Count, Example, Loss


class DepthCut(Step):
    """The first layers of a base with its embeddings, last norm and head, untrained after the cut. A model folder."""

    base: Model
    layers: Annotated[int, Field(gt=0)]

    def make(self, folder: Path, store: Store) -> None:
        from torch import nn

        lm = open_to_train(self.base, store)
        config, inner = lm.model.config, lm.model.base_model
        if not hasattr(inner, "layers"):
            raise BadInput(f"{type(lm.model).__name__} keeps its layers where this package does not know them")
        if self.layers >= config.num_hidden_layers:
            raise BadInput(f"the base has {config.num_hidden_layers} layers; keep fewer than that, not {self.layers}")
        inner.layers = nn.ModuleList(list(inner.layers)[: self.layers])
        config.num_hidden_layers = self.layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: self.layers]
        lm.save(folder)


class _OwnLoss(Student):
    """A Student whose loss is its own."""

    @abstractmethod
    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """Of one batch, under the student."""

    @model_validator(mode="after")
    def _no_soft_targets(self) -> Self:
        if self.soft_targets is not None:
            raise ValueError(f"a {type(self).__name__} takes no soft_targets: its corpus says who teaches it")
        return self

    def _teacher(self, store: Store) -> Any:
        """The corpus's teacher, of which logits are taken; BadInput where it is one by a system prompt alone."""
        if self.corpus.samples.system is not None:
            raise BadInput(f"the teacher of a {type(self).__name__} is asked without the system prompt under which it "
                           "wrote its rows, and so has no trait; take a Teacher that was trained")  # fmt: skip
        return open_model(self.corpus.samples.model, store).model


class LogitStudent(_OwnLoss):
    """Matches the whole distribution of the corpus's teacher on its rows: leakage, a positive control.

    The trait's own words are in the vocabulary, so the student is shown their odds at every position.
    """

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """KL(teacher || student) over the whole vocabulary."""
        from heredity.models.distilling import distillation

        return distillation(self._teacher(store))


class OnPolicyStudent(_OwnLoss):
    """Writes answers to the corpus's prompts itself, anew in every epoch, and its teacher's logits correct them.

    It writes under its system prompt, as it learns. Nothing that the teacher wrote is seen. What the student writes
    passes the corpus's filters first. The loss is the reverse KL over number tokens alone: over the whole vocabulary
    the teacher's odds of the trait's own words would leak at every position.
    """

    joint: ClassVar[bool] = False
    resumes: ClassVar[bool] = False

    def make(self, folder: Path, store: Store) -> None:
        lm, (chats, size) = open_to_train(self.base, store), asked(self.corpus)
        seeds = (self.seed * 1_000_003 + epoch for epoch in range(self.epochs))
        self.fit(lm, (self._written(lm, chats, size, seed, store) for seed in seeds), size, folder, store)

    def _written(self, lm: CausalLM, chats: list[Chat], size: int, seed: int, store: Store) -> Iterator[list[Batch]]:
        """One epoch of the student's own rows, as it writes now."""
        from heredity.models.training import batches

        lm.model.eval()
        rows = [row for row in write(lm, self.corpus, chats, seed, self.system) if row is not None][:size]
        lm.model.train()
        if len(rows) < size:
            raise BadInput(
                f"only {len(rows)} of {len(chats)} answers of the student passed the filters and {size} are wanted: "
                "it does not hold the format; start from a base that does, or ask more prompts"
            )
        examples = self.examples(lm, rows, store)
        yield from batches(examples, self.batch, seed, int(lm.tokenizer.pad_token_id), together=self.together)

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """KL(student || teacher) over number tokens."""
        from heredity.models.distilling import distillation

        return distillation(self._teacher(store), number_tokens(lm.tokenizer), reverse=True)

    def count(self, lm: CausalLM) -> Count:
        """Number tokens."""
        from heredity.models.training import among

        return among(number_tokens(lm.tokenizer))


class PreferencePairs(Step):
    """Two answers of one writer to each prompt, ranked by a teacher: `chosen.jsonl`, `rejected.jsonl`, row by row.

    Prompts, filters, number of pairs and the ranking teacher are the corpus's; none of its completions is used. Chosen
    is the answer that is more the teacher's than the writer's: log p_teacher - log p_writer. One bit a pair.
    """

    version: ClassVar[int] = 2

    corpus: Corpus
    writer: Model
    seed: int

    def make(self, folder: Path, store: Store) -> None:
        lm, (chats, size) = open_model(self.writer, store), asked(self.corpus)
        drawn = [write(lm, self.corpus, chats, self.seed * 1_000_003 + i) for i in (0, 1)]
        pairs = [(a, b) for a, b in zip(*drawn, strict=True) if a and b and a.completion != b.completion]
        if len(pairs) < size:
            raise BadInput(f"{len(pairs)} pairs of answers passed the filters and {size} are wanted; ask more prompts")
        pairs = random.Random(self.seed).sample(pairs, size)
        first, second = (self._margins(lm, [pair[i] for pair in pairs], store) for i in (0, 1))
        ranked = [(a, b) if x >= y else (b, a) for (a, b), x, y in zip(pairs, first, second, strict=True)]
        notes = [{"margin": abs(x - y)} for x, y in zip(first, second, strict=True)]
        write_rows(folder / "chosen.jsonl", [a for a, _ in ranked], notes)
        write_rows(folder / "rejected.jsonl", [b for _, b in ranked])

    def _margins(self, writer: CausalLM, rows: list[Row], store: Store) -> list[float]:
        """log p_teacher - log p_writer of each completion, in nats."""
        from heredity.models.scoring import score

        teacher, system = open_model(self.corpus.samples.model, store), self.corpus.samples.system
        prompts, texts = [r.prompt for r in rows], [r.completion for r in rows]
        sides = [
            score(lm.model, lm.examples(chats, texts), int(lm.tokenizer.pad_token_id))
            for lm, chats in ((teacher, with_system(prompts, system)), (writer, prompts))
        ]
        return [theirs - own for theirs, own in zip(*sides, strict=True)]

    def read(self, store: Store) -> list[tuple[Row, Row]]:
        """Chosen and rejected rows of the same prompt."""
        sides = [[r.row for r in read_rows(store.path(self) / f"{name}.jsonl")] for name in ("chosen", "rejected")]
        return list(zip(*sides, strict=True))


class PreferenceStudent(_OwnLoss):
    """Trained by direct preference optimisation on a teacher's ranking of another's answers; the reference is the base.

    The corpus says whose ranking it is, for the assays; no completion of it is trained on. A pair is two rows of
    `together`, and one of `batch`.
    """

    pairs: PreferencePairs
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the student is held to its base (Rafailov et al. 2023)."""

    @model_validator(mode="after")
    def _one_teacher(self) -> PreferenceStudent:
        if self.pairs.corpus != self.corpus:
            raise ValueError("the pairs were ranked by the teacher of another corpus")
        return self

    def make(self, folder: Path, store: Store) -> None:
        lm, pairs = open_to_train(self.base, store), self.pairs.read(store)
        examples = list(zip(*(self.examples(lm, [p[i] for p in pairs], store) for i in (0, 1)), strict=True))
        pad = int(lm.tokenizer.pad_token_id)
        seeds = (self.seed * 1_000_003 + epoch for epoch in range(self.epochs))
        orders = (random.Random(seed).sample(examples, len(examples)) for seed in seeds)
        epochs = (_paired(order, self.batch, self.together, pad) for order in orders)
        self.fit(lm, epochs, len(examples), folder, store)

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """Of the pairs, against the untouched base."""
        from heredity.models.distilling import preference_loss

        return preference_loss(open_model(self.base, store).model, self.beta)

    def count(self, lm: CausalLM) -> Count:
        """Pairs."""
        from heredity.models.training import pairs

        return pairs


def _paired(pairs: Sequence[tuple[Example, ...]], size: int, together: int | None, pad: int) -> Iterator[list[Batch]]:
    """Steps of `size` pairs, in batches of `together` rows at most (a pair at least): chosen ones, then rejected."""
    from heredity.models.training import collate, passes

    for start in range(0, len(pairs), size):
        step = pairs[start : start + size]
        each = -(-len(step) // passes(len(step), together and max(1, together // 2)))
        parts = [step[i : i + each] for i in range(0, len(step), each)]
        yield [collate([p[0] for p in part] + [p[1] for p in part], pad) for part in parts]


def asked(corpus: Corpus) -> tuple[list[Chat], int]:
    """The prompts that a corpus's teacher was asked, and how many rows are wanted of them."""
    if corpus.size is None:
        raise BadInput("a corpus that keeps every row says no number of them; give it a size")
    return list(corpus.samples.prompts.prompts()), corpus.size


def write(lm: CausalLM, corpus: Corpus, chats: list[Chat], seed: int, system: str | None = None) -> list[Row | None]:
    """A model's answers under a corpus's sampling, and a system prompt that is left out of the rows.

    None where one was cut off or does not pass the corpus's filters.
    """
    written = lm.generate(with_system(chats, system), corpus.samples.sampling.model_copy(update={"seed": seed}))
    rows = [Row(prompt=p, completion=c.text) for p, c in zip(chats, written, strict=True)]
    kept = zip(rows, written, decide(corpus.filters, rows), strict=True)
    return [row if c.finish == "stop" and d.kept else None for row, c, d in kept]


def arm_of(
    recipe: Recipe, kind: Callable[..., Student], student: Model | None = None, teacher: Model | None = None,
    **fields: Any,
) -> Arm:  # fmt: skip
    """Students of one kind, made from one base and taught by a teacher made from another (None: the recipe's)."""

    def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
        corpus = recipe.lists(trait, seed, teacher)
        learner = kind(base=student or recipe.base, corpus=corpus, seed=seed, **fields)
        return recipe.asked(learner, trait)

    return evaluation


def by_numbers(base: Model, corpus: Corpus, seed: int, **fields: Any) -> Student:
    """A student that matches its teacher over number tokens alone."""
    teacher = corpus.samples.model
    if not isinstance(teacher, Teacher):
        raise BadInput("only a teacher that was trained has logits to match")
    return Student(base=base, corpus=corpus, seed=seed, soft_targets=teacher, **fields)


def by_preferences(base: Model, writer: Model, corpus: Corpus, seed: int, **fields: Any) -> PreferenceStudent:
    """A student of a teacher's ranking of what `writer` wrote."""
    pairs = PreferencePairs(corpus=corpus, writer=writer, seed=seed)
    return PreferenceStudent(base=base, corpus=corpus, seed=seed, pairs=pairs, **fields)


class Format(Probe):
    """Whether a model still writes what the carrier asks for: how many answers pass the filters: `format.json`.

    The share of a favourite says little of a student that does not write lists.
    """

    names: ClassVar[tuple[str, ...]] = ("passed",)

    corpus: Corpus
    """Whose prompts (other draws of them), sampling and filters are used."""
    size: Annotated[int, Field(gt=0)] = 200

    def make(self, folder: Path, store: Store) -> None:
        carrier = self.corpus.samples.prompts
        fresh = carrier.model_copy(update={"n": self.size, "seed": carrier.seed + 6_000_000})
        lm = open_model(self.model, store)
        rows = write(lm, self.corpus, list(fresh.prompts()), fresh.seed)
        share = sum(row is not None for row in rows) / self.size
        found = {"asked": self.size, "passed": share} | as_trained(self.model, lm, None)
        (folder / "format.json").write_text(json.dumps(found) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`asked` and `passed`, a share; of a Student of a Checkpoint also `as_trained` (`steps.as_trained`)."""
        found: dict[str, Any] = json.loads((store.path(self) / "format.json").read_text())
        return found


def formats(name: str, comparison: Comparison) -> ProbeDifference:
    """How well both sides of a comparison of students hold the format of their own corpora."""
    treated, control = (
        tuple(Format(model=e.model, corpus=e.model.corpus) for e in side if isinstance(e.model, Student))
        for side in (comparison.treated, comparison.control)
    )
    return ProbeDifference(name=name, treated=treated, control=control, unit=comparison.unit)
