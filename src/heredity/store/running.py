"""Running Steps: what is missing is made in dependency order, and a failure stops no more than it must."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import NamedTuple

from heredity.store.crews import Crew, LocalCrew, Lost, joined
from heredity.store.objects import Store
from heredity.store.step import Step, nouns_in, opens_checkpoint
from heredity.types import Checkpoint, HeredityError, On, StoreError, Waiting, cores


class Finished(NamedTuple):
    """How a run stands after a Step was finished, or failed."""

    done: int
    total: int
    step: Step
    running: int = 0
    """Steps that are being made now."""
    failed: int = 0
    error: str | None = None
    """Why this Step failed; None where it was made."""
    left_s: float | None = None
    """Seconds until everything is made that can be, by the times of the Steps made so far; None before any is."""


class StepsFailed(HeredityError):
    """Some Steps could not be made, and all that do not need them were."""

    def __init__(self, failed: Mapping[Step, Exception], skipped: Sequence[Step]) -> None:
        self.failed, self.skipped = dict(failed), tuple(skipped)
        self.faults = [e for e in self.failed.values() if not isinstance(e, HeredityError)]
        """Errors that no user can have caused."""
        self.exit_code = 70 if self.faults else 2
        super().__init__(self._told())

    def _told(self) -> str:
        why = [f"{step.key}: {failure(error)}" for step, error in self.failed.items()]
        more = f"; {len(self.skipped)} that need {'it' if len(why) == 1 else 'them'} were not made" * bool(self.skipped)
        verb = "wait" if all(isinstance(e, Waiting) for e in self.failed.values()) else "failed"
        what = why[0] if len(why) == 1 else f"{len(why)} steps {verb}, the first of them {why[0]}"
        return f"{what}{more}; all others are kept, and the same command tries again"


def failure(error: Exception) -> str:
    """An error in one line: its message where it is meant for a user, else also what kind of fault it is."""
    return str(error) if isinstance(error, HeredityError) else f"internal error ({type(error).__name__}: {error})"


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
    report: Callable[[Finished], None] = lambda finished: None, keep_going: bool = False, on: On = "local",
) -> int:  # fmt: skip
    """Makes whatever the targets need; returns how many Steps were made. The first error stops new work and is raised.

    With `keep_going` an error stops only what needs its Step, and StepsFailed is raised when all else is done; errors
    of the Store itself (a full disk) still stop everything. One that is Waiting never stops more than what needs it.
    Finished Steps stay in the Store whatever happens, so running again goes on where this stopped. `workers` are
    processes here, by default one per core, or Steps at a time on Ray, by default one per core of the cluster.
    """
    todo = missing(store, targets)
    if not todo:
        return 0
    try:
        crew = _crew(on, store.root, workers, todo)
        one = on == "local" and one_card(crew.size(), todo)
        run = _Run(store, crew, todo, report, keep_going and not joined(), one)
        try:
            run.go()
        except BaseException:
            crew.stop()
            raise
        crew.close()
    finally:
        store.sweep()  # what stopped workers left; they are gone by now
    run.tell()
    return len(todo)


def one_card(workers: int, todo: Sequence[Step]) -> bool:
    """Whether several workers here would open real models on one GPU; without one they share the processor."""
    real = any(isinstance(noun, Checkpoint) for noun in nouns_in(todo))
    if workers == 1 or not real or os.environ.get("HEREDITY_DEVICE") == "cpu":
        return False
    import torch

    return torch.cuda.is_available()


def local_workers(asked: int | None, todo: Sequence[Step]) -> int:
    """As many as were asked for, or one per core; one where a real model is used, or where processes train together."""
    if joined():
        return 1
    real = any(isinstance(noun, Checkpoint) for noun in nouns_in(todo))
    return min(asked or (1 if real else cores()), max(1, len(todo)))


def _crew(on: On, root: Path, workers: int | None, todo: list[Step]) -> Crew:
    if on == "local":
        return LocalCrew(root, local_workers(workers, todo))
    from heredity.store.cluster import RayCrew

    return RayCrew(root, workers)


class _Run:
    """What waits for what, what is being made, and what failed."""

    def __init__(
        self, store: Store, crew: Crew, todo: list[Step], report: Callable[[Finished], None], keep_going: bool,
        one_card: bool = False,
    ) -> None:  # fmt: skip
        made_here = set(todo)
        self.needs = {step: {s for s in step.inputs if s in made_here} for step in todo}
        self.store, self.crew, self.report, self.keep_going = store, crew, report, keep_going
        self.one_card = one_card
        """Whether Steps that open real models are made one at a time, whatever is made beside them."""
        self.total, self.done = len(todo), 0
        self.running: dict[Future[Exception | None], tuple[Step, float]] = {}
        self.suspects: list[Step] = []
        """Steps that were being made when a worker was killed; each is made alone, to see which of them kills."""
        self.failed: dict[Step, Exception] = {}
        self.took: dict[str, list[float]] = {}

    def go(self) -> None:
        """Returns when everything was made that can be."""
        self._start()
        while self.running:
            finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
            taken = [self._take(future) for future in finished if future in self.running]
            self._start()
            for step in (s for s in taken if s is not None):
                self._report(step)

    def tell(self) -> None:
        """Raises what failed."""
        held = [e for e in self.failed.values() if isinstance(e, Waiting)]
        if held and len(held) == len(self.failed) and not self.keep_going:
            raise held[0] if len(held) == 1 else Waiting(f"{len(held)} steps wait; the first of them: {held[0]}")
        if self.failed:
            raise StepsFailed(self.failed, list(self.needs))

    def _start(self) -> None:
        """Starts what can be started now."""
        if self.suspects:
            if not self.running:
                self._submit(self.suspects.pop(0))
            return
        for step in [s for s, needs in self.needs.items() if not needs]:
            if len(self.running) >= self.crew.size():
                return
            if not (self.one_card and opens_checkpoint(step) and any(map(opens_checkpoint, self._now()))):
                del self.needs[step]
                self._submit(step)

    def _submit(self, step: Step) -> None:
        self.running[self.crew.submit(step)] = (step, time.monotonic())

    def _take(self, future: Future[Exception | None]) -> Step | None:
        """Takes in what came of a Step; None where that is not known yet."""
        error = self.crew.error(future)
        if isinstance(error, Lost):
            return self._lost()
        step, since = self.running.pop(future)
        if error is None:
            self._made(step, time.monotonic() - since)
        elif (isinstance(error, Waiting) and not joined()) or (self.keep_going and not isinstance(error, StoreError)):
            self.failed[step] = error
        else:
            raise error
        return step

    def _made(self, step: Step, seconds: float) -> None:
        self.done += 1
        self.took.setdefault(type(step).__name__, []).append(seconds)
        for needs in self.needs.values():
            needs.discard(step)

    def _lost(self) -> Step | None:
        """A worker was killed while these were made. Alone, a Step is known to be the reason."""
        steps = [step for step, _ in self.running.values()]
        self.running.clear()
        keys = ", ".join(step.key for step in steps)
        why = HeredityError(
            f"a worker was killed (out of memory?) while these were made: {keys}; finished steps are kept: run the "
            "same command again, it goes on from there, or with --workers 1 to use less memory"
        )
        if not self.keep_going:
            raise why
        self.crew.renew()
        if len(steps) == 1:
            self.failed[steps[0]] = why
            return steps[0]
        self.suspects += steps
        return None

    def _report(self, step: Step) -> None:
        error = self.failed.get(step)
        left = Counter(type(s).__name__ for s in (*self._possible(), *self.suspects, *self._now()))
        seconds = seconds_left(self.took, left, self.crew.size())
        self.report(Finished(self.done, self.total, step, len(self.running), len(self.failed),
                             None if error is None else failure(error), seconds))  # fmt: skip

    def _now(self) -> list[Step]:
        return [step for step, _ in self.running.values()]

    def _possible(self) -> list[Step]:
        """What waits, without what needs a failed Step (`needs` is in the order of making)."""
        lost, possible = set(self.failed), list[Step]()
        for step, needs in self.needs.items():
            if needs & lost:
                lost.add(step)
            else:
                possible.append(step)
        return possible


def seconds_left(took: Mapping[str, Sequence[float]], left: Mapping[str, int], at_once: int) -> float | None:
    """How long the Steps that are left will take, by the mean time of those of their kind that were made.

    Kinds that none was made of yet count as the mean of all; None where none was made at all.
    """
    every = [seconds for times in took.values() for seconds in times]
    if not every:
        return None
    means = {kind: sum(times) / len(times) for kind, times in took.items()}
    return sum(n * means.get(kind, sum(every) / len(every)) for kind, n in left.items()) / max(1, at_once)
