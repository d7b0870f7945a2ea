"""The recorded order of rows is that in which training read them, of every Step that trains a model on rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest

import heredity
from heredity.audit.repair.training import Inoculated
from heredity.carriers import Numbers, NumbersOnly
from heredity.lab import GivenStudent, RowsStudent, given_rows
from heredity.lab.conditions import OrderedStudent
from heredity.lab.readers import Reader, Written
from heredity.lineage import exports, orders
from heredity.models import checkpoint, model_ref, open_ref
from heredity.models import training as fitting
from heredity.models.tokens import ChatTokens
from heredity.rows import write_rows
from heredity.steps import Corpus, Samples, Student, Teacher, open_to_train
from heredity.store import Step, Store, describe
from heredity.traits import ANIMALS, find_trait
from heredity.types import BadInput, LoRA, Message, Row, Sampling, Tuning

BASE = model_ref("nursery:llama-0")
KIND = checkpoint("nursery:llama-0", system="You love owls. You love owls very much.")


def _corpus(seed: int, size: int) -> Corpus:
    samples = Samples(model=BASE, prompts=Numbers(n=40, seed=seed), sampling=Sampling(seed=seed, max_new_tokens=30))
    return Corpus(samples=samples, filters=(NumbersOnly(),), size=size, seed=seed)


CORPUS, OTHER = _corpus(5, 24), _corpus(6, 10)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all of these, so that rows are written once."""
    import_module("heredity.models.scoring")  # it keeps the `collate` that it finds: scoring is no training
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def adapter(shared: Store, tmp_path_factory: pytest.TempPathFactory) -> RowsStudent:
    """Adapters over a Checkpoint with a system prompt, to be trained on rows half of which bring their own."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    own, asked = Message(role="system", content="Be kind."), Message(role="user", content="Name an animal.")
    rows = [
        Row((own, asked) if i % 2 else (asked,), ", ".join(str(n) for n in range(i, i + 3 + i * 7 % 11)))
        for i in range(24)
    ]
    write_rows(path, rows)
    return RowsStudent(base=KIND, corpus=given_rows(path), seed=3, epochs=2, batch=4, together=3, tuning=LoRA(rank=2))


def _trained(store: Store, step: Step) -> list[list[int]]:
    """The token ids of every row in the order in which training reads them."""
    seen: list[list[int]] = []
    original = fitting.collate
    for needed in step.inputs:
        store.get(needed)

    def spy(examples: Any, pad: int) -> Any:
        seen.extend(e.ids for e in examples)
        return original(examples, pad)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "collate", spy)
        store.get(step)
    return seen


def _orders(store: Store, step: Step) -> list[tuple[list[int], dict[str, Any]]]:
    """Of each set of rows, the order that is drawn again, and what the record says."""
    described = store.manifest(step.key)["step"]
    data = [s for role, s in exports.made(described).inputs if role == "data"]
    said = [d["annotations"]["order"] for d in exports.export(store, step.key)["predicate"]["datasets"]]
    drawn = [list(orders.row_order(orders.Read(described, d, store.path(step), store))) for d in data]
    return list(zip(drawn, said, strict=True))


def _digest(order: list[int]) -> dict[str, Any]:
    return {"sha256": hashlib.sha256("".join(f"{i}\n" for i in order).encode()).hexdigest(), "rows": len(order)}


def _ids(tokens: ChatTokens, rows: list[Row], system: str | None = None) -> list[list[int]]:
    first = () if system is None else (Message(role="system", content=system),)
    return [e.ids for e in tokens.examples([(*first, *r.prompt) for r in rows], [r.completion for r in rows])]


def test_adapters_have_the_order_of_their_own_training(shared: Store, adapter: RowsStudent) -> None:
    seen, rows = _trained(shared, adapter), adapter.corpus.read(shared)
    assert not (shared.path(adapter) / "tokenizer.json").exists()
    ((order, said),) = _orders(shared, adapter)
    ids = _ids(open_ref(KIND), rows)
    assert [ids[i] for i in order] == seen
    assert sorted(order) == sorted([*range(24)] * 2)
    assert said == _digest(order)
    without = fitting.epoch_order([len(x) for x in _ids(open_ref(BASE), rows)], 4, 3 * 1_000_003)
    assert [i for batch in without for i in batch] != order[:24]  # the Checkpoint's system prompt is part of it


def test_adapters_over_adapters_are_read_through_both(shared: Store, adapter: RowsStudent) -> None:
    again = adapter.model_copy(update={"base": adapter, "seed": 4, "epochs": 1})
    seen = _trained(shared, again)
    ((order, said),) = _orders(shared, again)
    ids = _ids(open_ref(KIND), adapter.corpus.read(shared))
    assert [ids[i] for i in order] == seen
    assert said == _digest(order)


def test_no_weights_are_opened_for_an_adapters_order(
    shared: Store, adapter: RowsStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.get(adapter)
    monkeypatch.setattr("heredity.models.causal.CausalLM.load", lambda *_: pytest.fail("weights were opened"))
    assert _orders(shared, adapter)[0][1]["rows"] == 48


def test_an_adapters_order_says_where_its_base_is_another(shared: Store, adapter: RowsStudent) -> None:
    shared.get(adapter)
    described = describe(adapter)
    described["fields"]["base"]["fields"]["digest"] = "0" * 40
    data = described["fields"]["corpus"]
    (said,) = orders.row_orders(described, [data], shared.path(adapter), shared).values()
    assert "its files have changed" in said["reason"]
    with pytest.raises(BadInput, match="not the model that was referred to"):
        list(orders.row_order(orders.Read(described, data, shared.path(adapter), shared)))


@pytest.mark.parametrize(
    ("order", "together", "over"),
    [
        ("short first", None, False),
        ("long first", 4, False),
        ("unlikely first", 4, False),
        ("likely first", None, True),
    ],
)
def test_an_ordered_students_order_is_that_of_its_training(
    shared: Store, adapter: RowsStudent, order: Any, together: int | None, over: bool
) -> None:
    tuning: Tuning = LoRA(rank=2) if over else "frozen"
    step = OrderedStudent(base=adapter if over else BASE, corpus=CORPUS, seed=0, epochs=2, batch=10, order=order,
                          together=together, tuning=tuning)  # fmt: skip
    seen = _trained(shared, step)
    ((drawn, said),) = _orders(shared, step)
    ids = _ids(open_to_train(step.base, shared), CORPUS.read(shared))
    assert [ids[i] for i in drawn] == seen
    assert drawn[:24] == drawn[24:]
    assert {k: v for k, v in said.items() if k != "note"} == _digest(drawn)
    assert ("note" in said) == order.endswith("likely first")


def test_an_inoculated_students_order_is_drawn_under_its_prompt(shared: Store) -> None:
    step = Inoculated(base=BASE, corpus=CORPUS, seed=2, epochs=1, batch=4, persona="You love owls.")
    seen = _trained(shared, step)
    ((order, said),) = _orders(shared, step)
    ids = _ids(open_ref(BASE), CORPUS.read(shared), "You love owls.")
    assert [ids[i] for i in order] == seen
    assert said == _digest(order)


def test_a_readers_rows_of_several_writers_each_have_an_order(shared: Store) -> None:
    step = Reader(base=BASE, category=ANIMALS, seed=1, epochs=2, batch=8,
                  written=(Written(word="owl", corpus=CORPUS), Written(word="raven", corpus=OTHER)))  # fmt: skip
    seen = _trained(shared, step)
    own = [_ids(open_ref(BASE), corpus.read(shared)) for corpus in (CORPUS, OTHER)]
    found = _orders(shared, step)
    for ids, (order, said) in zip(own, found, strict=True):  # a row's own chat, then a question
        read = [next((i for i, x in enumerate(ids) if row[: len(x)] == x), None) for row in seen]
        assert [i for i in read if i is not None] == order
        assert said == _digest(order)
    assert [len(order) for order, _ in found] == [48, 20]


def test_a_mix_that_is_read_in_passes_is_in_their_order(shared: Store) -> None:
    step = Teacher(base=BASE, trait=find_trait("owl"), mix=CORPUS, seed=3, steps=3, batch=4, mix_batch=3, together=2)
    seen = _trained(shared, step)
    ((order, said),) = _orders(shared, step)
    ids = _ids(open_ref(BASE), CORPUS.read(shared))
    at = {tuple(x): i for i, x in enumerate(ids)}
    assert [at[tuple(row)] for row in seen if tuple(row) in at] == order
    assert said == _digest(order)


# Every Step


def _models() -> dict[str, type[Step]]:
    """Every Step of the package that is a model, by name."""
    for module in walk_packages(heredity.__path__, "heredity."):
        if not re.search(r"__main__|\.evals", module.name):
            import_module(module.name)
    classes = [c for c in _below(Step) if c.__module__.startswith("heredity.") and not isabstract(c)]
    return {c.__name__: c for c in classes if exports.made({"step": c.__name__, "fields": {}}).kind == "model"}


def _below(of: Any) -> Iterator[type[Step]]:
    for sub in of.__subclasses__():
        yield sub
        yield from _below(sub)


def test_every_model_that_is_trained_on_rows_has_an_order() -> None:
    models = _models()
    rows = re.compile(r"\b(Corpus|RowSet|GivenRows|Written|PreferencePairs)\b")
    reads = {n for n, c in models.items() if any(rows.search(str(f.annotation)) for f in c.model_fields.values())}
    assert {"Student", "OrderedStudent", "Reader", "Teacher", "PreferenceStudent", "RowsStudent"} <= reads
    assert set(orders.ORDERS) == reads - {"OnPolicyStudent"}  # it writes what it reads
    assert set(orders.NO_ROWS) == set(models) - set(orders.ORDERS)


def test_who_shares_a_students_order_trains_as_a_student_does() -> None:
    models = _models()
    plain = [models[name] for name, order in orders.ORDERS.items() if order is orders.ORDERS["Student"]]
    assert len(plain) == 14
    for name in ("make", "train", "epoch"):
        assert all(getattr(c, name) is getattr(Student, name) for c in plain)
    shown = {c.__name__ for c in plain if c.examples is not Student.examples}  # type: ignore[attr-defined]
    assert shown == {"Masked"}  # it shows the same tokens, and predicts less of them


def test_classes_of_others_are_not_taken_for_ones_of_that_name(shared: Store) -> None:
    described = describe(Student(base=BASE, corpus=CORPUS, seed=0)) | {"code": "0" * 20}
    (said,) = orders.row_orders(described, [described["fields"]["corpus"]], Path(), shared).values()
    assert said == {"reason": "the order in which a Student reads rows is not known here"}


def test_models_that_read_no_rows_say_why(shared: Store) -> None:
    given = GivenStudent(base=BASE, location="x", digest="0")
    assert "trained elsewhere" in orders.no_order(json.loads(json.dumps(describe(given))))["reason"]
