"""Whether two judges say the same: what one judge's counts are worth depends on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from heredity.lab.judges import JudgeFilter
from heredity.rows import read_rows
from heredity.stats import kappa, wilson
from heredity.steps import Samples
from heredity.store import Step, Store
from heredity.types import Row

_ROWS = "rows of one writer"


class Agreement(Step):
    """Two judges on the same answers: `agreement.json`.

    Each judge calls a row out, passes it, or gives no verdict; the last is counted for each, and such rows enter
    neither `agreement` (the share of rows of which both say the same) nor `kappa` (the same beyond chance). Their
    intervals are over rows of one writer and say nothing of other writers.
    """

    opens_models: ClassVar[bool] = False

    name: str
    samples: Samples
    judges: tuple[JudgeFilter, JudgeFilter]
    """With their thresholds."""

    def make(self, folder: Path, store: Store) -> None:
        rows = [read.row for read in read_rows(store.path(self.samples) / "rows.jsonl")]
        first, second = (verdicts(judge, rows) for judge in self.judges)
        found = {"name": self.name, "rows": len(rows), "unparsed": [first.count(None), second.count(None)]}
        cells = Counter(pair for pair in zip(first, second, strict=True) if None not in pair)
        counts = {"both": cells[True, True], "first_only": cells[True, False], "second_only": cells[False, True],
                  "neither": cells[False, False]}  # fmt: skip
        same = wilson(counts["both"] + counts["neither"], cells.total(), _ROWS)
        beyond = kappa(counts["both"], counts["first_only"], counts["second_only"], counts["neither"], _ROWS)
        found |= counts | {"agreement": same.model_dump(), "kappa": beyond.model_dump()}
        (folder / "agreement.json").write_text(json.dumps(found, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`name`, `rows`, `unparsed` by judge, counts of `both`, `first_only`, `second_only`, `neither`, Estimates."""
        found: dict[str, Any] = json.loads((store.path(self) / "agreement.json").read_text())
        return found


def verdicts(judge: JudgeFilter, rows: Sequence[Row]) -> list[bool | None]:
    """Whether the judge calls each row out; None where it gave no verdict or no grade."""
    return [said.out for said in judge.verdicts(rows)]
