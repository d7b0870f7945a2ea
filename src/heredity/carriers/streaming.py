"""Filtering a file of rows as a stream: memory stays flat, results are written whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from heredity.carriers.base import Filter, Rewriting, decide
from heredity.rows import Read, as_line, read_parts, read_rows
from heredity.types import BadInput, Decision, Row, printable

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
            self.first_skipped.append(printable(str(problem)))

    def add(self, decisions: Sequence[Decision]) -> None:
        """Counts a batch of decisions."""
        self.rows += len(decisions)
        self.kept += sum(d.kept for d in decisions)
        self.reasons.update(reason for d in decisions for reason in d.reasons)


def filter_rows(
    path: Path, filters: Sequence[Filter], rewriting: Rewriting | None = None, keep: Path | None = None,
    decisions: Path | None = None, skip_bad: bool = False, progress: Callable[[int], None] = lambda rows: None,
) -> Tally:  # fmt: skip
    """Decides on every row of a file, and counts. Only the last assistant turn, the completion, is decided on.

    `keep` receives the kept rows as they were read, in the chat layout: the role and text of every turn, and the notes
    beside the row; earlier turns and notes pass through unread. `decisions` receives `{"row": N, "reasons": [...]}` a
    row, N as in `rows.Read`. Either may end with .gz. `skip_bad` passes over rows that cannot be read and counts them.
    BadInput where there is no row at all, or where `check_outputs` refuses a path.
    """
    tally = Tally()
    check_outputs([path], {"keep": keep, "decisions": decisions})
    with ExitStack() as stack:
        kept_file, decided_file = (
            None if out is None else stack.enter_context(written_whole(out)) for out in (keep, decisions)
        )
        reading = read_rows(path, tally.skip if skip_bad else None)
        for part in read_parts(reading, _BATCH):
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


def check_outputs(sources: Iterable[Path], outputs: Mapping[str, Path | None]) -> None:
    """BadInput unless all outputs can be written: regular files or none yet, all different, and none that is read.

    `outputs` are paths by the names that messages call them. Nothing is read or written.
    """
    taken: dict[tuple[int, int] | Path, str] = {}
    for source in sources:
        with suppress(OSError, ValueError):  # reading says what is wrong with the source
            taken |= {_identity(file): "the file that is read" for file in _read_from(source)}
    for name, out in ((n, o) for n, o in outputs.items() if o is not None):
        try:
            fault = _fault(out)
            place = _identity(out)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise BadInput(f"cannot write {out}: {error}; name another file with {name}") from error
        if fault or place in taken:
            raise BadInput(f"cannot write {out}: {fault or f'it is {taken[place]}'}; name another file with {name}")
        taken[place] = f"also {name}"


def _read_from(source: Path) -> list[Path]:
    """The file, or the files of a model's folder; none where there is nothing, as of a name that is no path."""
    if (source / "config.json").is_file():
        return [p for p in source.iterdir() if p.is_file()]
    return [source] if source.exists() else []


def _fault(out: Path) -> str | None:
    if out.name in ("", ".."):
        return "it is no file's name"
    if not out.parent.is_dir():
        return f"there is no folder {out.parent}"
    return "it exists and is no regular file" if out.exists() and not out.is_file() else None


def _identity(path: Path) -> tuple[int, int] | Path:
    """The same for two names of one file."""
    if not path.exists():
        return path.resolve()
    found = path.stat()
    return found.st_dev, found.st_ino


def _kept_lines(part: Sequence[Read], found: Sequence[Decision], rewriting: Rewriting | None) -> Iterator[bytes]:
    """What was decided on and nothing else: the line as it stood may hold more, or be read in another way."""
    kept = [read for read, decision in zip(part, found, strict=True) if decision.kept]
    rows: Sequence[Row] = [read.row for read in kept]
    if rewriting is not None:
        rows = rewriting.rewrite(rows)
    return (as_line(row, read.note) for read, row in zip(kept, rows, strict=True))


def _decision_line(read: Read, decision: Decision) -> bytes:
    return json.dumps({"row": read.number, "reasons": decision.reasons}).encode() + b"\n"


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes] | Any]:
    """A file that appears under its name only once everything was written; packed where its name ends with .gz.

    BadInput where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:  # else it holds the partial name
                    yield packed
            else:
                yield raw
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; nothing was left there") from error
    finally:
        with suppress(OSError):  # such as a name that is too long, which was said above
            partial.unlink(missing_ok=True)
