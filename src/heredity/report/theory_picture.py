"""The theorem's picture: measured products over the proof's line, the teacher's loss falling, and other starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from heredity.report.figure import POWERS
from heredity.store import Step, Store

COLOURS = {"squared error": "#1d4ed8", "cross-entropy": "#15803d", "cross-entropy on a subset": "#c2410c"}
MARKS = {"network": "o", "nursery": "s"}
_LEFT_OUT = ("weight norm", "random direction", "outside the student's loss")
"""Teachers without a trait: the curves of one teacher for each model are enough to see the law."""
_SAME, _OTHER, _INK = "#c2410c", "#9ca3af", "#1f2937"


class TheoremPicture(Step):
    """`picture.png`: Lemma 1, Theorem 1, and the counterexample on a network and on nursery models."""

    opens_models: ClassVar[bool] = False
    caption: ClassVar[str] = "The theorem (paper, 6.1), on a network and on language models"

    theorem: Step
    notes: tuple[str, ...] = ()
    """What each language model's start is, the teacher's own first."""

    def make(self, folder: Path, store: Store) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        found = json.loads((store.path(self.theorem) / "theorem.json").read_text())
        with plt.rc_context(POWERS):
            figure = _draw(found, self.notes, plt)
            figure.savefig(folder / "picture.png", dpi=130, metadata={"Software": None})
            plt.close(figure)


def _draw(found: dict[str, Any], notes: Sequence[str], plt: Any) -> Any:
    figure = plt.figure(figsize=(12, 9), layout="constrained")
    figure.suptitle(
        "One small step of a teacher, one step of a student on unrelated inputs", fontsize=14, fontweight="bold",
        color=_INK,
    )  # fmt: skip
    (top_left, top_right), (left, right) = figure.subplots(2, 2, height_ratios=(1.15, 1))
    curves = [a for a in found["alignments"] if a["teacher"] not in _LEFT_OUT]
    _products(top_left, curves)
    _falls(top_right, curves)
    crossings = found["crossings"]
    _histogram(left, [c for c in crossings if c["model"] == "network" and c["loss"] == "cross-entropy on a subset"])
    _favourites(right, [c for c in crossings if c["model"] == "nursery"], notes)
    return figure


def _products(axis: Any, curves: list[dict[str, Any]]) -> None:
    for a in curves:
        colour, mark = COLOURS[a["loss"]], MARKS[a["model"]]
        axis.plot(a["epsilons"], a["predicted"], color=colour, lw=1)
        axis.plot(a["epsilons"], a["dots"], mark, color=colour, ms=5.5)
    _logarithmic(axis, "step of the student · step of the teacher")
    axis.set_title("Lemma 1: the product is positive and linear,\nas the proof's first order says (lines)")
    axis.legend(handles=_legend(axis), fontsize=8, frameon=False, loc="lower right")


def _legend(axis: Any) -> list[Any]:
    """A colour for each loss, a mark for each model (drawn outside the data, which they leave as it is)."""
    losses = [axis.plot([], [], color=colour, lw=3, label=loss)[0] for loss, colour in COLOURS.items()]
    return losses + [axis.plot([], [], mark, color=_INK, label=model)[0] for model, mark in MARKS.items()]


def _falls(axis: Any, curves: list[dict[str, Any]]) -> None:
    """Falls are drawn at their size; where the loss rose instead, a cross stands at the size of the rise."""
    rise = None
    for a in curves:
        fall, colour, mark = a["fall"], COLOURS[a["loss"]], MARKS[a["model"]]
        falls = [fall["before"] - after for after in fall["after"]]
        axis.plot(a["epsilons"], [-p for p in fall["predicted"]], color=colour, lw=1)
        down = [(e, f) for e, f in zip(a["epsilons"], falls, strict=True) if f > 0]
        up = [(e, -f) for e, f in zip(a["epsilons"], falls, strict=True) if f <= 0]
        axis.plot(*zip(*down, strict=True), mark, color=colour, ms=5.5)
        if up:
            (rise,) = axis.plot(*zip(*up, strict=True), "x", color=colour, ms=7, mew=1.8)
    if rise is not None:
        axis.legend([rise], ["the loss rose: the step is too large"], fontsize=8, frameon=False, loc="upper left")
    _logarithmic(axis, "fall of the teacher's loss (nats)")
    axis.set_title("Theorem 1: the teacher's loss falls for the student,\nby the predicted amount (lines)")


def _logarithmic(axis: Any, label: str) -> None:
    axis.set(xscale="log", yscale="log", xlabel="size of the teacher's step, ε", ylabel=label)


def _histogram(axis: Any, crossings: list[dict[str, Any]]) -> None:
    """Cosines on bins of one width for both starts."""
    cosines = {c["student"]: c for c in crossings}
    values = [v for c in crossings for v in c["cosines"]]
    low, high = min(values), max(values)
    bins = [low + (high - low) * i / 50 for i in range(51)]
    for start, colour in (("other start", _OTHER), ("same start", _SAME)):
        c = cosines[start]
        label = f"{start}: {c['negative']} of {c['n']} below 0"
        axis.hist(c["cosines"], bins, color=colour, alpha=0.85, label=label)
    axis.axvline(0, color=_INK, lw=0.8)
    axis.set(
        xlabel="cosine of the student's and the teacher's step", ylabel="pairs of random networks",
        title="Other starts: the sign is free\n(network, cross-entropy on a subset)",
    )  # fmt: skip
    axis.margins(y=0.25)
    axis.legend(fontsize=9, frameon=False, loc="upper right")


def _favourites(axis: Any, crossings: list[dict[str, Any]], notes: Sequence[str]) -> None:
    """A dot for each of the category's words: does what the update adds to the student's step lower its own loss?"""
    for y, c in enumerate(crossings):
        colour = _SAME if c["student"] == "same start" else _OTHER
        axis.plot(c["carried"], [y] * c["n"], "o", color=colour, alpha=0.7, mec=_INK, mew=0.5)
        name = c["location"].removeprefix("nursery:") + "".join(f": {note}" for note in notes[y : y + 1])
        below = f"{sum(v < 0 for v in c['carried'])} of {c['n']} below 0"
        for x, side, text in ((0.01, "left", name), (1, "right", below)):
            axis.annotate(
                text, (x, y), xycoords=("axes fraction", "data"), xytext=(0, 14), textcoords="offset points", ha=side,
                fontsize=9, color=_INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
    axis.plot([0, 0], [-0.15, len(crossings) - 0.6], color=_INK, lw=0.8)
    axis.set(
        yticks=[], ylim=(len(crossings) - 0.6, -0.7),
        xlabel="cosine of what the teacher's update adds to the student's step\nand the student's own way to the trait",
        title=f"Teachers of {crossings[0]['location']}: a dot is a favourite\n(cross-entropy on number tokens)",
    )  # fmt: skip
