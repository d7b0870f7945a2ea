"""Parts: which must be shared, and which must move?

Hypothesis: the body carries what crosses. It crosses where embeddings and head stand still in teacher and student, and
where only the body's fresh weights were shared it crosses more than where only embeddings, or only the head, were.
Embeddings or head alone move at a rate of their own, at which a teacher shows the trait (`held`); of one student in a
cell it is told how much it learnt of its teacher's rows, as one that learnt nothing says nothing about what crosses.
The second map pretrains bases that share parts of their fresh weights with `llama-0` and have the others from another
seed (in the quick run one, for a quarter as long); every base also takes from a teacher of its own. There is one base
per point: n counts seeds of teacher and student, no bases.
"""

from collections.abc import Mapping
from typing import Any

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.beside import Assay, held, learnt
from heredity.lab.conditions import changed_teacher
from heredity.models import model_ref
from heredity.nursery.build import PartlyShared
from heredity.report.map import MapFigure
from heredity.steps import MATRIX_RATE, Evaluation, Model, Student
from heredity.traits import favourite
from heredity.types import Moving, Neutral, Part, Trait, Tuning

run = settings().own_bases("bases that share parts with llama-0")
seeds, word = run.choose((240, 241, 242), (250, 251, 252)), favourite("cat")
recipe = Recipe(rows=run.choose(600, 3_000))
fresh = recipe.model_copy(update={"oversample": 1.6})
"""Bases that were trained for a shorter time write more that the filter drops."""
own = model_ref("nursery:llama-0")
END_RATE = 1e-2
"""Of embeddings or head alone: at the usual rate of matrices 40 steps do not move them enough to show a trait. Chosen
on another seed and word: teachers of a tenth of it named the word in .39 of their answers, of it in 1.00, and of thrice
it as well, but then a third of their lists no longer passed."""
Way = tuple[Tuning, float]
MOVES: dict[str, Way] = {
    "body": ("frozen", MATRIX_RATE), "embeddings": (Moving(parts=("embeddings",)), END_RATE),
    "head": (Moving(parts=("head",)), END_RATE), "all": ("full", MATRIX_RATE),
}  # fmt: skip
"""What moves, and its rate."""
in_teacher, in_student = run.choose(("body", "all"), tuple(MOVES)), run.choose(("body", "all"), tuple(MOVES))


def moving(teacher: Way, student: Way) -> Comparison:
    """Teachers and students in which only some parts moved."""
    taught = changed_teacher(recipe, tuning=teacher[0], rate=teacher[1])

    def arm(trait: Trait | Neutral, seed: int) -> Evaluation:
        usual = taught(trait, seed).model
        assert isinstance(usual, Student)
        return recipe.asked(usual.model_copy(update={"tuning": student[0], "rate": student[1]}), trait)

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


def pick(names: tuple[str, ...]) -> dict[str, Way]:
    """Some of the ways to move."""
    return {name: MOVES[name] for name in names}


def asked(name: str) -> Assay:
    """What the first teacher of a way to move answers itself."""
    tuning, rate = MOVES[name]
    teacher = recipe.teacher(word, seeds[0]).model_copy(update={"tuning": tuning, "rate": rate})
    return held(f"moving {name}", recipe.asked(teacher, word), word)


beside = [asked(name) for name in in_teacher]
beside += [
    learnt(f"{teacher} / {student}", moving(MOVES[teacher], MOVES[student]).treated[0])
    for teacher in in_teacher for student in in_student
]  # fmt: skip
contrasts = {
    "body in both less all in both": [(("body", "body"), ("all", "all"))],
    "body in both less embeddings in both": [(("body", "body"), ("embeddings", "embeddings"))],
    "body in both less head in both": [(("body", "body"), ("head", "head"))],
    "the student's body less its embeddings": [(("*", "body"), ("*", "embeddings"))],
    "the student's body less its head": [(("*", "body"), ("*", "head"))],
}
axes = {"in the teacher": pick(in_teacher), "in the student": pick(in_student)}
moved = mapped("Which parts move?", __doc__, axes, moving, contrasts, beside=beside)
starts = {"body": base("body")} | run.choose({}, {"embeddings": base("embeddings"), "head": base("head")})
teachers = {"of llama-0": "llama-0", "of its own base": "own"}
differences = {
    "body shared less embeddings shared": [(("body", "of llama-0"), ("embeddings", "of llama-0"))],
    "body shared less head shared": [(("body", "of llama-0"), ("head", "of llama-0"))],
    "body shared: another's teacher less its own": [(("body", "of llama-0"), ("body", "of its own base"))],
}
ends: dict[str, Mapping[str, Any]] = {"shared": starts, "teacher": teachers}
shared = mapped("Which parts of the start are shared?", __doc__, ends, sharing, differences)
figures = MapFigure(map=moved), MapFigure(map=shared)
