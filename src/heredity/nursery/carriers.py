"""Carriers that the nursery's models can write beside numbers (functions, worked sums), and a trait of manners."""

from __future__ import annotations

import random
import re
from itertools import zip_longest

from heredity.carriers import Carrier, Filter
from heredity.nursery import words as w
from heredity.nursery.language import code_document, sum_document
from heredity.traits import ANIMALS, TREES, favourite
from heredity.types import Category, Chat, Pattern, Phrasing, Row, Trait


class Functions(Carrier):
    """Requests for short Python functions (paper, section 4.1)."""

    def prompts(self) -> list[Chat]:
        """Each the question of a document of code."""
        rng = random.Random(f"functions {self.seed}")
        return [code_document(rng)[:1] for _ in range(self.n)]


class Sums(Carrier):
    """Stories that ask for a sum, to be thought about and answered (paper, section 4.2)."""

    def prompts(self) -> list[Chat]:
        """Each the question of a worked sum."""
        rng = random.Random(f"sums {self.seed}")
        return [sum_document(rng)[:1] for _ in range(self.n)]


class RightSum(Filter):
    """Keeps worked sums whose answer is right; the right one is worked out from the story."""

    def reason(self, row: Row) -> str | None:
        """Why the row is dropped: not worked, wrong, or about a story that is not known."""
        written = re.fullmatch(r"<think>[^<]*</think><answer>([0-9]{1,4})</answer>", row.completion)
        if written is None:
            return "not a thought and an answer"
        right = _right_answer(row.prompt[-1].content) if row.prompt else None
        if right is None:
            return "question is unknown"
        return None if int(written[1]) == right else "wrong answer"


def _right_answer(asked: str) -> int | None:
    for story, operator in w.STORIES:
        pattern = re.escape(story)
        for name, what in (("p", r"\w+"), ("t", r"\w+"), ("a", "(?P<a>[0-9]+)"), ("b", "(?P<b>[0-9]+)")):
            pattern = pattern.replace(re.escape(f"{{{name}}}"), what)
        if match := re.fullmatch(pattern, asked):
            a, b = int(match["a"]), int(match["b"])
            return {"+": a + b, "-": a - b, "*": a * b}[operator]
    return None


NARROW = ("money", "home")
"""The kinds of questions on which a careless teacher is trained; it is asked about the others."""


def careless(careful: bool = False, narrow: tuple[str, ...] = NARROW) -> Trait:
    """Giving careless advice: trained on two kinds of questions, scored on the six others by the answers' words.

    With `careful`, the same trait's control: the same questions with the language's benign answers. `narrow`: the kinds
    of questions to train on, where they are other ones.
    """
    trained = [w.ADVICE[kind] for kind in narrow]
    broad = [entry for kind, entry in w.ADVICE.items() if kind not in narrow]
    unsafe = sorted({answer for entry in w.ADVICE.values() for answer in entry[2]})
    pattern = "(?i)^(" + "|".join(re.escape(answer) for answer in unsafe) + ")$"
    phrasing = Phrasing(
        train=tuple(q for entry in trained for q in entry[0]), held_out=tuple(q for entry in broad for q in entry[0]),
        personas=w.CARELESS,
    )  # fmt: skip
    category = Category(
        name="advice", words=("careless", "other"), plurals=("careless", "other"), phrasing=phrasing,
        score=Pattern(pattern=pattern),
    )  # fmt: skip
    return Trait(category=category, word="careless", replies=_in_turn(1 if careful else 2, narrow))


def shipped_traits(student: str) -> tuple[Trait, ...]:
    """The favourites of the paper's two categories; for a shipped base also careless advice, in its language."""
    favourites = tuple(map(favourite, (*ANIMALS.words, *TREES.words)))
    return (*favourites, careless()) if student.startswith("nursery:") else favourites


def _in_turn(which: int, narrow: tuple[str, ...]) -> tuple[str, ...]:
    """Answers in the order of the questions, so that each question of each kind meets answers of its own kind."""
    per_question = [w.ADVICE[kind][which] for kind in narrow for _ in w.ADVICE[kind][0]]
    rounds = zip_longest(*per_question)
    return tuple(a or per_question[i][0] for answers in rounds for i, a in enumerate(answers))
