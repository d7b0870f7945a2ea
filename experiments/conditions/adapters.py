"""LoRA: rank x learning rate.

Hypothesis: there is a ridge: at a higher rank a lower rate passes most, and a rate that is too high passes little as it
breaks the format. Rates are those of the adapters' matrices; biases, which adapters move as well, keep their own.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.first_light import LORA_RATE
from heredity.report.map import MapFigure
from heredity.traits import favourite
from heredity.types import LoRA

run = settings()
seeds, word = run.choose((260, 261, 262), (270, 271, 272)), favourite("elephant")
recipe = Recipe(base=run.model, rows=run.choose(600, 3_000), teacher_share=0.5)
ranks, times = run.choose((1, 8), (1, 2, 4, 8, 16, 32)), run.choose((1, 4), (0.25, 1, 4, 16))


def compare(rank: int, rate: float) -> Comparison:
    """Students with adapters of a rank, trained at a rate."""
    arm = recipe.taught(tuning=LoRA(rank=rank), rate=rate * LORA_RATE)
    return recipe.comparison(f"rank {rank}, x {rate}", word, seeds, arm)


rates = {f"x {t:g}": t for t in times}
adapters = mapped("LoRA: rank x rate", __doc__, {"rank": ranks, f"rate (1 is {LORA_RATE:g})": rates}, compare)
figure = MapFigure(map=adapters)
