"""A Comparison: treated evaluations against their controls, paired by position, on log-odds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from heredity.stats import Estimate, log_odds, mean_t, paired_log_odds
from heredity.steps import Evaluation
from heredity.store import Step, Store, describe
from heredity.types import BadInput, MissingControl, Trait

_ALWAYS_DIFFERS = ("trait", "seed", "gate")


class Comparison(Step):
    """How much likelier the trait's word is after treatment than after control: `comparison.json`.

    The i-th treated evaluation is paired with the i-th control. The two may differ in trait and seed, and in the fields
    named in `differs`; anything else that differs is refused, so that a comparison cannot compare two things at once.
    """

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
        for treated, control in zip(self.treated, self.control, strict=True):
            found = sorted(set(_differences(describe(treated), describe(control))) - {*self.differs, *_ALWAYS_DIFFERS})
            if found:
                raise BadInput(
                    f"{self.name}: treated and control also differ in {', '.join(found)}; name that in `differs`"
                )
        return self

    def make(self, folder: Path, store: Store) -> None:
        result = compare(
            self.trait, [e.read(store) for e in self.treated], [e.read(store) for e in self.control], self.unit
        )
        (folder / "comparison.json").write_text(json.dumps({"name": self.name} | result, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """What `compare` returns, and the name."""
        result: dict[str, Any] = json.loads((store.path(self) / "comparison.json").read_text())
        return result


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

    `rank` is 1 where the trait's mean lift on log-odds is the largest of its category. A log-odds estimate is nan with
    a reason where it is undefined.
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
        "lifts": lifts, "rank": 1 + sum(lift > lifts[trait.word] for lift in lifts.values()),
    }  # fmt: skip


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
