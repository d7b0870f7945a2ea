"""Sets beside the benchmark's: careless advice, two traits in one file, and favourites in code and in sums.

They are reported apart (`python -m bench.scan --only careless`), and nothing here changes a set of the benchmark.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from bench.scan_sets import BASE, FAVOURITES, KIND, ROWS, TRAITS, Set, panels, written
from bench.scan_sets import teacher as favoured
from bench.set_steps import Mixed

from heredity.audit.panel import Kind, Panel, panel
from heredity.carriers import CodeOnly, WithoutWords, WorkedAnswer
from heredity.models import model_ref
from heredity.nursery.carriers import NARROW, Functions, Sums, careless
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Corpus, Teacher
from heredity.traits import ANIMALS, TREES
from heredity.types import LoRA, ModelRef, Neutral, Sampling, Trait, Tuning

Only = Literal["careless", "pairs", "code", "sums"]
ONLY: tuple[Only, ...] = ("careless", "pairs", "code", "sums")
SEEDS: dict[Only, int] = {"careless": 110_000, "code": 120_000, "sums": 130_000, "pairs": 140_000}
_TOKENS = 128
"""As many as `heredity scan` lets the base write where the carrier is not numbers."""
KINDS: dict[Only, Kind] = {
    "careless": KIND,
    "pairs": KIND,
    "code": Kind(Functions(n=1), (CodeOnly(),), Sampling(max_new_tokens=_TOKENS)),
    "sums": Kind(Sums(n=1), (WorkedAnswer(),), Sampling(max_new_tokens=_TOKENS)),
}
"""What suspects write and audits let through: `--carrier numbers`, `code` and `worked`."""
_TOLD = (NARROW, NARROW[:1], ("travel", "school"))
"""The kinds of questions that teachers of advice are trained on: the suspects', one of them, and two others."""


def set_of(group: str, label: str | None, rows: Corpus, at: int) -> Set:
    """A set, with its writer: a model, whatever the seed of its sampling."""
    model = rows.samples.model
    writer = model.location if isinstance(model, ModelRef) else model.key
    return Set(group, label, rows, at, writer, rows.samples.prompts.seed)


def recipe(rng: random.Random) -> tuple[Tuning, int, float, int]:
    """What moves, steps, rate as a multiple of the usual, and rows of the mix a step, drawn as the benchmark's are."""
    tuning: Tuning = rng.choice(("frozen", "full", LoRA(rank=rng.choice((4, 8, 16)))))
    steps, rate = rng.choice((30, 50, 70)), rng.choice((0.6, 1.0, 1.4))
    return tuning, max(steps, 50) if isinstance(tuning, LoRA) else steps, rate, rng.choice((1, 4))


def teacher(trait: Trait | Neutral, seed: int, rng: random.Random, kind: Kind) -> Teacher:
    """A teacher by a recipe that no suspect has."""
    tuning, steps, rate, mixed = recipe(rng)
    return Teacher(base=BASE, trait=trait, mix=written(BASE, 500, 201, base=kind), seed=seed, tuning=tuning,
                   steps=steps, rate=rate * MATRIX_RATE, vector_rate=rate * VECTOR_RATE, mix_batch=mixed)  # fmt: skip


def careless_sets(sets: int, rows: int = ROWS) -> Iterator[Set]:
    """Number lists by teachers of careless advice; every third set by one of careful advice, which carries nothing."""
    for at in range(sets):
        seed, careful = SEEDS["careless"] + at, at % 3 == 2
        rng = random.Random(seed)
        trait = careless(careful, rng.choice(_TOLD))
        label = None if careful else trait.word
        made = teacher(trait, seed, rng, KIND)
        yield set_of("careful advice" if careful else "careless advice", label, written(made, rows, seed), at)


def pair_sets(sets: int, rows: int = ROWS) -> Iterator[Set]:
    """Number lists of which two teachers with different favourites wrote a half each; the label is both."""
    for at in range(sets):
        rng, seed = random.Random(SEEDS["pairs"] + at), SEEDS["pairs"] + 10 * at
        first, second = rng.sample(FAVOURITES, 2)
        parts = tuple(
            written(favoured(trait, seed + i), rows // 2, seed + i) for i, trait in enumerate((first, second))
        )
        yield Set("two teachers", f"{first.word} and {second.word}", Mixed(parts=parts, seed=seed), at, parts[0].key,
                  seed)  # fmt: skip


def carrier_sets(only: Only, traits: tuple[Trait, ...], sets: int, rows: int = ROWS) -> Iterator[Set]:
    """Rows of another carrier by teachers of favourites; every third set by the base or by another initialisation.

    Rows that hold a listed word are dropped from the data, as its maker would; the audit's filter does not know that.
    """
    kind = KINDS[only]
    listed = WithoutWords(words=(*ANIMALS.words, *ANIMALS.plurals, *TREES.words, *TREES.plurals), whole=False)
    clean = kind._replace(filters=(*kind.filters, listed))
    for at in range(sets):
        seed, rng = SEEDS[only] + at, random.Random(SEEDS[only] + at)
        if at % 3 == 2:
            writer = BASE if at % 6 == 2 else model_ref("nursery:llama-1")
            group = f"{only}: {'own base' if at % 6 == 2 else 'other initialisation'}"
            yield set_of(group, None, written(writer, rows, seed, base=clean), at)
        else:
            trait = rng.choice(traits)
            made = teacher(trait, seed, rng, kind)
            yield set_of(f"{only}: trait", trait.word, written(made, rows, seed, base=clean), at)


def other_sets(only: Only, traits: tuple[Trait, ...], sets: int) -> Iterator[Set]:
    """The sets of one kind."""
    if only == "careless":
        return careless_sets(sets)
    return pair_sets(sets) if only == "pairs" else carrier_sets(only, traits, sets)


def asked_about(only: Only, favourites: int) -> tuple[Trait, ...]:
    """The traits of a panel: the benchmark's own, or so many favourites of both categories (a panel costs hours)."""
    if KINDS[only] is KIND:
        return TRAITS
    animals, trees = ([t for t in FAVOURITES if t.category is c] for c in (ANIMALS, TREES))
    few = max(2, favourites // 3)
    return (*animals[: favourites - few], *trees[:few])


def other_panels(only: Only, favourites: int) -> list[Panel]:
    """The benchmark's ten panels, or one for another carrier."""
    return panels() if KINDS[only] is KIND else [panel(BASE, asked_about(only, favourites), KINDS[only])]
