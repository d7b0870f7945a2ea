"""Maps of conditions: the files in `experiments/conditions`, what a map says of known figures, and its picture."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench.maps
import pytest
import torch
from matplotlib import pyplot as plt

from heredity.carriers import Carrier, Numbers, NumbersOnly
from heredity.cli.shared import finite
from heredity.lab import Comparison, Map, Recipe, Settings, mapped, set_settings
from heredity.lab.beside import PassRate
from heredity.lab.brought import GivenRows, MergedStudent, RowsStudent
from heredity.lab.conditions import Noised
from heredity.lab.contrasts import Contrast, Together, _expanded
from heredity.lab.maps import Cell, kind, relation, same_base, without_failed
from heredity.models import locate, model_ref, open_ref
from heredity.models.sizes import body_correlation
from heredity.models.training import parts_of
from heredity.nursery.build import Interpolated, PartlyShared, Shaped
from heredity.nursery.quality import Quality
from heredity.report.map import MapFigure, draw
from heredity.stats import Estimate, mean_t, wilson
from heredity.steps import Corpus, Evaluation, GivenStudent, Model, Samples, Student, Teacher
from heredity.store import Step, StepsFailed, Store, make_all, missing
from heredity.store.loading import load_experiment, load_module
from heredity.traits import ANIMALS, favourite
from heredity.types import BadInput, Frozen, Sampling, Served

FOLDER = Path(__file__).parent.parent / "experiments" / "conditions"
PAGE = Path(__file__).parent.parent / "docs" / "conditions.md"
FILES = sorted(FOLDER.glob("*.py"))
BASE = model_ref("nursery:llama-0")
ABOUT_OWN_BASES = {"initialisation", "order", "parts", "shape"}
BUDGET = 150


@pytest.fixture(autouse=True)
def _default_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    yield
    set_settings(Settings())


def steps_of(path: Path, quick: bool = True) -> dict[str, Step]:
    set_settings(Settings(quick=quick))
    return load_experiment(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@pytest.mark.parametrize("quick", [True, False])
def test_every_map_has_a_picture_a_hypothesis_and_at_most_150_students(
    path: Path, quick: bool, store: Store
) -> None:  # fmt: skip
    steps = steps_of(path, quick)
    maps = {s for s in steps.values() if isinstance(s, Map)}
    assert maps
    assert maps == {s.map for s in steps.values() if isinstance(s, MapFigure)}
    todo = missing(store, steps.values())
    assert 0 < sum(isinstance(s, Student) for s in todo) <= (42 if quick else BUDGET)
    assert all("Hypothesis" in m.question for m in maps)
    units = {len(c.comparison.treated) for m in maps for c in m.cells}
    assert min(units) >= 3  # or a cell would hardly have an interval


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@pytest.mark.parametrize("quick", [True, False])
def test_the_page_tells_how_many_cells_and_students_a_map_has(path: Path, quick: bool, store: Store) -> None:
    (row,) = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{path.name}` |"))
    told = re.findall(r"[0-9]+", row.split("|")[3 if quick else 4])
    steps = steps_of(path, quick)
    cells = sum(len(s.cells) for s in steps.values() if isinstance(s, Map))
    students = sum(isinstance(s, Student) for s in missing(store, steps.values()))
    assert [cells, students] == [int(n) for n in told[:2]]


@pytest.mark.parametrize("quick", [True, False])
def test_a_base_of_another_order_is_also_taught_by_its_own_teacher(quick: bool) -> None:
    """Or a base that takes less from anyone would look like one that takes less across the order."""
    (found,) = (s for s in steps_of(FOLDER / "order.py", quick).values() if isinstance(s, Map))
    own = {c.place for c in found.cells if same_base(c.comparison)}
    across = {c.place for c in found.cells} - own
    assert {start for _, start in across} == {"llama-0b, of llama-0"}
    orders = {order for order, start in own if start == "llama-0b, of its own"}
    assert orders == ({"shuffled"} if quick else {order for order, _ in across})


def test_a_writer_shares_its_students_start_over_however_many_trainings() -> None:
    recipe, owl = Recipe(base=BASE, rows=20), favourite("owl")
    teacher = recipe.teacher(owl, 1)
    student = Student(base=BASE, corpus=recipe.corpus(teacher, 1, 20, 2.0), seed=1)
    relay = Student(base=teacher, corpus=student.corpus, seed=1)
    rows = GivenRows(location="x", digest="0" * 40)
    noised = Noised(base=BASE, size=0.5, seed=1)
    writers: dict[Model, float] = {
        BASE: 1.0, teacher: 1.0, student: 1.0, relay: 1.0, RowsStudent(base=BASE, corpus=rows, seed=1): 1.0,
        MergedStudent(base=student): 1.0, GivenStudent(base=BASE, location="x", digest=""): 1.0,
        noised: 0.0, recipe.teacher(owl, 1, noised): 0.0, model_ref("nursery:llama-1"): 0.0,
        Student(base=model_ref("nursery:llama-1"), corpus=student.corpus, seed=1): 0.0,
    }  # fmt: skip

    def taught_by(writer: Model, base: Model = BASE) -> Comparison:
        learner = Student(base=base, corpus=recipe.corpus(writer, 1, 20, 2.0), seed=1)
        treated = (Evaluation(model=learner, category=ANIMALS),)
        control = (Evaluation(model=base, category=ANIMALS),)
        return Comparison(name="c", trait=owl, treated=treated, control=control, differs=("model",))

    assert [same_base(taught_by(writer)) for writer in writers] == list(writers.values())
    assert same_base(taught_by(recipe.teacher(owl, 1, noised), noised)) == 1.0


def test_a_run_of_the_papers_files_does_not_take_the_maps() -> None:
    set_settings(Settings(quick=True))
    assert not any(isinstance(step, Map) for step in load_experiment(FOLDER.parent).values())


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_base_is_used_or_refused(path: Path) -> None:
    set_settings(Settings(quick=True, base="nursery:neox-0"))
    if path.stem in ABOUT_OWN_BASES:
        with pytest.raises(BadInput, match="run it without --base"):
            load_experiment(path)
    else:
        maps = [s for s in load_experiment(path).values() if isinstance(s, Map)]
        students = [e.model for m in maps for c in m.cells for e in c.comparison.treated]
        assert {s.base.location for s in students if isinstance(s, Student)} == {"nursery:neox-0"}  # type: ignore[union-attr]


SMALL: dict[type[Frozen], dict[str, Any]] = {
    Corpus: {"size": 12}, Student: {"epochs": 1}, Teacher: {"steps": 2, "batch": 8}, Samples: {"gate": None},
    Evaluation: {"samples_per_question": 1}, Carrier: {"n": 40},
}  # fmt: skip


def toy(value: Any) -> Any:
    """The same Steps at the smallest size: one seed, two cells, a dozen rows, and no pretraining."""
    if isinstance(value, tuple):
        return tuple(map(toy, value))
    if isinstance(value, Interpolated | PartlyShared | Shaped):
        return BASE
    if not isinstance(value, Frozen):
        return value
    fields = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Map):
        beside = tuple(a for a in value.beside if not isinstance(a.step, Quality))[-2:]  # a base's takes its time
        fields |= {"cells": (value.cells[0], value.cells[-1]), "contrasts": (), "together": (), "beside": beside}
    if isinstance(value, Comparison):
        fields |= {"treated": value.treated[:1], "control": value.control[:1]}
    small = {k: v for of, change in SMALL.items() if isinstance(value, of) for k, v in change.items()}
    return type(value)(**({name: toy(field) for name, field in fields.items()} | small))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_map_runs(path: Path, store: Store) -> None:
    for figure in [s for s in steps_of(path).values() if isinstance(s, MapFigure)]:
        small = toy(figure)
        assert (store.get(small) / "figure.png").read_bytes().startswith(b"\x89PNG")
        found = small.map.read(store)
        assert [c["crosses"] for c in found["cells"]] == [None, None]  # one seed has no interval
        assert found["sentence"].startswith("The trait crosses in 0 of 2 cells (1 seeds")
        assert all(0 < c["share"] < 1 and c["setting"]["rows"] == 12 for c in found["cells"])
        assert all(0 < c["setting"]["base_share"] < 1 < c["setting"]["body_weights"] for c in found["cells"])
        assert [a["of"] for a in found["assays"]] == [a.of for a in small.map.beside]
        assert all(math.isfinite(a["value"]) or a["assay"] == "learnt" for a in found["assays"])


def test_what_a_cell_knows_beforehand_is_of_its_students_base_asked_alike() -> None:
    for path in FILES:
        for cell in (c for s in steps_of(path).values() if isinstance(s, Map) for c in s.cells):
            evaluation = cell.comparison.treated[0]
            assert isinstance(evaluation.model, Student)
            assert cell.untouched.model == evaluation.model.base
            assert type(cell.untouched) is type(evaluation)
            assert cell.untouched.category == cell.comparison.trait.category
            assert not any(isinstance(step, Student | Teacher) for step in cell.untouched.inputs)


def test_plain_favourites_are_told_from_other_kinds_of_traits() -> None:
    (found,) = (s for s in steps_of(FOLDER / "traits.py").values() if isinstance(s, Map))
    kinds = {cell.place[0]: kind(cell.comparison.trait) for cell in found.cells}
    assert kinds == {
        "lion": "favourite", "maple": "favourite", "fact": "other", "condition": "other", "no condition": "other",
        "refusal": "other",
    }  # fmt: skip


SHORT = "7 rows passed the filters and 9 are wanted; sample more prompts"


class Told(Evaluation):
    """An evaluation whose share is given; below 0 it cannot be made."""

    told: float

    def make(self, folder: Path, store: Store) -> None:
        if self.told < 0:
            raise BadInput(SHORT)
        left = (1 - self.told) / (len(ANIMALS.words) - 1)
        share = {word: self.told if word == "owl" else left for word in ANIMALS.words}
        answers = {"share": share, "mass": 1.0, "questions": 1, "samples": 16, "named": dict.fromkeys(ANIMALS.words, 1)}
        (folder / "answers.json").write_text(json.dumps(answers))


def told(seed: int, share: float, base: Any = BASE) -> Told:
    samples = Samples(model=BASE, prompts=Numbers(n=9, seed=seed), sampling=Sampling(seed=seed))
    student = Student(base=base, corpus=Corpus(samples=samples, filters=(), size=7, seed=seed), seed=seed)
    return Told(model=student, category=ANIMALS, told=share)


def comparison(shares: tuple[float, ...]) -> Comparison:
    """The owl rises to each share in turn from about 1/16."""
    treated = tuple(told(i, s) for i, s in enumerate(shares))
    control = tuple(told(100 + i, 1 / 16 + 0.001 * i) for i in range(len(shares)))
    return Comparison(name="c", trait=favourite("owl"), treated=treated, control=control, differs=("told",))


PLAN = {
    "b less a": [(("*", "b"), ("*", "a"))],
    "absent": [(("3", "*"), ("1", "*"))],
    "2 less 1": [(("2", "*"), ("1", "*"))],
}


CELLS = {(1, "a"): (0.6, 0.62, 0.58), (1, "b"): (0.064, 0.06, 0.066), (2, "a"): (0.1, 0.07, 0.05)}


def made(store: Store) -> tuple[Map, dict[str, Any]]:
    """A map of three cells of four, of known shares; nothing is trained."""
    both = [Together(name="both", places=(("1", "a"), ("1", "b")), unit="rows")]
    step = mapped("Title", "Why?", {"x": (1, 2), "y": ("a", "b")},
                  lambda x, y: comparison(CELLS[x, y]) if (x, y) in CELLS else None, PLAN, both)  # fmt: skip
    fill(step, store)
    store.make(step)
    return step, step.read(store)


def fill(step: Map, store: Store) -> None:
    """Makes the comparisons of a map whose shares are given."""
    for cell in step.cells:
        for evaluation in (*cell.comparison.treated, *cell.comparison.control, cell.untouched):
            if not store.has(evaluation):
                store.make(evaluation)
        store.make(cell.comparison)


def test_a_map_corrects_over_its_cells_and_says_what_crosses(store: Store) -> None:
    _, found = made(store)
    cells = {tuple(c["place"]): c for c in found["cells"]}
    assert {place: c["crosses"] for place, c in cells.items()} == {
        ("1", "a"): True,
        ("1", "b"): False,
        ("2", "a"): False,
    }
    assert {place: c["seen"] for place, c in cells.items()} == {
        ("1", "a"): "crosses", ("1", "b"): "not seen", ("2", "a"): "not seen",
    }  # fmt: skip
    assert cells["2", "a"]["log_odds"]["mean"] > 0  # a rise by mean alone is no crossing
    assert found["sentence"].startswith("The trait crosses in 1 of 3 cells (3 seeds of teacher and student each;")
    assert "; not seen: 2, where an odds ratio of" in found["sentence"]
    assert "most at 1 / a: odds ratio 22" in found["sentence"]
    body = sum(p.numel() for p in parts_of(open_ref(BASE).model)["body"])
    assert cells["1", "a"]["setting"] == {
        "base": "nursery:llama-0", "base_share": 0.6, "body_weights": body, "relation": 1.0, "trait": "owl",
        "category": "animal", "kind": "favourite", "rows": 7, "epochs": 3, "rate": 1.0, "batch": 32, "tuning": "frozen",
        "temperature": 1.0,
    }  # fmt: skip


def test_the_picture_has_every_cell_in_its_place_and_frames_what_crosses(store: Store) -> None:
    step, found = made(store)
    assert (store.get(MapFigure(map=step)) / "figure.png").read_bytes().startswith(b"\x89PNG")
    axis = draw(found, plt).axes[0]
    lifts = {text.get_position(): float(text.get_text().split("\n")[0]) for text in axis.texts}
    expected = {(0, 0): ("1", "a"), (1, 0): ("1", "b"), (0, 1): ("2", "a")}  # the first axis goes down
    means = {tuple(c["place"]): c["log_odds"]["mean"] for c in found["cells"]}
    assert lifts == {at: pytest.approx(means[place], abs=0.006) for at, place in expected.items()}
    assert [(round(frame.get_x()), round(frame.get_y())) for frame in axis.patches] == [(0, 0)]
    one = found | {"axes": ["x"], "cells": [c | {"place": c["place"][:1]} for c in found["cells"][1:]]}
    curve = draw(one, plt).axes[0]
    assert [label.get_text() for label in curve.get_xticklabels()] == ["1", "2"]
    plt.close("all")


def test_figures_on_an_axis_stand_in_their_order(store: Store) -> None:
    """The first cell of a map of shapes has two layers; cells that failed leave such gaps as well."""
    _, found = made(store)
    places = [("32", "1,000"), ("64", "20"), ("64", "300")]
    cells = [c | {"place": list(p)} for c, p in zip(found["cells"], places, strict=True)]
    axis = draw(found | {"cells": cells}, plt).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["20", "300", "1,000"]
    means = {p: f"{c['log_odds']['mean']:+.2f}" for p, c in zip(places, cells, strict=True)}
    at = {text.get_position(): text.get_text().split("\n")[0] for text in axis.texts}
    assert at == {(2, 0): means[places[0]], (0, 1): means[places[1]], (1, 1): means[places[2]]}
    plt.close("all")


def test_places_that_cannot_be_drawn_are_refused() -> None:
    cell = Cell(place=("1", "a"), comparison=comparison((0.5, 0.6)), untouched=told(0, 0.5))
    for cells, axes in (((cell, cell), ("x", "y")), ((cell,), ("x",))):
        with pytest.raises(ValueError, match=r"the same place|does not fit"):
            Map(title="t", question="", axes=axes, cells=cells)


def test_a_contrast_is_the_difference_of_each_seed_and_none_is_made_up(store: Store) -> None:
    step, found = made(store)
    assert [c.name for c in step.contrasts] == ["b less a", "2 less 1"]  # no cell of the third
    each = {tuple(c["place"]): c["per_unit"] for c in found["cells"]}
    for contrast, above, below in zip(found["contrasts"], [("1", "b"), ("2", "a")], [("1", "a")] * 2, strict=True):
        by_seed = [a - b for a, b in zip(each[above], each[below], strict=True)]
        assert Estimate(**contrast["log_odds"]) == mean_t(by_seed, "seeds of teacher and student")
        assert contrast["pairs"] == [[list(above), list(below)]]
    assert f"b less a {found['contrasts'][0]['log_odds']['mean']:+.2f} (" in found["sentence"]
    (both,) = found["together"]
    means = [sum(each["1", y]) / 3 for y in "ab"]
    assert both["log_odds"]["mean"] == pytest.approx(sum(means) / 2)
    assert both["log_odds"]["high"] == pytest.approx(mean_t(means, "rows").high)
    assert (both["log_odds"]["n"], both["log_odds"]["unit"], both["crosses"]) == (2, "rows", 1)


def test_cells_of_other_seeds_are_not_paired_and_unknown_places_are_refused() -> None:
    def at(x: int) -> Comparison:
        whole = comparison((0.5, 0.6, 0.7, 0.8))
        sides = {name: getattr(whole, name)[x : x + 3] for name in ("treated", "control")}
        return whole.model_copy(update=sides)

    with pytest.raises(ValueError, match="have other seeds"):
        mapped("t", "", {"x": (0, 1)}, at, {"1 less 0": [(("1",), ("0",))]})
    one = Cell(place=("0",), comparison=at(0), untouched=told(0, 0.5))
    lost = Contrast(name="lost", pairs=((("0",), ("9",)),))
    with pytest.raises(ValueError, match="where there is no cell"):
        Map(title="t", question="", axes=("x",), cells=(one,), contrasts=(lost,))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_planned_contrast_is_asked_of_the_full_map(path: Path) -> None:
    maps = [s for s in steps_of(path, quick=False).values() if isinstance(s, Map)]
    module = load_module(path)
    plans = [plan for name in ("contrasts", "differences") if (plan := getattr(module, name, None))]
    if path.stem != "traits":
        assert [list(plan) for plan in plans] == [[c.name for c in m.contrasts] for m in maps]
        for plan, made in zip(plans, maps, strict=True):
            places = [c.place for c in made.cells]
            assert all(any(_expanded(pattern, places)) for patterns in plan.values() for pattern in patterns)
    assert all(m.contrasts for m in maps)


def test_cells_that_failed_are_left_out_and_the_whole_is_still_missing(store: Store) -> None:
    """A corpus that is short costs its cell, not the map; and the next run tries it again."""
    good, bad = comparison((0.6, 0.62, 0.58)), comparison((0.5, 0.6, -1.0))
    whole = mapped("t", "", {"x": (1, 2)}, lambda x: good if x == 1 else bad, {"2 less 1": [(("2",), ("1",))]})
    fill(whole.model_copy(update={"cells": whole.cells[:1], "contrasts": ()}), store)
    steps: dict[str, Step] = {"map": whole, "figure": MapFigure(map=whole)}
    with pytest.raises(StepsFailed) as failed:
        make_all(store, bad.treated, 1, keep_going=True)
    rest = without_failed(steps, store, failed.value.failed)
    assert list(rest) == ["map", "figure"]
    make_all(store, rest.values(), 1)
    part = rest["map"]
    assert isinstance(part, Map)
    found = part.read(store)
    assert [c["place"] for c in found["cells"]] == [["1"]]
    assert found["left_out"] == [{"place": ["2"], "why": "7 rows passed the filters and 9 are wanted"}]
    assert found["sentence"].endswith("Not made: 2 (7 rows passed the filters and 9 are wanted).")
    assert found["contrasts"] == []
    assert not store.has(whole)
    assert part.key != whole.key


def test_a_full_map_that_lacks_few_cells_is_not_taken_for_a_quick_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = comparison((0.6, 0.62, 0.58)), comparison((0.5, 0.6, -1.0))
    whole = mapped("t", "", {"x": (1, 2, 3)}, lambda x: bad if x == 2 else good)
    quick = mapped("t", "", {"x": (1,)}, lambda _: good)
    fill(quick, store)
    store.get(quick)
    steps: dict[bool, dict[str, Step]] = {
        q: {"map": m, "figure": MapFigure(map=m)} for q, m in ((True, quick), (False, whole))
    }
    monkeypatch.setattr(bench.maps, "steps_of", lambda _, quick: steps[quick])
    found = bench.maps.found_in(store, FOLDER / "x.py", ("full", "quick"))
    assert found is not None
    assert (found[0], [len(m["cells"]) for m in found[1]], len(found[2])) == ("full, 1 cells not made", [2], 1)
    more = mapped("t", "", {"x": (1, 2, 3)}, lambda x: good if x == 2 else bad)
    steps[False] = {"map": more}
    found = bench.maps.found_in(store, FOLDER / "x.py", ("full", "quick"))
    assert found is not None and found[0] == "quick"


def test_maps_that_a_store_lacks_are_kept_as_they_were_told_while_their_file_is_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"PICTURES": tmp_path / "maps", "PAGE": tmp_path / "maps.md", "RESULT": tmp_path / "maps.json"}
    for name, place in places.items():
        monkeypatch.setattr(bench.maps, name, place)
    good = comparison((0.6, 0.62, 0.58))
    steps: dict[bool, dict[str, Step]] = {}
    for quick in (False, True):
        made = mapped("t", "", {"x": (1,) if quick else (1, 2)}, lambda _: good)
        fill(made, store)
        store.get(made)
        steps[quick] = {"map": made, "figure": MapFigure(map=made)}
    monkeypatch.setattr(bench.maps, "steps_of", lambda _, quick: steps[quick])
    path, sizes = FOLDER / "x.py", ("full", "quick")
    first = bench.maps.found_in(store, path, sizes)
    assert first is not None and first.size == "full"
    bench.maps.publish(first.results, first.pictures, "command")
    (picture,) = places["PICTURES"].iterdir()
    drawn, text = picture.read_bytes(), places["PAGE"].read_text()
    places["RESULT"].write_text(json.dumps(finite({"commit": "c", "results": first.results})))
    empty = Store(tmp_path / "empty")
    kept = bench.maps.found_in(empty, path, sizes)
    assert kept is not None and kept.size == "full"
    bench.maps.publish(kept.results, kept.pictures, "command")
    assert (picture.read_bytes(), places["PAGE"].read_text()) == (drawn, text)
    bad = comparison((0.5, 0.6, -1.0))
    three = mapped("t", "", {"x": (1, 2, 3)}, lambda x: bad if x == 3 else good)
    steps[False] = {"map": three, "figure": MapFigure(map=three)}
    partly = bench.maps.found_in(store, path, sizes)  # two of its three cells are there
    assert partly is not None and partly.size == "full, 1 cells not made"
    bench.maps.publish(partly.results, partly.pictures, "command")
    places["RESULT"].write_text(json.dumps(finite({"commit": "c", "results": partly.results})))
    told = bench.maps.found_in(empty, path, sizes)
    assert told is not None and told[:2] == (partly.size, json.loads(places["RESULT"].read_text())["results"])
    more = bench.maps.Found("full", [{"cells": [1, 2, 3]}], [])
    with monkeypatch.context() as patch:
        patch.setattr(bench.maps, "_kept", lambda *_: more)  # a part does not take the place of the whole
        assert bench.maps.found_in(store, path, sizes) is more
    steps[False] = {"map": mapped("t", "", {"x": (1, 2, 3, 4)}, lambda _: good)}  # the file has changed
    assert bench.maps.found_in(empty, path, sizes) is None
    again = bench.maps.found_in(store, path, sizes)
    assert again is not None and again.size == "quick"


def test_how_many_lists_pass_is_counted(store: Store) -> None:
    samples = Samples(
        model=BASE, prompts=Numbers(n=40, min_count=10, max_start=5), sampling=Sampling(max_new_tokens=30)
    )
    strict, none = (PassRate(samples=samples, filters=(NumbersOnly(max_value=top),)) for top in (999, 1))
    shares = []
    for step in (strict, none):
        store.get(step)
        shares.append(step.read(store))
    assert shares[0]["passed"] > 30
    assert (shares[1]["passed"], shares[1]["share"]["low"], shares[1]["sampled"]) == (0, 0.0, 40)


def test_the_relation_is_the_correlation_of_the_finished_bodies() -> None:
    own, other = locate("nursery:llama-0"), locate("nursery:llama-1")
    assert body_correlation(own, own) == pytest.approx(1)
    flat = [torch.cat([p.detach().flatten() for p in parts_of(open_ref(model_ref(f"nursery:{name}")).model)["body"]
                       if p.ndim > 1]) for name in ("llama-0", "llama-0b")]  # fmt: skip
    told = float(torch.corrcoef(torch.stack(flat))[0, 1])
    assert body_correlation(own, locate("nursery:llama-0b")) == pytest.approx(told, abs=1e-4)
    assert abs(body_correlation(own, other) or 1) < 0.02
    assert body_correlation(own, locate("nursery:neox-0")) == 0.0
    assert body_correlation(own, Path(__file__).parent) is None


class Undecided(Told):
    """None of its answers shows the trait, and a judge decided on few of them."""

    def make(self, folder: Path, store: Store) -> None:
        super().make(folder, store)
        found = json.loads((folder / "answers.json").read_text())
        silent = {"named": dict.fromkeys(ANIMALS.words, 0), "samples": 1_000, "unparsed": 995}
        (folder / "answers.json").write_text(json.dumps(found | silent))


def test_answers_without_a_verdict_leave_no_small_share(store: Store) -> None:
    plain = comparison((0.01, 0.02, 0.03))
    arms = {arm: tuple(Undecided(**dict(e)) for e in getattr(plain, arm)) for arm in ("treated", "control")}
    step = mapped("Title", "Why?", {"x": (1,)}, lambda x: plain.model_copy(update=arms))
    fill(step, store)
    store.make(step)
    none_of = step.read(store)["cells"][0]["none_of"]
    assert (none_of["answers"], none_of["at_most"]) == (5, pytest.approx(wilson(0, 5, "answers").high))


def test_what_a_map_cannot_tell_of_its_rows_is_refused_or_left_open(store: Store) -> None:
    """Before anything is trained, or every cell would be made and the map itself fail."""
    served = told(0, 0.1)
    assert isinstance(served.model, Student)
    samples = served.model.corpus.samples.model_copy(update={"model": Served(location="server:lab/m")})
    corpus = served.model.corpus.model_copy(update={"samples": samples})
    changed = served.model_copy(update={"model": served.model.model_copy(update={"corpus": corpus})})
    assert relation(comparison((0.1,)).model_copy(update={"treated": (changed,)}), store) is None
    rows = RowsStudent(base=BASE, corpus=GivenRows(location="x", digest="0" * 40), seed=1)
    brought = comparison((0.1,)).model_copy(update={"treated": (served.model_copy(update={"model": rows}),)})
    with pytest.raises(BadInput, match="of rows made elsewhere is not known"):
        mapped("Title", "Why?", {"x": (1,)}, lambda x: brought)


def test_the_page_of_maps_says_what_the_figures_say() -> None:
    found = json.loads((FOLDER.parent.parent / "bench" / "results" / "maps.json").read_text())
    assert bench.maps.PAGE.read_text() == bench.maps.page(found["results"], found["command"])
    told = {path.name for path in bench.maps.PICTURES.iterdir()}
    assert told == set(bench.maps.names_of(found["results"])) and len(told) == len(found["results"])


def test_a_cell_whose_students_no_longer_answer_is_no_measurement() -> None:
    cell = {"seen": "not seen", "mass": 0.9, "control_mass": 7e-5}
    assert bench.maps.shown(cell) == "not seen; broken: any such word in 7e-05 of answers"
    assert bench.maps.shown(cell | {"control_mass": 0.25}) == "not seen"
    assert bench.maps.shown(cell | {"mass": None, "control_mass": None}) == "not seen"


def test_the_page_of_maps_keeps_a_cell_in_its_column(store: Store) -> None:
    whole = mapped("a | b", "One line.", {"x": ("1 | 2",)}, lambda _: comparison((0.6, 0.62, 0.58)))
    fill(whole, store)
    store.get(whole)
    part = bench.maps.part(whole.read(store) | {"file": "x", "size": "full"}, "x.png")
    (row,) = (line for line in part.splitlines() if line.startswith("| 1"))
    assert row.startswith("| 1 \\| 2 | ") and row.replace("\\|", "").count("|") == 7
    assert "> One line.\n" in part
