"""Dose and response (extends the paper's section 3.1): what makes more or less of a trait cross?

Hypothesis: the effect grows with the number of different rows at the same number of passes over them, and crosses at
the same number of steps however few they are. Full fine-tuning passes it as well as a frozen head does (published
follow-ups say that it passes nothing). A filter that also drops unwelcome numbers does not remove it. Open: whether
rows written at a lower temperature show more of the teacher, and what adapters of one rate pass (they leave the norms'
scales alone, so that rank is not all that changes). Every dial is turned alone.
"""

from collections.abc import Sequence
from typing import Any

from heredity.carriers import BANNED_NUMBERS, NumbersOnly
from heredity.lab import Claim, Doses, Recipe, findings, settings
from heredity.lab.dose import Dial, Level, level
from heredity.lab.findings import Expectation
from heredity.lab.first_light import LORA_RATE
from heredity.lab.recipe import Arm
from heredity.report.dose import DoseFigure
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Evaluation, Student
from heredity.traits import favourite
from heredity.types import LoRA, Neutral, Trait

run = settings()
seeds, word = run.choose((85, 86, 87), (85, 86, 87, 88, 89)), favourite("tiger")
middle = run.choose(600, 3_000)
sizes = run.choose((150, 300, 600, 1_200), (375, 750, 1_500, 3_000, 6_000, 12_000))
recipe = Recipe(base=run.model, rows=middle, teacher_share=0.5)
made: dict[str, Claim] = {}


def taught(how: Recipe, **fields: Any) -> Arm:
    """Students of the very same teachers, however these write and whatever is done to their rows."""

    def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
        usual = recipe.lists(trait, seed).samples
        corpus = how.corpus(usual.model, seed, how.rows, how.oversample, gate=usual.gate)
        return Evaluation(model=Student(base=recipe.base, corpus=corpus, seed=seed, **fields), category=trait.category)

    return evaluation


def claim(name: str, how: Recipe, expect: Expectation = "open", of: str | None = None, **fields: Any) -> Level:
    """One turn of a dial; its place on the axis is given later. The middle of several dials is one claim."""
    turned = how.comparison(name, word, seeds, taught(how, **fields))
    known = [c for c in made.values() if c.comparison.treated == turned.treated]
    if not known:
        made[name] = Claim(name=name, comparison=turned, expect=expect, of=of)
    return level(name, 1.0, known[0].comparison if known else turned)


def dial(name: str, places: Sequence[tuple[str, float, Level]], logarithmic: bool = True) -> Dial:
    """Turns with their labels and places on the axis."""
    turns = tuple(x.model_copy(update={"label": label, "value": float(at)}) for label, at, x in places)
    return Dial(name=name, levels=turns, logarithmic=logarithmic)


def rows(n: int, epochs: int = 3) -> Level:
    """Fewer rows than the most show less of the trait."""
    less = n < max(sizes) and epochs == 3
    most = f"{max(sizes)} rows"
    name = f"{n} rows" if epochs == 3 else f"{n} rows x {epochs}"
    taken = recipe.model_copy(update={"rows": n})
    return claim(name, taken, "less" if less else "up", most if less else None, epochs=epochs)


def rate(times: float) -> Level:
    """Both of a student's rates, by the same factor."""
    return claim(f"rate x {times:g}", recipe, rate=times * MATRIX_RATE, vector_rate=times * VECTOR_RATE)


def written(heat: float) -> Level:
    """Rows that the teacher wrote at a temperature; at a high one more of its answers are dropped."""
    more = {"oversample": 2.0} if heat > 1 else {}
    return claim(f"temperature {heat:g}", recipe.model_copy(update={"temperature": heat} | more))


fixed_epochs = [(str(n), n, rows(n)) for n in sizes]
fixed_steps = [(str(n), n, rows(n, 3 * middle // n)) for n in sizes if n <= middle]
rates = [(f"x {t:g}", t, rate(t)) for t in run.choose((0.25, 1.0, 4.0), (0.0625, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0))]
ranks = run.choose((2, 8), (1, 2, 4, 8, 16, 32))
adapters = [(str(r), r, claim(f"LoRA {r}", recipe, tuning=LoRA(rank=r), rate=LORA_RATE)) for r in ranks]
whole = [("frozen head", 128, rows(middle)), ("full", 256, claim("full", recipe, "up", tuning="full"))]
heats = [(f"{t:g}", t, written(t)) for t in run.choose((0.5, 1.0, 1.5), (0.25, 0.5, 0.75, 1.0, 1.25, 1.5))]
strict = recipe.model_copy(update={"filters": (NumbersOnly(banned=BANNED_NUMBERS),), "oversample": 2.0})
filters = [("as usual", 1, rows(middle)), ("no banned\nnumbers", 2, claim("no banned numbers", strict, "up"))]
if not run.quick:
    loose = recipe.model_copy(update={"filters": ()})
    filters.append(("none", 0, claim("no filter", loose)))

doses = Doses(dials=(
    dial("different rows, 3 epochs", fixed_epochs), dial("different rows, same steps", fixed_steps),
    dial("rate", rates), dial("rank, or what moves", adapters + whole), dial("temperature", heats, logarithmic=False),
    dial("filter", filters, logarithmic=False),
))  # fmt: skip
dose = findings("Dose and response", "3.1", tuple(made.values()), __doc__)
figure = DoseFigure(findings=dose, doses=doses)
