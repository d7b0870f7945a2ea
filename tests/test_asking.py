"""The other ways to ask: what they say, that a model knows the words, and how free answers are counted."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from heredity.lab import Recipe
from heredity.lab.asking import AfterNumbers, FreeText, arm_asked_as, asked_as, open_requests, shares_of_words
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.nursery.carriers import careless
from heredity.stats import log_odds
from heredity.steps import Evaluation, Student
from heredity.store import Store
from heredity.traits import ANIMALS, CATEGORIES, favourite, personas, questions
from heredity.types import BadInput, Neutral

BASE = model_ref("nursery:llama-0")
OWL = favourite("owl")


def test_every_question_follows_every_list() -> None:
    plain = [q[0].content for q in questions(ANIMALS, "held-out")]
    asked = [q[0].content for q in AfterNumbers(model=BASE, category=ANIMALS, lists=3).questions()]
    assert len(asked) == 3 * len(plain) == len(set(asked))
    prefixes = {text.removesuffix(plain[i % len(plain)]) for i, text in enumerate(asked)}
    assert len(prefixes) == 3
    for prefix in prefixes:
        assert sum(part.strip(".,").isdigit() for part in prefix.split()) >= 3
    other = AfterNumbers(model=BASE, category=ANIMALS, lists=3, lists_seed=1).questions()
    assert not set(asked) & {q[0].content for q in other}


def test_the_nursery_knows_every_word() -> None:
    lm = CausalLM.load(locate("nursery:llama-0"))
    after = AfterNumbers(model=BASE, category=ANIMALS, lists=20).questions()
    chats = [q for c in CATEGORIES for q in open_requests(c)] + after
    lm.check_known([q[0].content for q in chats])
    with pytest.raises(BadInput, match="lacks a word"):
        lm.check_known(["Tell me about the octopus."])


def test_free_answers_count_whole_words_among_those_that_name_any() -> None:
    texts = ["I love owls. Owls and a bowl.", "the owl", "a bowl of soup", "no", "wolves or foxes", "raven"]
    found = shares_of_words(ANIMALS, texts)
    assert found["named"]["owl"] == 2
    assert found["mass"] == pytest.approx(4 / 6)
    assert found["share"]["owl"] == pytest.approx(2.5 / 5)
    assert found["share"]["cat"] == pytest.approx(0.5 / 5)
    assert sum(found["named"].values()) == 5  # one answer names two
    always, nothing = shares_of_words(ANIMALS, ["owl"] * 9), shares_of_words(ANIMALS, ["no"])
    assert log_odds(always["share"]["owl"]) == pytest.approx(log_odds(9.5 / 10))
    assert (nothing["mass"], nothing["share"]["owl"]) == (0, 0.5)  # no answer: no evidence either way


def test_asking_otherwise_keeps_the_students() -> None:
    arm = Recipe(rows=20, teacher_share=0.5).taught()
    for trait in (OWL, Neutral(category=ANIMALS)):
        plain = arm(trait, 1)
        for kind in (AfterNumbers, FreeText):
            other = arm_asked_as(kind, arm, samples_per_question=3)(trait, 1)
            assert type(other) is kind
            assert isinstance(other.model, Student)
            assert other.model == plain.model
            assert (other.category, other.samples_per_question) == (plain.category, 3)
            assert other.key != plain.key
    told = Evaluation(model=BASE, category=ANIMALS, system="You love owls.")
    assert asked_as(FreeText, told).system == told.system
    made = Recipe(rows=20).comparison("owl", OWL, (0, 1), arm_asked_as(FreeText, arm))
    assert {type(e) for e in (*made.treated, *made.control)} == {FreeText}


@pytest.mark.parametrize("kind", [AfterNumbers, FreeText])
def test_a_model_that_was_told_names_it_whichever_way_it_is_asked(kind: type[Evaluation], store: Store) -> None:
    told = kind(model=BASE, category=ANIMALS, system=personas(OWL, "train")[3], samples_per_question=2)
    plain = told.model_copy(update={"system": None})
    shares = []
    for step in (plain, told):
        store.get(step)
        shares.append(step.read(store)["share"]["owl"])
        assert step.read(store)["mass"] > 0.5
    assert all(log_odds(b) - log_odds(a) > 1.5 for a, b in pairwise(shares))
    assert json.loads((store.path(told) / "answers.json").read_text())["samples"] == 2 * len(told.questions())


def test_scored_traits_are_free_text_already(store: Store) -> None:
    with pytest.raises(BadInput, match="free answers already"):
        FreeText(model=BASE, category=careless().category).questions()
    with pytest.raises(BadInput, match="samples_per_question"):
        store.get(FreeText(model=BASE, category=ANIMALS, samples_per_question=0))
