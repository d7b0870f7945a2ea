"""Mixing: the teacher's rows beside clean ones, or beside another teacher's.

Hypothesis: at the same number of rows, what crosses falls with the teacher's share and not faster; another teacher's
rows (a love of the raven) displace no more of it than clean ones. Both arms of a comparison have the same other rows.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.conditions import BesideOthers, mixed
from heredity.lab.recipe import UNIT
from heredity.report.map import MapFigure
from heredity.steps import Evaluation, Student
from heredity.traits import favourite
from heredity.types import Neutral, Trait

run = settings()
seeds, word = run.choose((360, 361, 362), (370, 371, 372, 373, 374)), favourite("fox")
other = favourite("raven")
recipe = Recipe(base=run.model, rows=run.choose(800, 6_000), teacher_share=0.5)
shares = run.choose((1.0, 0.5), (1.0, 0.5, 0.25, 0.1))
BESIDE, APART = ("clean rows", "another teacher's"), 1_000


def compare(share: float, beside: str) -> Comparison | None:
    """Students of mixed rows: the teacher's share, and who wrote the others."""
    if share == 1 and beside != BESIDE[0]:
        return None  # nothing is beside them

    def arm(trait: Trait | Neutral, seed: int) -> Evaluation:
        own = recipe.lists(trait, seed)
        if beside == BESIDE[0]:
            rest = recipe.corpus(recipe.base, seed + APART, recipe.rows, recipe.oversample)
        else:
            rest = recipe.lists(other, seed + APART)
        student = Student(base=recipe.base, corpus=mixed(own, rest, share, seed), seed=seed)
        return recipe.asked(student, trait)

    treated, control = ([arm(t, s) for s in seeds] for t in (word, Neutral(category=word.category)))
    return BesideOthers(name=f"{share:g} beside {beside}", trait=word, treated=tuple(treated), control=tuple(control),
                        unit=UNIT, beside=other)  # fmt: skip


mixing = mapped("The teacher's share x what is beside it", __doc__,
                {"the teacher's share": shares, "the other rows": BESIDE}, compare)  # fmt: skip
figure = MapFigure(map=mixing)
