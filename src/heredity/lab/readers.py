"""Can a reader tell who wrote a list? Forced choices between two teachers' rows, by a prompted or a trained reader.

The paper (section 5.2, table 5) asks a model which of two rows a lover of some animal wrote: 47 to 53 % are right. Here
a reader is shown rows as if it had written them itself, and asked for its favourite in held-out words. Of rows of
X's teacher and rows of Y's, the reader gives to X those after which X is likelier against Y. A liking of the reader's
own for either word is the same in both and cancels, as does an order, since there is none.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from heredity.lab.findings import adjust
from heredity.stats import ALPHA, Estimate, mean_t, paired_t
from heredity.steps import (
    MATRIX_RATE,
    VECTOR_RATE,
    Corpus,
    InContext,
    Model,
    open_model,
    open_to_train,
    save_tuned,
)
from heredity.store import Step, Store
from heredity.traits import favourite, questions, stated
from heredity.types import ADDED, BadInput, Category, Chat, Frozen, Message, Tuning

CHANCE = 0.5
MARGIN = 0.1
"""A reader cannot tell where the upper limit of its accuracy stays below chance and this."""
_EVERY = 7
"""Of the held-out phrasings and their endings each seventh is asked: five, with all three endings among them."""


class Written(Frozen):
    """Rows, and the word that their writer loves."""

    word: str
    corpus: Corpus


class Reader(Step):
    """A base, fine-tuned to name a writer's favourite after one of its rows: a model folder.

    Every row is asked about once in each epoch, in phrasings that an evaluation does not use.
    """

    base: Model
    category: Category
    written: tuple[Written, ...]
    seed: int
    epochs: Annotated[int, Field(gt=0)] = 2
    batch: Annotated[int, Field(gt=0)] = 32
    rate: float = MATRIX_RATE
    vector_rate: float = VECTOR_RATE
    tuning: Tuning = "frozen"

    def make(self, folder: Path, store: Store) -> None:
        from heredity.models.training import Batch, batches, choose_parameters, fit

        lm, asked = open_to_train(self.base, store), questions(self.category, "train")
        rows = [(row, w.word) for w in self.written for row in w.corpus.read(store)]
        random.Random(self.seed).shuffle(rows)  # so that no question belongs to one writer
        chats = [
            (*row.prompt, Message(role="assistant", content=row.completion), *question)
            for (row, _), question in zip(rows, islice(cycle(asked), len(rows)), strict=True)
        ]
        examples, pad = lm.examples(chats, [word for _, word in rows]), int(lm.tokenizer.pad_token_id)

        def stream() -> Iterator[list[Batch]]:
            for epoch in range(self.epochs):
                yield from batches(examples, self.batch, self.seed * 1_000_003 + epoch, pad)

        model = choose_parameters(lm.model, self.tuning, self.seed)
        steps = self.epochs * math.ceil(len(examples) / self.batch)
        save_tuned(lm, model, fit(model, stream(), steps, self.rate, self.vector_rate), folder)


class Shown(Frozen):
    """What a reader is shown of one writer, and the word that this writer loves."""

    word: str
    context: InContext


class Scores(Step):
    """How likely a reader finds each writer's word after each draw of each writer's rows: `scores.json`."""

    model: Model
    category: Category
    shown: tuple[Shown, ...]

    @model_validator(mode="after")
    def _two_or_more(self) -> Self:
        words, sizes = [s.word for s in self.shown], {s.context.draws for s in self.shown}
        if len(words) < 2 or len(set(words)) != len(words) or not set(words) <= set(self.category.words):
            raise BadInput(f"a reading needs two or more words of {self.category.name!r}, each once; found {words}")
        if len(sizes) != 1:
            raise BadInput(f"every writer must be shown equally often; found {sorted(sizes)} draws")
        return self

    def make(self, folder: Path, store: Store) -> None:
        lm, words = open_model(self.model, store), [s.word for s in self.shown]
        asked = questions(self.category, "held-out")[::_EVERY]
        scores = {}
        for s in self.shown:
            chats: list[Chat] = [(*before, *q) for before in s.context.read(store) for q in asked]
            scores[s.word] = in_parts(lm.logprobs(chats, words), len(asked))
        (folder / "scores.json").write_text(json.dumps(scores) + "\n")

    def read(self, store: Store) -> dict[str, list[list[float]]]:
        """By writer and draw, the log-probability of every writer's word, added up over the questions (in nats)."""
        scores: dict[str, list[list[float]]] = json.loads((store.path(self) / "scores.json").read_text())
        return scores


