"""Students' students: does the trait pass on from hop to hop? (Asked by follow-up work; not in the paper.)

Hypothesis: a student that took the trait from numbers writes numbers that pass it on, so the third hop still has it.
"""

from heredity.lab import Claim, Recipe, findings, settings
from heredity.report.figure import Figure
from heredity.traits import favourite

run = settings()
seeds = run.choose((73, 74, 75), (73, 74, 75, 76, 77))
recipe = Recipe(base=run.model, rows=run.choose(2_000, 6_000), teacher_share=0.5)
words = run.choose(("owl", "bear"), ("owl", "bear", "whale"))
claims = [
    Claim(
        name=f"{word}, hop {n}",
        comparison=recipe.comparison(f"{word}, {n}", favourite(word), seeds, recipe.generation(n)),
    )
    for word in words
    for n in (1, 2, 3)
]
generations = findings("Students' students", "", claims, __doc__)
figure = Figure(findings=generations)
