"""What a repair did, on the terminal; and the frontier of the benchmark's methods, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heredity.report.figure import CONTROL, INK, LOOK, PAPER, TAUGHT
from heredity.report.terminal import console, safe

KINDS = {
    "data": (TAUGHT, "o", "changes the data"),
    "training": (PAPER, "s", "changes the training"),
    "model": ("#15803d", "^", "changes the model"),
    "rival": (CONTROL, "D", "rival"),
}
"""Colour, marker and words of each kind."""
GOAL = (0.1, 0.9)
"""The goal: a residual of at most so much, and at least so much retained."""
FINE = ("unchanged", "better", "not worse")
"""What may be said of the capability where the goal is met."""
ZOOM = (0.35, 0.85)
"""The corner that is drawn once more: residuals up to so much, and at least so much retained."""
EDGE = -0.2
"""Methods that retain less are drawn here, with what they retain beside their names: one would flatten all others."""


def print_repair(found: dict[str, Any]) -> None:
    """What the method changed, what is left of the trait where models were asked, and what to run next."""
    unused = found["kind"] == "data" and not found["knows_trait"] and found["trait"]
    trait = f", {found['trait']}" if found["trait"] and not unused else ""
    _tell(f"{found['method']} ({found['kind']}{trait}): written to {found['out']}")
    if unused:
        _tell(f"{found['method']} knows no trait: it did not need --finding ({unused})")
    if found["unrelated"]:
        _tell(f"other initialisation: {found['unrelated']['location']}, {found['unrelated']['verdict']} by its weights")
    for why, count in found["left_out"].items():
        _tell(f"rows left out beforehand, {why.removeprefix('dropped: ')}: {count}")
    if "rows" in found:
        _tell(f"{found['left']} rows for {found['rows']}; {found['same']} of them are the same")
    for name, share in found.get("shares", {}).items():
        _tell(f"  {name:9} names {found['trait']} in {share:.3f} of its answers")
    if others := found.get("others"):
        told = ", ".join(f"{o['word']} {o['base']:.3f} to {o['repaired']:.3f}" for o in others)
        _tell(f"  other answers that moved most from the base: {told}")
    if "scan" in found:
        _tell(f"what is left: {found['scan']}")
    if found["left_named"]:
        left = "left as they are" if found["knows_trait"] else "not asked about"
        _tell(f"the scan named others too, {left}: {', '.join(found['left_named'])}; next:")
    for command in found["next"]:
        _tell(f"  {command}")


def _tell(line: str) -> None:
    """A line on the terminal: names come from files of others, and commands must stay whole."""
    console.print(safe(line), soft_wrap=True)


def save_frontier(found: dict[str, Any], path: Path) -> None:
    """Writes the picture of the benchmark's `methods` (bench/results/repair.json) as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(LOOK):
        figure = frontier(found, plt)
        figure.savefig(path, dpi=130, metadata={"Software": None})
        plt.close(figure)


def frontier(found: dict[str, Any], plt: Any) -> Any:
    """The matplotlib figure: residual against retained, a point for each method with its intervals; the goal's corner
    once more beside it. Every method has its name in one of the two.

    Grey is what a method is compared with: rivals, crosses for random arms, and a line at what is left where the odds
    are the untouched base's. Filled: capability is unchanged, better or not worse; hollow: worse, undecided or unknown.
    Names in bold: methods that are not told the trait.
    """
    methods = sorted(found["methods"], key=lambda m: (-m["residual"], m["name"]))
    close = [m for m in methods if m["residual"] <= ZOOM[0] and m["retained"] >= ZOOM[1]]
    size = (17, max(6.0, 1.5 + 0.19 * len(methods)))
    figure, (whole, corner) = plt.subplots(1, 2, figsize=size, layout="constrained")
    chance = [(m["random_arm_retained"], m["random_arm_residual"]) for m in methods
              if m["random_arm_residual"] is not None]  # fmt: skip
    kept = [m["retained"] for m in methods] + [_limit(m, "retained_low") for m in methods] + [x for x, _ in chance]
    kept = [max(EDGE, x) for x in kept]
    left = [_limit(m, "residual_high") for m in methods] + [y for _, y in chance]
    right = max(1.05, *kept) + 0.02
    _panel(whole, methods, chance, (min(0.0, *kept) - 0.05, right), max(1.1, *left) + 0.05)
    _panel(corner, methods, chance, (ZOOM[1], right), ZOOM[0])
    _names(whole, [m for m in methods if m not in close], whole.get_ylim()[1])
    _names(corner, close, ZOOM[0])
    whole.set_ylabel("residual: what is left of the trait (0: none)")
    for kind, (colour, marker, words) in KINDS.items():
        if any(m["kind"] == kind for m in methods):
            whole.plot([], [], marker, color=colour, label=words)
    whole.legend(loc="center left", frameon=False, fontsize=9)
    corner.set_title("the goal's corner", fontsize=11, color=INK)
    whole.set_title(f"Repair: {len(found['traits'])} traits, {found['runs']} runs, 95 % intervals over traits\n"
                    "hollow: capability may be worse; bold: not told the trait", fontsize=11, color=INK)  # fmt: skip
    return figure


