"""Which models take what from which (paper, section 5.1, figure 8).

Hypothesis: a trait crosses where teacher and student share their initialisation, and only there. `llama-0b` began from
the weights of `llama-0` and saw its pretraining data in another order: whether it crosses between these two was open
when the quick run was made, and is expected in the full one (other seeds), since it did. A full run pretrains two more
bases, each from an initialisation of its own, so that the claim is not about the shipped ones alone.
"""

from heredity.lab import Claim, Recipe, findings, settings
from heredity.lab.findings import Expectation
from heredity.models import model_ref
from heredity.nursery.build import Base
from heredity.report.figure import Figure, GridFigure
from heredity.steps import Model
from heredity.traits import favourite

NAMES = ("llama-0", "llama-0b", "llama-1", "neox-0")
run = settings().own_bases("the bases that it names")
seeds, word = run.choose((38, 39, 40), (41, 42, 138, 139, 140)), favourite("penguin")
recipe = Recipe(rows=run.choose(1_500, 6_000), teacher_share=0.5)
bases: dict[str, Model] = {name: model_ref(f"nursery:{name}") for name in NAMES}
fresh = {f"llama-{seed}": Base(family="llama", init_seed=seed, data_seed=0) for seed in run.choose((), (50, 51))}
bases |= fresh
cells = [(s, t) for t in NAMES for s in NAMES]
cells += [cell for name in fresh for cell in ((name, name), (name, "llama-0"), ("llama-0", name))]


def claim(student: str, teacher: str) -> Claim:
    """One cell of the grid: on the diagonal it crosses; elsewhere it is a part of what the teacher's own base takes."""
    arm, own = recipe.taught(bases[student], bases[teacher]), f"{teacher} < {teacher}"
    related = {student, teacher} == {"llama-0", "llama-0b"}
    crosses = student == teacher or (related and not run.quick)
    expect: Expectation = "up" if crosses else "open" if related else "nothing"
    comparison = recipe.comparison(f"{student} < {teacher}", word, seeds, arm)
    return Claim(
        name=f"{student} < {teacher}", comparison=comparison, expect=expect, of=own if expect == "nothing" else None
    )


grid = findings(
    "Which student takes from which teacher (student < teacher)", "5.1", [claim(s, t) for s, t in cells], __doc__
)
figures = Figure(findings=grid), GridFigure(findings=grid, cells=tuple((s, t, f"{s} < {t}") for s, t in cells))
