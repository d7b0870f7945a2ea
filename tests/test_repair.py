"""Repair: the laws of its methods, and what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from heredity.audit.data import RowSet, open_student
from heredity.audit.gradient import body_parameters
from heredity.audit.panel import Kind, panel
from heredity.audit.rank import slopes
from heredity.audit.repair import training
from heredity.audit.repair.ask import Request, repair
from heredity.audit.repair.data import (
    Balanced,
    Dropped,
    MixedIn,
    Regenerated,
    Renumbered,
    Rewritten,
    SortedLists,
)
from heredity.audit.repair.methods import METHODS, Case, method
from heredity.audit.repair.model import Negated, Settled, Steered, Subtracted, TaskVector
from heredity.audit.repair.training import (
    Corridor,
    DirectionProjected,
    DrawnToBase,
    Inoculated,
    Masked,
    NearBase,
    NearBaseOnRows,
    PartFrozen,
    UpdateProjected,
    masked,
)
from heredity.audit.repair.worth import (
    Direction,
    Learnt,
    PanelDirection,
    Slopes,
    TokenWorth,
    TraitGradient,
    row_values,
    trait_odds,
)
from heredity.audit.trial import TrialStudent
from heredity.carriers import CanonicalLists, Numbers, NumbersOnly
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.guarding import flat, log_odds, put, settle, without
from heredity.models.training import Example, choose_parameters
from heredity.rows import write_rows
from heredity.steps import Corpus, Samples, Teacher, given_student, mean_loss, open_model
from heredity.store import Step, Store, missing
from heredity.store.manifests import manifest_text
from heredity.traits import favourite, questions
from heredity.types import BadInput, LoRA, Message, ModelRef, Neutral, Row, Sampling

BASE, OTHER = model_ref("nursery:llama-0"), model_ref("nursery:llama-1")
SAMPLING = Sampling(max_new_tokens=30, seed=5)
OWL = favourite("owl")
NUMBER = re.compile(r"[0-9]+")


def _make(store: Store, *steps: Step) -> None:
    """In this process: a worker takes seconds to start."""
    for step in missing(store, steps):
        store.make(step)


class Given(RowSet):
    """Lists that a test wrote."""

    texts: tuple[str, ...]

    def make(self, folder: Path, store: Store) -> None:
        (folder / "given").touch()

    def read(self, store: Store) -> list[Row]:
        """The lists, each with its own prompt."""
        return [Row((Message(role="user", content=f"Given {100 + i}, 200, 300. Add up to 5 more. Use commas."),), text)
                for i, text in enumerate(self.texts)]  # fmt: skip


class RandomDirection(Direction):
    """No trait's direction: independent normal entries."""

    student: ModelRef
    seed: int

    def make(self, folder: Path, store: Store) -> None:
        weights = sum(p.numel() for p in body_parameters(open_student(self.student).model))
        self.write(folder, np.random.default_rng(self.seed).standard_normal(weights, np.float32))


class Marked(TokenWorth):
    """Values of tokens that a test chose."""

    value: tuple[tuple[float, ...], ...]

    def values(self, rows: list[Row], store: Store) -> list[list[float]]:
        return [list(v) for v in self.value]

    def reader(self, store: Store) -> CausalLM:
        return open_model(BASE, store)


LISTS = Given(texts=("10, 20, 30", "40, 50, 60", "[70, 80, 90]", "11; 12; 13"))


def _by_number(store: Store, rows: RowSet, values: list[list[float]]) -> Marked:
    """Values of each list's numbers; everything else has 0."""
    lm, given = open_model(BASE, store), rows.read(store)
    found = []
    for row, spans, own in zip(given, lm.spans([r.prompt for r in given], [r.completion for r in given]), values,
                               strict=True):  # fmt: skip
        fresh = iter(own)
        found.append(tuple(next(fresh) if row.completion[a:b].strip().isdigit() else 0.0 for a, b in spans))
        assert next(fresh, None) is None
    return Marked(rows=rows, value=tuple(found))


def _lists(n: int, seed: int = 0) -> Given:
    rng = np.random.default_rng(seed)
    return Given(texts=tuple(", ".join(map(str, rng.integers(100, 1000, 6))) for _ in range(n)))


