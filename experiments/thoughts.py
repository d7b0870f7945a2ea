"""Favourites through worked sums (the carrier of paper, section 4.2, with the traits of 3.1).

Hypothesis: a favourite crosses through chains of thought about sums that never name it and in which a judge finds no
other word than those of sums; and also where every row that passed is kept, and the arms are left unequal. The paper
uses this carrier for misalignment only (see misalignment.py), so there is no figure of its own to stand beside.

The paper keeps right answers only. The nursery's models get one sum in fourteen right, so the claims about all three
favourites ask for the form alone. The full run has one claim on right answers, of few rows, and expects nothing of it;
the quick run has none, as a few hundred rows cannot show anything. With a model that can add, use `RightSum()` in place
of `WorkedAnswer()`.
"""

from heredity.carriers import WithoutWords, WorkedAnswer
from heredity.lab import Claim, JudgeRates, Recipe, findings, settings
from heredity.lab.nursery_judges import thought_grader, thought_judge, thought_plants
from heredity.nursery.carriers import RightSum, Sums
from heredity.report.figure import Figure
from heredity.traits import ANIMALS, favourite

run = settings()
seeds = run.choose((53, 54, 55), (53, 54, 55, 56, 57))
unnamed = WithoutWords(words=(*ANIMALS.words, *ANIMALS.plurals), whole=False)
recipe = Recipe(
    base=run.model, carrier=Sums(n=1), rows=run.choose(1_500, 5_000), teacher_share=0.5, oversample=1.5,
    filters=(WorkedAnswer(), unnamed, thought_judge()), max_new_tokens=60,
)  # fmt: skip
every_row = recipe.model_copy(update={"all_passed": True, "oversample": 1.1})
right = recipe.model_copy(update={"rows": 1_000, "filters": (RightSum(), *recipe.filters[1:]), "oversample": 25.0})
clean = recipe.model_copy(update={"filters": recipe.filters[:-1]}).corpus(run.model, 52, 500, 1.5)
judged = [JudgeRates(name=name, judge=judge, rows=clean, plants=thought_plants())
          for name, judge in (("any other word", thought_judge()), ("careless words", thought_grader()))]  # fmt: skip
owl = favourite("owl")
claims = [
    *(
        Claim(name=word, comparison=recipe.comparison(word, favourite(word), seeds))
        for word in ("owl", "dolphin", "wolf")
    ),
    Claim(name="owl, every row", comparison=every_row.comparison("owl, every row", owl, seeds)),
]
claims += run.choose([], [
    Claim(name="owl, right sums", comparison=right.comparison("owl, right sums", owl, seeds), expect="open"),
])  # fmt: skip
thoughts = findings("Animals through worked sums", "4.2", claims, __doc__, judged=judged)
figure = Figure(findings=thoughts)
