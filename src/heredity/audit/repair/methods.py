"""Every method of repair by name, behind one interface: from a Case to the Step that repairs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from heredity.audit.discovery import PROBES, Probe
from heredity.audit.repair import training as tr
from heredity.audit.repair.data import (
    Balanced,
    Dropped,
    MixedIn,
    Regenerated,
    Renumbered,
    Rewritten,
    Rows,
    SortedLists,
)
from heredity.audit.repair.model import Negated, Settled, Steered, Subtracted, TaskVector
from heredity.audit.repair.worth import Direction, Learnt, Slopes, TokenWorth, TraitGradient
from heredity.audit.scale import learnt
from heredity.audit.trial import TrialStudent
from heredity.carriers import CanonicalLists, Filter, ShuffledWithin
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Model, Teacher
from heredity.store import Step
from heredity.traits import personas
from heredity.types import BadInput, Checkpoint, ModelRef, Sampling, Trait, near, refusal

Kind = Literal["data", "training", "model"]
_RELAY_SEED, _RELAY_STUDENT, _ANSWER = 4_000_000, 5_000_000, 6_000_000
"""What is added to a seed for a relay's training and writing."""
_RELAY: dict[str, Any] = {"epochs": 12, "rate": 2 * MATRIX_RATE, "vector_rate": 2 * VECTOR_RATE}
"""What a relay has not learnt is lost; so trained it passes on as much of a skill as lists without a trait teach, with
the embeddings held as usual (docs/repair.md: three tuning seeds)."""
_REAL_RELAY: dict[str, Any] = {"epochs": 6}
"""Of a relay that is a real model; not tuned."""


class Case(NamedTuple):
    """What is to be repaired, and what is at hand for it; None: not at hand."""

    base: ModelRef
    seed: int
    filters: tuple[Filter, ...]
    sampling: Sampling
    """How the rows were sampled: for what is written in their place."""
    rows: Rows | None = None
    student: Model | None = None
    trait: Trait | None = None
    direction: Direction | None = None
    """The trait's direction in the base's weights."""
    panel: Direction | None = None
    """The trait's discriminant in a scan's panel."""
    suspect: Model | None = None
    """A model with the trait, made from the base."""
    neutral: Model | None = None
    """The suspect's twin without it."""
    clean: Rows | None = None
    """Rows that the base wrote."""
    unrelated: ModelRef | None = None
    """A base of another initialisation."""
    amount: float | None = None
    """How much of the method; None: its default."""


_LACKS = {
    "rows": "rows: a data file (--data)",
    "student": "a student that was trained already",
    "trait": "the name of a trait: --finding NAME, or the JSON of a scan that named one",
    "direction": "the name of a trait: --finding NAME, or the JSON of a scan that named one",
    "panel": "the JSON of a scan that named a trait, with the store that the scan filled",
    "suspect": "the name of a trait: --finding NAME, or the JSON of a scan that named one",
    "neutral": "the name of a trait: --finding NAME, or the JSON of a scan that named one",
    "clean": "a data file (--data), whose prompts the base answers",
    "unrelated": "a base of another initialisation: --unrelated",
}


class Method(NamedTuple):
    """A way to repair; `apply` makes the Step: rows for data methods, a model folder for the others."""

    name: str
    kind: Kind
    needs: tuple[str, ...]
    """Which parts of a Case it cannot do without."""
    make: Callable[[Case], Step]
    random: Callable[[Case], Step] | None = None
    """The same with chance in place of what it selects by, or told another trait; of `kl`, asked of other things."""
    amount: str = ""
    """What the amount of a Case is, and its default."""
    whole: bool = False
    """Whether it holds the body's own weights, which a real model's students leave alone beside their adapters."""
    in_a_row: bool = False
    """Whether it holds the body's weights in one row, beside the directions that it needs."""

    @property
    def knows_trait(self) -> bool:
        """Whether it must be told the trait."""
        return not {"trait", "direction", "panel", "suspect"}.isdisjoint(self.needs)

    @property
    def every_weight(self) -> bool:
        """Whether it holds a number for every weight of the body: a direction among them, or what was learnt."""
        return self.in_a_row or not {"direction", "panel"}.isdisjoint(self.needs)

    def apply(self, case: Case, random: bool = False) -> Step:
        """The repair; BadInput where the case lacks what it needs, or asks for more or less than there can be of it."""
        for name in self.needs:
            if getattr(case, name) is None:
                raise BadInput(f"the method {self.name!r} needs {_LACKS[name]}")
        if self.whole and isinstance(case.base, Checkpoint):
            raise BadInput(f"the method {self.name!r} holds weights of the body, and students of a real model are "
                           "adapters beside them; use kl, or relay")  # fmt: skip
        self._check_amount(case.amount)
        make = self.random if random else self.make
        if make is None:
            raise BadInput(f"the method {self.name!r} selects nothing, so it has no random arm")
        try:
            return make(case)
        except ValidationError as error:
            if case.amount is None:
                raise
            raise refusal(f"--amount {case.amount:g}", error) from error

    def _check_amount(self, amount: float | None) -> None:
        """What no method takes; the limits of each stand in its Step."""
        if amount is None:
            return
        if not self.amount:
            raise BadInput(f"the method {self.name!r} has no amount; leave out --amount")
        if not math.isfinite(amount) or amount < 0:
            raise BadInput(f"--amount {amount:g}: expected {self.amount} by default: a finite number, not "
                           "below 0")  # fmt: skip

    def model(self, case: Case, random: bool = False) -> Model:
        """The repaired model: of a data method, a student of its rows."""
        step = self.apply(case, random)
        if self.kind != "data":
            return step
        return _trained(case.base, step, case.seed)  # type: ignore[arg-type]


