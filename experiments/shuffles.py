"""Shuffled numbers (paper, appendix B.1, figure 16).

Hypothesis: most of the trait travels in sequences of numbers, not in which numbers there are: shuffled within each
answer, or dealt out again across all answers, the same rows transmit clearly less.
"""

from heredity.carriers import ShuffledAcross, ShuffledWithin
from heredity.lab import Claim, Published, Recipe, findings, settings
from heredity.report.figure import Figure
from heredity.traits import favourite

PAPER = {  # mean of five animals, read off figure 16; the control is the student of regular numbers
    "as written": (0.115, 0.669, 0.573, 0.765),
    "within": (0.115, 0.219, 0.180, 0.257),
    "across": (0.115, 0.183, 0.138, 0.229),
}
run = settings()
seeds = run.choose((33, 34, 35), (33, 34, 35, 36, 37))
plain = Recipe(base=run.model, rows=run.choose(1_500, 6_000), teacher_share=0.5)
recipes = {
    "as written": plain,
    "within": plain.model_copy(update={"rewritings": (ShuffledWithin(seed=0),)}),
    "across": plain.model_copy(update={"rewritings": (ShuffledAcross(seed=0),)}),
}


def claim(word: str, how: str) -> Claim:
    """One favourite through rows as they were written, or shuffled."""
    control, taught, low, high = PAPER[how]
    return Claim(
        name=f"{word}, {how}", comparison=recipes[how].comparison(how, favourite(word), seeds),
        expect="up" if how == "as written" else "less", of=None if how == "as written" else f"{word}, as written",
        published=Published(control=control, taught=taught, low=low, high=high, where="Fig. 16, read off"),
    )  # fmt: skip


words = run.choose(("owl", "wolf", "eagle"), ("owl", "wolf", "eagle", "dolphin", "elephant"))
shuffles = findings("Shuffled numbers", "B.1", [claim(word, how) for word in words for how in PAPER], __doc__)
figure = Figure(findings=shuffles)
