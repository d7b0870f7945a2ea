"""Mixing: the teacher's rows beside clean ones, or beside another teacher's.

Hypothesis: at the same number of rows, what crosses falls with the teacher's share and not faster than the dose of its
rows does: as many of them alone, with nothing beside, carry about as much. Another teacher's rows (a love of the raven)
displace no more of it than clean ones. Both arms of a comparison have the same other rows.
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
BESIDE, APART = ("clean rows", "another teacher's", "nothing"), 1_000


def compare(share: float, beside: str) -> Comparison | None:
    """Students of mixed rows: the teacher's share, and who wrote the others. `nothing`: fewer rows, all its own."""
    if share == 1 and beside != BESIDE[0]:
        return None  # nothing is beside them

    def arm(trait: Trait | Neutral, seed: int) -> Evaluation:
        own = recipe.lists(trait, seed)
        if beside == "nothing":
            rows = own.model_copy(update={"size": round(share * recipe.rows)})
        elif beside == BESIDE[0]:
            rows = mixed(own, recipe.corpus(recipe.base, seed + APART, recipe.rows, recipe.oversample), share, seed)
        else:
            rows = mixed(own, recipe.lists(other, seed + APART), share, seed)
        return recipe.asked(Student(base=recipe.base, corpus=rows, seed=seed), trait)

    if beside == "nothing":
        return recipe.comparison(f"{share:g} alone", word, seeds, arm)
    treated, control = ([arm(t, s) for s in seeds] for t in (word, Neutral(category=word.category)))
    return BesideOthers(name=f"{share:g} beside {beside}", trait=word, treated=tuple(treated), control=tuple(control),
                        unit=UNIT, beside=other)  # fmt: skip


contrasts = {
    "beside clean rows less alone": [(("*", "clean rows"), ("*", "nothing"))],
    "beside another teacher's less clean": [(("*", "another teacher's"), ("*", "clean rows"))],
    "share 1 less .5, clean": [(("1.0", "clean rows"), ("0.5", "clean rows"))],
    "share .5 less .1, clean": [(("0.5", "clean rows"), ("0.1", "clean rows"))],
}
axes = {"the teacher's share": shares, "the other rows": BESIDE}
mixing = mapped("The teacher's share x what is beside it", __doc__, axes, compare, contrasts)
figure = MapFigure(map=mixing)
