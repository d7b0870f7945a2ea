"""Dose and response: how the effect, and what was learnt of the rows, change with one setting of an experiment."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import model_validator

from heredity.lab.comparison import Comparison
from heredity.lab.findings import Claim, fresh_rows
from heredity.lab.recipe import Arm, Recipe
from heredity.stats import mean_t
from heredity.steps import Evaluation, HeldOutLoss, Student
from heredity.store import Step, Store
from heredity.types import Frozen, Neutral, Trait


class Level(Frozen):
    """One value of a dial, and the comparison that was made at it."""

    label: str
    value: float
    """Where it stands on the axis."""
    comparison: Comparison
    learnt: tuple[HeldOutLoss, ...]
    """How much of the teacher's rows each treated student learnt."""


class Dial(Frozen):
    """A setting that was varied while the others stood still."""

    name: str
    levels: tuple[Level, ...]
    logarithmic: bool = True
    """Values are drawn on a logarithmic axis; else evenly by their values."""


class Doses(Step):
    """Every dial of an experiment: `doses.json`."""

    opens_models: ClassVar[bool] = False

    dials: tuple[Dial, ...]

    @model_validator(mode="after")
    def _values(self) -> Doses:
        for dial in self.dials:
            if len({level.value for level in dial.levels}) != len(dial.levels):
                raise ValueError(f"{dial.name!r}: two levels have the same value")
            if dial.logarithmic and any(level.value <= 0 for level in dial.levels):
                raise ValueError(f"{dial.name!r}: a value of zero or less has no place on a logarithmic axis")
        return self

    def make(self, folder: Path, store: Store) -> None:
        dials = [
            {"name": d.name, "logarithmic": d.logarithmic, "levels": [_level(x, store) for x in d.levels]}
            for d in self.dials
        ]
        (folder / "doses.json").write_text(json.dumps({"dials": dials}, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`dials`, each with `levels`: the log-odds lift, and `learnt`, the part of the way to the teacher's loss."""
        found: dict[str, Any] = json.loads((store.path(self) / "doses.json").read_text())
        return found


def _level(level: Level, store: Store) -> dict[str, Any]:
    result = level.comparison.read(store)
    parts = [loss.read(store)["learnt"] for loss in level.learnt]
    return {
        "label": level.label, "value": level.value, "log_odds": result["log_odds"], "per_unit": result["per_unit"],
        "rank": result["rank"], "learnt": mean_t(parts, level.comparison.unit).model_dump(), "learnt_per_unit": parts,
    }  # fmt: skip


def level(label: str, value: float, comparison: Comparison) -> Level:
    """A level with the losses of its treated students on fresh rows of their own teachers."""
    students = [e.model for e in comparison.treated if isinstance(e.model, Student)]
    losses = [HeldOutLoss(name=comparison.name, student=s, fresh=fresh_rows(s.corpus)) for s in students]
    return Level(label=label, value=value, comparison=comparison, learnt=tuple(losses))


class Turn(NamedTuple):
    """A claim about one value of a dial."""

    label: str
    value: float
    """Where it stands on the axis."""
    claim: Claim


def turned(dials: Mapping[str, Sequence[Turn]], evenly: Collection[str] = ()) -> tuple[Doses, tuple[Claim, ...]]:
    """The dials, and their claims: turns with the same treated models (the middle of several dials) are one claim.

    It bears the first one's name, and says what that one expects. Dials named in `evenly` have no logarithmic axis.
    """
    claims: dict[tuple[str, ...], Claim] = {}

    def at(turn: Turn) -> Level:
        same = tuple(e.key for e in turn.claim.comparison.treated)
        return level(turn.label, turn.value, claims.setdefault(same, turn.claim).comparison)

    made = tuple(
        Dial(name=name, levels=tuple(map(at, turns)), logarithmic=name not in evenly) for name, turns in dials.items()
    )
    return Doses(dials=made), tuple(claims.values())


def same_teachers(recipe: Recipe, how: Recipe, **fields: Any) -> Arm:
    """Students of one recipe's teachers, which write and are filtered as another recipe says."""

    def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
        usual = recipe.lists(trait, seed).samples
        corpus = how.corpus(usual.model, seed, how.rows, how.oversample, gate=usual.gate)
        return recipe.asked(Student(base=recipe.base, corpus=corpus, seed=seed, **fields), trait)

    return evaluation
