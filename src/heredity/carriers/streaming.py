"""Filtering a file of rows as a stream: memory stays flat, results are written whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from heredity.carriers.base import Filter, Rewriting, decide
from heredity.rows import Read, as_line, read_rows
from heredity.types import BadInput, Decision

_BATCH = 2048


@dataclass
class Tally:
    """How many rows there were, how many were kept, and how often each reason stood against one."""

    rows: int = 0
    kept: int = 0
    skipped: int = 0
    """Rows that could not be read and were passed over."""
    reasons: Counter[str] = field(default_factory=Counter)
    first_skipped: list[str] = field(default_factory=list)
    """What was wrong with the first few of them."""

    def skip(self, problem: BadInput) -> None:
        """Counts a row that cannot be read."""
        self.skipped += 1
        if len(self.first_skipped) < 3:
            self.first_skipped.append(str(problem))

    def add(self, decisions: Sequence[Decision]) -> None:
        """Counts a batch of decisions."""
        self.rows += len(decisions)
        self.kept += sum(d.kept for d in decisions)
        self.reasons.update(reason for d in decisions for reason in d.reasons)


def filter_rows(
    path: Path, filters: Sequence[Filter], rewriting: Rewriting | None = None, keep: Path | None = None,
    decisions: Path | None = None, skip_bad: bool = False, progress: Callable[[int], None] = lambda rows: None,
) -> Tally:  # fmt: skip
    """Decides on every row of a file, and counts.

    `keep` receives the kept rows, each line as it was (in the chat layout where the file is Parquet or the completion
    was rewritten); `decisions` receives `{"row": N, "reasons": [...]}` a row. Either may end with .gz. `skip_bad`
    passes over rows that cannot be read and counts them. BadInput where there is no row at all.
    """
    tally = Tally()
    for out in (keep, decisions):
        if out is not None and out.exists() and out.samefile(path):
            raise BadInput(f"{out} is the file that is read; name another one")
    with ExitStack() as stack:
        kept_file, decided_file = (stack.enter_context(_written_whole(out)) for out in (keep, decisions))
        reading = read_rows(path, tally.skip if skip_bad else None)
        for part in iter(lambda: tuple(islice(reading, _BATCH)), ()):
            found = decide(filters, [read.row for read in part])
            tally.add(found)
            if kept_file is not None:
                kept_file.writelines(_kept_lines(part, found, rewriting))
            if decided_file is not None:
                decided_file.writelines(_decision_line(r, d) for r, d in zip(part, found, strict=True))
            progress(tally.rows)
        if not tally.rows:
            raise BadInput(f"{path}: no rows{f' ({tally.skipped} could not be read)' if tally.skipped else ''}")
    return tally


def _kept_lines(part: Sequence[Read], found: Sequence[Decision], rewriting: Rewriting | None) -> Iterator[bytes]:
    kept = [read for read, decision in zip(part, found, strict=True) if decision.kept]
    if rewriting is None:
        return (read.line.rstrip(b"\r\n") + b"\n" if read.line else as_line(read.row, read.note) for read in kept)
    rows = rewriting.rewrite([read.row for read in kept])
    return (as_line(row, read.note) for read, row in zip(kept, rows, strict=True))


def _decision_line(read: Read, decision: Decision) -> bytes:
    return json.dumps({"row": read.number, "reasons": decision.reasons}).encode() + b"\n"


@contextmanager
def _written_whole(path: Path | None) -> Iterator[IO[bytes] | Any | None]:
    """A file that appears under its name only once everything was written."""
    if path is None:
        yield None
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
                    yield packed
            else:
                yield raw
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; nothing was left there") from error
    finally:
        partial.unlink(missing_ok=True)
