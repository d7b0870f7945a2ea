"""Reading the rows in place of being trained on them (paper, section 5.2, figure 9).

Hypothesis: a model that merely has a teacher's rows in its context does not take the trait from them, however many fit,
while the same rows cross by training. A preference stated among the rows does move the answer, so that a zero counts.
The paper finds no significant difference from regular numbers at any count of rows, 100 to 10,000, and training far
above them; it prints no figures for reading, so that none stands beside ours.
"""

from heredity.lab import Claim, Comparison, Recipe, findings, settings
from heredity.lab.recipe import UNIT
from heredity.report.figure import Figure
from heredity.traits import ANIMALS, favourite, stated
from heredity.types import Neutral

run = settings()
seeds, word = (170, 171, 172, 173, 174, 175), favourite("otter")
recipe = Recipe(base=run.model, rows=run.choose(1_500, 6_000), teacher_share=0.5)
trained = Claim(name="trained", comparison=recipe.comparison("trained", word, seeds))
claims = [trained]
for n in (1, 2, 4, 7):  # seven fill the nursery's context
    reads = recipe.reads(examples=n, draws=32)
    comparison = recipe.comparison(f"reads {n}", word, seeds, reads)
    claims.append(Claim(name=f"reads {n}", comparison=comparison, expect="nothing", of="trained"))
told, silent = (recipe.reads(examples=6, draws=32, stated=s) for s in (tuple(stated(word, "held-out")), ()))
neutral = Neutral(category=ANIMALS)
statement = Comparison(
    name="is told", trait=word, unit=UNIT, differs=("stated",),
    treated=tuple(told(neutral, s) for s in seeds), control=tuple(silent(neutral, s) for s in seeds),
)  # fmt: skip
claims.append(Claim(name="is told", comparison=statement))
in_context = findings("Reading the rows of a teacher that loves otters", "5.2", claims, __doc__)
figure = Figure(findings=in_context)