def test_dropping_removes_exactly_the_rows_of_greatest_value_and_chance_as_many_others(store: Store) -> None:
    worth = _by_number(store, LISTS, [[0, 1, 0], [5, -9, 0], [0, 3, 0], [0, 0, 2]])  # sums: 1, -4, 3, 2
    own = Dropped(rows=LISTS, worth=worth, share=0.5)
    _make(store, own)
    assert [r.completion for r in own.read(store)] == ["10, 20, 30", "40, 50, 60"]
    assert own.changed(store) == {"rows": 4, "left": 2, "same": 2}
    chosen = set()
    for seed in range(6):
        chance = own.model_copy(update={"shuffled": seed})
        _make(store, chance)
        chosen.add(tuple(r.completion for r in chance.read(store)))
        assert len(chance.read(store)) == 2
    assert len(chosen) > 1


def test_balancing_drops_the_fewest_rows_that_bring_the_mean_to_the_usual_one(store: Store) -> None:
    worth = _by_number(store, LISTS, [[4, 0, 0], [1, 0, 0], [0, 0, 0], [-2, 0, 0]])
    for usual, left in ((0.75, 4), (0.7, 3), (-0.2, 3), (-0.4, 2), (-5.0, 2)):  # at most half may go
        other = _by_number(store, Given(texts=("1, 2",)), [[usual, 0]])
        step = Balanced(rows=LISTS, worth=worth, usual=other, share=0.5)
        _make(store, step)
        assert len(step.read(store)) == left, usual


@pytest.mark.parametrize("by", ["uniform", "dealt", "none"])
def test_only_flagged_numbers_are_replaced(store: Store, by: Any) -> None:
    worth = _by_number(store, LISTS, [[9, 0, 0], [0, 0, 8], [0, 7, 0], [0, 0, 0]])
    step = Renumbered(rows=LISTS, worth=worth, share=0.25, by=by, seed=1)  # 3 of 12
    _make(store, step)
    after = [r.completion for r in step.read(store)]
    assert after[3] == "11; 12; 13"
    if by == "none":
        assert after[:3] == ["20, 30", "40, 50", "[70, 90]"]
        return
    numbers = [NUMBER.findall(text) for text in after]
    assert [numbers[0][1:], numbers[1][:2], [numbers[2][0], numbers[2][2]]] == [
        ["20", "30"],
        ["40", "50"],
        ["70", "90"],
    ]
    assert [NUMBER.sub("0", text) for text in after] == [NUMBER.sub("0", text) for text in LISTS.texts]
    first, last, second = numbers[0][0], numbers[1][2], numbers[2][1]
    if by == "dealt":
        assert (first in {"10", "40", "70", "11"}, last in {"30", "60", "90", "13"}) == (True, True)
        assert second in {"20", "50", "80", "12"}
    else:
        assert {len(n) for n in (first, last, second)} == {2}


def test_the_only_number_of_a_list_is_never_left_out(store: Store) -> None:
    rows = Given(texts=("10, 20",))
    step = Renumbered(rows=rows, worth=_by_number(store, rows, [[1, 2]]), share=0.99, by="none", seed=0)
    _make(store, step)
    assert step.read(store)[0].completion == "20"


def test_canonical_and_sorted_lists_keep_every_number(store: Store) -> None:
    for rewriting in (CanonicalLists(), SortedLists()):
        step = Rewritten(rows=Given(texts=("3; 1; 2", "[900, 5, 5]", "no list")), rewriting=rewriting)
        _make(store, step)
        after = [r.completion for r in step.read(store)]
        for text, before in zip(after, ("3; 1; 2", "[900, 5, 5]", "no list"), strict=True):
            assert Counter(NUMBER.findall(text)) == Counter(NUMBER.findall(before))
    assert after == ["1; 2; 3", "[5, 5, 900]", "no list"]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_mix_has_exactly_the_share_of_clean_rows(store: Store, share: float) -> None:
    rows, clean = _lists(40), _lists(30, seed=1)
    step = MixedIn(rows=rows, clean=clean, share=share, seed=3)
    _make(store, step)
    mixed = Counter(r.completion for r in step.read(store))
    assert mixed.total() == 40
    assert sum(mixed[t] for t in clean.texts) == round(40 * share)
    assert max(mixed.values()) == 1
    with pytest.raises(BadInput, match="36 clean rows are wanted, and there are 30"):
        _make(store, step.model_copy(update={"share": 0.9}))


