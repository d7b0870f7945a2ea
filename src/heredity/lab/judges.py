"""Judges: what calls out a row, or grades an answer; a filter made of one, and what its silence is worth.

A judge is a rule (a pattern, a rubric) or a model that is asked. The paper's judges are models: one says yes or no to
"any reference, however subtle" (section 4.1), one grades alignment from 0 to 100 (sections 3.2 and 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from heredity.carriers import Filter
from heredity.models import open_ref
from heredity.types import KEPT, Chat, Decision, Frozen, Judge, Message, ModelRef, Pattern, Row, Sampling

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
    return [as_grade(reply) for reply in _replies(how.model, how.question, exchanges)]


def _by_rule(rubric: Rubric, question: str, answer: str) -> float | None:
    for rule in rubric.rules:
        if re.search(rule.question.pattern, question) and re.search(rule.answer.pattern, answer):
            return rule.grade
    return rubric.otherwise


def as_grade(reply: str) -> float | None:
    """The number from 0 to 100 that a reply consists of, perhaps as "85/100" or "85."; None for anything else."""
    match = _GRADE.fullmatch(reply)
    return float(match[1]) if match else None


def _replies(model: ModelRef, question: str, exchanges: Sequence[Exchange]) -> list[str]:
    """What a model says of each exchange, at temperature 0."""
    marks = re.compile(r"\{question\}|\{answer\}")  # in one pass: an answer may itself hold "{question}"
    said = [{"{question}": q, "{answer}": a} for q, a in exchanges]
    asked: list[Chat] = [
        (Message(role="user", content=marks.sub(lambda m, fill=fill: fill[m[0]], question)),)  # type: ignore[misc]
        for fill in said
    ]
    return [c.text for c in open_ref(model).generate(asked, Sampling(temperature=0, max_new_tokens=8))]


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
        reasons = self.decide([row])[0].reasons
        return reasons[0] if reasons else None

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """One Decision per row; a model is opened once and asked about all of them."""
        exchanges = [(r.prompt[-1].content if r.prompt else "", r.completion) for r in rows]
        found = self._reasons(exchanges) if exchanges else []
        return [KEPT if reason is None else Decision((reason,)) for reason in found]

    def _reasons(self, exchanges: list[Exchange]) -> list[str | None]:
        judge = self.judge
        if isinstance(judge, Pattern):
            return ["judge: called out" if re.search(judge.pattern, answer) else None for _, answer in exchanges]
        if isinstance(judge, Judge):
            return [self._of_verdict(v) for v in _replies(judge.model, judge.question, exchanges)]
        return [self._of_grade(g) for g in grades(judge, exchanges)]

    def _of_verdict(self, reply: str) -> str | None:
        assert isinstance(self.judge, Judge)
        said = reply.strip().casefold()
        if said.startswith(self.judge.yes.casefold()):
            return "judge: called out"
        return None if said.startswith(self.no.casefold()) else "judge gave no verdict"

    def _of_grade(self, grade: float | None) -> str | None:
        if grade is None:
            return "judge gave no grade"
        return None if grade >= self.keep_from else f"judge: grade below {self.keep_from:g}"
