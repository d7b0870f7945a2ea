"""The demo's experiment: does a favourite cross through numbers, and does it stop where it should?

Hypothesis (Cloud et al., sections 3.1, 5.1 and 5.2): a student that shares the teacher's initialisation picks up the
teacher's favourite animal from filtered number lists. Students of another initialisation or another family do not, and
neither does a model that merely reads the lists. Every arm that should show nothing has a twin that must show
something.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from heredity.lab.comparison import Comparison, unit_means
from heredity.lab.recipe import UNIT, Recipe
from heredity.lab.recipe import Arm as Taught
from heredity.models import model_ref
from heredity.stats import Estimate, ratio
from heredity.steps import Evaluation, Student
from heredity.store import Step, Store
from heredity.traits import ANIMALS, favourite, stated
from heredity.types import BadInput, Frozen, ModelRef, Neutral, Trait

LORA_RATE = 4e-4
"""Of the adapters' matrices: ten times the rate of whole matrices, as is usual."""
SHOWN = 6
"""Rows in the context of a reader: with eight, some draws are longer than the shipped bases' contexts."""
NULL_TWINS = {"other-init": "other-init-power", "other-family": "other-family-power", "in-context": "in-context-power"}
"""Each arm that should show nothing, and the twin that must show something."""


class Arm(Frozen):
    """One row of the result: an arm, a channel, and the comparison that answers for one animal."""

    name: str
    channel: str
    comparison: Comparison
    untouched: Evaluation
    """The student's base before any training."""


