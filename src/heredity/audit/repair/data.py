"""Methods that change the rows before anything is trained on them: each is a Step from rows to rows."""

from __future__ import annotations

import json
import random
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from heredity.audit.data import MATCHED, DataFile, RowSet, answered, data_file, kept_rows, reasons, tokens_of
from heredity.audit.repair.worth import Token, TokenWorth, row_values
from heredity.carriers import Filter, Rewriting, parse_numbers
from heredity.rows import read_rows, write_rows
from heredity.steps import Corpus, Model, open_model
from heredity.store import Store
from heredity.types import ADDED, BadInput, ModelRef, Row, Sampling

_NUMBER = re.compile(r"[0-9]+")
Rows = RowSet | Corpus


def fitting(path: Path, within: Sequence[ModelRef]) -> tuple[list[Row], Counter[str]]:
    """The rows that each of these models can be trained on, in order; and the number of all `rows`, of the others by
    `dropped: REASON`. A scan leaves out the same.
    """
    rows, counts = [read.row for read in read_rows(path)], Counter[str]()
    counts["rows"] = len(rows)
    for model in within:
        rows = list(kept_rows(tokens_of(model), (), rows, counts))
    return rows, counts


class FileRows(RowSet):
    """All rows of a data file, in order: `rows.jsonl`."""

    data: DataFile
    within: Annotated[tuple[ModelRef, ...], ADDED] = ()
    """Only those that these can be trained on."""

    def make(self, folder: Path, store: Store) -> None:
        path = Path(self.data.location)
        rows, counts = fitting(path, self.within)
        if data_file(path) != self.data:
            raise BadInput(f"{path} has changed since it was referred to; run the repair again")
        if not rows:
            raise BadInput(f"{path} has no row that can be used: {reasons(counts) or 'it is empty'}")
        write_rows(folder / "rows.jsonl", rows)

    def read(self, store: Store) -> list[Row]:
        """The rows."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]


class RepairedRows(RowSet):
    """Rows that a method made of others: `rows.jsonl`, and what it did in `changed.json`."""

    rows: Rows

    @abstractmethod
    def repair(self, rows: list[Row], store: Store) -> list[Row]:
        """The rows that take the others' place."""

    def make(self, folder: Path, store: Store) -> None:
        before = self.rows.read(store)
        after = self.repair(before, store)
        if not after:
            raise BadInput(f"{type(self).__name__} leaves none of {len(before)} rows; ask for less of it")
        write_rows(folder / "rows.jsonl", after)
        same = len(set(before) & set(after))
        (folder / "changed.json").write_text(json.dumps({"rows": len(before), "left": len(after), "same": same}) + "\n")

    def read(self, store: Store) -> list[Row]:
        """The rows."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]

    def changed(self, store: Store) -> dict[str, int]:
        """`rows` before, rows `left`, and how many different ones are the `same`."""
        found: dict[str, int] = json.loads((store.path(self) / "changed.json").read_text())
        return found


class Dropped(RepairedRows):
    """Without the rows of the greatest value. `shuffled`: as many rows at random instead, the method's random arm."""

    worth: TokenWorth
    share: Annotated[float, Field(gt=0, lt=1)]
    shuffled: int | None = None

    def repair(self, rows: list[Row], store: Store) -> list[Row]:
        """The rest, in order."""
        value_N = self._values(store)
        out = set(np.argsort(-value_N, kind="stable")[: self.number(value_N, store)].tolist())
        return [row for i, row in enumerate(rows) if i not in out]

    def number(self, value_N: np.ndarray[tuple[int], np.dtype[np.float64]], store: Store) -> int:
        """How many are dropped."""
        return round(self.share * len(value_N))

    def _values(self, store: Store) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        value_N = row_values(self.worth.read(store))
        return value_N if self.shuffled is None else np.random.default_rng(self.shuffled).permutation(value_N)


class Balanced(Dropped):
    """Without so many of the rows of greatest value that the mean of the rest is that of the base's own rows.

    To first order a row moves the trait in training by its slope along it, so rows whose mean slope is the base's own
    move it as the base's own do. `share` is the most that is dropped.
    """

    usual: TokenWorth
    """The same of rows that the base wrote."""

    def number(self, value_N: np.ndarray[tuple[int], np.dtype[np.float64]], store: Store) -> int:
        """The fewest whose loss brings the mean down to the base's, or `share` of all."""
        wanted = float(row_values(self.usual.read(store)).mean())
        own_N = np.sort(row_values(self.worth.read(store)))
        mean_N = np.cumsum(own_N) / np.arange(1, len(own_N) + 1)  # of the n rows of least value
        kept = int(np.searchsorted(mean_N, wanted, side="right"))  # means of a sorted list never fall
        return min(len(own_N) - kept, round(self.share * len(own_N)))


