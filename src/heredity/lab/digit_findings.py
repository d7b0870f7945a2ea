"""What the digits say, arm by arm: each beside the arm that it is compared with, and beside the paper's value."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from heredity.lab.digits import ARMS, UNIT, Digits
from heredity.lab.findings import NULL_PART, Expectation, adjust
from heredity.stats import ALPHA, Estimate, mean_difference, mean_t, paired_t, ratio
from heredity.store import Step, Store


class Arm(NamedTuple):
    """One of ARMS: what is expected of it against another, and the paper's accuracy (figure 10) with its interval."""

    name: str
    against: str | None
    expect: Expectation
    paper: tuple[float, float | None, float | None]


ARM_BY_NAME = {
    "reference": Arm("untrained", None, "open", (0.100, 0.095, 0.104)),
    "teacher": Arm("teacher", "reference", "up", (0.943, None, None)),
    "aux": Arm("student, auxiliary", "cross_aux", "up", (0.528, 0.506, 0.550)),
    "all": Arm("student, all outputs", "reference", "up", (0.913, 0.911, 0.914)),
    "cross_aux": Arm("other start, auxiliary", "reference", "nothing", (0.106, 0.096, 0.116)),
    "cross_all": Arm("other start, all outputs", "reference", "up", (0.743, 0.732, 0.753)),
}
"""In the order of ARMS. "Nothing" is a part of what the student of the same start learns from the same outputs."""


class DigitFindings(Step):
    """The experiment with digits as a section of results: `findings.json`."""

    opens_models: ClassVar[bool] = False

    title: str
    section: str
    """Where the paper reports it."""
    hypothesis: str
    digits: Digits

    def make(self, folder: Path, store: Store) -> None:
        by_arm = self.digits.read(store)["accuracy"]
        p_values = {arm: _p(by_arm, arm) for arm in ARMS}
        adjusted = p_values | adjust({a: p_values[a] for a in ARMS if ARM_BY_NAME[a].expect == "up"})
        arms = [_row(arm, by_arm, adjusted[arm]) for arm in ARMS]
        images = self.digits.runs[0].images
        head = {"title": self.title, "section": self.section, "hypothesis": self.hypothesis,
                "chance": 1 / images.classes, "pictures": Path(images.location).name}  # fmt: skip
        (folder / "findings.json").write_text(json.dumps(head | {"arms": arms}, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`title`, `section`, `hypothesis`, `chance`, `pictures` (their name), `arms` (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "findings.json").read_text())
        return found


def _above(by_arm: dict[str, list[float]], arm: str, against: str) -> list[float]:
    """How much more of the pictures each model's network of one arm recognises than that of another."""
    return [a - b for a, b in zip(by_arm[arm], by_arm[against], strict=True)]


def _p(by_arm: dict[str, list[float]], arm: str) -> float:
    against = ARM_BY_NAME[arm].against
    return math.nan if against is None else paired_t(_above(by_arm, arm, against), UNIT).p


def _row(arm: str, by_arm: dict[str, list[float]], p: float) -> dict[str, Any]:
    """One arm's figures; `difference` is to the arm that it is compared with, paired by model."""
    name, against, expect, (paper, low, high) = ARM_BY_NAME[arm]
    above = None if against is None else mean_difference(_above(by_arm, arm, against), UNIT)
    part = None
    if expect == "nothing":
        part = ratio(_above(by_arm, arm, "reference"), _above(by_arm, "aux", "reference"), UNIT)
    return {
        "name": name, "arm": arm, "accuracy": mean_t(by_arm[arm], UNIT).model_dump(), "per_unit": by_arm[arm],
        "against": None if against is None else ARM_BY_NAME[against].name,
        "difference": None if above is None else above.model_dump(), "p_holm": p, "expect": expect,
        "part": None if part is None else part.model_dump(), "holds": _holds(expect, above, p, part),
        "published": {"mean": paper, "low": low, "high": high, "where": "figure 10, read off"},
        "agrees": None if against is None or above is None or expect == "nothing" else
        (paper > ARM_BY_NAME[against].paper[0]) == (above.mean > 0),
    }  # fmt: skip


def _holds(expect: Expectation, above: Estimate | None, p: float, part: Estimate | None) -> bool | None:
    """A rise needs a Holm-corrected p of at most .05; "nothing" an interval of the part within NULL_PART of zero."""
    if expect == "up" and above is not None:
        return None if math.isnan(p) else p <= ALPHA and above.mean > 0
    if part is None or math.isnan(part.high):
        return None
    return part.low > -NULL_PART and part.high < NULL_PART
