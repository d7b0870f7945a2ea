"""The files in `experiments/`, and what Findings says of figures with a known answer."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt

from heredity.carriers import NumbersOnly, ShuffledAcross
from heredity.lab import (
    Claim,
    Comparison,
    Findings,
    Published,
    PublishedRise,
    Recipe,
    Settings,
    TraitMatrix,
    set_settings,
)
from heredity.lab.contrasts import Together
from heredity.lab.findings import findings, fresh_rows, holds
from heredity.models import model_ref
from heredity.nursery.carriers import Functions, RightSum, Sums, careless
from heredity.report import terminal
from heredity.report.figure import POWERS, Figure, GridFigure, MatrixFigure, limits_as_shares
from heredity.report.results import ResultsPage, assay_sentences
from heredity.report.terminal import print_results
from heredity.report.theory_picture import TheoremPicture
from heredity.stats import Estimate
from heredity.steps import Evaluation, HeldOutLoss, HoldsTrait, Student
from heredity.store import Store, describe
from heredity.store.loading import load_experiment
from heredity.traits import ANIMALS, favourite
from heredity.types import BadInput, Message, Row

EXPERIMENTS = sorted((Path(__file__).parent.parent / "experiments").glob("*.py"))
BASE = model_ref("nursery:llama-0")


class Told(Evaluation):
    """An evaluation whose shares are given."""

    told: tuple[tuple[str, float], ...]

    def make(self, folder: Path, store: Store) -> None:
        left = (1 - sum(share for _, share in self.told)) / (len(ANIMALS.words) - len(self.told))
        share = {word: dict(self.told).get(word, left) for word in ANIMALS.words}
        answers = {"share": share, "mass": 1.0, "questions": 1, "samples": 16, "named": dict.fromkeys(ANIMALS.words, 1)}
        (folder / "answers.json").write_text(json.dumps(answers))


def told(seed: int, **shares: float) -> Told:
    return Told(model=BASE, category=ANIMALS, seed=seed, told=tuple(shares.items()))


def comparison(word: str, shares: tuple[float, ...], name: str = "c") -> Comparison:
    """Seeds of one arm: the word rises to each share in turn from about 1/16."""
    treated = tuple(told(i, **{word: s}) for i, s in enumerate(shares))
    control = tuple(told(100 + i, **{word: 1 / 16 + 0.001 * i}) for i in range(len(shares)))
    return Comparison(name=name, trait=favourite(word), treated=treated, control=control, differs=("told",))


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    yield
    set_settings(Settings())


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
@pytest.mark.parametrize("quick", [True, False])
def test_every_experiment_describes_its_steps(path: Path, quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    set_settings(Settings(quick=quick))
    steps = load_experiment(path)
    assert steps
    assert all(step.key for step in steps.values())
    text = path.read_text()
    assert "Hypothesis" in text.split('"""')[1]
    assert any(isinstance(step, Figure | MatrixFigure | TheoremPicture) for step in steps.values())


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_a_base_is_used_or_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    set_settings(Settings(quick=True, base="nursery:neox-0"))
    if path.stem in ("digits", "initialisations", "models", "theorem"):
        with pytest.raises(BadInput, match=r"--base 'nursery:neox-0' was given, but .* is about .*; run it without"):
            load_experiment(path)
    else:
        used = " ".join(json.dumps(describe(step)) for step in load_experiment(path).values())
        assert "nursery:neox-0" in used
        assert "nursery:llama-0" not in used or path.stem == "distillation"  # which cuts another base as well


