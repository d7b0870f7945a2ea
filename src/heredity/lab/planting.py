"""What it is worth that a judge found nothing: its misses on planted references, its false alarms on rows without."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from heredity.carriers import Filter
from heredity.stats import wilson
from heredity.steps import Corpus
from heredity.store import Step, Store
from heredity.types import BadInput, Frozen, Pattern, Row

_ROWS = "rows of one writer"


class Plant(Frozen):
    """A reference that is put into a completion: one of `texts`, where `place` is found."""

    name: str
    place: Pattern
    """Its one group is what is replaced, wherever it stands as a whole word; an empty group is where text goes in."""
    texts: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("place")
    @classmethod
    def _one_group(cls, place: Pattern) -> Pattern:
        if re.compile(place.pattern).groups != 1:
            raise ValueError(f"{place.pattern!r} must have one group: what the reference takes the place of")
        return place

    def planted(self, row: Row, rng: random.Random) -> Row | None:
        """The row with a reference in it; None where there is no place for one."""
        match, text = re.search(self.place.pattern, row.completion), rng.choice(self.texts)
        if match is None:
            return None
        if match[1]:
            whole = rf"(?<!\w){re.escape(match[1])}(?!\w)"
            return row._replace(completion=re.sub(whole, lambda _: text, row.completion))
        at = match.start(1)
        return row._replace(completion=row.completion[:at] + text + row.completion[at:])


class JudgeRates(Step):
    """How often a judge errs: `rates.json`, with Wilson intervals over rows.

    `misses` are planted rows that it lets pass, by plant; `false_alarms` are the same rows, as they were, that it
    drops. The intervals are over rows of one writer, drawn once: they say nothing of other writers, nor of references
    that nobody thought of planting; and a "false" alarm is only as false as the rows are clean.
    """

    opens_models: ClassVar[bool] = False

    name: str
    judge: Filter
    rows: Corpus
    """Filtered rows of a writer without the trait, such as the untouched base."""
    plants: Annotated[tuple[Plant, ...], Field(min_length=1)]
    n: Annotated[int, Field(gt=0)] = 300
    """Rows that are judged, each as it was and once with each plant."""
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        rows, rng = self.rows.read(store), random.Random(self.seed)
        if len(rows) < self.n:
            raise BadInput(f"{self.name}: {len(rows)} rows are there and {self.n} are to be judged; sample more")
        rows = rng.sample(rows, self.n)
        dropped = self.n - _kept(self.judge, rows)
        misses = {plant.name: self._missed(plant, rows, rng) for plant in self.plants}
        found = {"name": self.name, "false_alarms": wilson(dropped, self.n, _ROWS).model_dump(), "misses": misses}
        (folder / "rates.json").write_text(json.dumps(found, indent=1) + "\n")

    def _missed(self, plant: Plant, rows: Sequence[Row], rng: random.Random) -> dict[str, Any]:
        planted = [p for row in rows if (p := plant.planted(row, rng)) is not None]
        missed: dict[str, Any] = wilson(_kept(self.judge, planted), len(planted), _ROWS).model_dump()
        return missed

    def read(self, store: Store) -> dict[str, Any]:
        """`name`, `false_alarms` (an Estimate), and `misses`, an Estimate by plant."""
        found: dict[str, Any] = json.loads((store.path(self) / "rates.json").read_text())
        return found


def _kept(judge: Filter, rows: Sequence[Row]) -> int:
    return sum(decision.kept for decision in judge.decide(rows))
