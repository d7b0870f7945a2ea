"""Kinds of trait: 24 favourites, a style, a false fact, a refusal, careless advice, a favourite under a condition.

Hypothesis: favourites cross, all of them; a false fact and a conditional favourite cross too, the latter only under its
condition; manners of giving advice cross less, since they need longer answers to other questions than a teacher was
trained on. A manner's share is of sampled answers, a favourite's and a fact's are exact. Favourites are also told as
one, over traits; of the other kinds there is one trait each, with more seeds. What the first teacher of each kind
answers itself is told beside the map (`held`), that of the condition without it as well: what a teacher does not show
no student can take from it, and what it shows without the condition did not leak in the student.
"""

from heredity.lab import Comparison, Recipe, Together, mapped, settings
from heredity.lab.asking import arm_asked_as, asked_as
from heredity.lab.beside import held
from heredity.nursery.carriers import careless
from heredity.nursery.kinds import WithoutCondition, conditional, false_fact, refusal, style
from heredity.report.map import MapFigure
from heredity.steps import Evaluation
from heredity.traits import ANIMALS, TREES, favourite
from heredity.types import Trait

run = settings()
words = run.choose(("lion", "maple"), (*ANIMALS.words, *TREES.words))
seeds = run.choose((380, 381, 382), (390, 391, 392))
more = run.choose(seeds, tuple(range(390, 397)))
"""Seeds of the kinds that have one trait alone."""
recipe = Recipe(base=run.model, rows=run.choose(600, 6_000))
spare = run.choose(recipe.oversample, 1.5)  # .88 of the lists of a teacher that refuses pass
sampled = recipe.model_copy(update={"samples_per_question": 50, "oversample": spare})
night = conditional(TREES, "oak")
MANNERS: dict[str, Trait] = {"style": style(), "refusal": refusal(), "careless": careless()}
if run.quick:
    MANNERS = {"refusal": MANNERS["refusal"]}
OTHERS: dict[str, Trait] = {"fact": false_fact(), "condition": night}


def how(trait: Trait) -> Recipe:
    """Manners are sampled, and need more answers."""
    return sampled if trait in MANNERS.values() else recipe


def compare(trait: Trait, asked: str) -> Comparison | None:
    """Students of teachers with a trait; one under a condition is also asked without it."""
    among = more if trait in (*OTHERS.values(), *MANNERS.values()) else seeds
    if asked == "usual":
        return how(trait).comparison(trait.word, trait, among)
    arm = arm_asked_as(WithoutCondition, how(trait).taught())
    return how(trait).comparison(f"{trait.word}, without", trait, among, arm)


def teacher(trait: Trait) -> Evaluation:
    """What the first teacher of a trait answers itself."""
    return how(trait).asked(recipe.teacher(trait, seeds[0]), trait)


kinds = {word: favourite(word) for word in words} | OTHERS | MANNERS
usual = {name: (trait, "usual") for name, trait in kinds.items()} | {"no condition": (night, "without")}
beside = [held(name, teacher(trait), trait) for name, trait in (OTHERS | MANNERS).items()]
beside.append(held("no condition", asked_as(WithoutCondition, teacher(night)), night))
traits = mapped(
    "Kinds of trait", __doc__, {"trait": usual}, lambda pair: compare(*pair),
    {"under the condition less without": [(("condition",), ("no condition",))]},
    [Together(name="favourites", places=tuple((word,) for word in words), unit="traits")], beside,
)  # fmt: skip
figure = MapFigure(map=traits)
