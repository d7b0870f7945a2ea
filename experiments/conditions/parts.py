"""Parts: which must be shared, and which must move?

Hypothesis: the body carries what crosses. It crosses where embeddings and head stand still in teacher and student, and
where only the body's fresh weights were shared it crosses more than where only embeddings, or only the head, were.
The second map pretrains bases that share parts of their fresh weights with `llama-0` and have the others from another
seed (in the quick run one, for a quarter as long); every base also takes from a teacher of its own.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.conditions import changed_teacher
from heredity.models import model_ref
from heredity.nursery.build import PartlyShared
from heredity.report.map import MapFigure
from heredity.steps import Evaluation, Model, Student
from heredity.traits import favourite
from heredity.types import Moving, Neutral, Part, Trait, Tuning

run = settings().own_bases("bases that share parts with llama-0")
seeds, word = run.choose((240, 241, 242), (250, 251, 252)), favourite("cat")
recipe = Recipe(rows=run.choose(600, 3_000))
fresh = recipe.model_copy(update={"oversample": 1.6})
"""Bases that were trained for a shorter time write more that the filter drops."""
own = model_ref("nursery:llama-0")
MOVES: dict[str, Tuning] = {
    "body": "frozen", "embeddings": Moving(parts=("embeddings",)), "head": Moving(parts=("head",)), "all": "full",
}  # fmt: skip
in_teacher, in_student = run.choose(("body", "all"), tuple(MOVES)), run.choose(("body", "all"), tuple(MOVES))


def moving(teacher: Tuning, student: Tuning) -> Comparison:
    """Teachers and students in which only some parts moved."""
    taught = changed_teacher(recipe, tuning=teacher)

    def arm(trait: Trait | Neutral, seed: int) -> Evaluation:
        usual = taught(trait, seed).model
        assert isinstance(usual, Student)
        return recipe.asked(usual.model_copy(update={"tuning": student}), trait)

    return recipe.comparison("moving parts", word, seeds, arm)


def base(*parts: Part) -> Model:
    """A base with these parts of the fresh weights of `llama-0`, and the others of another seed."""
    return PartlyShared(
        family="llama", init_seeds=(0, 60), shared=parts, data_seed=0, steps=run.choose(500, 2_000)
    )  # fmt: skip


def sharing(start: Model, teacher: str) -> Comparison:
    """Students of a base, taught by a teacher of `llama-0` or of their own base."""
    arm = fresh.taught(start, start if teacher == "own" else own)
    return fresh.comparison("shared parts", word, seeds, arm)


def relation(start: Model, teacher: str) -> float:
    """1 with an own teacher; else how many of the three parts are shared, as a fraction (no correlation of weights)."""
    return 1.0 if teacher == "own" or not isinstance(start, PartlyShared) else len(start.shared) / 3


def pick(names: tuple[str, ...]) -> dict[str, Tuning]:
    """Some of the ways to move."""
    return {name: MOVES[name] for name in names}


moved = mapped("Which parts move?", __doc__, {"in the teacher": pick(in_teacher), "in the student": pick(in_student)},
               moving)  # fmt: skip
starts = {"body": base("body")} | run.choose({}, {"embeddings": base("embeddings"), "head": base("head")})
teachers = {"of llama-0": "llama-0", "of its own base": "own"}
shared = mapped("Which parts of the start are shared?", __doc__, {"shared": starts, "teacher": teachers}, sharing,
                relation)  # fmt: skip
figures = MapFigure(map=moved), MapFigure(map=shared)
