"""What a run will take: known answers for time by other Steps and by speed, prices, and expected beside taken."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heredity.cli import app
from heredity.lab import Recipe, Settings, set_settings
from heredity.lab.asking import SampledAnswers, asked_as
from heredity.lab.costs import SAMPLES, TRAINS, base_of, expect, priced, spent, used, work
from heredity.lab.distilled import LogitStudent, OnPolicyStudent
from heredity.lab.work import work_here
from heredity.models import locate
from heredity.models.answers import Spent, kept_answers
from heredity.models.endpoint import price
from heredity.models.server import Load
from heredity.models.sizes import stored_parameters
from heredity.report.terminal import duration, print_taken
from heredity.steps import Corpus, Samples, Student, Teacher
from heredity.store import Step, Store, describe, missing
from heredity.store.loading import load_experiment
from heredity.traits import favourite
from heredity.types import BadInput
from tests.test_store import Joined, Word

LAB = "server:lab/echo"


def made(store: Store, step: Step, seconds: float) -> None:
    """Makes a Step that is said to have taken so long."""
    path = store.get(step) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["run"]["wall_s"] = seconds
    path.write_text(json.dumps(manifest))


def words(*texts: str) -> list[Step]:
    return [Word(text=text) for text in texts]


def test_time_lies_between_that_of_the_fast_and_the_slow_ones(store: Store) -> None:
    for text, seconds in (("a", 10.0), ("b", 20.0)):
        made(store, Word(text=text), seconds)
    few = expect(words("x", "y", "z"), store, workers=1)
    assert (few.low, few.high) == (3 * 10 / 2, 3 * 20 * 2)  # two known ones: twice as wide on both sides
    made(store, Word(text="c"), 30.0)
    for processes, low, high in ((1, 30, 90), (3, 10, 30), (2, 15, 45)):
        found = expect(words("x", "y", "z"), store, workers=processes)
        assert found.unknown == found.guessed == {}
        assert (found.low, found.high) == (low, high)


def test_steps_that_wait_for_one_another_are_not_made_side_by_side(store: Store) -> None:
    for i in range(3):
        made(store, Word(text=str(i)), 10.0)
        made(store, Joined(parts=(Word(text=str(i)),)), 5.0)
    todo = missing(store, [Joined(parts=(Word(text="x"), Word(text="y")))])
    assert expect(todo, store, workers=8)[:2] == (15, 15)
    assert expect(todo, store, workers=1)[:2] == (25, 25)


def test_what_is_not_known_is_named_and_left_out(store: Store) -> None:
    nothing = expect(words("x"), store)
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.high)
    assert nothing.unknown == {"Word": 1}
    for i in range(3):
        made(store, Word(text=str(i)), 10.0)
    some = expect([*words("x"), Joined(parts=())], store, workers=1)
    assert (some.low, some.high, some.unknown) == (10, 10, {"Joined": 1})
    assert expect([], store)[:2] == (0, 0)


def test_a_damaged_manifest_of_another_step_leaves_the_estimate(store: Store) -> None:
    for i in range(3):
        made(store, Word(text=str(i)), 10.0)
    whole = expect(words("x"), store)
    for text, damage in (("cut", '{"key": '), ("other", "[]")):
        (store.get(Word(text=text)) / "manifest.json").write_text(damage)
    odd = store.get(Word(text="odd")) / "manifest.json"
    odd.write_text(odd.read_text().replace('"fields"', '"parts"'))
    assert expect(words("x"), store) == whole
    assert (whole.low, whole.high) == (10, 10)


def test_work_grows_with_rows_and_epochs_and_the_base_is_found() -> None:
    recipe, owl = Recipe(rows=50), favourite("owl")
    evaluation = recipe.taught()(owl, 1)
    student = evaluation.model
    assert isinstance(student, Student)
    assert isinstance(student.corpus, Corpus)
    samples = student.corpus.samples
    assert work(describe(student)) == 50 * student.epochs
    assert work(describe(samples)) == samples.prompts.n
    assert isinstance(samples.model, Teacher)
    assert work(describe(samples.model)) == samples.model.steps * (samples.model.batch + samples.model.mix_batch)
    for kind in (LogitStudent, OnPolicyStudent):  # every kind of student counts its rows
        assert work(describe(kind(base=student.base, corpus=student.corpus, seed=1, epochs=2))) == 100
    everything = student.model_copy(update={"corpus": student.corpus.model_copy(update={"size": None})})
    assert work(describe(everything)) == samples.prompts.n * student.epochs
    for learner in (student, everything, samples.model):
        assert work_here([learner])[2:] == (1, work(describe(learner)))
    assert work_here([samples])[:2] == (samples.prompts.n, samples.prompts.n * samples.sampling.max_new_tokens)
    for asked, longest in ((evaluation, 8), (asked_as(SampledAnswers, evaluation), 32)):
        count = len(asked.questions()) * asked.samples_per_question
        assert work_here([asked]) == (count, count * longest, 0, 0)
    for step in (evaluation, student, samples, samples.model):
        assert base_of(describe(step)) == "nursery:llama-0"
    assert base_of(describe(Word(text="x"))) is None


def test_the_machines_speed_stands_in_where_asked(store: Store) -> None:
    student = Recipe(rows=50).taught()(favourite("owl"), 1).model
    assert isinstance(student, Student)
    calls: list[int] = []

    def speed() -> float:
        calls.append(1)
        return 1e9

    samples = student.corpus.samples
    assert isinstance(samples, Samples)
    parameters = stored_parameters(locate("nursery:llama-0"))
    assert parameters is not None
    tokens = 2 * samples.sampling.max_new_tokens
    for step, (low, high), operations in (
        (student, TRAINS, 6 * 50 * student.epochs), (samples, SAMPLES, 2 * samples.prompts.n)
    ):  # fmt: skip
        found = expect([step], store, workers=1, measure=True, speed=speed)
        seconds = operations * tokens * parameters / 1e9
        assert found.low == pytest.approx(low * seconds)
        assert found.high == pytest.approx(high * seconds)
        assert found.guessed == {type(step).__name__: 1}
    everything = expect(missing(store, [student]), store, workers=1, measure=True, speed=speed)
    assert set(everything.unknown) == {"Corpus"}
    assert len(calls) == 3  # once a call, however many steps
    assert math.isnan(expect([student], store, measure=False, speed=speed).low)
    assert len(calls) == 3


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "experiments/conditions").glob("*.py")))
def test_every_map_can_be_planned_on_an_empty_store(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    set_settings(Settings(quick=True))
    todo = missing(store, load_experiment(path).values())
    set_settings(Settings())
    found = expect(todo, store, workers=2, measure=True, speed=lambda: 1e10)
    assert found.guessed.get("Samples", 0) + found.unknown.get("Samples", 0) > 0
    if not math.isnan(found.low):
        assert 0 < found.low <= found.high < math.inf


def test_prices_come_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    load = {LAB: Load(10, 2_000_000)}
    assert priced(load) == {LAB: {"requests": 10, "tokens": 2_000_000}}
    monkeypatch.setenv("HEREDITY_SERVER_LAB_PRICE", "0.6")
    assert priced(load)[LAB] == {"requests": 10, "tokens": 2_000_000, "price": 0.6, "cost": 1.2}
    before = spent([LAB], store)
    assert before == {"lab": Spent(0, 0)}
    assert not store.answers.exists()
    with kept_answers(store.answers) as kept:
        assert kept.take("lab", 500_000, Spent(10, 10**9))
    assert used(before, store)["lab"] == {"requests": 1, "tokens": 500_000, "price": 0.6, "cost": 0.3}
    for wrong in ("-1", "free", "nan"):
        monkeypatch.setenv("HEREDITY_SERVER_LAB_PRICE", wrong)
        with pytest.raises(BadInput, match="HEREDITY_SERVER_LAB_PRICE must be a number above 0"):
            price("lab")


def test_expected_stands_beside_taken(tmp_path: Path) -> None:
    where, out = tmp_path / "store", tmp_path / "out.json"
    (tmp_path / "made.py").write_text(
        "from heredity.store import Step\n"
        "class Made(Step):\n    n: int\n    def make(self, folder, store):\n        (folder / 'x').write_text('x')\n"
    )
    told = []
    for name, numbers in (("first", "(1, 2, 3)"), ("second", "(4, 5)")):
        file = tmp_path / f"{name}.py"
        file.write_text(f"from made import Made\nsteps = [Made(n=i) for i in {numbers}]\n")
        done = CliRunner().invoke(app, ["run", str(file), "--store", str(where), "--workers", "1", "--json", str(out)])
        assert done.exit_code == 0, done.output
        told.append((done.output, json.loads(out.read_text())["expected"]))
    assert "nothing was known beforehand" in told[0][0]
    assert told[0][1] == {"low": None, "high": None, "guessed": {}, "unknown": {"Made": 3}}
    assert "(expected 0.0 s to" in told[1][0]
    assert told[1][1]["unknown"] == {}


def test_durations_are_told_in_the_unit_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert [duration(s) for s in (0.04, 89, 90, 5_399, 5_400)] == ["0.0 s", "89.0 s", "1.5 min", "90.0 min", "1.5 h"]
    print_taken({"low": 60.0, "high": 240.0, "guessed": {}, "unknown": {"Odd": 2}}, 100.0, {})
    shown = capsys.readouterr().out
    assert shown == "took 1.7 min (expected 60.0 s to 4.0 min; nothing is known of 2 Odd, left out)\n"
    print_taken({"low": 1.0, "high": 2.0, "guessed": {}, "unknown": {}}, 0.0, {})
    assert capsys.readouterr().out == ""
