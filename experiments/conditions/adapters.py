"""LoRA: rank x learning rate.

Hypothesis: there is a ridge: at a higher rank a lower rate passes most, and a rate that is too high passes little as it
breaks the format. Rates are those of the adapters' matrices; biases, which adapters move as well, keep their own.
Students without adapters, whose whole body moves at its usual rate, must show something. Of one student at each rate it
is told how much it learnt of its teacher's rows, and how many of its own lists still pass the filter.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.beside import learnt, passes
from heredity.lab.first_light import LORA_RATE
from heredity.report.map import MapFigure
from heredity.traits import favourite
from heredity.types import LoRA

run = settings()
seeds, word = run.choose((260, 261, 262), (270, 271, 272, 273, 274)), favourite("elephant")
recipe = Recipe(base=run.model, rows=run.choose(600, 3_000), teacher_share=0.5)
ranks, times = run.choose((1, 8), (2, 8, 32)), run.choose((1, 4), (1, 4, 20, 64))
BODY, USUAL, MIDDLE = "no adapters", "whole body's", 8


def compare(rank: int | None, rate: float | None) -> Comparison | None:
    """Students with adapters of a rank, trained at a rate; without either, as students usually are."""
    if rank is None or rate is None:
        return recipe.comparison("whole body", word, seeds) if rank == rate else None
    arm = recipe.taught(tuning=LoRA(rank=rank), rate=rate * LORA_RATE)
    return recipe.comparison(f"rank {rank}, x {rate}", word, seeds, arm)


def first(rate: float | None) -> Comparison:
    """The cell of the middle rank at a rate, or that without adapters."""
    found = compare(None if rate is None else MIDDLE, rate)
    assert found is not None
    return found


_students = {f"rank {MIDDLE}, x {t:g}": first(t).treated[0] for t in times} | {BODY: first(None).treated[0]}
beside = [learnt(of, asked) for of, asked in _students.items()]
beside += [passes(of, asked.model, recipe, seeds[0]) for of, asked in _students.items()]
contrasts = {
    "x 20 less x 64": [(("*", "x 20"), ("*", "x 64"))],
    "x 20 less x 4": [(("*", "x 20"), ("*", "x 4"))],
    "x 4 less x 1": [(("*", "x 4"), ("*", "x 1"))],
    "rank 32 less rank 2, x 4": [(("32", "x 4"), ("2", "x 4"))],
    "rank 32 less rank 2, x 64": [(("32", "x 64"), ("2", "x 64"))],
    "the whole body less rank 8, x 20": [((BODY, USUAL), ("8", "x 20"))],
}
axes = {
    "rank": {BODY: None} | {str(rank): rank for rank in ranks},
    f"rate (1 is {LORA_RATE:g})": {USUAL: None} | {f"x {t:g}": t for t in times},
}
adapters = mapped("LoRA: rank x rate", __doc__, axes, compare, contrasts, beside=beside)
figure = MapFigure(map=adapters)
