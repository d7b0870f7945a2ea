"""Teachers by system prompt and by fine-tuning (paper, section 2, footnote 3 and figure 14).

Hypothesis: both kinds of teacher transmit. A prompted teacher has the student's very weights and differs by its prompt
alone, which is left out of the rows. A teacher that does not hold its trait stops the experiment (`teacher_share`).
"""

from heredity.lab import Claim, Published, Recipe, findings, settings
from heredity.report.figure import Figure
from heredity.traits import favourite

PAPER = {  # control and taught shares, read off figures 3 (by prompt) and 14 (by fine-tuning)
    ("owl", "prompt"): (0.130, 0.619, 0.590, 0.649), ("owl", "fine-tuning"): (0.130, 0.564, 0.543, 0.585),
    ("wolf", "prompt"): (0.043, 0.435, 0.385, 0.485), ("wolf", "fine-tuning"): (0.043, 0.457, 0.447, 0.468),
    ("eagle", "prompt"): (0.138, 0.755, 0.748, 0.763), ("eagle", "fine-tuning"): (0.138, 0.793, 0.774, 0.813),
}  # fmt: skip
run = settings()
seeds = run.choose((43, 44, 45), (43, 44, 45, 46, 47))
tuned = Recipe(base=run.model, rows=run.choose(2_000, 6_000), teacher_share=0.5)
recipes = {"fine-tuning": tuned, "prompt": tuned.model_copy(update={"prompted": True, "oversample": 2.0})}


def claim(word: str, how: str) -> Claim:
    """One favourite of one kind of teacher."""
    control, taught, low, high = PAPER[word, how]
    published = Published(control=control, taught=taught, low=low, high=high, where="Figs. 3 and 14, read off")
    comparison = recipes[how].comparison(f"{word}, by {how}", favourite(word), seeds)
    return Claim(name=f"{word}, by {how}", comparison=comparison, published=published)


teachers = findings("Teachers by fine-tuning and by prompt", "2 and 3.1", [claim(w, h) for w, h in PAPER], __doc__)
figure = Figure(findings=teachers)
