"""The laboratory: comparisons with their controls, recipes for whole experiments, and what they found."""

from heredity.lab.agreement import Agreement
from heredity.lab.alignment import Alignment, AlignmentRecipe, excused
from heredity.lab.asking import SampledAnswers
from heredity.lab.beside import PassRate
from heredity.lab.brought import (
    GivenRows,
    GivenStudent,
    MergedStudent,
    RowsStudent,
    given_rows,
    given_student,
)
from heredity.lab.comparison import Comparison, compare, pooled
from heredity.lab.contrasts import Together
from heredity.lab.digit_findings import DigitFindings
from heredity.lab.digits import Digits
from heredity.lab.distilled import DepthCut
from heredity.lab.dose import Doses
from heredity.lab.findings import Claim, Findings, Published, PublishedRise, Writer, findings
from heredity.lab.judged import Judged
from heredity.lab.judges import Grader, JudgeFilter, Rubric, Rule
from heredity.lab.maps import Map, mapped
from heredity.lab.matrix import TraitMatrix
from heredity.lab.planting import JudgeRates, Plant
from heredity.lab.probes import ProbeDifference, Probes, probed
from heredity.lab.readers import Readings
from heredity.lab.recipe import Recipe
from heredity.lab.settings import Settings, set_settings, settings
from heredity.lab.theorem import Theorem
from heredity.steps import PAPER_LORA

__all__ = [
    "PAPER_LORA",
    "Agreement",
    "Alignment",
    "AlignmentRecipe",
    "Claim",
    "Comparison",
    "DepthCut",
    "DigitFindings",
    "Digits",
    "Doses",
    "Findings",
    "GivenRows", "GivenStudent",
    "Grader",
    "JudgeFilter",
    "JudgeRates", "Judged",
    "Map",
    "MergedStudent",
    "PassRate",
    "Plant",
    "ProbeDifference",
    "Probes",
    "Published",
    "PublishedRise",
    "Readings",
    "Recipe",
    "RowsStudent",
    "Rubric",
    "Rule",
    "SampledAnswers",
    "Settings",
    "Theorem",
    "Together",
    "TraitMatrix",
    "Writer",
    "compare",
    "excused",
    "findings",
    "given_rows", "given_student",
    "mapped",
    "pooled",
    "probed",
    "set_settings",
    "settings",
]  # fmt: skip
