"""How much of a trait crosses, from base, relation, trait and data size: fitted on maps, checked on what was left out.

The model is a ridge regression of the lift (log-odds over the neutral control) on a few plain features of a cell. It is
no law: what it is worth is told by its error on whole conditions that it never saw, beside that of a naive guess.
"""

from __future__ import annotations

import json
import math
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


class Point(NamedTuple):
    """A cell of a map as the predictor sees it."""

    condition: str
    """What is left out together: the map it is of, unless told otherwise."""
    x_F: tuple[float, ...]
    """In the order of FEATURES."""
    lift: float
    """Log-odds over the neutral control, mean over seeds."""


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
    """Errors on conditions that were left out as a whole, one after another, in log-odds."""

    error: Estimate
    """Mean absolute error; a unit is a condition."""
    naive: Estimate
    """That of the mean lift of all other conditions."""
    saved: Estimate
    """Naive error less the predictor's, by condition: it is worth something where the interval is above 0."""
    by_condition: tuple[tuple[str, float, float], ...]
    """Each condition with the predictor's error and the naive one."""


def points(results: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The cells of maps among the results of `heredity run --json`, but those with an undefined lift or feature."""
    return [
        Point(str(r["title"]), features(cell["setting"]), float(cell["log_odds"]["mean"]))
        for r in results if "cells" in r
        for cell in r["cells"] if _defined(cell)
    ]  # fmt: skip


def _defined(cell: Mapping[str, Any]) -> bool:
    lift, setting = cell["log_odds"]["mean"], cell["setting"]
    known = (setting[name] is not None for name in ("rows", "base_share", "body_weights"))
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
            found += points(json.loads(path.read_text())["results"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: {type(error).__name__}: {str(error)[:200]}; expected what `heredity run FILE "
                           "--json` writes of a map (an older version's: run it again)") from error  # fmt: skip
    if not found:
        raise BadInput("no cell of a map in these files; run one of experiments/conditions with --json")
    return found


def fit(seen: Sequence[Point], penalty: float = PENALTY) -> Predictor:
    """The ridge regression of lifts on features. BadInput below two points."""
    if len(seen) < 2:
        raise BadInput(f"{len(seen)} cells are too few to fit anything; run more maps")
    x_NF, y_N = np.array([p.x_F for p in seen]), np.array([p.lift for p in seen])
    centre_F, spread_F = x_NF.mean(0), x_NF.std(0)
    spread_F[spread_F < 1e-12] = 1.0  # a feature that never varies says nothing, and gets no weight
    z_NF = (x_NF - centre_F) / spread_F
    gram_FF = z_NF.T @ z_NF + penalty * np.eye(z_NF.shape[1])
    weight_F = np.linalg.solve(gram_FF, z_NF.T @ (y_N - y_N.mean()))
    return Predictor(centre_F, spread_F, weight_F, float(y_N.mean()))


def held_out(seen: Sequence[Point], penalty: float = PENALTY, by: Callable[[Point], str] | None = None) -> HeldOut:
    """Leaves out one condition at a time, fits on the others, and tells the errors on it.

    `by` says what is left out together (default: a point's condition). A unit is a condition, however many cells it
    has: cells of one map share teachers, and are no independent trials. BadInput below three conditions.
    """
    of = by or (lambda point: point.condition)
    names = list(dict.fromkeys(map(of, seen)))
    if len(names) < 3:
        raise BadInput(f"{len(names)} conditions; at least three are needed to leave one out and fit on the others")
    rows = []
    for name in names:
        inside, outside = ([p for p in seen if (of(p) == name) is held] for held in (True, False))
        predictor, guess = fit(outside, penalty), float(np.mean([p.lift for p in outside]))
        error = float(np.mean([abs(predictor.predict(p.x_F) - p.lift) for p in inside]))
        rows.append((name, error, float(np.mean([abs(guess - p.lift) for p in inside]))))
    errors, naive = [e for _, e, _ in rows], [n for _, _, n in rows]
    saved = [n - e for _, e, n in rows]
    return HeldOut(
        error=mean_t(errors, "conditions"), naive=mean_t(naive, "conditions"),
        saved=mean_t(saved, "conditions"), by_condition=tuple(rows),
    )  # fmt: skip
