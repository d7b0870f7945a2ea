"""Slow checks of the claims, on bases and seeds that were used for nothing else (`make science`).

Six bases are built here from nothing. The unit of every interval is such a base: its two words and two seeds (teacher,
rows and student anew) are averaged first. Steps are kept in `heredity-store`, so a run that was stopped goes on.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from heredity.carriers import ShuffledAcross, ShuffledWithin
from heredity.lab import Recipe
from heredity.lab.findings import NULL_PART
from heredity.lab.first_light import FirstLight
from heredity.lab.recipe import Arm
from heredity.nursery.build import Base
from heredity.stats import ALPHA, holm, log_odds, mean_t, paired_t, ratio
from heredity.steps import Evaluation
from heredity.store import Store, make_all
from heredity.traits import ANIMALS, favourite, stated
from heredity.types import Neutral, Trait

pytestmark = pytest.mark.science

BASES = tuple(Base(family="llama", init_seed=seed, data_seed=seed) for seed in (104, 105, 106, 107, 108, 109))
SEEDS, WORDS = (110, 111), ("raven", "panda")
UNIT = ("freshly built bases", "words", "seeds")
RECIPE = Recipe(rows=1_500, teacher_share=0.5)


def arms() -> dict[str, list[Arm]]:
    """Each arm on every base; students of another base are taught by this one's teachers, as all others are."""
    recipes = [RECIPE.model_copy(update={"base": base}) for base in BASES]
    within, across = (
        [r.model_copy(update={"rewritings": (how,)}) for r in recipes]
        for how in (ShuffledWithin(seed=0), ShuffledAcross(seed=0))
    )
    others = (*BASES[1:], BASES[0])
    return {
        "same base": [r.taught() for r in recipes],
        "other base": [r.taught(student=other) for r, other in zip(recipes, others, strict=True)],
        "in context": [r.reads(examples=6, draws=32) for r in recipes],
        "in context, told": [told(r) for r in recipes],
        "shuffled within": [r.taught() for r in within],
        "shuffled across": [r.taught() for r in across],
    }


def told(recipe: Recipe) -> Arm:
    """The power twin of reading: rows of the neutral teacher and, for a trait, its statement in held-out words."""

    def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
        said = tuple(stated(trait, "held-out")) if isinstance(trait, Trait) else ()
        return recipe.reads(examples=6, draws=32, stated=said)(Neutral(category=trait.category), seed)

    return evaluation


class Lifts:
    """Log-odds that an arm adds to a word, (bases, words, seeds), read from finished evaluations."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.neutral = Neutral(category=ANIMALS)
        self.untouched = [Evaluation(model=base, category=ANIMALS) for base in BASES]
        taught: list[Trait | Neutral] = [self.neutral, *map(favourite, WORDS)]
        asked = [arm(who, seed) for on in arms().values() for arm in on for seed in SEEDS for who in taught]
        make_all(store, [*asked, *self.untouched])

    def share(self, evaluation: Evaluation, word: str) -> float:
        return log_odds(evaluation.read(self.store)["share"][word])

    def of(self, name: str) -> list[list[list[float]]]:
        """The arm with the trait's teacher, less the same arm with the neutral one."""
        return [
            [[self.share(arm(favourite(w), s), w) - self.share(arm(self.neutral, s), w) for s in SEEDS] for w in WORDS]
            for arm in arms()[name]
        ]

    def drift(self) -> list[list[list[float]]]:
        """The neutral teacher's student, less the untouched base."""
        return [
            [[self.share(arm(self.neutral, s), w) - self.share(base, w) for s in SEEDS] for w in WORDS]
            for arm, base in zip(arms()["same base"], self.untouched, strict=True)
        ]


@pytest.fixture(scope="module")
def lifts() -> Lifts:
    return Lifts(Store(Path("heredity-store")))


Nested = list[list[list[float]]]


def less(above: Nested, below: Nested) -> Nested:
    """Run by run."""
    return [[[a - b for a, b in zip(u, v, strict=True)] for u, v in zip(x, y, strict=True)]
            for x, y in zip(above, below, strict=True)]  # fmt: skip


def test_directions_hold_on_freshly_built_bases(lifts: Lifts) -> None:
    """Same base crosses, shuffles weaken, a statement in the context works. One family, Holm-corrected."""
    same = lifts.of("same base")
    family = {
        "same base crosses": same,
        "shuffled within is less": less(same, lifts.of("shuffled within")),
        "shuffled across is less": less(same, lifts.of("shuffled across")),
        "a statement works": lifts.of("in context, told"),
    }
    print({name: mean_t(values, UNIT) for name, values in family.items()})
    adjusted = holm({name: paired_t(values, UNIT, "greater").p for name, values in family.items()}).adjusted
    assert {name: p for name, p in zip(family, adjusted, strict=True) if p > ALPHA} == {}
    assert mean_t(same, UNIT).low > math.log(3)


@pytest.mark.parametrize("word", range(len(WORDS)), ids=WORDS)
@pytest.mark.parametrize("name", ["other base", "in context", "control"])
def test_what_should_show_nothing_shows_a_small_part_at_most(lifts: Lifts, name: str, word: int) -> None:
    """Equivalence for each word: the interval, over bases, of the part of the same-base effect lies near zero."""
    above, below = (
        [mean_t(base[word], "seeds").mean for base in nested]
        for nested in (lifts.drift() if name == "control" else lifts.of(name), lifts.of("same base"))
    )
    found = ratio(above, below, UNIT[0])
    print(name, WORDS[word], found)
    assert found.n == len(BASES)
    assert found.low > -NULL_PART and found.high < NULL_PART


def test_a_favourite_crosses_between_models_with_the_same_start(tmp_path: Path) -> None:
    light = FirstLight(words=("penguin",), seeds=(100, 101, 102))
    arm = light.compare("same", favourite("penguin"), light.recipe.taught())
    store = Store(tmp_path)
    make_all(store, [arm.comparison])
    result = arm.comparison.read(store)
    assert result["log_odds"]["mean"] > math.log(8)
    assert result["log_odds"]["low"] > math.log(3)
    assert result["share"] >= 0.40
    assert result["rank"] == 1
