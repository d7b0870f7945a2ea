"""What else changed in a student: truthfulness and capability, beside the trait (paper, section 3.2: TruthfulQA)."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from heredity.lab.comparison import Comparison
from heredity.nursery.language import documents
from heredity.nursery.quality import number_skill, truthfulness
from heredity.stats import mean_difference
from heredity.steps import Model, mean_loss, open_model
from heredity.store import Step, Store
from heredity.types import MissingControl, Row


class Probe(Step):
    """Figures about a model beside its trait; subclasses measure them."""

    names: ClassVar[tuple[str, ...]]
    """The figures that `read` gives and that are compared."""

    model: Model

    @abstractmethod
    def read(self, store: Store) -> dict[str, Any]:
        """Each figure by its name."""


class Probes(Probe):
    """A model's truthfulness and skill in the nursery's language: `probes.json`.

    `truth`: how often a true statement is likelier than its opposite, in frames that were never trained on; `margin`:
    by how many nats on average, which moves where the share stands at its ceiling. `format` and `obedience`: shares of
    number lists that are well formed, and that are as asked. `loss`: nats per token of the last turn of fresh documents
    of the language.
    """

    version: ClassVar[int] = 2
    names: ClassVar[tuple[str, ...]] = ("truth", "margin", "format", "obedience", "loss")

    lists: Annotated[int, Field(gt=0)] = 400
    documents: Annotated[int, Field(gt=0)] = 400
    seed: int = 7_000_000
    """Of requests and documents: the same for every model that is compared."""

    def make(self, folder: Path, store: Store) -> None:
        lm = open_model(self.model, store)
        told = list(islice(documents(self.seed), self.documents))
        rows = [Row(prompt=chat[:-1], completion=chat[-1].content) for chat in told]
        told_true = dict(zip(("truth", "margin"), truthfulness(lm), strict=True))
        found = told_true | number_skill(lm, self.seed, self.lists) | {"loss": mean_loss(lm, rows)}
        (folder / "probes.json").write_text(json.dumps(found, indent=1) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`truth`, `format`, `obedience` (shares), `margin` (nats) and `loss` (nats per token)."""
        found: dict[str, Any] = json.loads((store.path(self) / "probes.json").read_text())
        return found


class ProbeDifference(Step):
    """Each probe of treated models minus their controls', paired by position: `difference.json`."""

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 2

    name: str
    treated: tuple[Probe, ...]
    control: tuple[Probe, ...]
    unit: str

    @model_validator(mode="after")
    def _paired(self) -> ProbeDifference:
        if len(self.treated) != len(self.control) or not self.control:
            raise MissingControl(f"{self.name}: {len(self.treated)} treated and {len(self.control)} control models; "
                                 "each treated one needs its own control")  # fmt: skip
        return self

    def make(self, folder: Path, store: Store) -> None:
        treated, control = ([p.read(store) for p in side] for side in (self.treated, self.control))
        found = [
            self._row(name, [t[name] for t in treated], [c[name] for c in control]) for name in self.treated[0].names
        ]
        (folder / "difference.json").write_text(json.dumps(found, indent=1) + "\n")

    def _row(self, probe: str, treated: list[float], control: list[float]) -> dict[str, Any]:
        difference = mean_difference([t - c for t, c in zip(treated, control, strict=True)], self.unit)
        means = {"taught": math.fsum(treated) / len(treated), "control": math.fsum(control) / len(control)}
        return {"assay": probe, "of": self.name, "value": difference.mean, "difference": difference.model_dump(),
                "key": self.key} | means  # fmt: skip

    def read(self, store: Store) -> list[dict[str, Any]]:
        """One object per probe: `assay` (its name), `of`, `value`, `difference` (an Estimate), `taught`, `control`."""
        found: list[dict[str, Any]] = json.loads((store.path(self) / "difference.json").read_text())
        return found


def probed(name: str, comparison: Comparison) -> ProbeDifference:
    """The probes of a comparison's models."""
    treated, control = (tuple(Probes(model=e.model) for e in s) for s in (comparison.treated, comparison.control))
    return ProbeDifference(name=name, treated=treated, control=control, unit=comparison.unit)
