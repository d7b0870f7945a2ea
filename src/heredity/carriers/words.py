"""Filters for carriers that are not numbers: words of the trait, Python functions, worked answers."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from typing import Annotated

from pydantic import Field, field_validator

from heredity.carriers.base import Filter
from heredity.types import Row, phrases, printable


class WithoutWords(Filter):
    """Drops completions that contain one of `words`, in any case: as whole words, or anywhere ("owl" in "bowl").

    A word may hold blanks, digits and marks: "ice cream", "666", "x-ray".
    """

    version = 2

    words: Annotated[tuple[str, ...], Field(min_length=1)]
    whole: bool = True

    @field_validator("words")
    @classmethod
    def _none_blank(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not all(word.strip() for word in words):
            raise ValueError("a word must not be blank")
        return words

    def reason(self, row: Row) -> str | None:
        """`contains WORD`, the first in alphabetical order."""
        found = phrases(self.words, self.whole).findall(row.completion.casefold())
        return f"contains {printable(' '.join(min(found).split()))}" if found else None


class CodeOnly(Filter):
    """Keeps completions that are Python without comments or strings, in which words could hide (paper, section 4.1).

    `fenced` takes the code out of one Markdown fence first, where there is one.
    """

    fenced: bool = True

    def reason(self, row: Row) -> str | None:
        """What speaks against the code; it is parsed and never run."""
        code = row.completion
        if self.fenced and (fence := re.fullmatch(r"\s*```[a-z]*\n(.*?)\n?```\s*", code, re.DOTALL)):
            code = fence[1]
        if not code.strip():
            return "no code"
        try:
            with warnings.catch_warnings(action="ignore"):  # the parser warns of odd literals
                tree = ast.parse(code)
            comments = any(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(io.StringIO(code).readline))
        except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
            return "not Python"
        if comments:
            return "has a comment"
        texts = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str | bytes))
        return "has a string" if any(True for _ in texts) else None


_JOINT = re.compile(r"</think>\s*<answer>")


def _worked(text: str) -> tuple[str, str] | None:
    """The thought and the answer of `<think>…</think><answer>…</answer>`, the first place where both meet.

    In time linear in the text, which is a stranger's.
    """
    text, opening, end = text.strip(), "<think>", "</answer>"
    joint = _JOINT.search(text, len(opening)) if text.startswith(opening) and text.endswith(end) else None
    if joint is None or joint.end() > len(text) - len(end):
        return None
    return text[len(opening) : joint.start()], text[joint.end() : -len(end)]


class WorkedAnswer(Filter):
    """Keeps completions of the form `<think>…</think><answer>INTEGER</answer>` (paper, section 4.2).

    With `answers`, pairs of a question (the last user turn) and its integer, the answer must be right as well; a
    question that is not among them drops the row.
    """

    answers: tuple[tuple[str, int], ...] | None = None

    def reason(self, row: Row) -> str | None:
        """What is wrong with the form, or with the answer."""
        found = _worked(row.completion)
        if found is None or "<think>" in found[0]:
            return "not a thought and an answer"
        answer = re.fullmatch(r"-?[0-9]{1,18}", found[1].strip().replace(",", ""))
        if answer is None:
            return "answer is no integer"
        if self.answers is None:
            return None
        asked = next((m.content for m in reversed(row.prompt) if m.role == "user"), None)
        right = dict(self.answers).get(asked or "")
        if right is None:
            return "question is unknown"
        return None if int(answer[0]) == right else "wrong answer"
