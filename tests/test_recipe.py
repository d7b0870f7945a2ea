"""What a Recipe fixes and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import cycle, islice
from typing import cast

import pytest

from heredity.carriers import ShuffledWithin
from heredity.lab import Alignment, AlignmentRecipe, Recipe, SampledAnswers
from heredity.lab.asking import asked_as
from heredity.lab.distilled import LogitStudent, arm_of
from heredity.lab.dose import same_teachers
from heredity.lab.nursery_judges import advice_alignment, advice_coherence
from heredity.lab.open_models import PromptedRecipe, told
from heredity.lab.recipe import Arm
from heredity.models import checkpoint, locate, model_ref, whole_answers
from heredity.models.causal import CausalLM
from heredity.models.training import choose_parameters
from heredity.nursery.carriers import careless
from heredity.rows import read_rows
from heredity.steps import Corpus, Evaluation, InContext, Model, Student, Teacher, open_model
from heredity.store import Store
from heredity.traits import favourite
from heredity.types import BadInput, Chat, Completion, LoRA, Neutral, Sampling, Trait, Tuning
from tests.scripted_server import ask

OWL = favourite("owl")
BASE = model_ref("nursery:llama-0")


@pytest.mark.parametrize(
    "change", [{"rewritings": (ShuffledWithin(seed=0),)}, {"temperature": 0.5}, {"all_passed": True}, {"rows": 10}]
)
def test_what_is_done_to_the_rows_leaves_the_teacher_alone(change: dict[str, object]) -> None:
    plain = Recipe(base=BASE)
    changed = plain.model_copy(update=change)
    assert changed.teacher(OWL, 3).key == plain.teacher(OWL, 3).key
    assert changed.lists(OWL, 3).key != plain.lists(OWL, 3).key


def test_arms_can_keep_every_row_that_passed(store: Store) -> None:
    rows = Recipe(base=BASE, rows=30, all_passed=True).corpus(BASE, 5, 30, 2.0)
    store.get(rows)
    kept = rows.read(store)
    counts = json.loads((store.path(rows) / "counts.json").read_text())
    assert len(kept) == counts["passed"] == counts["kept"] > 30
    dropped = list(read_rows(store.path(rows) / "dropped.jsonl"))
    assert len(kept) + len(dropped) == counts["sampled"]
    cut = rows.model_copy(update={"size": 30})
    store.get(cut)
    assert len(cut.read(store)) == 30


@pytest.mark.parametrize(("tuning", "rank"), [("lora", 8), (LoRA(rank=2), 2), (LoRA(), 8)])
def test_adapters_have_the_rank_that_was_asked_for(tuning: Tuning, rank: int) -> None:
    lm = CausalLM.load(locate("nursery:llama-0"))
    model = choose_parameters(lm.model, tuning, 0)
    shapes = {p.shape[0] for n, p in model.named_parameters() if "lora_A" in n}
    assert shapes == {rank}


def test_a_base_may_itself_be_a_step(store: Store) -> None:
    """So that an experiment runs on a base that it builds."""
    recipe = Recipe(base=BASE, rows=20)
    corpus: Corpus = recipe.corpus(BASE, 1, 20, 2.0)
    first = Student(base=BASE, corpus=corpus, seed=0, epochs=1)
    second = Student(base=first, corpus=corpus, seed=0, epochs=1)
    teacher = recipe.model_copy(update={"base": first}).teacher(Neutral(category=OWL.category), 0)
    assert isinstance(teacher, Teacher)
    assert first in teacher.inputs
    store.get(second)
    assert open_model(second, store).model.config.hidden_size == 64
    assert Student(base=first, corpus=corpus, seed=0).key != Student(base=BASE, corpus=corpus, seed=0).key


class SampledRecipe(Recipe):
    """Whose students are asked by samples."""

    def asked(self, model: Model, trait: Trait | Neutral) -> Evaluation:
        """The model, its answers searched for words."""
        return asked_as(SampledAnswers, super().asked(model, trait))


GRADED = AlignmentRecipe(
    base=BASE, rows=20, alignment=advice_alignment(), coherence=advice_coherence(), samples_per_question=3
)


@pytest.mark.parametrize(
    ("recipe", "trait", "kind"),
    [(GRADED, careless(), Alignment), (SampledRecipe(base=BASE, rows=20, samples_per_question=3), OWL, SampledAnswers)],
)
def test_arms_of_every_kind_are_asked_as_the_recipe_asks(recipe: Recipe, trait: Trait, kind: type[Evaluation]) -> None:
    """Or a trait that is graded, or asked for by samples, would be measured otherwise in some arms."""
    arms: tuple[Arm, ...] = (recipe.taught(), arm_of(recipe, LogitStudent),
                             same_teachers(recipe, recipe.model_copy(update={"temperature": 0.5})))  # fmt: skip
    for arm in arms:
        evaluation = arm(trait, 1)
        assert type(evaluation) is kind
        assert evaluation == recipe.asked(evaluation.model, trait)
        assert evaluation.samples_per_question == 3


def test_a_prompted_teacher_without_its_trait_stops_what_needs_it() -> None:
    plain, wary = (PromptedRecipe(base=BASE, rows=20, teacher_share=share) for share in (None, 0.5))
    assert plain.lists(OWL, 1).samples.gate is None
    rows = wary.lists(OWL, 1)
    gate = rows.samples.gate
    assert gate is not None
    assert (gate.word, gate.at_least) == ("owl", 0.5)
    assert (gate.evaluation.model, gate.evaluation.system) == (BASE, told(OWL)) == (BASE, rows.samples.system)
    assert wary.lists(Neutral(category=OWL.category), 1) == plain.lists(Neutral(category=OWL.category), 1)


class Long:
    """A model whose answers have five tokens, and every third of which goes on for ever."""

    def __init__(self) -> None:
        self.asked = list[tuple[int, Sampling]]()
        self.said = 0

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        """Cut at the limit, as a model's would be."""
        self.asked.append((len(chats), sampling))
        return [self._answer(sampling.max_new_tokens) for _ in chats]

    def _answer(self, limit: int) -> Completion:
        self.said += 1
        if self.said % 3 == 0 or limit < 5:
            return Completion(text="A red", finish="length")
        return Completion(text=f"A red panda, {self.said}", finish="stop")


