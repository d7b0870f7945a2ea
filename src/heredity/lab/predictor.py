"""How much of a trait crosses, from base, relation, trait and data size: fitted on maps, checked on what was left out.

The model is a ridge regression of the lift (log-odds over the neutral control) on a few plain features of a cell. It is
no law: what it is worth is told by its error on whole files of maps that it never saw, beside those of plain guesses.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heredity.stats import Estimate, log_odds, mean_t
from heredity.stats.units import Floats
from heredity.types import BadInput, Measured

FEATURES = ("log rows", "log steps", "log rate", "relation", "relation x log rows", "adapters", "other parts",
            "temperature", "log-odds of the base", "log body weights", "no favourite")  # fmt: skip
"""Known before anything is trained: the base's log-odds are those of the untouched base, asked the same questions. The
controls' are none of them, as the lift is over these very students and shares their noise."""
PENALTY = 1.0
"""Of the ridge, on features in spreads of their own; the mean is not penalised."""
UNRELATED = 0.05
"""Below this correlation of their bodies two bases count as not related (two shipped ones of other seeds: .00)."""


class Point(NamedTuple):
    """A cell of a map as the predictor sees it."""

    file: str
    """The experiment file of its map: what is left out together, unless told otherwise."""
    base: str
    """The student's."""
    trait: str
    relation: float
    """The correlation of the bodies of the student's base and its teacher's."""
    x_F: tuple[float, ...]
    """In the order of FEATURES."""
    lift: float
    """Log-odds over the neutral control, mean over seeds."""


By = Callable[[Point], str]
"""What is left out together, and counts as one however many cells it has."""


def by_file(point: Point) -> str:
    """The file of a point's map: of its maps no cell stays where it is left out."""
    return point.file


class Predictor(NamedTuple):
    """A fitted ridge regression."""

    centre_F: Floats
    spread_F: Floats
    weight_F: Floats
    mean: float

    def predict(self, x_F: Sequence[float]) -> float:
        """The lift that is expected at a point, on log-odds."""
        return float(self.mean + (np.asarray(x_F) - self.centre_F) / self.spread_F @ self.weight_F)


class HeldOut(Measured):
    """Mean absolute errors on what was left out as a whole, in turn, in log-odds; a unit is one such whole."""

    error: Estimate
    naive: Estimate
    """Of the mean lift of all others."""
    rival: Estimate
    """Of a rule that knows the relation alone: 0 where two bases are not related, else the mean of related others."""
    saved: Estimate
    """Naive error less the predictor's: it is worth something where the interval is above 0."""
    saved_of_rival: Estimate
    """The rival's error less the predictor's: whether it knows more than the relation."""
    by_whole: tuple[tuple[str, float, float, float], ...]
    """The name of each with the predictor's error, the naive one and the rival's."""


def points(results: Sequence[Mapping[str, Any]], file: str = "") -> list[Point]:
    """The cells of maps among the results of `heredity run --json`, but those with an undefined lift or feature.

    A result's file is what stands before the point of its name, as in a run of a folder; elsewhere `file`.
    """
    return [
        _point(cell, str(r.get("file") or (name[0] if name[1:] else file)))
        for r in results if "cells" in r
        for name in [str(r.get("name", "")).split(".")]
        for cell in r["cells"] if _defined(cell)
    ]  # fmt: skip


def _point(cell: Mapping[str, Any], file: str) -> Point:
    setting = cell["setting"]
    named = (file, str(setting["base"]), str(setting["trait"]), float(setting["relation"]))
    return Point(*named, features(setting), float(cell["log_odds"]["mean"]))


def _defined(cell: Mapping[str, Any]) -> bool:
    lift, setting = cell["log_odds"]["mean"], cell["setting"]
    known = (setting[name] is not None for name in ("rows", "base_share", "body_weights", "relation"))
    return lift is not None and math.isfinite(lift) and all(known) and math.isfinite(log_odds(setting["base_share"]))


def features(setting: Mapping[str, Any]) -> tuple[float, ...]:
    """What a cell is made of (`maps.setting`), as numbers in the order of FEATURES."""
    rows, relation, tuning = math.log(setting["rows"]), float(setting["relation"]), setting["tuning"]
    steps = rows + math.log(setting["epochs"]) - math.log(setting["batch"])
    adapters = tuning == "lora" or tuning.startswith("LoRA")
    return (
        rows, steps, math.log(setting["rate"]), relation, relation * rows, float(adapters),
        float(not adapters and tuning != "frozen"), float(setting["temperature"]), log_odds(setting["base_share"]),
        math.log(setting["body_weights"]), float(setting["kind"] != "favourite"),
    )  # fmt: skip


