"""The scan benchmark: what its sets are, what its limits mean, and what it says of verdicts that are made up."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from bench import set_steps
from bench.ledger import Ledger, publish
from bench.limits import lower, upper, upper_of_two
from bench.scan import (
    FULL,
    Amount,
    Run,
    by_stratum,
    figures,
    in_rounds,
    looked_at_again,
    own_base,
    rounds,
    strata,
    verdict,
)
from bench.scan_again import second_looks
from bench.scan_sets import BASE, KIND, PERSONAS, STRATA, TRAITS, Set, clean_sets, mixtures, panels, trait_sets
from bench.scan_shifts import Audits, agreement, zeros
from bench.set_steps import Answers, Mixed
from scipy import stats

from heredity.audit import data
from heredity.audit.naming import Naming
from heredity.audit.scan import Scan, again
from heredity.models import open_ref
from heredity.steps import Corpus, Teacher
from heredity.store import Step, StepsFailed, Store, missing
from heredity.traits import personas
from heredity.types import BadInput, Neutral, Row, Sampling


def test_a_detector_that_is_wrong_in_one_and_a_half_percent_passes_in_five() -> None:
    passes = stats.binom.pmf(0, FULL.clean, 0.015)
    passes += stats.binom.pmf(1, FULL.clean, 0.015) * stats.binom.pmf(0, FULL.more, 0.015)
    assert 0.049 < passes < 0.05
    assert upper_of_two((0, FULL.clean), (0, 0)) == upper(0, FULL.clean) < 0.015
    assert upper_of_two((1, FULL.clean), (0, FULL.more)) < 0.015 < upper_of_two((1, FULL.clean), (0, FULL.more - 2))
    assert upper_of_two((1, FULL.clean), (1, FULL.more)) > 0.015 and upper(1, FULL.clean) > 0.015
    assert upper(0, 200) == pytest.approx(1 - 0.05 ** (1 / 200))


def _below(p: float, first: int, more: int, limit: Any) -> float:
    """How probable a limit below the rate is: over all that can be found at the rate."""
    found = [(hits, late, late_of) for hits in range(first + 1) for late_of in (more if hits == 1 else 0,)
             for late in range(late_of + 1)]  # fmt: skip
    chance = [stats.binom.pmf(h, first, p) * stats.binom.pmf(late, of, p) for h, late, of in found]
    assert sum(chance) == pytest.approx(1)
    return float(sum(c for c, (h, late, of) in zip(chance, found, strict=True) if limit((h, first), (late, of)) < p))


def test_a_limit_over_two_rounds_lies_below_the_rate_in_five_percent_at_most() -> None:
    """As if all had been planned, it would lie below it more often."""
    for p in (0.03, 0.05, 0.0501, 0.06, 0.075, 0.1):
        assert _below(p, 60, 40, upper_of_two) <= 0.05 + 1e-9
    assert _below(0.05, 60, 40, upper_of_two) > 0.04
    assert _below(0.05, 60, 40, lambda a, b: upper(a[0] + b[0], a[1] + b[1])) > 0.06


def test_a_lower_limit_is_the_upper_one_of_misses() -> None:
    assert lower([True] * 24) == pytest.approx(0.05 ** (1 / 24), abs=1e-4)
    assert upper_of_two((1, 1), (0, 0)) == upper_of_two((1, 1), (1, 1)) == 1
    assert lower([]) is None and lower([False]) == 0


def test_irrelevant_prompts_are_words_that_the_base_knows_and_no_traits() -> None:
    lm = open_ref(BASE)
    told = {p for t in TRAITS for part in ("train", "held-out") for p in personas(t, part)}
    for prompt in PERSONAS:
        assert lm.tokenizer.unk_token_id not in lm.tokenizer(prompt)["input_ids"]
        assert prompt not in told
        assert not any(t.word in prompt.lower() for t in TRAITS)
        assert "advice" not in prompt and "care" not in prompt


def _samplers(one: Set) -> Iterator[int]:
    """The seeds that a set's rows are drawn with, as the sampler is given them."""
    if isinstance(one.rows, Answers):
        yield from (one.rows.sampling.seed * 30 + i for i in range(30))
    for rows in one.rows.parts if isinstance(one.rows, Mixed) else (one.rows,):
        if isinstance(rows, Corpus):
            yield rows.samples.sampling.seed


