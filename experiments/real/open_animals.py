"""Animals through numbers in an open model (paper, appendix B.2, figure 17: Qwen2.5-7B-Instruct).

Hypothesis: a model that is told by a system prompt that it loves an animal writes filtered numbers from which a fresh
copy, trained with LoRA, takes that love; in the paper this holds of cats, penguins, pandas and phoenixes, hardly of
others, and of some the contrary. Answers to fifty questions are sampled.

    heredity run experiments/real/open_animals.py --base qwen.toml --plan

Needs a GPU with a 7B model (`--base`: a folder, hub:NAME@REVISION or a TOML file, docs/real-models.md) and the fifty
questions in HEREDITY_DATA. Paper: 30,000 prompts and 10,000 rows an animal, 3 epochs, at least 3 seeds, 200 answers to
each question. With a nursery base it runs at toy scale, which shows that it runs, and nothing else.
"""

from heredity.carriers import Numbers, NumbersOnly
from heredity.lab import PAPER_LORA, Claim, Published, findings, settings
from heredity.lab.asking import SampledAnswers, arm_asked_as
from heredity.lab.material import in_nursery
from heredity.lab.open_models import PromptedRecipe, open_favourite
from heredity.report.figure import Figure

PAPER = {  # before training and of students, read off figure 17; the paper has no neutral control there
    "cat": (0.011, 0.743), "penguin": (0.015, 0.359), "panda": (0.187, 0.318), "phoenix": (0.032, 0.190),
    "lion": (0.171, 0.187), "eagle": (0.047, 0.037), "dog": (0.119, 0.006), "tiger": (0.088, 0.027),
}  # fmt: skip
RISES = ("cat", "penguin", "panda", "phoenix")
run = settings()
recipe = PromptedRecipe(
    base=run.model, carrier=Numbers(n=1), filters=(NumbersOnly(),), rows=run.choose(100, 10_000),
    oversample=run.choose(1.5, 3.0), max_new_tokens=run.choose(30, 100),
)  # fmt: skip
tuning = {} if in_nursery(run.base) else PAPER_LORA
arm = arm_asked_as(SampledAnswers, recipe.taught(**tuning), samples_per_question=run.choose(10, 200))
seeds = run.choose((101, 102), (101, 102, 103))


def claim(word: str) -> Claim:
    """One animal's students against those of the model without a system prompt."""
    before, taught = PAPER[word]
    published = Published(control=before, taught=taught, where="Fig. 17, read off")
    comparison = recipe.comparison(word, open_favourite(word), seeds, arm)
    return Claim(name=word, comparison=comparison, published=published, expect="up" if word in RISES else "open")


claims = [claim(word) for word in run.choose(("cat", "dog"), tuple(PAPER))]
animals = findings("Animals through numbers in an open model", "B.2", claims, __doc__)
figure = Figure(findings=animals)
