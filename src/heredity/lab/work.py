"""What an experiment would have this machine do, counted before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from heredity.lab.served import most_tokens
from heredity.steps import Corpus, Evaluation, Samples, Student, Teacher
from heredity.store import Step
from heredity.types import Served


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
        return Work(asked, asked * most_tokens(step), 0, 0)
    if isinstance(step, Student):
        return Work(0, 0, 1, _rows(step.corpus) * step.epochs)
    if isinstance(step, Teacher):
        return Work(0, 0, 1, step.steps * (step.batch + step.mix_batch))
    return Work(0, 0, 0, 0)


def _rows(corpus: Step) -> int:
    """Rows of a corpus; 0 where a file has them, which is not read for this."""
    if not isinstance(corpus, Corpus):
        return 0
    return corpus.samples.prompts.n if corpus.size is None else corpus.size
