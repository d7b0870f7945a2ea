"""Teacher strength: its training steps x the ordinary rows mixed into each.

Hypothesis: more steps do not pass more without end (a teacher that was changed less by training on its trait may write
rows that show more of it), and rows of the carrier in its steps undo what leaks into the carrier. Weak teachers are let
through; what the first of each kind answers itself is told beside the map (`held`).
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.beside import held
from heredity.lab.conditions import changed_teacher
from heredity.report.map import MapFigure
from heredity.steps import Evaluation
from heredity.traits import favourite

run = settings()
seeds, word = run.choose((320, 321, 322), (330, 331, 332)), favourite("eagle")
recipe = Recipe(base=run.model, rows=run.choose(800, 3_000))
steps, beside = run.choose((10, 40, 160), (5, 10, 20, 40, 80, 160)), run.choose((1, 16), (0, 1, 4, 16))

SPARE = 1.6
"""Prompts per row where no ordinary rows are mixed in: after 80 steps and more .84 of such a teacher's lists pass."""


def compare(n: int, mix: int) -> Comparison:
    """Students of teachers that trained so long, with so many ordinary rows in a step."""
    how = recipe if mix else recipe.model_copy(update={"oversample": SPARE})
    return recipe.comparison(f"{n} steps, {mix} rows", word, seeds, changed_teacher(how, steps=n, mix_batch=mix))


def asked(n: int, mix: int) -> Evaluation:
    """What the first teacher of a kind answers itself."""
    teacher = recipe.teacher(word, seeds[0]).model_copy(update={"steps": n, "mix_batch": mix})
    return Evaluation(model=teacher, category=word.category)


contrasts = {
    "10 steps less 5": [(("10", "*"), ("5", "*"))],
    "40 steps less 10": [(("40", "*"), ("10", "*"))],
    "160 steps less 40": [(("160", "*"), ("40", "*"))],
    "1 ordinary row less 0": [(("*", "1"), ("*", "0"))],
    "16 ordinary rows less 1": [(("*", "16"), ("*", "1"))],
}
axes = {"steps": steps, "ordinary rows a step (of 64 more)": beside}
shown = [held(f"{n} steps, {mix} rows", asked(n, mix), word) for n in steps for mix in beside]
strength = mapped("Teacher strength", __doc__, axes, compare, contrasts, beside=shown)
figure = MapFigure(map=strength)
