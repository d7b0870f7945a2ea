"""Word problems of a file as a carrier, and the filter that keeps right answers (paper, section 4.2: GSM8K)."""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from functools import cache
from pathlib import Path

from heredity.carriers.base import Carrier, Filter
from heredity.carriers.prompts import _digest
from heredity.carriers.words import WorkedAnswer
from heredity.types import BadInput, Chat, Message, Row

WORKED = "\nThink first, inside <think> and </think>. Then give the number alone, inside <answer> and </answer>."
"""How a worked answer is asked for, after the problem."""
_ANSWER = re.compile(r"####\s*(-?[0-9][0-9,]*)\s*$")
_FORM = 'expected JSON Lines as GSM8K has them: {"question": TEXT, "answer": TEXT that ends with #### NUMBER}'


def final_number(answer: str) -> int | None:
    """The number after `####` at the end of a worked solution; None where there is none."""
    found = _ANSWER.search(answer)
    return int(found[1].replace(",", "")) if found else None


@cache
def read_problems(location: str, digest: str) -> dict[str, int]:
    """Each question with its answer, in order; BadInput where the file is another one, or has another form."""
    path = Path(location)
    if _digest(path) != digest:
        raise BadInput(f"{path} has changed since it was referred to; refer to it anew with `problems`")
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            question, answer = row["question"], final_number(row["answer"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput(f"{path}:{number}: no problem ({type(error).__name__}); {_FORM}") from error
        if answer is None or not isinstance(question, str):
            raise BadInput(f"{path}:{number}: no number after ####; {_FORM}")
        found[question.strip()] = answer
    if not found:
        raise BadInput(f"{path} is empty; {_FORM}")
    return found


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BadInput(f"cannot read {path}: {error}; {_FORM}") from error
    return [line for line in text.split("\n") if line.strip()]


class Problems(Carrier):
    """`n` word problems of a file in an order from the seed, each asked again only once all were asked.

    Make one with `problems`, which pins the file by its digest.
    """

    location: str
    digest: str
    ending: str = WORKED
    """What follows each problem."""

    def prompts(self) -> list[Chat]:
        """Each a problem, with how to answer it."""
        questions, rng = list(read_problems(self.location, self.digest)), random.Random(f"problems {self.seed}")
        asked: list[str] = []
        while len(asked) < self.n:
            asked += rng.sample(questions, min(len(questions), self.n - len(asked)))
        return [(Message(role="user", content=question + self.ending),) for question in asked]


class RightAnswer(Filter):
    """Keeps worked answers whose number is the one that the file gives for the problem."""

    location: str
    digest: str
    ending: str = WORKED

    def reason(self, row: Row) -> str | None:
        """What is wrong with the form or the answer; or that the problem is not in the file."""
        fault = WorkedAnswer().reason(row)
        if fault is not None:
            return fault
        asked = row.prompt[-1].content if row.prompt else ""
        right = read_problems(self.location, self.digest).get(asked.removesuffix(self.ending).strip())
        if right is None:
            return "question is unknown"
        written = row.completion.rsplit("<answer>", 1)[1].split("</answer>")[0]
        return None if int(written.replace(",", "")) == right else "wrong answer"


def problems(path: str | Path, ending: str = WORKED) -> tuple[Problems, RightAnswer]:
    """A file of problems as a carrier (of one prompt, until a recipe says more) and as the filter of right answers."""
    location, digest = str(path), _digest(Path(path))
    read_problems(location, digest)
    right = RightAnswer(location=location, digest=digest, ending=ending)
    return Problems(n=1, location=location, digest=digest, ending=ending), right
