"""Results of a benchmark that another machine goes on with."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from bench.ledger import Ledger

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


def test_a_part_that_was_cut_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write("rows", "digest" * 1000)
    ledger.save()
    part = tmp_path / "part-01.jsonl.xz"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"part-01\.jsonl\.xz cannot be read"):
        Ledger(tmp_path)
