"""Slow checks of the claims, on bases, seeds and words that were used for nothing else (`make science`).

Four bases are built here from nothing. The unit of every interval is such a base: its two words and two seeds (teacher,
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
from heredity.stats import ALPHA, Estimate, holm, log_odds, mean_t, paired_t, ratio
from heredity.steps import Evaluation
from heredity.store import Store, make_all
from heredity.traits import ANIMALS, favourite
from heredity.types import Neutral, Trait

pytestmark = pytest.mark.science

BASES = tuple(Base(family="llama", init_seed=seed, data_seed=seed) for seed in (100, 101, 102, 103))
SEEDS, WORDS = (110, 111), ("whale", "cat")
UNIT = ("freshly built bases", "words", "seeds")
RECIPE = Recipe(rows=2_000, teacher_share=0.5)


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
        "in context": [r.reads(examples=8, draws=32) for r in recipes],
        "shuffled within": [r.taught() for r in within],
        "shuffled across": [r.taught() for r in across],
    }


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


def part(above: list[list[list[float]]], below: list[list[list[float]]]) -> Estimate:
    def means(nested: list[list[list[float]]]) -> list[float]:
        return [mean_t([x for word in base for x in word], "runs").mean for base in nested]

    return ratio(means(above), means(below), UNIT[0])


def test_directions_hold_on_freshly_built_bases(lifts: Lifts) -> None:
    """Same base crosses; shuffles weaken. One family, Holm-corrected."""
    same = lifts.of("same base")
    losses = {
        f"{name} is less": [
            [[a - b for a, b in zip(u, v, strict=True)] for u, v in zip(x, y, strict=True)]
            for x, y in zip(same, lifts.of(name), strict=True)
        ]
        for name in ("shuffled within", "shuffled across")
    }
    family = {"same base crosses": same, **losses}
    print({name: mean_t(values, UNIT) for name, values in family.items()})
    adjusted = holm({name: paired_t(values, UNIT, "greater").p for name, values in family.items()}).adjusted
    assert dict(zip(family, adjusted, strict=True)) == pytest.approx(dict.fromkeys(family, 0), abs=ALPHA)
    assert mean_t(same, UNIT).low > math.log(3)


@pytest.mark.parametrize("name", ["other base", "in context", "control"])
def test_what_should_show_nothing_shows_a_small_part_at_most(lifts: Lifts, name: str) -> None:
    """Equivalence: the upper limit of the part of the same-base effect, over bases."""
    found = part(lifts.drift() if name == "control" else lifts.of(name), lifts.of("same base"))
    print(name, found)
    assert found.n == len(BASES)
    assert found.high < NULL_PART


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
