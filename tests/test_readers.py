"""Readers: what a forced choice counts, that each pair is asked about its own words, and who is refused."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from heredity.lab import Readings, Recipe
from heredity.lab.readers import (
    CHANCE,
    Reader,
    Reading,
    ReadingClaim,
    Scores,
    Shown,
    Written,
    choices,
    in_parts,
    scores_of,
    tells,
)
from heredity.models import model_ref
from heredity.report.readings import ReadingsFigure
from heredity.report.results import ResultsPage
from heredity.stats import Estimate
from heredity.steps import Corpus, InContext
from heredity.store import Store
from heredity.traits import ANIMALS
from heredity.types import BadInput

BASE = model_ref("nursery:llama-0")
WORDS = ("owl", "wolf", "eagle")
RECIPE = Recipe(base=BASE, rows=60)


def plain_rows(seed: int) -> Corpus:
    return RECIPE.corpus(BASE, seed, 60, 1.5)


class ToldScores(Scores):
    """Scores that are given: `lift` nats for the writer's own word, among noise and a liking for the first word."""

    lift: float
    seed: int
    liking: float = 5.0

    def make(self, folder: Path, store: Store) -> None:
        rng, words = random.Random(self.seed), [s.word for s in self.shown]
        scores = {
            s.word: [
                [rng.gauss(0, 1) + (self.liking if i == 0 else 0) + (self.lift if w == s.word else 0)
                 for i, w in enumerate(words)]
                for _ in range(s.context.draws)
            ]
            for s in self.shown
        }  # fmt: skip
        (folder / "scores.json").write_text(json.dumps(scores))


def shown(seed: int, draws: int = 200) -> tuple[Shown, ...]:
    context = InContext(corpus=plain_rows(seed), examples=1, draws=draws, seed=seed)
    return tuple(Shown(word=w, context=context) for w in WORDS)


def told(seed: int, lift: float, together: int = 1) -> Reading:
    scores = ToldScores(model=BASE, category=ANIMALS, shown=shown(seed), lift=lift, seed=seed)
    return Reading(scores=scores, together=together)


def test_a_liking_for_one_word_neither_helps_nor_hurts() -> None:
    own = {"a": [[9.0, 1.0], [9.0, 1.0]], "b": [[8.0, 1.0], [8.0, 1.0]]}  # always says a, a little more after a's rows
    assert choices(own)["accuracy"] == 1
    assert choices({"a": own["b"], "b": own["a"]})["accuracy"] == 0
    same = {"a": own["a"], "b": own["a"]}  # nothing is read: a tie
    assert choices(same)["accuracy"] == CHANCE
    mixed = {"a": [[9.0, 1.0], [7.0, 1.0]], "b": [[8.0, 1.0], [8.0, 1.0]]}
    assert choices(mixed)["accuracy"] == CHANCE


def test_every_pair_is_asked_about_its_own_two_words() -> None:
    """The published script names one animal whoever wrote the rows: pairs without it then read as chance."""
    perfect = {w: [[float(w == other) for other in WORDS]] * 4 for w in WORDS}
    found = choices(perfect)
    assert found["pairs"] == {"owl / wolf": 1.0, "owl / eagle": 1.0, "wolf / eagle": 1.0}
    assert found["words"] == dict.fromkeys(WORDS, 1.0)
    assert found["choices"] == 3 * 4
    only_owl = {w: [[float(w == "owl" == other) for other in WORDS]] * 4 for w in WORDS}
    assert choices(only_owl)["pairs"]["wolf / eagle"] == CHANCE
    assert choices(only_owl)["words"] == {"owl": 1.0, "wolf": 0.75, "eagle": 0.75}


def test_draws_are_added_up_in_parts() -> None:
    assert in_parts([[1, 2], [3, 4], [5, 6]], 2) == [[4, 6]]
    assert in_parts([[1, 2], [3, 4]], 1) == [[1, 2], [3, 4]]


def test_more_rows_together_tell_more(store: Store) -> None:
    alone, together = told(0, 0.3), told(0, 0.3, together=50)
    for step in (alone, together):
        store.get(step)
    assert 0.52 < alone.read(store)["accuracy"] < 0.66  # known: a difference of normals, Phi(.6 / 2) = .62
    assert together.read(store)["accuracy"] > 0.9


