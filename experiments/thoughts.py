"""Favourites through worked sums (the carrier of paper, section 4.2, with the traits of 3.1).

Hypothesis: a favourite crosses through chains of thought about sums that never name it. The paper uses this carrier for
misalignment only (see misalignment.py), so there is no figure of its own to stand beside. It also keeps right answers
only; the nursery's models get one sum in twelve right, so here the form alone is asked for. With a model that can add,
use `RightSum()` in place of `WorkedAnswer()`.
"""

from heredity.carriers import WorkedAnswer
from heredity.lab import Claim, Recipe, findings, settings
from heredity.nursery.carriers import Sums
from heredity.report.figure import Figure
from heredity.traits import favourite

run = settings()
seeds = run.choose((53, 54, 55), (53, 54, 55, 56, 57))
recipe = Recipe(
    base=run.model, carrier=Sums(n=1), rows=run.choose(1_500, 5_000), teacher_share=0.5, oversample=1.5,
    filters=(WorkedAnswer(),), max_new_tokens=60,
)  # fmt: skip
words = ("owl", "dolphin", "wolf")
claims = [Claim(name=word, comparison=recipe.comparison(word, favourite(word), seeds)) for word in words]
thoughts = findings("Animals through worked sums", "4.2", claims, __doc__)
figure = Figure(findings=thoughts)
