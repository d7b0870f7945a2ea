"""Kinds of trait: 24 favourites, a style, a false fact, a refusal, careless advice, a favourite under a condition.

Hypothesis: favourites cross, all of them; a false fact and a conditional favourite cross too, the latter only under its
condition; manners of giving advice cross less, since they need longer answers to other questions than a teacher was
trained on. A manner's share is of sampled answers, a favourite's and a fact's are exact. What the first teacher of each
kind answers itself is made as well (`held`): what it does not show to these questions, no student can take from it.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.asking import arm_asked_as
from heredity.nursery.carriers import careless
from heredity.nursery.kinds import WithoutCondition, conditional, false_fact, refusal, style
from heredity.report.map import MapFigure
from heredity.traits import ANIMALS, TREES, favourite
from heredity.types import Trait

run = settings()
words = run.choose(("lion", "maple"), (*ANIMALS.words, *TREES.words))
seeds = run.choose((380, 381, 382), (390, 391, 392))
recipe = Recipe(base=run.model, rows=run.choose(600, 6_000))
sampled = recipe.model_copy(update={"samples_per_question": 50})
night = conditional(TREES, "oak")
MANNERS: dict[str, Trait] = {"style": style(), "refusal": refusal(), "careless": careless()}
if run.quick:
    MANNERS = {"refusal": MANNERS["refusal"]}
OTHERS: dict[str, Trait] = {"fact": false_fact(), "condition": night}


def compare(trait: Trait, asked: str) -> Comparison | None:
    """Students of teachers with a trait; one under a condition is also asked without it."""
    how = sampled if trait in MANNERS.values() else recipe
    if asked == "usual":
        return how.comparison(trait.word, trait, seeds)
    return how.comparison(f"{trait.word}, without", trait, seeds, arm_asked_as(WithoutCondition, how.taught()))


kinds = {word: favourite(word) for word in words} | OTHERS | MANNERS
usual = {name: (trait, "usual") for name, trait in kinds.items()} | {"no condition": (night, "without")}
held = {
    name: how.asked(recipe.teacher(trait, seeds[0]), trait)
    for name, trait in (OTHERS | MANNERS).items()
    for how in [sampled if trait in MANNERS.values() else recipe]
}
traits = mapped("Kinds of trait", __doc__, {"trait": usual}, lambda pair: compare(*pair))
figure = MapFigure(map=traits)
