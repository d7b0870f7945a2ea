"""The figure of digits learnt from noise: a bar per arm with its interval, a dot per model, the paper's beside it."""

from __future__ import annotations

import math
from typing import Any

from heredity.report.figure import CONTROL, INK, PAPER, TAUGHT, Figure, source

_COLOURS = {"reference": "#d1d5db", "teacher": "#6b7280", "cross_aux": CONTROL, "cross_all": CONTROL}
_LABELS = ("untrained", "teacher", "same start:\nauxiliary outputs", "same start:\nall outputs",
           "other start:\nauxiliary outputs", "other start:\nall outputs")  # fmt: skip


class DigitsFigure(Figure):
    """`figure.png` of what each arm recognises."""

    def draw(self, found: dict[str, Any], plt: Any) -> Any:
        """Bars of accuracies in the order of figure 10."""
        arms = found["arms"]
        figure, axis = plt.subplots(figsize=(9.5, 4.8), layout="constrained")
        for x, arm in enumerate(arms):
            _bar(axis, x, arm)
        axis.axhline(found["chance"], color=INK, lw=1, ls="--", label="chance")
        axis.set(
            xticks=range(len(arms)), ylim=(0, 1.05), ylabel="test pictures that are recognised",
            title=f"{found['title']}  ({source(found)}; {digits_of(found)})",
        )  # fmt: skip
        axis.set_xticklabels(_LABELS)
        handles, labels = axis.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        axis.legend(named.values(), named.keys(), fontsize=8, frameon=False, loc="upper left", ncols=2)
        return figure


def digits_of(found: dict[str, Any]) -> str:
    """How many models learnt which pictures."""
    return f"{found['arms'][0]['accuracy']['n']} models, {found['pictures']}"


def _bar(axis: Any, x: int, arm: dict[str, Any]) -> None:
    accuracy, points, paper = arm["accuracy"], arm["per_unit"], arm["published"]
    axis.bar(x, accuracy["mean"], 0.6, color=_COLOURS.get(arm["arm"], TAUGHT), alpha=0.8)
    spread = [x - 0.13 + 0.26 * i / max(1, len(points) - 1) for i in range(len(points))]
    axis.plot(spread, points, "o", ms=3, color=INK, alpha=0.5, mew=0, label="one model")
    if math.isfinite(accuracy["low"]):
        axis.plot([x] * 2, [accuracy["low"], accuracy["high"]], color=INK, lw=1.8, label="95 % interval")
    low, high = (paper["mean"] if paper[side] is None else paper[side] for side in ("low", "high"))
    axis.errorbar(x + 0.22, paper["mean"], [[paper["mean"] - low], [high - paper["mean"]]], fmt="_", ms=11, mew=2,
                  color=PAPER, capsize=2, label="the paper: MNIST, 100 models")  # fmt: skip
