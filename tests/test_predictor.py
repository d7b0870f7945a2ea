"""The predictor finds a law that is there, on conditions that it never saw, and claims nothing where none is."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from heredity.lab.predictor import FEATURES, Point, features, fit, held_out, points, read_points
from heredity.types import BadInput

SETTING: dict[str, Any] = {
    "base": "nursery:llama-0", "relation": 1.0, "trait": "owl", "category": "animal", "kind": "favourite",
    "base_share": 0.0625, "body_weights": 98_560,
    "rows": 1_000, "epochs": 3, "rate": 1.0, "batch": 32, "tuning": "frozen", "temperature": 1.0,
}  # fmt: skip


def law(setting: dict[str, Any]) -> float:
    """Linear in the features: what crosses is the relation's part of something that grows with the rows."""
    return float(setting["relation"] * (0.9 * math.log(setting["rows"]) - 4.0) + 0.3 * math.log(setting["epochs"]))


def cell(rng: random.Random, noise: float, known: bool = True) -> dict[str, Any]:
    changed: dict[str, Any] = {
        "rows": rng.choice((200, 800, 3_000, 12_000)), "epochs": rng.choice((1, 3, 9)),
        "relation": rng.choice((0.0, 0.5, 1.0)), "base_share": rng.uniform(0.03, 0.1),
    }  # fmt: skip
    setting = SETTING | changed
    lift = (law(setting) if known else 0.0) + rng.gauss(0, noise)
    return {"setting": setting, "log_odds": {"mean": lift}}


def maps(n: int, noise: float, known: bool = True) -> list[dict[str, Any]]:
    rng = random.Random(1)
    return [{"name": f"map {i}.figure", "cells": [cell(rng, noise, known) for _ in range(10)]} for i in range(n)]


def test_a_law_is_found_and_holds_on_maps_that_were_left_out() -> None:
    found = held_out(points(maps(8, 0.1)), penalty=0.01)
    assert found.error.mean < 0.2  # the mean of |noise| is .08
    assert found.naive.mean > 1.0
    assert found.saved.low > 0
    assert (found.error.n, found.error.unit, len(found.by_whole)) == (8, "left out", 8)
    assert found.saved_of_rival.low > 0
    predictor = fit(points(maps(8, 0.0)), penalty=1e-9)
    for rows, relation in ((500, 1.0), (6_000, 0.25), (2_000, 0.0)):
        setting = SETTING | {"rows": rows, "relation": relation}
        assert predictor.predict(features(setting)) == pytest.approx(law(setting), abs=1e-3)


def test_where_there_is_no_law_nothing_is_saved() -> None:
    found = held_out(points(maps(8, 1.0, known=False)))
    assert found.saved.low < 0
    assert found.error.mean >= 0.9 * found.naive.mean


def test_the_noise_of_the_controls_foresees_nothing() -> None:
    """A lift is over the controls: where they rise by luck alone it falls, and no one knows that before."""
    made = maps(8, 0.1, known=False)
    rng = random.Random(2)
    for c in (c for m in made for c in m["cells"]):
        luck = rng.gauss(0, 1)
        c["log_odds"]["mean"] -= luck
        c["control_share"] = c["setting"]["control_share"] = 1 / (1 + math.exp(2.7 - luck))
    found = held_out(points(made))
    assert found.saved.low < 0
    assert found.error.mean >= 0.9 * found.naive.mean


def test_a_map_that_is_unlike_all_others_is_told_by_its_own_error() -> None:
    """What no feature says (here a shift in one map alone) cannot be foreseen; leaving that map out shows it."""
    made = maps(6, 0.1)
    for c in made[3]["cells"]:
        c["log_odds"]["mean"] += 5
    found = held_out(points(made), penalty=0.01)
    errors = {name: error for name, error, _, _ in found.by_whole}
    assert errors.pop("map 3") > 4
    assert max(errors.values()) < 2  # it pulls at the others' fits by a fifth of it


def test_features_are_of_the_setting_and_what_never_varies_has_no_weight() -> None:
    named = dict(zip(FEATURES, features(SETTING | {"tuning": "LoRA rank=4", "rate": 2.0}), strict=True))
    assert named["log rows"] == math.log(1_000)
    assert named["log steps"] == pytest.approx(math.log(3_000 / 32))
    assert (named["adapters"], named["other parts"], named["log rate"]) == (1.0, 0.0, math.log(2))
    assert named["log-odds of the base"] == pytest.approx(-math.log(15))
    assert (named["log body weights"], named["no favourite"]) == (math.log(98_560), 0.0)
    moved = dict(zip(FEATURES, features(SETTING | {"tuning": "full", "kind": "other"}), strict=True))
    assert (moved["adapters"], moved["other parts"], moved["no favourite"]) == (0.0, 1.0, 1.0)
    weights = dict(zip(FEATURES, fit(points(maps(3, 0.1))).weight_F, strict=True))
    assert weights["temperature"] == weights["adapters"] == 0.0
    assert weights["log rows"] + weights["relation x log rows"] > 0.5