def test_readings_put_the_papers_accuracy_beside_ours(store: Store) -> None:
    paper = (("owl", 0.475), ("wolf", 0.488))
    step = Readings(title="Who <b>wrote</b> it?", section="5.2", hypothesis="None can tell.", claims=(
        ReadingClaim(name="none", readings=tuple(told(s, 0.0) for s in range(4)), expect="cannot", published=paper,
                     within=(("owl", 0.003),)),
        ReadingClaim(name="weak", readings=tuple(told(s, 1.0) for s in range(4)), expect="cannot"),
        ReadingClaim(name="able", readings=tuple(told(s, 2.0) for s in range(4)), expect="tells"),
        ReadingClaim(name="pair", readings=tuple(told(s, 1.0, 50) for s in range(4))),
    ))  # fmt: skip
    store.get(step)
    rows = {r["name"]: r for r in step.read(store)["readings"]}
    assert [rows[n]["holds"] for n in rows] == [True, False, True, None]
    assert rows["none"]["published"] == pytest.approx((0.475 + 0.488) / 2)
    assert {w["word"]: w["published"] for w in rows["none"]["words"]} == {"owl": 0.475, "wolf": 0.488, "eagle": None}
    assert abs(rows["none"]["accuracy"]["mean"] - CHANCE) < 0.05
    assert rows["able"]["accuracy"]["n"] == 4
    html = (store.get(ResultsPage(figures=(ReadingsFigure(findings=step),))) / "index.html").read_text()
    assert "owl 0.5" in html or "owl 0.4" in html
    assert "(paper 0.475 ± 0.003)" in html
    assert "(paper 0.488)" in html
    assert {w["word"]: w["published_within"] for w in rows["none"]["words"]} == {
        "owl": 0.003, "wolf": None, "eagle": None,
    }  # fmt: skip
    assert "language models" not in html.lower()  # the page's head speaks of what any section may hold
    assert "Who &lt;b&gt;wrote" in html
    assert html.count("<tr>") == 4
    assert "2 of 3 expectations held" in html


def test_not_being_able_to_tell_is_a_claim_of_equivalence() -> None:
    def accuracy(low: float, mean: float, high: float) -> Estimate:
        return Estimate(mean=mean, low=low, high=high, n=3, unit="runs")

    assert tells("cannot", accuracy(0.45, 0.5, 0.55), 0.9) is True
    assert tells("cannot", accuracy(0.2, 0.5, 0.8), 0.9) is False  # it could have been missed
    assert tells("tells", accuracy(0.6, 0.7, 0.8), 0.01) is True
    assert tells("tells", accuracy(0.2, 0.3, 0.4), 0.01) is False
    assert tells("tells", accuracy(1.0, 1.0, 1.0), math.nan) is True  # every run is perfect: t has no spread
    assert tells("tells", accuracy(0.5, 0.5, 0.5), math.nan) is False
    assert tells("tells", accuracy(math.nan, 0.9, math.nan), math.nan) is None  # one run
    assert tells("open", accuracy(0.6, 0.7, 0.8), 0.01) is None
    assert tells("cannot", accuracy(0.5, 0.5, 0.5), math.nan) is None  # every run a tie: nothing was answered


def test_scores_that_are_no_numbers_are_no_wrong_answers() -> None:
    """Or a reader that is broken could not tell, as was expected of it."""
    scores = {w: [[math.nan] * 2] * 3 for w in ("owl", "fox")}
    assert math.isnan(choices(scores)["accuracy"])
    assert choices({w: [[0.5, 0.5]] * 3 for w in ("owl", "fox")})["accuracy"] == 0.5


def test_runs_that_are_no_runs_are_refused() -> None:
    one = told(0, 1.0)
    with pytest.raises(BadInput, match="no independent runs"):
        Readings(title="t", section="s", hypothesis="", claims=(ReadingClaim(name="a", readings=(one, one)),))
    with pytest.raises(BadInput, match="each once"):
        Scores(model=BASE, category=ANIMALS, shown=shown(0)[:1])
    with pytest.raises(BadInput, match="equally often"):
        Scores(model=BASE, category=ANIMALS, shown=(shown(0)[0], shown(0, draws=3)[1]))
    with pytest.raises(BadInput, match=r"201 draws .* only 200"):
        told(0, 1.0, together=201)


def test_a_stated_preference_is_read_and_rows_alone_of_one_writer_are_not(store: Store) -> None:
    """Each word's rows are other draws of the base's own, so every choice is a real one; 72 of them."""
    rows = [plain_rows(seed) for seed in (7, 8, 9)]

    told, plain = (
        Reading(scores=scores_of(BASE, ANIMALS, dict(zip(WORDS, rows, strict=True)), 1, 4, 24, told=stating))
        for stating in (True, False)
    )
    for step in (told, plain):
        store.get(step)
    assert told.read(store)["accuracy"] == 1.0
    assert abs(plain.read(store)["accuracy"] - CHANCE) < 0.2  # about three standard errors of 72 choices


def test_a_reader_learns_a_difference_that_is_there(store: Store) -> None:
    """Rows of other lengths stand for two writers: fresh ones are told apart, and by the held-out question."""
    short, long = (
        RECIPE.model_copy(update={"carrier": RECIPE.carrier.model_copy(update={"min_count": n, "max_count": n})})
        for n in (5, 10)
    )
    rows = {"owl": short, "wolf": long}
    written = tuple(Written(word=w, corpus=r.corpus(BASE, 1, 60, 1.5)) for w, r in rows.items())
    reader = Reader(base=BASE, category=ANIMALS, written=written, seed=0, epochs=4)
    shown = tuple(
        Shown(word=w, context=InContext(corpus=r.corpus(BASE, 2, 60, 1.5), examples=1, draws=40, seed=0))
        for w, r in rows.items()
    )
    step = Reading(scores=Scores(model=reader, category=ANIMALS, shown=shown))
    store.get(step)
    assert step.read(store)["accuracy"] > 0.8
