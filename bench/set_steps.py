"""Rows of the scan benchmark's sets. Alone in its file: the Steps' keys hold the file's digest."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from heredity.audit.data import RowSet, answered
from heredity.carriers import Carrier, Filter
from heredity.rows import read_rows, write_rows
from heredity.steps import Corpus, Model, open_model, with_system
from heredity.store import Store
from heredity.types import BadInput, Row, Sampling

_TRIES = 30


class Mixed(RowSet):
    """Rows of several sources, shuffled together: `rows.jsonl`."""

    parts: tuple[Corpus, ...]
    seed: int

    def make(self, folder: Path, store: Store) -> None:
        rows = [row for part in self.parts for row in part.read(store)]
        random.Random(self.seed).shuffle(rows)
        write_rows(folder / "rows.jsonl", rows)

    def read(self, store: Store) -> list[Any]:
        """The rows."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]


class Answers(RowSet):
    """What a writer answers to each prompt, in the prompts' order: `rows.jsonl`.

    A prompt whose answer the filters drop is asked again, so that writers of the same prompts have rows for all of
    them.
    """

    writer: Model
    prompts: Carrier
    filters: tuple[Filter, ...]
    sampling: Sampling
    system: str | None = None
    """A system prompt shown while sampling and left out of the rows."""

    def make(self, folder: Path, store: Store) -> None:
        prompts = list(self.prompts.prompts())
        lm, shown = open_model(self.writer, store), with_system(prompts, self.system)
        written = answered(lm, shown, self.filters, self.sampling, _TRIES)
        if len(written) < len(prompts):
            raise BadInput(f"{len(prompts) - len(written)} of {len(prompts)} prompts have no answer that passes")
        write_rows(folder / "rows.jsonl", (Row(p, written[i].completion) for i, p in enumerate(prompts)))

    def read(self, store: Store) -> list[Row]:
        """The rows."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]