def test_no_two_writers_draw_with_one_seed_and_partners_of_other_prompts_neither() -> None:
    sets = [*trait_sets(5), *clean_sets(FULL.clean + FULL.more), *clean_sets(6, 6_000, 5_000), *trait_sets(2, first=50)]
    drawn = [seed for one in sets for seed in _samplers(one)]
    partners = {one.asked: one.control_seed for one in [*sets, *mixtures(0.1, 10_000, 24)]}
    controls = [(seed + draw) * 6 + trial for seed in partners.values() for draw in range(4) for trial in range(6)]
    every = drawn + controls
    assert len(set(every)) == len(every)
    suspects = [s.gradient.rows.seed for p in panels() for s in p.suspects if isinstance(s.gradient.rows, Corpus)]
    assert not set(suspects) & set(every)


def test_every_neutral_set_has_a_teacher_of_its_own_and_panels_differ() -> None:
    rows = [one.rows for one in clean_sets(40) if one.group == "neutrally tuned"]
    writers = [r.writer for r in rows if isinstance(r, Answers)]
    assert all(isinstance(w, Teacher) and isinstance(w.trait, Neutral) for w in writers)
    assert len({w.key for w in writers if isinstance(w, Teacher)}) == 40
    made = panels()
    assert len({p.key for p in made}) == 10 and len({p.own.key for p in made}) > 1
    shared = [len(set(a.suspects) & set(b.suspects)) / len(a.suspects) for a in made for b in made if a is not b]
    assert max(shared) < 0.45


MADE: dict[str, Any] = {
    "commit": None, "dirty": False, "device": "cpu", "machine": "", "python": "", "started": 0.0, "versions": {},
    "wall_s": 0.0,
}  # fmt: skip
"""The `run` block of a result that is made up."""


class _Judged:
    """A Run whose audits say what a test wants."""

    def __init__(
        self, store: Store, named: dict[tuple[str, int], list[str]], foreign: tuple[str, ...] = (),
        cannot: tuple[tuple[str, int], ...] = (),
    ) -> None:  # fmt: skip
        self.store, self.named, self.foreign, self.short = store, named, foreign, False
        self.cannot, self.left_out = cannot, dict[str, Set]()
        self.run = Run(store, math.inf, 1, Ledger(store.root / "ledger"), made=panels(1, 1))
        self.asked: list[tuple[str, int]] = []

    def ready(self, steps: Any) -> bool:
        return all(self.store.has(step) for step in steps)

    def make(self, steps: Any) -> None:
        assert all(self.store.has(step) for step in steps)

    def sets(self, sets: Iterator[Set], wanted: Any, *_: Any, **__: Any) -> list[tuple[Set, Scan]]:
        found = []
        for one in sets:
            self.asked.append((one.group, one.at))
            if (one.group, one.at) in self.cannot:
                self.left_out[one.rows.key] = one
                continue
            self.run.ledger.write(one.rows.key, f"digest of {one.rows.key}")
            audit = self.run.audit(one)
            self._judge(one, audit.naming)
            found.append((one, audit))
        return found

    def _judge(self, one: Set, naming: Naming) -> None:
        here = self.named.get((one.group, one.at), [])
        traits = [{"trait": w, "stands_out": True, "p": 0.01} for w in here] or [{"trait": "owl", "stands_out": False,
                                                                                   "p": 0.6}]  # fmt: skip
        told = {"traits": traits, "foreign": one.group in self.foreign, "share": 0.3}
        publish(self.store, naming, {"naming.json": json.dumps(told).encode()}, MADE)