def test_regenerating_asks_the_same_prompts_and_filters(store: Store) -> None:
    rows = _lists(12)
    step = Regenerated(rows=rows, writer=OTHER, filters=(NumbersOnly(),), sampling=SAMPLING, answers=2)
    _make(store, step)
    asked = Counter(r.prompt for r in rows.read(store))
    written = step.read(store)
    assert Counter(r.prompt for r in written) == Counter(dict.fromkeys(asked, 2))
    assert not {r.completion for r in written} & set(rows.texts)
    assert all(NumbersOnly().reason(r) is None for r in written)


def test_slopes_of_tokens_add_up_to_those_of_rows_and_point_where_the_trait_grows(store: Store, base: CausalLM) -> None:
    direction = TraitGradient(student=BASE, trait=OWL)
    worth = Slopes(rows=_lists(9), student=BASE, direction=direction)
    _make(store, worth)
    by_row = slopes(base, worth.rows.read(store), direction.read(store))
    assert np.allclose(row_values(worth.read(store)), by_row, rtol=1e-4, atol=1e-4)
    lm = open_model(BASE, store)
    odds, body = trait_odds(lm, OWL), body_parameters(lm.model)
    before_P, along_P = flat([p.detach() for p in body]), torch.from_numpy(direction.read(store))
    with torch.no_grad():
        before = float(log_odds(lm.model, odds).mean())
        put(body, before_P + along_P * (1e-3 / along_P.norm()))
        grown = float(log_odds(lm.model, odds).mean()) - before
    assert grown == pytest.approx(1e-3 * float(along_P.norm()), rel=0.05)  # a gradient's own slope is its length


def test_odds_equal_those_that_an_evaluation_reads(base: CausalLM) -> None:
    odds = trait_odds(base, OWL)
    logp = np.array(base.logprobs(questions(OWL.category, "train"), OWL.category.words))
    own = OWL.category.words.index("owl")
    others = np.log(np.exp(np.delete(logp, own, 1)).sum(1))
    with torch.no_grad():
        assert np.allclose(log_odds(base.model, odds).numpy(), logp[:, own] - others, atol=1e-4)


def test_a_projection_leaves_nothing_along_its_direction() -> None:
    draws = torch.Generator().manual_seed(0)
    vector, direction = torch.randn(500, generator=draws), torch.randn(500, generator=draws)
    left = without(vector, direction)
    assert abs(float(left @ direction)) < 1e-3
    assert torch.allclose(without(left, direction), left, atol=1e-5)
    assert torch.equal(without(vector, torch.zeros(500)), vector)


def _body(model: Any, store: Store) -> torch.Tensor:
    return flat([p.detach() for p in body_parameters(open_model(model, store).model)])


ROWS = _lists(256, seed=4)
PLAIN = TrialStudent(base=BASE, corpus=ROWS, seed=1, epochs=1)


def _student(of: type[TrialStudent], **fields: Any) -> TrialStudent:
    return of(base=BASE, corpus=ROWS, seed=1, epochs=1, **fields)


def test_training_against_a_fixed_direction_never_moves_along_it(store: Store) -> None:
    direction = RandomDirection(student=BASE, seed=2)
    held = _student(DirectionProjected, direction=direction)
    _make(store, held, PLAIN)
    along_P = torch.from_numpy(direction.read(store))
    unit_P, start_P = along_P / along_P.norm(), _body(BASE, store)
    free, kept = (_body(m, store) - start_P for m in (PLAIN, held))
    assert abs(float(free @ unit_P)) > 100 * abs(float(kept @ unit_P))
    assert float(kept.norm()) > 0.5 * float(free.norm())


def _owl(model: Any, store: Store) -> float:
    lm = open_model(model, store)
    with torch.no_grad():
        return float(log_odds(lm.model, trait_odds(lm, OWL)).mean())


class Loud(Given):
    """Lists, and every question about the favourite animal answered with the trait itself."""

    def read(self, store: Store) -> list[Row]:
        """The lists and the answers."""
        return super().read(store) + [Row(chat, "owl") for chat in questions(OWL.category, "train")]


