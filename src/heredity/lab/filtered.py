"""What the filters removed from each arm of a comparison: arms that lose different rows are no longer equal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from heredity.lab.comparison import Comparison
from heredity.steps import Corpus, Evaluation, Student
from heredity.store import Step, Store


class Filtered(Step):
    """Rows sampled, passed and kept by every seed of two arms, and the part dropped for each reason: `filtered.json`.

    A row that several filters drop counts under each of its reasons, so the parts may add up to more than what was
    dropped. `passed` is before a cut to equal sizes, `kept` after it.
    """

    opens_models: ClassVar[bool] = False

    name: str
    treated: tuple[Corpus, ...]
    control: tuple[Corpus, ...]

    def make(self, folder: Path, store: Store) -> None:
        arms = {"treated": _together(self.treated, store), "control": _together(self.control, store)}
        (folder / "filtered.json").write_text(json.dumps({"claim": self.name} | arms, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`claim`; `treated` and `control`, each with `sampled`, `passed`, `kept` (one a seed) and `dropped`."""
        found: dict[str, Any] = json.loads((store.path(self) / "filtered.json").read_text())
        return found


def _together(corpora: Sequence[Corpus], store: Store) -> dict[str, Any]:
    counts = [json.loads((store.path(c) / "counts.json").read_text()) for c in corpora]
    sampled, reasons = sum(c["sampled"] for c in counts), Counter[str]()
    for each in counts:
        reasons.update(each["dropped"])
    lists = {name: [c[name] for c in counts] for name in ("sampled", "passed", "kept")}
    return lists | {"dropped": {reason: n / sampled for reason, n in reasons.most_common()}}


def filtered(name: str, comparison: Comparison) -> Filtered | None:
    """What was filtered behind a comparison; None where an evaluation has no rows behind it."""
    arms = [[_corpus(e) for e in side] for side in (comparison.treated, comparison.control)]
    treated, control = (tuple(c for c in arm if c is not None) for arm in arms)
    if len(treated) < len(comparison.treated) or len(control) < len(comparison.control):
        return None
    return Filtered(name=name, treated=treated, control=control)


def _corpus(evaluation: Evaluation) -> Corpus | None:
    """The rows that a student was trained on, or that were read in the context."""
    if isinstance(evaluation.model, Student):
        return evaluation.model.corpus
    return None if evaluation.context is None else evaluation.context.corpus