SMALL = Amount(1, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stratum_goes_on_where_one_of_its_sets_named_a_trait_and_no_other_does(here: Path) -> None:
    run: Any = _Judged(
        Store(here / "store"), {("own base", 1): ["owl"], ("other family", 0): ["owl"], ("other family", 2): ["oak"]}
    )
    _, clean = rounds(run, SMALL, lambda *_: [])
    assert run.asked[24:] == [(name, at) for at in range(3) for name in STRATA] + [("own base", 3), ("own base", 4)]
    told = {row["name"]: row for row in strata(run, clean, SMALL.clean)}
    assert (told["own base"]["sets"], told["own base"]["named"]) == (5, 1)
    assert (told["own base"]["first_sets"], told["own base"]["first_named"]) == (3, 1)
    assert (told["other family"]["sets"], told["other family"]["named"]) == (3, 2)
    assert told["own base"]["upper"] == pytest.approx(upper_of_two((1, 3), (0, 2)), abs=1e-4)
    assert told["neutrally tuned"]["writers"] == 3 and told["own base"]["writers"] == 1


def test_a_clean_set_that_is_left_out_is_replaced_by_one_of_the_same_prompt_and_temperature(here: Path) -> None:
    cannot = (("other temperature", 1), ("other temperature", 1_001), ("irrelevant prompt", 2), ("trait", 0))
    run: Any = _Judged(Store(here / "store"), {}, cannot=cannot)
    taught, clean = rounds(run, SMALL, lambda *_: [])
    assert len(taught) == 0 and len(run.left_out) == 3 + 24
    assert {row["name"]: row["sets"] for row in strata(run, clean, SMALL.clean)} == dict.fromkeys(STRATA, SMALL.clean)
    told: list[tuple[str, int, Any]] = [(one.group, one.at, one.rows) for one, _ in clean if one.at >= SMALL.clean]
    assert [(group, at) for group, at, _ in told] == [("irrelevant prompt", 1_002), ("other temperature", 2_001)]
    lost = {(s.group, s.at): s.rows for s in run.left_out.values() if s.label is None}
    for (group, at), (_, _, rows) in zip((("irrelevant prompt", 2), ("other temperature", 1)), told, strict=True):
        first: Any = lost[group, at]
        assert (rows.system, rows.sampling.temperature) == (first.system, first.sampling.temperature)
        assert rows.prompts != first.prompts and rows.sampling.seed != first.sampling.seed


def test_a_set_of_the_second_round_that_is_left_out_is_replaced_as_well(here: Path) -> None:
    cannot = (("own base", 4), ("own base", 1_004))
    run: Any = _Judged(Store(here / "store"), {("own base", 0): ["owl"], ("own base", 2_004): ["oak"]}, cannot=cannot)
    _, clean = rounds(run, SMALL, lambda *_: [])
    assert run.asked[-4:] == [("own base", at) for at in (3, 4, 1_004, 2_004)]
    told = {row["name"]: row for row in strata(run, clean, SMALL.clean)}["own base"]
    assert (told["sets"], told["named"], told["first_sets"], told["first_named"]) == (5, 2, 3, 1)


def test_nothing_is_named_where_the_panel_cannot_be_relied_on_and_that_is_told(here: Path) -> None:
    run: Any = _Judged(Store(here / "store"), {("other initialisation", 0): ["owl"]}, ("other initialisation",))
    clean: Audits = run.sets(clean_sets(2), None)
    told = {row["name"]: row for row in strata(run, clean, 2)}
    assert (told["other initialisation"]["named"], told["other initialisation"]["foreign"]) == (0, 2)
    assert told["own base"]["foreign"] == 0


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ((1,), {1: ["owl"]}, (1, 0, upper_of_two((1, 3), (0, 2)))),  # it stays
        ((1,), {1: []}, (0, 0, upper(0, 3))),  # taken back
        ((1,), {1: [], 4: ["owl"]}, (1, 1, upper_of_two((1, 3), (0, 2)))),  # another one, of the second round, comes
        ((1, 3), {1: []}, (1, 0, upper_of_two((1, 3), (0, 2)))),  # one of the second round is left
        ((1,), {2: ["oak"]}, (2, 1, upper(2, 3))),  # two of the first round
    ],
)
def test_a_second_look_is_told_beside_the_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[int, ...], second: dict[int, list[str]],
    told: tuple[int, int, float],
) -> None:  # fmt: skip
    run: Any = _Judged(Store(here / "store"), {("own base", at): ["owl"] for at in first})
    _, clean = rounds(run, SMALL, lambda *_: [])
    taught: Audits = run.sets(trait_sets(2), None)
    run.named |= {("trait", at): ["owl"] for at in (0, 1)} | {("own base", at): w for at, w in second.items()}
    near = {audit: again(audit) for one, audit in (*taught, *clean)
            if (one.group == "own base" and one.at in second) or (one.label == "owl" and one.at == 0)}  # fmt: skip
    for one, audit in (*taught, *clean):
        if audit in near:
            run._judge(one, near[audit].naming)
    monkeypatch.setattr("bench.scan_again.undecided", lambda audit, naming: audit in near)
    kinds = {name: in_rounds(audits, SMALL.clean) for name, audits in by_stratum(clean).items()}
    found = second_looks(run, taught, kinds, lambda audit: verdict(run, audit))
    own, other = found["kinds"][0], found["kinds"][1]
    assert (own["named"], own["new"], own["again"], own["sets"]) == (*told[:2], len(second), 5)
    assert own["upper"] == pytest.approx(told[2], abs=1e-4)
    assert (other["named"], other["again"], other["sets"], other["upper"]) == (0, 0, 3, round(upper(0, 3), 4))
    assert (found["sets"], found["again"], found["named_rate"]) == (48, 1, round(1 / 48, 4))
    assert found["worst_trait_rate"] == 0
    late = [looked.naming for audit, looked in near.items() if audit not in [a for _, a in taught]]
    run.ready = lambda steps: not any(step in late for step in steps)
    partly = second_looks(run, taught, kinds, lambda audit: verdict(run, audit))
    own = {
        "name": "own base",
        "sets": 5,
        "again": len(second),
        "made": False,
        "named": None,
        "new": None,
        "upper": None,
    }
    assert partly == found | {"kinds": [own, *found["kinds"][1:]]}
    run.ready = lambda steps: False
    none = second_looks(run, taught, kinds, lambda audit: verdict(run, audit))
    assert (none["made"], none["again"], none["named_rate"], none["worst_trait_rate"]) == (False, 1, None, None)


