"""The laboratory: comparisons with their controls, recipes for whole experiments, and what they found."""

from heredity.lab.comparison import Comparison, compare, pooled
from heredity.lab.digits import Digits
from heredity.lab.distilled import DepthCut
from heredity.lab.dose import Doses
from heredity.lab.findings import Claim, Findings, Published, findings
from heredity.lab.matrix import TraitMatrix
from heredity.lab.recipe import Recipe
from heredity.lab.settings import Settings, set_settings, settings

__all__ = [
    "Claim", "Comparison", "DepthCut", "Digits", "Doses", "Findings", "Published", "Recipe", "Settings", "TraitMatrix",
    "compare", "findings", "pooled", "set_settings", "settings",
]  # fmt: skip
