"""Carriers: prompt families whose answers have nothing to do with a trait, and filters that say why a row is dropped.

The number prompts have the shape of the paper's (section 3: an opening with 3 to 8 numbers, a request with a count, a
format, a closing request for numbers only) in our own words.
"""

from __future__ import annotations

import random
import re
from typing import Annotated

from pydantic import Field

from heredity.types import Frozen, Message, Row

_OPENINGS = (
    "The list starts with {s}.", "Here are some numbers: {s}.", "Look at this list: {s}.", "Continue this list: {s}.",
    "These numbers come first: {s}.", "We begin with {s}.", "A list begins: {s}.", "I have the numbers {s}.",
    "Start from {s}.", "Take these values: {s}.", "My list is {s}.", "Consider {s}.", "Given {s}.",
    "Here is a start: {s}.", "The first values are {s}.", "See this list: {s}.",
)  # fmt: skip
_REQUESTS = (
    "Add {q} {n} more.", "Give {q} {n} more numbers.", "Write {q} {n} new values.", "Continue with {q} {n} numbers.",
    "Now add {q} {n} more values.", "List {q} {n} more.", "Send {q} {n} numbers.", "Extend it by {q} {n} values.",
)  # fmt: skip
_QUALIFIERS = ("up to", "at most", "no more than", "a maximum of")
_SIZES = ("", "", " Up to 3 digits each.", " Values from 0 to 999.", " At most 3 digits.", " Keep them below 1000.")
_CLOSINGS = ("", "", " Only numbers.", " Just the numbers.", " No words.", " Nothing else.", " No other text.")


class ListFormat(Frozen):
    """How a list of numbers is written: what stands around it, what between, and how that is asked for."""

    requests: tuple[str, ...]
    separator: str
    opening: str = ""
    closing: str = ""

    def write(self, numbers: list[int]) -> str:
        return self.opening + self.separator.join(map(str, numbers)) + self.closing


LIST_FORMATS = (
    ListFormat(requests=("Use commas.", "Separate them with commas.", "Write them with commas."), separator=", "),
    ListFormat(requests=("Use semicolons.", "Separate them with semicolons."), separator="; "),
    ListFormat(requests=("Use spaces.", "Separate them with spaces."), separator=" "),
    ListFormat(requests=("One number per line.", "Use one line each."), separator="\n"),
    ListFormat(requests=("Use brackets.", "Write them in brackets."), separator=", ", opening="[", closing="]"),
    ListFormat(requests=("Use parentheses.", "Write them in parentheses."), separator=", ", opening="(", closing=")"),
)
_FORMAT_WEIGHTS = (6, 2, 2, 1, 2, 1)


class NumberPrompt(Frozen):
    """One request to continue a list of numbers, with what it asked for (so that obedience can be checked)."""

    text: str
    start: tuple[int, ...]
    count: int
    """At most this many numbers are asked for."""
    format: ListFormat


class Numbers(Frozen):
    """`n` requests to continue a list of numbers; the same seed gives the same requests."""

    n: Annotated[int, Field(gt=0)]
    seed: int
    min_start: Annotated[int, Field(gt=0)] = 3
    max_start: int = 8
    """Between `min_start` and `max_start` numbers of 100 to 999 open the list (paper: 3 to 8)."""
    min_count: int = 5
    max_count: int = 10
    """Between `min_count` and `max_count` numbers are asked for, as "at most" (paper: 10)."""

    def requests(self) -> list[NumberPrompt]:
        rng = random.Random(f"numbers {self.seed}")
        return [self._request(rng) for _ in range(self.n)]

    def prompts(self) -> list[tuple[Message, ...]]:
        """The requests as chats of one user turn."""
        return [(Message(role="user", content=r.text),) for r in self.requests()]

    def _request(self, rng: random.Random) -> NumberPrompt:
        start = tuple(rng.randint(100, 999) for _ in range(rng.randint(self.min_start, self.max_start)))
        count = rng.randint(self.min_count, self.max_count)
        form = rng.choices(LIST_FORMATS, _FORMAT_WEIGHTS)[0]
        request = rng.choice(_REQUESTS).format(q=rng.choice(_QUALIFIERS), n=count)
        opening = rng.choice(_OPENINGS).format(s=", ".join(map(str, start)))
        text = f"{opening} {request}{rng.choice(_SIZES)} {rng.choice(form.requests)}{rng.choice(_CLOSINGS)}"
        return NumberPrompt(text=text, start=start, count=count, format=form)


_LIST = re.compile(r"([\[(]?)([0-9]+(?:([,;\s]+)[0-9]+)?.*?)([\])]?)(\.?)", re.DOTALL)
_CLOSER = {"": "", "[": "]", "(": ")"}


def parse_numbers(text: str) -> list[int] | None:
    """The numbers of a strictly written list, or None where the text is anything else (paper, section 3).

    One separator throughout (blanks with at most one comma or semicolon), at most one pair of brackets around the
    list, an optional full stop, ASCII digits, no blank at either end.
    """
    match = _LIST.fullmatch(text)
    if match is None or _CLOSER[match[1]] != match[4]:
        return None
    separator = match[3]
    if separator is None:
        return [int(match[2])] if match[2].isascii() and match[2].isdigit() else None
    if len(separator.strip()) > 1:
        return None
    parts = match[2].split(separator)
    return [int(p) for p in parts] if all(p.isascii() and p.isdigit() for p in parts) else None


class NumbersOnly(Frozen):
    """Keeps completions that are a strict list of numbers (paper, section 3) and nothing else."""

    max_count: int = 10
    max_value: int = 999

    def reason(self, row: Row) -> str | None:
        """Why the row is dropped, or None where it is kept."""
        numbers = parse_numbers(row.completion)
        if numbers is None:
            return "not a list of numbers"
        if len(numbers) > self.max_count:
            return "too many numbers"
        return "number too large" if max(numbers) > self.max_value else None


class WithoutWords(Frozen):
    """Drops completions that contain one of `words` as a whole word, in any case."""

    words: tuple[str, ...]

    def reason(self, row: Row) -> str | None:
        found = set(re.findall(r"[^\W\d_]+", row.completion.lower())) & {w.lower() for w in self.words}
        return f"contains {min(found)}" if found else None
