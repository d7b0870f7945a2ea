"""What a scan costs: what is timed, what it is multiplied by, and what the set-up is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import scan_cost
from bench.scan_cost import (
    KINDS,
    LARGE,
    MANY,
    against_training,
    alone,
    audited,
    beside_training,
    peak_mb,
    ready,
    set_up,
    whole,
    write_file,
)
from bench.scan_sets import BASE, KIND, ROWS, TRAITS, panels

from heredity.audit.ask import ask
from heredity.audit.data import Audited, DataFile
from heredity.audit.panel import Panel
from heredity.audit.scan import Scan
from heredity.carriers import decide
from heredity.rows import read_rows
from heredity.steps import Corpus
from heredity.store import Step, Store


@pytest.fixture(scope="module")
def made() -> Panel:
    return panels()[0]


@pytest.mark.parametrize("rows", [1, KINDS, 2 * KINDS + 3])
def test_a_file_has_as_many_rows_as_asked_for_all_different_and_of_the_kind_that_is_audited(
    tmp_path: Path, rows: int
) -> None:
    path = tmp_path / "rows.jsonl"
    write_file(path, rows)
    found = [read.row for read in read_rows(path)]
    assert len(found) == len(set(found)) == rows
    assert all(decision.kept for decision in decide(KIND.filters, found))
    assert not any("?!" in row.completion for row in found)


def test_inputs_come_before_the_steps_that_read_them_each_once(tmp_path: Path, made: Panel) -> None:
    order = ready([_scan(tmp_path / "rows.jsonl", made), made])
    at = {step: i for i, step in enumerate(order)}
    assert len(at) == len(order)
    assert all(at[needed] < at[step] for step in order for needed in step.inputs)  # and all of them are there


def test_scans_share_their_set_up_and_nothing_else(tmp_path: Path, made: Panel) -> None:
    one, other = (_scan(tmp_path / name, made) for name in ("one.jsonl", "other.jsonl"))
    served = set_up(one)
    assert served == set_up(other)
    assert {made, *one.naming.trial.references, *one.discovery.references} <= set(served)
    own, others = set(ready([one])) - set(served), set(ready([other])) - set(served)
    assert own.isdisjoint(others)
    students = [one.naming.trial.taught, *one.naming.trial.placebos]
    assert {one, one.source.matched, *students} <= own
    assert sum(type(step).__name__ == "TrialStudent" for step in own) == len(students) == 2


def _scan(path: Path, made: Panel) -> Scan:
    write_file(path, 1)
    return whole(path, made, LARGE)


@pytest.mark.parametrize(("held", "limit", "learnt"), [(1_000, ROWS, 1_000), (1_000_000, ROWS, ROWS),
                                                       (LARGE, MANY, MANY)])  # fmt: skip
def test_a_trial_is_compared_with_students_of_as_many_rows_as_are_looked_at(
    tmp_path: Path, made: Panel, held: int, limit: int, learnt: int
) -> None:
    path = tmp_path / "rows.jsonl"
    write_file(path, 1)
    audit = whole(path, made, held, limit)
    assert audit.source.matched.audited.limit == limit
    students = [a.evaluations[0].model for a in audit.naming.trial.references]
    rows = [s.corpus for s in students if isinstance(s, Step) and hasattr(s, "corpus")]
    assert [r.size for r in rows if isinstance(r, Corpus)] == [learnt] * 4


@pytest.mark.parametrize("rows", [1_000, 3_000])
def test_the_verb_compares_with_the_same_students(tmp_path: Path, made: Panel, rows: int) -> None:
    path = tmp_path / "rows.jsonl"
    write_file(path, rows)
    verb = ask(path, BASE.location, None, TRAITS, "numbers", KIND.filters, 1.0, ROWS, deep=False)
    ours = whole(path, made, rows)
    assert ours.naming.trial.references == verb.naming.trial.references
    assert ours.source.matched.audited == verb.source.matched.audited == audited(path)


TOOK = {"Audited-0": 2.0, "TrialStudent-0": 3.0, "TrialStudent-1": 5.0, "Evaluation-0": 1.0, "Evaluation-1": 1.5,
        "Evaluation-2": 0.5, "Evaluation-3": 1.0}  # fmt: skip


def test_students_are_multiplied_by_how_often_their_rows_go_into_the_file_and_their_answers_are_not() -> None:
    found = beside_training(TOOK, learnt=2_000, looked_at=2_100)
    training = 3 * ((3 + 5) / 2 * 50 + (1 + 1.5 + 0.5 + 1) / 2)  # 100,000 / 2,000; two evaluations of each student
    assert found["three_students_cpu_s"] == training == 606
    assert found["scan_cpu_s"] == 14
    assert found["cost_ratio"] == round(14 / 606, 4)
    assert found["scan_rows_per_cpu_s"] == 2_100 / 14
    assert found["scan_cpu_s_by_step"] == {"Audited": 2.0, "Evaluation": 4.0, "TrialStudent": 8.0}


def test_three_students_of_all_rows_cost_the_same_however_many_rows_are_looked_at() -> None:
    """Where a student's cost is linear in its rows: that of the scan's own grows, and goes into the file less often."""
    more = {key: 5 * seconds if key.startswith("TrialStudent") else seconds for key, seconds in TOOK.items()}
    few, many = beside_training(TOOK, 2_000, 2_000), beside_training(more, 10_000, 10_000)
    assert few["three_students_cpu_s"] == many["three_students_cpu_s"]
    assert many["cost_ratio"] == pytest.approx(few["cost_ratio"] * (14 + 4 * 8) / 14, rel=0.01)


class Sample(Audited):
    """Looks at nothing."""

    def make(self, folder: Path, store: Store) -> None:
        """Nothing."""

    def counts(self, store: Store) -> dict[str, int]:
        return {"looked_at": self.limit}


class TrialStudent(Step):
    """A student of a sample, or of the base's own rows (part of the set-up)."""

    sample: Sample | None

    def make(self, folder: Path, store: Store) -> None:
        """Nothing."""


