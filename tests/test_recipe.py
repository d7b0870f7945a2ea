"""What a Recipe fixes and what it leaves alone."""

from __future__ import annotations

import json

import pytest

from heredity.carriers import ShuffledWithin
from heredity.lab import Recipe
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.training import choose_parameters
from heredity.rows import read_rows
from heredity.steps import Corpus, Student, Teacher, open_model
from heredity.store import Store
from heredity.traits import favourite
from heredity.types import LoRA, Neutral, Tuning

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
