"""Maps: one comparison in every cell of one or two settings, told in one sentence; and what a cell is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from heredity.lab.beside import Assay
from heredity.lab.brought import MergedStudent
from heredity.lab.comparison import Comparison
from heredity.lab.contrasts import Contrast, Place, Planned, Together, planned
from heredity.lab.map_words import Seen, sentence
from heredity.models import locate
from heredity.stats import ALPHA, Pooled, detection_limit, paired_t, pooled_t, wilson
from heredity.steps import MATRIX_RATE, Corpus, Evaluation, GivenStudent, Model, Student, Teacher
from heredity.store import Step, Store
from heredity.store.running import failure
from heredity.store.step import nouns_in
from heredity.traits import CATEGORIES
from heredity.types import BadInput, Frozen, ModelRef, Served, Trait, Tuning

_NO_VERDICT = ("unparsed", "ungraded", "incoherent")
"""What evaluations with a judge call answers that it did not decide."""
Axis = Sequence[Any] | Mapping[str, Any]
"""The values of a setting; a mapping where their labels are not the values themselves."""


class Cell(Frozen):
    """A place on a map, and the comparison that was made there."""

    place: Annotated[Place, Field(min_length=1, max_length=2)]
    """A label for each axis."""
    comparison: Comparison
    untouched: Evaluation
    """The students' base before any training, asked what they are asked: what is known of it beforehand."""


