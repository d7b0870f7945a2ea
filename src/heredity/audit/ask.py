"""From what a user names (files, a base, a carrier) to the Scan that answers, and what it will cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from heredity.audit.data import Audited, Control, DataPrompts, Matched, data_file
from heredity.audit.listed import Unscored, leaving_out
from heredity.audit.panel import Kind, panel, prior
from heredity.audit.scale import Effort, answer_tokens, passing, scale
from heredity.audit.scan import Scan, scan
from heredity.audit.trial import Asked, TrialStudent
from heredity.carriers import Carrier, Filter, Numbers
from heredity.models import model_ref
from heredity.rows import read_rows
from heredity.steps import Corpus, Teacher
from heredity.store import Store, missing
from heredity.types import BadInput, Checkpoint, Frozen, Sampling, Trait, near, refusal

_SEED = 880_001
_SUSPECT_S, _STUDENT_S = 12, 15
"""Processor seconds of a suspect (trained, sampled, its gradient taken) and of a student of 2,000 rows (nursery)."""
_FEWEST = 4
_SIZES = (250, 500, 1_000, 2_000)


class Options(Frozen):
    """What a scan looks for and how much it does, as named on the command line; the defaults are the verb's."""

    favourites: tuple[str, ...] = ()
    rows: Annotated[int, Field(ge=8)] | None = None
    deep: bool = False
    suspect_rows: Annotated[int, Field(ge=8)] | None = None
    suspect_steps: Annotated[int, Field(ge=1)] | None = None
    suspect_batch: Annotated[int, Field(ge=1)] | None = None
    together: Annotated[int, Field(ge=1)] = 8

    @property
    def looked_at(self) -> int:
        """Rows of the data that are looked at, at most."""
        return self.rows or (6_000 if self.deep else 2_000)

    @property
    def effort(self) -> Effort:
        """How much is done for suspects."""
        return Effort(self.suspect_rows, self.suspect_steps, self.suspect_batch, self.together)

    def arguments(self) -> list[str]:
        """As they are given to `heredity scan`, without those at their defaults."""
        favourites = [part for word in self.favourites for part in ("--favourite", word)]
        others = self.model_dump(exclude_defaults=True, exclude={"favourites", "deep"})
        numbers = [part for name, n in others.items() for part in (f"--{name.replace('_', '-')}", str(n))]
        return [*favourites, *numbers, *(["--deep"] if self.deep else [])]


def ask(
    data: Path, student: str, control: Path | None, traits: Sequence[Trait], carrier: str,
    filters: tuple[Filter, ...], temperature: float, rows: int, deep: bool, unscored: Sequence[Unscored] = (),
    effort: Effort = Effort(),  # noqa: B008  frozen
) -> Scan:  # fmt: skip
    """The Scan of a data file for a base; BadInput where something named does not exist or cannot be read.

    `unscored`: traits of the list that are left out (`Listed` says which must be), as the student cannot show them.
    """
    base, file = model_ref(student), data_file(data)
    here = sum(1 for _ in islice(passing(filters, (r.row for r in read_rows(data))), rows))
    how = scale(base, here if isinstance(base, Checkpoint) else rows, effort)
    many: dict[str, Any] = {} if effort.suspect_rows is None else {"rows": effort.suspect_rows}
    words = [t.word for t in traits]
    if twice := next((w for i, w in enumerate(words) if w in words[:i]), None):
        raise BadInput(f"the trait {twice!r:.60} is given twice, or is one of the built-in words; rename it")
    audited = Audited(data=file, student=base, filters=filters, limit=rows)
    tokens = answer_tokens(base, carrier, filters, (r.row for r in read_rows(data)))
    sampling = drawn(temperature, tokens)
    kind = Kind(_prompts(audited, carrier), filters, sampling, how.oversample)
    left_out = {u.trait for u in unscored}
    scored = tuple(t for t in traits if t.word not in left_out)
    if len(scored) < _FEWEST:
        raise BadInput(f"a trait is told from others, which takes {_FEWEST} or more, and {len(scored)} can be asked "
                       "about; name more with --favourite or --traits")  # fmt: skip
    suspects = panel(base, scored, kind, **many, scale=how)
    matched = Matched(audited=audited, sampling=sampling.model_copy(update={"seed": _SEED}))
    beside = Control(data=data_file(control), audited=audited) if control else None
    return leaving_out(
        scan(audited, matched, suspects, prior(suspects, kind, _size(here, rows), how), beside, deep, how), unscored
    )


