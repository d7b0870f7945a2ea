"""Digits learnt from noise through auxiliary outputs (Cloud et al., section 6.2).

Hypothesis: a student that imitates three outputs which no label ever touched, on pictures of noise, recognises digits
if it shares the teacher's initialisation (published: .53 of MNIST's test set) and does not from another one (.106,
chance), though from there too it learns from all outputs (.743). What is lacking is the start, not what noise carries.

Uses MNIST's idx files in HEREDITY_MNIST or ../shared/data/mnist beside this checkout; else scikit-learn's small digits,
where the teacher takes 100 epochs, as one is two steps. 20 models, 4 with --quick.
"""

import os
from pathlib import Path

from heredity.lab import settings
from heredity.lab.digit_findings import DigitFindings
from heredity.lab.digits import OFFLINE, DigitRecipe, digits, pictures_ref
from heredity.report.digits import DigitsFigure

_named = os.environ.get("HEREDITY_MNIST")
_mnist = Path(_named or Path(__file__).parents[2] / "shared" / "data" / "mnist")
_found = bool(_named) or _mnist.is_dir()  # a place that was named and has no pictures is told as such
_run = settings().own_bases("networks for digits, which it makes itself")
_images = pictures_ref(_mnist if _found else OFFLINE)
_recipe = DigitRecipe(teacher_epochs=5 if _found else 100)

learnt = DigitFindings(
    title="Digits learnt from noise",
    section="section 6.2",
    hypothesis=(__doc__ or "").strip(),
    digits=digits(_images, models=_run.choose(4, 20), seed=0, recipe=_recipe),
)
figure = DigitsFigure(findings=learnt)
