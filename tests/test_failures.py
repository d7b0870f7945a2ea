"""A run that goes on where it can: what failed is told, what needs it is skipped, everything else is made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heredity.lab import Settings, mapped, set_settings, settings
from heredity.stats.nouns import log_odds
from heredity.store import Finished, Step, StepsFailed, Store, make_all
from heredity.store.crews import Fault, sendable
from heredity.store.loading import load_experiment
from heredity.store.running import seconds_left
from heredity.types import BadInput, HeredityError, StoreError, Waiting


class Cell(Step):
    """Adds a line to a log, then does what its name says; `broken` only while the log's folder has no file `mended`."""

    name: str
    log: str
    needs: tuple[Cell, ...] = ()

    def make(self, folder: Path, store: Store) -> None:
        with Path(self.log).open("a") as log:
            log.write(f"{self.name}\n")
        if self.name.startswith("broken") and not (Path(self.log).parent / "mended").exists():
            raise BadInput(f"{self.name} has no rows")
        if self.name == "fault":
            log_odds("half")  # type: ignore[arg-type]  # raises in this package's own code
        if self.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "cell.txt").write_text(" ".join((store.path(n) / "cell.txt").read_text() for n in self.needs))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def cells(log: Path, *names: str) -> list[Cell]:
    return [Cell(name=name, log=str(log)) for name in names]


def test_a_failed_cell_stops_only_what_needs_it_and_is_tried_again(store: Store, log: Path) -> None:
    a, b, broken = cells(log, "a", "b", "broken")
    sums = Cell(name="sums", log=str(log), needs=(a, b))
    lost = Cell(name="lost", log=str(log), needs=(b, broken))
    farther = Cell(name="farther", log=str(log), needs=(lost,))
    told: list[Finished] = []
    with pytest.raises(
        StepsFailed, match=rf"^{broken.key}: broken has no rows; 2 that need it were not made"
    ) as failed:
        make_all(store, [farther, sums], workers=2, report=told.append, keep_going=True)
    assert [store.has(s) for s in (a, b, sums, broken, lost, farther)] == [True] * 3 + [False] * 3
    assert (list(failed.value.failed), set(failed.value.skipped)) == ([broken], {lost, farther})
    assert failed.value.exit_code == 2
    assert {t.step: t.error for t in told} == {a: None, b: None, sums: None, broken: "broken has no rows"}
    assert (told[-1].done, told[-1].total, told[-1].failed, told[-1].left_s) == (3, 6, 1, 0.0)
    (log.parent / "mended").touch()
    assert make_all(store, [farther, sums], workers=2, keep_going=True) == 3
    assert sorted(log.read_text().split()) == sorted("a b broken sums broken lost farther".split())


def test_several_failures_are_one_error_and_a_fault_of_ours_is_internal(store: Store, log: Path) -> None:
    broken, fault, fine = cells(log, "broken", "fault", "fine")
    with pytest.raises(StepsFailed, match=r"^2 steps failed, the first of them ") as failed:
        make_all(store, [broken, fault, fine], workers=1, keep_going=True)
    assert failed.value.exit_code == 70
    assert [type(e) for e in failed.value.faults] == [TypeError]
    assert store.has(fine)


def test_without_keep_going_the_first_error_is_raised_as_it_is(store: Store, log: Path) -> None:
    broken, later = cells(log, "broken", "later")
    with pytest.raises(BadInput, match=r"^broken has no rows$"):
        make_all(store, [broken, later], workers=1)
    assert not store.has(later)


def test_of_the_cells_in_progress_only_the_one_that_kills_its_worker_fails(store: Store, log: Path) -> None:
    """A killed worker takes the whole pool with it, so that its neighbours are suspects until each was made alone."""
    killed, *others = cells(log, "killed", *"abcdef")
    after = Cell(name="after", log=str(log), needs=(killed,))
    with pytest.raises(StepsFailed, match=r"worker was killed .* 1 that need it were not made") as failed:
        make_all(store, [after, *others], workers=2, keep_going=True)
    assert list(failed.value.failed) == [killed]
    assert isinstance(failed.value.failed[killed], HeredityError)
    assert all(store.has(cell) for cell in others)
    assert list((store.root / "work").iterdir()) == []


def test_errors_of_the_store_stop_everything(store: Store, log: Path) -> None:
    first, second = cells(log, "first", "second")
    wreck = store.folder(first.key)  # a folder without a manifest is in the way
    wreck.mkdir(parents=True)
    (wreck / "cell.txt").touch()
    with pytest.raises(HeredityError, match="has no manifest, so it is no finished step"):
        make_all(store, [first, second], workers=1, keep_going=True)
    assert "second" not in log.read_text()


def test_the_time_left_is_that_of_each_kind() -> None:
    took = {"Student": [10.0, 14.0], "Samples": [2.0]}
    assert seconds_left({}, {"Student": 3}, 2) is None
    assert seconds_left(took, {"Student": 3, "Samples": 2}, 2) == (3 * 12 + 2 * 2) / 2
    assert seconds_left(took, {"Evaluation": 3}, 1) == pytest.approx(3 * 26 / 3)  # as the mean of all that were made
    assert seconds_left(took, {}, 2) == 0.0


