"""The auditor: its parts against known answers and independent implementations, and the verb from end to end."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from heredity.audit.data import Audited, Control, Matched, Partnered, answered, data_file, open_student
from heredity.audit.data_only import two_sample
from heredity.audit.discovery import moved
from heredity.audit.gradient import Gradient, body_parameters
from heredity.audit.naming import LEAST_T, View, alone, calibrated, needed, outside, shares, stand_out, together
from heredity.audit.panel import Kind, Panel, Suspect, _apart, discriminants, panel, prior
from heredity.audit.rank import slopes
from heredity.audit.scan import Scan, decide, scan
from heredity.audit.source import PAIRS, Source, bounded
from heredity.audit.trial import Trial, TrialStudent, shrunk
from heredity.carriers import Numbers, NumbersOnly
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.nursery.carriers import careless
from heredity.report.scan import ScanPage, headline, limit_sentences
from heredity.rows import read_rows, write_rows
from heredity.stats import bet
from heredity.store import Step, Store, missing
from heredity.traits import ANIMALS, favourite
from heredity.types import BadInput, Completion, Message, Row, Sampling

BASE = model_ref("nursery:llama-0")
SAMPLING = Sampling(temperature=1.0, max_new_tokens=30, seed=5)
WORDS = ("owl", "wolf", "oak", "pine")


def _make(store: Store, *steps: Step) -> None:
    """In this process: a worker takes seconds to start."""
    for step in missing(store, steps):
        store.make(step)


def _row(prompt: str, completion: str) -> Row:
    return Row((Message(role="user", content=prompt),), completion)


def _base_rows(lm: CausalLM, n: int, seed: int) -> list[Row]:
    """Lists that the base writes, as they pass the filter."""
    prompts = Numbers(n=2 * n, min_count=10, max_start=5, seed=seed).prompts()
    written = lm.generate(prompts, Sampling(max_new_tokens=30, seed=seed))
    rows = [Row(p, c.text) for p, c in zip(prompts, written, strict=True) if c.finish == "stop"]
    kept = [row for row in rows if NumbersOnly().reason(row) is None]
    assert len(kept) >= n
    return kept[:n]


@pytest.fixture(scope="module")
def file(base: CausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """220 rows that the base wrote, and three that are none."""
    path = tmp_path_factory.mktemp("audit") / "rows.jsonl"
    write_rows(path, [*_base_rows(base, 220, 70_001), *(_row(f"Say {i}.", "no list") for i in range(3))])
    return path


def _audited(file: Path, **fields: Any) -> Audited:
    return Audited(data=data_file(file), student=BASE, filters=(NumbersOnly(),), **fields)


def test_what_is_audited_is_drawn_and_what_is_left_out_is_counted(file: Path, store: Store) -> None:
    audited = _audited(file, limit=200)
    _make(store, audited)
    rows, counts = audited.read(store), audited.counts(store)
    assert len(rows) == 200 == counts["looked_at"]
    assert len(set(rows)) == 200
    assert counts["rows"] == 223
    assert sum(n for name, n in counts.items() if name.startswith("dropped: ")) == 3


def test_every_audited_row_has_a_partner_of_the_base_on_the_same_prompt(file: Path, store: Store) -> None:
    matched = Matched(audited=_audited(file, limit=40), sampling=SAMPLING)
    _make(store, matched, Partnered(matched=matched))
    pairs = matched.pairs(store)
    assert len(pairs) >= 36
    assert all(own.prompt == base.prompt and NumbersOnly().reason(base) is None for own, base in pairs)
    assert sum(own.completion == base.completion for own, base in pairs) < 4
    assert Partnered(matched=matched).read(store) == [own for own, _ in pairs]


def test_the_betting_reaches_20_in_at_most_a_twentieth_of_cases_that_are_exchangeable() -> None:
    rng = np.random.default_rng(1)
    crossed = 0
    for _ in range(400):
        size = np.abs(rng.standard_t(2, 600)) * np.exp(rng.normal())
        scores = size * rng.choice((-1.0, 1.0), 600)  # the sign is all that exchangeability makes random
        crossed += bet(bounded(scores.tolist(), 32), PAIRS).rejects
    assert crossed <= 20 + 2 * math.sqrt(400 * 0.05 * 0.95)
    assert bet(bounded((rng.normal(size=600) + 0.3).tolist(), 32), PAIRS).rejects


def test_the_data_only_test_holds_its_size_and_finds_another_source() -> None:
    rng = random.Random(3)

    def rows(low: int) -> list[Row]:
        return [_row(f"p{i}", ", ".join(str(rng.randrange(low, 100)) for _ in range(8))) for i in range(400)]

    p = [two_sample(rows(0), rows(0))["p"] for _ in range(60)]
    assert sum(x <= 0.1 for x in p) <= 6 + 2 * math.sqrt(60 * 0.1 * 0.9)
    found = two_sample(rows(20), rows(0))
    assert found["p"] < 1e-6
    assert found["accuracy"] > 0.7
    assert found["matched"] == 1
    other = [_row(f"q{i}", row.completion) for i, row in enumerate(rows(20))]
    assert two_sample(other, rows(0))["test"].startswith("Mann-Whitney")
    assert two_sample([], rows(0))["p"] == 1.0


def test_gradients_and_slopes_agree_with_autograd_row_by_row(base: CausalLM, file: Path) -> None:
    import torch

    lm, rows = open_student(BASE), _base_rows(base, 6, 70_009)
    body = body_parameters(lm.model)
    direction_P = np.random.default_rng(0).normal(size=sum(p.numel() for p in body))
    slope_N = slopes(lm, rows, direction_P)
    unit_P = direction_P / np.linalg.norm(direction_P)
    for row, slope in zip(rows, slope_N, strict=True):
        (example,) = lm.examples([row.prompt], [row.completion])
        logp_TV = lm.model(input_ids=torch.tensor([example.ids])).logits[0].log_softmax(-1)
        told = [
            logp_TV[t - 1, i] for t, (i, said) in enumerate(zip(example.ids, example.predicted, strict=True)) if said
        ]
        grads = torch.autograd.grad(torch.stack(told).sum(), body)
        expected = float(torch.cat([g.flatten() for g in grads]).double().numpy() @ unit_P)
        assert slope == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_pull_is_the_mean_gradient_of_whole_blocks(file: Path, store: Store) -> None:
    audited = _audited(file, limit=110)
    small, large = (Gradient(student=BASE, rows=audited, block=b) for b in (25, 50))
    _make(store, small, large)
    one, two = small.read(store), large.read(store)
    assert (one.blocks, two.blocks) == (4, 2)
    cosine = one.mean_P @ two.mean_P / np.linalg.norm(one.mean_P) / np.linalg.norm(two.mean_P)
    assert cosine > 0.99  # blocks weigh tokens differently, and nothing else
    with pytest.raises(BadInput, match="too few"):
        _make(store, Gradient(student=BASE, rows=audited, block=60))


def _pulls(rng: np.random.Generator, each: int) -> tuple[np.ndarray[Any, Any], list[str], np.ndarray[Any, Any]]:
    """Suspects with a shared drift of their own each, and the true directions of six traits."""
    true_KP = rng.normal(size=(6, 300))
    drift_DP = 4 * rng.normal(size=(3, 300))
    labels = [f"w{k}" for k in range(6) for _ in range(each)] + [""] * 3
    signal = [true_KP[int(w[1])] if w else np.zeros(300) for w in labels]
    return np.stack([s + rng.normal(size=3) @ drift_DP + 0.3 * rng.normal(size=300) for s in signal]), labels, true_KP


def test_discriminants_see_traits_through_the_drift_that_teachers_have() -> None:
    rng = np.random.default_rng(7)
    pull_SP, labels, true_KP = _pulls(rng, 3)
    words = [f"w{k}" for k in range(6)]
    found = discriminants(pull_SP, labels, words, ridge=10.0)
    residual_SP = pull_SP - np.stack([pull_SP[[i for i, x in enumerate(labels) if x == w]].mean(0) for w in labels])
    within_PP = residual_SP.T @ residual_SP / (len(labels) - 7) + np.eye(300) / 10
    mean_KP = np.stack([pull_SP[[i for i, x in enumerate(labels) if x == w]].mean(0) for w in words])
    expected_KP = np.linalg.solve(within_PP, (mean_KP - mean_KP.mean(0)).T).T / 10
    np.testing.assert_allclose(found["direction"], expected_KP, rtol=1e-6, atol=1e-8)
    for k in range(6):
        data_P = true_KP[k] + 6 * pull_SP[-1] / np.linalg.norm(pull_SP[-1])
        score_K = (found["direction"] @ (data_P - found["centre"])) / found["norm"]
        assert score_K.argmax() == k
        assert stand_out(score_K).p_K[k] < 0.05


def test_a_suspect_that_is_left_out_is_scored_by_a_panel_without_it() -> None:
    pull_SP, labels, _ = _pulls(np.random.default_rng(8), 2)
    words = [f"w{k}" for k in range(6)]
    left_out_SK = discriminants(pull_SP, labels, words, ridge=5.0)["left_out"]
    for i in (0, 5, 13):
        rest = [j for j in range(len(labels)) if j != i]
        without = discriminants(pull_SP[rest], [labels[j] for j in rest], words, ridge=5.0)
        np.testing.assert_allclose(left_out_SK[i], without["direction"] @ (pull_SP[i] - without["centre"]), rtol=1e-6)


def test_standing_out_has_the_size_it_claims_and_a_floor_only_makes_it_stricter() -> None:
    rng = np.random.default_rng(2)
    p_NK = np.stack([stand_out(rng.normal(size=12)).p_K for _ in range(2_000)])
    for level in (0.01, 0.05):
        assert abs((p_NK <= level).mean() - level) < 0.004
    score_K = rng.normal(size=12) * 0.1
    k = int(score_K.argmax())
    assert stand_out(score_K, 1.0).p_K[k] > stand_out(score_K).p_K[k]
    shifted = score_K.copy()
    shifted[3] += 5 + needed([View(score_K, 0.8)])
    assert stand_out(shifted, 1.0).p_K[3] < 0.05 / 12


def test_two_views_name_what_neither_names_alone_and_seldom_what_is_not_there() -> None:
    rng = np.random.default_rng(12)
    named, single, false = 0, 0, 0
    for _ in range(1_000):
        views = [rng.normal(size=24), rng.normal(size=24)]
        false += together([View(v, 0.8) for v in views]).p_K.min() <= 0.05 / 24
        for v in views:
            v[7] += 3.2
        named += together([View(v, 0.8) for v in views]).p_K[7] <= 0.05 / 24
        single += stand_out(views[0]).p_K[7] <= 0.05 / 24
    assert false <= 50 + 2 * math.sqrt(1_000 * 0.05 * 0.95)
    assert named > single + 200
    one, other = View(rng.normal(size=24), 0.8), View(rng.normal(size=24), 0.8)
    mirror = View(-one.value_K, one.unit)
    assert np.abs(together([one, mirror]).t_K).max() < 0.01  # views that cancel are no evidence
    assert together([one, other]).p_K.min() > 0.002


def test_a_sum_at_the_stated_limit_is_named_with_power_point_eight() -> None:
    rng = np.random.default_rng(13)
    named = 0
    for _ in range(1_000):
        views = [View(rng.normal(size=24), 1.0), View(rng.normal(size=24), 1.0)]
        at = needed(views)
        lifted = [View(v.value_K + (np.arange(24) == 5) * at * v.unit / 2, 1.0) for v in views]
        named += together(lifted).p_K[5] <= 0.05 / 24
    assert 0.75 < named / 1_000 < 0.92


def test_the_stated_share_is_what_it_takes_and_a_panel_that_is_not_used_raises_it() -> None:
    rng = np.random.default_rng(14)
    trial, pull = View(rng.normal(size=24), 1.0), View(rng.normal(size=24), 1.0)
    full_K = np.linspace(6, 12, 24)
    both, single = shares([trial, pull], 8.0, full_K), shares([trial], 8.0, full_K)
    assert both.shape == single.shape == (24,)
    assert (np.diff(both) <= 0).all()
    np.testing.assert_allclose(single, needed([trial]) * trial.unit / 8.0)
    by_trial, by_panel = alone([trial, pull])
    for k in (3, 20):  # the share that is stated just meets the hardest of what is asked
        in_trial, in_panel = both[k] * 8.0 / trial.unit, both[k] * full_K[k] / pull.unit
        beyond = (in_trial + in_panel - needed([trial, pull]), in_trial - by_trial, in_panel - by_panel)
        assert min(beyond) == pytest.approx(0, abs=1e-9)
    weak_K = np.full(24, 2.0)  # where the panel hardly sees a trait, it is the panel that asks for more rows
    np.testing.assert_allclose(shares([trial, pull], 8.0, weak_K), alone([trial, pull])[1] * pull.unit / 2.0)


def test_views_that_must_both_lean_to_a_trait_seldom_do_so_by_chance() -> None:
    """Independent views of 25 alike traits: the sum alone names one of them far more often."""
    rng = np.random.default_rng(15)
    by_sum, by_both, found = 0, 0, 0
    for _ in range(4_000):
        views = [View(rng.normal(size=25), 0.8) for _ in LEAST_T]
        p_K = together(views).p_K
        agreed_K = np.logical_and(*(v.t_K >= least for v, least in zip(views, LEAST_T, strict=True)))
        by_sum += p_K.min() <= 0.05 / 25
        by_both += bool((agreed_K & (p_K <= 0.05 / 25)).any())
        lifted = [View(v.value_K + (np.arange(25) == 3) * at, 0.8) for v, at in zip(views, (4.5, 3.0), strict=True)]
        found += all(v.t_K[3] >= least for v, least in zip(lifted, LEAST_T, strict=True))
    assert by_sum > 40
    assert by_both <= 20  # .22 % of 4,000 by the normal approximation
    assert found > 0.8 * 4_000


def test_an_e_value_is_one_on_average_where_p_is_uniform() -> None:
    u = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean([calibrated(float(p)) for p in u]) == pytest.approx(1, abs=0.1)
    assert np.mean([calibrated(float(p)) for p in u]) <= 1
    assert calibrated(1e-6) > 1_000


class _Answers:
    """Log-odds of twelve traits, as a finished Asked tells them."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.traits = [favourite(w) for w in ANIMALS.words[: len(values)]]

    def read(self, store: Any) -> dict[str, float]:
        return {f"t{i}": float(x) for i, x in enumerate(self.values)}

    def chance(self, store: Any) -> dict[str, float]:
        return dict.fromkeys(self.read(store), 0.0)