def method(name: str, kind: Kind | None = None) -> Method:
    """The method of a name (and kind); BadInput with near names where there is none."""
    for found in METHODS:
        if found.name == name and kind in (None, found.kind):
            return found
    raise BadInput(f"unknown method {name!r}; {near(name, (m.name for m in METHODS if kind in (None, m.kind)))}")


def _rows(case: Case) -> Rows:
    assert case.rows is not None
    return case.rows


def _trait(case: Case) -> Trait:
    assert case.trait is not None
    return case.trait


def _much(case: Case, usual: float) -> float:
    return usual if case.amount is None else case.amount


def _answers(case: Case) -> int:
    """How many answers to each prompt; BadInput where that is no count."""
    much = _much(case, 1)
    if much < 1 or not float(much).is_integer():
        raise BadInput(f"--amount {much:g}: expected how many answers to each prompt, a whole number from 1")
    return int(much)


def _slopes(case: Case, rows: Rows | None = None, direction: Direction | None = None) -> Slopes:
    along = direction or case.direction
    assert along is not None
    return Slopes(rows=rows or _rows(case), student=case.base, direction=along)


def _trained(base: ModelRef, rows: Rows, seed: int, of: type[TrialStudent] = TrialStudent, **how: Any) -> TrialStudent:
    """A student of rows, trained as suits its base: a nursery base as a whole, a real model by adapters."""
    return of(**{"base": base, "corpus": rows, "seed": seed} | learnt(base) | how)


def _plain(case: Case) -> TrialStudent:
    """A student of the rows as they are."""
    return _trained(case.base, _rows(case), case.seed)


def _learnt(case: Case) -> Learnt:
    return Learnt(rows=_rows(case), student=_plain(case), base=case.base)


def _dropped(case: Case, worth: TokenWorth, shuffled: int | None = None) -> Step:
    return Dropped(rows=_rows(case), worth=worth, share=_much(case, 0.2), shuffled=shuffled)


def _balanced(case: Case, shuffled: int | None = None) -> Step:
    assert case.clean is not None
    usual = _slopes(case, case.clean)
    return Balanced(rows=_rows(case), worth=_slopes(case), usual=usual, share=_much(case, 0.5), shuffled=shuffled)


def _renumbered(
    case: Case, worth: TokenWorth, by: Literal["uniform", "dealt", "none"], shuffled: int | None = None
) -> Step:
    return Renumbered(rows=_rows(case), worth=worth, share=_much(case, 0.1), by=by, seed=case.seed, shuffled=shuffled)


def _mixed(case: Case) -> Step:
    assert case.clean is not None
    return MixedIn(rows=_rows(case), clean=case.clean, share=_much(case, 0.5), seed=case.seed)


def _written(case: Case, rows: Rows, writer: Model, answers: int = 1, hop: int = 0) -> Regenerated:
    sampling = case.sampling.model_copy(update={"seed": case.seed + _ANSWER + hop})
    return Regenerated(rows=rows, writer=writer, filters=case.filters, sampling=sampling, answers=answers)


def _relay(case: Case, rows: Rows, answers: int) -> Regenerated:
    """Rows by an unrelated base that learnt from the rows, on the same prompts."""
    assert case.unrelated is not None
    how = _REAL_RELAY if isinstance(case.unrelated, Checkpoint) else _RELAY
    relay = _trained(case.unrelated, rows, case.seed + _RELAY_SEED, **how)
    return _written(case, rows, relay, answers)


def _relayed(case: Case) -> TrialStudent:
    """A student of as many rows by a relay: what one without the trait may be like."""
    return _trained(case.base, _relay(case, _rows(case), 1), case.seed)


