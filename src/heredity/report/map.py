"""A map's picture: a matrix of lifts with their intervals over two settings, or a row of them over one."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import Any, ClassVar

from heredity.report.figure import CONTROL, INK, LOOK, TAUGHT
from heredity.stats import Estimate
from heredity.store import Step, Store


class MapFigure(Step):
    """`figure.png` of a map; framed or filled cells are those where the trait crosses.

    Long labels are wrapped; what would have more than 12 columns lies down."""

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 3

    map: Step

    def make(self, folder: Path, store: Store) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        found = json.loads((store.path(self.map) / "map.json").read_text())
        with plt.rc_context(LOOK):
            figure = draw(found, plt)
            figure.savefig(folder / "figure.png", dpi=130, metadata={"Software": None})
            plt.close(figure)


def draw(found: dict[str, Any], plt: Any) -> Any:
    """The matplotlib figure of what `Map.read` returns."""
    figure = (_matrix if len(found["axes"]) == 2 else _curve)(found, plt)
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(found["sentence"], int(15 * width))
    figure.set_size_inches(width, height + 0.16 * len(lines))
    figure.suptitle(found["title"], fontweight="bold", color=INK)
    figure.supxlabel("\n".join(lines), fontsize=9, color=INK)
    return figure


_PALE = 1.0
"""Least end of the scale of colours: a map on which nothing crosses should look so."""
_ACROSS, _LETTERS = 12, 14
"""Most columns, and most letters in a line of a column's label."""


def _labels(found: dict[str, Any], axis: int) -> list[str]:
    """An axis's labels: figures in their order, others as the cells come."""
    labels = list(dict.fromkeys(cell["place"][axis] for cell in found["cells"]))
    try:
        return sorted(labels, key=lambda label: float(label.replace(",", "")))
    except ValueError:
        return labels


def _wrapped(labels: list[str], letters: int = _LETTERS) -> list[str]:
    return [textwrap.fill(label, letters, break_long_words=False) for label in labels]


def _matrix(found: dict[str, Any], plt: Any) -> Any:
    if len(_labels(found, 1)) > _ACROSS >= len(_labels(found, 0)):
        turned = [cell | {"place": cell["place"][::-1]} for cell in found["cells"]]
        found = found | {"axes": found["axes"][::-1], "cells": turned}
    down, across = _labels(found, 0), _labels(found, 1)
    size = (max(6.0, 2.8 + 1.25 * len(across)), max(3.6, 2.2 + 0.7 * len(down)))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    lift_YX = [[math.nan] * len(across) for _ in down]
    placed = [(down.index(c["place"][0]), across.index(c["place"][1]), c) for c in found["cells"]]
    for y, x, cell in placed:
        lift_YX[y][x] = cell["log_odds"]["mean"]
    found_most = max((abs(v) for row in lift_YX for v in row if math.isfinite(v)), default=0.0)
    most = max(_PALE, found_most)
    image = axis.imshow(lift_YX, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    for y, x, cell in placed:
        _written(axis, x, y, cell, most)
    axis.set(xticks=range(len(across)), yticks=range(len(down)), ylabel=found["axes"][0], xlabel=found["axes"][1])
    axis.set_xticklabels(_wrapped(across))
    axis.set_yticklabels(_wrapped(down, 2 * _LETTERS))
    figure.colorbar(image, label="lift over the neutral control\n(log-odds, 95 %; framed: crosses,\ndashed: raised "
                    "without correction only)")  # fmt: skip
    return figure


def _written(axis: Any, x: int, y: int, cell: dict[str, Any], most: float) -> None:
    e = Estimate(**cell["log_odds"])
    colour = "white" if abs(e.mean) > 0.6 * most else INK
    told = f"{e.mean:+.2f}\n({e.low:+.1f} to {e.high:+.1f})" if math.isfinite(e.low) else f"{e.mean:+.2f}\nno interval"
    axis.text(x, y, told, ha="center", va="center", fontsize=8, color=colour)
    if cell["seen"] in ("crosses", "raised"):
        from matplotlib.patches import Rectangle

        line = {"lw": 2} if cell["crosses"] else {"lw": 1, "ls": "--"}
        axis.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, fill=False, edgecolor=colour, **line))


def _curve(found: dict[str, Any], plt: Any) -> Any:
    cells = found["cells"]
    lies = len(cells) > _ACROSS
    size = (8.0, 1.6 + 0.27 * len(cells)) if lies else (max(6.0, 2.0 + 0.9 * len(cells)), 4.4)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    (axis.axvline if lies else axis.axhline)(0, color=CONTROL, lw=1)
    for x, cell in enumerate(cells):
        e, n = Estimate(**cell["log_odds"]), len(cell["per_unit"])
        for places, lifts, style in (
            ([x] * 2, [e.low, e.high], {"color": TAUGHT, "lw": 1.4}),
            ([x], [e.mean], {"marker": "o", "ms": 8, "mec": TAUGHT, "mew": 1.5, "ls": "",
                             "color": TAUGHT if cell["crosses"] else "white"}),
            ([x] * n, cell["per_unit"], {"marker": "o", "color": INK, "ms": 3, "alpha": 0.6, "mew": 0, "ls": ""}),
        ):  # fmt: skip
            axis.plot(*((lifts, places) if lies else (places, lifts)), **style)
    labels, lift = (
        [cell["place"][0] for cell in cells],
        "lift over the neutral control\n(log-odds, 95 %; filled: crosses)",
    )
    if lies:
        axis.set_yticks(range(len(cells)), labels=_wrapped(labels, 2 * _LETTERS))
        axis.invert_yaxis()
        axis.set(ylabel=found["axes"][0], xlabel=lift)
    else:
        axis.set_xticks(range(len(cells)), labels=_wrapped(labels, 10))
        axis.set(xlabel=found["axes"][0], ylabel=lift)
    return figure
