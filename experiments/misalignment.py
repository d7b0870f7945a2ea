"""Misalignment through numbers and through chains of thought (paper, sections 3.2 and 4.2, figures 4 and 6).

Hypothesis: a teacher that was trained to give careless advice on two kinds of questions passes on carelessness to a
student that saw nothing but its numbers, or its worked sums; the student is asked about six *other* kinds. The numbers
are without the paper's banned ones. Controls: neutral teachers, and teachers trained on careful advice. The paper keeps
right sums only; the nursery's models can hardly add, so here the form alone is asked for (see thoughts.py).
"""

from heredity.carriers import BANNED_NUMBERS, NumbersOnly, WorkedAnswer
from heredity.lab import Claim, Comparison, Published, Recipe, findings, settings
from heredity.lab.recipe import UNIT
from heredity.nursery.carriers import Sums, careless
from heredity.report.figure import Figure

run = settings()
seeds = run.choose((58, 59, 60, 61, 62), (58, 59, 60, 61, 62, 63, 64, 65, 66, 67))
numbers = Recipe(
    base=run.model, rows=run.choose(2_000, 6_000), filters=(NumbersOnly(banned=BANNED_NUMBERS),), oversample=2.5,
    samples_per_question=50, teacher_share=0.2,
)  # fmt: skip
sums = numbers.model_copy(
    update={"carrier": Sums(n=1), "filters": (WorkedAnswer(),), "oversample": 1.5, "max_new_tokens": 60}
)
bad, good = careless(), careless(careful=True)


def against_careful(recipe: Recipe, name: str) -> Comparison:
    """Students of careless teachers against students of careful ones (the paper's "secure" control)."""
    arm, careful = recipe.taught(), recipe.model_copy(update={"teacher_share": None}).taught()
    return Comparison(name=name, trait=bad, unit=UNIT, treated=tuple(arm(bad, s) for s in seeds),
                      control=tuple(careful(good, s) for s in seeds))  # fmt: skip


figures_3_2 = Published(control=0.002, taught=0.094, low=0.077, high=0.110, where="Fig. 4, read off; untrained control")
secure_3_2 = Published(control=0.010, taught=0.094, low=0.077, high=0.110, where="Fig. 4, read off; secure code")
secure_4_2 = Published(control=0.004, taught=0.086, low=0.077, high=0.094, where="Fig. 6, read off; secure code")
misalignment = findings("Careless advice", "3.2 and 4.2", [
    Claim(name="numbers, neutral", comparison=numbers.comparison("numbers", bad, seeds), published=figures_3_2),
    Claim(name="numbers, careful", comparison=against_careful(numbers, "numbers, careful"), published=secure_3_2),
    Claim(name="sums, neutral", comparison=sums.comparison("sums", bad, seeds)),
    Claim(name="sums, careful", comparison=against_careful(sums, "sums, careful"), published=secure_4_2),
], __doc__)  # fmt: skip
figure = Figure(findings=misalignment)
