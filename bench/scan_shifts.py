"""Predicted shifts beside measured ones: of students that were trained on audited sets afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bench.limits import rate
from bench.scan_rivals import Maker
from bench.scan_rows import STUDENT_SEEDS
from bench.scan_sets import BASE, ROWS, TRAITS, WORDS, Set, written
from scipy import stats

from heredity.audit.scan import Scan, trait_findings
from heredity.audit.trial import Asked, asked

Audits = Sequence[tuple[Set, Scan]]
CONTROL_SEED, CONTROL_STUDENTS = 90_000, 12
FRESH = 50_000_000
"""What is added to a set's seed for other rows of its teacher."""
_NOTHING = 0.2
"""Log-odds within which a shift is none."""


def findings_of(run: Maker, audit: Scan) -> list[dict[str, Any]]:
    """What a scan reports of every trait."""
    return trait_findings(audit.naming.read(run.store), audit.naming.trial.read(run.store))


def control_students() -> list[Asked]:
    """Students of the base's own rows that measured shifts are against; no audit reads them."""
    return [asked(BASE, written(BASE, ROWS, CONTROL_SEED + s), TRAITS, s) for s in range(11, 11 + CONTROL_STUDENTS)]


Cell = tuple[Set, dict[str, Any], float]
"""A set, what is said of a trait, and the shift that was measured."""


def shifts(run: Maker, chosen: Audits, fresh: Audits) -> dict[str, Any]:
    """Predicted against measured shifts: of students that were trained on the sets afterwards, three seeds each.

    `fresh`: measured on other rows of the same teachers, as the interval is for further draws.
    """
    cells = measured(run, chosen, lambda one: one.rows)
    if cells is None:
        return agreement([])
    again = measured(run, fresh, lambda one: written(one.rows.samples.model, ROWS, FRESH + one.asked))  # type: ignore[union-attr]
    own = [cell for cell in again or [] if cell[0].label == cell[1]["trait"]]
    return agreement(cells) | {
        "fresh_sets": len(fresh) if again else 0,
        "coverage_fresh": coverage(again or []), "coverage_fresh_own": coverage(own),
    }  # fmt: skip


def coverage(cells: Sequence[Cell]) -> float | None:
    """The share of cells whose interval holds what was measured."""
    return rate([t["low"] <= m <= t["high"] for _, t, m in cells])


def measured(run: Maker, chosen: Audits, rows: Callable[[Set], Any]) -> list[Cell] | None:
    """Every trait of every set; None where there was no time for the controls."""
    students = {one.rows.key: [asked(BASE, rows(one), TRAITS, s) for s in STUDENT_SEEDS] for one, _ in chosen}
    chosen = [(one, audit) for one, audit in chosen if run.ready(students[one.rows.key])]
    controls = control_students()
    if not run.ready(controls):
        return None
    run.make([*controls, *(a for one, _ in chosen for a in students[one.rows.key])])
    middle, cells = mean_of(run, controls), list[Cell]()
    for one, audit in chosen:
        traits = {t["trait"]: t for t in findings_of(run, audit)}
        moved = mean_of(run, students[one.rows.key])
        cells += [(one, traits[w], moved[w] - middle[w]) for w in WORDS]
    return cells


def mean_of(run: Maker, group: Sequence[Asked]) -> dict[str, float]:
    """Mean log-odds of each trait over students."""
    read = [a.read(run.store) for a in group]
    return {w: float(np.mean([r[w] for r in read])) for w in WORDS}


def agreement(cells: Sequence[Cell]) -> dict[str, Any]:
    """Rank correlation and slope where something crosses: of the label's trait, in sets that have one; coverage
    everywhere.

    `measured_zero_within` is what the measured shifts of clean sets themselves come to: how much of it is noise, and
    whether nothing crosses there at all.
    """
    own = [cell for cell in cells if cell[0].label == cell[1]["trait"]]
    nothing = {name: [abs(m) <= _NOTHING for one, _, m in cells if one.label is None and one.group == name]
               for name in dict.fromkeys(one.group for one, _, _ in cells if one.label is None)}  # fmt: skip
    found: dict[str, Any] = {
        "cells": len(cells), "carried": len(own), "coverage": coverage(cells), "coverage_own": coverage(own),
    }  # fmt: skip
    if len(own) > 2:
        predicted, shifted = zip(*((t["predicted_shift"], m) for _, t, m in own), strict=True)
        found["spearman"] = round(float(stats.spearmanr(predicted, shifted).statistic), 4)
        found["slope"] = round(float(np.polyfit(predicted, shifted, 1)[0]), 4)
        found["ratio"] = round(float(np.dot(predicted, shifted) / np.dot(predicted, predicted)), 4)
    return found | {
        "measured_zero_within": rate([hit for some in nothing.values() for hit in some]),
        "measured_zero_by_stratum": {name: rate(some) for name, some in nothing.items()},
    }


def zeros(run: Maker, clean: Audits) -> dict[str, Any]:
    """How often the shift that is predicted of clean sets is within .2 of none: of every trait, in all of them."""
    within: dict[str, list[bool]] = {}
    for one, audit in clean:
        within.setdefault(one.group, []).extend(abs(t["predicted_shift"]) <= _NOTHING for t in findings_of(run, audit))
    return {
        "zero_within": rate([hit for some in within.values() for hit in some]),
        "zero_by_stratum": {name: rate(some) for name, some in within.items()},
    }
