"""What an experiment would have this machine do, counted before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from heredity.steps import Evaluation, Samples, Student, Teacher
from heredity.store import Step, describe
from heredity.types import Served

Described = Mapping[str, Any]


class Work(NamedTuple):
    """Completions to write with models of this machine, and models to train on it."""

    completions: int
    new_tokens: int
    """The most that these completions can have."""
    trainings: int
    rows: int
    """That are trained on, each counted as often as it is passed; where all that pass a filter are kept, at most."""


def work_here(steps: Iterable[Step]) -> Work:
    """What making these Steps takes, servers' part aside. Scoring of given answers is not counted."""
    return Work(*map(sum, zip(Work(0, 0, 0, 0), *map(_of, steps), strict=True)))


def _of(step: Step) -> Work:
    if isinstance(step, Samples) and not isinstance(step.model, Served):
        return Work(step.prompts.n, step.prompts.n * step.sampling.max_new_tokens, 0, 0)
    if isinstance(step, Evaluation) and not isinstance(step.model, Served):
        draws = 1 if step.context is None else step.context.draws
        asked = len(step.questions()) * draws * step.samples_per_question
        return Work(asked, asked * step.longest(), 0, 0)
    if isinstance(step, Student | Teacher):
        return Work(0, 0, 1, rows_trained(describe(step)) or 0)
    return Work(0, 0, 0, 0)


def rows_trained(described: Described) -> int | None:
    """Rows that a described student or teacher is trained on, each as often as it is passed; None of other Steps.

    0 where a file has them, which is not read for this; the most that it can be where all that pass a filter are kept.
    """
    fields = described["fields"]
    if {"steps", "batch", "mix_batch"} <= fields.keys():
        return int(fields["steps"] * (fields["batch"] + fields["mix_batch"]))
    if {"corpus", "epochs"} <= fields.keys():
        corpus = fields["corpus"]["fields"]
        size = corpus.get("size")
        prompts = corpus["samples"]["fields"]["prompts"] if size is None and "samples" in corpus else {}
        return int(fields["epochs"] * (size or prompts.get("fields", {}).get("n", 0)))
    return None
