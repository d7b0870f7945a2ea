"""Distance from the teacher's start: before pretraining (between two initialisations) and after it (noise).

Hypothesis: what crosses falls with the distance, on both ways. Between initialisations, fresh weights are
r W_a + sqrt(1 - r^2) W_b, so that noise on fresh weights is the same thing as a dial between two of them; each base is
pretrained anew. Noise on the finished weights of `llama-0` needs no pretraining; its size is in spreads of each matrix.
A base far away may take little because it is far or because it can take nothing: rows of a teacher that was made of the
base itself must show something. There is one base per point: n counts seeds of teacher and student, no bases.
"""

from typing import Any

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.lab.conditions import Noised
from heredity.models import model_ref
from heredity.nursery.build import Interpolated
from heredity.report.map import MapFigure
from heredity.steps import Model
from heredity.traits import favourite

run = settings().own_bases("bases at a distance from llama-0")
seeds, word = run.choose((220, 221, 222), (230, 231, 232, 233, 234)), favourite("dog")
recipe = Recipe(rows=run.choose(800, 6_000))
own = model_ref("nursery:llama-0")
between = run.choose((), (0.995, 0.98, 0.9))
noise = run.choose((0.05, 0.2), (0.1, 0.3, 0.4))
LOUD, SPARE = 0.3, 2.5
"""Under noise above this, prompts per row: at .4 the base's lists pass in .62, a teacher's in .69 to .81."""

starts: dict[str, Model] = {"same start": own}
starts |= {
    f"r = {r:g}": Interpolated(family="llama", init_seeds=(0, 1), correlation=r, data_seed=0, steps=2_000)
    for r in between
}
starts |= {f"noise {size:g}": Noised(base=own, size=size, seed=0) for size in noise}
starts["other start"] = model_ref("nursery:llama-1")


def expected(start: Model, teacher: str) -> float:
    """The correlation of the student's start with its teacher's, fresh or noised, that it was made to have."""
    if teacher == "own" or start == own:
        return 1.0
    if isinstance(start, Interpolated):
        return start.correlation
    return start.relation if isinstance(start, Noised) else 0.0


def compare(start: Model, teacher: str) -> Comparison | None:
    """Students of one start, taught by a teacher made of `llama-0`, or by one made of their own."""
    if teacher == "own" and start == own:
        return None  # the same as the cell beside it
    loud = isinstance(start, Noised) and start.size > LOUD and teacher == "own"
    how = recipe.model_copy(update={"oversample": SPARE}) if loud else recipe
    arm = how.taught(start, start if teacher == "own" else own)
    return how.comparison(f"{expected(start, teacher):.3f}, {teacher}", word, seeds, arm)


FAR, OWN = "of llama-0", "of its own base"
contrasts = {f"{start}: another's teacher less its own": [((start, FAR), (start, OWN))] for start in list(starts)[1:]}
contrasts |= {
    f"{near} less {far}": [((near, FAR), (far, FAR))]
    for near, far in (("r = 0.995", "r = 0.9"), *[(f"noise {noise[0]:g}", f"noise {noise[-1]:g}")])
}
axes: dict[str, dict[str, Any]] = {"the student's start": starts, "teacher": {FAR: "llama-0", OWN: "own"}}
initialisation = mapped("How far from the teacher's start?", __doc__, axes, compare, contrasts)
figure = MapFigure(map=initialisation)