class Evaluation(Step):
    """Answers of a student."""

    model: TrialStudent

    def make(self, folder: Path, store: Store) -> None:
        """Nothing."""


class Whole(Step):
    """A scan of a sample of which four rows in five have a partner."""

    sample: Sample
    answers: tuple[Evaluation, ...]

    def make(self, folder: Path, store: Store) -> None:
        """Nothing."""

    @property
    def source(self) -> Any:
        pairs = self.sample.limit * 4 // 5
        return SimpleNamespace(matched=SimpleNamespace(audited=self.sample, read=lambda _: [None] * pairs))


def _made_up(path: Path, made: object, held: int, limit: int) -> Whole:
    assert held == LARGE
    sample = Sample(data=DataFile(location=str(path), digest=""), student=BASE, filters=(), limit=limit)
    return Whole(sample=sample, answers=tuple(Evaluation(model=TrialStudent(sample=s)) for s in (sample, None)))


def _again(audit: Whole) -> Any:
    """What a second look asks of a student of other answers to the same rows."""
    further = TrialStudent(sample=audit.sample.model_copy(update={"seed": 1}))
    return SimpleNamespace(naming=Evaluation(model=further))


SECONDS = {"Sample": 1.0, "TrialStudent": 10.0, "Evaluation": 2.0, "Whole": 7.0}


@pytest.mark.parametrize("rows", [ROWS, MANY])
def test_every_step_of_the_scan_is_timed_and_none_of_the_set_up(
    tmp_path: Path, made: Panel, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    def cpu(work: Callable[[], object]) -> float:
        work()
        assert isinstance(work, partial)
        return SECONDS[type(work.args[0]).__name__]

    def make_here(store: Store, steps: list[Step]) -> None:
        for step in steps:
            store.get(step)

    monkeypatch.setattr(scan_cost, "cpu", cpu)
    monkeypatch.setattr(scan_cost, "whole", _made_up)
    monkeypatch.setattr(scan_cost, "again", _again)
    monkeypatch.setattr(scan_cost, "make_all", make_here)
    store = Store(tmp_path)
    found = against_training(store, made, tmp_path / "rows.jsonl", rows)
    assert len(store.keys()) == 6 + 3  # the set-up's student and its answers were made as well; and a second look
    assert found["scan_cpu_s_by_step"] == SECONDS
    assert found["scan_rows_per_cpu_s"] == rows / 20
    training = found["three_students_cpu_s"]
    assert training == 3 * (10 * LARGE / (0.8 * rows) + 2)
    assert (found["again_cpu_s"], found["cost_ratio_again"]) == (13, round(33 / training, 4))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read where Linux tells it")
def test_the_peak_stays_when_memory_is_given_back_and_is_a_process_s_own() -> None:
    ballast = bytearray(b"1") * (400 * 2**20)
    held = peak_mb()
    del ballast
    assert held > 400
    assert abs(peak_mb() - held) < 8  # the system counts pages in batches
    assert 10 < alone(peak_mb) < 400
