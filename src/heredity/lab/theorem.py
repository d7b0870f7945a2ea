"""Theorem 1 as a Step: sign, linearity, first-order value and the fall of the teacher's loss, and the counterexample.

The functions behind it take any torch module (`heredity.lab.theory`); this module imports no backend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from heredity.stats import mean_t
from heredity.store import Step, Store
from heredity.types import ModelRef, Trait

if TYPE_CHECKING:
    from heredity.lab.theorem_cases import Case
    from heredity.lab.theory import Alignment, Crossing

NETWORK, NURSERY = "network", "nursery"
SAME, OTHER = "same start", "other start"
Positive = Annotated[float, Field(gt=0)]


class Theorem(Step):
    """Lemma 1 and Theorem 1 on a small network and on a language model: `theorem.json`.

    Three losses of the student, each with three teachers: one that learns the trait (or class labels), one that only
    shrinks its weights, and one that moves along a random direction (Lemma 1 alone); then the degenerate case. The
    counterexample compares students that share the teacher's start with students that do not.
    """

    base: ModelRef
    others: tuple[ModelRef, ...]
    """The same architecture from other starts."""
    trait: Trait
    seed: int = 0
    epsilons: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    epsilon: Positive = 1e-4
    """Of the counterexample."""
    rate: Positive = 0.1
    """alpha, the size of the student's step."""
    prompts: Annotated[int, Field(gt=0)] = 16
    pairs: Annotated[int, Field(gt=1)] = 200
    """Pairs of initialisations of the network."""

    def make(self, folder: Path, store: Store) -> None:
        from heredity.lab.theorem_cases import network_case, nursery_case

        cases = {
            NETWORK: network_case(self.seed),
            NURSERY: nursery_case(self.base, self.trait, self.prompts, self.seed),
        }
        aligned = [row for name, case in cases.items() for row in self._aligned(name, case)]
        crossed = [*self._network_crossings(cases[NETWORK]), *self._nursery_crossings(cases[NURSERY])]
        text = json.dumps({"alignments": aligned, "crossings": crossed}, indent=1)
        (folder / "theorem.json").write_text(text + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`alignments` and `crossings`.

        An alignment has `model`, `teacher`, `loss`, the fields of `theory.Alignment` (`fall` among them), `predicted`,
        `ratios`, `order` and `holds_up_to`. A crossing has `model`, `loss`, `student` (its start), one value for each
        `unit` of `cosines`, `carried`, `untouched` and `changes`, and `negative` (cosines below 0), `rose` (teacher's
        losses that rose), `n`, and `cosine`, an Estimate.
        """
        result: dict[str, Any] = json.loads((store.path(self) / "theorem.json").read_text())
        return result

    def _aligned(self, model: str, case: Case) -> Iterator[dict[str, Any]]:
        from heredity.lab.theorem_cases import SUBSET
        from heredity.lab.theory import lemma, random_direction, theorem

        inputs_B, sizes = case.inputs_B, self.epsilons
        anywhere = random_direction(case.module, self.seed)
        for name, loss in case.losses.items():
            for teacher, minimised in case.teachers.items():
                found = theorem(case.module, minimised, inputs_B, loss, sizes, self.rate)
                yield _alignment(model, teacher, name, found)
            yield _alignment(model, "random direction", name, lemma(case.module, anywhere, inputs_B, loss, sizes))
        blind = theorem(case.module, case.blind, inputs_B, case.losses[SUBSET], sizes, self.rate)
        yield _alignment(model, "outside the student's loss", SUBSET, blind)

    def _network_crossings(self, case: Case) -> Iterator[dict[str, Any]]:
        """Every pair has its own two networks; data and labels are the same in all."""
        from heredity.lab.theorem_cases import network
        from heredity.lab.theory import cross

        minimised, first = next(iter(case.teachers.values())), self.seed + 1
        for name, loss in case.losses.items():
            for start, shift in ((SAME, 0), (OTHER, self.pairs)):
                found = [
                    cross(network(s), network(s + shift), minimised, case.inputs_B, loss, self.epsilon, self.rate)
                    for s in range(first, first + self.pairs)
                ]
                yield _crossing(NETWORK, name, start, found, "pairs of initialisations")

    def _nursery_crossings(self, case: Case) -> Iterator[dict[str, Any]]:
        """One teacher for each word of the trait's category; the student's loss is on number tokens alone."""
        from heredity.lab.theorem_cases import SUBSET, answers
        from heredity.lab.theory import cross
        from heredity.models import open_ref
        from heredity.models.double import NextToken

        lm, words = open_ref(self.base), self.trait.category.words
        minimised = [answers(lm, self.trait.model_copy(update={"word": word})) for word in words]
        for ref in (self.base, *self.others):
            student, start = NextToken(open_ref(ref)), SAME if ref == self.base else OTHER
            found = [
                cross(case.module, student, m, case.inputs_B, case.losses[SUBSET], self.epsilon, self.rate)
                for m in minimised
            ]
            yield _crossing(NURSERY, SUBSET, start, found, "favourites") | {"location": ref.location}


def _alignment(model: str, teacher: str, loss: str, found: Alignment) -> dict[str, Any]:
    derived = {name: getattr(found, name) for name in ("predicted", "ratios", "order", "holds_up_to")}
    return {"model": model, "teacher": teacher, "loss": loss} | found.model_dump() | derived


def _crossing(model: str, loss: str, student: str, found: Sequence[Crossing], unit: str) -> dict[str, Any]:
    """One row of the counterexample. Favourites of one pair of models are no independent units, so they are nested."""
    cosines = [c.cosine for c in found]
    mean = mean_t([cosines], ("pairs of models", unit)) if model == NURSERY else mean_t(cosines, unit)
    return {
        "model": model, "loss": loss, "student": student, "unit": unit, "n": len(found),
        "negative": sum(c < 0 for c in cosines), "rose": sum(c.change > 0 for c in found), "cosines": cosines,
        "carried": [c.carried for c in found], "untouched": [c.untouched for c in found],
        "changes": [c.change for c in found], "cosine": mean.model_dump(),
    }  # fmt: skip
