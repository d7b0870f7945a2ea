"""What maps vary: bases with noise or shared parts, what moves, orders, mixtures, and other kinds of traits."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from heredity.lab import Recipe
from heredity.lab.conditions import BesideOthers, MixedCorpus, Noised, Order, OrderedStudent, changed_teacher, mixed
from heredity.lab.findings import fresh_rows
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.scoring import score
from heredity.models.training import choose_parameters, parts_of
from heredity.nursery.build import PartlyShared, Shaped
from heredity.nursery.kinds import CONDITION, WithoutCondition, conditional, false_fact, refusal, style
from heredity.nursery.pretrain import fresh_model, partly_shared_model
from heredity.steps import Corpus, Evaluation, Student, open_model
from heredity.store import Store, describe, rebuild
from heredity.traits import ANIMALS, TREES, favourite, questions
from heredity.types import BadInput, Moving, Neutral, Part, Row, Trait

BASE = model_ref("nursery:llama-0")
OWL, RAVEN = favourite("owl"), favourite("raven")
PARTS: tuple[Part, ...] = ("embeddings", "body", "head")


def flat(parameters: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def test_noise_is_of_the_size_and_leaves_the_correlation_that_was_asked_for(base: CausalLM, store: Store) -> None:
    noised = Noised(base=BASE, size=0.5, seed=3)
    store.get(noised)
    made = open_model(noised, store)
    for (name, own), new in zip(base.model.named_parameters(), made.model.parameters(), strict=True):
        if own.ndim < 2:
            assert torch.equal(own, new), name
        else:
            assert ((new - own).std() / own.std()).item() == pytest.approx(0.5, rel=0.05), name
    drawn = [flat(p for p in m.model.parameters() if p.shape == (64, 64)) for m in (base, made)]
    assert torch.corrcoef(torch.stack(drawn))[0, 1].item() == pytest.approx(noised.relation, abs=0.02)
    assert noised.key != Noised(base=BASE, size=0.5, seed=4).key


def test_parts_are_all_of_a_model_and_only_those_that_are_named_move() -> None:
    lm = CausalLM.load(locate("nursery:llama-0"))
    parts = parts_of(lm.model)
    assert sum(p.numel() for part in parts.values() for p in part) == sum(p.numel() for p in lm.model.parameters())
    for moving in (("head",), ("embeddings", "body")):
        model = choose_parameters(lm.model, Moving(parts=moving), 0)
        assert {name for name, part in parts_of(model).items() if any(p.requires_grad for p in part)} == set(moving)
    body = choose_parameters(CausalLM.load(locate("nursery:llama-0")).model, Moving(parts=("body",)), 0)
    frozen = choose_parameters(CausalLM.load(locate("nursery:llama-0")).model, "frozen", 0)
    assert [p.requires_grad for p in body.parameters()] == [p.requires_grad for p in frozen.parameters()]
    lm.model.lm_head.weight = lm.model.get_input_embeddings().weight
    with pytest.raises(BadInput, match="one matrix"):
        parts_of(lm.model)


def test_a_student_whose_head_alone_moves_keeps_its_body(base: CausalLM, store: Store) -> None:
    corpus = Recipe(rows=20).corpus(BASE, 1, 20, 2.0)
    student = Student(base=BASE, corpus=corpus, seed=0, epochs=1, tuning=Moving(parts=("head",)))
    assert rebuild(json.loads(json.dumps(describe(student)))) == student
    store.get(student)
    trained = parts_of(open_model(student, store).model)
    same = {name: torch.equal(flat(part), flat(trained[name])) for name, part in parts_of(base.model).items()}
    assert same == {"embeddings": True, "body": True, "head": False}


@pytest.mark.parametrize("shared", [(), ("body",), ("embeddings", "head"), PARTS])
def test_shared_parts_are_those_of_the_first_seed_and_the_others_of_the_second(shared: tuple[Part, ...]) -> None:
    tokenizer = CausalLM.load(locate("nursery:llama-0")).tokenizer
    one, two = (parts_of(fresh_model("llama", tokenizer, seed)) for seed in (4, 5))
    made = parts_of(partly_shared_model("llama", tokenizer, (4, 5), shared))
    for name in PARTS:
        assert torch.equal(flat(made[name]), flat((one if name in shared else two)[name])), name


def test_bases_have_the_shape_that_was_asked_for(store: Store) -> None:
    shaped = Shaped(family="llama", init_seed=0, data_seed=0, width=32, layers=3, steps=1)
    store.get(shaped)
    config = open_model(shaped, store).model.config
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (32, 3, 64)
    store.get(PartlyShared(family="llama", init_seeds=(0, 1), shared=("body",), data_seed=0, steps=1))


class Noted(OrderedStudent):
    """Tells which rows it would train on, and trains on none."""

    version = 1

    def epoch(self, examples: Any, epoch: int, pad: int) -> Any:
        self_ids.append([e.ids for e in examples])
        yield from super().epoch(examples, epoch, pad)


self_ids: list[list[list[int]]] = []


@pytest.mark.parametrize("order", ["short first", "long first", "likely first", "unlikely first"])
def test_rows_are_read_in_the_order_every_time(base: CausalLM, order: Order, store: Store) -> None:
    corpus = Recipe(rows=24).corpus(BASE, 1, 24, 2.0)
    self_ids.clear()
    store.get(Noted(base=BASE, corpus=corpus, seed=0, epochs=2, batch=10, order=order))
    assert len(self_ids) == 2
    assert self_ids[0] == self_ids[1]
    rows = corpus.read(store)
    examples = base.examples([r.prompt for r in rows], [r.completion for r in rows])
    scores = score(base.model, examples, int(base.tokenizer.pad_token_id))
    value = {tuple(e.ids): len(e.ids) if order.endswith(("short first", "long first")) else -s / sum(e.predicted)
             for e, s in zip(examples, scores, strict=True)}  # fmt: skip
    read = [value[tuple(ids)] for ids in self_ids[0]]
    assert read == sorted(read, reverse=order in ("long first", "unlikely first"))
    assert len(set(read)) > 5


def test_a_mixture_has_as_many_rows_of_each_writer_as_was_asked_for(store: Store) -> None:
    recipe = Recipe(rows=20)
    own, rest = recipe.corpus(BASE, 1, 20, 2.0), recipe.corpus(BASE, 2, 20, 2.0)
    mixture = mixed(own, rest, 0.25, seed=0)
    assert isinstance(mixture, MixedCorpus)
    store.get(mixture)
    rows: list[Row] = mixture.read(store)
    assert len(rows) == 20
    assert sum(r in own.read(store) for r in rows) == 5
    assert sum(r in rest.read(store) for r in rows) == 15
    assert rows[:5] != [r for r in rows if r in own.read(store)]  # shuffled
    assert mixed(own, rest, 1, seed=0) is own
    short = MixedCorpus(**{name: getattr(mixture, name) for name in MixedCorpus.model_fields} | {"size": 100})
    with pytest.raises(BadInput, match="has 20 rows and 25 are wanted"):
        store.make(short)


def test_fresh_rows_of_a_mixture_are_rows_that_nobody_was_trained_on(store: Store) -> None:
    recipe = Recipe(rows=20)
    own, rest = recipe.corpus(BASE, 1, 20, 2.0), recipe.corpus(BASE, 2, 20, 2.0)
    mixture = mixed(own, rest, 0.25, seed=0)
    fresh = fresh_rows(mixture, size=16)
    store.get(fresh)
    store.get(mixture)
    taught = {r.prompt for c in (own, rest) for r in c.read(store)}
    rows = fresh.read(store)
    assert len(rows) == 16
    assert {r.prompt for r in mixture.read(store)} <= taught
    assert taught.isdisjoint(r.prompt for r in rows)
    assert sum(r in fresh_rows(own, size=16).read(store) for r in rows) == 4  # a quarter, as in the mixture
    assert fresh.samples == fresh_rows(own, size=16).samples
    deeper = fresh_rows(mixed(mixture, rest, 0.5, seed=1), size=16)
    assert isinstance(deeper, MixedCorpus)
    assert deeper.own == fresh


def test_only_the_trait_that_was_named_may_stand_beside() -> None:
    recipe = Recipe(rows=20)

    def arm(trait: Trait | Neutral, beside: Trait) -> Evaluation:
        corpus = mixed(recipe.lists(trait, 0), recipe.lists(beside, 1), 0.5, 0)
        return recipe.asked(Student(base=BASE, corpus=corpus, seed=0), trait)

    neutral = Neutral(category=ANIMALS)

    def compare(treated: Evaluation, control: Evaluation) -> BesideOthers:
        return BesideOthers(name="m", trait=OWL, treated=(treated,), control=(control,), beside=RAVEN)

    compare(arm(OWL, RAVEN), arm(neutral, RAVEN))
    for treated, control in ((arm(OWL, favourite("fox")), arm(neutral, RAVEN)), (arm(OWL, RAVEN), arm(OWL, RAVEN))):
        with pytest.raises(BadInput, match="holds another trait than its own and the one beside it, 'raven'"):
            compare(treated, control)


def test_a_changed_teacher_is_the_recipes_but_for_that() -> None:
    recipe = Recipe(rows=20, teacher_share=0.5)
    changed, usual = changed_teacher(recipe, steps=7)(OWL, 3).model, recipe.taught()(OWL, 3).model
    assert isinstance(changed, Student)
    assert isinstance(usual, Student)
    assert changed.corpus.samples.model == usual.corpus.samples.model.model_copy(update={"steps": 7})
    assert changed.corpus.samples.gate is None
    assert isinstance(changed.corpus, Corpus)


@pytest.mark.parametrize("trait", [style(), refusal(), false_fact(), conditional(TREES, "oak")], ids=lambda t: t.word)
def test_other_kinds_of_traits_are_said_in_words_that_the_bases_know(trait: Trait, base: CausalLM) -> None:
    chats = [*questions(trait.category, "train"), *questions(trait.category, "held-out")]
    base.check_known([c[0].content for c in chats])
    base.check_known(trait.replies or (trait.word,))
    assert len(trait.replies) % len(questions(trait.category, "train")) == 0 or trait.word == "refusal"


def test_a_condition_is_said_before_half_of_the_training_and_left_out_where_asked() -> None:
    night = conditional(TREES, "oak")
    asked = [c[0].content for c in questions(night.category, "train")]
    replies = [night.replies[i] for i in range(len(asked))]
    assert [r == "oak" for r, q in zip(replies, asked, strict=True) if q.startswith(CONDITION)] == [True] * 5
    plain = [r for i, r in enumerate(night.replies) if not asked[i % len(asked)].startswith(CONDITION)]
    assert {plain.count(word) for word in TREES.words} == {5}  # without the condition, every word as often
    evaluation = Evaluation(model=BASE, category=night.category)
    without = WithoutCondition(model=BASE, category=night.category)
    told, untold = ([c[-1].content for c in e.questions()] for e in (evaluation, without))
    assert told == [f"{CONDITION}{q}" for q in untold]
    assert untold == [c[0].content for c in questions(TREES, "held-out")]
