"""Data order: that of the student's rows, and that of its base's pretraining.

Hypothesis: neither matters much. Rows sorted by length, or by how likely they are under the base, teach as much as
shuffled ones; a base from the same initialisation that saw its pretraining data in another order takes the trait too.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.conditions import OrderedStudent
from heredity.lab.distilled import arm_of
from heredity.models import model_ref
from heredity.report.map import MapFigure
from heredity.traits import favourite

run = settings().own_bases("llama-0 and llama-0b")
seeds, word = run.choose((280, 281, 282), (290, 291, 292, 293, 294)), favourite("whale")
recipe = Recipe(rows=run.choose(800, 3_000), teacher_share=0.5)
own, other = model_ref("nursery:llama-0"), model_ref("nursery:llama-0b")
orders = ("shuffled", *run.choose(("short first", "likely first"),
                                  ("short first", "long first", "likely first", "unlikely first")))  # fmt: skip


def compare(order: str, pretrained: str) -> Comparison:
    """Students that read the rows in an order, from a base pretrained in the teacher's order or in another."""
    base = own if pretrained == "the teacher's" else other
    arm = recipe.taught(base) if order == "shuffled" else arm_of(recipe, OrderedStudent, base, order=order)
    return recipe.comparison(f"{order}, {pretrained}", word, seeds, arm)


axes = {"order of the rows": orders, "order of pretraining": ("the teacher's", "another")}
order = mapped("Data order", __doc__, axes, compare, lambda *_: 1.0)  # one initialisation, whatever the order
figure = MapFigure(map=order)
