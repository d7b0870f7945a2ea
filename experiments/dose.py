"""Dose and response (extends the paper's section 3.1): what makes more or less of a trait cross?

Hypothesis: the effect grows with the number of different rows at the same number of passes over them, and crosses at
the same number of steps however few they are. Full fine-tuning passes it as well as a frozen head does (published
follow-ups say that it passes nothing). A filter that also drops unwelcome numbers does not remove it. Open: whether
rows written at a lower temperature show more of the teacher, and what adapters of one rate pass (they leave the norms'
scales alone, so that rank is not all that changes). Every dial is turned alone.
"""

from typing import Any

from heredity.carriers import BANNED_NUMBERS, NumbersOnly
from heredity.lab import Claim, Recipe, findings, settings
from heredity.lab.dose import Turn, same_teachers, turned
from heredity.lab.findings import Expectation
from heredity.lab.first_light import LORA_RATE
from heredity.report.dose import DoseFigure
from heredity.steps import MATRIX_RATE, VECTOR_RATE
from heredity.traits import favourite
from heredity.types import LoRA

run = settings()
seeds, word = run.choose((85, 86, 87), (85, 86, 87, 88, 89)), favourite("tiger")
middle = run.choose(600, 3_000)
sizes = run.choose((150, 300, 600, 1_200), (375, 750, 1_500, 3_000, 6_000, 12_000))
recipe = Recipe(base=run.model, rows=middle, teacher_share=0.5)


def claim(name: str, how: Recipe, expect: Expectation = "open", of: str | None = None, **fields: Any) -> Claim:
    """Students of the very same teachers, however these write and whatever is done to their rows."""
    comparison = how.comparison(name, word, seeds, same_teachers(recipe, how, **fields))
    return Claim(name=name, comparison=comparison, expect=expect, of=of)


def rows(n: int, epochs: int = 3) -> Claim:
    """Fewer rows than the most show less of the trait."""
    less = n < max(sizes) and epochs == 3
    name = f"{n} rows" if epochs == 3 else f"{n} rows x {epochs}"
    taken = recipe.model_copy(update={"rows": n})
    return claim(name, taken, "less" if less else "up", f"{max(sizes)} rows" if less else None, epochs=epochs)


def rate(times: float) -> Claim:
    """Both of a student's rates, by the same factor."""
    return claim(f"rate x {times:g}", recipe, rate=times * MATRIX_RATE, vector_rate=times * VECTOR_RATE)


def written(heat: float) -> Claim:
    """Rows that the teacher wrote at a temperature; at a high one more of its answers are dropped."""
    more = {"oversample": 2.0} if heat > 1 else {}
    return claim(f"temperature {heat:g}", recipe.model_copy(update={"temperature": heat} | more))


rates = run.choose((0.25, 1.0, 4.0), (0.0625, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0))
ranks, heats = run.choose((2, 8), (1, 2, 4, 8, 16, 32)), run.choose((0.5, 1.0, 1.5), (0.25, 0.5, 0.75, 1.0, 1.25, 1.5))
adapters = [Turn(str(r), r, claim(f"LoRA {r}", recipe, tuning=LoRA(rank=r), rate=LORA_RATE)) for r in ranks]
whole = [Turn("frozen head", 128, rows(middle)), Turn("full", 256, claim("full", recipe, "up", tuning="full"))]
loose = recipe.model_copy(update={"filters": ()})
strict = recipe.model_copy(update={"filters": (NumbersOnly(banned=BANNED_NUMBERS),), "oversample": 2.0})
none = run.choose([], [Turn("none", 0, claim("no filter", loose))])
usual = [Turn("as usual", 1, rows(middle)), Turn("no banned\nnumbers", 2, claim("no banned numbers", strict, "up"))]

doses, claims = turned({
    "different rows, 3 epochs": [Turn(str(n), n, rows(n)) for n in sizes],
    "different rows, same steps": [Turn(str(n), n, rows(n, 3 * middle // n)) for n in sizes if n <= middle],
    "rate": [Turn(f"x {times:g}", times, rate(times)) for times in rates],
    "rank, or what moves": adapters + whole,
    "temperature": [Turn(f"{heat:g}", heat, written(heat)) for heat in heats],
    "filter": usual + none,
}, evenly=("temperature", "filter"))  # fmt: skip
dose = findings("Dose and response", "3.1", claims, __doc__)
figure = DoseFigure(findings=dose, doses=doses)
