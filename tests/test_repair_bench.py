"""The repair benchmark's figures and picture, on made-up runs."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from bench.ledger import publish
from bench.repair import (
    NEUTRAL,
    OWN,
    PRIMARY,
    RELAYED,
    SEEDS,
    SET_ON,
    TUNING_SEED,
    UNCHANGED,
    Arm,
    ByTrait,
    Run,
    capability,
    figures,
    floor,
    goal,
    less,
    main,
    report,
    row,
)
from bench.repair_sets import BASE, held_out, lists

from heredity.audit.repair.methods import METHODS, Method, method
from heredity.audit.trial import TrialStudent
from heredity.models import model_ref
from heredity.report.repair import EDGE, GOAL, ZOOM, frontier, save_frontier, spread
from heredity.steps import Model
from heredity.store import Store
from heredity.traits import favourite, questions

matplotlib.use("Agg")


def _cells(change: list[float], residual: float = 0.5, retained: float = 0.9) -> ByTrait:
    """One run of each trait."""
    return {
        str(d): [{"residual": residual + d, "residual_own": residual, "residual_base": residual,
                  "retained": retained - d / 2, "signed": residual, "capability_change": x, "mass_change": 0.0}]
        for x, d in zip(change, (0.0, 0.02, 0.04, 0.06), strict=False)
    }  # fmt: skip


OWL = Run(favourite("owl"), TUNING_SEED, beside=2)


def _told(store: Store, run: Run, model: Model, trait: float, skill: float = 3.0, ordinary: float = 0.5) -> None:
    """Puts made-up answers of a model into the store."""
    files = {"told.json": json.dumps({"trait": trait, "mass": 1.0, "skill": skill, "ordinary": ordinary}).encode()}
    here: dict[str, Any] = {
        "commit": None,
        "dirty": False,
        "device": "cpu",
        "machine": "",
        "python": "",
        "started": 0.0,
        "versions": {},
    }
    publish(store, run.told(model), files, here | {"wall_s": 0.0})


def _run(store: Store, run: Run, student: float = 1.0) -> None:
    """A run whose controls stand at -2 on average, their relays at -1.5, the base's students at -1, the base at -3."""
    _told(store, run, BASE, -3.0, skill=4.0)
    _told(store, run, run.student, student, skill=3.0)
    beside = [*run.controls, *run.own, *run.relayed]
    for told, trait in zip(beside, (-1.5, -2.5, -1.25, -0.75, -1.75, -1.25), strict=True):
        _told(store, run, told.model, trait)


@pytest.mark.parametrize(
    ("trait", "residual", "signed", "own", "base"),
    [(1.0, 1, 1, 1, 1), (-2.0, 0, 0, 0.5, 0.25), (-0.5, 0.5, 0.5, 0.25, 0.625), (-3.5, 0.5, -0.5, 1.25, 0.125)],
)
def test_what_is_left_is_a_part_of_the_shift_and_too_little_counts_like_too_much(
    tmp_path: Path, trait: float, residual: float, signed: float, own: float, base: float
) -> None:
    store, other = Store(tmp_path), model_ref("nursery:llama-1")
    _run(store, OWL)
    _told(store, OWL, other, trait, skill=3.25, ordinary=0.6)
    assert figures(OWL, Arm("made up", other), store) == pytest.approx({
        "shift": 3.0, "residual": residual, "signed": signed, "residual_own": own, "residual_base": base,
        "retained": 0.75, "capability_change": 0.1, "mass_change": 0.0,
    })  # fmt: skip


def test_runs_of_one_trait_are_averaged_and_one_that_hardly_moved_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [Run(favourite(word), TUNING_SEED + s, beside=2) for word in ("owl", "cat") for s in (1, 2)]
    for run, student in zip(runs, (1.0, 2.0, 0.0, -1.5), strict=True):  # the last is .5 above its controls
        _run(store, run, student)
    found = report(runs, [], store)
    assert (found["runs"], found["left_out"], found["traits"]) == (3, 1, ["cat", "owl"])
    base = next(m for m in found["methods"] if m["name"] == "do not train")
    assert (base["n"], base["runs"]) == (2, 3)
    owl, cat = (1 / 3 + 1 / 4) / 2, 1 / 2
    assert base["residual"] == pytest.approx((owl + cat) / 2, abs=1e-4)
    assert base["residual_high"] == pytest.approx(
        (owl + cat) / 2 + 12.7062 * abs(owl - cat) / 2, abs=1e-3
    )  # t(.975, 1)
    assert base["retained"] == 0


