"""Results of a benchmark that another machine goes on with."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from bench import ledger as ledger_file
from bench.ledger import Ledger, publish

from heredity.store import Step, Store, missing
from heredity.types import StoreError


class Cause(Step):
    """What an effect needs."""

    number: int

    def make(self, folder: Path, store: Store) -> None:
        (folder / "number.txt").write_text(str(self.number))


class Effect(Step):
    """A result that is kept; its cause is not."""

    cause: Cause

    def make(self, folder: Path, store: Store) -> None:
        (folder / "twice.txt").write_text(str(2 * int((store.path(self.cause) / "number.txt").read_text())))


def test_another_machine_makes_nothing_that_the_ledger_has(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    effect, later = Effect(cause=Cause(number=4)), Effect(cause=Cause(number=5))
    one.get(effect)
    ledger = Ledger(tmp_path / "ledger")
    ledger.keep(one, [effect, later])  # the later one was not made
    ledger.write("rows", "digest")
    ledger.save()
    again = Ledger(tmp_path / "ledger")
    assert missing(other, [effect]) == [effect.cause, effect]
    again.restore(other, [effect, later])
    assert missing(other, [effect, later]) == [later.cause, later]
    assert (other.path(effect) / "twice.txt").read_text() == "8"
    assert [faults for _, faults in other.verify()] == [[]]
    assert other.manifest(effect.key) == one.manifest(effect.key)
    assert (again.note("rows"), again.note("others")) == ("digest", None)


def test_a_run_writes_a_part_of_its_own_and_the_first_note_stays(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "store"), tmp_path / "ledger"
    steps = [Cause(number=n) for n in range(3)]
    for step in steps:
        store.get(step)
        ledger = Ledger(folder)
        ledger.keep(store, steps)
        ledger.write("rows", step.number)
        ledger.save()
        written = {path.name: path.read_bytes() for path in folder.iterdir()}
        ledger.save()  # nothing new
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
        assert ledger.note("rows") == 0
    assert sorted(written) == ["part-01.jsonl.xz", "part-02.jsonl.xz", "part-03.jsonl.xz"]
    lines = [lzma.decompress(written[name]).count(b"\n") for name in sorted(written)]
    assert lines == [2, 1, 1]  # the first has the note as well


def test_two_runs_at_once_keep_both_their_results(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    for number in range(2):
        one.write(f"one {number}", number)
        one.save()
        other.write(f"other {number}", number)
        other.save()
    both = Ledger(tmp_path)
    assert [both.note(f"{who} {n}") for who in ("one", "other") for n in range(2)] == [0, 1, 0, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part-01.jsonl.xz", "part-02.jsonl.xz"]


def test_a_part_that_was_cut_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write("rows", "digest" * 1000)
    ledger.save()
    part = tmp_path / "part-01.jsonl.xz"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"part-01\.jsonl\.xz cannot be read"):
        Ledger(tmp_path)


def test_a_part_that_was_taken_out_does_not_cost_another_one(tmp_path: Path) -> None:
    for number in range(3):
        ledger = Ledger(tmp_path)
        ledger.write(f"note {number}", number)
        ledger.save()
    (tmp_path / "part-01.jsonl.xz").unlink()
    ledger = Ledger(tmp_path)
    ledger.write("note 3", 3)
    ledger.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"part-0{n}.jsonl.xz" for n in (2, 3, 4)]
    assert [Ledger(tmp_path).note(f"note {n}") for n in range(4)] == [None, 1, 2, 3]


@pytest.mark.parametrize("last", ["manifest_text", "settle"])
def test_what_was_half_put_into_the_store_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The process ends after the files were written, and again after the manifest was."""
    one, other, step = Store(tmp_path / "one"), Store(tmp_path / "other"), Cause(number=4)
    one.get(step)
    files, run = {"number.txt": b"4"}, one.manifest(step.key)["run"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ledger_file, last, killed)
        publish(other, step, files, run)
    assert missing(other, [step]) == [step]
    assert list(other.verify()) == []
    other.make(step)
    publish(other, step, {"number.txt": b"5"}, run)  # what is there stays
    assert (other.path(step) / "number.txt").read_text() == "4"
    assert list(other.verify()) == [(step.key, [])]
    assert list((other.root / "work").iterdir()) == []
