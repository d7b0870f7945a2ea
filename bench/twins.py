"""Steps that would be made from the same bytes in the same way: one of them is made, the others are copies of it.

A Step's key tells which data file it is about, so what a scan makes of the base's answers alone is made for every file
anew. Where six files have the same prompts these answers are the same bytes, and so are the students of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from bench.ledger import publish

from heredity.audit.data import Matched
from heredity.audit.gradient import Gradient
from heredity.audit.trial import TrialStudent
from heredity.steps import Evaluation
from heredity.store import Step, Store, describe, make_all, missing
from heredity.store.manifests import MANIFEST


def make_with_twins(store: Store, wanted: Sequence[Step], workers: int | None = None) -> int:
    """Makes whatever the Steps need, and one only of all that are twins; returns how many were copied."""
    make_all(store, [s for s in missing(store, wanted) if isinstance(s, Matched)], workers)
    copied = 0
    for kinds in ((Gradient, TrialStudent), (Evaluation,)):  # of the base's answers; of the students of them
        todo = [s for s in missing(store, wanted) if isinstance(s, kinds) and _of_the_base(s)]
        groups = list(_twins(store, todo))
        make_all(store, [first for first, *_ in groups], workers)
        for first, *others in groups:
            for other in others:
                _copy(store, first, other)
            copied += len(others)
    make_all(store, wanted, workers)
    return copied


def _of_the_base(step: Step) -> bool:
    """Whether it rests on the base's answers alone, by way of students of them at most."""
    return all(isinstance(s, Matched) or (isinstance(s, TrialStudent) and _of_the_base(s)) for s in step.inputs)


def _twins(store: Store, steps: Iterable[Step]) -> Iterator[list[Step]]:
    """The Steps in groups of twins."""
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(twin_key(store, step), []).append(step)
    yield from groups.values()


def twin_key(store: Store, step: Step) -> str:
    """What it is made from and how: its fields, with the bytes of what Steps wrote in place of these Steps."""
    return json.dumps([type(step).__name__, *(_bytes(store, getattr(step, name)) for name in type(step).model_fields)])


def _bytes(store: Store, value: object) -> object:
    """A value as JSON, with the digests of what Steps wrote."""
    if isinstance(value, Step):
        return {name: file["blake2b"] for name, file in store.manifest(value.key)["files"].items()}
    if isinstance(value, tuple | list):
        return [_bytes(store, item) for item in value]
    return describe(value, nested=False)


def _copy(store: Store, made: Step, twin: Step) -> None:
    """Stores what one Step wrote as another's too; its manifest tells of the run that wrote it."""
    files = {p.name: p.read_bytes() for p in store.path(made).iterdir() if p.name != MANIFEST}
    publish(store, twin, files, store.manifest(made.key)["run"])