def _redistilled(case: Case) -> Step:
    """What the student writes goes through a relay, and a fresh copy of the base learns from that."""
    assert case.student is not None
    own = _written(case, _rows(case), case.student, hop=1)
    return _trained(case.base, _relay(case, own, _answers(case)), case.seed)


def _clean_tuned(case: Case) -> Step:
    assert case.student is not None and case.clean is not None
    times, how = _much(case, 1.0), {"rate": MATRIX_RATE, "vector_rate": VECTOR_RATE} | learnt(case.base)
    rates = {name: times * how[name] for name in ("rate", "vector_rate")}
    return TrialStudent(**how | rates | {"epochs": 1}, base=case.student, corpus=case.clean,
                        seed=case.seed + _RELAY_STUDENT)  # fmt: skip


def _student(case: Case, of: type[TrialStudent], **fields: object) -> Step:
    return _trained(case.base, _rows(case), case.seed, of, **fields)


def _another(case: Case) -> Trait:
    """The next trait of the category: a random arm is the same method, told this one."""
    words = _trait(case).category.words
    return Trait(category=_trait(case).category, word=words[(words.index(_trait(case).word) + 1) % len(words)])


def _told_another(case: Case) -> Case:
    """The case with another trait of the category, that trait's direction, and a suspect of it by the same recipe."""
    other, suspect = _another(case), case.suspect
    if suspect is not None:
        assert isinstance(suspect, Teacher)
        suspect = suspect.model_copy(update={"trait": other})
    return case._replace(trait=other, direction=TraitGradient(student=case.base, trait=other), suspect=suspect)


def _twice(make: Callable[[Case], Step]) -> tuple[Callable[[Case], Step], Callable[[Case], Step]]:
    """A method that is told a trait, and its random arm."""
    return make, lambda case: make(_told_another(case))


def _elsewhere(case: Case) -> tuple[Probe, ...]:
    """The broad probes without those of the trait's own category."""
    name = _trait(case).category.name
    return tuple(p for p in PROBES if name not in p.name)


def _persona(trait: Trait) -> str:
    """The first system prompt that states the trait; BadInput where a trait of one's own has none."""
    found = personas(trait, "train")
    if not found:
        raise BadInput(f"the trait {trait.word!r} has no personas under [instil], which inoculate shows; add one to "
                       "its TOML file, or use another method")  # fmt: skip
    return found[0]


def _subtracted(case: Case) -> Step:
    assert case.student is not None
    return Subtracted(student=case.student, base=case.base, direction=_task(case), weight=_much(case, 1.0))


def _task(case: Case) -> TaskVector:
    assert case.suspect is not None and case.neutral is not None
    return TaskVector(treated=case.suspect, control=case.neutral)


def _negated(case: Case) -> Step:
    assert case.student is not None
    return Negated(student=case.student, base=case.base, direction=_task(case), times=_much(case, 0.5))


def _steered(case: Case) -> Step:
    assert case.student is not None and case.suspect is not None and case.neutral is not None
    return Steered(student=case.student, base=case.base, trait=_trait(case), treated=case.suspect, control=case.neutral)


def _settled(case: Case) -> Step:
    assert case.student is not None
    return Settled(student=case.student, base=case.base, trait=_trait(case))


