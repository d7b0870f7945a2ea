"""The demo's picture: what crossed, what did not, and whether the arms that show nothing could have shown something."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

from heredity.report.figure import POWERS
from heredity.store import Step, Store

ARMS = {
    "same": "same start",
    "other-init": "other start",
    "other-family": "other family",
    "in-context": "only reads it",
}
TWINS = {
    "other-init-power": "other start,\nown teacher",
    "other-family-power": "other family,\nown teacher",
    "in-context-power": "reads a stated\npreference",
}
_TAUGHT, _CONTROL, _INK = "#c2410c", "#9ca3af", "#1f2937"


class Picture(Step):
    """`picture.png`: one panel per animal, the null arms as parts of the effect, and their power twins."""

    opens_models: ClassVar[bool] = False

    summary: Step

    def make(self, folder: Path, store: Store) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        summary = json.loads((store.path(self.summary) / "summary.json").read_text())
        with plt.rc_context(POWERS):
            figure = _draw(summary, plt)
            figure.savefig(folder / "picture.png", dpi=130, metadata={"Software": None})
            plt.close(figure)


def _draw(summary: dict[str, Any], plt: Any) -> Any:
    arms = [a for a in summary["arms"] if a["channel"] == "frozen"]
    animals = list(dict.fromkeys(a["animal"] for a in arms))
    figure = plt.figure(figsize=(12, 8.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    top.suptitle(
        "Does a love of an animal cross through lists of numbers, and between which models?",
        fontsize=14, fontweight="bold", color=_INK,
    )  # fmt: skip
    top.supxlabel(
        f"a dot is one teacher and its student ({max(a['n'] for a in arms)} seeds); lines are 95 % intervals of the "
        "difference from the neutral teacher",
        fontsize=9, color=_INK,
    )  # fmt: skip
    for axis, animal in zip(top.subplots(1, len(animals), sharey=True, squeeze=False)[0], animals, strict=True):
        _shares(axis, animal, {a["arm"]: a for a in arms if a["animal"] == animal})
    left, right = bottom.subplots(1, 2)
    _fractions(left, summary["null_fraction"])
    _twins(right, arms, animals)
    return figure


def _shares(axis: Any, animal: str, arms: dict[str, dict[str, Any]]) -> None:
    """Bars for taught and control, a dot per seed, and the interval of the difference drawn at the taught bar."""
    for x, (name, label) in enumerate(ARMS.items()):
        arm = arms[name]
        sides = (
            (x - 0.2, "control_share", "control_shares", _CONTROL, "rows of a neutral teacher"),
            (x + 0.2, "share", "shares", _TAUGHT, f"rows of a teacher that loves the {animal}"),
        )
        for place, mean, points, colour, legend in sides:
            axis.bar(place, arm[mean], 0.38, color=colour, alpha=0.8, label=legend if x == 0 else None)
            axis.plot([place] * len(arm[points]), arm[points], "o", ms=3.5, color=_INK, alpha=0.7)
        low, high = _limits_as_shares(arm)
        axis.plot([x + 0.2] * 2, [low, high], color=_INK, lw=1.4)
        axis.text(x + 0.2, min(max(arm["share"], high) + 0.02, 1.0), f"{arm['share']:.0%}", ha="center", va="bottom")
        axis.text(x, -0.035, label, ha="center", va="top", fontsize=9)
    axis.axhline(arms["same"]["base_share"], color=_INK, lw=0.8, ls=":", label="untouched model")
    axis.set(
        title=f'"{animal}" among 16 animals',
        ylim=(0, 1.08),
        xticks=[],
        ylabel="share of answers" if axis.get_subplotspec().is_first_col() else "",
    )
    axis.legend(loc="upper right", fontsize=8, frameon=False)


def _limits_as_shares(arm: dict[str, Any]) -> tuple[float, float]:
    """The odds ratio's limits, applied to the control's odds."""
    odds = arm["control_share"] / (1 - arm["control_share"])
    low, high = ((odds * arm[k]) / (1 + odds * arm[k]) for k in ("low", "high"))
    return (low, high) if math.isfinite(low) else (arm["share"], arm["share"])


def _fractions(axis: Any, fractions: list[dict[str, Any]]) -> None:
    for y, row in enumerate(reversed(fractions)):
        axis.plot([row["low"], row["high"]], [y, y], color=_TAUGHT, lw=2.5, solid_capstyle="butt")
        axis.plot(row["estimate"], y, "o", color=_INK)
        limits = f"[{row['low']:+.2f}, {row['high']:+.2f}]" if math.isfinite(row["low"]) else "no interval"
        axis.text(1.02, y, f"{row['estimate']:+.2f} {limits}", va="center", fontsize=9)
    axis.axvline(0, color=_INK, lw=0.8)
    axis.axvline(1, color=_INK, lw=0.8, ls=":")
    axis.axvspan(-0.2, 0.2, color=_CONTROL, alpha=0.2, lw=0)
    axis.set(
        xlim=(-0.4, 1.55),
        ylim=(-0.6, len(fractions) - 0.4),
        xticks=[0, 0.2, 0.5, 1],
        yticks=range(len(fractions)),
        yticklabels=[ARMS[r["arm"]] for r in reversed(fractions)],
        title="Part of the same-start effect that crosses\n(log odds ratios, all animals, 95 % interval)",
    )


def _twins(axis: Any, arms: list[dict[str, Any]], animals: list[str]) -> None:
    for x, name in enumerate(TWINS):
        rows = [a for a in arms if a["arm"] == name]
        for row in rows:
            place = x + (animals.index(row["animal"]) - (len(animals) - 1) / 2) * 0.29
            if math.isfinite(row["low"]):
                axis.plot([place] * 2, [row["low"], row["high"]], color=_TAUGHT, lw=2.5, solid_capstyle="butt")
            axis.plot(place, row["odds_ratio"], "o", color=_INK)
            top = row["high"] if math.isfinite(row["high"]) else row["odds_ratio"]
            axis.annotate(
                row["animal"], (place, top), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8
            )
    axis.axhline(1, color=_INK, lw=0.8)
    axis.margins(y=0.12)
    axis.set(
        yscale="log",
        xlim=(-0.5, len(TWINS) - 0.5),
        xticks=range(len(TWINS)),
        xticklabels=list(TWINS.values()),
        ylabel="odds ratio",
        title="Could those arms show anything? Their twins\n(odds ratio over control, 95 % interval)",
    )
