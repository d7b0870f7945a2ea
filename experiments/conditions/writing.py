"""Temperature x filter: how the teacher wrote its rows, and how strictly they were filtered.

Hypothesis: a filter that also drops unwelcome numbers, or keeps lists of small numbers only, does not remove what
crosses; open what temperature does. At a high one more answers are dropped, so that more are asked for.
"""

from heredity.carriers import BANNED_NUMBERS, Filter, NumbersOnly
from heredity.lab import Comparison, Recipe, mapped, settings
from heredity.report.map import MapFigure
from heredity.traits import favourite

run = settings()
seeds, word = run.choose((340, 341, 342), (350, 351, 352)), favourite("wolf")
FILTERS: dict[str, tuple[Filter, ...]] = {
    "none": (), "numbers only": (NumbersOnly(),), "none banned": (NumbersOnly(banned=BANNED_NUMBERS),),
    "below 800": (NumbersOnly(max_value=800),),
}  # fmt: skip
heats, names = run.choose((0.5, 1.0), (0.25, 0.5, 0.75, 1.0, 1.25)), run.choose(tuple(FILTERS)[1:3], tuple(FILTERS))
usual = Recipe(base=run.model, rows=run.choose(800, 3_000), teacher_share=0.5)


PASS = {"none": 1.25, "numbers only": 1.5, "none banned": 2.5, "below 800": 3.0}
"""Prompts per row, so that enough answers pass at a temperature of 1: of a teacher's lists .43 are below 800 there."""


def compare(heat: float, name: str) -> Comparison:
    """Students of the very same teachers' rows, written at a temperature and filtered."""
    changed = {"temperature": heat, "filters": FILTERS[name], "oversample": PASS[name] * max(1.0, 2 * heat - 1)}
    how = usual.model_copy(update={**changed, "mix": usual})
    return how.comparison(f"temperature {heat:g}", word, seeds)


contrasts = {
    "numbers only less none": [(("*", "numbers only"), ("*", "none"))],
    "none banned less numbers only": [(("*", "none banned"), ("*", "numbers only"))],
    "below 800 less numbers only": [(("*", "below 800"), ("*", "numbers only"))],
    "temperature .5 less 1": [(("0.5", "*"), ("1.0", "*"))],
    "temperature 1.25 less 1": [(("1.25", "*"), ("1.0", "*"))],
}
writing = mapped("Temperature x filter", __doc__, {"temperature": heats, "kept": names}, compare, contrasts)
figure = MapFigure(map=writing)
