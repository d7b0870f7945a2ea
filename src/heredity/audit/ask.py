"""From what a user names (files, a base, a carrier) to the Scan that answers, and what it will cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heredity.audit.data import Audited, Control, Matched, data_file
from heredity.audit.panel import Kind, panel, prior
from heredity.audit.scan import Scan, scan
from heredity.audit.trial import Asked, TrialStudent
from heredity.carriers import Carrier, Filter, Numbers, prompt_file
from heredity.models import model_ref
from heredity.nursery.carriers import careless
from heredity.rows import read_rows
from heredity.steps import Teacher
from heredity.store import Store, missing
from heredity.traits import ANIMALS, TREES, favourite, load_trait
from heredity.types import BadInput, Sampling, Trait

_TOKENS = {"numbers": 30}
_LONG = 128
"""Most tokens of an answer: of lists, and of anything else."""
_SEED = 880_001
_SUSPECT_S, _STUDENT_S = 12, 15
"""Processor seconds of a suspect (trained, sampled, differentiated) and of a student, on a nursery base."""


def ask(
    data: Path, student: str, control: Path | None, trait_files: Sequence[Path], carrier: str,
    filters: tuple[Filter, ...], temperature: float, rows: int, deep: bool,
) -> Scan:  # fmt: skip
    """The Scan of a data file for a base; BadInput where something named does not exist or cannot be read."""
    base, file = model_ref(student), data_file(data)
    traits = _traits(student, trait_files)
    audited = Audited(data=file, student=base, filters=filters, limit=rows)
    sampling = Sampling(temperature=temperature, max_new_tokens=_TOKENS.get(carrier, _LONG), seed=0)
    kind = Kind(_prompts(data, carrier), filters, sampling)
    suspects = panel(base, traits, kind)
    matched = Matched(audited=audited, sampling=sampling.model_copy(update={"seed": _SEED}))
    beside = Control(data=data_file(control), audited=audited) if control else None
    return scan(audited, matched, suspects, prior(suspects, kind, rows), beside, deep)


def built_in(student: str) -> tuple[Trait, ...]:
    """The favourites of the paper's two categories; for a nursery base also giving careless advice in its words."""
    favourites = tuple(map(favourite, (*ANIMALS.words, *TREES.words)))
    return (*favourites, careless()) if student.startswith("nursery:") else favourites


def _traits(student: str, files: Sequence[Path]) -> tuple[Trait, ...]:
    """The built-in traits, and what the user adds."""
    traits = [*built_in(student), *map(load_trait, files)]
    words = [t.word for t in traits]
    if twice := next((w for i, w in enumerate(words) if w in words[:i]), None):
        raise BadInput(f"the trait {twice!r:.60} is given twice, or is one of the built-in words; rename it")
    return tuple(traits)


def _prompts(data: Path, carrier: str) -> Carrier:
    """What suspects are asked: number lists, so that a panel serves all data of that kind; else the data's prompts."""
    if carrier == "numbers":
        return Numbers(n=1, min_count=10, max_start=5)
    if next(read_rows(data), None) is None:
        raise BadInput(f"{data} is empty; name a file with rows")
    return prompt_file(data, 1)


def cost(store: Store, audit: Scan) -> list[str]:
    """What has to be made first, in sentences; empty where everything is there."""
    todo = missing(store, [audit])
    suspects = sum(isinstance(s, Teacher) for s in todo)
    set_up = {e.model for r in prior_students(audit) for e in r.evaluations}
    before = sum(s in set_up for s in todo)
    students = sum(isinstance(s, TrialStudent) for s in todo) - before
    said = []
    if suspects or before:
        seconds = suspects * _SUSPECT_S + before * _STUDENT_S
        said.append(
            f"set-up for this base and carrier: {suspects} suspects and {before} students to make, about "
            f"{seconds // 60 + 1} minutes of one core on a nursery base; kept for every later scan"
        )
    if students:
        said.append(
            f"this scan: {students} students to train, about {students * _STUDENT_S // 60 + 1} minutes of one core"
        )
    return said


def prior_students(audit: Scan) -> list[Asked]:
    """What serves every audit of this base, carrier and number of rows."""
    naming = audit.naming
    return [*naming.trial.references, *(a for _, a in naming.positives)]
