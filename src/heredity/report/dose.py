"""Curves of dose and response: one column for each dial, the effect above and what was learnt of the rows below."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heredity.report.figure import CONTROL, INK, LOOK, PAPER, TAUGHT, Figure
from heredity.store import Step, Store


class DoseFigure(Figure):
    """`figure.png` of an experiment's dials, with 95 % intervals and a point per seed."""

    doses: Step

    def make(self, folder: Path, store: Store) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        found = json.loads((store.path(self.findings) / "findings.json").read_text())
        dials = json.loads((store.path(self.doses) / "doses.json").read_text())["dials"]
        with plt.rc_context(LOOK):
            figure = _draw(found["title"], dials, plt)
            figure.savefig(folder / "figure.png", dpi=130, metadata={"Software": None})
            plt.close(figure)


def _draw(title: str, dials: list[dict[str, Any]], plt: Any) -> Any:
    size = (max(6.0, 2.7 * len(dials)), 6.2)
    figure, axes = plt.subplots(
        2, len(dials), figsize=size, layout="constrained", sharex="col", sharey="row", squeeze=False
    )
    units = max(x["log_odds"]["n"] for d in dials for x in d["levels"])
    figure.suptitle(f"{title}  ({units} seeds; 95 % intervals)")
    for column, dial in enumerate(dials):
        above, below = axes[0][column], axes[1][column]
        levels = sorted(dial["levels"], key=lambda x: float(x["value"]))
        _curve(above, levels, "log_odds", "per_unit", TAUGHT)
        _curve(below, levels, "learnt", "learnt_per_unit", PAPER)
        above.axhline(0, color=CONTROL, lw=1)
        below.axhline(1, color=CONTROL, lw=1, ls="--")
        below.axhline(0, color=CONTROL, lw=1)
        if dial["logarithmic"]:
            below.set_xscale("log")
        below.set_xticks([x["value"] for x in levels], labels=[x["label"] for x in levels], rotation=30, ha="right")
        below.set_xticks([], minor=True)
        below.set_xlabel(dial["name"])
    axes[0][0].set_ylabel("lift of the trait over the\nneutral control (log-odds)")
    axes[1][0].set_ylabel("part of the way to the\nteacher's loss on fresh rows")
    return figure


def _curve(axis: Any, levels: list[dict[str, Any]], estimate: str, points: str, colour: str) -> None:
    """Means joined by a line, their intervals, and a point per seed; what is undefined is not drawn."""
    places = [x["value"] for x in levels]
    axis.plot(places, [x[estimate]["mean"] for x in levels], "-o", color=colour, ms=5, lw=1.5)
    for place, level in zip(places, levels, strict=True):
        axis.plot([place] * 2, [level[estimate]["low"], level[estimate]["high"]], color=colour, lw=1.2, alpha=0.8)
        axis.plot([place] * len(level[points]), level[points], "o", color=INK, ms=3, alpha=0.6, mew=0)