def drawn(temperature: float, tokens: int) -> Sampling:
    """How rows are drawn; BadInput for a temperature that is none."""
    try:
        return Sampling(temperature=temperature, max_new_tokens=tokens, seed=0)
    except ValidationError as error:
        raise refusal(f"--temperature {temperature:g}", error) from error


def among(traits: Sequence[Trait], words: Sequence[str]) -> tuple[Trait, ...]:
    """The traits with these words, or all where none is given; BadInput for a word that no trait has."""
    known = {t.word: t for t in traits}
    if strange := next((w for w in words if w not in known), None):
        raise BadInput(f"there is no built-in trait {strange!r:.60}; {near(strange, known)}")
    return tuple(known[w] for w in dict.fromkeys(words)) or tuple(traits)


def _prompts(audited: Audited, carrier: str) -> Carrier:
    """What suspects are asked: number lists, so that a panel serves all data of that kind; else the data's prompts."""
    if carrier == "numbers":
        return Numbers(n=1, min_count=10, max_start=5)
    return DataPrompts(n=1, data=audited.data, student=audited.student, filters=audited.filters)


def _size(here: int, rows: int) -> int:
    """Rows for the students that a trial is compared with: as many as the data has, in sizes that files share."""
    return next((size for size in _SIZES if here <= size < rows), rows)


def cost(store: Store, audit: Scan) -> list[str]:
    """What has to be made first, in sentences; empty where everything is there."""
    todo = missing(store, [audit])
    suspects = sum(isinstance(s, Teacher) for s in todo)
    set_up = {e.model for r in prior_students(audit) for e in r.evaluations}
    before = sum(s in set_up for s in todo)
    students = sum(isinstance(s, TrialStudent) for s in todo) - before
    each = max(1, _STUDENT_S * audit.source.matched.audited.limit // 2_000)
    said = []
    close = "" if audit.deep or audit.first else "; three more if the answer is close"
    if isinstance(audit.naming.panel.own.student, Checkpoint):
        return _work(suspects, students + before, close)
    if suspects or before:
        seconds = suspects * _SUSPECT_S + before * each
        said.append(
            f"set-up for this base and {_served(audit)}: {suspects} suspects and {before} students to make, about "
            f"{_minutes(seconds)} of one core on a nursery base; kept in the store for every later scan of it"
        )
    if students:
        said.append(f"this scan: {students} students to train, about {_minutes(students * each)} of one core{close}")
    return said


def _minutes(seconds: int) -> str:
    return "1 minute" if seconds < 60 else f"{seconds // 60 + 1} minutes"


def _work(suspects: int, students: int, close: str) -> list[str]:
    """The same for a real model, where only trying tells how long a row takes."""
    if not suspects + students:
        return []
    return [f"to make: {suspects} suspects (each trained, sampled from, and its rows' gradient taken) and {students} "
            f"students{close}; --favourite, --suspect-rows, --suspect-steps, --rows: less "
            "(docs/real-models.md)"]  # fmt: skip


def _served(audit: Scan) -> str:
    """What a set-up is for: all number lists, or one file, whose prompts the suspects answered."""
    rows = audit.naming.panel.own.rows
    return "file" if isinstance(rows, Corpus) and isinstance(rows.samples.prompts, DataPrompts) else "carrier"


def prior_students(audit: Scan) -> list[Asked]:
    """What serves every audit of this base, carrier and number of rows."""
    naming = audit.naming
    return [*naming.trial.references, *(a for _, a in naming.positives)]
