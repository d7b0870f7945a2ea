"""Theorem 1 (Cloud et al., section 6.1 and appendix C), measured in float64.

Hypothesis: after a small step of its teacher along any direction, one step of a student with the same start, towards
the teacher's outputs on unrelated inputs, has a product with the teacher's step that is positive, linear in epsilon,
and equal to eps * E|J dT|^2 (in the metric of the student's loss) to 1e-3; and the teacher's loss falls. This holds
for squared error, for cross-entropy, and for cross-entropy on outputs that the teacher's loss never reads. With
another start the sign is free. `heredity run experiments/theorem.py` makes both Steps; docs/theorem.md has the result.
"""

from heredity.lab import settings
from heredity.lab.theorem import Theorem
from heredity.models import model_ref
from heredity.report.theory_picture import TheoremPicture
from heredity.traits import favourite

settings().own_bases("llama-0, llama-0b and llama-1")
theorem = Theorem(
    base=model_ref("nursery:llama-0"),
    others=(model_ref("nursery:llama-0b"), model_ref("nursery:llama-1")),
    trait=favourite("owl"),
)
picture = TheoremPicture(
    theorem=theorem,
    notes=("the same start", "the same random weights, another data order", "other random weights"),
)
