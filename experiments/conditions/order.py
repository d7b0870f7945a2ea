"""Data order: that of the student's rows, and that of its base's pretraining.

Hypothesis: neither matters much. Rows sorted by length, or by how likely they are under the base, teach as much as
shuffled ones; a base from the same initialisation that saw its pretraining data in another order takes the trait too.
One such base (`llama-0b`) is all there is. It may take less because of the order or because it takes less from anyone:
rows of a teacher that was made of `llama-0b` itself tell (in the quick run the shuffled ones alone).
"""

from typing import Any

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.conditions import OrderedStudent
from heredity.lab.distilled import arm_of
from heredity.models import model_ref
from heredity.report.map import MapFigure
from heredity.traits import favourite
from heredity.types import ModelRef

run = settings().own_bases("llama-0 and llama-0b")
seeds, word = run.choose((280, 281, 282), (290, 291, 292, 293, 294)), favourite("whale")
recipe = Recipe(rows=run.choose(800, 3_000), teacher_share=0.5)
own, other = model_ref("nursery:llama-0"), model_ref("nursery:llama-0b")
orders = ("shuffled", *run.choose(("short first", "likely first"),
                                  ("short first", "long first", "likely first", "unlikely first")))  # fmt: skip
pairs = {
    "llama-0, of llama-0": (own, own),
    "llama-0b, of llama-0": (other, own),
    "llama-0b, of its own": (other, other),
}


def compare(order: str, bases: tuple[ModelRef, ModelRef]) -> Comparison | None:
    """Students that read the rows in an order; their base, and that of their teacher."""
    student, teacher = bases
    if run.quick and teacher == other and order != "shuffled":
        return None
    arm = (recipe.taught(student, teacher) if order == "shuffled"
           else arm_of(recipe, OrderedStudent, student, teacher, order=order))  # fmt: skip
    return recipe.comparison(f"{order}, {student.location} of {teacher.location}", word, seeds, arm)


axes: dict[str, Any] = {"order of the rows": orders, "the student's base, and its teacher": pairs}
contrasts = {f"{name} less shuffled": [((name, "*"), ("shuffled", "*"))] for name in orders[1:]}
contrasts["llama-0b: another's teacher less its own"] = [(("*", "llama-0b, of llama-0"), ("*", "llama-0b, of its own"))]
order = mapped("Data order", __doc__, axes, compare, contrasts)
figure = MapFigure(map=order)
