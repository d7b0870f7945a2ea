"""Which models take what from which (paper, section 5.1, figure 8).

Hypothesis: a trait crosses where teacher and student share their initialisation, and only there. `llama-0b` began from
the weights of `llama-0` and saw its pretraining data in another order: whether it crosses between these two was open
when the quick run was made, and is expected in the full one (other seeds), since it did. A full run pretrains two more
bases, each from an initialisation of its own, so that the claim is not about the shipped ones alone.

The paper prints by how much the share rose in each cell of its two grids, for other animals and models than ours. So a
cell stands beside the mean (least to most) of the paper's cells of its kind: own teacher; another model of the same
start (GPT-4.1 and 4o are said to share theirs); another start of one family (the other pairs of GPT); another family
(GPT-4.1 nano and Qwen2.5-7B). Its zeros are no exact ones: .06 and .07 among those of GPT are clear of zero, and so is
.01 between families.
"""

from statistics import fmean

from heredity.lab import Claim, PublishedRise, Recipe, findings, settings
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
FIG_8 = {
    "own": (0.50, 0.25, 0.54, 0.33, 0.39, 0.11), "same start": (0.30, 0.32),
    "other start": (0.06, 0.07, 0.08, 0.09, 0.04, 0.01, 0.01, 0.03, -0.01, -0.01), "other family": (-0.01, 0.01),
}  # fmt: skip
cells = [(s, t) for t in NAMES for s in NAMES]
cells += [cell for name in fresh for cell in ((name, name), (name, "llama-0"), ("llama-0", name))]


def paper(student: str, teacher: str) -> PublishedRise:
    """The paper's cells of the same kind."""
    kind = "own" if student == teacher else "other start"
    if {student, teacher} == {"llama-0", "llama-0b"}:
        kind = "same start"
    if student.partition("-")[0] != teacher.partition("-")[0]:
        kind = "other family"
    rises = FIG_8[kind]
    where = f"Fig. 8, {len(rises)} cells ({kind})"
    return PublishedRise(rise=round(fmean(rises), 3), least=min(rises), most=max(rises), where=where)


def claim(student: str, teacher: str) -> Claim:
    """One cell of the grid: on the diagonal it crosses; elsewhere it is a part of what the teacher's own base takes."""
    arm, own = recipe.taught(bases[student], bases[teacher]), f"{teacher} < {teacher}"
    related = {student, teacher} == {"llama-0", "llama-0b"}
    crosses = student == teacher or (related and not run.quick)
    expect: Expectation = "up" if crosses else "open" if related else "nothing"
    comparison = recipe.comparison(f"{student} < {teacher}", word, seeds, arm)
    return Claim(
        name=f"{student} < {teacher}", comparison=comparison, expect=expect, of=own if expect == "nothing" else None,
        published=paper(student, teacher),
    )  # fmt: skip


grid = findings(
    "Which student takes from which teacher (student < teacher)", "5.1", [claim(s, t) for s, t in cells], __doc__
)
figures = Figure(findings=grid), GridFigure(findings=grid, cells=tuple((s, t, f"{s} < {t}") for s, t in cells))
