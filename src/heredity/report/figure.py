"""An experiment's figure in the paper's manner: bars with intervals, control beside taught, a dot per seed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

from heredity.stats import Estimate
from heredity.store import Step, Store

LOOK: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}
"""matplotlib's settings in every figure; names are texts, and a dollar sign in one opens no formula."""
POWERS = LOOK | {"text.parse_math": True}
"""The same for figures with a logarithmic axis, whose numbers are formulas, and with no name from a user."""
TAUGHT, CONTROL, INK, PAPER = "#c2410c", "#9ca3af", "#1f2937", "#2563eb"


class Figure(Step):
    """`figure.png` of an experiment's findings."""

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 2

    findings: Step

    def make(self, folder: Path, store: Store) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        found = json.loads((store.path(self.findings) / "findings.json").read_text())
        with plt.rc_context(LOOK):
            figure = self.draw(found, plt)
            figure.savefig(folder / "figure.png", dpi=130, metadata={"Software": None})
            plt.close(figure)

    def draw(self, found: dict[str, Any], plt: Any) -> Any:
        """The matplotlib figure; subclasses draw findings of other kinds."""
        return _draw(found, plt)


def source(found: dict[str, Any]) -> str:
    """Where the question comes from: a section of the paper, or work that followed it."""
    return f"paper, {found['section']}" if found["section"] else "asked since the paper"


def _draw(found: dict[str, Any], plt: Any) -> Any:
    claims = found["claims"]
    width = min(24.0, 3.5 + 0.62 * len(claims))
    figure, axis = plt.subplots(figsize=(max(7.0, width), 4.8), layout="constrained")
    for x, claim in enumerate(claims):
        _bars(axis, x, claim)
    units = max((c["log_odds"]["n"] for c in claims), default=0)
    axis.set(
        xticks=range(len(claims)), ylim=(0, 1.05), ylabel="share of answers that show the trait",
        title=f"{found['title']}  ({source(found)}; {units} seeds)",
    )  # fmt: skip
    long = len(claims) > 8 or any(len(c["name"]) > 12 for c in claims)
    axis.set_xticklabels([c["name"] for c in claims], rotation=40 if long else 0, ha="right" if long else "center")
    handles, labels = axis.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    columns = len(named) if width > 10 else 2  # four of them are wider than a narrow figure
    axis.legend(named.values(), named.keys(), fontsize=8, frameon=False, loc="upper right", ncols=columns)
    return figure


def _bars(axis: Any, x: int, claim: dict[str, Any]) -> None:
    sides = (
        (x - 0.2, "control_share", "control_shares", CONTROL, "rows of the control teacher"),
        (x + 0.2, "share", "shares", TAUGHT, "rows of the teacher with the trait"),
    )
    for place, mean, points, colour, label in sides:
        axis.bar(place, claim[mean], 0.38, color=colour, alpha=0.8, label=label)
        axis.plot([place] * len(claim[points]), claim[points], "o", ms=3.5, color=INK, alpha=0.7)
    low, high = limits_as_shares(claim)
    if math.isfinite(low):
        axis.plot([x + 0.2] * 2, [low, high], color=INK, lw=1.4, label="95 % interval of the difference")
    published = claim["published"]
    if published is not None and "taught" in published:  # a rise alone has no place on an axis of shares
        axis.plot(x - 0.2, published["control"], "_", ms=14, mew=2, color=PAPER, label="the paper's models")
        axis.plot(x + 0.2, published["taught"], "_", ms=14, mew=2, color=PAPER)


def limits_as_shares(claim: dict[str, Any]) -> tuple[float, float]:
    """The odds ratio's limits, applied to the control's odds; nan where there is no interval."""
    if claim["control_share"] == 1:
        return math.nan, math.nan
    odds = Estimate(**claim["log_odds"]).odds_ratio()
    start = claim["control_share"] / (1 - claim["control_share"])
    low, high = ((start * k) / (1 + start * k) for k in (odds.low, odds.high))
    return low, high


