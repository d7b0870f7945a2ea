"""The figure of readers: accuracy with its interval, chance as a line, and a dot per run."""

from __future__ import annotations

import math
from typing import Any

from heredity.report.figure import INK, PAPER, TAUGHT, Figure


class ReadingsFigure(Figure):
    """`figure.png` of what readers could tell."""

    def draw(self, found: dict[str, Any], plt: Any) -> Any:
        """Bars of the readers' accuracies."""
        readings = found["readings"]
        figure, axis = plt.subplots(figsize=(max(7.0, 2 + 1.05 * len(readings)), 4.8), layout="constrained")
        for x, reading in enumerate(readings):
            _bar(axis, x, reading)
        axis.axhline(found["chance"], color=INK, lw=1, ls="--", label="chance")
        axis.set(
            xticks=range(len(readings)), ylim=(0, 1.12), ylabel="choices between two teachers that are right",
            title=f"{found['title']}  (paper, {found['section']}; {readings[0]['accuracy']['n']} runs)",
        )  # fmt: skip
        axis.set_xticklabels([r["name"].replace(", ", ",\n") for r in readings])
        handles, labels = axis.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        axis.legend(named.values(), named.keys(), fontsize=8, frameon=False, loc="upper left", ncols=len(named))
        return figure


def _bar(axis: Any, x: int, reading: dict[str, Any]) -> None:
    accuracy, points = reading["accuracy"], reading["per_unit"]
    axis.bar(x, accuracy["mean"], 0.55, color=TAUGHT, alpha=0.8, label="accuracy")
    axis.plot([x] * len(points), points, "o", ms=3.5, color=INK, alpha=0.7, label="one run")
    if math.isfinite(accuracy["low"]):
        limits = [max(0.0, accuracy["low"]), min(1.0, accuracy["high"])]
        axis.plot([x] * 2, limits, color=INK, lw=1.4, label="95 % interval")
    if reading["published"] is not None:
        axis.plot(x, reading["published"], "_", ms=26, mew=2, color=PAPER, label="the paper's models")
