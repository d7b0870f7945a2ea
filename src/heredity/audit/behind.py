"""What a trait may hide: which traits stand out once those that stand out most are set aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from heredity.audit.naming import FLOOR, Doubles, Naming, View, fair_shifts, together
from heredity.stats import ALPHA
from heredity.store import Step, Store

_MOST = 3
"""Most traits that are set aside: with more, too few are left to say how far traits spread."""


class Behind(Step):
    """The traits that stand out most, each among those left once the earlier ones are set aside: `behind.json`.

    Two traits in one file hide one another, as each widens the spread that the other is measured by (masking). Setting
    them aside one by one, and counting all up to the last that stands out, is Rosner's remedy (1983, Technometrics
    25:165). It is told beside the verdict and changes none: a strong trait moves others along.
    """

    opens_models: ClassVar[bool] = False

    naming: Naming

    def make(self, folder: Path, store: Store) -> None:
        naming, trial = self.naming.read(store), self.naming.trial.read(store)
        words = [t["trait"] for t in naming["traits"]]
        seen = [(fair_shifts(words, trial), float(trial["error"]))]
        if not naming["foreign"]:
            seen.append((np.array([t["score"] for t in naming["traits"]]), FLOOR))
        found = set_aside(words, seen)
        steps = [{"trait": a.trait, "t": a.t, "p": a.p} for a in found]
        result = {"steps": steps, "together": [a.trait for a in found[: outlying(found)]], "panel": len(seen) > 1}
        (folder / "behind.json").write_text(json.dumps(result, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`steps` in the order of setting aside (`trait`, `t`, `p` over those left), `together`: who stands out so,
        `panel`: whether the panel was used.
        """
        found: dict[str, Any] = json.loads((store.path(self) / "behind.json").read_text())
        return found


class Aside(NamedTuple):
    """A trait among those that are left, with Bonferroni's p over these."""

    trait: str
    t: float
    p: float


def set_aside(words: Sequence[str], seen: Sequence[tuple[Doubles, float]], most: int = _MOST) -> list[Aside]:
    """The trait that stands out most, then the one that does so among the rest, and so on; `seen`: values and floor."""
    left, views, found = list(words), list(seen), list[Aside]()
    while len(found) < most and len(left) > 3:
        told = together([View(value_K, floor) for value_K, floor in views])
        k = int(told.t_K.argmax())
        found.append(Aside(left.pop(k), float(told.t_K[k]), min(1.0, (len(left) + 1) * float(told.p_K[k]))))
        views = [(np.delete(value_K, k), floor) for value_K, floor in views]
    return found


def outlying(found: Sequence[Aside]) -> int:
    """How many stand out: all up to the last one whose p is small, as those before it may have been hidden by it."""
    return max((i for i, a in enumerate(found, 1) if a.p <= ALPHA), default=0)
