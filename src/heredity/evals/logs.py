"""A finished Evaluation as an Inspect log, written by Inspect itself.

A Store keeps what was counted, not what was said. The model is asked again, which gives the same answers (the same
seed on the same machine; a server's are kept), Inspect scores these, and the log is written only where its count is
the one that the Store has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from inspect_ai import eval as run_task
from inspect_ai.log import EvalLog, read_eval_log, write_eval_log
from inspect_ai.model import GenerateConfig, Model, ModelAPI

import heredity.lab  # noqa: F401  the Steps that a manifest may describe
from heredity.evals.provider import heredity_models
from heredity.evals.tasks import task_of
from heredity.models.server import row_seed
from heredity.steps import Evaluation, open_writer
from heredity.store import Step, Store, rebuild
from heredity.types import ANSWERS, BadInput, Chat, Completion, Sampling


class _Recorded:
    """The LM that says again what was said, told apart by the seed of each answer."""

    def __init__(self, texts: dict[int, str]) -> None:
        self.texts = texts

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        return [Completion(text=self.texts[sampling.seed], finish="stop") for _ in chats]

    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        raise NotImplementedError


def write_log(store: Store, key: str, out: Path, word: str | None = None) -> dict[str, Any]:
    """Writes the log of a finished Evaluation to `out` (`.eval` or `.json`); returns `samples`, `word` and `share`.

    `word` is whose share the log tells; None: the trait's where the category has a score, else the most frequent.
    """
    if out.suffix not in {".eval", ".json"}:
        raise BadInput(f"{out}: an Inspect log ends with .eval or .json")
    manifest = store.manifest(key)
    step = rebuild(manifest["step"])
    if not isinstance(step, Evaluation) or not step.samples_per_question:
        raise BadInput(f"{manifest['key']} is no evaluation with sampled answers; `heredity show` lists the keys")
    found = step.read(store)
    if found.get("errors"):
        raise BadInput(f"{found['errors']} answers of {manifest['key']} ended in an error and are not counted there; "
                       "Inspect would count them, so no log is written")  # fmt: skip
    word = word or _most_named(step, found["named"])
    if word not in step.category.words:
        raise BadInput(f"{word!r} is none of {', '.join(step.category.words)}")
    told = ANSWERS.set(store.answers)  # of the model and of judges: what servers said is there, and not paid again
    try:
        log = _log(step, store, word, manifest, found)
    finally:
        ANSWERS.reset(told)
    _check(log, found, word)
    try:
        write_eval_log(log, str(out))
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror}; name another file with --out") from error
    return {"samples": len(log.samples or []), "word": word, "share": _metrics(log)["share"]}


def _most_named(step: Evaluation, named: dict[str, int]) -> str:
    return step.category.words[0] if step.category.score is not None else max(named, key=lambda w: named[w])


def _log(step: Evaluation, store: Store, word: str, manifest: dict[str, Any], found: dict[str, Any]) -> EvalLog:
    chats = step.chats(store)
    said = [text for _, text in step.written(open_writer(step.model, store), chats)]
    recorded = _Recorded({row_seed(step.seed, place): text for place, text in enumerate(said)})
    name = step.model.key if isinstance(step.model, Step) else step.model.location
    api = cast(ModelAPI, heredity_models(name, lm=recorded))
    made = {"step": manifest["key"], "commit": manifest["run"]["commit"], "made": manifest["run"]["started"]}
    made |= {"as_trained": found["as_trained"]} if "as_trained" in found else {}
    with tempfile.TemporaryDirectory() as folder:
        (log,) = run_task(
            task_of(step, chats, word, type(step).__name__), Model(api, GenerateConfig()), metadata=made,
            display="none", log_dir=folder, score_display=False, log_level="warning",
        )  # fmt: skip
        if log.status != "success":
            told = log.error.message if log.error else log.status
            raise BadInput(f"Inspect could not score {manifest['key']}: {told}")
        return read_eval_log(log.location)  # the samples, which are read when they are asked for, are in that folder


def _metrics(log: EvalLog) -> dict[str, float]:
    assert log.results is not None
    return {name: float(m.value) for score in log.results.scores for name, m in score.metrics.items()}  # type: ignore[arg-type]


def _check(log: EvalLog, found: dict[str, Any], word: str) -> None:
    """Refuses a log that counts otherwise than the result it is of."""
    values = [score.as_float() for sample in log.samples or [] for score in (sample.scores or {}).values()]
    if (len(values), sum(values)) != (found["samples"], found["named"][word]):
        raise BadInput(
            f"asked again, {sum(values):.0f} of {len(values)} answers show {word!r}, and the result has "
            f"{found['named'][word]} of {found['samples']}: another machine, or other versions of the libraries; no "
            "log is written"
        )
