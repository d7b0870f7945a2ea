"""Running Steps: what is missing is made in dependency order, over processes with one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from heredity.store.objects import Store
from heredity.store.step import Step

_QUIET = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_VERBOSITY": "error",
}  # fmt: skip


class Finished(NamedTuple):
    """How a run stands after a Step was finished."""

    done: int
    total: int
    step: Step


def missing(store: Store, targets: Iterable[Step]) -> list[Step]:
    """Every Step that has to be made for the targets, inputs before the Steps that read them, each once."""
    order: dict[Step, None] = {}

    def visit(step: Step) -> None:
        if step not in order and not store.has(step):
            for needed in step.inputs:
                visit(needed)
            order[step] = None

    for target in targets:
        visit(target)
    return list(order)


def make_all(
    store: Store, targets: Iterable[Step], workers: int | None = None,
    report: Callable[[Finished], None] = lambda finished: None,
) -> int:  # fmt: skip
    """Makes whatever the targets need; returns how many Steps were made. The first error stops new work and is raised.

    Finished Steps stay in the Store whatever happens, so running again goes on where this stopped.
    """
    todo = missing(store, targets)
    if not todo:
        return 0
    os.environ.update(_QUIET)  # read by the workers before they import anything heavy
    workers = min(workers or os.cpu_count() or 1, len(todo))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_enter) as pool:
        try:
            _drain(pool, store.root, todo, report)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
    return len(todo)


def _drain(pool: ProcessPoolExecutor, root: Path, todo: list[Step], report: Callable[[Finished], None]) -> None:
    waiting = _needs(todo)
    running: dict[Future[None], Step] = {}
    total, done = len(todo), 0
    while waiting or running:
        for step in [s for s, needs in waiting.items() if not needs]:
            del waiting[step]
            running[pool.submit(_make, root, step)] = step
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            step = running.pop(future)
            future.result()
            done += 1
            for needs in waiting.values():
                needs.discard(step)
            report(Finished(done, total, step))


def _needs(todo: list[Step]) -> dict[Step, set[Step]]:
    made_here = set(todo)
    return {step: {s for s in step.inputs if s in made_here} for step in todo}


def _enter() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers an interrupt, once
    import torch

    torch.set_num_threads(1)


def _make(root: Path, step: Step) -> None:
    store = Store(root)
    if not store.has(step):
        store.make(step)
