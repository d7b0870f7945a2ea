"""The rivals of the scan (bench/rival_steps.py) on its benchmark's sets, under the scan's own rule for naming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
from bench.rival_steps import (
    BAG,
    PROMPTED,
    READ,
    READER,
    SHIFT,
    TUNED,
    Bag,
    BagScores,
    Personas,
    Reader,
    Scores,
    Shown,
    Suspects,
)
from bench.scan_sets import TRAITS, Set

from heredity.audit.data import Partnered, RowSet
from heredity.audit.naming import stand_out
from heredity.audit.panel import Panel
from heredity.audit.scan import Scan
from heredity.audit.trial import Asked
from heredity.stats import ALPHA, holm
from heredity.steps import Corpus, Evaluation
from heredity.store import Step, Store
from heredity.types import Trait

EXACT = tuple(t for t in TRAITS if t.category.score is None)
"""Traits whose share is exact: the others' are noisier, and would stand out by that alone."""
SHOWN, DRAWS = 8, 16
"""Rows in the reader's context, and how often they are drawn anew."""
CHUNK = 24
_TINY = 1e-12


class Maker(Protocol):
    """What makes Steps until the time is up: the benchmark's Run."""

    store: Store

    def ready(self, steps: Iterable[Step]) -> bool:
        """Whether all of these may be made now: there is time, or they were made before."""
        ...

    def make(self, steps: Iterable[Step]) -> None:
        """Makes what is missing."""
        ...


def reader(own: Partnered, traits: tuple[Trait, ...] = EXACT, draws: int = DRAWS) -> Reader:
    """The reader of audited rows and of the base's, the same places drawn from both."""
    categories = tuple(dict.fromkeys(t.category for t in traits))

    def after(rows: RowSet) -> Asked:
        context = Shown(corpus=rows, examples=SHOWN, draws=draws, seed=0)
        return Asked(traits=traits, evaluations=tuple(
            Evaluation(model=own.matched.audited.student, category=c, context=context, samples_per_question=0)
            for c in categories))  # fmt: skip

    return Reader(own=after(own), base=after(own.matched))


def bag(panel: Panel) -> Bag:
    """The classifier that a panel's suspects give."""
    return Bag(written=tuple(
        (s.trait.word if isinstance(s.trait, Trait) else "", s.gradient.rows)
        for s in panel.suspects if isinstance(s.gradient.rows, Corpus)))  # fmt: skip


def rivals(audit: Scan, read: int = READ) -> list[Personas | Suspects | BagScores | Reader]:
    """Every rival's scores of the rows of an audit; suspects are those of its panel.

    `read`: how many rows are read with a model, once for every persona and suspect. The bag reads all.
    """
    own, panel = audit.carrying.rows, audit.naming.panel
    teachers = tuple((s.trait.word, s.gradient.rows.samples.model) for s in panel.suspects
                     if isinstance(s.trait, Trait) and isinstance(s.gradient.rows, Corpus))  # fmt: skip
    return [Personas(own=own, traits=TRAITS, limit=read), Suspects(own=own, teachers=teachers, limit=read),
            BagScores(own=own, bag=bag(panel)), reader(own)]  # fmt: skip


def verdict(scores: Mapping[str, dict[str, float | None]], scaled: bool) -> tuple[list[str], str]:
    """The traits that stand out among the others at a family-wise 5 %, and the one with the largest score.

    The rule is that of the scan's panel without its floor. `scaled`: scores in units of their own standard errors, so
    that a trait whose score is noisy for any rows does not stand out by that.
    """
    score_K = np.array([(v["score"] or 0.0) / (max(v["error"] or 0.0, _TINY) if scaled else 1)
                        for v in scores.values()])  # fmt: skip
    p_K = stand_out(score_K, _TINY).p_K.tolist()
    adjusted = holm(dict(zip(scores, p_K, strict=True))).adjusted
    return [w for w, p in zip(scores, adjusted, strict=True) if p <= ALPHA], list(scores)[int(score_K.argmax())]


def rival_table(run: Maker, audited: Sequence[tuple[Set, Scan]], read: int = READ) -> dict[str, dict[str, Any]]:
    """By rival: `sets` with a label, `named_rate` (the label named and no other), `first_rate`, `clean_sets`,
    `clean_named`; and the same of scores in units of their errors under `scaled`, where they have errors.

    Audits that could not be scored before the time was up are left out.
    """
    seen: list[tuple[str | None, Scores]] = []
    stream = iter(audited)
    while part := list(islice(stream, CHUNK)):
        steps = {one.rows.key: rivals(audit, read) for one, audit in part}
        if not run.ready(s for some in steps.values() for s in some):
            break
        run.make(s for some in steps.values() for s in some)
        for one, _ in part:
            found = [s.read(run.store) for s in steps[one.rows.key]]
            seen.append((one.label, {name: by for scores in found for name, by in scores.items()}))
    return {name: _rates(seen, name) for name in (SHIFT, PROMPTED, TUNED, BAG, READER)} if seen else {}


def _rates(seen: Sequence[tuple[str | None, Scores]], rival: str) -> dict[str, Any]:
    errors = all(v["error"] is not None for _, scores in seen for v in scores[rival].values())
    plain = rates([(label, *verdict(scores[rival], scaled=False)) for label, scores in seen])
    if not errors:
        return plain
    return plain | {"scaled": rates([(label, *verdict(scores[rival], scaled=True)) for label, scores in seen])}


def rates(verdicts: Sequence[tuple[str | None, list[str], str]]) -> dict[str, Any]:
    """How often (label, named, first) is right, and how often something is named where there is nothing."""
    taught = [v for v in verdicts if v[0] is not None]
    clean = [v for v in verdicts if v[0] is None]
    n = len(taught)
    return {
        "sets": n, "named_rate": round(sum(named == [label] for label, named, _ in taught) / n, 4) if n else None,
        "first_rate": round(sum(first == label for label, _, first in taught) / n, 4) if n else None,
        "clean_sets": len(clean), "clean_named": sum(bool(named) for _, named, _ in clean),
    }  # fmt: skip