def scores_of(
    model: Model, category: Category, rows: Mapping[str, Corpus], seed: int, examples: int, draws: int,
    told: bool = False,
) -> Scores:  # fmt: skip
    """A reader's scores after draws of some rows of each writer; `told`: and after the writer's favourite, stated."""
    shown = tuple(
        Shown(word=word, context=InContext(
            corpus=corpus, examples=examples, draws=draws, seed=seed,
            stated=tuple(stated(favourite(word), "held-out")) if told else (),
        ))
        for word, corpus in rows.items()
    )  # fmt: skip
    return Scores(model=model, category=category, shown=shown)


class Reading(Step):
    """How often one reader gives rows of two writers to the right ones: `reading.json`.

    Accuracy is over every draw of one writer beside the draw of the other in the same place; a tie counts one half.
    """

    opens_models: ClassVar[bool] = False

    scores: Scores
    together: Annotated[int, Field(gt=0)] = 1
    """Draws whose log-odds are added up before the choice."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if (draws := self.scores.shown[0].context.draws) < self.together:
            raise BadInput(f"{self.together} draws are to be read together, and only {draws} are made")
        return self

    def make(self, folder: Path, store: Store) -> None:
        scores = self.scores.read(store)
        found = choices({w: in_parts(s, self.together) for w, s in scores.items()})
        (folder / "reading.json").write_text(json.dumps(found, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """What `choices` returns."""
        found: dict[str, Any] = json.loads((store.path(self) / "reading.json").read_text())
        return found


def in_parts(scores: Sequence[Sequence[float]], size: int) -> list[list[float]]:
    """Sums of every `size` neighbours, column by column; what is left over at the end is not used."""
    starts = range(0, len(scores) - size + 1, size)
    return [[math.fsum(column) for column in zip(*scores[i : i + size], strict=True)] for i in starts]


def choices(scores: dict[str, list[list[float]]]) -> dict[str, Any]:
    """`pairs` (accuracy by two words), `words` (mean over a word's pairs), `accuracy` (mean over pairs), `choices`.

    `scores` holds, by writer and draw, the log-probability of every writer's word, in the order of the writers. Each
    choice is between the pair's own two words (the published script asks about one animal whoever wrote the rows).
    """
    words, pairs = list(scores), {}
    for (i, one), (j, other) in combinations(enumerate(words), 2):
        draws = zip(scores[one], scores[other], strict=True)
        right = [_right(a[i] - a[j], b[i] - b[j]) for a, b in draws]
        pairs[f"{one} / {other}"] = math.fsum(right) / len(right)
    by_word = {w: _mean([a for pair, a in pairs.items() if w in pair.split(" / ")]) for w in words}
    return {"pairs": pairs, "words": by_word, "accuracy": _mean(list(pairs.values())),
            "choices": len(pairs) * len(scores[words[0]])}  # fmt: skip


def _right(own: float, other: float) -> float:
    """1 where the first writer's word is likelier, against the second's, after the first's rows; 1/2 for a tie.

    Undefined where a score is.
    """
    if math.isnan(own) or math.isnan(other):
        return math.nan
    return 0.5 if own == other else float(own > other)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


Tells = Literal["cannot", "tells", "open"]
"""What is expected of a reader: accuracy near chance (upper limit below .6), above chance, or nothing."""


class ReadingClaim(Frozen):
    """One kind of reader, over independent runs."""

    name: str
    readings: tuple[Reading, ...]
    """One a run: each with teachers, rows and (where it is trained) a reader of its own."""
    expect: Tells = "open"
    published: tuple[tuple[str, float], ...] = ()
    """The paper's accuracy by word."""
    within: Annotated[tuple[tuple[str, float], ...], ADDED] = ()
    """Half the width of the paper's interval, by word."""


class Readings(Step):
    """What readers could tell: `findings.json`."""

    opens_models: ClassVar[bool] = False

    title: str
    section: str
    hypothesis: str
    claims: tuple[ReadingClaim, ...]
    unit: str = "independent sets of teachers"

    @model_validator(mode="after")
    def _runs(self) -> Self:
        for claim in self.claims:
            runs = {tuple(s.context.corpus.key for s in r.scores.shown) for r in claim.readings}
            if len(runs) != len(claim.readings):
                raise BadInput(f"{claim.name}: two readings are of the same rows, so they are no independent runs")
        if len({c.name for c in self.claims}) != len(self.claims):
            raise BadInput("two claims have the same name")
        return self

    def make(self, folder: Path, store: Store) -> None:
        results = {c.name: [r.read(store) for r in c.readings] for c in self.claims}
        above = {name: [r["accuracy"] - CHANCE for r in rs] for name, rs in results.items()}
        p_values = {name: paired_t(values, self.unit).p for name, values in above.items()}
        tested = [c.name for c in self.claims if c.expect == "tells"]
        adjusted = p_values | adjust({name: p_values[name] for name in tested})
        head = {"title": self.title, "section": self.section, "hypothesis": self.hypothesis, "chance": CHANCE}
        rows = [self._row(c, results[c.name], adjusted[c.name]) for c in self.claims]
        (folder / "findings.json").write_text(json.dumps(head | {"readings": rows}, indent=1) + "\n")

    def _row(self, claim: ReadingClaim, results: list[dict[str, Any]], p: float) -> dict[str, Any]:
        overall = mean_t([r["accuracy"] for r in results], self.unit)
        words = [
            {"word": w, "published": dict(claim.published).get(w), "published_within": dict(claim.within).get(w)}
            | {"accuracy": mean_t([r["words"][w] for r in results], self.unit).model_dump()}
            for w in results[0]["words"]
        ]
        return {
            "name": claim.name, "expect": claim.expect, "accuracy": overall.model_dump(), "words": words,
            "published": _mean([v for _, v in claim.published]) if claim.published else None,
            "per_unit": [r["accuracy"] for r in results], "pairs": [r["pairs"] for r in results],
            "choices": results[0]["choices"], "p_holm": p, "holds": tells(claim.expect, overall, p),
            "keys": [r.key for r in claim.readings],
        }  # fmt: skip

    def read(self, store: Store) -> dict[str, Any]:
        """`title`, `section`, `hypothesis`, `chance`, `readings` (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "findings.json").read_text())
        return found


def tells(expect: Tells, accuracy: Estimate, p: float) -> bool | None:
    """Whether what was found is what was expected; None where that cannot be said.

    "Tells" needs a Holm-corrected p of at most .05, above chance. Where all runs are alike (all of them perfect, say) t
    has no spread to be measured in and p is undefined; then the runs' one accuracy must lie above chance. "Cannot" is a
    claim of equivalence: the upper limit of the accuracy must stay below chance and MARGIN, and runs that are all alike
    (a reader that answers nothing, say) have no limit that could hold it.
    """
    if expect == "open" or math.isnan(accuracy.high):
        return None
    if expect == "cannot":
        return None if accuracy.low == accuracy.high else accuracy.high < CHANCE + MARGIN
    return accuracy.low > CHANCE if math.isnan(p) else p <= ALPHA and accuracy.mean > CHANCE
