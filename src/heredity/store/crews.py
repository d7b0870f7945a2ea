"""Who makes Steps: processes on this machine, with one thread each. (`cluster` has the other crew.)"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Protocol

from heredity.store.loading import load_module, loaded_files, own_fault, tell_files, told_files
from heredity.store.objects import Store
from heredity.store.step import Step
from heredity.types import BadInput, HeredityError

QUIET = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_VERBOSITY": "error",
}  # fmt: skip
"""Set before anything heavy is imported."""


def joined() -> bool:
    """Whether this process trains with others, as `accelerate launch` starts them: all must stop where one does."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Whether this process is alone, or the first of those that `accelerate launch` started: it tells and writes."""
    return not joined() or os.environ.get("RANK", "0") == "0"


class Lost(Exception):
    """The worker that was making a Step is gone, and with it perhaps others: no error of the Step itself is known."""


class Fault(RuntimeError):
    """A fault of this program in another process, as what it said: the error itself cannot be sent from there."""


class Crew(Protocol):
    """Processes that make Steps."""

    def size(self) -> int:
        """How many Steps are made at once, as things stand."""
        ...

    def submit(self, step: Step) -> Future[Exception | None]:
        """Starts to make a Step whose inputs are at hand. The future holds or raises what went wrong."""
        ...

    def error(self, done: Future[Exception | None]) -> Exception | None:
        """What went wrong with a Step, if anything; Lost where the worker died."""
        ...

    def renew(self) -> None:
        """Makes the crew whole again after a loss; nothing may be running."""
        ...

    def stop(self) -> None:
        """Ends all workers at once, and returns when they are gone."""
        ...

    def close(self) -> None:
        """Sends the workers home once nothing is running."""
        ...


class LocalCrew:
    """Processes on this machine."""

    def __init__(self, root: Path, workers: int) -> None:
        os.environ.update(QUIET)  # read by the workers before they import anything heavy
        self._root, self._workers = root, workers
        self._refused: SimpleQueue[str] = get_context("spawn").SimpleQueue()
        self._why: str | None = None
        self._pool = self._new()

    def size(self) -> int:
        """As many as were asked for."""
        return self._workers

    def submit(self, step: Step) -> Future[Exception | None]:
        """Hands a Step to a process; a broken pool is a future that says so."""
        try:
            with _interrupts_for_the_parent():
                return self._pool.submit(_make_for_parent, self._root, step)
        except BrokenProcessPool as error:
            broken: Future[Exception | None] = Future()
            broken.set_exception(error)
            return broken

    def error(self, done: Future[Exception | None]) -> Exception | None:
        """A killed process breaks the pool, and every Step in it is Lost; so does one that cannot load a file."""
        error = done.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        if not isinstance(error, BrokenProcessPool):
            return error
        if self._why is None and not self._refused.empty():
            self._why = self._refused.get()
        return Lost() if self._why is None else BadInput(f"{self._why} (in a worker, which loads the file as well)")

    def renew(self) -> None:
        """A new pool once the old one's processes are gone: they hold what they were making until then."""
        self._pool.shutdown()
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        given = loaded_files(), told_files(), self._refused
        return ProcessPoolExecutor(self._workers, get_context("spawn"), _enter, given)

    def stop(self) -> None:
        """Ends the processes without waiting for what they do."""
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Returns when they have ended."""
        self._pool.shutdown()


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


def _enter(files: tuple[Path, ...], told: dict[str, Any], refused: SimpleQueue[str]) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    tell_files(told)
    try:
        for file in files:  # Steps whose classes they define can then be received
            load_module(file)
    except HeredityError as error:
        refused.put(str(error))
        os._exit(error.exit_code)  # quietly: the parent tells it


def _end_with_the_parent() -> None:
    """Ends a worker at once when its parent is gone, even by SIGKILL, so that no orphan works beside a resumed run."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_for_parent(root: Path, step: Step) -> None:
    try:
        make_here(root, step)
    except Exception as error:
        sent = sendable(error)
        if sent is error:
            raise
        raise sent from error


def sendable(error: Exception) -> Exception:
    """The error, where another process receives it as it is; else what it says, in a class that arrives."""
    try:
        arrived = ForkingPickler.loads(ForkingPickler.dumps(error))
        if (type(arrived), str(arrived)) == (type(error), str(error)):
            return error
    except Exception:  # whatever its constructor or its fields raise
        pass
    if isinstance(error, HeredityError):
        kinds = (kind for kind in type(error).__mro__ if kind.__module__ == HeredityError.__module__)
        return next(kinds)(str(error))  # type: ignore[no-any-return]
    return Fault(f"{type(error).__name__}: {error}")


def make_here(root: Path, step: Step) -> None:
    """Makes one Step in this process where it is still missing; errors of a user's own file are told as such."""
    store = Store(root)
    if _is_made(store, step):
        return
    try:
        _make(store, step)
    except HeredityError:
        raise
    except Exception as error:
        fault = own_fault(error)
        if fault is None:
            raise
        raise fault from error


def _make(store: Store, step: Step) -> None:
    """Makes it, and then leaves a GPU to the other workers: torch keeps what it once took, for itself alone."""
    try:
        store.make(step)
    finally:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()


def _is_made(store: Store, step: Step) -> bool:
    """Whether there is nothing to do; of processes that train together, all but the first wait for what it makes."""
    while not store.has(step):
        if step.joint or leads():
            return False
        time.sleep(0.2)
    return True