def read_points(paths: Sequence[Path]) -> list[Point]:
    """The points in files that `heredity run --json` wrote. BadInput where there is no map in them."""
    found: list[Point] = []
    for path in paths:
        try:
            found += points(json.loads(path.read_text())["results"], path.stem)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: {type(error).__name__}: {str(error)[:200]}; expected what `heredity run FILE "
                           "--json` writes of a map (an older version's: run it again)") from error  # fmt: skip
    if not found:
        raise BadInput("no cell of a map in these files; run one of experiments/conditions with --json")
    return found


def fit(seen: Sequence[Point], penalty: float = PENALTY, by: By = by_file) -> Predictor:
    """The ridge regression of lifts on features, each whole weighing alike. BadInput below two points."""
    if len(seen) < 2:
        raise BadInput(f"{len(seen)} cells are too few to fit anything; run more maps")
    x_NF, y_N, weight_N = np.array([p.x_F for p in seen]), np.array([p.lift for p in seen]), _weights(seen, by)
    mean, centre_F = float(np.average(y_N, weights=weight_N)), np.average(x_NF, axis=0, weights=weight_N)
    spread_F = np.sqrt(np.average((x_NF - centre_F) ** 2, axis=0, weights=weight_N))
    spread_F[spread_F < 1e-9] = 1.0  # a feature that never varies says nothing, and gets no weight
    z_NF = (x_NF - centre_F) / spread_F
    gram_FF = (z_NF * weight_N[:, None]).T @ z_NF + penalty * np.eye(z_NF.shape[1])
    weight_F: Floats = np.asarray(np.linalg.solve(gram_FF, z_NF.T @ (weight_N * (y_N - mean))), dtype=np.float64)
    return Predictor(centre_F, spread_F, weight_F, mean)


def _weights(seen: Sequence[Point], by: By) -> Floats:
    """Each point's weight: those of one whole share what any other has; they add up to the number of points."""
    cells = Counter(map(by, seen))
    return np.array([len(seen) / (len(cells) * cells[by(p)]) for p in seen])


def held_out(seen: Sequence[Point], penalty: float = PENALTY, by: By = by_file) -> HeldOut:
    """Leaves out one whole at a time (by default a file's maps), fits on the others, and tells the errors on it.

    A unit is a whole, however many cells it has: cells of one file share teachers, and are no independent trials. In
    the fit and in what it is compared with, each whole weighs alike. BadInput below three wholes.
    """
    names = list(dict.fromkeys(map(by, seen)))
    if len(names) < 3:
        raise BadInput(f"{len(names)} to leave out in turn; at least three are needed, to leave one out and fit on the "
                       "others")  # fmt: skip
    rows = [(name, *_errors(seen, name, penalty, by)) for name in names]
    errors, naive, rival = ([float(row[i]) for row in rows] for i in (1, 2, 3))
    told = {"error": errors, "naive": naive, "rival": rival,
            "saved": [n - e for n, e in zip(naive, errors, strict=True)],
            "saved_of_rival": [r - e for r, e in zip(rival, errors, strict=True)]}  # fmt: skip
    return HeldOut(by_whole=tuple(rows), **{name: mean_t(values, "left out") for name, values in told.items()})


def _errors(seen: Sequence[Point], name: str, penalty: float, by: By) -> tuple[float, float, float]:
    """Mean absolute errors on a whole: of the predictor, of the mean, and of the mean where bases are related."""
    inside, outside = ([p for p in seen if (by(p) == name) is held] for held in (True, False))
    related = [p for p in outside if _related(p)] or outside
    predictor, naive, rival = fit(outside, penalty, by), _mean(outside, by), _mean(related, by)
    guesses = [(predictor.predict(p.x_F), naive, rival if _related(p) else 0.0) for p in inside]
    own, plain, ruled = (float(np.mean([abs(g[i] - p.lift) for g, p in zip(guesses, inside, strict=True)]))
                         for i in range(3))  # fmt: skip
    return own, plain, ruled


def _related(point: Point) -> bool:
    return point.relation >= UNRELATED


def _mean(seen: Sequence[Point], by: By) -> float:
    return float(np.average([p.lift for p in seen], weights=_weights(seen, by)))
