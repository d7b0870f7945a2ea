"""`trace`: do two models share an ancestor? What is read, which tests are made of it, and what they add up to."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from heredity.lineage import relation
from heredity.lineage.diagonal import Diagonal, diagonal
from heredity.lineage.layouts import Layer, layers, unit_rows
from heredity.lineage.relation import Array, Units
from heredity.lineage.weights import Weights, read_text
from heredity.models import BASES, is_file, locate
from heredity.models.checkpoints import model_file
from heredity.types import BadInput, Measured

ALPHA = 0.001
"""How often two unrelated models may be called related, all tests together (Bonferroni over TESTS)."""
SILENT = 0.05
"""Above this, all tests together, nothing spoke for a relation."""
COSINE, POWER = 0.05, 0.99
"""Unrelated means that a mean cosine of units as small as this would have been found with that power."""
ROWS, MORE_ROWS, LAYERS = 256, 1_024, 8
NUMBERS = 3 * 256 * 8 * 4_096
"""Most numbers of one model that every test is made of (four times as many with --full): fewer units of wide layers."""
_ADAPTER, _ADAPTERS = "adapter_config.json", 20
"""The file by which an adapter is known, and most adapters that stand over one another."""
SURE = -12.0
"""log10 p of the fixed points in the first rows below which nothing more is read."""
_DRAW = 6e7
"""Operations in one draw of the matched test above which it looks at fewer units and directions."""
_ORDERED = 0.001
_TWIN, _TWINS = 0.8, 0.1
"""A unit with another of that cosine in its own model has a twin; a model where so many have one repeats its units."""
TESTS = ("fixed points", "trace", "Gram", "matched")
ASSUMPTIONS = (
    "hidden units (and, for the matched test, directions of the residual stream) were initialised alike and trained "
    "alike, in at least one of the models; then p holds whatever the models were trained on",
    "related means one initialisation: one is trained from the other, or both from a third, or both began from one "
    "seed; it does not say which, nor how much of a trait would cross",
    "units of both models that lean on one and the same direction, in no order, are a relation to the matched test, "
    "wherever that direction came from",
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
    placebo_cosine: float
    """The largest mean cosine under shifted labels."""


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
    diagonal: Diagonal | None
    """All units of all layers in place, with --full, where both models have as many layers of one width."""
    notes: tuple[str, ...]
    rows_read: int
    bytes_read: int
    seconds: float
    assumptions: tuple[str, ...] = ASSUMPTIONS


class _Kept(NamedTuple):
    """What the tests with dear draws need of one pair of layers."""

    grams: tuple[Array, Array]
    parts: list[Array]
    """The similarities of the first units in each matrix alone."""


class _Look(NamedTuple):
    """One pair of layers as it was read; the units themselves are not kept."""

    a: int
    b: int
    similar: Array | None
    """None where the models differ in width."""
    kept: _Kept | None
    light: tuple[list[Units], list[Units]] | None
    """Some units and directions for the matched test."""


class _Plan(NamedTuple):
    """How much of every layer is read, and what of it goes into tests whose draws are dear."""

    rows: int
    parts: int
    kept: frozenset[int] = frozenset()
    light: frozenset[int] = frozenset()
    light_parts: int = 1
    light_units: tuple[int, int] = (0, 0)
    directions: int = 0


class _Evidence(NamedTuple):
    """What the tests found, and what it was computed on."""

    outcomes: dict[str, Outcome]
    found: tuple[LayerFound, ...]
    similar: list[Array]
    placebo_max: int
    placebo_p: float
    matched_share: float = math.nan


def open_weights(location: str) -> tuple[Weights, list[str]]:
    """The weights behind a location, as `locate` takes it; of an adapter, with a note, those of its base."""
    if location.startswith("server:"):
        raise BadInput(f"{location:.200} is behind a server, which shows no weights; compare answers with --behaviour "
                       "(docs/lineage.md), or give a Hugging Face folder")  # fmt: skip
    if location.endswith(".toml"):
        return open_weights(model_file(Path(location))["location"])
    over, at = list[str](), location
    while _is_adapter(Path(at)):
        if len(over) == _ADAPTERS:
            raise BadInput(
                f"{location} is an adapter over adapters, {_ADAPTERS} or without end; give the base's folder"
            )
        base, at = _base_of(Path(at))
        over.append(f"{base!r:.100}")
    notes = [f"{location} is an adapter over {' over '.join(over)}: the base was compared"] if over else []
    return Weights(locate(at)), notes


def _is_adapter(folder: Path) -> bool:
    return is_file(folder / _ADAPTER) and not is_file(folder / "config.json")


def _base_of(folder: Path) -> tuple[str, str]:
    """The base that an adapter names, and where that is, be it a model or another adapter."""
    config = folder / _ADAPTER
    try:
        told = json.loads(read_text(config))
        base, revision = told.get("base_model_name_or_path"), told.get("revision")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{config} is no adapter's configuration: {str(error)[:80]}") from error
    if not isinstance(base, str) or not base:
        raise BadInput(f"{config} names no base model; give the base's folder instead")
    known = (folder / base, Path(base), BASES / base.removeprefix("nursery:"))
    found = next((str(p) for p in known if is_file(p / "config.json") or is_file(p / _ADAPTER)), None)
    if found is None and isinstance(revision, str):
        found = f"hub:{base}@{revision}"  # told where it is not in the cache
    if found is None:
        raise BadInput(f"{folder} is an adapter over {base!r:.100}, which is not here; fetch it and give its folder")
    return base, found


def trace(a: str, b: str, full: bool = False) -> Trace:
    """Whether the models at two locations are related. A few rows of each layer decide, or more where they do not.

    `full` reads more units of every layer, makes every test, whatever the first rows say, and adds the diagonal.
    """
    started, rng = time.monotonic(), np.random.default_rng(0)
    (A, notes), (B, more) = open_weights(a), open_weights(b)
    layers_A, layers_B = layers(A), layers(B)
    whole = None
    if len(layers_A) != len(layers_B):
        evidence = _other_depth(A, B, layers_A, layers_B, rng)
    else:
        pairs = list(zip(layers_A, layers_B, strict=True))
        evidence = _same_depth(A, B, pairs, full, rng)
        whole = diagonal(A, B, pairs) if full and evidence.similar else None
    verdict, why, log10_p = judge(list(evidence.outcomes.values()), evidence.similar)
    level = ALPHA / len(TESTS)
    similar = evidence.similar
    return Trace(
        a=a, b=b, verdict=verdict, why=why, log10_p=log10_p, tests=tuple(evidence.outcomes.values()),
        layers=evidence.found, mean_cosine=relation.mean_cosine(similar) if similar else math.nan,
        placebo_max=evidence.placebo_max, placebo_p=evidence.placebo_p, matched_share=evidence.matched_share,
        power=relation.trace_power(similar, COSINE, level) if similar else math.nan,
        detectable=relation.detectable_cosine(similar, level, POWER) if similar else math.nan, diagonal=whole,
        notes=(*notes, *more), rows_read=A.rows_read + B.rows_read, bytes_read=A.bytes_read + B.bytes_read,
        seconds=round(time.monotonic() - started, 3),
    )  # fmt: skip


def _spaced(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly spaced."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _same_depth(A: Weights, B: Weights, pairs: Sequence[tuple[Layer, Layer]], full: bool, rng: Generator) -> _Evidence:
    """The first rows of some layers; where they do not decide, every test."""
    some = pairs if full else [pairs[i] for i in _spaced(len(pairs), LAYERS)]
    if not full:
        looks = list(_look(A, B, some, _Plan(ROWS, 1)))
        similar = [x.similar for x in looks if x.similar is not None]
        fixed = [int(relation.shifts(C_UV, rng)[0]) for C_UV in similar]
        if fixed and relation.fixed_point_bound(fixed) / math.log(10) <= SURE:
            evidence = _in_place(looks, rng)
            if evidence.outcomes["fixed points"].reason is None:
                return evidence
    return _every_test(list(_look(A, B, some, _plan(some, full))), rng)


def _plan(pairs: Sequence[tuple[Layer, Layer]], full: bool) -> _Plan:
    """As much as a few hundred megabytes and about a second allow; of models of the nursery's size, everything."""
    width, depth = max(max(x.width, y.width) for x, y in pairs), len(pairs)
    units = min(min(x.units, y.units) for x, y in pairs)
    parts = max(_shared_parts(x, y, 3) for x, y in pairs)
    fits = NUMBERS * (4 if full else 1) // (parts * width * depth)
    rows = max(64, min(MORE_ROWS, fits, math.isqrt(LAYERS * MORE_ROWS**2 // depth)))
    kept, seen = frozenset(_spaced(depth, 4)), min(rows, units)
    if 2 * seen**2 * width * parts * depth <= _DRAW:
        return _Plan(rows, parts, kept, frozenset(range(depth)), parts, (seen, seen), width)
    light, (some, most) = frozenset(_spaced(depth, 2)), (min(seen, 128), min(seen, 512))
    return _Plan(rows, parts, kept, light, 1, (some, most), int(_DRAW / (2 * some * most * len(light))))


def _look(A: Weights, B: Weights, pairs: Sequence[tuple[Layer, Layer]], plan: _Plan) -> Iterator[_Look]:
    """The first units of each pair of layers, as many as both have, one pair at a time."""
    for i, (x, y) in enumerate(pairs):
        rows, parts = min(plan.rows, x.units, y.units), _shared_parts(x, y, plan.parts)
        a, b = ([relation.unit_vectors(u) for u in unit_rows(w, z, rows, parts)] for w, z in ((A, x), (B, y)))
        alike = x.width == y.width
        yield _Look(
            x.number, y.number, relation.similarities(a, b) if alike else None,
            _keep(a, b, alike) if i in plan.kept else None, _light(a, b, plan) if alike and i in plan.light else None,
        )  # fmt: skip


def _keep(a: list[Units], b: list[Units], alike: bool) -> _Kept:
    first = [[p[:ROWS] for p in side] for side in (a, b)]
    parts = [relation.similarities([p], [q]) for p, q in zip(*first, strict=True)] if alike else []
    return _Kept((relation.gram(first[0]), relation.gram(first[1])), parts)


def _light(a: list[Units], b: list[Units], plan: _Plan) -> tuple[list[Units], list[Units]]:
    some, most = (
        [u if plan.directions >= u.shape[1] else relation.unit_vectors(u[:, : plan.directions]) for u in units]
        for units in (
            [p[:count] for p in side[: plan.light_parts]] for side, count in zip((a, b), plan.light_units, strict=True)
        )
    )
    return some, most


def _shared_parts(x: Layer, y: Layer, most: int) -> int:
    """How many matrices of two layers play the same part: all of them, or the first where only one has a gate."""
    return min(most, len(x.parts)) if len(x.parts) == len(y.parts) else 1


def _mc(name: str, found: tuple[float, float], reason: str | None = None) -> Outcome:
    statistic, p = found
    return Outcome(name=name, statistic=statistic, p=p, log10_p=math.log10(p), reason=reason)


def _in_place(looks: Sequence[_Look], rng: Generator) -> _Evidence:
    """The tests of units of the same number, and whether their order speaks against them."""
    similar = [x.similar for x in looks if x.similar is not None]
    if not similar:
        why = "the models differ in width, so that their units cannot be compared one by one"
        return _Evidence({name: Outcome(name=name, reason=why) for name in TESTS}, (), [], 0, math.nan)
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
        _layer_found(x.a, x.b, C_UV, f, relation.fixed_point_bound([f]) / math.log(10))
        for x, C_UV, f in zip(looks, similar, fixed, strict=True)
    )
    return _Evidence(outcomes, found, similar, most, order_p)


def _layer_found(a: int, b: int, C_UV: Array, fixed: int, log10_p: float) -> LayerFound:
    beside = float(relation.shifted_sums(C_UV)[1:].max(initial=-math.inf)) / len(C_UV)
    return LayerFound(a=a, b=b, units=len(C_UV), fixed=fixed, log10_p=log10_p, cosine=relation.mean_cosine([C_UV]),
                      placebo_cosine=beside if math.isfinite(beside) else math.nan)  # fmt: skip


def _every_test(looks: Sequence[_Look], rng: Generator) -> _Evidence:
    """All tests; those whose draws are dear look at fewer units of large models."""
    evidence = _in_place(looks, rng)
    void = evidence.outcomes["trace"].reason if evidence.similar else None
    outcomes = dict(evidence.outcomes)
    kept = [x.kept for x in looks if x.kept is not None]
    grams = [k.grams for k in kept]
    outcomes["Gram"] = _mc("Gram", relation.gram_test(grams, rng), void or _repeated(grams, rng))
    light = [x.light for x in looks if x.light is not None]
    if light:
        found = relation.matched_test([a for a, _ in light], [b for _, b in light], rng)
        outcomes["matched"] = _mc("matched", found, void)
    share = relation.matched_share([k.parts for k in kept if k.parts])
    return evidence._replace(outcomes=outcomes, matched_share=share)


def _repeated(grams: Sequence[tuple[Array, Array]], rng: Generator) -> str | None:
    """What is wrong with comparing Gram matrices where the units of both models, each by itself, have an order.

    Units that repeat have twins in the same places in strangers too, and units that lean one way by their number look
    alike there. Neither model's units are exchangeable then; one that has no such order is enough.
    """
    sides = [list(side) for side in zip(*grams, strict=True)]
    if all(np.mean([(K_UU.max(axis=1) >= _TWIN).mean() for K_UU in side]) >= _TWINS for side in sides):
        return "units of both models repeat, each by itself"
    both = all(relation.order_test(side, rng)[1] <= _ORDERED for side in sides)
    return "units of both models stand in an order, each by itself" if both else None


def _other_depth(
    A: Weights, B: Weights, layers_A: Sequence[Layer], layers_B: Sequence[Layer], rng: Generator
) -> _Evidence:
    """Models that differ in depth: the fixed points of every pair of layers, corrected for the number of pairs."""
    count_A, count_B = len(layers_A), len(layers_B)
    why = f"the models have {count_A} and {count_B} layers, so that it is not known which belong together"
    outcomes = {name: Outcome(name=name, reason=why) for name in TESTS}
    widest = max(x.width for x in (*layers_A, *layers_B))
    rows = max(32, min(ROWS, NUMBERS // (2 * (count_A + count_B) * widest)))
    units_A, units_B = (
        [(x.number, relation.unit_vectors(unit_rows(w, x, min(rows, x.units), 1)[0])) for x in found]
        for w, found in ((A, layers_A), (B, layers_B))
    )
    found = []
    for x, a in units_A:
        for y, b in units_B:
            if a.shape[1] == b.shape[1]:
                count = min(len(a), len(b))
                C_UV = relation.similarities([a[:count]], [b[:count]])
                counts = relation.shifts(C_UV, rng)
                fixed, most = int(counts[0]), relation.placebo([counts])
                log10_p = relation.fixed_point_bound([fixed]) / math.log(10) if fixed >= 4 * most else 0.0
                found.append(_layer_found(x, y, C_UV, fixed, log10_p))
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