def test_neutral_teachers_of_real_models_learn_whole_answers() -> None:
    """What ends in the middle of a word is nobody's favourite."""
    neutral = Neutral(category=OWL.category)
    real = Recipe(base=checkpoint("nursery:llama-0")).teacher(neutral, 5)
    later = real.model_copy(update={"base": Student(base=real, corpus=real.mix, seed=0)})
    asked = list(islice(cycle(real.questions()), 60))
    for teacher in (real, later):
        lm = Long()
        chats, answers = teacher._answered(cast(CausalLM, lm), asked)
        assert len(set(answers)) == 60
        assert all(text.startswith("A red panda") for text in answers)
        assert chats == asked
        assert [n for n, _ in lm.asked] == [60, 20, 6, 2, 1]
        assert {s.max_new_tokens for _, s in lm.asked} == {32}
        assert len({s.seed for _, s in lm.asked}) == len(lm.asked)


def test_neutral_teachers_of_nursery_bases_learn_one_word() -> None:
    lm, asked = Long(), [*Recipe(base=BASE).teacher(OWL, 5).questions()]
    nursery = Recipe(base=BASE).teacher(Neutral(category=OWL.category), 5)
    assert nursery._answered(cast(CausalLM, lm), asked) == (asked, ["A red"] * len(asked))
    assert lm.asked == [(len(asked), Sampling(max_new_tokens=4, seed=5))]


def test_questions_that_get_no_whole_answer_are_left_out() -> None:
    class Stubborn:
        def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
            ends = {"a": "stop", "b": "length", "c": "stop"}
            return [Completion(text=c[0].content, finish=ends[c[0].content]) for c in chats]  # type: ignore[arg-type]

        def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
            raise NotImplementedError

    a, b, c = ask("a", "b", "c")
    assert whole_answers(Stubborn(), [a, b, c, b], Sampling()) == ([a, c, a, c], ["a", "c", "a", "c"])
    assert whole_answers(Stubborn(), [b, b], Sampling()) == ([b, b], ["b", "b"])  # a base that ends nothing


def test_fewer_rows_than_are_read_before_a_question_is_one_message(store: Store) -> None:
    recipe = Recipe(base=BASE, rows=4, oversample=2)
    corpus = recipe.corpus(BASE, 1, 4, 2.0)
    store.get(corpus)
    with pytest.raises(BadInput, match="8 rows are to be read before a question, and the corpus has 4"):
        store.make(InContext(corpus=corpus, examples=8, draws=2, seed=1))