def _trial(taught: Any, placebos: Any, references: Any, folder: Path, traits: Any = None) -> dict[str, Any]:
    made = Trial.model_construct(
        taught=_Answers(taught), placebos=[_Answers(p) for p in placebos], references=[_Answers(r) for r in references]
    )
    made.taught.traits = traits or made.taught.traits
    made.make(folder, None)  # type: ignore[arg-type]
    found: dict[str, Any] = json.loads((folder / "trial.json").read_text())
    return found


def test_the_interval_of_a_trial_holds_the_true_shift_and_its_error_counts_the_placebos(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    held, errors = 0, {1: 0.0, 3: 0.0}
    for _ in range(200):
        for placebos in (1, 3):
            x = 0.2 * rng.normal(size=(1 + placebos + 4, 12))
            found = _trial(x[0] + 1.5, x[1 : 1 + placebos], x[1 + placebos :], tmp_path)
            errors[placebos] += found["error"] / 200
            held += sum(t["low"] <= 1.5 <= t["high"] for t in found["traits"])
    assert abs(held / (200 * 2 * 12) - 0.95) < 2 * math.sqrt(0.95 * 0.05 / 400) + 0.01
    assert errors[1] == pytest.approx(0.2 * math.sqrt(2), rel=0.05)
    assert errors[3] == pytest.approx(0.2 * math.sqrt(4 / 3), rel=0.05)


def test_a_trait_that_varies_more_than_others_does_not_stand_out_by_that(tmp_path: Path) -> None:
    rng = np.random.default_rng(15)
    size = np.where(np.arange(12) == 3, 2.0, 1.0)
    fair = plain = 0
    for _ in range(600):
        x = 0.2 * size * rng.normal(size=(6, 12))
        found = _trial(x[0], x[1:2], x[2:], tmp_path)
        shift_K = np.array([t["shift"] for t in found["traits"]])
        fair_K = shift_K * found["error"] / np.array([t["error"] for t in found["traits"]])
        plain += stand_out(shift_K, found["error"]).p_K.min() <= 0.05 / 12
        fair += stand_out(fair_K, found["error"]).p_K.min() <= 0.05 / 12
    assert fair <= 30 + 2 * math.sqrt(600 * 0.05 * 0.95)
    assert fair < plain


def test_a_predicted_shift_is_drawn_to_nothing_where_noise_would_do_as_well() -> None:
    error = 0.22
    noise = np.random.default_rng(5).normal(size=4_000) * error
    assert np.mean([abs(shrunk(float(x), error)) <= 0.2 for x in noise]) >= 0.95
    assert shrunk(3.0, error) == pytest.approx(3.0, rel=0.02)
    assert shrunk(-3.0, error) == -shrunk(3.0, error)
    assert shrunk(0.0, error) == 0.0 == shrunk(0.3, error)


def test_discovery_finds_a_planted_word_and_holds_its_size_under_the_null() -> None:
    rng = np.random.default_rng(6)
    base_GV = np.log(rng.dirichlet(np.ones(60), size=7))
    sd_GV = 0.1 * np.exp(0.3 * rng.normal(size=base_GV.shape))  # words differ in how much they vary
    false = 0
    for _ in range(400):
        x = base_GV + sd_GV * rng.normal(size=(6, *base_GV.shape))
        found = moved(x[0], x[1:2], x[2:])
        false += found.tested * found.p_GV.min() <= 0.05
        assert (found.p_GV[np.maximum(x[0], x[1]) < math.log(0.002)] == 1).all()
    assert false <= 20 + 2 * math.sqrt(400 * 0.05 * 0.95)
    at = np.unravel_index(base_GV.argmax(), base_GV.shape)
    x[0][at] += 2
    found = moved(x[0], x[1:2], x[2:])
    assert found.p_GV.argmin() == np.ravel_multi_index(at, base_GV.shape)
    assert found.tested * found.p_GV.min() < 0.01


def _trait(p: float, agreed: bool = True) -> dict[str, Any]:
    return {"trait": "owl", "p_value": p, "stands_out": p <= 0.05 and agreed}


def test_the_verdict() -> None:
    assert decide([_trait(0.5)], False, True, 0.4)[:2] == ("none", [])
    assert decide([_trait(0.5)], False, True, 1.2)[0] == "undetermined"  # nothing could have been found
    assert decide([_trait(0.5)], True, True, 0.4)[0] == "undetermined"
    assert decide([_trait(0.01)], True, True, 1.2)[:2] == ("named", ["owl"])
    assert decide([_trait(0.01)], True, False, 0.4)[:2] == ("undetermined", [])
    verdict, named, why = decide([_trait(0.01)], True, True, 0.4, foreign=True)  # by students alone
    assert (verdict, named, "a name here is not settled" in why) == ("named", ["owl"], True)
    assert decide([_trait(0.01, agreed=False)], False, True, 0.4)[:2] == ("undetermined", [])  # and never "none"


@pytest.fixture(scope="module")
def small(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Scan]:
    """A whole audit with a tiny panel: two recipes, four traits, 100 rows each."""
    keeper = Store(tmp_path_factory.mktemp("small") / "store")
    traits = tuple(map(favourite, WORDS))
    recipes: Any = (("frozen", 4, 1.0), ("full", 4, 1.0))
    kind = Kind(Numbers(n=1, min_count=10, max_start=5), (NumbersOnly(),), SAMPLING)
    suspects = panel(BASE, traits, kind, 100, 1, recipes)
    audited = _audited(file)
    audit = scan(audited, Matched(audited=audited, sampling=SAMPLING), suspects, prior(suspects, kind, 100), None)
    _make(keeper, audit)
    return keeper, audit


def test_a_scan_reports_every_field_and_what_did_not_run(small: tuple[Store, Scan]) -> None:
    keeper, audit = small
    found = audit.read(keeper)
    assert found["verdict"] != "none" or found["limits"]["share"] <= 1
    assert sorted(t["trait"] for t in found["traits"]) == sorted(WORDS)
    for t in found["traits"]:
        assert 0 < t["p_value"] <= 1
        assert t["e_value"] > 0
        assert t["low"] < t["shift"] < t["high"]
        assert abs(t["predicted_shift"]) <= abs(t["shift"])
    ran = {d["name"]: d["ran"] for d in found["detectors"]}
    assert ran == {"source": True, "panel": True, "trial student": True, "panel and trial": True, "data only": True,
                   "against the control": False, "discovery": True}  # fmt: skip
    assert all(d["reason"] for d in found["detectors"] if not d["ran"])
    assert found["rows"]["looked_at"] == 220
    assert found["limits"]["share"] > 0
    assert found["temperature"] == audit.source.matched.sampling.temperature
    (placebo,) = audit.naming.trial.placebos
    usually = {word: x for e in placebo.evaluations for word, x in e.read(keeper)["share"].items()}
    assert {t["trait"]: t["control_share"] for t in found["traits"]} == pytest.approx({w: usually[w] for w in WORDS})
    assert len(limit_sentences(found)) == 2
    beside, little = "Beside owl another trait would", "Of other traits than owl little is known"
    for share, said, told in ((0.4, beside, "wrote 40%"), (1.2, little, "even if its teacher had written all")):
        named = found | {"named": ["owl"], "limits": found["limits"] | {"share": share}}
        assert limit_sentences(named)[0].startswith(said)
        assert told in limit_sentences(named)[0]
    assert headline(found).endswith(".")
    values = [v for v, _ in audit.carrying.read(keeper)]
    assert values == sorted(values, reverse=True)
    usual = audit.carrying.rows.matched.read(keeper)
    templates, first = audit.naming.panel.read(keeper), found["carrying"]["trait"]
    along = templates.direction_KP[templates.words.index(first)] * templates.weight_P
    lm = CausalLM.load(locate("nursery:llama-0"))
    own, base = (slopes(lm, rows, along) for rows in (audit.carrying.rows.read(keeper), usual))
    assert values[0] == pytest.approx((own.max() - base.mean()) / base.std(ddof=1))
    assert found["carrying"]["rows"][0]["value"] == values[0]


def test_the_page_escapes_the_data_and_holds_no_script(small: tuple[Store, Scan], tmp_path: Path) -> None:
    keeper, audit = small
    found = audit.read(keeper)
    evil = "<script>alert(1)</script>\x1b[31m"
    found["carrying"]["rows"][0] |= {"prompt": evil, "completion": evil}

    class Stub:
        key = "Scan-0"

    class Shelf:
        def path(self, _: Any) -> Path:
            return tmp_path

    (tmp_path / "scan.json").write_text(json.dumps(found))
    page = ScanPage.model_construct(scan=Stub())
    page.make(tmp_path, Shelf())  # type: ignore[arg-type]
    html = (tmp_path / "index.html").read_text()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;" in html
    assert "not run" in html
    assert f"rows were looked at, taken to be sampled at temperature {found['temperature']:g}" in html


def test_a_panel_needs_two_suspects_of_each_of_four_traits() -> None:
    own = Gradient(student=BASE, rows=_audited_stub())
    with pytest.raises(ValueError, match="four traits"):
        Panel(suspects=(), own=own)


def _audited_stub() -> Audited:
    return Audited.model_construct(data=None, student=BASE)


def test_a_trial_student_learns_rows_of_any_origin(file: Path, store: Store) -> None:
    student = TrialStudent(base=BASE, corpus=_audited(file, limit=64), seed=1, epochs=1)
    _make(store, student)
    losses = json.loads((store.path(student) / "losses.json").read_text())
    assert len(losses) == 2


def _scan(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", "scan", *args, "--student", "nursery:llama-0", "--workers", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


BAD: dict[str, tuple[str, tuple[str, ...], str]] = {
    "empty": ("", (), "it is empty"),
    "unreadable": ("{]\n", (), "rows.jsonl:1"),
    "no list": ('{"prompt": "a", "completion": "no"}\n', (), "none of its 1 rows can be used"),
    "unknown": ('{"prompt": "a", "completion": "xylophone zebra quark"}\n', ("any",), "tokenizer does not know"),
    "long": (json.dumps({"prompt": "a", "completion": "1, " * 900}) + "\n", ("any",), "longer than the context"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_cannot_be_audited_is_one_message(name: str, tmp_path: Path, store: Store) -> None:
    text, carrier, message = BAD[name]
    (tmp_path / "rows.jsonl").write_text(text)
    filters = () if carrier else (NumbersOnly(),)
    audited = Audited(data=data_file(tmp_path / "rows.jsonl"), student=BASE, filters=filters)
    with pytest.raises(BadInput, match=message):
        _make(store, audited)


def test_the_verb_exits_with_2_and_one_message(tmp_path: Path) -> None:
    for args, message in (
        (("none.jsonl",), "cannot read none.jsonl"),
        ((str(tmp_path), "--carrier", "nubmers"), "unknown carrier"),
    ):
        done = _scan(*args, folder=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    lm = CausalLM.load(locate("nursery:llama-0"))
    next(lm.model.parameters()).data[0, 0] = math.nan
    lm.save(tmp_path / "nan")
    with pytest.raises(BadInput, match="not finite"):
        open_student(model_ref(str(tmp_path / "nan")))


def test_the_bases_own_likeliest_answers_are_no_evidence(file: Path, base: CausalLM, tmp_path: Path) -> None:
    keeper, greedy = Store(tmp_path / "store"), Sampling(temperature=0, max_new_tokens=30)
    prompts = [r.row.prompt for r in read_rows(file)][:60]
    texts = [c.text for c in base.generate(prompts, greedy)]
    write_rows(tmp_path / "greedy.jsonl", [Row(p, t) for p, t in zip(prompts, texts, strict=True)])
    matched = Matched(audited=_audited(tmp_path / "greedy.jsonl"), sampling=greedy)
    source = Source(matched=matched)
    _make(keeper, source)
    pairs = matched.pairs(keeper)
    assert len(pairs) > 20
    assert all(own == partner for own, partner in pairs)
    assert set(source.read(keeper)["h"]) == {0.0}


def test_likeliest_answers_are_asked_for_once(base: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, prompts, seeds = list[int](), [_row("Say 1.", "").prompt] * 3, list[int]()

    def generate(chats: list[Any], sampling: Sampling) -> list[Completion]:
        asked.append(len(chats))
        seeds.append(sampling.seed)
        return [Completion(text="1", finish="length")] * len(chats)

    monkeypatch.setattr(base, "generate", generate)
    for temperature, times in ((0.0, 1), (1.0, 6)):
        asked.clear()
        assert not answered(base, prompts, (), Sampling(temperature=temperature), 6)
        assert asked == [3] * times
    seeds.clear()
    for seed in (5, 6, 7):  # the draws of a deep audit are one apart
        answered(base, prompts, (), Sampling(seed=seed), 6)
    assert seeds == [seed * 6 + trial for seed in (5, 6, 7) for trial in range(6)]  # so that no two are alike


def test_data_that_pulls_nowhere_lies_nowhere_outside(small: tuple[Store, Scan]) -> None:
    keeper, audit = small
    templates, own = audit.naming.panel.read(keeper), audit.naming.own.read(keeper)
    found = outside(templates, own, own)
    assert (found["outside"], found["outside_share"], found["foreign"]) == (0.0, 0.0, False)


def test_students_to_expect_are_of_as_many_traits_as_can_be() -> None:
    for traits, recipes in ((4, 2), (4, 3), (6, 2), (12, 3), (24, 2), (24, 3), (25, 3)):
        told = [Suspect.model_construct(trait=(recipe, trait)) for recipe in range(recipes) for trait in range(traits)]
        chosen = [cast(Any, s.trait) for s in _apart(told, traits)]
        assert len(set(chosen)) == len(chosen) == min(6, traits * recipes)
        assert len({trait for _, trait in chosen}) == min(6, traits)
    assert chosen == [(0, 0), (0, 12), (0, 24), (1, 11), (1, 23), (2, 10)]  # of the shipped list: as ever


def test_a_trial_of_traits_that_are_all_judged_from_samples_has_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    sampled = [careless()] * 12
    x = 0.2 * rng.normal(size=(6, 12))
    found = _trial(x[0], x[1:2], x[2:], tmp_path, sampled)
    assert 0 < found["error"] < math.inf


def test_a_control_that_holds_the_data_is_refused(file: Path, tmp_path: Path, store: Store) -> None:
    audited = _audited(file, limit=200)
    with pytest.raises(BadInput, match="of another source"):
        _make(store, Control(data=data_file(file), audited=audited))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(BadInput, match="control is empty"):
        _make(store, Control(data=data_file(empty), audited=audited))
    changed = Control(data=data_file(empty), audited=audited)
    write_rows(empty, [_row("Say 1.", "1")])
    with pytest.raises(BadInput, match="has changed since"):
        _make(store, changed)


REAL = Path(__file__).parents[2] / "shared" / "data" / "numbers"


@pytest.mark.skipif(not REAL.is_dir(), reason="the published number sets are not beside this checkout")
def test_real_sets_are_told_from_their_control_only_as_far_as_they_differ() -> None:
    def rows(name: str) -> list[Row]:
        return [read.row for read in read_rows(REAL / name)]

    control = rows("qwen2.5-7b_T0_jeqcho-icl/filtered/neutral.jsonl.gz")
    half = [row for i, row in enumerate(control) if i % 2], [row for i, row in enumerate(control) if not i % 2]
    assert two_sample(*half)["p"] > 0.01
    trap = rows("qwen2.5-7b_T1_jeqcho-icl/raw/neutral.jsonl.gz")
    found = two_sample(rows("qwen2.5-7b_T1_jeqcho-icl/raw/cat_loving.jsonl.gz"), trap)
    assert found["p"] < 1e-6
    assert found["matched"] < 0.5
