"""What an experiment would ask of servers, counted before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from heredity.lab.agreement import Agreement
from heredity.lab.alignment import Alignment
from heredity.lab.asking import FreeText
from heredity.lab.judges import Grader, JudgeFilter
from heredity.lab.planting import JudgeRates
from heredity.models.server import PER_TURN, Load, ServerLM
from heredity.steps import JUDGE_TOKENS, Corpus, Evaluation, Samples, with_system
from heredity.store import Step, Store
from heredity.types import Chat, Judge, Served


def loads(steps: Iterable[Step], store: Store) -> dict[str, Load]:
    """What making these Steps would ask, by the model's location: requests, and the most tokens they can use.

    Requests are exact for samples, where answers that are kept already do not count, and for evaluations. Judges are
    counted as if every answer came to them; an answer that is not written yet counts with the most tokens it may have.
    """
    total: dict[str, Load] = {}
    for step in steps:
        for ref, load in _loads(step, store):
            before = total.get(ref.location, Load(0, 0))
            total[ref.location] = Load(before.requests + load.requests, before.tokens + load.tokens)
    return total


def _loads(step: Step, store: Store) -> Iterator[tuple[Served, Load]]:
    if isinstance(step, Samples) and isinstance(step.model, Served):
        chats = with_system(list(step.prompts.prompts()), step.system)
        yield step.model, ServerLM(step.model, store.answers).load(chats, step.sampling)
    if isinstance(step, Evaluation) and isinstance(step.model, Served):
        yield step.model, _of_evaluation(step)
    for judge, answers, tokens in _judged(step):
        if isinstance(judge, Judge | Grader) and isinstance(judge.model, Served):
            yield judge.model, Load(answers, answers * (len(judge.question.encode()) + tokens + JUDGE_TOKENS))


def _of_evaluation(step: Evaluation) -> Load:
    sampled = isinstance(step, FreeText | Alignment) or step.category.score is not None
    each = step.samples_per_question + (0 if sampled else len(step.category.words))
    requests = _chats(step) * each
    answer = max([step.longest(), *(0 if sampled else len(word.encode()) for word in step.category.words)])
    return Load(requests, requests * (_longest(with_system(step.questions(), step.system)) + _shown(step) + answer))


def _judged(step: Step) -> Iterator[tuple[object, int, int]]:
    """Each judge of a Step, how many answers it may be asked about, and the most tokens of question and answer."""
    if isinstance(step, Evaluation):
        grading = (step.alignment, step.coherence) if isinstance(step, Alignment) else (step.category.score,)
        answers = _chats(step) * step.samples_per_question
        yield from ((judge, answers, _longest(step.questions()) + step.longest()) for judge in grading)
    if isinstance(step, Corpus):
        yield from ((f.judge, *_rows(step.samples)) for f in step.filters if isinstance(f, JudgeFilter))
    if isinstance(step, Agreement):
        yield from ((f.judge, *_rows(step.samples)) for f in step.judges)
    if isinstance(step, JudgeRates) and isinstance(step.judge, JudgeFilter):
        yield step.judge.judge, step.n * (1 + len(step.plants)), _rows(step.rows.samples)[1]


def _rows(samples: Samples) -> tuple[int, int]:
    return samples.prompts.n, _longest(samples.prompts.prompts()) + samples.sampling.max_new_tokens


def _chats(step: Evaluation) -> int:
    return len(step.questions()) * (step.context.draws if step.context else 1)


def _shown(step: Evaluation) -> int:
    """Most tokens of the rows that stand in the context."""
    return 0 if step.context is None else step.context.examples * _rows(step.context.corpus.samples)[1]


def _longest(chats: Sequence[Chat]) -> int:
    """Most tokens in one of them, with what a template puts around the turns."""
    return max(sum(len(m.content.encode()) + PER_TURN for m in chat) for chat in chats)
