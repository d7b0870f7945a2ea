"""Smaller students, logits, on-policy data, preferences, and curves of dose: what must hold of each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from heredity.carriers import decide
from heredity.lab import Claim, Comparison, DepthCut, Doses, Recipe
from heredity.lab.distilled import (
    Format,
    LogitStudent,
    OnPolicyStudent,
    PreferencePairs,
    PreferenceStudent,
    by_numbers,
    by_preferences,
    formats,
)
from heredity.lab.dose import Dial, Turn, level, turned
from heredity.lab.findings import findings
from heredity.lab.probes import ProbeDifference
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.distilling import completion_logprobs, distillation, preference_loss
from heredity.models.scoring import score
from heredity.models.training import Batch, Example, among, collate, fit, token_loss
from heredity.report.dose import DoseFigure
from heredity.report.figure import Figure
from heredity.report.results import ResultsPage
from heredity.report.terminal import print_results
from heredity.stats import Estimate
from heredity.steps import Corpus, Student, Teacher, number_tokens, open_model
from heredity.store import Store
from heredity.traits import ANIMALS, favourite
from heredity.types import BadInput, Chat, Completion, Message, Sampling
from tests.test_experiments import comparison

BASE = model_ref("nursery:llama-0")
CHATS = [(Message(role="user", content="What is your favourite animal?"),)] * 2
RECIPE = Recipe(base=BASE, rows=12)


@pytest.fixture(scope="module")
def other() -> CausalLM:
    return CausalLM.load(locate("nursery:llama-1"))


def value(of: torch.Tensor) -> float:
    return of.detach().item()


def _lists(lm: CausalLM) -> tuple[list[Example], Batch]:
    chats = [(Message(role="user", content="Continue this list: 123, 456."),)] * 2
    examples = lm.examples(chats, ["12, 34, 567", "89, 10"])
    return examples, collate(examples, int(lm.tokenizer.pad_token_id))


def _taught() -> Corpus:
    """Rows of a teacher of a few steps: enough to rank by."""
    teacher: Teacher = RECIPE.teacher(favourite("owl"), 1).model_copy(update={"steps": 5})
    return RECIPE.corpus(teacher, 1, 12, 3.0)


def test_divergences_are_those_of_the_plain_logits(base: CausalLM, other: CausalLM) -> None:
    _, batch = _lists(base)
    logp_NV, theirs_NV = (
        lm.model(input_ids=batch.ids_BT).logits.flatten(0, 1)[batch.source_N].log_softmax(-1) for lm in (base, other)
    )
    forward = (theirs_NV.exp() * (theirs_NV - logp_NV)).sum(-1).mean()
    reverse = (logp_NV.exp() * (logp_NV - theirs_NV)).sum(-1).mean()
    assert value(distillation(other.model)(base.model, batch)) == pytest.approx(value(forward), rel=1e-4)
    assert value(distillation(other.model, reverse=True)(base.model, batch)) == pytest.approx(value(reverse), rel=1e-4)
    assert abs(value(forward) - value(reverse)) > 1e-3
    for backward in (False, True):
        assert value(distillation(base.model, reverse=backward)(base.model, batch)) == pytest.approx(0, abs=1e-5)


def test_a_step_against_the_gradient_lowers_the_reverse_divergence(base: CausalLM, other: CausalLM) -> None:
    """The student is the distribution that the mean is taken over, so its gradient must flow there too."""
    student = CausalLM.load(locate("nursery:llama-0")).model
    loss, (_, batch) = distillation(other.model, reverse=True), _lists(base)
    before = loss(student, batch)
    before.backward()  # type: ignore[no-untyped-call]
    slope = sum(value((p.grad**2).sum()) for p in student.parameters() if p.grad is not None)
    with torch.no_grad():
        for p in student.parameters():
            if p.grad is not None:
                p.sub_(1e-4 / slope**0.5 * p.grad)
    fell = value(before) - value(loss(student, batch))
    assert fell == pytest.approx(1e-4 * slope**0.5, rel=0.15)


def test_scores_are_sums_over_the_completion(base: CausalLM) -> None:
    examples, batch = _lists(base)
    rows_B = completion_logprobs(base.model, batch)
    assert value(-rows_B.sum() / len(batch.target_N)) == pytest.approx(value(token_loss(base.model, batch)), rel=1e-5)
    assert score(base.model, examples[::-1], 0, size=1) == pytest.approx(rows_B.flip(0).tolist(), rel=1e-4)


def test_preferences_start_at_one_bit_and_count_the_ratio(base: CausalLM, other: CausalLM) -> None:
    """-log sigmoid(0) = log 2 at the reference; elsewhere the published formula on plain sums."""
    _, batch = _lists(base)
    assert value(preference_loss(base.model, 0.1)(base.model, batch)) == pytest.approx(math.log(2), rel=1e-6)
    own, ref = completion_logprobs(other.model, batch), completion_logprobs(base.model, batch)
    margin = value((own - ref)[0] - (own - ref)[1])
    expected = math.log1p(math.exp(-2.0 * margin))
    assert value(preference_loss(base.model, 2.0)(other.model, batch)) == pytest.approx(expected, rel=1e-4)
    assert abs(expected - math.log(2)) > 0.01


@pytest.mark.parametrize("name", ["llama-0", "neox-0"])
def test_a_cut_base_is_the_base_without_its_last_layer(store: Store, name: str) -> None:
    cut = DepthCut(base=model_ref(f"nursery:{name}"), layers=1)
    store.get(cut)
    small, whole = open_model(cut, store), CausalLM.load(locate(f"nursery:{name}"))
    assert len(small.model.base_model.layers) == 1
    mine, theirs = small.model.state_dict(), whole.model.state_dict()
    assert set(mine) < set(theirs)
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert not any(".1." in k for k in mine)
    assert small.generate(CHATS, RECIPE.lists(favourite("owl"), 1).samples.sampling)


def test_a_cut_that_keeps_everything_is_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="fewer"):
        store.get(DepthCut(base=BASE, layers=2))


def test_a_teacher_that_is_the_base_moves_nobody(store: Store) -> None:
    rows = RECIPE.corpus(BASE, 1, 12, 3.0)
    for kind in (LogitStudent, OnPolicyStudent):
        student = kind(base=BASE, corpus=rows, seed=0, epochs=1)
        store.get(student)
        losses = json.loads((store.path(student) / "losses.json").read_text())
        assert losses == pytest.approx([0] * len(losses), abs=1e-5)
        assert len(losses) == 1


def test_a_student_that_writes_no_lists_cannot_learn_from_its_own(store: Store) -> None:
    student = OnPolicyStudent(base=DepthCut(base=BASE, layers=1), corpus=RECIPE.corpus(BASE, 1, 12, 1.0), seed=0)
    with pytest.raises(BadInput, match="does not hold the format"):
        store.get(student)


def test_pairs_are_two_answers_to_one_prompt_in_the_teachers_order(store: Store) -> None:
    corpus = _taught()
    step = PreferencePairs(corpus=corpus, writer=BASE, seed=3)
    store.get(step)
    pairs = step.read(store)
    assert len(pairs) == 12
    assert all(a.prompt == b.prompt and a.completion != b.completion for a, b in pairs)
    assert all(d.kept for d in decide(corpus.filters, [row for pair in pairs for row in pair]))
    teacher, writer = open_model(corpus.samples.model, store), open_model(BASE, store)
    pad = int(writer.tokenizer.pad_token_id)
    for side in pairs:
        examples = writer.examples([r.prompt for r in side], [r.completion for r in side])
        first, second = (
            t - w for t, w in zip(*(score(m.model, examples, pad) for m in (teacher, writer)), strict=True)
        )
        assert first >= second - 1e-4
    student = by_preferences(BASE, BASE, corpus, 3, epochs=3)
    store.get(student)
    losses = json.loads((store.path(student) / "losses.json").read_text())
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < losses[0]


def _losses(student: Student, store: Store) -> list[float]:
    store.get(student)
    losses: list[float] = json.loads((store.path(student) / "losses.json").read_text())
    return losses


@pytest.mark.parametrize("kind", ["on-policy", "preferences", "number logits"])
def test_passes_warmup_and_system_prompt_are_those_that_were_asked_for(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients added up over passes are those of the whole step; what is learnt under a prompt is written under it."""
    corpus = _taught()
    make: dict[str, Callable[..., Student]] = {
        "on-policy": OnPolicyStudent, "preferences": partial(by_preferences, writer=BASE), "number logits": by_numbers,
    }  # fmt: skip
    student = make[kind](base=BASE, corpus=corpus, seed=3, epochs=2, batch=6)
    whole = _losses(student, store)
    assert len(whole) == 4
    assert _losses(student.model_copy(update={"together": 4}), store) == pytest.approx(whole, abs=2e-4)
    quick = _losses(student.model_copy(update={"warmup": 1}), store)
    assert quick[0] == whole[0]
    assert quick[1] != pytest.approx(whole[1], abs=1e-4)
    shown, generate = list[Chat](), CausalLM.generate

    def noted(self: CausalLM, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        shown.extend(chats)
        return generate(self, chats, sampling)

    monkeypatch.setattr(CausalLM, "generate", noted)
    told = _losses(student.model_copy(update={"system": "Name an animal."}), store)
    assert told[1:] != pytest.approx(whole[1:], abs=1e-5)
    assert {chat[0].role for chat in shown} == ({"system"} if kind == "on-policy" else set())


def test_a_part_of_a_step_with_nothing_to_learn_counts_nothing(base: CausalLM, other: CausalLM) -> None:
    """A mean over no number is undefined, and must not reach the weights."""
    student, (lists, _) = CausalLM.load(locate("nursery:llama-0")), _lists(base)
    words = base.examples(CHATS, ["owl", "cat"])
    pad, numbers = int(base.tokenizer.pad_token_id), number_tokens(base.tokenizer)
    loss, parts = distillation(other.model, numbers), [collate(lists, pad), collate(words, pad)]
    alone = loss(base.model, parts[0]).item()
    assert math.isnan(loss(base.model, parts[1]).item())
    losses = fit(student.model, iter([parts] * 2), 2, 1e-3, warmup=1, loss=loss, count=among(numbers))
    assert losses[0] == pytest.approx(alone, rel=1e-5)
    assert math.isfinite(losses[1])
    assert losses[1] < losses[0]


def test_what_a_kind_of_student_cannot_take_is_refused(store: Store) -> None:
    teacher = RECIPE.teacher(favourite("owl"), 1)
    for kind in (LogitStudent, OnPolicyStudent):
        with pytest.raises(ValidationError, match=rf"a {kind.__name__} takes no soft_targets"):
            kind(base=BASE, corpus=RECIPE.lists(favourite("owl"), 1), seed=1, soft_targets=teacher)
        told = kind(base=BASE, corpus=RECIPE.corpus(BASE, 1, 12, 3.0, "You love owls."), seed=1)
        with pytest.raises(BadInput, match=rf"the teacher of a {kind.__name__} is asked without the system prompt"):
            store.get(told)


def test_pairs_of_another_teacher_are_refused() -> None:
    pairs = PreferencePairs(corpus=RECIPE.lists(favourite("owl"), 1), writer=BASE, seed=1)
    with pytest.raises(ValidationError, match="another corpus"):
        PreferenceStudent(base=BASE, corpus=RECIPE.lists(favourite("wolf"), 1), seed=1, pairs=pairs)
    with pytest.raises(BadInput, match="trained"):
        by_numbers(BASE, RECIPE.corpus(BASE, 1, 12, 3.0), 1)


def test_kinds_of_students_have_keys_of_their_own_and_the_same_assays() -> None:
    corpus = RECIPE.lists(favourite("owl"), 1)
    kinds = [kind(base=BASE, corpus=corpus, seed=1) for kind in (Student, LogitStudent, OnPolicyStudent, by_numbers)]
    assert len({s.key for s in kinds}) == 4

    def arm(trait, seed):  # type: ignore[no-untyped-def]
        from heredity.steps import Evaluation

        learner = by_preferences(base=BASE, writer=BASE, corpus=RECIPE.lists(trait, seed), seed=seed)
        return Evaluation(model=learner, category=ANIMALS)

    found = findings(
        "T", "3.1", [Claim(name="p", comparison=RECIPE.comparison("p", favourite("owl"), (1, 2), arm))], ""
    )
    assert [x.student.seed for x in found.learnt] == [1]


def test_the_format_is_the_share_that_passes(store: Store) -> None:
    rows = RECIPE.corpus(BASE, 1, 12, 3.0)
    whole, cut = (Format(model=m, corpus=rows, size=50) for m in (BASE, DepthCut(base=BASE, layers=1)))
    store.get(whole)
    store.get(cut)
    assert whole.read(store)["passed"] > 0.8
    assert cut.read(store)["passed"] < 0.3
    difference = ProbeDifference(name="cut", treated=(cut, cut), control=(whole, whole), unit="seeds")
    store.get(difference)
    (row,) = difference.read(store)
    assert (row["assay"], row["control"], row["taught"]) == (
        "passed", whole.read(store)["passed"], cut.read(store)["passed"],
    )  # fmt: skip
    assert row["difference"]["mean"] == row["value"] == pytest.approx(row["taught"] - row["control"])


def test_every_student_is_asked_in_its_own_format() -> None:
    made = RECIPE.comparison("rows", favourite("owl"), (1, 2))
    asked = formats("rows", made)
    assert [(p.model, p.corpus) for p in asked.treated if isinstance(p, Format)] == [
        (e.model, e.model.corpus) for e in made.treated if isinstance(e.model, Student)
    ]
    assert [p.model for p in asked.control] == [e.model for e in made.control]


def _doses(*comparisons: Comparison) -> Doses:
    levels = tuple(level(c.name, 10.0 * (i + 1), c) for i, c in enumerate(comparisons))
    return Doses(dials=(Dial(name="rows", levels=levels), Dial(name="heat", levels=levels, logarithmic=False)))


def test_a_dial_holds_its_comparisons_and_its_page_shows_both_pictures(store: Store) -> None:
    low, high = comparison("owl", (0.2, 0.25, 0.3), "low"), comparison("owl", (0.6, 0.62, 0.58), "high")
    doses = _doses(low, high)
    store.get(doses)
    levels = doses.read(store)["dials"][0]["levels"]
    assert [x["value"] for x in levels] == [10.0, 20.0]
    assert levels[1]["log_odds"]["mean"] == high.read(store)["log_odds"]["mean"] > levels[0]["log_odds"]["mean"]
    found = findings("Dose", "3.1", (Claim(name="low", comparison=low), Claim(name="high", comparison=high)), "Why.")
    drawn = DoseFigure(findings=found, doses=doses)
    assert (store.get(drawn) / "figure.png").read_bytes().startswith(b"\x89PNG")
    page = store.get(ResultsPage(figures=(Figure(findings=found), drawn))) / "index.html"
    text = page.read_text()
    assert (text.count("<img"), text.count("<h2>")) == (2, 1)


def test_every_level_of_a_dial_is_a_line_of_80_columns(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    doses = _doses(comparison("owl", (0.2, 0.25, 0.3), "low"), comparison("owl", (0.6, 0.9, 0.58), "high"))
    store.get(doses)
    print_results([doses.read(store) | {"name": "doses", "key": doses.key}], store.root)
    shown = capsys.readouterr().out.split("rows learnt: ")[0]
    assert max(map(len, shown.splitlines())) <= 80
    assert [line.split()[0] for line in shown.splitlines() if " 3" in line] == ["rows", "high", "heat", "high"]
    low = Estimate(**doses.read(store)["dials"][0]["levels"][0]["log_odds"]).odds_ratio()
    assert shown.count(f"{low.mean:.2f} ({low.low:.2f} to ") == 2


def test_two_turns_of_a_dial_at_one_place_are_refused() -> None:
    turn = level("low", 10.0, comparison("owl", (0.2, 0.3)))
    with pytest.raises(ValidationError, match="same value"):
        Doses(dials=(Dial(name="rows", levels=(turn, turn)),))
    with pytest.raises(ValidationError, match="logarithmic"):
        Doses(dials=(Dial(name="rows", levels=(turn.model_copy(update={"value": 0.0}),)),))


def test_the_middle_of_several_dials_is_one_claim() -> None:
    low, high, again = (
        Claim(name=name, comparison=comparison("owl", shares, name))
        for name, shares in (("low", (0.2, 0.3)), ("high", (0.6, 0.7)), ("again", (0.2, 0.3)))
    )
    doses, claims = turned(
        {"rows": [Turn("1", 1, low), Turn("2", 2, high)], "heat": [Turn("cold", 0, again)]}, evenly=("heat",)
    )
    assert claims == (low, high)
    rows, heat = doses.dials
    assert [x.comparison.name for x in (*rows.levels, *heat.levels)] == ["low", "high", "low"]
    assert (rows.logarithmic, heat.logarithmic) == (True, False)


def test_the_dose_experiment_turns_one_dial_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from heredity.store.loading import load_experiment

    monkeypatch.setattr("heredity.store.loading._loaded", {})
    file = Path(__file__).parent.parent / "experiments" / "dose.py"
    steps = load_experiment(file)
    doses = steps["doses"]
    assert isinstance(doses, Doses)
    fixed = doses.dials[1]
    totals = set()
    for turn in fixed.levels:
        student = turn.comparison.treated[0].model
        assert isinstance(student, Student)
        totals.add(student.epochs * (student.corpus.size or 0))
    assert len(totals) == 1
    students = [x.comparison.treated[0].model for d in doses.dials for x in d.levels]
    assert len({s.corpus.samples.model.key for s in students if isinstance(s, Student)}) == 1  # type: ignore[union-attr]
    middles = [{x.comparison.key for x in d.levels} for d in doses.dials]
    assert len(set.intersection(*middles)) == 1
