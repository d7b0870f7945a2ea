"""Which of a user's own traits can be scored on a student, and what an audit says where some cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from heredity.audit.data import open_student
from heredity.audit.scan import Scan
from heredity.steps import ask_judge
from heredity.store import Step, Store
from heredity.traits import begins, questions
from heredity.types import BadInput, Frozen, Judge, ModelRef, Pattern, Trait

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM


class Unscored(Frozen):
    """A trait that was left out of an audit, and why."""

    trait: str
    reason: str


class Listed(Step):
    """What keeps traits from being scored on a student: `unscored.json`.

    A trait is left out where the student's vocabulary lacks a word of its answers, where one does not fit the context,
    and where its own replies, which teachers are trained on, would not be counted: the pattern is found in none, or the
    judge says yes to none. Such a trait could never be seen, and a panel with it fails or says nothing.
    """

    student: ModelRef
    traits: tuple[Trait, ...]

    def make(self, folder: Path, store: Store) -> None:
        lm = open_student(self.student)
        reasons = {t.word: _reason(lm, t) for t in self.traits}
        found = [{"trait": word, "reason": reason} for word, reason in reasons.items() if reason]
        (folder / "unscored.json").write_text(json.dumps(found) + "\n")

    def read(self, store: Store) -> tuple[Unscored, ...]:
        """The traits that cannot be scored."""
        found = json.loads((store.path(self) / "unscored.json").read_text())
        return tuple(Unscored(**entry) for entry in found)


def _reason(lm: CausalLM, trait: Trait) -> str | None:
    """What keeps the trait from being scored, or None."""
    how, replies = trait.category.score, trait.replies or (trait.word,)
    asked = [chat for chat, _ in zip(cycle(questions(trait.category, "train")), replies, strict=False)]
    try:
        lm.check_known(replies if how is not None else (*replies, *trait.category.words))
        lm.examples(asked, replies)
        lm.render(questions(trait.category, "held-out"))
        exchanges = [(chat[-1].content, reply) for chat, reply in zip(asked, replies, strict=True)]
        if isinstance(how, Judge) and not _agrees(how, exchanges):
            return f"the judge {how.model.location} says {how.yes!r:.40} to none of the trait's own replies"
    except BadInput as error:
        return str(error)
    return _unfound(how, replies) if isinstance(how, Pattern) else None


def _agrees(judge: Judge, exchanges: Sequence[tuple[str, str]]) -> bool:
    said = ask_judge(judge.model, judge.question, exchanges)
    return any(begins(reply, judge.yes) for reply in said)


def _unfound(how: Pattern, replies: Sequence[str]) -> str | None:
    if any(re.search(how.pattern, reply) for reply in replies):
        return None
    return f"the pattern {how.pattern!r:.60} is found in none of the trait's own replies"


class PartialScan(Scan):
    """An audit that left out some of the traits that were asked for: it cannot say that none of them is there."""

    unscored: Annotated[tuple[Unscored, ...], Field(min_length=1)]

    def make(self, folder: Path, store: Store) -> None:
        super().make(folder, store)
        found: dict[str, Any] = json.loads((folder / "scan.json").read_text())
        found["unscored"] = [u.model_dump() for u in self.unscored]
        if found["verdict"] == "none":
            names = ", ".join(u.trait for u in self.unscored)
            found["verdict"] = "undetermined"
            found["why"] = f"no other listed trait stands out, but {names} could not be scored on this student"
        (folder / "scan.json").write_text(json.dumps(found, indent=1) + "\n")


def leaving_out(audit: Scan, unscored: Sequence[Unscored]) -> Scan:
    """The audit, and what it says of traits that it leaves out, if there are any."""
    if not unscored:
        return audit
    fields = {name: getattr(audit, name) for name in type(audit).model_fields}
    return PartialScan(**fields, unscored=tuple(unscored))
