"""The trait-by-trait matrix of an experiment: own trait against all others, drift taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from heredity.lab.comparison import Comparison
from heredity.stats import leave_one_out, log_odds, transfer, transfer_test
from heredity.steps import Evaluation
from heredity.store import Step, Store
from heredity.types import BadInput


class TraitMatrix(Step):
    """gamma of lift_ij = mu + a_i + b_j + gamma 1[i = j] over comparisons of one category: `matrix.json`.

    Rows are students by their teacher's trait, columns the traits they are asked about; only traits that some
    comparison teaches are columns. The i-th seeds of all comparisons are one replicate.
    """

    opens_models: ClassVar[bool] = False

    comparisons: tuple[Comparison, ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        categories, words = {c.trait.category for c in self.comparisons}, [c.trait.word for c in self.comparisons]
        if len(categories) != 1 or len(set(words)) != len(words) or len(words) < 2:
            raise BadInput(f"a trait matrix needs two or more traits of one category, each once; found {words}")
        if len({len(c.treated) for c in self.comparisons}) != 1:
            raise BadInput("a trait matrix needs the same number of seeds for every trait")
        return self

    def lifts(self, store: Store) -> NDArray[np.float64]:
        """Log-odds of treated less control: (replicate, student trait, evaluated trait)."""
        words = [c.trait.word for c in self.comparisons]

        def lift(treated: Evaluation, control: Evaluation) -> list[float]:
            own, base = treated.read(store)["share"], control.read(store)["share"]
            return [log_odds(own[word]) - log_odds(base[word]) for word in words]

        rows = [[lift(t, c) for t, c in zip(x.treated, x.control, strict=True)] for x in self.comparisons]
        return np.array(rows).swapaxes(0, 1)

    def make(self, folder: Path, store: Store) -> None:
        lift_RKK, unit = self.lifts(store), "seeds of teachers and students"
        words = tuple(c.trait.word for c in self.comparisons)
        left = leave_one_out(lift_RKK, unit, words)
        found = {
            "traits": words, "lift": lift_RKK.mean(0).tolist(), "gamma": transfer(lift_RKK, unit).model_dump(),
            "test": transfer_test(lift_RKK, unit, "greater").model_dump(),
            "without": {"kind": left.worst.kind, "name": left.worst.name, "gamma": left.worst.estimate.model_dump()},
        }  # fmt: skip
        (folder / "matrix.json").write_text(json.dumps(found, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`traits`, `lift` (mean), `gamma`, `test`, and `without`: gamma without what it leans on most."""
        found: dict[str, Any] = json.loads((store.path(self) / "matrix.json").read_text())
        return found
