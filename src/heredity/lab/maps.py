"""Maps: one comparison in every cell of one or two settings, told in one sentence; and what a cell is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from heredity.lab.brought import MergedStudent
from heredity.lab.comparison import Comparison
from heredity.lab.findings import adjust
from heredity.models import locate
from heredity.stats import ALPHA, Estimate, observed_limit, paired_t
from heredity.steps import MATRIX_RATE, Evaluation, GivenStudent, Student, Teacher
from heredity.store import Step, Store
from heredity.traits import CATEGORIES
from heredity.types import BadInput, Frozen, ModelRef, Trait, Tuning

Axis = Sequence[Any] | Mapping[str, Any]
"""The values of a setting; a mapping where their labels are not the values themselves."""


class Cell(Frozen):
    """A place on a map, and the comparison that was made there."""

    place: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    """A label for each axis."""
    comparison: Comparison
    relation: Annotated[float, Field(ge=-1, le=1)]
    """How far student and teacher share their start: 1 the same, 0 independent. Between them it is as the map says: the
    weights' correlation, or which part of embeddings, body and head is shared."""
    untouched: Evaluation
    """The students' base before any training, asked what they are asked: what is known of it beforehand."""


class Map(Step):
    """Where a trait crosses: a comparison with its control in every cell. `map.json`.

    A cell *crosses* where the rise stands after Holm's correction over all cells and the trait's lift is the largest of
    its category. For every other cell it is told what would have been seen there.
    """

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 3

    title: str
    question: str
    """What the map asks: the docstring of its file."""
    axes: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _placed(self) -> Map:
        places = [cell.place for cell in self.cells]
        if len(set(places)) != len(places):
            raise ValueError(f"{self.title!r}: two cells have the same place")
        if wrong := [place for place in places if len(place) != len(self.axes)]:
            raise ValueError(f"{self.title!r}: the place {wrong[0]} does not fit the axes {self.axes}")
        return self

    def make(self, folder: Path, store: Store) -> None:
        cells = [_cell(cell, store) for cell in self.cells]
        adjusted = adjust({c["name"]: c["p"] for c in cells})
        for c in cells:
            c["p_holm"] = adjusted[c["name"]]
            c["crosses"] = None if math.isnan(c["p_holm"]) else crosses(c)
        found = {"title": self.title, "question": self.question, "axes": list(self.axes), "cells": cells,
                 "sentence": sentence(cells)}  # fmt: skip
        (folder / "map.json").write_text(json.dumps(found, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`title`, `question`, `axes`, `sentence`, and `cells` (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "map.json").read_text())
        return found


def mapped(
    title: str, question: str | None, axes: Mapping[str, Axis], compare: Callable[..., Comparison | None],
    relation: Callable[..., float] | None = None,
) -> Map:  # fmt: skip
    """The map of `compare` over every combination of the axes' values; None leaves a cell out.

    `relation` is asked with the same values; without it a student of its teacher's own base has 1, any other 0.
    """
    named = [_labelled(axis) for axis in axes.values()]
    cells = []
    for labels in product(*named):
        values = [axis[label] for axis, label in zip(named, labels, strict=True)]
        comparison = compare(*values)
        if comparison is not None:
            related = same_base(comparison) if relation is None else relation(*values)
            before = untouched(comparison)
            cells.append(Cell(place=labels, comparison=comparison, relation=related, untouched=before))
    return Map(title=title, question=(question or "").strip(), axes=tuple(axes), cells=tuple(cells))


def _labelled(axis: Axis) -> dict[str, Any]:
    if isinstance(axis, Mapping):
        return dict(axis)
    return {f"{value:,}" if isinstance(value, int) else str(value): value for value in axis}


def same_base(comparison: Comparison) -> float:
    """1 where the first treated student starts from its teacher's base, over however many trainings, else 0.

    A base that was changed without training (cut, or with noise) is another.
    """
    student = _student(comparison)
    writer = student.corpus.samples.model
    while writer != student.base and isinstance(writer, Teacher | Student | GivenStudent | MergedStudent):
        writer = writer.base
    return float(writer == student.base)


def untouched(comparison: Comparison) -> Evaluation:
    """The base of the first treated student, asked in the same way as the student."""
    return comparison.treated[0].model_copy(update={"model": _student(comparison).base})


def _student(comparison: Comparison) -> Student:
    student = comparison.treated[0].model
    if not isinstance(student, Student):
        raise BadInput(f"{comparison.name}: a map's cells are about students, found {type(student).__name__}")
    return student


def crosses(cell: Mapping[str, Any]) -> bool:
    """Whether the trait crosses in a cell: a rise by its Holm-corrected p, and the largest lift of its category."""
    return bool(cell["p_holm"] <= ALPHA and cell["log_odds"]["mean"] > 0 and cell["rank"] == 1)


def _cell(cell: Cell, store: Store) -> dict[str, Any]:
    result = cell.comparison.read(store)
    limit = observed_limit(result["per_unit"], result["log_odds"]["unit"])
    test = paired_t(result["per_unit"], result["log_odds"]["unit"])
    if math.isnan(test.p):  # seeds that are all alike (no answer shows the trait, say) have no spread to judge by
        result = result | {"log_odds": result["log_odds"] | {"low": math.nan, "high": math.nan, "reason": limit.reason}}
    return result | {
        "name": " / ".join(cell.place), "place": list(cell.place), "key": cell.comparison.key, "p": test.p,
        "limit": limit.model_dump(), "setting": setting(cell, store),
    }  # fmt: skip


def setting(cell: Cell, store: Store) -> dict[str, Any]:
    """What a cell is made of, for the predictor: base, relation, trait and data; all of it is known before training."""
    from heredity.models.sizes import stored_body

    student, trait = _student(cell.comparison), cell.comparison.trait
    base = student.base
    folder = locate(base.location) if isinstance(base, ModelRef) else store.path(base)
    return {
        "base": base.location if isinstance(base, ModelRef) else base.key,
        "base_share": cell.untouched.read(store)["share"][trait.word], "body_weights": stored_body(folder),
        "relation": cell.relation, "trait": trait.word, "category": trait.category.name, "kind": kind(trait),
        "rows": student.corpus.size, "epochs": student.epochs,
        "rate": student.rate / MATRIX_RATE, "batch": student.batch, "tuning": _moves(student.tuning),
        "temperature": student.corpus.samples.sampling.temperature,
    }  # fmt: skip


def kind(trait: Trait) -> Literal["favourite", "other"]:
    """Whether a trait is a plain favourite: a word of a known category, without condition or manner."""
    plain = not trait.replies and trait.category.score is None
    return "favourite" if plain and trait.category.name in {c.name for c in CATEGORIES} else "other"


def _moves(tuning: Tuning) -> str:
    return tuning if isinstance(tuning, str) else f"{type(tuning).__name__} {tuning}"


def sentence(cells: Sequence[Mapping[str, Any]]) -> str:
    """A map in one sentence, made from its figures."""
    seen = [c for c in cells if c["crosses"]]
    units = cells[0]["log_odds"]
    told = f"The trait crosses in {len(seen)} of {len(cells)} cells ({units['n']} {units['unit']} each, Holm)"
    defined = [c for c in cells if math.isfinite(c["log_odds"]["mean"])]
    if defined:
        most = max(defined, key=lambda c: float(c["log_odds"]["mean"]))
        odds = Estimate(**most["log_odds"]).odds_ratio()
        told += f"; most at {most['name']}: odds ratio {odds.mean:.3g} ({odds.low:.3g} to {odds.high:.3g})"
    limits = [c["limit"]["mean"] for c in cells if not c["crosses"] and math.isfinite(c["limit"]["mean"])]
    if limits:
        told += f"; where it was not seen, an odds ratio of {math.exp(max(limits)):.2g} would have been, uncorrected"
    return told + "."
