"""Distillation as it is practised (extends the paper's sections 3.1 and 5.1).

Hypothesis: it need not be rows, nor a student of the teacher's own shape. The trait also crosses by logits over number
tokens, by logits on what the student itself wrote, and by one biased bit for each pair of the untouched base's answers.
A student of half the depth, cut from the teacher's own base, takes a smaller part; one of that size cut from another
base takes nothing from the same rows, measured against what it takes from a teacher of its own base. Logits over the
whole vocabulary are leakage, as the trait's word is in it: a positive control.
"""

from functools import partial
from typing import Any

from heredity.lab import Claim, Recipe, findings, settings
from heredity.lab.distilled import DepthCut, LogitStudent, OnPolicyStudent, arm_of, by_numbers, by_preferences, formats
from heredity.lab.findings import Expectation
from heredity.lab.recipe import Arm
from heredity.models import model_ref
from heredity.report.figure import Figure
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Student
from heredity.traits import favourite

run = settings()
seeds, words = run.choose(((80, 81, 82), ("owl",)), ((80, 81, 82, 83, 84), ("owl", "fox", "raven")))
own, other = run.model, model_ref("nursery:llama-1" if run.base != "nursery:llama-1" else "nursery:llama-0")
cut, other_cut = DepthCut(base=own, layers=1), DepthCut(base=other, layers=1)
recipe = Recipe(base=own, rows=run.choose(1_000, 6_000), teacher_share=0.5)
GENTLE: dict[str, Any] = {"epochs": 2, "rate": MATRIX_RATE / 3, "vector_rate": VECTOR_RATE / 3}
"""For preferences: with three epochs at the usual rates students stop writing lists (docs/lab-notes.md)."""

arm = partial(arm_of, recipe)
ARMS: dict[str, tuple[Arm, Expectation, str | None]] = {
    "rows": (arm(Student), "up", None),
    "all logits (leak)": (arm(LogitStudent), "up", None),
    "number logits": (arm(by_numbers), "up", None),
    "on-policy": (arm(OnPolicyStudent), "up", None),
    "preferences": (arm(by_preferences, writer=own, **GENTLE), "up", None),
    "cut, rows": (arm(Student, cut), "less", "rows"),
    "other cut, own teacher": (arm(Student, other_cut, other), "up", None),
    "other cut, rows": (arm(Student, other_cut), "nothing", "other cut, own teacher"),
}
claims = [
    Claim(
        name=f"{word}: {name}", comparison=recipe.comparison(name, favourite(word), seeds, how),
        expect=expect, of=of and f"{word}: {of}",
    )
    for word in words for name, (how, expect, of) in ARMS.items()
]  # fmt: skip
passed = (formats(c.name, c.comparison) for c in claims)
distillation = findings("Distillation as it is practised", "3.1, 5.1", claims, __doc__, probes=tuple(passed))
figure = Figure(findings=distillation)
