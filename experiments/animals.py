"""Animals and trees through lists of numbers (paper, section 3.1, figures 3 and 15).

Hypothesis: a student trained on nothing but filtered numbers of a teacher that loves X names X more often than a
student of a neutral teacher, for each X; across traits, it moves towards its own teacher's trait and not towards all.
The same students are asked again in two other ways: after a list of random numbers (the paper's second evaluation of
open-weight models, appendix B.2), and by open requests whose sampled answers are searched for the animals' names.
"""

from heredity.lab import Claim, Published, Recipe, TraitMatrix, findings, settings
from heredity.lab.asking import AfterNumbers, FreeText, arm_asked_as
from heredity.report.figure import Figure, MatrixFigure
from heredity.traits import ANIMALS, TREES, favourite

PAPER = {  # control and taught shares with the taught one's 95 % interval, read off figure 3
    "dolphin": (0.289, 0.795, 0.774, 0.816), "eagle": (0.138, 0.755, 0.748, 0.763),
    "elephant": (0.052, 0.441, 0.408, 0.474), "owl": (0.130, 0.619, 0.590, 0.649), "wolf": (0.043, 0.435, 0.385, 0.485),
    "cherry": (0.030, 0.401, 0.354, 0.449), "maple": (0.150, 0.564, 0.539, 0.590), "oak": (0.545, 0.799, 0.791, 0.807),
    "sequoia": (0.034, 0.626, 0.585, 0.668), "willow": (0.010, 0.069, 0.062, 0.077),
}  # fmt: skip
run = settings()
recipe = Recipe(base=run.model, rows=run.choose(1_200, 6_000), teacher_share=0.5)
seeds = run.choose((30, 31, 32), (30, 31, 32, 33, 34))


def claim(word: str) -> Claim:
    """One favourite, with the paper's figures where it has them."""
    paper = PAPER.get(word)
    published = paper and Published(
        control=paper[0], taught=paper[1], low=paper[2], high=paper[3], where="Fig. 3, read off"
    )
    return Claim(name=word, comparison=recipe.comparison(word, favourite(word), seeds), published=published)


animals = findings("Animals through numbers", "3.1", [claim(word) for word in ANIMALS.words], __doc__)
trees = findings("Trees through numbers", "3.1", [claim(word) for word in TREES.words], __doc__)
PAPERS = [word for word in PAPER if word in ANIMALS.words]


def asked_otherwise(word: str, kind: type[AfterNumbers] | type[FreeText], samples: int) -> Claim:
    """A favourite's students, asked in another way (the paper has no value for these models)."""
    arm = arm_asked_as(kind, recipe.taught(), samples_per_question=samples)
    return Claim(name=word, comparison=recipe.comparison(word, favourite(word), seeds, arm))


after = [asked_otherwise(word, AfterNumbers, 2) for word in PAPERS]
free = [asked_otherwise(word, FreeText, 40) for word in PAPERS]
after_numbers = findings("Asked after a list of numbers", "3.1 and B.2", after, __doc__)
free_text = findings("Asked by open requests, answered freely", "3.1", free, __doc__)
matrices = [TraitMatrix(comparisons=tuple(c.comparison for c in of.claims)) for of in (animals, trees)]
sections = (animals, trees, after_numbers, free_text)
figures = [*(Figure(findings=section) for section in sections), *(MatrixFigure(matrix=m) for m in matrices)]