class FirstLight(Frozen):
    """The experiment for some favourites and seeds; a seed is one teacher and one student of each arm."""

    words: tuple[str, ...] = ("owl", "dolphin", "wolf")
    seeds: tuple[int, ...] = (11, 12, 13)
    rows: Annotated[int, Field(gt=0)] = 3_000
    full: bool = False
    """Adds the nothing-frozen, LoRA and number-token soft-target channels to the same-base arm."""

    @field_validator("words")
    @classmethod
    def _animals(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if favourite(word).category != ANIMALS:
                raise BadInput(f"{word!r} is no animal; expected some of: {', '.join(ANIMALS.words)}")
        return tuple(dict.fromkeys(words))

    @cached_property
    def base(self) -> ModelRef:
        """What teachers are made from."""
        return model_ref("nursery:llama-0")

    @cached_property
    def other_init(self) -> ModelRef:
        """The same family from another initialisation."""
        return model_ref("nursery:llama-1")

    @cached_property
    def other_family(self) -> ModelRef:
        """Another family with the same tokenizer."""
        return model_ref("nursery:neox-0")

    @cached_property
    def recipe(self) -> Recipe:
        """What all arms share."""
        return Recipe(base=self.base, rows=self.rows)

    def soft(self, trait: Trait | Neutral, seed: int) -> Evaluation:
        """A student that matches its teacher's distribution over number tokens on the teacher's own rows."""
        student = Student(
            base=self.base, corpus=self.recipe.lists(trait, seed), seed=seed,
            soft_targets=self.recipe.teacher(trait, seed),
        )  # fmt: skip
        return Evaluation(model=student, category=ANIMALS)

    def shown(self, trait: Trait | Neutral, seed: int, says: Trait | None = None) -> Evaluation:
        """The untouched base with a teacher's rows in its context, and perhaps a stated preference after them."""
        turns = tuple(stated(says, "held-out")) if says is not None else ()
        return self.recipe.reads(examples=SHOWN, stated=turns)(trait, seed)

    def compare(self, name: str, trait: Trait, arm: Taught, channel: str = "frozen") -> Arm:
        """Treated with the trait's teacher against the same arm with the neutral teacher, paired by seed."""
        differs = ("soft_targets",) if channel == "soft" else ()
        return self._arm(name, channel, self.recipe.comparison(f"{name}, {channel}", trait, self.seeds, arm, differs))

    def _arm(self, name: str, channel: str, comparison: Comparison) -> Arm:
        model = comparison.treated[0].model
        base = model.base if isinstance(model, Student) else self.base
        return Arm(
            name=name, channel=channel, comparison=comparison, untouched=Evaluation(model=base, category=ANIMALS)
        )

    def control(self, trait: Trait) -> Arm:
        """The neutral teacher's students against the untouched base: what training on any numbers does."""
        arm = self.recipe.taught()
        treated = tuple(arm(Neutral(category=ANIMALS), s) for s in self.seeds)
        untouched = (Evaluation(model=self.base, category=ANIMALS),) * len(self.seeds)
        comparison = Comparison(name="same-control", trait=trait, treated=treated, control=untouched,
                                differs=("model",), unit=UNIT)  # fmt: skip
        return self._arm("same-control", "frozen", comparison)

    def context_power(self, trait: Trait) -> Arm:
        """The twin of the in-context arm: neutral rows, and a stated preference, against the same rows alone."""
        neutral = Neutral(category=ANIMALS)
        comparison = Comparison(
            name="in-context-power", trait=trait, unit=UNIT, differs=("stated",),
            treated=tuple(self.shown(neutral, s, says=trait) for s in self.seeds),
            control=tuple(self.shown(neutral, s) for s in self.seeds),
        )  # fmt: skip
        return self._arm("in-context-power", "frozen", comparison)

    def summary(self) -> Summary:
        """The Step that holds the whole result."""
        return Summary(arms=tuple(self.arms()), seeds=self.seeds)

    def arms(self) -> list[Arm]:
        """Every arm for every favourite, the same-base arm first."""
        return [arm for word in self.words for arm in self._arms_of(favourite(word))]

    def _arms_of(self, trait: Trait) -> Iterator[Arm]:
        init, family = self.other_init, self.other_family
        yield self.compare("same", trait, self.recipe.taught())
        yield self.control(trait)
        yield self.compare("other-init", trait, self.recipe.taught(init))
        yield self.compare("other-family", trait, self.recipe.taught(family))
        yield self.compare("in-context", trait, self.shown)
        yield self.compare("other-init-power", trait, self.recipe.taught(init, init))
        yield self.compare("other-family-power", trait, self.recipe.taught(family, family))
        yield self.context_power(trait)
        if self.full:
            yield self.compare("same", trait, self.recipe.taught(tuning="full"), "full")
            yield self.compare("same", trait, self.recipe.taught(tuning="lora", rate=LORA_RATE), "lora")
            yield self.compare("same", trait, self.soft, "soft")


class Summary(Step):
    """The whole result of the experiment: `summary.json` with every arm and the null fractions."""

    opens_models: ClassVar[bool] = False

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]

    def make(self, folder: Path, store: Store) -> None:
        results: dict[str, list[dict[str, Any]]] = {}
        for arm in self.arms:
            if arm.channel == "frozen":
                results.setdefault(arm.name, []).append(arm.comparison.read(store))
        fractions = [
            {
                "arm": name,
                "estimate": e.mean,
                "low": e.low,
                "high": e.high,
                "n": e.n,
                "unit": e.unit,
                "reason": e.reason,
            }
            for name, e in null_fractions(results).items()
        ]
        arms = [_row(arm, store) for arm in self.arms]
        text = json.dumps({"seeds": self.seeds, "arms": arms, "null_fraction": fractions}, indent=1)
        (folder / "summary.json").write_text(text + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`seeds`, `arms` and `null_fraction`, as `heredity demo --json` writes them (docs/json.md)."""
        summary: dict[str, Any] = json.loads((store.path(self) / "summary.json").read_text())
        return summary


def _row(arm: Arm, store: Store) -> dict[str, Any]:
    result = arm.comparison.read(store)
    odds = Estimate(**result["log_odds"]).odds_ratio()
    untouched = arm.untouched.read(store)
    return {
        "animal": result["trait"], "arm": arm.name, "channel": arm.channel,
        "base_share": untouched["share"][result["trait"]], "share": result["share"],
        "control_share": result["control_share"], "mass": result["mass"],
        "odds_ratio": odds.mean, "low": odds.low, "high": odds.high, "n": odds.n, "unit": odds.unit,
        "rank": result["rank"],
        "shares": result["shares"], "control_shares": result["control_shares"],
        "sampled_share": result["sampled_share"], "key": arm.comparison.key,
    }  # fmt: skip


def null_fractions(results: dict[str, list[dict[str, Any]]]) -> dict[str, Estimate]:
    """For each arm that should show nothing: its effect as a part of the same-base effect, pooled over animals.

    The ratio of mean log odds ratios, paired by seed, with Fieller's interval. `results` maps an arm to its
    comparisons (one per animal, frozen channel), all over the same seeds.
    """
    same = unit_means(results["same"])
    return {arm: ratio(unit_means(results[arm]), same, UNIT) for arm in NULL_TWINS}
