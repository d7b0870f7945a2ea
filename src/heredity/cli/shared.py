"""What all verbs share: options, the Store, running Steps under a bar, and writing results where a user wants them."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.types import BadInput, HeredityError, On, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heredity.store import Step, StepsFailed, Store

StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps every finished step.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file (docs/json.md).")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")]
DEFAULT_STORE = Path("heredity-store")


def open_store(root: Path, must_exist: bool = False) -> Store:
    """The store in a folder; BadInput where one is needed and there is none."""
    from heredity.store import Store

    try:
        there = (root / "objects").is_dir()
    except OSError as error:
        told = f"cannot use {str(root)!r:.200} as a store: {error.strerror}; name another folder with --store"
        raise BadInput(told) from error
    if must_exist and not there:
        raise BadInput(f"no store at {root}; run `heredity demo` first, or name one with --store")
    return Store(root)


def run_steps(
    store: Store, targets: list[Step], workers: int | None, keep_going: bool = False, on: On = "local"
) -> float:
    """Makes what is missing under a progress bar; returns the seconds it took (0 where nothing was missing)."""
    from heredity.store import make_all, missing

    count = len(missing(store, targets))
    if not count:
        return 0.0
    from heredity.report.terminal import progress_bar

    started = time.monotonic()
    with progress_bar(count, store.root) as report:
        make_all(store, targets, workers, report, keep_going, on)
    return round(time.monotonic() - started, 2)


def run_cells(
    store: Store, targets: list[Step], workers: int | None, on: On
) -> tuple[float, StepsFailed | None]:  # fmt: skip
    """The same for the cells of a sweep: what failed is returned, and all else is made."""
    from heredity.store import StepsFailed

    started = time.monotonic()
    try:
        return run_steps(store, targets, workers, keep_going=True, on=on), None
    except StepsFailed as failed:
        return round(time.monotonic() - started, 2), failed


def run_rest(store: Store, steps: dict[str, Step], failed: StepsFailed | None) -> dict[str, Step]:
    """The steps, each map of which some cells failed in place of its whole as the map of the others, which is made."""
    if failed is None:
        return steps
    from heredity.lab.maps import without_failed

    rest = without_failed(steps, store, failed.failed)
    try:
        run_steps(store, list(rest.values()), 1)
    except HeredityError as error:  # what was made is shown all the same
        typer.echo(printable(f"heredity: maps of what was made are left out: {error}"), err=True)
    return steps | rest


def failures(failed: StepsFailed | None) -> dict[str, Any]:
    """What a run could not make, for scripts."""
    from heredity.store.running import failure

    if failed is None:
        return {}
    return {
        "failed": [{"key": step.key, "error": failure(error)} for step, error in failed.failed.items()],
        "skipped": [step.key for step in failed.skipped],
    }


def check_written(sources: Iterable[Path | str | None], outputs: dict[str, Path | None]) -> None:
    """BadInput where an output cannot be written, is another one too, or is one of the files that are read.

    Pipes and devices, such as /dev/stdout, are left to their writers.
    """
    from heredity.carriers import check_outputs

    check_outputs([Path(source) for source in sources if source is not None], files_of(outputs))


def files_of(outputs: dict[str, Path | None]) -> dict[str, Path | None]:
    """Those of the outputs that are files, or will be."""
    return {name: out for name, out in outputs.items() if out is not None and not _is_stream(out)}


def _is_stream(out: Path) -> bool:
    with suppress(OSError, ValueError):
        return out.is_fifo() or out.is_char_device() or out.is_socket()
    return False


def _leads() -> bool:
    """Whether it is for this process to write: of those that train together, the first does."""
    from heredity.store.crews import leads

    return leads()


def copy_page(page: Path, to: Path | None) -> None:
    """Writes a finished page to where the user wants it."""
    if to is not None:
        write_page(to, page.read_bytes())


def write_page(to: Path, page: bytes) -> None:
    """Writes a page to a file; BadInput where that fails."""
    if not _leads():
        return
    try:
        to.write_bytes(page)
    except OSError as error:
        raise BadInput(f"cannot write {to}: {error.strerror}; name another file with --html") from error


def write_text(path: Path | None, option: str, text: Callable[[], str]) -> None:
    """Writes a text to where the user wants it."""
    if path is None or not _leads():
        return
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; name another file with {option}") from error


def write_json(path: Path | None, result: dict[str, Any], store: Store | None = None, made: Step | None = None) -> None:
    """Writes a verb's result for scripts; numbers that are undefined become null.

    Of processes that train together the first writes.
    """
    if path is None or not _leads():
        return
    commit = store.manifest(made.key)["run"]["commit"] if store is not None and made is not None else None
    head = {"schema_version": 1, "commit": commit, "command": shlex.join(["heredity", *sys.argv[1:]])}
    try:
        path.write_text(json.dumps(finite(head | result), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; name another file with --json") from error


def finite(value: Any) -> Any:
    """The same with None for numbers that are undefined."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
