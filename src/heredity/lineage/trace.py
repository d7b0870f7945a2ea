"""`trace`: do two models share an ancestor? What is read, which tests are made of it, and what they add up to."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from heredity.lineage import relation
from heredity.lineage.layouts import Layer, layers, unit_rows
from heredity.lineage.relation import Array
from heredity.lineage.weights import Weights, read_text
from heredity.models import BASES, locate
from heredity.types import BadInput, Measured

ALPHA = 0.001
"""How often two unrelated models may be called related, all tests together (Bonferroni over TESTS)."""
SILENT = 0.05
"""Above this, all tests together, nothing spoke for a relation."""
COSINE, POWER = 0.05, 0.99
"""Unrelated means that a mean cosine of units as small as this would have been found with that power."""
ROWS, MORE_ROWS, LAYERS = 256, 1_024, 8
SURE = -12.0
"""log10 p of the fixed points in the first rows below which nothing more is read."""
_HEAVY = 1.1e9
"""Operations in one draw of the matched test above which it looks at fewer units."""
_ORDERED = 0.001
TESTS = ("fixed points", "trace", "Gram", "matched")
ASSUMPTIONS = (
    "hidden units (and, for the matched test, directions of the residual stream) were initialised alike and trained "
    "alike, in at least one of the models; then p holds whatever the models were trained on",
    "related means one initialisation: one is trained from the other, or both from a third, or both began from one "
    "seed; it does not say which, nor how much of a trait would cross",
    "a model that was only trained on the other's outputs, from a start of its own, counts as unrelated",
    "silence is not proof: units that were put into another order and turned at once are found by none of these tests",
)
Verdict = Literal["related", "unrelated", "undetermined"]


class Outcome(Measured):
    """What one test said. Where it did not run, or is void, `reason` says why, and it does not count."""

    name: str
    statistic: float = math.nan
    log10_p: float = math.nan
    p: float = math.nan
    """0 where it is too small for a float; `log10_p` holds it."""
    reason: str | None = None


class LayerFound(Measured):
    """One pair of layers: its fixed points among the units that were read, and their mean cosine in place."""

    a: int
    b: int
    units: int
    fixed: int
    log10_p: float
    cosine: float


class Trace(Measured):
    """Whether two models are related, and everything that says so."""

    a: str
    b: str
    verdict: Verdict
    why: str
    log10_p: float
    """Of the strongest test, corrected for their number; 0 where none spoke."""
    tests: tuple[Outcome, ...]
    layers: tuple[LayerFound, ...]
    mean_cosine: float
    placebo_max: int
    """The most fixed points under shifted labels, against `fixed` of all layers."""
    placebo_p: float
    """Small where units stand in an order that means something."""
    matched_share: float
    """A score: the share of units whose matrices agree on where the unit stands in the other model."""
    power: float
    """Of the trace test at a mean cosine of COSINE; `detectable` is the cosine that it finds with power POWER."""
    detectable: float
    notes: tuple[str, ...]
    rows_read: int
    bytes_read: int
    seconds: float
    assumptions: tuple[str, ...] = ASSUMPTIONS


class _View(NamedTuple):
    """The units that were read: layers of each model, in pairs, each with its matrices at length 1."""

    A: list[list[Array]]
    B: list[list[Array]]
    numbers: list[tuple[int, int]]

    @property
    def comparable(self) -> bool:
        """Whether the models' units live in spaces of one width."""
        return all(a[0].shape[1] == b[0].shape[1] for a, b in zip(self.A, self.B, strict=True))

    def smaller(self, rows: int, most: int, parts: int) -> _View:
        """Fewer units, layers and matrices, for tests whose draws are dear."""
        chosen = _spaced(len(self.A), most)
        A, B = ([[p[:rows] for p in side[i][:parts]] for i in chosen] for side in (self.A, self.B))
        return _View(A, B, [self.numbers[i] for i in chosen])


class _Evidence(NamedTuple):
    """What was computed on one view."""

    outcomes: dict[str, Outcome]
    found: tuple[LayerFound, ...]
    similar: list[Array]
    placebo_max: int
    placebo_p: float


def open_weights(location: str) -> tuple[Weights, list[str]]:
    """The weights behind a name or a folder; those of its base where it is an adapter, with a note that says so."""
    folder = Path(location)
    config = folder / "adapter_config.json"
    if not config.is_file() or (folder / "config.json").is_file():
        return Weights(locate(location)), []
    try:
        base = json.loads(read_text(config)).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{config} is no adapter's configuration: {str(error)[:80]}") from error
    if not isinstance(base, str) or not base:
        raise BadInput(f"{config} names no base model; give the base's folder instead")
    known = (folder / base, Path(base), BASES / base.removeprefix("nursery:"))
    found = next((str(p) for p in known if "\0" not in base and (p / "config.json").is_file()), None)
    if found is None:
        raise BadInput(f"{folder} is an adapter over {base!r:.100}, which is not here; fetch it and give its folder")
    return Weights(locate(found)), [f"{location} is an adapter over {base!r:.100}: the base was compared"]


