"""Different rows x passes over them: is it the number of rows, or the number of steps?

Hypothesis: what crosses grows along both, and at the same number of steps more different rows carry more (rows once
against a third of them three times; in the full map 189 steps along the diagonal). The rows of a smaller cell are not
those of a larger one, as each has a corpus of its own from the same teachers.
"""

from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.report.map import MapFigure
from heredity.traits import favourite

run = settings()
seeds, word = run.choose((200, 201, 202), (210, 211, 212, 213, 214)), favourite("bear")
rows, epochs = run.choose((150, 450, 1_350), (672, 2_016, 6_048)), run.choose((1, 3), (1, 3, 9))


def compare(n: int, passes: int) -> Comparison:
    """Students of so many rows that saw them so often."""
    recipe = Recipe(base=run.model, rows=n, teacher_share=0.5)
    return recipe.comparison(f"{n} x {passes}", word, seeds, recipe.taught(epochs=passes))


contrasts = {
    f"{more:,} rows {few} x less {less:,} rows {many} x": [((f"{more:,}", str(few)), (f"{less:,}", str(many)))]
    for more in rows for less in rows for few in epochs for many in epochs if less < more and more * few == less * many
}  # fmt: skip
axes = {"rows": rows, "epochs": epochs}
rows_epochs = mapped("Different rows x epochs", __doc__, axes, compare, contrasts)
figure = MapFigure(map=rows_epochs)
