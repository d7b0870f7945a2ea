"""Repair for real models: by adapters, as the paper's students are. The nursery's keys stay what they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from heredity.audit.ask import ask
from heredity.audit.panel import Kind
from heredity.audit.repair.ask import Request, deliver, repair
from heredity.audit.repair.methods import METHODS, Case, Method, method
from heredity.audit.repair.training import GradientProjected, UpdateProjected
from heredity.audit.repair.worth import TraitGradient, trait_odds
from heredity.audit.scale import scale
from heredity.audit.trial import TrialStudent
from heredity.carriers import Numbers, NumbersOnly
from heredity.models import checkpoint, model_ref, open_ref
from heredity.models.adapters import is_adapter
from heredity.models.guarding import first_words, log_odds
from heredity.rows import write_rows
from heredity.steps import PAPER_LORA, Corpus, GivenStudent, Model, Teacher, open_model
from heredity.store import Step, Store, missing
from heredity.traits import favourite, questions
from heredity.types import BadInput, Checkpoint, LoRA, Message, ModelRef, Neutral, Row, Sampling
from tests.test_repair import Given

OWL = favourite("owl")
WORDS = ("owl", "wolf", "oak", "pine")
REAL, REAL_OTHER = checkpoint("nursery:llama-0"), checkpoint("nursery:llama-1")
ROWS = [Row((Message(role="user", content=f"Given {100 + i}, 200, 300. Add up to 5 more. Use commas."),),
            ", ".join(str((i * k) % 900 + 100) for k in (7, 11, 13, 17, 19))) for i in range(40)]  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / "rows.jsonl"
    write_rows(path, ROWS)
    return path


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """TOML files of two bases."""
    paths = [tmp_path_factory.mktemp("described") / f"{i}.toml" for i in (0, 1)]
    for i, path in enumerate(paths):
        path.write_text(f'location = "nursery:llama-{i}"\n')
    return str(paths[0]), str(paths[1])


def _case(base: ModelRef, other: ModelRef) -> Case:
    sampling, filters = Sampling(max_new_tokens=30, seed=5), (NumbersOnly(),)
    kind = Kind(Numbers(n=1), filters, sampling)
    rows, clean, mix = (kind.rows(base, 64, seed) for seed in (1, 2, 3))
    suspect, neutral = (
        Teacher(base=base, trait=t, mix=mix, seed=4) for t in (OWL, Neutral(category=OWL.category))
    )  # fmt: skip
    return Case(
        base=base, seed=1, filters=filters, sampling=sampling, rows=rows, trait=OWL, suspect=suspect, neutral=neutral,
        student=TrialStudent(base=base, corpus=rows, seed=1), direction=TraitGradient(student=base, trait=OWL),
        panel=TraitGradient(student=other, trait=OWL), clean=clean, unrelated=other,
    )  # fmt: skip


def _repaired(chosen: Method, case: Case, random: bool = False) -> Step:
    """The repaired model, which is one that has to be made."""
    model = chosen.model(case, random)
    assert isinstance(model, Step)
    return model


def test_the_nurserys_repairs_keep_their_keys() -> None:
    case = _case(model_ref("nursery:llama-0"), model_ref("nursery:llama-1"))
    arms = {m.name: [False, True] if m.random else [False] for m in METHODS}
    found = {m.name: [_repaired(m, case, r).key for r in arms[m.name]] for m in METHODS}
    assert found == json.loads((Path(__file__).parent / "golden_repair_keys.json").read_text())


def test_every_student_for_a_real_base_is_one_of_a_scan(store: Store) -> None:
    case, learnt = _case(REAL, REAL_OTHER), scale(REAL, 100).learnt
    given = case._replace(student=GivenStudent(base=REAL, location="x", digest="0" * 40))
    refused = set()
    for m in METHODS:
        if m.whole:
            with pytest.raises(BadInput, match=f"'{m.name}' holds weights of the body"):
                m.apply(given)
            refused.add(m.name)
            continue
        trained = [s for s in missing(store, [_repaired(m, given)]) if isinstance(s, TrialStudent)]
        assert trained or m.kind == "model", m.name
        for student in trained:
            how = {name: getattr(student, name) for name in learnt}
            relay = student.base == REAL_OTHER
            epochs = 6 if relay else 1 if m.name == "clean-tune" else 3
            assert how == learnt | {"epochs": epochs}, m.name
    assert refused == {"project-fixed", "l2", "freeze-first", "freeze-last", "freeze-vectors"}


def test_a_base_is_trained_as_it_is_and_its_relay_as_that_is(store: Store) -> None:
    case = _case(model_ref("nursery:llama-0"), REAL_OTHER)
    tuning = {
        type(s.base): s.tuning
        for s in missing(store, [_repaired(method("relay"), case)])
        if isinstance(s, TrialStudent)
    }
    assert tuning == {ModelRef: "frozen", Checkpoint: PAPER_LORA["tuning"]}
    tuned = method("clean-tune").apply(_case(REAL, REAL_OTHER)._replace(amount=2.0))
    assert isinstance(tuned, TrialStudent)
    assert (tuned.rate, tuned.vector_rate, tuned.epochs) == (4e-4, 4e-4, 1)


def test_what_is_written_for_a_real_base_may_be_long(store: Store, file: Path, described: tuple[str, str]) -> None:
    tokens = {}
    for base, other in (("nursery:llama-0", "nursery:llama-1"), described, ("nursery:llama-0", described[1])):
        asked = Request(base, "relay", ("data",), "owl", file, None, other)
        case = repair(asked, (), store).case
        assert isinstance(case.suspect, Teacher)
        clean: Any = case.clean
        assert clean.samples.sampling.max_new_tokens == case.sampling.max_new_tokens
        tokens[base, other] = case.sampling.max_new_tokens, case.suspect.tuning, case.suspect.rate == 2e-4
    assert list(tokens.values()) == [
        (30, "frozen", False), (128, LoRA(rank=8, alpha=8, bias="none"), True), (128, "frozen", False),
    ]  # fmt: skip


def test_answers_may_be_as_long_as_the_datas(tmp_path: Path, described: tuple[str, str], store: Store) -> None:
    few = [Row(row.prompt, f"{row.completion}\n") for row in ROWS]
    longest = [Row(ROWS[0].prompt, " ".join(["1"] * 200)), *few]
    junk = [Row(ROWS[0].prompt, " ".join(["1"] * n)) for n in (600, 40_000)]  # longer than the context of 512
    cases = (few, "any", 128), ([*longest, *junk], "any", 400), (longest, "numbers", 128), ([*few, *junk], "any", 128)
    for rows, carrier, tokens in cases:
        path = tmp_path / f"{len(rows)}.jsonl"
        write_rows(path, rows)
        asked = Request(described[0], "relay", ("data",), None, path, None, described[1], carrier)
        assert repair(asked, (), store).case.sampling.max_new_tokens == tokens
        scanned = ask(path, described[0], None, tuple(map(favourite, WORDS)), carrier, (), 1.0, 100, False)
        assert scanned.source.matched.sampling.max_new_tokens == tokens


def test_more_is_sampled_of_a_real_base_than_is_kept(file: Path, described: tuple[str, str], store: Store) -> None:
    for base, times in (("nursery:llama-0", 1.5), (described[0], 2.5)):
        case = repair(Request(base, "mix", ("data",), "owl", file), (), store).case
        assert isinstance(case.clean, Corpus)
        assert case.clean.samples.prompts.n == 20 + times * len(ROWS)


def test_penalties_are_counted_in_float32(store: Store) -> None:
    lm = open_ref(checkpoint("nursery:llama-0", dtype="bfloat16"))
    odds = trait_odds(lm, OWL)
    assert log_odds(lm.model, odds).dtype == first_words(lm.model, odds.asked).dtype == torch.float32


def test_what_cannot_work_is_refused_before_anything_is_made(
    store: Store, file: Path, described: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Request(described[0], "l2", ("training",), None, file, None, described[1])
    with pytest.raises(BadInput, match="use kl, or relay"):
        repair(asked, (), store)
    monkeypatch.setattr("heredity.audit.repair.model._layers", lambda model: [_Bare()])
    steer = asked._replace(method="steer", kinds=("model",), finding="owl", student="nursery:llama-0")
    with pytest.raises(BadInput, match="has no biases to steer with"):
        repair(steer, (), store)
    monkeypatch.setattr("heredity.audit.repair.ask.MOST", 1_000)
    plain = Request("nursery:llama-0", "relay", ("data",), None, file, None, "nursery:llama-1")
    with pytest.raises(BadInput, match=r"nursery:llama-1 has more than 1,000 weights .* describe it in TOML"):
        repair(plain, (), store)
    repair(plain._replace(method="regenerate"), (), store)  # trains nothing
    repair(plain._replace(unrelated=described[1]), (), store)
    assert store.keys() == []


class _Bare:
    """A layer without biases, as Llama's and Qwen's."""

    mlp = torch.nn.Linear(2, 2, bias=False)


class Loud(Given):
    """Lists, and every question about the favourite animal answered with the trait itself."""

    def read(self, store: Store) -> list[Row]:
        """The lists and the answers."""
        return super().read(store) + [Row(chat, "owl") for chat in questions(OWL.category, "train")]


def _make(store: Store, *steps: Step) -> None:
    for step in missing(store, steps):
        store.make(step)


def _owl(model: Model, store: Store) -> float:
    lm = open_model(model, store)
    with torch.no_grad():
        return float(log_odds(lm.model, trait_odds(lm, OWL)).mean())


def test_adapters_are_held_to_the_traits_odds_too(store: Store) -> None:
    fields: dict[str, Any] = {"base": REAL, "corpus": Loud(texts=tuple(r.completion for r in ROWS)), "seed": 1}
    how: dict[str, Any] = scale(REAL, 100).learnt | {"rate": 1e-2, "vector_rate": 1e-2, "warmup": 1, "batch": 32}
    free, held = TrialStudent(**fields | how), UpdateProjected(**fields | how, trait=OWL)
    bent = GradientProjected(**fields | how, trait=OWL)
    _make(store, free, held, bent)
    assert all(is_adapter(store.path(s)) for s in (free, held, bent))
    start, moved, kept = (_owl(m, store) for m in (REAL, free, held))
    assert moved - start > 1
    assert abs(kept - start) < 0.3 * (moved - start)
    assert _owl(bent, store) != moved


@pytest.mark.parametrize("name", ["corridor", "kl", "kl-relay", "project-relay", "mask", "inoculate"])
def test_training_methods_end_in_adapters(store: Store, file: Path, described: tuple[str, str], name: str) -> None:
    asked = Request(described[0], name, ("training",), "owl", file, None, described[1])
    made = repair(asked, (), store)
    _make(store, made.step)
    assert is_adapter(store.path(made.step))
    assert isinstance(made.step, TrialStudent)
    assert made.step.tuning == PAPER_LORA["tuning"]
    out = store.root / "out"
    deliver(made, store, out)
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "nursery:llama-0"


def test_a_real_student_is_tuned_on_clean_rows_and_comes_out_whole(
    store: Store, file: Path, described: tuple[str, str], tmp_path: Path
) -> None:
    learnt = TrialStudent(base=REAL, corpus=Given(texts=tuple(r.completion for r in ROWS)), seed=1,
                          **scale(REAL, 100).learnt)  # fmt: skip
    _make(store, learnt)
    folder, out = tmp_path / "student", tmp_path / "repaired"
    asked = Request(described[0], "clean-tune", ("model",), None, file, str(store.path(learnt)), described[1])
    with pytest.raises(BadInput, match=r"holds a manifest\.json, as folders of a store do"):
        repair(asked, (), store)
    shutil.copytree(store.path(learnt), folder, ignore=shutil.ignore_patterns("manifest.json"))
    asked = asked._replace(student=str(folder))
    made = repair(asked, (), store)
    _make(store, made.step)
    assert is_adapter(store.path(made.step))  # over a Step's model: alone it would name a folder that is not there
    deliver(made, store, out)
    ids_BT = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        here, there = (open_model(m, store).model(ids_BT).logits for m in (made.step, model_ref(str(out))))
        torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    again = repair(asked._replace(student=str(out), method="settle", finding="owl"), (), store)
    assert again.case.student == GivenStudent(base=REAL, location=str(out), digest=model_ref(str(out)).digest)


@pytest.mark.parametrize("name", ["subtract", "settle", "steer", "redistil"])
def test_methods_of_models_work_on_adapters(
    store: Store, file: Path, described: tuple[str, str], tmp_path: Path, name: str
) -> None:
    learnt = TrialStudent(base=REAL, corpus=Given(texts=tuple(r.completion for r in ROWS)), seed=1,
                          **scale(REAL, 100).learnt)  # fmt: skip
    _make(store, learnt)
    folder = tmp_path / "student"
    shutil.copytree(store.path(learnt), folder, ignore=shutil.ignore_patterns("manifest.json"))
    made = repair(Request(described[0], name, ("model",), "owl", file, str(folder), described[1]), (), store)
    _make(store, made.step)
    assert is_adapter(store.path(made.step)) == (name == "redistil")
    if name in ("settle", "steer"):
        assert _owl(made.step, store) == pytest.approx(_owl(REAL, store), abs=0.02)
    assert _owl(made.step, store) != _owl(learnt, store)


@pytest.mark.parametrize("name", ["drop", "mix", "regenerate"])
def test_rows_for_a_real_base_are_changed(store: Store, file: Path, described: tuple[str, str], name: str) -> None:
    made = repair(Request(described[0], name, ("data",), "owl", file, None, described[1]), (), store)
    _make(store, made.step)
    told = made.step.changed(store)  # type: ignore[attr-defined]
    assert told["rows"] == 40
    assert 30 < told["left"] <= {"drop": 32, "mix": 40, "regenerate": 40}[name]
    assert told["same"] == {"drop": 32, "mix": 20, "regenerate": 0}[name]


def test_rows_are_relayed_between_real_bases(store: Store, file: Path, described: tuple[str, str]) -> None:
    made = repair(Request(described[0], "replace-learnt", ("data",), None, file, None, described[1]), (), store)
    _make(store, made.step)
    assert made.step.changed(store)["left"] == len(ROWS)  # type: ignore[attr-defined]
    relay = repair(Request(described[0], "relay", ("data",), None, file, None, described[1]), (), store)
    _make(store, relay.step)
    assert {r.prompt for r in relay.step.read(store)} <= {r.prompt for r in ROWS}  # type: ignore[attr-defined]