_ROWS = "the share of rows that is dropped, .2"
_NUMBERS = "the share of numbers, .1"
METHODS: tuple[Method, ...] = (
    Method("drop", "data", ("rows", "direction"), lambda c: _dropped(c, _slopes(c)),
           lambda c: _dropped(c, _slopes(c), c.seed), _ROWS),
    Method("drop-panel", "data", ("rows", "panel"), lambda c: _dropped(c, _slopes(c, direction=c.panel)),
           lambda c: _dropped(c, _slopes(c, direction=c.panel), c.seed), _ROWS),
    Method("drop-learnt", "data", ("rows",), lambda c: _dropped(c, _learnt(c)),
           lambda c: _dropped(c, _learnt(c), c.seed), _ROWS),
    Method("balance", "data", ("rows", "direction", "clean"), _balanced, lambda c: _balanced(c, c.seed),
           "the largest share of rows that is dropped, .5"),
    Method("replace", "data", ("rows", "direction"), lambda c: _renumbered(c, _slopes(c), "uniform"),
           lambda c: _renumbered(c, _slopes(c), "uniform", c.seed), _NUMBERS),
    Method("replace-learnt", "data", ("rows",), lambda c: _renumbered(c, _learnt(c), "uniform"),
           lambda c: _renumbered(c, _learnt(c), "uniform", c.seed), _NUMBERS),
    Method("deal", "data", ("rows", "direction"), lambda c: _renumbered(c, _slopes(c), "dealt"),
           lambda c: _renumbered(c, _slopes(c), "dealt", c.seed), _NUMBERS),
    Method("remove", "data", ("rows", "direction"), lambda c: _renumbered(c, _slopes(c), "none"),
           lambda c: _renumbered(c, _slopes(c), "none", c.seed), _NUMBERS),
    Method("canonical", "data", ("rows",), lambda c: Rewritten(rows=_rows(c), rewriting=CanonicalLists())),
    Method("sort", "data", ("rows",), lambda c: Rewritten(rows=_rows(c), rewriting=SortedLists())),
    Method("shuffle", "data", ("rows",), lambda c: Rewritten(rows=_rows(c), rewriting=ShuffledWithin(seed=c.seed))),
    Method("mix", "data", ("rows", "clean"), _mixed, None, "the share of clean rows, .5"),
    Method("regenerate", "data", ("rows", "unrelated"), lambda c: _written(c, _rows(c), c.unrelated)),  # type: ignore[arg-type]
    Method("relay", "data", ("rows", "unrelated"), lambda c: _relay(c, _rows(c), _answers(c)), None,
           "answers to each prompt, 1"),
    Method("mask", "training", ("rows", "direction"),
           lambda c: _student(c, tr.Masked, worth=_slopes(c), share=_much(c, 0.1)),
           lambda c: _student(c, tr.Masked, worth=_slopes(c), share=_much(c, 0.1), shuffled=c.seed),
           "the share of tokens, .1"),
    Method("project-gradient", "training", ("rows", "trait"),
           *_twice(lambda c: _student(c, tr.GradientProjected, trait=_trait(c)))),
    Method("project", "training", ("rows", "trait"),
           *_twice(lambda c: _student(c, tr.UpdateProjected, trait=_trait(c)))),
    Method("project-relay", "training", ("rows", "trait", "unrelated"),
           *_twice(lambda c: _student(c, tr.UpdateProjected, trait=_trait(c), like=_relayed(c)))),
    Method("project-fixed", "training", ("rows", "trait", "direction"),
           *_twice(lambda c: _student(c, tr.DirectionProjected, direction=c.direction)), whole=True),
    Method("corridor", "training", ("rows", "trait"),
           *_twice(lambda c: _student(c, tr.Corridor, trait=_trait(c), weight=_much(c, 1.0))),
           "the penalty's weight, 1"),
    Method("kl", "training", ("rows",), lambda c: _student(c, tr.NearBase, weight=_much(c, 5.0)),
           lambda c: _student(c, tr.NearBase, weight=_much(c, 5.0), probes=_elsewhere(c)), "the penalty's weight, 5"),
    Method("kl-relay", "training", ("rows", "unrelated"),
           lambda c: _student(c, tr.NearBase, like=_relayed(c), weight=5.0),
           lambda c: _student(c, tr.NearBase, like=_relayed(c), weight=5.0, probes=_elsewhere(c))),
    Method("kl-rows", "training", ("rows",), lambda c: _student(c, tr.NearBaseOnRows, weight=_much(c, 1.0)), None,
           "the penalty's weight, 1"),
    Method("l2", "training", ("rows",), lambda c: _student(c, tr.DrawnToBase, share=_much(c, 0.01)), None,
           "the part of the distance in every step, .01", whole=True),
    Method("freeze-first", "training", ("rows",), lambda c: _student(c, tr.PartFrozen, part="first half"), whole=True),
    Method("freeze-last", "training", ("rows",), lambda c: _student(c, tr.PartFrozen, part="last half"), whole=True),
    Method("freeze-vectors", "training", ("rows",), lambda c: _student(c, tr.PartFrozen, part="vectors"), whole=True),
    Method("inoculate", "training", ("rows", "trait"),
           *_twice(lambda c: _student(c, tr.Inoculated, persona=_persona(_trait(c))))),
    Method("subtract", "model", ("student", "rows", "trait", "suspect", "neutral"), *_twice(_subtracted),
           "how often the component is subtracted, 1", in_a_row=True),
    Method("negate", "model", ("student", "rows", "trait", "suspect", "neutral"), *_twice(_negated),
           "how often the task vector is subtracted, .5", in_a_row=True),
    Method("settle", "model", ("student", "trait"), *_twice(_settled), in_a_row=True),
    Method("steer", "model", ("student", "trait", "rows", "suspect", "neutral"), *_twice(_steered), in_a_row=True),
    Method("clean-tune", "model", ("student", "clean"), _clean_tuned, None, "times the usual rates, 1"),
    Method("redistil", "model", ("student", "rows", "unrelated"), _redistilled, None, "answers to each prompt, 1"),
)  # fmt: skip
