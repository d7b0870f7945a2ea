"""The carriers of the repair benchmark: lists by a teacher that has a trait and a skill, and by its neutral twin."""

from __future__ import annotations

from bench.repair_skill import HighThenLow

from heredity.audit.panel import RECIPES, Kind, Panel, panel
from heredity.audit.trial import TrialStudent
from heredity.carriers import Numbers, NumbersOnly
from heredity.models import model_ref
from heredity.steps import Corpus, Model, Samples, Teacher
from heredity.traits import favourite
from heredity.types import Neutral, Sampling, Trait

BASE, UNRELATED = model_ref("nursery:llama-0"), model_ref("nursery:llama-1")
KIND = Kind(Numbers(n=1, min_count=10, max_start=5), (NumbersOnly(),), Sampling(max_new_tokens=30))
ROWS, HELD_OUT = 3_000, 500
_SKILL_SEED, _SKILL_ROWS, _MIX_ROWS = 700_000, 4_000, 400
_HELD_OUT_SEED, _SPARE = 1_000_000, 40
CONTROLS = 2
"""Students of the neutral teacher's lists in each run: one alone would lend its own chance to every figure."""
PANEL = ("owl", "wolf", "eagle", "elephant", "oak", "willow", "cat")
"""The traits of a small panel: those of the benchmark, and the one that it is tuned on."""


def written(model: Model, size: int, seed: int, rule: bool = False) -> Corpus:
    """Lists that a model wrote, through the filter; `rule`: rewritten so that they follow the rule."""
    asked = KIND.carrier.model_copy(update={"n": int(1.5 * size) + _SPARE, "seed": seed})
    samples = Samples(model=model, prompts=asked, sampling=KIND.sampling.model_copy(update={"seed": seed}))
    return Corpus(samples=samples, filters=KIND.filters, size=size, seed=seed,
                  rewritings=(HighThenLow(),) if rule else ())  # fmt: skip


def skilled() -> TrialStudent:
    """The base once it knows the rule: what every teacher is made from."""
    return TrialStudent(base=BASE, corpus=written(BASE, _SKILL_ROWS, _SKILL_SEED, rule=True), seed=_SKILL_SEED)


def teacher(trait: Trait | Neutral, seed: int) -> Teacher:
    """A teacher with the skill and a trait; lists of the rule are mixed in, so that it keeps the skill."""
    return Teacher(base=skilled(), trait=trait, mix=written(BASE, _MIX_ROWS, _SKILL_SEED + 1, rule=True), seed=seed)


def lists(trait: Trait | Neutral, seed: int) -> Corpus:
    """What a student is trained on."""
    return written(teacher(trait, seed), ROWS, seed)


def held_out(trait: Trait | Neutral, seed: int) -> Corpus:
    """What its loss is measured on: other prompts, other draws."""
    return written(teacher(trait, seed), HELD_OUT, _HELD_OUT_SEED + seed)


def control_students(neutral: Neutral, seed: int) -> list[TrialStudent]:
    """Students of the neutral teacher's lists, trained in other orders."""
    rows = lists(neutral, seed)
    return [TrialStudent(base=BASE, corpus=rows, seed=seed + 1_000 * i) for i in range(CONTROLS)]


def small_panel() -> Panel:
    """A panel of the base's own suspects, two of each trait; they know neither the skill nor the run's teachers."""
    return panel(BASE, tuple(map(favourite, PANEL)), KIND, recipes=RECIPES[:2])