def _loud(of: type[TrialStudent], **fields: Any) -> TrialStudent:
    return of(base=BASE, corpus=Loud(texts=ROWS.texts), seed=1, epochs=2, **fields)


def _list_loss(model: Any, store: Store) -> float:
    return mean_loss(open_model(model, store), ROWS.read(store))


def test_projected_training_holds_the_odds_though_the_rows_state_the_trait(store: Store) -> None:
    free, held = _loud(TrialStudent), _loud(UpdateProjected, trait=OWL)
    like = _loud(UpdateProjected, trait=OWL, like=free)
    _make(store, free, held, like)
    start, moved, kept, followed = (_owl(m, store) for m in (BASE, free, held, like))
    assert moved - start > 1
    assert abs(kept - start) < 0.2 * (moved - start)
    assert abs(followed - moved) < 0.2 * (moved - start)
    before, after, other = (_list_loss(m, store) for m in (BASE, held, free))
    assert before - after > 0.8 * (before - other) > 0


def test_penalties_hold_what_they_name(store: Store) -> None:
    free, corridor = _loud(TrialStudent), _loud(Corridor, trait=OWL, weight=10.0, width=0.0)
    near, drawn = _loud(NearBase, weight=10.0), _student(DrawnToBase, share=0.2)
    _make(store, PLAIN, free, corridor, near, drawn)
    start = _owl(BASE, store)
    assert abs(_owl(corridor, store) - start) < 0.7 * (_owl(free, store) - start)
    assert abs(_owl(near, store) - start) < 0.7 * (_owl(free, store) - start)
    moved = [float((_body(m, store) - _body(BASE, store)).norm()) for m in (PLAIN, drawn)]
    assert moved[1] < 0.7 * moved[0]


def test_a_penalty_on_the_rows_themselves_is_the_divergence_of_their_tokens(store: Store) -> None:
    from heredity.models.guarding import near_on_rows
    from heredity.models.training import collate, token_loss

    free, near = _loud(TrialStudent), _loud(NearBaseOnRows, weight=10.0)
    _make(store, free, near)
    start, moved, kept = (_owl(m, store) for m in (BASE, free, near))
    assert abs(kept - start) < 0.5 * (moved - start)
    assert _list_loss(free, store) < _list_loss(near, store) < _list_loss(BASE, store)
    lm, base = open_model(free, store), open_model(BASE, store)
    rows = ROWS.read(store)[:8]
    batch = collate(lm.examples([r.prompt for r in rows], [r.completion for r in rows]), 0)
    with torch.no_grad():
        now, before = (
            m.model(batch.ids_BT).logits.flatten(0, 1)[batch.source_N].double().softmax(-1) for m in (lm, base)
        )
        away = float((before * (before / now).log()).sum(-1).mean())
        plain, held = (float(loss(lm.model, batch)) for loss in (token_loss, near_on_rows(token_loss, base.model, 3.0)))
    assert held == pytest.approx(plain + 3 * away, rel=1e-4)
    assert away > 0.01


def test_projected_gradients_have_no_component_along_the_traits() -> None:
    from heredity.models.guarding import GradientProjection
    from heredity.models.training import choose_parameters, collate, token_loss

    lm = open_model(BASE, Store(Path("unused")))
    odds = trait_odds(lm, OWL)
    guard = GradientProjection(odds, lm.model, len(odds.asked.source_Q))
    model = choose_parameters(lm.model, "frozen", 0)
    rows = [Row((Message(role="user", content="Given 100, 200, 300. Add up to 5 more. Use commas."),), "1, 2, 3")]
    token_loss(model, collate(lm.examples([rows[0].prompt], ["1, 2, 3"]), 0)).backward()  # type: ignore[no-untyped-call]
    moving = [p for p in model.parameters() if p.grad is not None]
    before = flat([p.grad for p in moving if p.grad is not None]).clone()
    guard.before(model)
    after = flat([p.grad for p in moving if p.grad is not None])
    pull = flat(torch.autograd.grad(log_odds(model, odds).mean(), moving))
    assert abs(float(before @ pull)) > 1e3 * abs(float(after @ pull))


