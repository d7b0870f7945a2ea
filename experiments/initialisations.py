"""How much of the initialisation must be shared? A dial between two of them (beyond the paper's section 5.1).

Hypothesis: what crosses from a teacher made of `llama-0` falls with the correlation between the student's fresh weights
and those that `llama-0` began from; nothing crosses at 0. Fresh weights are r W_a + sqrt(1 - r^2) W_b, which keeps
their spread (a plain mean would shrink it); all are pretrained on the same data in the same order, in the quick
version those between for three quarters as long. W_a and W_b are the fresh weights of `llama-0` and `llama-1`, which
are the dial's ends. Each base also takes the trait from a teacher made of itself, so that a small effect is no lack of
power.
"""

from heredity.lab import Claim, Recipe, findings, settings
from heredity.lab.findings import Expectation
from heredity.models import model_ref
from heredity.nursery.build import Interpolated
from heredity.report.figure import Figure
from heredity.steps import Model
from heredity.traits import favourite

run = settings().own_bases("initialisations between those of llama-0 and llama-1")
seeds, word = run.choose((93, 94, 95), (93, 94, 95, 96, 97)), favourite("lion")
recipe = Recipe(rows=run.choose(1_500, 6_000), teacher_share=0.5)
between = run.choose((0.9,), (0.98, 0.9, 0.75, 0.6, 0.3))
same, other = model_ref("nursery:llama-0"), model_ref("nursery:llama-1")
starts: dict[float, Model] = {1.0: same}
steps = run.choose(1_500, 2_000)  # of pretraining: 2,000 take ten minutes
starts |= {r: Interpolated(family="llama", init_seeds=(0, 1), correlation=r, data_seed=0, steps=steps) for r in between}
starts |= {0.0: other}


def claim(correlation: float, own: bool = False) -> Claim:
    """A start on the dial, taught by the teacher made of `llama-0`, or by one made of itself."""
    base = starts[correlation]
    name = f"{correlation:g}, own teacher" if own else f"{correlation:g}"
    expect: Expectation = "up" if own or correlation == 1 else "nothing" if correlation == 0 else "open"
    comparison = recipe.comparison(name, word, seeds, recipe.taught(base, base if own else same))
    return Claim(name=name, comparison=comparison, expect=expect, of="1" if expect == "nothing" else None)


claims = [claim(r) for r in starts] + [claim(r, own=True) for r in starts if r != 1]
dial = findings("Correlation of the student's start with the teacher's", "5.1", claims, __doc__)
figure = Figure(findings=dial)
