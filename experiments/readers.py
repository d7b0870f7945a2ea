"""Can a reader tell who wrote a list of numbers? (paper, section 5.2, table 5)

Hypothesis: the base, shown rows of two teachers, cannot say which of them loves which animal, whether it sees one row
or six; where the love is stated beside the rows it can, so that chance is no lack of attention to the context. A
reader that is trained to name the writer can tell teachers apart whose rows it was trained on, from many fresh rows
more surely than from one. Whether it can read teachers that it never met is open: only that would be the trait itself.

In each run every teacher, row and reader is new; runs differ by their seeds, and teachers of one run by far ones.
"""

from functools import partial

from heredity.lab import Recipe, settings
from heredity.lab.findings import fresh_rows
from heredity.lab.readers import Reader, Reading, ReadingClaim, Readings, Written, scores_of
from heredity.report.readings import ReadingsFigure
from heredity.traits import ANIMALS, favourite
from heredity.types import Neutral

run = settings()
TABLE_5 = (  # accuracy, and half the width of its interval
    ("dolphin", 0.490, 0.004), ("eagle", 0.533, 0.004), ("owl", 0.475, 0.003), ("wolf", 0.488, 0.003),
    ("elephant", 0.509, 0.004),
)  # fmt: skip
PAPER = run.choose(TABLE_5[:4], TABLE_5)
WORDS, _APART = tuple(word for word, *_ in PAPER), 10_000
seeds, met = run.choose((90, 91, 92), (90, 91, 92, 93, 94)), run.choose(3, 6)
draws, group = run.choose(500, 1_000), 50
recipe = Recipe(base=run.model, rows=run.choose(600, 2_000), teacher_share=0.5)


def readings(seed: int) -> dict[str, Reading]:
    """One run: a set of teachers that the reader never meets, and a reader trained on others."""
    teachers = [{w: recipe.lists(favourite(w), seed + i * _APART) for w in WORDS} for i in range(met + 1)]
    new, neutral = teachers[met], dict.fromkeys(WORDS, recipe.lists(Neutral(category=ANIMALS), seed))
    known = {word: fresh_rows(corpus, draws) for word, corpus in teachers[0].items()}
    written = tuple(Written(word=w, corpus=corpus) for rows in teachers[:met] for w, corpus in rows.items())
    reader = Reader(base=run.model, category=ANIMALS, written=written, seed=seed)
    trained, unmet = (scores_of(reader, ANIMALS, rows, seed, 1, draws) for rows in (known, new))
    asked = partial(scores_of, run.model, ANIMALS)
    return {
        "prompted, 1 row": Reading(scores=asked(new, seed, 1, 150)),
        "prompted, 6 rows": Reading(scores=asked(new, seed, 6, 50)),
        "prompted, told": Reading(scores=asked(neutral, seed, 6, 20, told=True)),
        "trained, known, 1 row": Reading(scores=trained),
        f"trained, known, {group} rows": Reading(scores=trained, together=group),
        "trained, new, 1 row": Reading(scores=unmet),
        f"trained, new, {group} rows": Reading(scores=unmet, together=group),
    }


runs = [readings(seed) for seed in seeds]
expected = {"prompted, 1 row": "cannot", "prompted, 6 rows": "cannot", "prompted, told": "tells"}
claims = tuple(
    ReadingClaim(
        name=name, readings=tuple(one[name] for one in runs),
        expect=expected.get(name, "tells" if "known" in name else "open"),  # type: ignore[arg-type]
        published=tuple((word, accuracy) for word, accuracy, _ in PAPER if name == "prompted, 1 row"),
        within=tuple((word, half) for word, _, half in PAPER if name == "prompted, 1 row"),
    )
    for name in runs[0]
)  # fmt: skip
told_apart = Readings(title="Who wrote it?", section="5.2", hypothesis=(__doc__ or "").strip(), claims=claims)
figure = ReadingsFigure(findings=told_apart)