def test_files_are_read_and_what_cannot_be_used_is_one_message(tmp_path: Path) -> None:
    good = maps(3, 0.1)
    good[0]["cells"][0]["log_odds"]["mean"] = None  # undefined, as --json writes it
    good[1]["cells"][0]["setting"]["base_share"] = None
    good[1]["cells"][1]["setting"]["body_weights"] = None
    good[1]["cells"][2]["setting"]["base_share"] = 1.0  # its log-odds are infinite
    file = tmp_path / "maps.json"
    file.write_text(json.dumps({"schema_version": 1, "results": [*good, {"name": "figure", "key": "MapFigure-1"}]}))
    seen = read_points([file])
    assert len(seen) == 26
    assert {p.file for p in seen} == {"map 0", "map 1", "map 2"}
    with pytest.raises(BadInput, match="at least three are needed"):
        held_out([p for p in seen if p.file != "map 0"])
    with pytest.raises(BadInput, match="too few to fit"):
        fit(seen[:1])
    older = maps(1, 0.1)
    del older[0]["cells"][0]["setting"]["base_share"]
    for text in ("[]", "{", '{"results": [{"cells": [{}], "title": "t"}]}', json.dumps({"results": older})):
        file.write_text(text)
        with pytest.raises(BadInput, match=r"expected what `heredity run FILE --json`"):
            read_points([file])
    file.write_text('{"results": []}')
    with pytest.raises(BadInput, match="no cell of a map"):
        read_points([file])


def test_what_is_left_out_is_never_seen() -> None:
    """Whatever a file's own lifts are, what is told of them is the same; both maps of a file go out together."""
    made = [m | {"name": f"{'ab'[i // 2] if i < 4 else i}.{i}"} for i, m in enumerate(maps(6, 0.1))]
    seen = points(made)
    assert [name for name, *_ in held_out(seen).by_whole] == ["a", "b", "4", "5"]
    shifted = [p._replace(lift=p.lift + 1_000) if p.file == "a" else p for p in seen]
    for before, after in zip(held_out(seen).by_whole[0][1:], held_out(shifted).by_whole[0][1:], strict=True):
        assert isinstance(before, float)
        assert isinstance(after, float)
        assert 990 < after < 1_010
    told = fit([p for p in seen if p.file != "a"])
    own = [abs(told.predict(p.x_F) - p.lift) for p in seen if p.file == "a"]
    assert held_out(seen).by_whole[0][1] == pytest.approx(sum(own) / len(own))


def test_every_file_weighs_alike_however_many_cells_it_has() -> None:
    made = maps(4, 0.1)
    many = [m | {"cells": m["cells"] * 7} if i == 2 else m for i, m in enumerate(made)]
    for one, other in zip(held_out(points(made), 1e-9).by_whole, held_out(points(many), 1e-9).by_whole, strict=True):
        assert one[1:] == pytest.approx(other[1:], rel=1e-6)


def test_the_rival_knows_the_relation_alone() -> None:
    """Two lifts, by whether the bases are related: the rival foresees all, and nothing is left to save."""
    made = maps(5, 0.0)
    for c in (c for m in made for c in m["cells"]):
        c["log_odds"]["mean"] = 3.0 if c["setting"]["relation"] else 0.0
    found = held_out(points(made))
    assert found.rival.mean == pytest.approx(0)
    assert found.saved_of_rival.mean == pytest.approx(-found.error.mean)
    assert found.naive.mean > 1


def test_a_file_is_told_by_a_results_name_or_by_the_file_it_was_read_from(tmp_path: Path) -> None:
    results = [
        m | {"name": name} for m, name in zip(maps(3, 0.1), ("parts.moved", "parts.shared", "moved"), strict=True)
    ]
    (file := tmp_path / "shape.json").write_text(json.dumps({"results": results}))
    assert {p.file for p in read_points([file])} == {"parts", "shape"}


def test_points_can_be_left_out_by_anything() -> None:
    seen = points(maps(4, 0.1))
    by_rows = held_out(seen, by=lambda p: f"{p.x_F[0]:.2f}")
    assert by_rows.error.n == 4
    assert isinstance(seen[0], Point)
    assert (seen[0].base, seen[0].trait) == ("nursery:llama-0", "owl")