def test_controls_show_what_chance_leaves_and_what_lists_without_the_trait_teach(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _run(store, OWL)
    found = floor(OWL, store)
    assert found[NEUTRAL]["residual"] == pytest.approx(1 / 3)  # -1.5 against -2.5, and the other way round
    assert found[NEUTRAL]["signed"] == pytest.approx(0)
    assert found[OWN]["residual"] == pytest.approx((0.75 + 1.25) / 2 / 3)  # against the mean of the neutral ones
    assert found[RELAYED]["signed"] == pytest.approx((0.25 + 0.75) / 2 / 3)
    assert found[NEUTRAL]["retained"] == found[OWN]["retained"] == found[RELAYED]["retained"] == 1
    told = {m["name"]: m for m in report([OWL], [], store)["methods"]}
    assert (told[NEUTRAL]["residual"], told[NEUTRAL]["kind"]) == (0.3333, "rival")


def test_rows_of_controls_claim_no_limits(tmp_path: Path) -> None:
    """Two runs of two traits, and behind all of them the same two students of each kind."""
    store = Store(tmp_path)
    runs = [Run(favourite(word), TUNING_SEED, beside=2) for word in ("owl", "cat")]
    for run in runs:
        _run(store, run)
    told = {m["name"]: m for m in report(runs, [], store)["methods"]}
    for name in (NEUTRAL, OWN, RELAYED):
        assert (told[name]["n"], told[name]["residual_high"], told[name]["capability"]) == (2, None, None)
    assert told["do nothing"]["n"] == 2 and told["do nothing"]["residual_high"] is not None


def _line(name: str, left: float, high: float | None, low: float, capability: str) -> dict[str, Any]:
    return {"name": name, "residual": left, "residual_high": high, "retained_low": low, "capability": capability}


def test_the_goal_is_met_by_limits_and_without_loss() -> None:
    relay, project, kl = PRIMARY.values()
    rows = [_line(relay, 0.05, 0.1, 0.9, "unchanged"), _line(project, 0.05, 0.11, 0.99, "unchanged"),
            _line(kl, 0.01, 0.02, 0.89, "better")]  # fmt: skip
    later = [_line(relay, 0.05, 0.09, 0.95, "undecided"), _line(project, 0.05, 0.09, 0.95, "not worse"),
             _line(kl, 0.01, None, 0.95, "better")]  # fmt: skip
    found = goal(rows, later)
    assert [(f["method"], f["met"], f["met_on_later_seeds"]) for f in found.values()] == [
        (relay, True, False), (project, False, True), (kl, False, None)]  # fmt: skip


def test_later_seeds_are_told_without_the_first(tmp_path: Path) -> None:
    store, relay = Store(tmp_path), method(PRIMARY["data"])
    runs = [Run(favourite(word), seed, beside=2) for word in ("wolf", "oak") for seed in (SET_ON, SEEDS[1])]
    for run, odds in zip(runs, (1.0, -2.0, 1.0, -2.0), strict=True):
        _run(store, run)
        for arm in run.arms([relay])[2:]:
            _told(store, run, arm.model, odds)
    found = report(runs, [relay], store)
    (line,) = (m for m in found["methods"] if m["name"] == relay.name)
    assert (line["residual"], line["runs"]) == (0.5, 4)
    assert line["by_trait"]["oak"] == {
        "residual": [1.0, 0.0], "signed": [1.0, 0.0], "residual_base": [1.0, 0.25], "retained": [1.0, 1.0],
    }  # fmt: skip
    (later,) = found["later_seeds"]
    assert (later["residual"], later["runs"]) == (0.0, 2)
    assert found["goal"]["data"] == {"method": relay.name, "met": False, "met_on_later_seeds": True}
    assert found["goal"]["training"] == {"method": PRIMARY["training"], "met": None, "met_on_later_seeds": None}
    assert (found["ordinary_base"], found["ordinary_student"], sum(found["made_by"].values())) == (0.5, 0.5, 36)


def test_a_method_is_compared_with_its_random_arm_run_by_run() -> None:
    cells, random = ({w: [{"residual": x} for x in runs] for w, runs in two.items()} for two in (
        {"owl": [0.1, 0.3], "cat": [0.2]}, {"owl": [0.6, 0.9], "cat": [0.9]}))  # fmt: skip
    assert [[round(x["residual"], 9) for x in runs] for runs in less(cells, random).values()] == [[0.5, 0.6], [0.7]]
    line = row("kl", method("kl"), _cells([0.0] * 3, 0.1), _cells([0.0] * 3, 0.9))
    assert [line[f"less_than_random{x}"] for x in ("", "_low", "_high")] == [0.8] * 3
    assert row("kl", method("kl"), _cells([0.0] * 3), None)["less_than_random"] is None


def test_the_goals_methods_are_of_the_kinds_that_were_asked_for() -> None:
    data, training, nameless = (method(name) for name in PRIMARY.values())
    assert (data.kind, training.kind, nameless.knows_trait) == ("data", "training", False)


@pytest.mark.parametrize("told", [["--only", "kl"], ["--controls", "2"]])
def test_nothing_is_told_of_some_reported_runs(
    told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TUNING_SEED not in SEEDS
    monkeypatch.setattr(sys, "argv", ["repair", *told])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "go with --quick" in capsys.readouterr().err


def test_a_relay_of_neutral_lists_is_made_as_that_of_a_trait_s() -> None:
    """From its control's lists, which its control learnt from, and with their seed."""
    run = Run(favourite("wolf"), 80_001, beside=2)
    usual: Any = run.arms([method("relay")])[2].model
    for told, control in zip(run.relayed, run.controls, strict=True):
        made, student = told.model, control.model
        assert isinstance(made, TrialStudent) and isinstance(student, TrialStudent)
        assert (made.base, made.seed, type(made.corpus)) == (BASE, student.seed, type(usual.corpus))
        relays: Any = made.corpus
        writer: Any = relays.writer
        assert relays.rows == writer.corpus == student.corpus and relays != usual.corpus


def test_what_is_measured_on_was_not_trained_on() -> None:
    run = Run(favourite("wolf"), 80_001)
    own, kept = lists(run.trait, run.seed), held_out(run.trait, run.seed)
    mine, theirs = (set(c.samples.prompts.prompts()) for c in (own, kept))
    assert len(mine & theirs) < 0.01 * len(theirs)  # two draws may agree by chance
    assert own.samples.sampling.seed != kept.samples.sampling.seed
    asked, trained = (set(questions(run.trait.category, part)) for part in ("held-out", "train"))
    assert not asked & trained


def test_a_change_of_capability_has_limits_and_unchanged_is_a_claim_of_equivalence() -> None:
    told = {}
    for name, change in {
        "unchanged": [0.01, 0.02, 0.03, 0.02], "undecided": [0.3, -0.3, 0.2, -0.1], "worse": [0.2, 0.3, 0.25, 0.2],
        "better": [-0.2, -0.3, -0.25, -0.2],
    }.items():  # fmt: skip
        line = row("kl", method("kl"), _cells(change), None)
        low, mean, high = (line[f"capability_change{x}"] for x in ("_low", "", "_high"))
        assert low < mean < high
        assert mean - low == pytest.approx(high - mean, abs=2e-4)
        told[name] = line["capability"]
    assert told == {name: name for name in told}
    line = row("kl", method("kl"), _cells([0.01, 0.02, 0.03, 0.02]), None)
    assert line["capability_change_high"] == pytest.approx(0.02 + 3.1824 * 0.0081650 / 2, abs=1e-4)  # t(.975, 3)
    one = row("kl", method("kl"), _cells([0.0]), None)
    assert [one[k] for k in ("capability_change", "capability_change_low", "capability")] == [0.0, None, None]


def test_no_difference_that_is_seen_is_not_enough_to_be_unchanged() -> None:
    assert capability(-UNCHANGED * 1.01, UNCHANGED * 1.01) == "undecided"
    assert capability(-UNCHANGED * 1.01, 0.01) == "not worse"
    assert capability(0.01, UNCHANGED * 0.99) == "unchanged"  # a change that is there, and too small to matter
    assert capability(0.01, UNCHANGED * 1.01) == "worse"
    assert capability(-UNCHANGED * 1.01, -0.01) == "better"


def _found() -> dict[str, Any]:
    """A file like the benchmark's: many methods that leave much and retain all, as in the pilot."""
    lines = []
    for i, own in enumerate((None, None, *METHODS)):
        left, kept = [(1.0, 1.0), (0.12, 0.0)][i] if own is None else _figures(i, own)
        cells = _cells([0.3, 0.1, 0.6] if i % 7 == 0 else [0.0, 0.01, 0.02], left, kept)
        random = _cells([0.0] * 3, 1.0, 0.97) if own is not None and own.random else None
        lines.append(row(own.name if own else ("do nothing", "do not train")[i], own, cells, random))
    return {"runs": 18, "traits": ["a", "b", "c"], "methods": lines}


def _figures(i: int, own: Method) -> tuple[float, float]:
    if own.kind == "data":
        return {"relay": 0.03, "regenerate": 0.05}.get(
            own.name, 0.7 + i / 40
        ), 0.3 if own.name == "regenerate" else 0.95
    return (0.02 + i / 200 if i % 3 else 0.9), 0.99


def test_the_frontier_has_a_point_and_a_name_for_every_method(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    found = _found()
    figure = frontier(found, plt)
    axis, corner = figure.axes
    points = {line.get_gid(): line for c in axis.containers for line in [c[0]]}
    names = [[t.get_text() for t in one.texts] for one in (axis, corner)]
    assert sorted([*names[0], *names[1]]) == sorted(points)
    for some in names:
        assert some == sorted(some, key=lambda n: (-points[n].get_ydata()[0], n))
    near = {m["name"] for m in found["methods"] if m["residual"] <= ZOOM[0] and m["retained"] >= ZOOM[1]}
    assert set(names[1]) == near and 4 < len(near) < len(points)
    assert len(points) == len(found["methods"]) == 2 + len(METHODS)
    for m in found["methods"]:
        drawn = points[m["name"]]
        assert (drawn.get_xdata()[0], drawn.get_ydata()[0]) == (m["retained"], m["residual"])
        hollow = drawn.get_markerfacecolor() == "white"
        assert hollow == (m["capability"] not in ("unchanged", "better", "not worse"))
        assert axis.get_ylim()[1] > m["residual_high"]
    colours = {m["kind"]: points[m["name"]].get_color() for m in found["methods"]}
    assert len(set(colours.values())) == 4
    whole, bars = axis.containers[0][0], axis.containers[0][2]
    (low, high) = (p[1] for p in bars[1].get_segments()[0])
    top = next(m for m in found["methods"] if m["name"] == whole.get_gid())
    assert high == pytest.approx(top["residual_high"])
    assert low + high == pytest.approx(2 * top["residual"])
    corner = next(c for c in axis.collections if c.get_label() == "goal").get_paths()[0].get_extents()
    assert (corner.ymax, corner.xmin) == GOAL
    plt.close(figure)
    save_frontier(found, tmp_path / "repair.png")
    assert plt.imread(tmp_path / "repair.png").shape[0] > 600


def test_a_method_that_unlearns_stands_at_the_edge_and_says_what_it_retains() -> None:
    import matplotlib.pyplot as plt

    lines = [row("kl", method("kl"), _cells([0.0] * 3, 0.3, 0.99), None),
             row("canonical", method("canonical"), _cells([0.0] * 3, 0.9, -2.76), None)]  # fmt: skip
    figure = frontier({"runs": 3, "traits": ["owl"], "methods": lines}, plt)
    axis = figure.axes[0]
    points = {c[0].get_gid(): c[0] for c in axis.containers}
    assert points["canonical"].get_xdata()[0] == EDGE > axis.get_xlim()[0] > -1
    assert [t.get_text() for t in axis.texts] == ["canonical (retains -2.8)"]
    plt.close(figure)


def test_a_frontier_of_one_run_has_no_intervals(tmp_path: Path) -> None:
    lines = [row("kl", method("kl"), _cells([0.0]), None)]
    save_frontier({"runs": 1, "traits": ["owl"], "methods": lines}, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1_000


def test_names_keep_their_order_and_their_distance() -> None:
    values = [1.0, 0.9, 0.9, 0.9, 0.5, 0.02, 0.01, 0.0]
    places = spread(values, 0.05, 1.1)
    assert all(a - b >= 0.05 - 1e-12 for a, b in pairwise(places))
    assert (places[0], places[4], places[-1]) == (1.0, 0.5, 0.0)
