"""What was made elsewhere, as Steps with a digest, and what is made here, as others take it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from heredity.rows import read_rows, write_rows
from heredity.steps import GivenStudent, Model, Student, given_student, open_to_train
from heredity.store import Step, Store
from heredity.store.files import file_digest
from heredity.types import BadInput, Row

__all__ = ["GivenRows", "GivenStudent", "MergedStudent", "RowsStudent", "given_rows", "given_student"]


class GivenRows(Step):
    """Rows that were made elsewhere, as they were when they were referred to (`given_rows`): `kept.jsonl`."""

    opens_models: ClassVar[bool] = False

    location: str
    digest: str
    """blake2b of the file."""

    def make(self, folder: Path, store: Store) -> None:
        path = Path(self.location)
        rows = [read.row for read in read_rows(path)]
        if given_rows(path).digest != self.digest:
            raise BadInput(f"{path} has changed since it was referred to; refer to it anew")
        if not rows:
            raise BadInput(f"{path} is empty; name a file with rows")
        write_rows(folder / "kept.jsonl", rows)

    def read(self, store: Store) -> list[Row]:
        """The rows, in the file's order."""
        return [read.row for read in read_rows(store.path(self) / "kept.jsonl")]


def given_rows(path: str | Path) -> GivenRows:
    """A file of rows in any chat layout, pinned to what it holds now."""
    try:
        return GivenRows(location=str(path), digest=file_digest(Path(path)))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; name a JSON Lines or Parquet file") from error


class RowsStudent(Student):
    """A student of rows that were made elsewhere."""

    corpus: GivenRows  # type: ignore[assignment]


class MergedStudent(Step):
    """A model with its adapters added to its weights: a folder that `transformers` alone opens."""

    base: Model

    def make(self, folder: Path, store: Store) -> None:
        open_to_train(self.base, store).save(folder)