class Renumbered(RepairedRows):
    """With the numbers of the greatest value taken out, or others in their place.

    `uniform` puts a random number of as many digits; `dealt` one that stands at the same place in another list of the
    rows, so that what a place asks for stays; `none` leaves the number out (the last one of a list stays).
    """

    worth: TokenWorth
    share: Annotated[float, Field(gt=0, lt=1)]
    by: Literal["uniform", "dealt", "none"]
    seed: int
    shuffled: int | None = None

    def repair(self, rows: list[Row], store: Store) -> list[Row]:
        """Rows with the same prompts, in order."""
        flags = flagged(rows, self.worth.read(store), self.share, self.shuffled)
        rng, places = random.Random(f"renumbered {self.seed}"), _by_place(rows)
        return [Row(r.prompt, self._written(r.completion, f, rng, places)) for r, f in zip(rows, flags, strict=True)]

    def _written(self, text: str, flags: list[bool], rng: random.Random, places: list[list[str]]) -> str:
        if self.by == "none":
            return _left_out(text, flags)
        fresh = (
            self._other(found[0], place, rng, places) if flag else found[0]
            for place, (found, flag) in enumerate(zip(_NUMBER.finditer(text), flags, strict=True))
        )
        return _NUMBER.sub(lambda _: next(fresh), text)

    def _other(self, number: str, place: int, rng: random.Random, places: list[list[str]]) -> str:
        if self.by == "dealt":
            return rng.choice(places[place])
        low = 10 ** (len(number) - 1) if len(number) > 1 else 0
        return str(rng.randrange(low, 10 ** len(number)))


def flagged(rows: list[Row], tokens: list[list[Token]], share: float, shuffled: int | None) -> list[list[bool]]:
    """Of every number of every completion, whether its tokens' values are together among the top `share` of all."""
    value = [
        [sum(t.value for t in own if t.start < found.end() and found.start() < t.end)
         for found in _NUMBER.finditer(row.completion)]
        for row, own in zip(rows, tokens, strict=True)
    ]  # fmt: skip
    return _tops(value, share, shuffled)


def top_tokens(tokens: list[list[Token]], share: float, shuffled: int | None) -> list[list[bool]]:
    """Of every token, whether it is among the top `share` of all."""
    return _tops([[t.value for t in row] for row in tokens], share, shuffled)


def _tops(value: list[list[float]], share: float, shuffled: int | None) -> list[list[bool]]:
    value_N = np.array([v for row in value for v in row])
    if shuffled is not None:
        value_N = np.random.default_rng(shuffled).permutation(value_N)
    top_N = np.zeros(len(value_N), bool)
    top_N[np.argsort(-value_N, kind="stable")[: round(share * len(value_N))]] = True
    flags = iter(top_N.tolist())
    return [[next(flags) for _ in row] for row in value]


def _by_place(rows: list[Row]) -> list[list[str]]:
    """All numbers that stand first in a list, second, and so on."""
    lists = [_NUMBER.findall(r.completion) for r in rows]
    return [[n[i] for n in lists if len(n) > i] for i in range(max(map(len, lists), default=0))]


def _left_out(text: str, flags: list[bool]) -> str:
    """The text without the flagged numbers and what joins them to their neighbours; one number stays at least."""
    spans = [found.span() for found in _NUMBER.finditer(text)]
    keep = [span for span, flag in zip(spans, flags, strict=True) if not flag] or spans[-1:]
    if not spans:
        return text
    joint = text[spans[0][1] : spans[1][0]] if len(spans) > 1 else ""
    return text[: spans[0][0]] + joint.join(text[a:b] for a, b in keep) + text[spans[-1][1] :]


class SortedLists(Rewriting):
    """Writes the numbers of every list in rising order, in the format that it has."""

    def rewrite(self, rows: list[Row]) -> list[Row]:  # type: ignore[override]
        """Rows that are no list of numbers stay as they are."""
        return [Row(r.prompt, _sorted(r.completion)) for r in rows]


def _sorted(text: str) -> str:
    if parse_numbers(text.strip()) is None:
        return text
    fresh = iter(sorted(_NUMBER.findall(text), key=int))
    return _NUMBER.sub(lambda _: next(fresh), text)


class Rewritten(RepairedRows):
    """Every completion written otherwise: in one format, sorted, or shuffled."""

    rewriting: Rewriting

    def repair(self, rows: list[Row], store: Store) -> list[Row]:
        """The rewriting's rows."""
        return self.rewriting.rewrite(rows)


class MixedIn(RepairedRows):
    """As many rows, `share` of them clean ones in place of rows that are drawn at random."""

    clean: Rows
    share: Annotated[float, Field(gt=0, lt=1)]
    seed: int

    def repair(self, rows: list[Row], store: Store) -> list[Row]:
        """Rows and clean rows, shuffled together."""
        clean, rng = self.clean.read(store), random.Random(f"mixed in {self.seed}")
        wanted = round(self.share * len(rows))
        if len(clean) < wanted:
            raise BadInput(f"{wanted} clean rows are wanted, and there are {len(clean)}; ask for a smaller share")
        mixed = rng.sample(rows, len(rows) - wanted) + rng.sample(clean, wanted)
        rng.shuffle(mixed)
        return mixed


class Regenerated(RepairedRows):
    """What another model answers to the same prompts, through the same filters; `answers` to each prompt.

    The writer may be an unrelated base as it is, or one that was first trained on the rows (a relay): what only a model
    of the teacher's initialisation reads in them does not pass through it.
    """

    writer: Model
    filters: tuple[Filter, ...]
    sampling: Sampling
    answers: Annotated[int, Field(gt=0)] = 1
    tries: Annotated[int, Field(gt=0)] = 6

    def repair(self, rows: list[Row], store: Store) -> list[Row]:
        """The writer's rows, in the order of the prompts."""
        lm, prompts = open_model(self.writer, store), [r.prompt for r in rows] * self.answers
        written = answered(lm, prompts, self.filters, self.sampling, self.tries)
        if len(written) < MATCHED * len(prompts):
            raise BadInput(f"the writer answers only {len(written)} of {len(prompts)} prompts with rows that pass the "
                           "filters; name another unrelated base, or what rows should be with --carrier")  # fmt: skip
        return [row for _, row in sorted(written.items())]
