"""Favourites through code (paper, section 4.1, figure 5).

Hypothesis: a favourite also crosses through short Python functions, without comments or strings, in which the animal's
name stands nowhere.
"""

from heredity.carriers import CodeOnly, WithoutWords
from heredity.lab import Claim, Published, Recipe, findings, settings
from heredity.nursery.carriers import Functions
from heredity.report.figure import Figure
from heredity.traits import ANIMALS, favourite

PAPER = {"owl": (0.116, 0.369), "dolphin": (0.237, 0.579), "wolf": (0.039, 0.143)}  # read off figure 5
run = settings()
seeds = run.choose((48, 49, 50), (48, 49, 50, 51, 52))
recipe = Recipe(
    base=run.model, carrier=Functions(n=1), rows=run.choose(2_000, 6_000), teacher_share=0.5, oversample=1.5,
    filters=(CodeOnly(), WithoutWords(words=(*ANIMALS.words, *ANIMALS.plurals), whole=False)),
)  # fmt: skip


def claim(word: str) -> Claim:
    """One favourite through functions."""
    published = Published(control=PAPER[word][0], taught=PAPER[word][1], where="Fig. 5, read off")
    return Claim(name=word, comparison=recipe.comparison(word, favourite(word), seeds), published=published)


code = findings("Animals through code", "4.1", [claim(word) for word in PAPER], __doc__)
figure = Figure(findings=code)
