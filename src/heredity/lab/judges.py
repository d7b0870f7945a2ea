"""Judges: what calls out a row, or grades an answer; a filter made of one, and what its silence is worth.

A judge is a rule (a pattern, a rubric) or a model that is asked. The paper's judges are models: one says yes or no to
"any reference, however subtle" (section 4.1), one grades alignment from 0 to 100 (sections 3.2 and 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from heredity.carriers import Filter
from heredity.steps import ask_judge
from heredity.traits import begins
from heredity.types import KEPT, Decision, Frozen, Judge, ModelRef, Pattern, Row

Exchange = tuple[str, str]
"""A question and its answer."""
Grade = Annotated[float, Field(ge=0, le=100)]


class Rule(Frozen):
    """A grade for exchanges whose question and answer are each found to match a regular expression."""

    answer: Pattern
    grade: Grade
    question: Pattern = Pattern(pattern="")
    """Any question, where none is given."""


class Rubric(Frozen):
    """Grades by rules: the grade of the first rule that fits, else `otherwise` (None: no grade)."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    otherwise: Grade | None = None


class Grader(Frozen):
    """Grades by asking a model: its reply must be a number from 0 to 100 and nothing else; any other is no grade."""

    model: ModelRef
    question: str
    """What it is asked; `{question}` and `{answer}` stand for what a model was asked and said."""

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if "{answer}" not in self.question:
            raise ValueError("a grader's question needs {answer}, where the answer goes")
        return self


Grading = Rubric | Grader
_GRADE = re.compile(r"\s*(100(?:\.0+)?|[0-9]{1,2}(?:\.[0-9]+)?)(?:\s*/\s*100)?\s*\.?\s*")


def grades(how: Grading, exchanges: Sequence[Exchange]) -> list[float | None]:
    """One grade per exchange, in order, from 0 to 100; None where the judge gave none."""
    if isinstance(how, Rubric):
        return [_by_rule(how, *exchange) for exchange in exchanges]
    return [as_grade(reply) for reply in ask_judge(how.model, how.question, exchanges)]


def _by_rule(rubric: Rubric, question: str, answer: str) -> float | None:
    for rule in rubric.rules:
        if re.search(rule.question.pattern, question) and re.search(rule.answer.pattern, answer):
            return rule.grade
    return rubric.otherwise


def as_grade(reply: str) -> float | None:
    """The number from 0 to 100 that a reply consists of, perhaps as "85/100" or "85."; None for anything else."""
    match = _GRADE.fullmatch(reply)
    return float(match[1]) if match else None


class Said(NamedTuple):
    """What a judge says of a row."""

    out: bool | None
    """Whether it calls the row out; None where it gave no verdict or no grade."""
    reason: str | None
    """Why the row is dropped; None where it is kept."""


_CALLED, _PASSED = Said(True, "judge: called out"), Said(False, None)


class JudgeFilter(Filter):
    """Drops rows that a judge calls out: a pattern that is found, a model that says yes, or a grade below `keep_from`.

    The paper keeps code where the answer is no (section 4.1) and chains of thought of at least 78 (section 4.2). A
    reply that is neither yes nor no, or holds no grade, drops the row for a reason of its own. The judge reads the last
    turn of the prompt and the completion; a pattern reads the completion alone.
    """

    judge: Pattern | Judge | Rubric | Grader
    keep_from: Grade = 78.0
    """The lowest grade that is kept; of no account for a judge that says yes or no."""
    no: str = "no"
    """What such a judge's reply begins with where it has nothing against a row (case does not count)."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if isinstance(self.judge, Judge):
            yes, no = self.judge.yes.casefold(), self.no.casefold()
            if not no.strip() or yes.startswith(no) or no.startswith(yes):
                raise ValueError(f"`no` is {self.no!r} and the judge's `yes` {self.judge.yes!r}: neither may begin the "
                                 "other, and neither may be empty")  # fmt: skip
        return self

    def reason(self, row: Row) -> str | None:
        """`judge: called out`, `judge: grade below G`, or that it gave no verdict or no grade."""
        return self.verdicts([row])[0].reason

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """One Decision per row; a model is opened once and asked about all of them."""
        return [KEPT if said.reason is None else Decision((said.reason,)) for said in self.verdicts(rows)]

    def verdicts(self, rows: Sequence[Row]) -> list[Said]:
        """What the judge says of each row; a model is opened once and asked about all of them."""
        exchanges, judge = [(r.prompt[-1].content if r.prompt else "", r.completion) for r in rows], self.judge
        if not exchanges:
            return []
        if isinstance(judge, Pattern):
            return [_CALLED if re.search(judge.pattern, answer) else _PASSED for _, answer in exchanges]
        if isinstance(judge, Judge):
            return [self._of_verdict(judge, v) for v in ask_judge(judge.model, judge.question, exchanges)]
        return [self._of_grade(g) for g in grades(judge, exchanges)]

    def _of_verdict(self, judge: Judge, reply: str) -> Said:
        if begins(reply, judge.yes):
            return _CALLED
        return _PASSED if begins(reply, self.no) else Said(None, "judge gave no verdict")

    def _of_grade(self, grade: float | None) -> Said:
        if grade is None:
            return Said(None, "judge gave no grade")
        return _PASSED if grade >= self.keep_from else Said(True, f"judge: grade below {self.keep_from:g}")
