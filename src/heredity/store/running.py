"""Running Steps: what is missing is made in dependency order, over processes with one thread each."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

from heredity.store.loading import load_module, loaded_files, own_fault
from heredity.store.objects import Store
from heredity.store.step import Step, nouns_in
from heredity.types import Checkpoint, HeredityError, Waiting

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

    One that is Waiting stops only what needs it, and is raised when all else is done. Finished Steps stay in the Store
    whatever happens, so running again goes on where this stopped.
    """
    todo = missing(store, targets)
    if not todo:
        return 0
    os.environ.update(_QUIET)  # read by the workers before they import anything heavy
    workers = min(_workers(workers, todo), len(todo))
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _enter, (loaded_files(),)) as pool:
            try:
                _drain(pool, store.root, todo, report)
            except BaseException:
                _stop(pool)
                raise
    finally:
        store.sweep()  # what stopped workers left; they are gone by now
    return len(todo)


def _workers(asked: int | None, todo: list[Step]) -> int:
    """As many as were asked for, or one per core; one where a real model is used, or where processes train together."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return 1
    real = any(isinstance(noun, Checkpoint) for noun in nouns_in(todo))
    return asked or (1 if real else os.cpu_count() or 1)


def _stop(pool: ProcessPoolExecutor) -> None:
    """Ends the workers, and returns when they are gone."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(cancel_futures=True)


def _drain(pool: ProcessPoolExecutor, root: Path, todo: list[Step], report: Callable[[Finished], None]) -> None:
    waiting = _needs(todo)
    running: dict[Future[None], Step] = {}
    held: list[Waiting] = []
    total, done = len(todo), 0
    while waiting or running:
        for step in [s for s, needs in waiting.items() if not needs]:
            del waiting[step]
            with _interrupts_for_the_parent():
                running[pool.submit(_make, root, step)] = step
        if not running:
            break  # what is left needs a Step that waits
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            try:
                _raise_from(future, running)
            except Waiting as why:
                held.append(why)
                del running[future]
                continue
            step = running.pop(future)
            done += 1
            for needs in waiting.values():
                needs.discard(step)
            report(Finished(done, total, step))
    if held:
        raise held[0] if len(held) == 1 else Waiting(f"{len(held)} steps wait; the first of them: {held[0]}")


def _raise_from(future: Future[None], running: dict[Future[None], Step]) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        keys = ", ".join(step.key for step in running.values())
        raise HeredityError(
            f"a worker was killed (out of memory?) while these were made: {keys}; finished steps are kept: run the "
            "same command again, it goes on from there, or with --workers 1 to use less memory"
        ) from error


def _needs(todo: list[Step]) -> dict[Step, set[Step]]:
    made_here = set(todo)
    return {step: {s for s in step.inputs if s in made_here} for step in todo}


@contextmanager
def _interrupts_for_the_parent() -> Iterator[None]:
    """Processes started in here never see an interrupt, not even while they start up: the parent answers it, once."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _enter(files: tuple[Path, ...]) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    for file in files:  # Steps whose classes they define can then be received
        load_module(file)


def _end_with_the_parent() -> None:
    """Ends a worker at once when its parent is gone, even by SIGKILL, so that no orphan works beside a resumed run."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(root: Path, step: Step) -> None:
    store = Store(root)
    if _is_made(store, step):
        return
    try:
        store.make(step)
    except HeredityError:
        raise
    except Exception as error:
        fault = own_fault(error)
        if fault is None:
            raise
        raise fault from error


def _is_made(store: Store, step: Step) -> bool:
    """Whether there is nothing to do; of processes that train together, all but the first wait for what it makes."""
    while not store.has(step):
        if step.joint or int(os.environ.get("RANK", "0")) == 0:
            return False
        time.sleep(0.2)
    return True