class Map(Step):
    """Where a trait crosses: a comparison with its control in every cell. `map.json`.

    A cell *crosses* where the rise stands after a correction over all cells and the trait's lift is the largest of its
    category. All cells are judged by one spread (`stats.pooled_t`), as three seeds alone hardly tell theirs. Of a cell
    in which nothing is seen it is told what would have been. Differences between cells are asked of contrasts that were
    planned beforehand; they are not corrected.
    """

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 5

    title: str
    question: str
    """What the map asks: the docstring of its file."""
    axes: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]
    contrasts: tuple[Contrast, ...] = ()
    together: tuple[Together, ...] = ()
    beside: tuple[Assay, ...] = ()
    """What tells an empty cell from one in which nothing could be seen."""
    left_out: tuple[tuple[Place, str], ...] = ()
    """Cells that could not be made, and why."""

    @model_validator(mode="after")
    def _placed(self) -> Map:
        seeds = {cell.place: seeds_of(cell.comparison) for cell in self.cells}
        if len(seeds) != len(self.cells):
            raise ValueError(f"{self.title!r}: two cells have the same place")
        if wrong := [place for place in seeds if len(place) != len(self.axes)]:
            raise ValueError(f"{self.title!r}: the place {wrong[0]} does not fit the axes {self.axes}")
        about: tuple[Contrast | Together, ...] = (*self.contrasts, *self.together)
        for asked in about:
            if unknown := [place for place in asked.places if place not in seeds]:
                raise ValueError(f"{self.title!r}: {asked.name!r} is about {unknown[0]}, where there is no cell")
        for contrast in self.contrasts:
            if len({seeds[place] for place in contrast.places}) > 1:
                raise ValueError(f"{self.title!r}: the cells of {contrast.name!r} have other seeds, so that they "
                                 "cannot be paired by them")  # fmt: skip
        return self

    def make(self, folder: Path, store: Store) -> None:
        cells = [_cell(cell, store) for cell in self.cells]
        spread = judge(cells)
        at = {tuple(c["place"]): c for c in cells}
        found = {
            "title": self.title, "question": self.question, "axes": list(self.axes), "cells": cells, "spread": spread,
            "contrasts": [c.among(at) for c in self.contrasts], "together": [t.among(at) for t in self.together],
            "assays": [assay.read(store) for assay in self.beside],
            "left_out": [{"place": list(place), "why": why} for place, why in self.left_out],
        }  # fmt: skip
        (folder / "map.json").write_text(json.dumps(found | {"sentence": sentence(found)}, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`title`, `question`, `axes`, `sentence`, `cells` and what stands beside them (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "map.json").read_text())
        return found


def mapped(
    title: str, question: str | None, axes: Mapping[str, Axis], compare: Callable[..., Comparison | None],
    contrasts: Planned | None = None, together: Sequence[Together] = (), beside: Sequence[Assay] = (),
) -> Map:  # fmt: skip
    """The map of `compare` over every combination of the axes' values; None leaves a cell out."""
    named = [_labelled(axis) for axis in axes.values()]
    cells = []
    for labels in product(*named):
        comparison = compare(*(axis[label] for axis, label in zip(named, labels, strict=True)))
        if comparison is not None:
            cells.append(Cell(place=labels, comparison=comparison, untouched=untouched(comparison)))
    return Map(
        title=title, question=(question or "").strip(), axes=tuple(axes), cells=tuple(cells), beside=tuple(beside),
        contrasts=planned(contrasts or {}, [cell.place for cell in cells]), together=tuple(together),
    )  # fmt: skip


def _labelled(axis: Axis) -> dict[str, Any]:
    if isinstance(axis, Mapping):
        return dict(axis)
    return {f"{value:,}" if isinstance(value, int) else str(value): value for value in axis}


def same_base(comparison: Comparison) -> float:
    """1 where the first treated student starts from its teacher's base, else 0."""
    student, teacher = bases(comparison)
    return float(student == teacher)


def bases(comparison: Comparison) -> tuple[Model, Model]:
    """The base of the first treated student, and that of who wrote its rows, over however many trainings.

    A base that was changed without training (cut, or with noise) is another.
    """
    student = _student(comparison)
    writer = student.corpus.samples.model
    while writer != student.base and isinstance(writer, Teacher | Student | GivenStudent | MergedStudent):
        writer = writer.base
    return student.base, writer


def seeds_of(comparison: Comparison) -> tuple[int, ...]:
    """The seeds of the treated students, in order."""
    return tuple(e.model.seed if isinstance(e.model, Student) else e.seed for e in comparison.treated)


def untouched(comparison: Comparison) -> Evaluation:
    """The base of the first treated student, asked in the same way as the student."""
    return comparison.treated[0].model_copy(update={"model": _student(comparison).base})


def _student(comparison: Comparison) -> Student:
    student = comparison.treated[0].model
    if not isinstance(student, Student):
        raise BadInput(f"{comparison.name}: a map's cells are about students, found {type(student).__name__}")
    if not isinstance(student.corpus, Corpus):
        raise BadInput(f"{comparison.name}: a map tells who wrote a cell's rows, which of rows made elsewhere is not "
                       "known; use Findings")  # fmt: skip
    return student


def _cell(cell: Cell, store: Store) -> dict[str, Any]:
    result = cell.comparison.read(store)
    test = paired_t(result["per_unit"], result["log_odds"]["unit"])
    if math.isnan(test.p):  # seeds that are all alike (no answer shows the trait, say) have no spread to judge by
        why = result["log_odds"]["reason"] or test.reason
        result = result | {"log_odds": result["log_odds"] | {"low": math.nan, "high": math.nan, "reason": why}}
    return result | {
        "name": " / ".join(cell.place), "place": list(cell.place), "key": cell.comparison.key, "p_own": test.p,
        "seeds": list(seeds_of(cell.comparison)), "none_of": _none_of(cell.comparison, store),
        "setting": setting(cell, store),
    }  # fmt: skip


def _none_of(comparison: Comparison, store: Store) -> dict[str, Any] | None:
    """Where no sampled answer of any treated student shows the trait: in how many each, and the share that leaves.

    Answers without a verdict are none of them.
    """
    answers = [e.read(store) for e in comparison.treated]
    if not all("named" in a for a in answers) or any(a["named"][comparison.trait.word] for a in answers):
        return None
    each = min(int(a["samples"]) - sum(int(a.get(name, 0)) for name in _NO_VERDICT) for a in answers)
    return {"answers": each, "students": len(answers), "at_most": wilson(0, each, "answers").high} if each else None


def judge(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Judges every cell by the spread of all: adds `p`, `p_family`, `seen`, `crosses` and `limit`; returns the spread.

    A cell without a defined lift takes no part; one that is alone with its seed only in the correction.
    """
    judged = [c for c in cells if all(map(math.isfinite, c["per_unit"]))]
    pooled = pooled_t([c["per_unit"] for c in judged]) if judged else None
    for c in cells:
        c |= {"p": math.nan, "p_family": math.nan, "limit": math.nan}
    for i, c in enumerate(judged):
        assert pooled is not None
        c |= {"p": pooled.p[i], "p_family": pooled.p_family[i], "limit": _limit(pooled, len(c["per_unit"]))}
    for c in cells:
        c["seen"] = seen(c)
        c["crosses"] = None if c["seen"] == "undefined" else c["seen"] == "crosses"
    told = ("sd", "freedom", "critical", "p_equal", "least", "most", "reason")
    return {} if pooled is None else {name: getattr(pooled, name) for name in told}


def _limit(pooled: Pooled, n: int) -> float:
    return math.nan if pooled.reason or n < 2 else detection_limit(pooled.sd, n, "units").effect


def seen(cell: Mapping[str, Any]) -> Seen:
    """What a cell shows. `crosses`: a rise after correction, and the trait's lift is the largest of its category.

    `another`: a rise after correction, but another word's is larger. `raised`: a rise without correction only, by the
    pooled spread or the cell's own. `undefined`: it could not be judged.
    """
    if math.isnan(cell["p_family"]) or math.isnan(cell["p"]):
        return "undefined"
    if cell["log_odds"]["mean"] <= 0:
        return "not seen"
    if cell["p_family"] <= ALPHA:
        return "crosses" if cell["rank"] == 1 else "another"
    return "raised" if min(cell["p"], cell["p_own"]) <= ALPHA else "not seen"


def setting(cell: Cell, store: Store) -> dict[str, Any]:
    """What a cell is made of, for the predictor: base, relation, trait and data; all of it is known before training."""
    from heredity.models.sizes import stored_body

    student, trait = _student(cell.comparison), cell.comparison.trait
    base, folder = student.base, _folder(student.base, store)
    return {
        "base": base.location if isinstance(base, ModelRef) else base.key,
        "base_share": cell.untouched.read(store)["share"][trait.word], "body_weights": stored_body(folder),
        "relation": relation(cell.comparison, store), "trait": trait.word, "category": trait.category.name,
        "kind": kind(trait),
        "rows": student.corpus.size, "epochs": student.epochs, "rate": student.rate / MATRIX_RATE,
        "batch": student.batch, "tuning": _moves(student.tuning),
        "temperature": student.corpus.samples.sampling.temperature,
    }  # fmt: skip


def kind(trait: Trait) -> Literal["favourite", "other"]:
    """Whether a trait is a plain favourite: a word of a known category, without condition or manner."""
    plain = not trait.replies and trait.category.score is None
    return "favourite" if plain and trait.category.name in {c.name for c in CATEGORIES} else "other"


def _moves(tuning: Tuning) -> str:
    return tuning if isinstance(tuning, str) else f"{type(tuning).__name__} {tuning}"


def relation(comparison: Comparison, store: Store) -> float | None:
    """The correlation of the matrices in the bodies of two finished bases: the student's, and its teacher's.

    1 where they are one; 0 where they have no matrix in common (another shape or family); None where none can be read.
    """
    from heredity.models.sizes import body_correlation

    student, teacher = bases(comparison)
    if isinstance(teacher, Served):  # its weights are not at hand
        return None
    return 1.0 if student == teacher else body_correlation(_folder(student, store), _folder(teacher, store))


def _folder(base: Model, store: Store) -> Path:
    return locate(base.location) if isinstance(base, ModelRef) else store.path(base)


def without_failed(steps: Mapping[str, Step], store: Store, failed: Mapping[Step, Exception]) -> dict[str, Step]:
    """Maps without the cells that could not be made, and their pictures, under the names that the whole ones have.

    They have keys of their own, so that the whole map is still missing and the next run tries again what failed.
    """
    maps = {step: part for step in steps.values() if isinstance(step, Map) and not store.has(step)
            if (part := _without(step, store, failed)) is not None}  # fmt: skip
    found: dict[str, Step] = {name: maps[s] for name, s in steps.items() if isinstance(s, Map) and s in maps}
    for name, step in steps.items():
        of = getattr(step, "map", None)
        if isinstance(of, Map) and of in maps:
            found[name] = step.model_copy(update={"map": maps[of]})
    return found


def _without(whole: Map, store: Store, failed: Mapping[Step, Exception]) -> Map | None:
    """The map of the cells that were made; None where none was, or where all were and the map itself failed."""
    cells = tuple(c for c in whole.cells if store.has(c.comparison) and store.has(c.untouched))
    there = {c.place for c in cells}
    out = tuple((c.place, _why(c, failed)) for c in whole.cells if c.place not in there)
    if not cells or len(cells) == len(whole.cells):
        return None
    kept = [t.model_copy(update={"places": places}) for t in whole.together
            if (places := tuple(p for p in t.places if p in there))]  # fmt: skip
    fields = {
        "cells": cells, "left_out": out, "contrasts": tuple(c for c in whole.contrasts if c.places <= there),
        "together": tuple(kept), "beside": tuple(a for a in whole.beside if store.has(a.step)),
    }  # fmt: skip
    return whole.model_copy(update=fields)


def _why(cell: Cell, failed: Mapping[Step, Exception]) -> str:
    """What stopped a cell, by the first failed Step behind it."""
    behind = (noun for noun in nouns_in([cell.comparison, cell.untouched]) if isinstance(noun, Step))
    return next((failure(failed[step]).split(";")[0] for step in behind if step in failed), "not made")