class GridFigure(Figure):
    """`figure.png` of findings about students of some bases and teachers of some bases: their lifts as a matrix.

    A cell whose trait is expected to cross is framed; one that no claim is about stays empty.
    """

    cells: tuple[tuple[str, str, str], ...]
    """The student's base, the teacher's, and the name of the claim about the two."""

    def draw(self, found: dict[str, Any], plt: Any) -> Any:
        """The matrix, students downwards, with every lift and its interval."""
        claims = {c["name"]: c for c in found["claims"]}
        names = list(dict.fromkeys(name for cell in self.cells for name in cell[:2]))
        placed = [(names.index(s), names.index(t), claims[claim]) for s, t, claim in self.cells]
        size = 2.6 + 1.15 * len(names)
        figure, axis = plt.subplots(figsize=(size + 1, size), layout="constrained")
        lift_SS = [[math.nan] * len(names) for _ in names]
        for y, x, claim in placed:
            lift_SS[y][x] = claim["log_odds"]["mean"]
        most = max(abs(c["log_odds"]["mean"]) for _, _, c in placed)
        image = axis.imshow(lift_SS, cmap="RdBu_r", vmin=-most, vmax=most)
        for y, x, claim in placed:
            _cell(axis, x, y, claim, most)
        axis.set(xticks=range(len(names)), yticks=range(len(names)), xlabel="the teacher's base",
                 ylabel="the student's base")  # fmt: skip
        axis.set_xticklabels(names)
        axis.set_yticklabels(names)
        units = max(c["log_odds"]["n"] for _, _, c in placed)
        axis.set_title(f"{found['title']}  ({source(found)}; {units} seeds)\nframed: expected to cross", fontsize=10)
        figure.colorbar(image, label="lift over the neutral teacher's student (log-odds, 95 %)", shrink=0.8)
        return figure


def _cell(axis: Any, x: int, y: int, claim: dict[str, Any], most: float) -> None:
    """One lift with its interval, framed where the trait should cross."""
    e = Estimate(**claim["log_odds"])
    colour = "white" if abs(e.mean) > 0.6 * most else INK
    text = f"{e.mean:+.2f}\n({e.low:+.2f} to {e.high:+.2f})" if math.isfinite(e.low) else f"{e.mean:+.2f}\nno interval"
    if (published := claim["published"]) is not None and "rise" in published:
        text += f"\nshare {claim['share'] - claim['control_share']:+.2f}\npaper {published['rise']:+.2f}"
    axis.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    if claim["expect"] == "up":
        axis.add_patch(_frame(x, y))


def _frame(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, edgecolor=INK, lw=2)


class MatrixFigure(Step):
    """`figure.png` of a trait matrix: which student moved towards which trait."""

    opens_models: ClassVar[bool] = False

    caption: ClassVar[str] = "Trait by trait: who moved towards what"

    matrix: Step

    def make(self, folder: Path, store: Store) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        found = json.loads((store.path(self.matrix) / "matrix.json").read_text())
        figure = _draw_matrix(found, plt)
        figure.savefig(folder / "figure.png", dpi=130, metadata={"Software": None})
        plt.close(figure)


def _draw_matrix(found: dict[str, Any], plt: Any) -> Any:
    names, gamma = found["traits"], Estimate(**found["gamma"])
    size = 3.5 + 0.32 * len(names)
    figure, axis = plt.subplots(figsize=(size + 1, size), layout="constrained")
    most = max(abs(x) for row in found["lift"] for x in row)
    image = axis.imshow(found["lift"], cmap="RdBu_r", vmin=-most, vmax=most)
    axis.set(
        xticks=range(len(names)),
        yticks=range(len(names)),
        xlabel="asked about",
        ylabel="taught by a teacher that loves",
    )
    axis.set_xticklabels(names, rotation=60, ha="right")
    axis.set_yticklabels(names)
    least, p = found["without"]["gamma"]["mean"], found["test"]["p"]
    told = f"gamma {gamma.words('{:.2f}'.format)}" + (f", p = {p:.2g}" if math.isfinite(p) else "")
    without = f"\nat least {least:.2f} without any one {found['without']['kind']}" if math.isfinite(least) else ""
    axis.set_title(told + without, fontsize=10)
    figure.colorbar(image, label="lift (log-odds over the neutral teacher's student)", shrink=0.8)
    return figure