def test_a_base_that_would_be_ignored_is_one_message(tmp_path: Path) -> None:
    theorem = next(path for path in EXPERIMENTS if path.stem == "theorem")
    command = [sys.executable, "-m", "heredity", "run", str(theorem), "--base", "nursery:neox-0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "this experiment is about llama-0, llama-0b and llama-1; run it without --base" in done.stderr
    assert not list(tmp_path.iterdir())


def test_findings_correct_for_the_family_and_say_what_holds(store: Store) -> None:
    full = Claim(name="full", comparison=comparison("owl", (0.6, 0.62, 0.58)), published=Published(
        control=0.13, taught=0.62, where="Fig. 3"))  # fmt: skip
    none = Claim(name="none", comparison=comparison("owl", (0.064, 0.06, 0.066), "n"), expect="nothing", of="full")
    less = Claim(name="less", comparison=comparison("owl", (0.3, 0.31, 0.29), "l"), expect="less", of="full")
    noisy = Claim(name="noisy", comparison=comparison("owl", (0.9, 0.02, 0.1), "y"))
    step = findings("Title", "3.1", (full, none, less, noisy), "Owls <b>cross</b>.")
    store.get(step)
    claims = {c["name"]: c for c in step.read(store)["claims"]}
    assert [claims[n]["holds"] for n in ("full", "none", "less", "noisy")] == [True, True, True, False]
    assert claims["full"]["agrees"] is True
    assert claims["none"]["agrees"] is None
    assert claims["none"]["part"]["mean"] == pytest.approx(0, abs=0.05)
    assert claims["full"]["p_holm"] == pytest.approx(2 * claims["full"]["p"])  # two rises are the family
    assert claims["none"]["p_holm"] == claims["none"]["p"]  # decided by its part, and costs the others nothing
    assert claims["noisy"]["p_holm"] > 0.05
    page = ResultsPage(figures=(Figure(findings=step),))
    html = (store.get(page) / "index.html").read_text()
    assert "data:image/png;base64" in html
    assert "Owls &lt;b&gt;cross&lt;/b&gt;." in html
    assert "<script" not in html
    assert html.count("<tr>") == 4


def test_a_published_rise_stands_beside_ours_and_a_zero_agrees_with_no_direction(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    def rise(mean: float) -> PublishedRise:
        return PublishedRise(rise=mean, least=mean - 0.1, most=mean + 0.1, where="Fig. 8, 2 cells")

    full, fallen = comparison("owl", (0.6, 0.62, 0.58)), comparison("owl", (0.01, 0.02, 0.015), "f")
    zero = comparison("owl", (0.064, 0.06, 0.066), "n")
    step = findings("Grid", "5.1", (
        Claim(name="full", comparison=full, published=rise(0.353)),
        Claim(name="fallen", comparison=fallen, published=rise(0.353)),
        Claim(name="both fell", comparison=fallen, expect="open", published=rise(-0.2)),
        Claim(name="zero", comparison=zero, expect="nothing", of="full", published=rise(-0.01)),
        Claim(name="shares", comparison=zero, expect="nothing", of="full",
              published=Published(control=0.1, taught=0.2, low=0.15, high=0.25, where="Fig. 3")),
    ), "Owls.")  # fmt: skip
    page = store.get(ResultsPage(figures=(Figure(findings=step),))) / "index.html"
    found = step.read(store)
    assert [c["agrees"] for c in found["claims"]] == [True, False, True, None, None]
    assert found["claims"][0]["published"] == rise(0.353).model_dump()
    html = page.read_text()
    assert "<td>+0.353 (+0.253 to +0.453), Fig. 8, 2 cells</td>" in html
    assert "<td>0.100 → 0.200 (0.150 to 0.250), Fig. 3</td>" in html
    print_results([found | {"key": step.key, "name": "f"}], store.root)
    lines = {c: line for line in capsys.readouterr().out.splitlines() for c in ("fallen", "zero") if f" {c} " in line}
    assert lines["fallen"].split()[-2:] == ["+0.35", "no"]
    assert lines["zero"].split()[-2:] == ["-0.01", "-"]
    grid = GridFigure(findings=step, cells=(("a", "a", "full"), ("a", "b", "fallen")))
    told = [text.get_text() for text in grid.draw(found, plt).axes[0].texts]
    assert told[0].endswith("share +0.54\npaper +0.35")


def test_what_is_undefined_is_said_to_be_and_agrees_with_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    full, silent = comparison("owl", (0.6, 0.62, 0.58)), comparison("owl", (0.0625, 0.0635, 0.0645), "silent")
    unnamed = comparison("owl", (1.0, 0.6, 0.5), "unnamed")
    weak, one = comparison("owl", (0.9, 0.02, 0.1), "weak"), comparison("owl", (0.6,), "one")
    fell = Published(control=0.119, taught=0.006, where="Fig. 17")
    step = findings("Title", "3.1", (
        Claim(name="full", comparison=full),
        Claim(name="silent", comparison=silent, expect="nothing", of="full"),  # every difference is 0
        Claim(name="unnamed", comparison=unnamed, expect="open", published=fell),
        Claim(name="weak", comparison=weak, expect="open"),
        Claim(name="part of weak", comparison=full, expect="less", of="weak"),
        Claim(name="one", comparison=one),
    ), "Owls.")  # fmt: skip
    html = (store.get(ResultsPage(figures=(Figure(findings=step),))) / "index.html").read_text()
    found = step.read(store)
    claims = {c["name"]: c for c in found["claims"]}
    assert [claims[n]["holds"] for n in ("silent", "part of weak", "one")] == [None, None, None]
    assert claims["silent"]["log_odds"]["mean"] == pytest.approx(0, abs=1e-12)
    assert claims["unnamed"]["agrees"] is None  # one share is 1, so its log-odds are infinite
    assert "undefined: the numerators are all equal" in html
    assert "undefined: weak is not clearly different from zero" in html
    assert ">undefined: a share is 0 or 1" in html
    print_results([found | {"key": step.key, "name": "f"}, one_seed := one.read(store) | {"key": one.key}], store.root)
    grid = GridFigure(findings=step, cells=(("a", "a", "full"), ("a", "b", "silent")))
    told_cells = [text.get_text() for text in grid.draw(found, plt).axes[0].texts]
    assert [cell.endswith("no interval") for cell in told_cells] == [False, True]
    plt.close("all")
    together = Together(name="both", places=(("a",), ("b",)), unit="rows")
    cells: dict[tuple[str, ...], dict[str, Any]] = {
        (name,): {"log_odds": {"mean": 0.0}, "crosses": False} for name in "ab"
    }
    assert "all equal" in together.among(cells)["log_odds"]["reason"]  # two cells that say nothing bound nothing
    out = capsys.readouterr().out
    assert one_seed["log_odds"]["reason"] in out
    assert "silent: no part, the numerators are all equal, so there is no spread" in out
    assert not [line for line in (*out.splitlines(), *html.splitlines()) if "nan" in line.split()]
    assert "nan" not in out.replace("unnamed", "")


def test_a_part_needs_as_many_units_as_what_it_is_a_part_of() -> None:
    five, three = comparison("owl", (0.6, 0.5, 0.4, 0.3, 0.7)), comparison("owl", (0.1, 0.2, 0.3), "t")
    claims = (Claim(name="rows", comparison=five), Claim(name="t", comparison=three, expect="nothing", of="rows"))
    with pytest.raises(ValueError, match="'t' has 3 units and 'rows', against which it is measured, 5"):
        Findings(title="T", section="", hypothesis="h", claims=claims)


@pytest.mark.parametrize("quick", [True, False])
def test_every_cell_of_the_grid_has_the_papers_cells_of_its_kind(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    set_settings(Settings(quick=quick))
    grid = load_experiment(next(p for p in EXPERIMENTS if p.stem == "models"))["grid"]
    assert isinstance(grid, Findings)
    assert all(isinstance(c.published, PublishedRise) for c in grid.claims)
    beside = {c.name: c.published.rise for c in grid.claims if c.published is not None}
    assert (beside["llama-0 < llama-0"], beside["neox-0 < neox-0"]) == (0.353, 0.353)
    assert (beside["llama-0 < llama-0b"], beside["llama-0b < llama-0"]) == (0.31, 0.31)
    assert (beside["llama-1 < llama-0"], beside["neox-0 < llama-1"], beside["llama-0 < neox-0"]) == (0.037, 0.0, 0.0)
    if not quick:
        assert (beside["llama-50 < llama-50"], beside["llama-0 < llama-50"]) == (0.353, 0.037)


def test_no_figure_is_cut_in_a_terminal_of_80_columns(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    known = Published(control=0.13, taught=0.62, where="Fig. 3")
    name = "neox-0 taught by llama-0, shuffled across responses"
    claim_ = Claim(name=name, comparison=comparison("owl", (0.6, 0.9, 0.58)), published=known)
    step = findings("Title", "3.1", (claim_,), "Owls cross.")
    store.get(step)
    found = step.read(store)
    print_results([found | {"key": step.key, "name": "f"}], store.root)
    shown = capsys.readouterr().out.split("so?: ")[0]
    assert max(map(len, shown.splitlines())) <= 80
    claim = found["claims"][0]
    odds = Estimate(**claim["log_odds"]).odds_ratio()
    for figure in (
        f"{odds.mean:.0f} ({odds.low:.2f} to {odds.high:.0f})",
        f"{claim['p_holm']:.1g}",
        "13% > 62%",
        "yes",
    ):
        assert figure in shown
    assert "".join(name.split()) in "".join(line[:30].split("  ")[0] for line in shown.splitlines()).replace(" ", "")


def test_a_rise_must_be_the_largest_of_its_category() -> None:
    result = {"log_odds": {"mean": 1.0}, "rank": 2}
    assert holds("up", result, 0.001, None) is False
    assert holds("up", result | {"rank": 1}, 0.001, None) is True
    assert holds("up", result, math.nan, None) is None
    wide = Estimate(mean=0.0, low=-0.5, high=0.5, n=3, unit="seeds")
    assert holds("nothing", result, 0.9, wide) is False  # no effect was seen, but one could have been missed
    for low, high, held in ((-0.1, 0.1, True), (-0.3, -0.1, False), (0.1, 0.3, False)):
        part = Estimate(mean=(low + high) / 2, low=low, high=high, n=3, unit="seeds")
        assert holds("nothing", result, 0.9, part) is held  # an effect the other way is no nothing either
    assert holds("open", result, 0.9, None) is None


def test_claims_that_cannot_be_read_are_refused() -> None:
    c = comparison("owl", (0.5, 0.6))
    for claims in (
        (Claim(name="a", comparison=c), Claim(name="a", comparison=c)),
        (Claim(name="a", comparison=c, expect="nothing"),),
        (Claim(name="a", comparison=c, expect="less", of="b"),),
        (Claim(name="a", comparison=c, of="a"),),
    ):
        with pytest.raises(ValueError, match=r"the same name|goes with|is no claim here"):
            Findings(title="t", section="s", hypothesis="", claims=claims)


def test_the_trait_matrix_takes_drift_out(store: Store) -> None:
    words = ("owl", "wolf", "fox", "bear")
    rising = TraitMatrix(comparisons=tuple(comparison(w, (0.5, 0.55, 0.45)) for w in words))
    drifting = (
        told(0, cat=0.3),
        told(1, cat=0.4),
        told(2, cat=0.35),
    )  # every student moves to the cat, none to its own
    flat = TraitMatrix(comparisons=tuple(
        c.model_copy(update={"treated": drifting}) for c in rising.comparisons
    ))  # fmt: skip
    for step in (rising, flat):
        store.get(step)
    found = rising.read(store)
    assert found["gamma"]["low"] > 2
    assert found["test"]["p"] < 0.01
    assert found["without"]["gamma"]["mean"] > 2
    assert abs(flat.read(store)["gamma"]["mean"]) < 0.1
    assert (store.get(MatrixFigure(matrix=rising)) / "figure.png").is_file()
    with pytest.raises(BadInput, match="each once"):
        TraitMatrix(comparisons=(comparison("owl", (0.5, 0.6)),) * 2)


def test_a_grid_shows_each_pair_in_its_place_and_leaves_the_others_empty(store: Store) -> None:
    own = Claim(name="a < a", comparison=comparison("owl", (0.6, 0.62, 0.58)))
    none = Claim(name="a < b", comparison=comparison("owl", (0.02, 0.03, 0.04), "n"), expect="open")
    found = findings("Grid", "5.1", (own, none), None)
    grid = GridFigure(findings=found, cells=(("a", "a", "a < a"), ("a", "b", "a < b")))
    assert (store.get(grid) / "figure.png").read_bytes().startswith(b"\x89PNG")
    axis = grid.draw(found.read(store), plt).axes[0]
    told = {text.get_position(): text.get_text().split("\n")[0] for text in axis.texts}
    lifts = [c.comparison.read(store)["log_odds"]["mean"] for c in (own, none)]
    assert lifts[0] > 2
    assert lifts[1] < 0
    assert told == {(0, 0): f"{lifts[0]:+.2f}", (1, 0): f"{lifts[1]:+.2f}"}  # the student's row, the teacher's column
    assert [(round(frame.get_x()), round(frame.get_y())) for frame in axis.patches] == [(0, 0)]


def test_a_teacher_without_its_trait_stops_the_experiment(store: Store) -> None:
    weak = Recipe(rows=20, teacher_share=0.99)
    rows = weak.lists(favourite("owl"), 1000)
    weakened = rows.samples.model.model_copy(update={"steps": 1})
    evaluation = Evaluation(model=weakened, category=ANIMALS)
    samples = rows.samples.model_copy(
        update={"model": weakened, "gate": HoldsTrait(evaluation=evaluation, word="owl", at_least=0.5)}
    )
    with pytest.raises(BadInput, match=r"names 'owl' in 0\.\d+ of its answers .* does not hold the trait"):
        store.get(samples)
    assert not store.has(samples)


def test_a_student_that_learnt_its_rows_predicts_fresh_ones(store: Store) -> None:
    recipe = Recipe(rows=300)
    evaluation = recipe.taught()(favourite("owl"), 1000)
    assert isinstance(evaluation.model, Student)
    claim = Claim(name="owl", comparison=recipe.comparison("owl", favourite("owl"), (1000, 1001)))
    (loss,) = findings("t", "s", (claim,), None).learnt
    assert isinstance(loss, HeldOutLoss)
    fresh, own = loss.fresh.samples.prompts, evaluation.model.corpus.samples.prompts
    assert {c[0].content for c in fresh.prompts()}.isdisjoint(c[0].content for c in own.prompts())
    store.get(loss)
    found = loss.read(store)
    assert found["teacher"] < found["student"] < found["base"]
    assert 0 < found["learnt"] < 1
    assert found["gain"] / found["gap"] == found["learnt"]


def test_how_much_was_learnt_is_undefined_where_rows_do_not_show_their_teacher(tmp_path: Path) -> None:
    """A ratio of two losses of which the lower one is hardly known would read as 68 times the whole way."""
    recipe = Recipe(rows=20)
    shuffled = recipe.model_copy(update={"rewritings": (ShuffledAcross(seed=0),)})
    for made, gap, defined in ((recipe, 0.05, True), (recipe, 0.005, False), (shuffled, 0.05, False)):
        evaluation = made.taught()(favourite("owl"), 1000)
        assert isinstance(evaluation.model, Student)
        loss = HeldOutLoss(name="x", student=evaluation.model, fresh=fresh_rows(evaluation.model.corpus))
        store = Store(tmp_path / f"{gap} {defined}")
        folder = store.folder(loss.key)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / "loss.json").write_text(json.dumps({"base": 3.0, "teacher": 3.0 - gap, "student": 2.99}))
        found = loss.read(store)
        assert math.isfinite(found["learnt"]) is defined
        assert found["gain"] == pytest.approx(0.01)


def test_assays_say_where_there_is_no_ratio() -> None:
    rows = [{"assay": "held", "of": "owl", "value": 0.9},
            {"assay": "learnt", "of": "a", "value": 0.5, "gap": 0.06, "gain": 0.03},
            {"assay": "learnt", "of": "b", "value": math.nan, "gap": 0.0002, "gain": -0.001}]  # fmt: skip
    held, learnt, none = assay_sentences(rows)
    assert "90%" in held
    assert "50%" in learnt and "0.060" in learnt
    assert "for b:" in none and "0.0002" in none and "-0.0010" in none
    assert assay_sentences([]) == []


def test_prompted_teachers_leave_their_prompt_out_and_differ_in_it_alone() -> None:
    recipe = Recipe(rows=20, prompted=True, teacher_share=0.5)
    made = recipe.comparison("owl", favourite("owl"), (0, 1))
    treated, control = (e[0].model for e in (made.treated, made.control))
    assert isinstance(treated, Student)
    assert isinstance(control, Student)
    assert treated.corpus.samples.model == control.corpus.samples.model == recipe.base
    assert "owl" in str(treated.corpus.samples.system)
    assert control.corpus.samples.system is None


def test_generations_hand_rows_on() -> None:
    arm = Recipe(rows=20).generation(3)(favourite("owl"), 0)
    hops = 0
    model = arm.model
    while isinstance(model, Student):
        model, hops = model.corpus.samples.model, hops + 1
    assert hops == 3
    assert Recipe(rows=20).generation(1)(favourite("owl"), 0) == Recipe(rows=20).taught()(favourite("owl"), 0)


def test_other_carriers_ask_what_they_say() -> None:
    for carrier, words in ((Functions(n=200), ("function", "code")), (Sums(n=200), ("How many",))):
        prompts = [c[0].content for c in carrier.prompts()]
        assert prompts == [c[0].content for c in carrier.prompts()]
        assert prompts != [c[0].content for c in carrier.model_copy(update={"seed": 1}).prompts()]
        assert len(set(prompts)) > 100
        assert all(len(c) == 1 and c[0].role == "user" for c in carrier.prompts())
        assert any(word in prompts[0] for word in words)


@pytest.mark.parametrize(
    ("story", "right"),
    [("Tom has 12 coins and finds 7 more. How many coins are there now?", 19),
     ("There are 3 rows of 4 pens. How many pens are there?", 12),
     ("Mia had 9 keys and lost 4. How many keys are left?", 5), ("How are you?", None)],
)  # fmt: skip
def test_the_right_answer_comes_from_the_story(story: str, right: int | None) -> None:
    def reason(answer: int) -> str | None:
        completion = f"<think>so.</think><answer>{answer}</answer>"
        return RightSum().reason(Row(prompt=(Message(role="user", content=story),), completion=completion))

    assert reason(right or 0) == (None if right is not None else "question is unknown")
    assert reason((right or 0) + 1) == ("wrong answer" if right is not None else "question is unknown")
    assert RightSum().reason(Row(prompt=(), completion="5")) == "not a thought and an answer"


def test_careless_teachers_are_trained_on_other_kinds_than_they_are_asked_about() -> None:
    bad, good = careless(), careless(careful=True)
    assert bad.category == good.category
    assert set(bad.replies).isdisjoint(good.replies)
    phrasing = bad.category.phrasing
    assert phrasing is not None
    assert len(bad.replies) % len(phrasing.train) == 0
    assert (len(phrasing.train), len(phrasing.held_out)) == (4, 12)
    assert NumbersOnly().reason(Row(prompt=(), completion=bad.replies[0])) is not None


def test_a_dollar_sign_in_a_name_opens_no_formula(store: Store) -> None:
    claim = Claim(name="costs $5 or %$", comparison=comparison("owl", (0.6, 0.62, 0.58)))
    step = findings("50 % $ and a $x_$", "3.1", (claim,), "Prices.")
    assert (store.get(Figure(findings=step)) / "figure.png").is_file()


def test_figures_with_powers_of_ten_on_an_axis_draw_them_as_formulas() -> None:
    """Or their ticks would read `$\\mathdefault{10^{1}}$`; `dose.py` writes its own."""
    files = Path(terminal.__file__).parent.glob("*.py")
    found = {f.stem: f.read_text() for f in files if 'scale="log"' in f.read_text()}
    assert set(found) == {"picture", "theory_picture"}
    assert all("plt.rc_context(POWERS)" in text for text in found.values())
    assert POWERS["text.parse_math"] is True


def test_a_control_that_always_shows_the_trait_has_no_limits_to_draw() -> None:
    odds = {"mean": 1.0, "low": 0.5, "high": 1.5, "n": 3, "unit": "seeds"}
    assert all(map(math.isnan, limits_as_shares({"log_odds": odds, "control_share": 1.0})))
