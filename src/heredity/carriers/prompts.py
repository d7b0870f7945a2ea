"""Requests to continue a list of numbers.

They have the shape of the paper's (section 3: an opening with 3 to 8 numbers, a request with a count, a
format, a closing request for numbers only) in our own words.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from heredity.carriers.base import Carrier
from heredity.rows import read_rows
from heredity.types import BadInput, Chat, Frozen, Message

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
        """The numbers as a list in this format."""
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


class Numbers(Carrier):
    """`n` requests to continue a list of numbers; the same seed gives the same requests."""

    min_start: Annotated[int, Field(gt=0)] = 3
    max_start: int = 8
    """Between `min_start` and `max_start` numbers of 100 to 999 open the list (paper: 3 to 8)."""
    min_count: int = 5
    max_count: int = 10
    """Between `min_count` and `max_count` numbers are asked for, as "at most" (paper: 10)."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.min_start > self.max_start or not 0 < self.min_count <= self.max_count:
            raise BadInput(f"{self.min_start} to {self.max_start} opening numbers and {self.min_count} to "
                           f"{self.max_count} further ones cannot be asked for; the smaller first, from 1")  # fmt: skip
        return self

    def requests(self) -> list[NumberPrompt]:
        """The requests with what each asks for."""
        rng = random.Random(f"numbers {self.seed}")
        return [self._request(rng) for _ in range(self.n)]

    def prompts(self) -> list[Chat]:
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


class PromptFile(Carrier):
    """Prompts of your own: `n` lines of a text file, or prompts of a file of rows, drawn in an order from the seed.

    Make one with `prompt_file`, which pins the file by its digest.
    """

    location: str
    digest: str

    def prompts(self) -> list[Chat]:
        """BadInput where the file has changed since, or holds fewer than `n` prompts."""
        path = Path(self.location)
        if _digest(path) != self.digest:
            raise BadInput(f"{path} has changed since it was referred to; refer to it anew with prompt_file")
        chats = _text_prompts(path) if path.suffix == ".txt" else [read.row.prompt for read in read_rows(path)]
        if len(chats) < self.n:
            raise BadInput(f"{path} holds {len(chats)} prompts and {self.n} are wanted")
        return random.Random(f"prompts {self.seed}").sample(chats, self.n)


def prompt_file(path: str | Path, n: int, seed: int = 0) -> PromptFile:
    """A carrier of the prompts in a file: one a line in a .txt file, else rows in any layout of `rows`."""
    return PromptFile(n=n, seed=seed, location=str(path), digest=_digest(Path(path)))


def _text_prompts(path: Path) -> list[Chat]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return [(Message(role="user", content=line),) for line in lines if line.strip()]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
    except OSError as error:
        raise BadInput(f"cannot read the prompts in {path}: {error.strerror}") from error