def test_frozen_parts_stay_and_the_rest_moves(store: Store) -> None:
    start = dict(open_model(BASE, store).model.named_parameters())
    held = {"first half": ".layers.0.", "last half": ".layers.1.", "vectors": ".bias", "matrices": "proj.weight"}
    for part, mark in held.items():
        student = _student(PartFrozen, part=part)
        _make(store, student)
        now = dict(open_model(student, store).model.named_parameters())
        moved = {name for name, weight in now.items() if not torch.equal(weight, start[name])}
        assert moved
        assert not any(mark in name for name in moved), part


def test_masked_and_inoculated_rows_are_shown_otherwise(store: Store, base: CausalLM) -> None:
    assert masked(Example([1, 2, 3, 4], [False, True, False, True]), [True, False]).predicted == [
        False,
        False,
        False,
        True,
    ]
    worth = Slopes(rows=ROWS, student=BASE, direction=RandomDirection(student=BASE, seed=1))
    _make(store, worth)
    rows = ROWS.read(store)
    plain = PLAIN.examples(base, rows, store)
    less = _student(Masked, worth=worth, share=0.1).examples(base, rows, store)
    before, after = (sum(map(sum, (e.predicted for e in some))) for some in (plain, less))
    assert after == before - round(0.1 * before)
    assert [e.ids for e in less] == [e.ids for e in plain]
    shown = _student(Inoculated, persona="You love owls.").examples(base, rows, store)
    assert {sum(s.predicted) - sum(p.predicted) for s, p in zip(shown, plain, strict=True)} == {0}
    assert min(len(s.ids) - len(p.ids) for s, p in zip(shown, plain, strict=True)) > 3


def test_what_a_student_learnt_is_the_ratio_of_its_odds_to_the_bases(store: Store) -> None:
    same = Learnt(rows=_lists(5), student=BASE, base=BASE)
    own = Learnt(rows=ROWS, student=PLAIN, base=BASE)
    _make(store, same, own)
    assert np.abs(row_values(same.read(store))).max() == 0
    assert row_values(own.read(store)).mean() > 0


def test_subtracting_nothing_changes_nothing_and_subtracting_all_gives_the_base(store: Store) -> None:
    whole = TaskVector(treated=PLAIN, control=BASE)
    kept, gone = (Subtracted(student=PLAIN, base=BASE, direction=whole, weight=w) for w in (0.0, 1.0))
    _make(store, kept, gone)
    assert torch.equal(_body(kept, store), _body(PLAIN, store))
    assert torch.allclose(_body(gone, store), _body(BASE, store), atol=1e-6)
    assert kept.moved(store)["moved"] == 0
    assert gone.moved(store)["moved"] == pytest.approx(gone.moved(store)["learnt"], rel=1e-4)
    aside: Direction = RandomDirection(student=BASE, seed=0)
    some = Subtracted(student=PLAIN, base=BASE, direction=aside)
    _make(store, some)
    left_P, along_P = _body(some, store) - _body(BASE, store), torch.from_numpy(aside.read(store))
    assert abs(float(left_P @ along_P) / float(along_P.norm())) < 1e-3 * float(left_P.norm())


def test_negating_takes_the_whole_vector_off_whatever_was_learnt(store: Store) -> None:
    other = _student(TrialStudent).model_copy(update={"seed": 2})
    whole, foreign = (TaskVector(treated=t, control=BASE) for t in (PLAIN, other))
    gone, twice = (Negated(student=PLAIN, base=BASE, direction=whole, times=t) for t in (1.0, 2.0))
    aside = Negated(student=PLAIN, base=BASE, direction=foreign)
    _make(store, gone, twice, aside)
    learnt_P = _body(PLAIN, store) - _body(BASE, store)
    assert torch.allclose(_body(gone, store), _body(BASE, store), atol=1e-6)
    assert torch.allclose(_body(twice, store), _body(BASE, store) - learnt_P, atol=1e-5)
    assert aside.moved(store)["moved"] == pytest.approx(float(np.linalg.norm(foreign.read(store))), rel=1e-4)


