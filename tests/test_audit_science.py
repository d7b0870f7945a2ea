"""Slow: audits of rows by teachers whose recipes the panel does not know, on seeds that nothing was tuned on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heredity.audit.ask import ask
from heredity.audit.scan import Scan
from heredity.carriers import Numbers, NumbersOnly
from heredity.models import model_ref
from heredity.nursery.carriers import shipped_traits
from heredity.rows import write_rows
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Corpus, Model, Samples, Teacher
from heredity.store import Store, make_all
from heredity.traits import TREES, favourite, questions
from heredity.types import Neutral, Phrasing, Sampling, Trait

pytestmark = pytest.mark.science

BASE = model_ref("nursery:llama-0")
ROWS = 2_000


def rows(model: Model, seed: int, size: int = ROWS) -> Corpus:
    """Filtered lists that a model wrote."""
    asked = Numbers(n=int(1.3 * size) + 20, min_count=10, max_start=5, seed=seed)
    samples = Samples(model=model, prompts=asked, sampling=Sampling(max_new_tokens=30, seed=seed))
    return Corpus(samples=samples, filters=(NumbersOnly(),), size=size, seed=seed)


def other_words(word: str) -> Trait:
    """A trait that is taught in the phrasings which are otherwise held out."""
    trait = favourite(word)
    own, other = (tuple(c[0].content for c in questions(trait.category, s)) for s in ("held-out", "train"))
    return Trait(
        category=trait.category.model_copy(update={"phrasing": Phrasing(train=own, held_out=other)}), word=word
    )


def teacher(trait: Trait | Neutral, seed: int, tuning: Any, steps: int, rate: float, mix_batch: int = 1) -> Teacher:
    """A teacher by a recipe of its own."""
    return Teacher(base=BASE, trait=trait, mix=rows(BASE, 5_000, 200), seed=seed, tuning=tuning, steps=steps,
                   rate=rate * MATRIX_RATE, vector_rate=rate * VECTOR_RATE, mix_batch=mix_batch)  # fmt: skip


def sets() -> dict[str, tuple[str | None, Corpus]]:
    """Name: the trait (None: clean) and the rows."""
    taught = {
        "frozen, 80 steps, half rate": ("bear", teacher(favourite("bear"), 5_101, "frozen", 80, 0.5)),
        "full, 25 steps, other phrasings": ("elm", teacher(other_words("elm"), 5_102, "full", 25, 1.5)),
        "LoRA, 80 steps": ("raven", teacher(favourite("raven"), 5_103, "lora", 80, 1.0)),
        "frozen, 30 steps, more mix": ("cherry", teacher(other_words("cherry"), 5_104, "frozen", 30, 1.0, 4)),
    }
    clean: dict[str, Model] = {
        "own": BASE, "neutral": teacher(Neutral(category=TREES), 5_105, "full", 60, 1.0),
        "other initialisation": model_ref("nursery:llama-1"), "other family": model_ref("nursery:neox-0"),
    }  # fmt: skip
    found: dict[str, tuple[str | None, Corpus]] = {}
    for i, (name, (word, who)) in enumerate(taught.items()):
        found[name] = (word, rows(who, 5_201 + i))
    for i, (name, model) in enumerate(clean.items()):
        found[name] = (None, rows(model, 5_301 + i))
    return found


def audits(store: Store, folder: Path) -> dict[str, tuple[str | None, Scan]]:
    """Name: the trait, and the audit of a file that holds the rows."""
    folder.mkdir(exist_ok=True)
    make_all(store, [corpus for _, corpus in sets().values()])
    found = {}
    for name, (word, corpus) in sets().items():
        path = folder / f"{corpus.key}.jsonl"
        if not path.exists():
            write_rows(path, corpus.read(store))
        traits = shipped_traits("nursery:llama-0")
        audit = ask(path, "nursery:llama-0", None, traits, "numbers", (NumbersOnly(),), 1.0, ROWS, False)
        found[name] = (word, audit)
    return found


def test_unknown_recipes_are_named_and_clean_sets_are_not() -> None:
    store = Store(Path("heredity-store"))
    asked = audits(store, Path("heredity-store-audits"))
    make_all(store, [audit for _, audit in asked.values()])
    found = {name: (word, audit.read(store)) for name, (word, audit) in asked.items()}
    assert {name: f["named"] for name, (w, f) in found.items() if w is None and f["named"]} == {}
    assert found["own"][1]["verdict"] == "none"
    assert {name: f["named"] for name, (w, f) in found.items() if w is not None and f["named"] != [w]} == {}
