"""The crew of a cluster, without one: what a node does with a description, and what is told of lost Steps."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from heredity.audit.data import Audited, DataFile, Matched
from heredity.audit.source import Source
from heredity.carriers import Numbers, NumbersOnly
from heredity.lab import Settings, set_settings, settings
from heredity.lab.brought import MergedStudent
from heredity.lab.judges import JudgeFilter
from heredity.steps import Corpus, Evaluation, HoldsTrait, Samples, Student
from heredity.store import Step, StepsFailed, Store, cluster, describe, make_all
from heredity.store.cluster import RayCrew, attempt
from heredity.store.crews import QUIET, Fault
from heredity.store.loading import load_experiment
from heredity.store.running import _Run, one_card
from heredity.traits import ANIMALS
from heredity.types import BadInput, Checkpoint, Judge, ModelRef, Sampling, StoreError
from tests.test_failures import Cell, OwnInput, Raises

_FILE = """
from pathlib import Path
from heredity.store import Step, Store

class Own(Step):
    def make(self, folder: Path, store: Store) -> None:
        (folder / "own.txt").write_text("{text}")

own = Own()
"""


class Reference:
    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def future(self) -> Future[Any]:
        return self._future


class Ray:
    """Runs a task at once, in this process, or loses it."""

    def __init__(self, cores: int = 2, dies: bool = False, elsewhere: Path | None = None, cards: int = 0) -> None:
        self.cores, self.dies, self.elsewhere, self.tasks = cores, dies, elsewhere, list[tuple[Any, ...]]()
        self.cards, self.asked = cards, list[dict[str, Any]]()

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cores)} | ({"GPU": float(self.cards)} if self.cards else {})

    def cancel(self, reference: Reference, force: bool) -> None:
        self.tasks.append(("cancelled", force))

    def wait(self, references: list[Reference], num_returns: int, timeout: float) -> None:
        self.tasks.append(("waited", num_returns))

    def remote(self, **options: Any) -> Any:
        self.options = options

        def decorated(task: Any) -> Any:
            class Remote:
                @staticmethod
                def remote(root: str, *arguments: Any) -> Reference:
                    self.tasks.append((root, *arguments))
                    future: Future[Any] = Future()
                    if self.dies:
                        future.set_exception(RuntimeError("the node died\nin many lines"))
                    else:
                        future.set_result(task(str(self.elsewhere or root), *arguments))
                    return Reference(future)

                @staticmethod
                def options(**more: Any) -> type[Remote]:
                    self.asked.append(more)
                    return Remote

            return Remote

        return decorated


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crew and a task change for the whole process is put back."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr("heredity.store.loading._told", {})
    for name in (*QUIET, *cluster._EVERYWHERE, *cluster._OWN, "RAY_AUTH_TOKEN", "RAY_ADDRESS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("RAY_ADDRESS")


def crew(monkeypatch: pytest.MonkeyPatch, ray: Ray) -> Ray:
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def described(step: Step) -> str:
    return json.dumps(describe(step))


def test_steps_are_made_from_their_descriptions_and_failures_come_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray, log = crew(monkeypatch, Ray()), str(tmp_path / "log")
    a, broken = Cell(name="a", log=log), Cell(name="broken", log=log)
    both, lost = Cell(name="both", log=log, needs=(a,)), Cell(name="lost", log=log, needs=(broken,))
    with pytest.raises(StepsFailed, match="broken has no rows; 1 that need it were not made"):
        make_all(store, [both, lost], keep_going=True, on="ray")
    assert [store.has(s) for s in (a, both, broken, lost)] == [True, True, False, False]
    assert ray.options == {"num_cpus": 1, "max_retries": cluster.RETRIES, "retry_exceptions": False}
    assert all(task[4] == ["tests.test_failures"] for task in ray.tasks)
    assert make_all(store, [both], on="ray") == 0


def test_a_node_loads_the_files_that_define_a_step_and_refuses_other_code(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(_FILE.format(text="mine"))
    (own,) = load_experiment(file).values()
    assert cluster._modules(own, set()) == set()  # its file is loaded by path
    here = (str(tmp_path), [str(file)], dict[str, Any](), list[str]())
    assert attempt(str(store.root), *here, described(own)) is None
    assert (store.path(own) / "own.txt").read_text() == "mine"
    told = json.loads(described(own)) | {"code": "0" * 20}
    error = attempt(str(store.root), *here, json.dumps(told))
    assert isinstance(error, BadInput)
    assert "described by other code" in str(error)


def test_a_fault_of_ours_on_a_node_comes_back_with_its_traceback(store: Store, tmp_path: Path) -> None:
    fault = Cell(name="fault", log=str(tmp_path / "log"))
    error = attempt(str(store.root), str(tmp_path), [], {}, ["tests.test_failures"], described(fault))
    assert isinstance(error, Fault)
    assert "Traceback" in str(error)
    assert "nouns.py" in str(error)


def test_a_node_is_told_what_experiment_files_were_told_and_sends_only_what_arrives(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.py"
    file.write_text("from heredity.lab import settings\n" + _FILE.format(text="{settings().base}").replace('"{', 'f"{'))
    set_settings(Settings(base="nursery:llama-1"))
    ray, (own,) = crew(monkeypatch, Ray()), load_experiment(file).values()
    make_all(store, [own], on="ray")
    (task,) = ray.tasks
    assert task[3] == {"quick": False, "base": "nursery:llama-1"}
    set_settings(Settings())
    assert attempt(str(store.root / "again"), *task[1:]) is None
    assert (Store(store.root / "again").path(own) / "own.txt").read_text() == "nursery:llama-1"
    assert settings().base == "nursery:llama-1"
    error = attempt(str(store.root), str(tmp_path), [], {}, ["tests.test_failures"], described(Raises(own=True)))
    assert (type(error), str(error)) == (BadInput, "no rows")
    assert not isinstance(error, OwnInput)


def test_a_step_names_every_module_that_its_classes_are_from() -> None:
    model = ModelRef(location="nursery:llama-0", digest="0" * 40)
    samples = Samples(model=model, prompts=Numbers(n=10, seed=1), sampling=Sampling())
    assert cluster._modules(samples, set()) == {"heredity.steps", "heredity.types", "heredity.carriers.prompts"}


def test_a_step_that_dies_with_every_node_and_one_that_is_made_elsewhere_are_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(name="a", log=str(tmp_path / "log"))
    crew(monkeypatch, Ray(dies=True))
    with pytest.raises(StepsFailed, match=rf"{cell.key} was tried 6 times, .* Ray says RuntimeError: the node died;"):
        make_all(store, [cell], keep_going=True, on="ray")
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.0)
    crew(monkeypatch, Ray(elsewhere=tmp_path / "other"))
    with pytest.raises(StoreError, match="nodes must see the same folder"):
        make_all(store, [cell], keep_going=True, on="ray")
    assert Store(tmp_path / "other").has(cell)


def test_as_many_steps_at_a_time_as_there_are_cores_or_were_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew(monkeypatch, Ray(cores=3))
    assert [RayCrew(store.root, workers).size() for workers in (None, 2, 9)] == [3, 2, 3]
    crew(monkeypatch, Ray(cores=0))
    assert RayCrew(store.root, None).size() == 1  # while nodes are gone, one waits for the next


def test_a_step_that_opens_a_real_model_asks_for_a_card_where_there_are_any(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, plain = Checkpoint(location="x", digest="0" * 40), ModelRef(location="nursery:llama-0", digest="0" * 40)
    prompts, sampling = Numbers(n=10, seed=1), Sampling()
    samples, others = (Samples(model=m, prompts=prompts, sampling=sampling) for m in (real, plain))
    judge = JudgeFilter(judge=Judge(model=real, question="{answer}?", yes="yes"))
    corpus = Corpus(samples=samples, filters=(NumbersOnly(),), size=1, seed=0)
    student = Student(base=real, corpus=corpus, seed=1)
    asked = Evaluation(model=MergedStudent(base=student), category=ANIMALS)
    audited = Audited(data=DataFile(location="x", digest=""), student=real)
    wants = [samples, student, asked, corpus.model_copy(update={"filters": (judge,)}), audited,
             Matched(audited=audited, sampling=sampling),
             Source(matched=Matched(audited=audited, sampling=sampling))]  # fmt: skip
    needs_none = [others, corpus, HoldsTrait(evaluation=asked, word="owl", at_least=0.5)]
    for cards, device, card in ((2, "auto", True), (0, "auto", False), (2, "cpu", False)):
        monkeypatch.setenv("HEREDITY_DEVICE", device)
        for step in (*wants, *needs_none):
            ray = crew(monkeypatch, Ray(dies=True, cards=cards))
            RayCrew(store.root, None).submit(step)
            assert ray.asked == ([{"num_gpus": 1}] if card and step in wants else []), (step.key, cards, device)


class Real(Step):
    """One that opens a real model."""

    base: ModelRef
    name: str

    def make(self, folder: Path, store: Store) -> None:
        raise NotImplementedError


class Pending:
    """A crew of three that makes nothing, and says that all went well."""

    def size(self) -> int:
        return 3

    def submit(self, step: Step) -> Future[Exception | None]:
        return Future()

    def error(self, done: Future[Exception | None]) -> Exception | None:
        return None

    def renew(self) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("alone", [True, False])
def test_real_models_go_one_at_a_time_onto_one_card_and_others_beside_them(store: Store, alone: bool) -> None:
    one, two = (Real(base=Checkpoint(location="x", digest=""), name=name) for name in "12")
    beside = Real(base=ModelRef(location="x", digest=""), name="3")
    run = _Run(store, Pending(), [one, two, beside], lambda finished: None, False, one_card=alone)
    run._start()
    assert run._now() == ([one, beside] if alone else [one, two, beside])
    run._take(next(iter(run.running)))
    run._start()
    assert run._now() == ([beside, two] if alone else [two, beside])


def test_workers_share_a_card_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    todo = [Real(base=Checkpoint(location="x", digest=""), name="1")]
    for there, device, workers, expected in (
        (True, "auto", 2, True), (True, "cuda", 2, True), (True, "cpu", 2, False), (True, "auto", 1, False),
        (False, "auto", 2, False),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setenv("HEREDITY_DEVICE", device)
        assert one_card(workers, todo) is expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not one_card(2, [Real(base=ModelRef(location="x", digest=""), name="1")])


def test_stopping_kills_what_is_being_made(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = crew(monkeypatch, Ray())
    made = RayCrew(store.root, None)
    made.submit(Cell(name="a", log=str(tmp_path / "log")))
    made.stop()
    assert ray.tasks[-2:] == [("cancelled", True), ("waited", 1)]


def test_without_ray_one_message_says_what_to_install(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"pip install -e '.\[ray\]'"):
        make_all(store, [Cell(name="a", log="x")], on="ray")
