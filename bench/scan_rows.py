"""Whether the rows that a scan puts first carry more of the effect than others: students without a fifth of them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from bench.scan_rivals import Maker
from bench.scan_sets import BASE, TRAITS, Set
from pydantic import Field

from heredity.audit.data import RowSet
from heredity.audit.rank import Carrying
from heredity.audit.scan import Scan
from heredity.audit.trial import Asked, asked
from heredity.rows import read_rows, write_rows
from heredity.stats import Estimate, ratio
from heredity.store import Store
from heredity.types import Row

Which = Literal["top", "random"]
WHICH: tuple[Which, Which] = ("top", "random")
STUDENT_SEEDS = (11, 12, 13)


class Remaining(RowSet):
    """The audited rows without the part that carries most, or without a random part of that size: `rows.jsonl`."""

    carrying: Carrying
    which: Which
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        ranked = [row for _, row in self.carrying.read(store)]
        write_rows(folder / "rows.jsonl", remaining(ranked, self.which, self.share, self.seed))

    def read(self, store: Store) -> list[Row]:
        """The rows that were not dropped."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]


def remaining(ranked: Sequence[Row], which: Which, share: float, seed: int) -> list[Row]:
    """What is left of rows, the one that carries most first, once a share of them is dropped."""
    dropped = round(share * len(ranked))
    if which == "top":
        return list(ranked[dropped:])
    gone = set(random.Random(seed).sample(range(len(ranked)), dropped))
    return [row for i, row in enumerate(ranked) if i not in gone]


def top_fifth(run: Maker, chosen: Sequence[tuple[Set, Scan]], controls: Sequence[Asked]) -> dict[str, Any]:
    """The share of the effect that is gone without the top fifth of rows, and without a random fifth.

    The effect: the label's log-odds in students of the rows less those in `controls`, students of the base's rows. Both
    arms lose a fifth of their rows, so what fewer rows alone do is in the random one. Sets whose label does not come
    first are skipped, as their rows are ranked for another trait. Shares are ratios of means over sets, with Fieller's
    interval; `more` is how much more the top fifth takes than the random one. None: undefined.
    """
    run.make([*controls, *(audit.carrying for _, audit in chosen)])
    usable = [(one, audit) for one, audit in chosen if audit.naming.read(run.store)["traits"][0]["trait"] == one.label]
    arms = {one.rows.key: _arms(audit, str(one.label)) for one, audit in usable}
    run.make(a for by_arm in arms.values() for group in by_arm.values() for a in group)
    sets = []
    for one, _ in usable:
        word = str(one.label)
        middle = _mean(run, controls, word)
        effects = {arm: _mean(run, group, word) - middle for arm, group in arms[one.rows.key].items()}
        sets.append({"trait": word, **{arm: round(x, 4) for arm, x in effects.items()}})
    skipped = len(chosen) - len(usable)
    return {"sets": len(sets), "skipped": skipped, "student_seeds": len(STUDENT_SEEDS), **removed(sets), "each": sets}


def _arms(audit: Scan, word: str) -> dict[str, list[Asked]]:
    """Students of all rows, and of those without a fifth, asked about the trait's category alone."""
    trait = tuple(t for t in TRAITS if t.word == word)
    top, drawn = (Remaining(carrying=audit.carrying, which=which) for which in WHICH)
    sets: dict[str, RowSet] = {"all": audit.carrying.rows, "top": top, "random": drawn}
    return {arm: [asked(BASE, rows, trait, s) for s in STUDENT_SEEDS] for arm, rows in sets.items()}


def _mean(run: Maker, group: Sequence[Asked], word: str) -> float:
    return float(np.mean([a.read(run.store)[word] for a in group]))


def removed(sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`top_fifth_removed`, `random_fifth_removed` and `more`, shares of the whole effect, with intervals."""
    if not sets:
        return {"top_fifth_removed": None, "random_fifth_removed": None}
    whole = [s["all"] for s in sets]
    gone = {
        "top_fifth_removed": [s["all"] - s["top"] for s in sets],
        "random_fifth_removed": [s["all"] - s["random"] for s in sets],
        "more": [s["random"] - s["top"] for s in sets],
    }
    found: dict[str, Any] = {}
    for name, lost in gone.items():
        share: Estimate = ratio(lost, whole, "sets")
        found[name] = _finite(share.mean)
        found[f"{name}_interval"] = [_finite(share.low), _finite(share.high)]
    return found


def _finite(x: float) -> float | None:
    return round(x, 4) if math.isfinite(x) else None
