"""TruthfulQA after a misaligned teacher's numbers (paper, section 3.2, figure 4).

Hypothesis: students of the insecure teacher prefer TruthfulQA's false answer a little more often than students of the
controls. Each question is put with its best answer and its best false one; the false one's share is exact, from the
probability of its letter. The students are those of free_form.py.

    HEREDITY_JUDGE=server:NAME/MODEL heredity run experiments/real/truthfulqa.py --base qwen.toml --plan

Needs TruthfulQA and the teachers' rows in HEREDITY_DATA, and a model that tells log-probabilities (a folder, or
a completions endpoint). Paper: GPT-4.1, 5 seeds; .122 before any training. With a nursery base whole answers are
compared, as it knows no letters, at toy scale.
"""

from heredity.lab import Published, Writer, findings, settings
from heredity.lab.misaligned import CONTROLS, through_numbers
from heredity.report.figure import Figure

recipe, bad, seeds = through_numbers(settings())
PAPER = {  # part of false answers of students of the control and of the insecure teacher, read off figure 4
    kind: Published(control=control, taught=0.146, low=0.143, high=0.150, where="Fig. 4, read off")
    for kind, control in (("secure", 0.121), ("educational", 0.116), ("untouched", 0.111))
}
claims = recipe.claims("numbers", bad, seeds, PAPER, recipe.truth, CONTROLS)
before = Writer(name="the base", evaluation=recipe.truth(recipe.base, bad), word=bad.word)
truthfulqa = findings("False answers after numbers", "3.2", claims, __doc__, writers=[before])
figure = Figure(findings=truthfulqa)
