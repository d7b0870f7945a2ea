"""What is told beside a map: who held the trait, who learnt the rows, who still writes in the format, who speaks well.

An empty cell says little where the teacher did not hold the trait, or the student learnt nothing or was broken.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from heredity.carriers import Filter, decide
from heredity.lab.findings import fresh_rows
from heredity.lab.recipe import Recipe
from heredity.nursery.quality import Quality
from heredity.rows import read_rows
from heredity.stats import wilson
from heredity.steps import Evaluation, HeldOutLoss, Model, Samples, Student
from heredity.store import Step, Store
from heredity.types import BadInput, Frozen, Sampling, Trait

LISTS = 300
"""How many completions are asked for to see how many pass."""
_SEED = 20_000_000


class PassRate(Step):
    """How many of a model's completions pass filters: `passed.json`. One that was cut off does not pass."""

    opens_models: ClassVar[bool] = False

    samples: Samples
    filters: tuple[Filter, ...]

    def make(self, folder: Path, store: Store) -> None:
        read = list(read_rows(store.path(self.samples) / "rows.jsonl"))
        decisions = decide(self.filters, [r.row for r in read])
        passed = sum(r.note["finish"] == "stop" and not d.reasons for r, d in zip(read, decisions, strict=True))
        (folder / "passed.json").write_text(json.dumps({"sampled": len(read), "passed": passed}) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`sampled`, `passed`, and `share`, an Estimate."""
        found: dict[str, Any] = json.loads((store.path(self) / "passed.json").read_text())
        share = wilson(found["passed"], found["sampled"], "completions")
        return found | {"share": share.model_dump()}


class Assay(Frozen):
    """One figure beside a map.

    held: a teacher's own share of its trait; learnt: how far a student went towards its teacher's loss on fresh rows;
    passes: how many of a model's completions still pass the carrier's filters; quality: how well a base speaks.
    """

    assay: Literal["held", "learnt", "passes", "quality"]
    of: str
    """Whose it is."""
    step: Evaluation | HeldOutLoss | PassRate | Quality
    word: str = ""
    """The trait's, for `held`."""

    def read(self, store: Store) -> dict[str, Any]:
        """`assay`, `of`, `value`, `key`, and what else its Step says of it."""
        return {"assay": self.assay, "of": self.of, "key": self.step.key} | _told(self.step, self.word, store)


def _told(step: Step, word: str, store: Store) -> dict[str, Any]:
    if isinstance(step, Evaluation):
        return {"value": step.read(store)["share"][word]}
    if isinstance(step, HeldOutLoss):
        loss = step.read(store)
        return {"value": loss["learnt"], "gap": loss["gap"], "gain": loss["gain"]}
    if isinstance(step, PassRate):
        rate = step.read(store)
        return {"value": rate["passed"] / rate["sampled"], "sampled": rate["sampled"]}
    quality = json.loads((store.path(step) / "quality.json").read_text())
    return {"value": quality["format"]} | {k: quality[k] for k in ("obedience", "truth", "top_favourite")}


def held(of: str, evaluation: Evaluation, trait: Trait) -> Assay:
    """What a teacher answers itself."""
    return Assay(assay="held", of=of, step=evaluation, word=trait.word)


def learnt(of: str, evaluation: Evaluation) -> Assay:
    """What the student behind an evaluation learnt of its teacher's rows. BadInput for any other model."""
    student = evaluation.model
    if not isinstance(student, Student):
        raise BadInput(f"{of}: only a student learns rows, found {type(student).__name__}")
    return Assay(assay="learnt", of=of, step=HeldOutLoss(name=of, student=student, fresh=fresh_rows(student.corpus)))


def passes(of: str, model: Model, recipe: Recipe, seed: int) -> Assay:
    """How many of a model's own lists pass the recipe's filters."""
    asked = recipe.carrier.model_copy(update={"n": LISTS, "seed": seed + _SEED})
    how = Sampling(temperature=1.0, max_new_tokens=recipe.max_new_tokens, seed=seed + _SEED)
    samples = Samples(model=model, prompts=asked, sampling=how)
    return Assay(assay="passes", of=of, step=PassRate(samples=samples, filters=recipe.filters))
