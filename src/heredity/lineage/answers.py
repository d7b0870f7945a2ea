"""`lineage`: from the files that a user names to an answer for every student and dataset."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from heredity.lineage.colours import Tester, answer, pairs
from heredity.lineage.sources import read
from heredity.lineage.trace import Trace, trace

_WORST = {"RED": 0, "AMBER": 1, "GREEN": 2}


def answers(
    files: Iterable[str], student: str | None = None, data: str | None = None, every: bool = False, weights: bool = True
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every answer (`colours.Answer` as a dict), the worst first, and notes on what was passed over.

    With `weights`, models that are here are compared; else records alone count.
    """
    with uncollected():
        found = read(files)
        graph = found.graph()
    tester = once(trace) if weights else None
    found_all = [answer(graph, pair, tester).model_dump() for pair in pairs(graph, student, data, every, found.notes)]
    found_all.sort(key=lambda a: (_WORST[a["colour"]], a["student"], a["dataset"]))
    return found_all, list(found.notes)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection in here: a graph is many objects and no cycle, and looking at them takes as long."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def once(compare: Tester) -> Tester:
    """The same comparison, made once for each pair of models."""
    kept: dict[frozenset[str], Trace] = {}

    def tester(a: str, b: str) -> Trace:
        pair = frozenset((a, b))
        if pair not in kept:
            kept[pair] = compare(a, b)
        return kept[pair]

    return tester