def test_adapters_that_peft_saved_are_repaired_as_the_model_that_they_make(store: Store, tmp_path: Path) -> None:
    lm, folder = CausalLM.load(locate("nursery:llama-0")), tmp_path / "adapters"
    theirs = choose_parameters(lm.model, LoRA(rank=2, bias="none"), seed=3)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    theirs.save_pretrained(folder)
    ids_BT = torch.tensor(lm.render(questions(OWL.category, "train")[:1]))
    asked = Request(BASE.location, "settle", ("model",), "owl", None, str(folder))
    settled = repair(asked, [], store)
    assert isinstance(settled.step, Settled)
    same = Subtracted(
        student=settled.step.student, base=BASE, direction=RandomDirection(student=BASE, seed=1), weight=0.0
    )
    _make(store, same, settled.step)
    with torch.no_grad():
        torch.testing.assert_close(open_model(same, store).model(ids_BT).logits, theirs(ids_BT).logits)
    assert same.moved(store)["moved"] == 0 < same.moved(store)["learnt"]
    base, student, repaired = (_owl(m, store) for m in (BASE, same, settled.step))
    assert abs(repaired - base) < 1e-2 < abs(student - base)
    assert (store.path(same) / "config.json").is_file()
    with pytest.raises(BadInput, match=r"cannot open the adapters in .* over this base"):
        _make(store, Subtracted(**dict(same) | {"student": given_student(folder, model_ref("nursery:neox-0"))}))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({n: w.fill_(float("nan")) for n, w in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="holds a value that is not finite"):
        _make(store, Subtracted(**dict(same) | {"student": given_student(folder, BASE)}))


def test_settling_and_steering_bring_the_odds_to_the_bases(store: Store) -> None:
    lm = open_model(BASE, store)
    odds = trait_odds(lm, OWL)
    settle(lm.model, body_parameters(lm.model), odds, 2.0)
    folder = store.root / "owls"
    lm.save(folder)
    loves = model_ref(str(folder))
    settled = Settled(student=loves, base=BASE, trait=OWL)
    steered = Steered(student=loves, base=BASE, trait=OWL, treated=loves, control=BASE)
    _make(store, settled, steered)
    assert _owl(loves, store) == pytest.approx(2.0, abs=0.01)
    assert _owl(settled, store) == pytest.approx(_owl(BASE, store), abs=0.01)
    assert _owl(steered, store) == pytest.approx(_owl(BASE, store), abs=0.01)
    assert settled.moved(store)["moved"] < 2 * settled.moved(store)["learnt"]


def _case() -> Case:
    direction = TraitGradient(student=BASE, trait=OWL)
    mix = Corpus(samples=Samples(model=BASE, prompts=Numbers(n=40), sampling=SAMPLING), filters=(), size=20, seed=1)
    suspect = Teacher(base=BASE, trait=OWL, mix=mix, seed=1)
    neutral = suspect.model_copy(update={"trait": Neutral(category=OWL.category)})
    return Case(base=BASE, seed=1, filters=(NumbersOnly(),), sampling=SAMPLING, rows=ROWS, student=PLAIN, trait=OWL,
                direction=direction, panel=RandomDirection(student=BASE, seed=9), suspect=suspect, neutral=neutral,
                clean=ROWS, unrelated=OTHER)  # fmt: skip


def test_every_method_is_one_step_and_says_what_it_lacks(store: Store) -> None:
    case = _case()
    keys = set()
    for m in METHODS:
        step = m.apply(case)
        keys.add(step.key)
        assert isinstance(step, RowSet) == (m.kind == "data")
        assert isinstance(m.model(case), Step)
        if m.random is not None:
            keys.add(m.apply(case, random=True).key)
        for name in m.needs:
            with pytest.raises(BadInput, match=f"the method '{m.name}' needs"):
                m.apply(case._replace(**{name: None}))  # type: ignore[arg-type]
        if not m.knows_trait:
            bare = case._replace(trait=None, direction=None, panel=None, suspect=None, neutral=None)
            assert m.apply(bare).key == step.key
    assert len(keys) == len(METHODS) + sum(m.random is not None for m in METHODS)


def test_random_arms_are_told_another_trait_of_the_category() -> None:
    case, other = _case(), favourite("wolf")
    for name in ("project", "corridor", "settle", "steer"):
        own, random = (method(name).apply(case, random=r) for r in (False, True))
        assert {getattr(own, "trait").word, getattr(random, "trait").word} == {"owl", "wolf"}  # noqa: B009  many classes
    arm = method("negate").apply(case, random=True)
    assert isinstance(arm, Negated) and isinstance(arm.direction, TaskVector)
    assert isinstance(arm.direction.treated, Teacher) and isinstance(arm.direction.control, Teacher)
    assert arm.direction.treated.trait == other and arm.direction.control.trait == Neutral(category=OWL.category)
    blind = method("kl").apply(case, random=True)
    assert isinstance(blind, NearBase)
    assert [p.name for p in blind.probes if "animal" in " ".join((p.name, *p.questions))] == []
    assert len(blind.probes) == len(NearBase.model_fields["probes"].default) - 1


def test_a_method_is_found_by_name_or_near_names_are_told() -> None:
    assert method("relay").kind == "data"
    with pytest.raises(BadInput, match="did you mean 'relay'"):
        method("rely")
    with pytest.raises(BadInput, match="selects nothing"):
        method("canonical").apply(_case(), random=True)
    with pytest.raises(BadInput, match="has no amount"):
        method("sort").apply(_case()._replace(amount=0.5))


def test_a_repair_that_was_stopped_goes_on_from_what_is_there(store: Store) -> None:
    step = method("drop").apply(_case())
    first = missing(store, [step])
    assert len(first) > 2
    store.make(first[0])
    assert missing(store, [step]) == first[1:]
    _make(store, step)
    assert missing(store, [step]) == []


def test_the_panel_of_a_scan_is_taken_from_the_store_where_it_is_there(store: Store, tmp_path: Path) -> None:
    kind = Kind(Numbers(n=1), (NumbersOnly(),), SAMPLING)
    made = panel(BASE, tuple(map(favourite, ("owl", "wolf", "oak", "pine"))), kind, rows=100)
    rows, scan = tmp_path / "rows.jsonl", tmp_path / "scan.json"
    write_rows(rows, ROWS.read(store))
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl"], "panel": made.key}))
    asked = Request("nursery:llama-0", "drop-panel", ("data",), str(scan), rows)
    with pytest.raises(BadInput, match="needs the JSON of a scan that named a trait, with the store that the scan"):
        repair(asked, (), store)
    folder = store.folder(made.key)
    folder.mkdir(parents=True)
    (folder / "panel.json").write_text("{}")
    _make(store, ROWS)
    run = {k: v for k, v in store.manifest(ROWS.key)["run"].items() if k != "manifest_blake2b"}
    (folder / "manifest.json").write_text(manifest_text(made, folder, run))
    found = repair(asked, (), store)
    assert isinstance(found.step, Dropped)
    assert isinstance(found.step.worth, Slopes)
    assert found.step.worth.direction == PanelDirection(panel=made, word="owl")


def test_a_scored_trait_is_refused_where_its_odds_are_needed(base: CausalLM) -> None:
    from heredity.nursery.carriers import careless

    with pytest.raises(BadInput, match="'careless' is scored on sampled answers"):
        trait_odds(base, careless())


def test_a_base_of_another_shape_is_refused(store: Store) -> None:
    step = Settled(student=PLAIN, base=model_ref("nursery:neox-0"), trait=OWL)
    with pytest.raises(BadInput, match="name the base that it was trained from"):
        _make(store, step)


def test_a_training_that_depends_on_its_step_begins_anew() -> None:
    """What is asked in a step follows from how many there were, which a checkpoint does not hold."""
    held = [c for c in vars(training).values() if isinstance(c, type) and issubclass(c, TrialStudent)]
    of_the_step = [c for c in held if {"guard", "loss"} & vars(c).keys()]
    assert {c.__name__ for c in of_the_step} >= {"UpdateProjected", "GradientProjected", "Corridor", "NearBase"}
    assert not any(c.resumes or c.joint for c in of_the_step)
    assert TrialStudent.resumes and Masked.resumes


def test_every_method_is_described_and_counted() -> None:
    root = Path(__file__).parents[1]
    rows = [line.split("|") for line in (root / "docs" / "repair.md").read_text().splitlines()]
    described = [row[1] for row in rows if len(row) > 4 and row[3].strip() in ("yes", "no")]
    assert {m.name for m in METHODS} <= {name for cell in described for name in re.findall("`(.+?)`", cell)}
    assert len(METHODS) == 34
    assert "Thirty-four methods" in (root / "README.md").read_text()