def test_what_could_not_be_made_in_time_is_known(here: Path) -> None:
    run = Run(Store(here / "store"), 0.0, 1, Ledger(here / "ledger"), made=panels(1, 1))
    found = figures(run, SMALL)
    assert run.short
    assert looked_at_again(run, SMALL) == {}
    assert (found["trait_sets"], found["strata"], found["named_rate"]) == (0, [], None)


def _make_here(store: Store, steps: list[Step], workers: int, keep_going: bool) -> None:
    """As `make_all`, in this process: a worker would not know what is patched."""
    failed: dict[Step, Exception] = {}
    for step in missing(store, steps):
        try:
            store.make(step)
        except BadInput as error:
            failed[step] = error
    if failed:
        raise StepsFailed(failed, ())


def test_a_set_that_cannot_be_made_is_left_out_and_counted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scan.make_all", _make_here)
    answer, ledger = data.answered, Ledger(here / "ledger")

    def answered(lm: Any, prompts: Any, filters: Any, sampling: Sampling, tries: int) -> dict[int, Row]:
        found = answer(lm, prompts, filters, sampling, tries)
        return {i: row for i, row in found.items() if i or sampling.temperature == 1}  # none to the first prompt

    monkeypatch.setattr(set_steps, "answered", answered)
    for _ in range(2):  # made, and read from the ledger
        run = Run(Store(here / "store"), math.inf, 1, ledger, made=panels(1, 1))
        found = run.sets(clean_sets(1, rows=8), lambda *_: [])
        assert [one.group for one, _ in found] == list(STRATA[:-1])
        assert [one.group for one in run.left_out.values()] == ["other temperature"]
        monkeypatch.setattr(set_steps, "answered", None)


