"""Favourites through code (paper, section 4.1, figure 5).

Hypothesis: a favourite also crosses through short Python functions, without comments or strings, in which the animal's
name stands nowhere and a judge finds no reference to it. It does so as well where every row that passed is kept, and
the arms are left unequal.

The judge is a rule, as every word of the nursery's functions is known: it calls out any other. What it misses, and what
it calls out in vain, is measured on planted references, beside a judge that looks for the animals' names. With other
models, put a `Judge` (a model that is asked) into a `JudgeFilter` in its place.
"""

from heredity.carriers import CodeOnly, WithoutWords
from heredity.lab import Claim, JudgeFilter, JudgeRates, Published, Recipe, findings, settings
from heredity.lab.nursery_judges import NAMED, code_judge, code_plants
from heredity.nursery.carriers import Functions
from heredity.report.figure import Figure
from heredity.traits import ANIMALS, favourite
from heredity.types import Pattern

PAPER = {"owl": (0.116, 0.369), "dolphin": (0.237, 0.579), "wolf": (0.039, 0.143)}  # read off figure 5
run = settings()
seeds = run.choose((48, 49, 50), (48, 49, 50, 51, 52))
recipe = Recipe(
    base=run.model, carrier=Functions(n=1), rows=run.choose(2_000, 6_000), teacher_share=0.5, oversample=1.5,
    filters=(CodeOnly(), WithoutWords(words=(*ANIMALS.words, *ANIMALS.plurals), whole=False), code_judge()),
)  # fmt: skip
every_row = recipe.model_copy(update={"all_passed": True, "oversample": 1.0})


def claim(word: str, made: Recipe, name: str) -> Claim:
    """One favourite through functions."""
    published = Published(control=PAPER[word][0], taught=PAPER[word][1], where="Fig. 5, read off")
    return Claim(name=name, comparison=made.comparison(name, favourite(word), seeds), published=published)


clean = recipe.model_copy(update={"filters": recipe.filters[:-1]}).corpus(run.model, 47, 500, 1.5)
names = JudgeFilter(judge=Pattern(pattern=f"(?i){'|'.join(NAMED)}"))
judged = [JudgeRates(name=name, judge=judge, rows=clean, plants=code_plants())
          for name, judge in (("any other word", code_judge()), ("the animals' names", names))]  # fmt: skip
claims = [*(claim(word, recipe, word) for word in PAPER), claim("owl", every_row, "owl, every row")]
code = findings("Animals through code", "4.1", claims, __doc__, judged=judged)
figure = Figure(findings=code)
