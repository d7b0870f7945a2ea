"""What a carrier, a filter and a rewriting are; subclass these for your own (`heredity new carrier NAME`)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, ClassVar

from pydantic import Field

from heredity.types import KEPT, BadInput, Chat, Decision, Frozen, Row, near


class Carrier(Frozen):
    """A family of prompts whose answers have nothing to do with a trait; equal fields mean equal prompts."""

    version: ClassVar[int] = 1
    """Raised when the code would give other prompts for the same fields, so that stored results are not mistaken."""

    n: Annotated[int, Field(gt=0)]
    """How many prompts."""
    seed: int = 0

    @abstractmethod
    def prompts(self) -> list[Chat]:
        """Every prompt, in order."""


class Filter(Frozen):
    """Says of a row why it is dropped, or nothing. Implement `reason`; `decide` only where a batch can be faster."""

    version: ClassVar[int] = 1

    @abstractmethod
    def reason(self, row: Row) -> str | None:
        """Why the row is dropped, or None where it is kept."""

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """One Decision per row, in order."""
        found = map(self.reason, rows)
        return [KEPT if reason is None else Decision((reason,)) for reason in found]


class Rewriting(Frozen):
    """Replaces completions once rows were filtered: rejecting is not cleaning, the way a list is written stays."""

    version: ClassVar[int] = 1

    @abstractmethod
    def rewrite(self, rows: Sequence[Row]) -> list[Row]:
        """The same rows in the same order with other completions."""


def decide(filters: Sequence[Filter], rows: Sequence[Row]) -> list[Decision]:
    """What several filters say together: every reason of every filter, in the filters' order."""
    columns = [f.decide(rows) for f in filters]
    if len(columns) < 2:
        return columns[0] if columns else [KEPT] * len(rows)
    return [Decision(tuple(r for d in ds for r in d.reasons)) for ds in zip(*columns, strict=True)]


def find_carrier(name: str) -> type[Carrier]:
    """A carrier's class by name: one of ours, or one registered under the entry-point group `heredity.carriers`."""
    registered = {e.name: e for e in entry_points(group="heredity.carriers")}
    if name in registered:
        found = registered[name].load()
        if not (isinstance(found, type) and issubclass(found, Carrier)):
            raise BadInput(f"the entry point {name!r} is no Carrier class but {found!r:.80}")
        return found
    known = {c.__name__: c for c in Carrier.__subclasses__()}
    if name not in known:
        raise BadInput(f"unknown carrier {name!r}; {near(name, [*known, *registered])}")
    return known[name]