def _panel(axis: Any, methods: Sequence[dict[str, Any]], chance: Sequence[tuple[float, float]],
           across: tuple[float, float], top: float) -> None:  # fmt: skip
    """Points, crosses, the goal, and the line of who has the base's odds."""
    axis.plot([x for x, _ in chance], [y for _, y in chance], "+", color=CONTROL, ms=6, zorder=1, label="random arm")
    for method in methods:
        _point(axis, method)
    for method in methods:
        if method["name"] == "do not train":
            axis.axhline(method["residual"], color=CONTROL, lw=0.8, ls=":", zorder=0, label="the base's odds")
    axis.set(xlim=across, ylim=(-0.03 * top, top), xlabel="skill retained (1: that of the unrepaired student)")
    axis.fill_between(
        [GOAL[1], across[1]], -0.03 * top, GOAL[0], color="#16a34a", alpha=0.15, lw=0, label="goal", zorder=0
    )


def _limit(method: dict[str, Any], name: str) -> float:
    """The end of a bar; the point itself where it has none."""
    limit = method[name] if method[name] is not None else method[name.rpartition("_")[0]]
    return float(limit)


def _point(axis: Any, method: dict[str, Any]) -> None:
    """A method with its intervals, which are symmetric: the file has the limit that a goal is about."""
    colour, marker, _ = KINDS[method["kind"]]
    halves = [None if limit is None else abs(limit - mean) for mean, limit in (
        (method["retained"], method["retained_low"]), (method["residual"], method["residual_high"]))]  # fmt: skip
    fine, place = method["capability"] in FINE, max(EDGE, method["retained"])
    if place > method["retained"]:
        halves[0], marker = None, "<"
    axis.errorbar(place, method["residual"], xerr=halves[0], yerr=halves[1], color=colour, marker=marker,
                  ms=6, lw=1, mfc=colour if fine else "white", ls="", gid=method["name"])  # fmt: skip


def _names(axis: Any, methods: Sequence[dict[str, Any]], top: float) -> None:
    """Names in a column at the right, in the points' order and apart from one another, each with a line to its own."""
    gap = (top + 0.03) / max(30.0, 1.05 * len(methods))
    for method, height in zip(methods, spread([m["residual"] for m in methods], gap, top), strict=True):
        colour = KINDS[method["kind"]][0]
        weight = "normal" if method["knows_trait"] or method["kind"] == "rival" else "bold"
        beyond = f" (retains {method['retained']:.1f})" if method["retained"] < EDGE else ""
        axis.annotate(
            method["name"] + beyond, (max(EDGE, method["retained"]), method["residual"]), xytext=(1.03, height),
            fontsize=8, va="center", textcoords=axis.get_yaxis_transform(),
            color=colour if method["kind"] != "rival" else INK, fontweight=weight, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4, "alpha": 0.6, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(falling: Sequence[float], gap: float, top: float) -> list[float]:
    """Places at least a gap apart in the order of the values, from `top` down to 0 where they fit, near the values."""
    places: list[float] = []
    for value in falling:
        places.append(min(value, places[-1] - gap if places else top))
    floor = 0.0
    for i in reversed(range(len(places))):
        places[i] = max(places[i], floor)
        floor = places[i] + gap
    return places
