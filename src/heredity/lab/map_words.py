"""A map in words, made from its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from heredity.stats import ALPHA, Estimate

Seen = Literal["crosses", "raised", "another", "not seen", "undefined"]
"""What a cell shows (`maps.seen`)."""


def sentence(found: Mapping[str, Any]) -> str:
    """A map in words, made from its figures: how many cells show what, and what was planned to be told."""
    cells = found["cells"]
    counts = {kind: [c for c in cells if c["seen"] == kind] for kind in get_args(Seen)}
    units = sorted({c["log_odds"]["n"] for c in cells})
    told = (f"The trait crosses in {len(counts['crosses'])} of {len(cells)} cells ({' or '.join(map(str, units))} "
            f"{cells[0]['log_odds']['unit']} each; one spread for all cells, corrected over them)")  # fmt: skip
    if counts["raised"]:
        told += f"; raised without correction only: {len(counts['raised'])}"
    if counts["another"]:
        told += f"; another word rises more: {len(counts['another'])}"
    if counts["not seen"]:
        limit = math.exp(max(c["limit"] for c in counts["not seen"]))
        told += (
            f"; not seen: {len(counts['not seen'])}, where an odds ratio of {limit:.2g} would have been, uncorrected"
        )
    if counts["undefined"]:
        told += f"; undefined: {len(counts['undefined'])}"
    parts = [told + _most(cells), *_uneven(found["spread"]), *_none_shown(cells), *_planned(found), *_left_out(found)]
    return ". ".join(parts) + "."


def _most(cells: Sequence[Mapping[str, Any]]) -> str:
    defined = [c for c in cells if math.isfinite(c["log_odds"]["mean"])]
    if not defined:
        return ""
    most = max(defined, key=lambda c: float(c["log_odds"]["mean"]))
    return f"; most at {most['name']}: odds ratio {Estimate(**most['log_odds']).odds_ratio().words()}"


def _uneven(spread: Mapping[str, Any]) -> list[str]:
    """That the cells' spreads are not alike, as one spread for all of them supposes."""
    if not spread or not spread["p_equal"] <= ALPHA:
        return []
    test = f", Bartlett's p {spread['p_equal']:.1g}" if spread["least"] else ""
    return [f"Spreads differ between cells ({spread['least']:.2g} to {spread['most']:.2g}{test}): one for all judges "
            "cells of a larger spread too mildly, those of a smaller too strictly"]  # fmt: skip


def _none_shown(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{c['name']}: in none of {n['answers']} answers of each of {n['students']} students, so at most "
            f"{n['at_most']:.1%} of each one's" for c in cells if (n := c["none_of"]) is not None]  # fmt: skip


def _planned(found: Mapping[str, Any]) -> list[str]:
    """The contrasts, and the cells that are told as one."""
    alike = []
    for t in found["together"]:
        e = Estimate(**t["log_odds"])
        odds = e.odds_ratio().words()
        alike.append(f"{t['name'].capitalize()} together: odds ratio {odds} over {e.n} {e.unit}, {t['crosses']} cross")
    each = [f"{c['name']} {Estimate(**c['log_odds']).words('{:+.2f}'.format)}" for c in found["contrasts"]]
    return alike + (["Planned differences of log-odds, 95 % each: " + "; ".join(each)] if each else [])


def _left_out(found: Mapping[str, Any]) -> list[str]:
    cells = [f"{' / '.join(out['place'])} ({out['why']})" for out in found["left_out"]]
    return [f"Not made: {'; '.join(cells)}"] if cells else []
