"""Differences between cells of a map that were planned before it was made, and means over cells told as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from heredity.stats import Estimate, mean_difference
from heredity.types import Frozen

Place = tuple[str, ...]
"""A cell's label on each axis."""
ANY = "*"
"""In a planned pair: every label, the same one on both sides."""


class Contrast(Frozen):
    """How much more crosses in some cells than in others: the mean over pairs of cells, seed by seed."""

    name: str
    pairs: Annotated[tuple[tuple[Place, Place], ...], Field(min_length=1)]
    """Places of the cells; the first of a pair less the second."""

    @property
    def places(self) -> frozenset[Place]:
        """Every cell that it is about."""
        return frozenset(place for pair in self.pairs for place in pair)

    def among(self, cells: Mapping[Place, Mapping[str, Any]]) -> dict[str, Any]:
        """`name`, `pairs` and `log_odds`: the difference with Student's t over the seeds of the cells' results."""
        unit = cells[self.pairs[0][0]]["log_odds"]["unit"]
        each = [[a - b for a, b in zip(*(cells[place]["per_unit"] for place in pair), strict=True)]
                for pair in self.pairs]  # fmt: skip
        values = [math.fsum(of_seed) / len(each) for of_seed in zip(*each, strict=True)]
        return {"name": self.name, "pairs": [[list(place) for place in pair] for pair in self.pairs],
                "log_odds": mean_difference(values, unit).model_dump()}  # fmt: skip


class Together(Frozen):
    """Cells that are told as one: the mean of their lifts, each cell a unit."""

    name: str
    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    unit: str
    """What a cell is one of: "favourites", say."""

    def among(self, cells: Mapping[Place, Mapping[str, Any]]) -> dict[str, Any]:
        """`name`, `places`, `log_odds` (Student's t over the cells' means) and how many of them cross."""
        found = [cells[place] for place in self.places]
        means: Estimate = mean_difference([c["log_odds"]["mean"] for c in found], self.unit)
        return {"name": self.name, "places": [list(place) for place in self.places], "log_odds": means.model_dump(),
                "crosses": sum(bool(c["crosses"]) for c in found)}  # fmt: skip


Planned = Mapping[str, Sequence[tuple[Place, Place]]]
"""Contrasts by name, as pairs of places in which ANY stands for every label."""


def planned(plan: Planned, places: Sequence[Place]) -> tuple[Contrast, ...]:
    """The contrasts among the cells that there are; one of which no pair is there (in a quick run) is left out."""
    found = {name: tuple(pair for pattern in pairs for pair in _expanded(pattern, places))
             for name, pairs in plan.items()}  # fmt: skip
    return tuple(Contrast(name=name, pairs=pairs) for name, pairs in found.items() if pairs)


def _expanded(pattern: tuple[Place, Place], places: Iterable[Place]) -> Iterator[tuple[Place, Place]]:
    there = list(places)
    for place in there:
        if all(asked in (ANY, label) for asked, label in zip(pattern[0], place, strict=True)):
            other = tuple(label if asked == ANY else asked for asked, label in zip(pattern[1], place, strict=True))
            if other in there and other != place:
                yield place, other
