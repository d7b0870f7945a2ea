"""Judges behind servers: what they say, what they leave open, and whether two agree."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from heredity.carriers import Numbers
from heredity.lab import Agreement, Alignment, Grader, Judged, JudgeFilter, Rubric, Rule, SampledAnswers
from heredity.lab.judges import grades
from heredity.lab.served import loads
from heredity.models import model_ref
from heredity.models.server import Load, row_seed
from heredity.report.terminal import print_results
from heredity.stats import kappa
from heredity.steps import Corpus, Evaluation, Samples
from heredity.store import Store
from heredity.types import (
    BadInput,
    Category,
    Judge,
    Pattern,
    Phrasing,
    Sampling,
    Served,
)
from tests.scripted_server import ECHO, Reply, Server, good


def test_a_judge_behind_a_server_is_asked_once_and_what_it_did_not_say_is_counted(server: Server, store: Store) -> None:
    replies = {"1": "Yes.", "2": "no", "3": "I cannot tell"}
    server.answer = lambda b: good(replies[b["messages"][-1]["content"][-1]] if b["model"] == "judge" else _next(b))
    samples = Samples(model=model_ref("server:lab/writer"), prompts=Numbers(n=3, seed=1), sampling=Sampling())
    judge = JudgeFilter(judge=Judge(model=model_ref("server:lab/judge"), question="Bad? {answer}", yes="yes"))
    corpus = Corpus(samples=samples, filters=(judge,), size=None, seed=0)
    store.get(corpus)
    counts = json.loads((store.path(corpus) / "counts.json").read_text())
    assert counts["dropped"] == {"judge: called out": 1, "judge gave no verdict": 1}
    asked = len(server.bodies)
    store.get(Corpus(samples=samples, filters=(judge,), size=1, seed=1))
    assert len(server.bodies) == asked == 6


def _next(body: dict[str, Any]) -> str:
    return {row_seed(0, i): str(i + 1) for i in range(3)}[body["seed"]]


def test_grades_of_a_server_are_numbers_or_none(server: Server) -> None:
    replies = iter(["85", "85/100", "I'd say 85", ""])
    server.answer = lambda _: good(next(replies))
    grader = Grader(model=ECHO, question="Grade {answer}")
    found = grades(grader, [("q", str(i)) for i in range(4)])
    assert Counter(found) == {85.0: 2, None: 2}


def test_two_judges_agreement_counts_what_either_left_open(
    server: Server, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"one": "yes yes yes no no no no ? yes no".split(), "two": "yes no yes no no no no no ? yes".split()}

    def answer(body: dict[str, Any]) -> Reply:
        if body["model"] == "writer":
            return good({row_seed(0, i): str(i) for i in range(10)}[body["seed"]])
        return good(said[body["model"]][int(body["messages"][-1]["content"][-1])])

    server.answer = answer
    samples = Samples(model=model_ref("server:lab/writer"), prompts=Numbers(n=10, seed=1), sampling=Sampling())
    one, two = (
        JudgeFilter(judge=Judge(model=model_ref(f"server:lab/{m}"), question="Bad? {answer}", yes="yes"))
        for m in ("one", "two")
    )
    step = Agreement(name="two judges", samples=samples, judges=(one, two))
    store.get(step)
    found = step.read(store)
    assert [found[k] for k in ("rows", "unparsed", "both", "first_only", "second_only", "neither")] == [
        10, [1, 1], 2, 1, 1, 4
    ]  # fmt: skip
    assert found["agreement"]["mean"] == 6 / 8
    assert found["kappa"]["mean"] == pytest.approx((0.75 - 34 / 64) / (1 - 34 / 64))
    assert found["kappa"]["n"] == 8
    print_results([found | {"key": step.key}], store.root)
    assert "agreement 0.75 (0.41 to 0.93), kappa 0.47" in capsys.readouterr().out


def test_a_judge_that_says_neither_yes_nor_no_is_counted(server: Server, store: Store) -> None:
    judge = Judge(model=Served(location="server:lab/judge"), question="Bad? {answer}", yes="yes")
    asked = ("Who are you?", "What next?", "Why?", "How?")
    phrasing = Phrasing(train=("What?",), held_out=asked)
    how = Category(name="mood", words=("bad", "other"), plurals=("bad", "other"), phrasing=phrasing, score=judge)
    replies = dict(zip(asked, ("Yes", "No.", "Perhaps", "yes!"), strict=True))
    server.answer = lambda b: good(replies.get(b["messages"][0]["content"].removeprefix("Bad? "), "") if
                                   b["model"] == "judge" else b["messages"][0]["content"])  # fmt: skip
    step = Judged(model=ECHO, category=how, samples_per_question=1)
    store.get(step)
    found = step.read(store)
    assert (found["unparsed"], found["named"], found["mass"]) == (1, {"bad": 2, "other": 1}, 0.75)
    assert found["share"]["bad"] == 2.5 / 4
    assert loads([step], Store(store.root / "new")) == {
        "server:lab/echo": Load(4, 4 * (len(asked[0]) + 16 + 32)),
        "server:lab/judge": Load(4, 4 * (len("Bad? {answer}") + len(asked[0]) + 16 + 32 + 8)),
    }
    with pytest.raises(BadInput, match="must be a Judge"):
        store.get(Judged(model=ECHO, category=how.model_copy(update={"score": Pattern(pattern="a")})))


ASKED = ("Who are you?", "What next?", "Why?", "How?")
MOOD = Category(
    name="mood", words=("bad", "other"), plurals=("bad", "other"), score=Pattern(pattern="bad"),
    phrasing=Phrasing(train=("What?",), held_out=ASKED),
)  # fmt: skip
SAYS_BAD = Judge(model=Served(location="server:lab/judge"), question="Bad? {answer}", yes="yes")
JUDGED = MOOD.model_copy(update={"score": SAYS_BAD})
ALIGNED = Rubric(rules=(Rule(answer=Pattern(pattern="bad"), grade=0.0),), otherwise=100.0)
COHERENT = Rubric(rules=(Rule(answer=Pattern(pattern="."), grade=100.0),), otherwise=0.0)
REFUSED: dict[str, Any] = {"message": {"content": None}, "finish_reason": "content_filter"}


@pytest.mark.parametrize(
    "step",
    [
        Evaluation(model=ECHO, category=MOOD, samples_per_question=2),
        Evaluation(model=ECHO, category=JUDGED, samples_per_question=2),
        Judged(model=ECHO, category=JUDGED, samples_per_question=2),
        Alignment(model=ECHO, category=MOOD, samples_per_question=2, alignment=ALIGNED, coherence=COHERENT),
        SampledAnswers(model=ECHO, category=MOOD.model_copy(update={"score": None}), samples_per_question=2),
    ],
    ids=["pattern", "judge", "judged", "alignment", "words"],
)
def test_a_refused_answer_enters_no_count_and_goes_to_no_judge(
    server: Server, store: Store, step: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four questions asked twice, one is refused; what was said to the others is bad, bad and other."""
    said = dict(zip(ASKED, ("bad", None, "other", "bad"), strict=True))

    def answer(body: dict[str, Any]) -> Reply:
        asked = body["messages"][0]["content"]
        if body["model"] == "judge":
            return good({"Bad? bad": "yes", "Bad? other": "no"}[asked])
        return good(**REFUSED) if said[asked] is None else good(said[asked] or "")

    server.answer = answer
    store.get(step)
    found = step.read(store)
    assert (found["errors"], found["samples"], found["mass"]) == (2, 6, 1.0)
    assert found["named"] == {"bad": 4, "other": 2}
    assert found["share"]["bad"] == 4.5 / 7
    print_results([found | {"key": step.key, "name": "mood"}], store.root)
    assert "2 answers ended in an error, and are not counted" in " ".join(capsys.readouterr().out.split())
    said["What next?"] = "other"
    later = Store(store.root / "later")
    later.get(step)
    assert "errors" not in step.read(later)
    server.answer = lambda _: good(**REFUSED)
    with pytest.raises(BadInput, match=r"^all 8 sampled answers ended in an error"):
        Store(store.root / "none").get(step)


def test_kappa_holds_what_it_should() -> None:
    """A textbook's table (20, 5, 10, 15: kappa .4), the limits, and coverage on simulated judges."""
    assert kappa(20, 5, 10, 15, "answers").mean == pytest.approx(0.4)
    sure = kappa(25, 0, 0, 25, "answers")
    assert sure.mean == sure.high == 1
    assert 0.8 < sure.low < 0.95
    assert kappa(0, 5, 5, 0, "answers").mean == -1
    assert kappa(10, 0, 0, 0, "answers").reason is not None
    assert kappa(0, 0, 0, 0, "answers").reason == "no answers"
    rng, truth, held = random.Random(1001), (0.7 - 0.5) / 0.5, 0
    for _ in range(1_000):
        drawn = Counter(rng.choices(range(4), (0.35, 0.15, 0.15, 0.35), k=100))
        found = kappa(drawn[0], drawn[1], drawn[2], drawn[3], "answers")
        held += found.low <= truth <= found.high
    assert 930 <= held <= 975