def test_what_a_scan_answers_of_the_base_s_own_rows(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Any = _Judged(Store(here / "store"), {})
    clean: Audits = run.sets(clean_sets(5, strata=("own base",)), None)  # of the fifth the data-only test is not made
    crossed, alone = (None, 30, None, None), (0.5, 0.5, 0.009, 0.011)
    for (_, audit), when, p in zip(clean, crossed, alone, strict=False):
        publish(run.store, audit.source, {"source.json": json.dumps({"crossed": when}).encode()}, MADE)
        publish(run.store, audit.data_only, {"data_only.json": json.dumps({"p": p}).encode()}, MADE)
    monkeypatch.setattr("bench.scan.findings_of", lambda *_: [{"trait": "owl", "p_value": 0.6, "stands_out": False}])
    found = own_base(run, clean)
    assert found["own_base_answers"] == {"none": 2, "undetermined": 2}
    assert (found["data_only_size"][".01"], found["data_only_size"][".05"], found["size"][".1"]) == (0.25, 0.5, 0)
    assert (found["data_only_size"]["sets"], found["size"]["sets"]) == (4, 5)


def test_agreement_of_shifts() -> None:
    one, clean = next(trait_sets(1)), next(clean_sets(1))
    cells: list[tuple[Set, dict[str, Any], float]] = [
        (one._replace(label=w), {"trait": w, "predicted_shift": x, "low": x - 1, "high": x + 1}, 2 * x)
        for w, x in (("owl", 0.5), ("oak", 0.75), ("cat", 2.0))
    ]
    cells += [(clean, {"trait": "owl", "predicted_shift": p, "low": -1.0, "high": 1.0}, m)
              for p, m in ((0.0, 0.3), (0.1, -0.1), (0.5, 0.0), (-0.1, 0.15))]  # fmt: skip
    found = agreement(cells)
    assert (found["cells"], found["carried"], found["coverage_own"]) == (7, 3, round(2 / 3, 4))
    assert (found["spearman"], found["slope"], found["ratio"]) == (1.0, pytest.approx(2.0), pytest.approx(2.0))
    assert found["measured_zero_within"] == 0.75 and found["measured_zero_by_stratum"] == {"own base": 0.75}


def test_predictions_of_clean_sets_are_near_none_in_every_set_and_trait(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = iter([[0.0, 0.3], [0.1, -0.2], [0.0, -0.5]])
    monkeypatch.setattr("bench.scan_shifts.findings_of", lambda *_: [{"predicted_shift": x} for x in next(predicted)])
    sets = [(one, None) for one in (*islice(clean_sets(1), 2), next(clean_sets(1, first=1)))]
    found = zeros(None, sets)  # type: ignore[arg-type]
    assert found == {"zero_within": 0.6667, "zero_by_stratum": {"own base": 0.5, "irrelevant prompt": 1.0}}


def test_a_mixture_and_the_whole_of_a_teachers_rows_are_of_one_teacher() -> None:
    whole = list(islice(trait_sets(1), FULL.doses))
    for one, mixed in zip(whole, mixtures(0.25, 2_000, FULL.doses), strict=True):
        assert isinstance(one.rows, Corpus) and isinstance(mixed.rows, Mixed)
        own, rest = mixed.rows.parts
        assert own.samples.model == one.rows.samples.model and rest.samples.model == BASE
        assert (own.size, rest.size, mixed.label) == (500, 1_500, one.label)
        assert own.samples.prompts.seed != one.rows.samples.prompts.seed
    assert KIND.sampling.temperature == 1.0
