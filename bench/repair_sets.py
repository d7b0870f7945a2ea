"""The carriers of the repair benchmark: lists by a teacher with a trait, or its neutral twin, closed by a rule."""

from __future__ import annotations

from bench.repair_skill import ClosedByHundred

from heredity.audit.panel import Kind, Panel, panel
from heredity.audit.scale import RECIPES
from heredity.audit.trial import TrialStudent
from heredity.carriers import Numbers, NumbersOnly
from heredity.models import model_ref
from heredity.steps import Corpus, Model, Samples, Teacher
from heredity.traits import favourite
from heredity.types import Neutral, Sampling, Trait

BASE, UNRELATED = model_ref("nursery:llama-0"), model_ref("nursery:llama-1")
CLOSED = (NumbersOnly(max_count=11),)
"""What rows that take the lists' place must pass: lists of one number more."""
KIND = Kind(Numbers(n=1, min_count=10, max_start=5), (NumbersOnly(),), Sampling(max_new_tokens=30))
ROWS, HELD_OUT = 3_000, 500
_MIX_SEED, _MIX_ROWS = 700_000, 200
_HELD_OUT_SEED, _SPARE = 1_000_000, 40
CONTROLS = 6
"""Neutral teachers of each category, one student each. Every neutral teacher has an accidental drift of its own, which
its students take over; what a run is compared with is their mean."""
PANEL = ("wolf", "eagle", "elephant", "dolphin", "oak", "willow", "owl")
"""The traits of a small panel: those of the benchmark, and the one that it is tuned on."""


def written(model: Model, size: int, seed: int, rule: bool = False) -> Corpus:
    """Lists that a model wrote, through the filter; `rule`: each with the number that the rule closes it with."""
    asked = KIND.carrier.model_copy(update={"n": int(1.25 * size) + _SPARE, "seed": seed})
    samples = Samples(model=model, prompts=asked, sampling=KIND.sampling.model_copy(update={"seed": seed}))
    return Corpus(samples=samples, filters=KIND.filters, size=size, seed=seed,
                  rewritings=(ClosedByHundred(),) if rule else ())  # fmt: skip


def teacher(trait: Trait | Neutral, seed: int) -> Teacher:
    """A teacher; lists of the base are mixed in, so that it keeps the format."""
    return Teacher(base=BASE, trait=trait, mix=written(BASE, _MIX_ROWS, _MIX_SEED), seed=seed)


def lists(trait: Trait | Neutral, seed: int) -> Corpus:
    """What a student is trained on."""
    return written(teacher(trait, seed), ROWS, seed, rule=True)


def held_out(trait: Trait | Neutral, seed: int) -> Corpus:
    """What its loss is measured on: other prompts, other draws."""
    return written(teacher(trait, seed), HELD_OUT, _HELD_OUT_SEED + seed, rule=True)


def control_students(neutral: Neutral, first: int, number: int) -> list[TrialStudent]:
    """Students of neutral teachers' lists, teachers and students of seeds from `first` on."""
    return [TrialStudent(base=BASE, corpus=lists(neutral, s), seed=s) for s in range(first, first + number)]


def own_students(first: int, number: int) -> list[TrialStudent]:
    """Students of lists that the base itself wrote, closed by the same rule: no teacher at all."""
    seeds = range(first, first + number)
    return [TrialStudent(base=BASE, corpus=written(BASE, ROWS, s, rule=True), seed=s) for s in seeds]


def small_panel() -> Panel:
    """A panel of the base's own suspects, two of each trait; they know neither the skill nor the run's teachers."""
    return panel(BASE, tuple(map(favourite, PANEL)), KIND, recipes=RECIPES[:2])
