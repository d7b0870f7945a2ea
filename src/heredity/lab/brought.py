"""What was made elsewhere, as Steps with a digest, and what is made here, as others take it."""

from __future__ import annotations

import shutil
from pathlib import Path

from heredity.models import folder_digest, model_files
from heredity.rows import read_rows, write_rows
from heredity.steps import Model, Student, open_to_train
from heredity.store import Step, Store
from heredity.store.files import file_digest
from heredity.types import BadInput, Row


class GivenRows(Step):
    """Rows that were made elsewhere, as they were when they were referred to (`given_rows`): `kept.jsonl`."""

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


class GivenStudent(Step):
    """A model that was trained elsewhere from a base that is named: a copy of its folder, whole or PEFT's adapters."""

    base: Model
    location: str
    digest: str
    """blake2b of the weights, configuration and tokenizer files."""

    def make(self, folder: Path, store: Store) -> None:
        for path in model_files(Path(self.location)):
            shutil.copyfile(path, folder / path.name)
        if folder_digest(folder) != self.digest:
            raise BadInput(f"{self.location} has changed since it was referred to; refer to it anew")


def given_student(path: str | Path, base: Model) -> GivenStudent:
    """A folder with a model or with adapters, pinned to what it holds now."""
    folder = Path(path)
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise BadInput(f"no model in {folder}: expected config.json or adapter_config.json beside its weights")
    if not list(folder.glob("*.safetensors")):
        raise BadInput(f"{folder} holds no safetensors file; save the model or the adapters again as safetensors")
    return GivenStudent(base=base, location=str(path), digest=folder_digest(folder))


class MergedStudent(Step):
    """A model with its adapters added to its weights: a folder that `transformers` alone opens."""

    base: Model

    def make(self, folder: Path, store: Store) -> None:
        open_to_train(self.base, store).save(folder)