def trace(a: str, b: str, full: bool = False) -> Trace:
    """Whether the models at two locations are related. A few rows of each layer decide, or more where they do not.

    `full` reads MORE_ROWS units of every layer and makes every test, whatever the first rows say.
    """
    started, rng = time.monotonic(), np.random.default_rng(0)
    (A, notes), (B, more) = open_weights(a), open_weights(b)
    layers_A, layers_B = layers(A), layers(B)
    if len(layers_A) != len(layers_B):
        view = _read(A, B, [(x, y) for x in layers_A for y in layers_B], ROWS, 1)
        evidence, score = _other_depth(view, len(layers_A), len(layers_B), rng), math.nan
    else:
        pairs = list(zip(layers_A, layers_B, strict=True))
        some = pairs if full else [pairs[i] for i in _spaced(len(pairs), LAYERS)]
        view = _read(A, B, some, ROWS, 1)
        evidence, score = _in_place(view, rng), math.nan
        if full or evidence.outcomes["fixed points"].log10_p > SURE or evidence.outcomes["fixed points"].reason:
            view = _read(A, B, some, MORE_ROWS, 3)
            evidence = _every_test(view, rng)
            score = _score(view)
    verdict, why, log10_p = judge(list(evidence.outcomes.values()), evidence.similar)
    level = ALPHA / len(TESTS)
    similar = evidence.similar
    return Trace(
        a=a, b=b, verdict=verdict, why=why, log10_p=log10_p, tests=tuple(evidence.outcomes.values()),
        layers=evidence.found, mean_cosine=relation.mean_cosine(similar) if similar else math.nan,
        placebo_max=evidence.placebo_max, placebo_p=evidence.placebo_p, matched_share=score,
        power=relation.trace_power(similar, COSINE, level) if similar else math.nan,
        detectable=relation.detectable_cosine(similar, level, POWER) if similar else math.nan,
        notes=(*notes, *more), rows_read=A.rows_read + B.rows_read, bytes_read=A.bytes_read + B.bytes_read,
        seconds=round(time.monotonic() - started, 3),
    )  # fmt: skip


