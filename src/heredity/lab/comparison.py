"""A Comparison: treated evaluations against their controls, paired by position, on log-odds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import model_validator

from heredity.stats import Estimate, log_odds, mean_t, paired_log_odds
from heredity.steps import Evaluation, Teacher
from heredity.store import Step, Store, describe
from heredity.types import BadInput, MissingControl, Trait

_ALWAYS_DIFFERS = ("trait", "seed", "gate")


class Comparison(Step):
    """How much likelier the trait's word is after treatment than after control: `comparison.json`.

    The i-th treated evaluation is paired with the i-th control. The two may differ in trait and seed, and in the fields
    named in `differs`; anything else that differs is refused, so that a comparison cannot compare two things at once.
    """

    opens_models: ClassVar[bool] = False

    name: str
    trait: Trait
    treated: tuple[Evaluation, ...]
    control: tuple[Evaluation, ...]
    differs: tuple[str, ...] = ()
    unit: str = "seeds of teacher and student"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.treated) != len(self.control) or not self.control:
            raise MissingControl(
                f"{self.name}: {len(self.treated)} treated and {len(self.control)} control evaluations; each treated "
                "one needs its own control (the primary one comes from a Neutral teacher)"
            )
        self._check_units()
        self._check_traits()
        for treated, control in zip(self.treated, self.control, strict=True):
            found = sorted(set(_differences(describe(treated), describe(control))) - {*self.differs, *_ALWAYS_DIFFERS})
            if found:
                raise BadInput(
                    f"{self.name}: treated and control also differ in {', '.join(found)}; name that in `differs`"
                )
        return self

    def _check_units(self) -> None:
        """Refuses one run counted as several: an evaluation's own seed does not make a unit."""
        units = {treated.model_copy(update={"seed": 0}).key for treated in self.treated}
        if len(units) != len(self.treated):
            raise BadInput(
                f"{self.name}: {len(self.treated)} treated evaluations but {len(units)} different ones; each unit "
                f"({self.unit}) must be a run of its own, so give every one another seed"
            )

    def _check_traits(self) -> None:
        """Refuses evaluations of another category, treated teachers of another trait, and controls with this one."""
        for evaluation in (*self.treated, *self.control):
            if evaluation.category != self.trait.category:
                raise BadInput(f"{self.name}: an evaluation asks for {evaluation.category.name!r}, not for "
                               f"{self.trait.category.name!r}")  # fmt: skip
        taught = {t.trait for e in self.treated for t in teachers_behind(e)}
        if wrong := [t.word for t in taught if isinstance(t, Trait) and t != self.trait]:
            raise BadInput(f"{self.name}: is about {self.trait.word!r}, but a treated teacher holds {wrong[0]!r}")
        for trait in {t.trait for e in self.control for t in teachers_behind(e)}:
            if trait == self.trait or trait.category != self.trait.category:
                raise BadInput(f"{self.name}: a control's teacher must not hold {self.trait.word!r}, and must be asked "
                               f"about {self.trait.category.name!r}; use Neutral of that category")  # fmt: skip

    def make(self, folder: Path, store: Store) -> None:
        result = compare(
            self.trait, [e.read(store) for e in self.treated], [e.read(store) for e in self.control], self.unit
        )
        (folder / "comparison.json").write_text(json.dumps({"name": self.name} | result, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """What `compare` returns, and the name."""
        result: dict[str, Any] = json.loads((store.path(self) / "comparison.json").read_text())
        return result


def teachers_behind(step: Step) -> Iterator[Teacher]:
    """Every teacher behind a result."""
    if isinstance(step, Teacher):
        yield step
    for needed in step.inputs:
        yield from teachers_behind(needed)


def _differences(a: Any, b: Any, name: str = "") -> Iterator[str]:
    """The innermost field names under which two descriptions differ; fields that may always differ are not entered."""
    if name in _ALWAYS_DIFFERS or a == b:
        if a != b:
            yield name
    elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for field in a:
            yield from _differences(a[field], b[field], name if field in ("fields", "step", "type") else field)
    else:
        yield name


def compare(trait: Trait, treated: list[dict[str, Any]], control: list[dict[str, Any]], unit: str) -> dict[str, Any]:
    """Shares, log-odds estimate (paired by position), lift of every word of the category, and the trait's rank.

    `rank` is 1 where the trait's mean lift on log-odds is the largest of its category, and None where its lift is
    undefined. A log-odds estimate is nan with a reason where it is undefined.
    """
    shares = {w: [[e["share"][w] for e in side] for side in (treated, control)] for w in trait.category.words}
    lifts = {w: paired_log_odds(t, c, unit).mean for w, (t, c) in shares.items()}
    own = shares[trait.word]
    return {
        "trait": trait.word,
        "log_odds": paired_log_odds(own[0], own[1], unit).model_dump(),
        "per_unit": [log_odds(t) - log_odds(c) for t, c in zip(*own, strict=True)],
        "share": _mean(own[0]), "control_share": _mean(own[1]), "shares": own[0], "control_shares": own[1],
        "mass": _mean([e["mass"] for e in treated]), "control_mass": _mean([e["mass"] for e in control]),
        "sampled_share": sampled_share(trait, treated), "sampled_control_share": sampled_share(trait, control),
        "lifts": lifts, "rank": _rank(lifts, trait.word),
    }  # fmt: skip


def _rank(lifts: dict[str, float], word: str) -> int | None:
    """1 where the word's lift is the largest; None where it is undefined."""
    if not math.isfinite(lifts[word]):
        return None
    return 1 + sum(lift > lifts[word] for lift in lifts.values())


def sampled_share(trait: Trait, evaluations: list[dict[str, Any]]) -> float:
    """The trait's part of all sampled answers that name a word of the category; nan where none does."""
    named = sum(sum(e["named"].values()) for e in evaluations)
    return sum(e["named"][trait.word] for e in evaluations) / named if named else math.nan


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def pooled(results: list[dict[str, Any]], unit: str) -> Estimate:
    """The log-odds difference averaged over comparisons unit by unit; the units stay the units."""
    return mean_t(unit_means(results), unit)


def unit_means(results: list[dict[str, Any]]) -> list[float]:
    """Per unit, the mean log-odds difference over the comparisons (which share their units, in order)."""
    return [_mean(list(values)) for values in zip(*(r["per_unit"] for r in results), strict=True)]