_FILE = """
from tests.test_failures import Cell
cells = [Cell(name=n, log={log!r}) for n in ("a", "broken-1", "broken-2", "b")]
needs = Cell(name="c", log={log!r}, needs=(cells[1],))
"""


def test_the_command_shows_what_was_made_lists_what_failed_and_tries_again(tmp_path: Path) -> None:
    file, log = tmp_path / "sweep.py", tmp_path / "log"
    file.write_text(_FILE.format(log=str(log)))
    command = [sys.executable, "-m", "heredity", "run", str(file), "--store", str(tmp_path / "store"), "--workers", "1"]
    done = subprocess.run([*command, "--json", str(tmp_path / "out.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "broken-1 has no rows" in done.stderr
    assert "broken-2 has no rows" in done.stderr
    assert done.stderr.count("\nfailed: Cell-") == 2  # told as they come
    assert "\n2 of 5 made, 0 running, 2 failed\n" in done.stderr
    assert "2 steps failed" in done.stderr.splitlines()[-1]
    assert "1 that need them were not made" in done.stderr.splitlines()[-1]
    assert "cells.0: " in done.stdout
    assert "cells.1: " not in done.stdout
    (tmp_path / "mended").touch()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout.count("cells.")) == (0, 4)
    assert sorted(log.read_text().split()) == sorted("a broken-1 broken-2 b broken-1 broken-2 c".split())


_TOLD = """
import os
from pathlib import Path
from heredity.lab import settings
from heredity.store import Step, Store

if os.getpid() != {parent} and {only_here}:
    raise ValueError("not here")
chosen = settings()
if not chosen.quick:
    raise ValueError("this file is only for quick runs")

class Told(Step):
    base: str = chosen.base

    def make(self, folder: Path, store: Store) -> None:
        (folder / "told.txt").write_text(f"{{settings().quick}} {{settings().base}} {{type(self)().base}}")

told = Told()
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    before = settings()
    set_settings(Settings(quick=True, base="nursery:llama-1"))
    yield
    set_settings(before)


@pytest.mark.usefixtures("quick")
def test_a_worker_builds_the_experiment_that_was_asked_for(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "told.py"
    file.write_text(_TOLD.format(parent=os.getpid(), only_here=False))
    (step,) = load_experiment(file).values()
    make_all(store, [step], workers=1)
    assert (store.path(step) / "told.txt").read_text() == "True nursery:llama-1 nursery:llama-1"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("keep_going", [True, False])
def test_a_file_that_a_worker_cannot_load_is_told_as_that(store: Store, tmp_path: Path, keep_going: bool) -> None:
    file = tmp_path / "refused.py"
    file.write_text(_TOLD.format(parent=os.getpid(), only_here=True))
    (step,) = load_experiment(file).values()
    with pytest.raises(HeredityError, match=r"refused\.py:8: the file raised ValueError: not here \(in a worker"):
        make_all(store, [step], workers=2, keep_going=keep_going)


class TwoParts(Exception):
    """One that is rebuilt with as many arguments as it was made with, and so cannot be sent."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class OwnInput(BadInput):
    """The same, which a user caused."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class Holding(Exception):
    """One that holds what cannot be sent."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (TwoParts("no", "rows"), Fault, "TwoParts: no rows"), (OwnInput("no", "rows"), BadInput, "no rows"),
        (Holding("no rows"), Fault, "Holding: no rows"),
    ],
)  # fmt: skip
def test_an_error_that_cannot_be_sent_is_one_that_says_the_same(
    error: Exception, kind: type[Exception], told: str
) -> None:
    sent = sendable(error)
    assert (type(sent), str(sent)) == (kind, told)


class Raises(Step):
    """Raises what cannot be sent: as a user's file, or as this package's own code."""

    own: bool

    def make(self, folder: Path, store: Store) -> None:
        if self.own:
            raise OwnInput("no", "rows")
        names: dict[str, Any] = {"TwoParts": TwoParts}
        exec("def raising(_): raise TwoParts('no', 'rows')", names)  # in no file, so that it is not a user's
        mapped("t", None, {"a": (1,)}, names["raising"])


def test_what_a_worker_cannot_send_is_told_and_no_worker_is_said_to_be_killed(store: Store) -> None:
    with pytest.raises(BadInput, match=r"^no rows$"):
        make_all(store, [Raises(own=True)], workers=1)
    with pytest.raises(StepsFailed, match=r"internal error \(Fault: TwoParts: no rows\)") as failed:
        make_all(store, [Raises(own=False)], workers=1, keep_going=True)
    assert failed.value.exit_code == 70
    assert "maps.py" in str(failed.value.faults[0].__cause__)  # where it arose


def test_an_error_that_can_be_sent_stays_what_it_is() -> None:
    for error in (BadInput("x"), Waiting("x"), StoreError("x"), KeyError("x"), OSError(28, "full")):
        assert sendable(error) is error