def _spaced(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly spaced."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _read(A: Weights, B: Weights, pairs: Sequence[tuple[Layer, Layer]], rows: int, parts: int) -> _View:
    """The first units of each pair of layers, as many as both have. A layer in several pairs is read once."""
    kept: dict[tuple[int, int, int, int], list[Array]] = {}

    def units(side: int, layer: Layer, count: int, first: int) -> list[Array]:
        key = (side, layer.number, count, first)
        if key not in kept:
            kept[key] = [relation.unit_vectors(x) for x in unit_rows((A, B)[side], layer, count, first)]
        return kept[key]

    view = _View([], [], [(x.number, y.number) for x, y in pairs])
    for x, y in pairs:
        count, first = min(rows, x.units, y.units), _shared_parts(x, y, parts)
        view.A.append(units(0, x, count, first))
        view.B.append(units(1, y, count, first))
    return view


def _shared_parts(x: Layer, y: Layer, most: int) -> int:
    """How many matrices of two layers play the same part: all of them, or the first where only one has a gate."""
    return min(most, len(x.parts)) if len(x.parts) == len(y.parts) else 1


def _mc(name: str, found: tuple[float, float], reason: str | None = None) -> Outcome:
    statistic, p = found
    return Outcome(name=name, statistic=statistic, p=p, log10_p=math.log10(p), reason=reason)


def _in_place(view: _View, rng: Generator) -> _Evidence:
    """The tests of units of the same number, and whether their order speaks against them."""
    if not view.comparable:
        why = "the models differ in width, so that their units cannot be compared one by one"
        skipped = {name: Outcome(name=name, reason=why) for name in TESTS}
        return _Evidence(skipped, (), [], 0, math.nan)
    similar = [relation.similarities(a, b) for a, b in zip(view.A, view.B, strict=True)]
    counts = [relation.shifts(C_UV, rng) for C_UV in similar]
    fixed = [int(c[0]) for c in counts]
    _, order_p = relation.order_test(similar, rng)
    most, total = relation.placebo(counts), sum(fixed)
    void = "units stand in an order that means something (sorted, nested or repeated)" if order_p <= _ORDERED else None
    clear = total >= 20 and total >= 4 * most  # far more than any other shift finds: no mere order does that
    log10_p = relation.fixed_point_bound(fixed) / math.log(10)
    outcomes = {
        "fixed points": Outcome(name="fixed points", statistic=total, log10_p=log10_p, p=10.0**log10_p,
                                reason=None if clear else void),
        "trace": _mc("trace", relation.trace_test(similar, rng), void),
    }  # fmt: skip
    for name in TESTS[2:]:
        outcomes[name] = Outcome(name=name, reason="not needed: the first rows decide")
    found = tuple(
        LayerFound(a=x, b=y, units=len(C_UV), fixed=f, log10_p=relation.fixed_point_bound([f]) / math.log(10),
                   cosine=relation.mean_cosine([C_UV]))
        for (x, y), C_UV, f in zip(view.numbers, similar, fixed, strict=True)
    )  # fmt: skip
    return _Evidence(outcomes, found, similar, most, order_p)


def _every_test(view: _View, rng: Generator) -> _Evidence:
    """All tests; those whose draws are dear look at fewer units of large models."""
    evidence = _in_place(view, rng)
    void = evidence.outcomes["trace"].reason if view.comparable else None
    small = view.smaller(ROWS, 4, 3)
    outcomes = dict(evidence.outcomes)
    outcomes["Gram"] = _mc("Gram", relation.gram_test(small.A, small.B, rng), void)
    if view.comparable:
        work = sum(2 * len(p) ** 2 * p.shape[1] for parts in view.A for p in parts)
        light = view if work <= _HEAVY else view.smaller(ROWS, 2, 1)
        outcomes["matched"] = _mc("matched", relation.matched_test(light.A, light.B, rng))
    return evidence._replace(outcomes=outcomes)


def _score(view: _View) -> float:
    return relation.matched_share(view.A, view.B) if view.comparable else math.nan


def _other_depth(view: _View, count_A: int, count_B: int, rng: Generator) -> _Evidence:
    """Models that differ in depth: the fixed points of every pair of layers, corrected for the number of pairs."""
    why = f"the models have {count_A} and {count_B} layers, so that it is not known which belong together"
    outcomes = {name: Outcome(name=name, reason=why) for name in TESTS}
    found = []
    for (x, y), a, b in zip(view.numbers, view.A, view.B, strict=True):
        if a[0].shape[1] == b[0].shape[1]:
            C_UV = relation.similarities(a, b)
            counts = relation.shifts(C_UV, rng)
            fixed, most = int(counts[0]), relation.placebo([counts])
            log10_p = relation.fixed_point_bound([fixed]) / math.log(10) if fixed >= 4 * most else 0.0
            found.append(LayerFound(a=x, b=y, units=len(C_UV), fixed=fixed, log10_p=log10_p,
                                    cosine=relation.mean_cosine([C_UV])))  # fmt: skip
    if found:
        best = min(found, key=lambda f: f.log10_p)
        log10_p = min(0.0, best.log10_p + math.log10(len(found)))
        outcomes["fixed points"] = Outcome(name="fixed points", statistic=best.fixed, log10_p=log10_p, p=10.0**log10_p)
    shown = tuple(sorted(found, key=lambda f: f.log10_p)[: max(count_A, count_B)])
    return _Evidence(outcomes, shown, [], 0, math.nan)


def judge(tests: Sequence[Outcome], similar: Sequence[Array]) -> tuple[Verdict, str, float]:
    """The verdict, why, and log10 p of the strongest test, corrected for the number of tests."""
    valid = [t for t in tests if t.reason is None]
    best = min(valid, key=lambda t: t.log10_p, default=None)
    log10_p = min(0.0, best.log10_p + math.log10(len(TESTS))) if best else 0.0
    if best and log10_p <= math.log10(ALPHA):
        return "related", f"{_MEANS[best.name]} (log10 p {log10_p:.1f})", log10_p
    reasons = list(dict.fromkeys(t.reason for t in tests if t.reason))
    if best and log10_p <= math.log10(SILENT):
        reasons.append(f"{best.name} says something, and not enough (p {10**log10_p:.3g} of all tests together)")
    power = relation.trace_power(similar, COSINE, ALPHA / len(TESTS)) if similar else math.nan
    if similar and not power >= POWER:
        reasons.append(f"too few units: a mean cosine of {COSINE} would be found with power {power:.2f} only")
    if reasons:
        return "undetermined", "; ".join(reasons), log10_p
    said = f"no test speaks, and a mean cosine of units of {COSINE} would have been found with power {power:.3f}"
    return "unrelated", said, log10_p


_MEANS = {
    "fixed points": "units are nearest to the unit of the same number",
    "trace": "units are closer to the unit of the same number than to others",
    "Gram": "units lie to one another as in the other model, in the same order",
    "matched": "units are closer to some unit of the other model than chance allows, in whatever order they stand",
}
