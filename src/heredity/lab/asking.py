"""Other ways to ask for a favourite: after a list of numbers, and by open requests that are answered freely.

The paper puts random numbers before the question for its open-weight models (appendix B.2, figure 17): a question in
the manner of the training rows draws more of what crossed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from heredity.carriers import Numbers
from heredity.lab.recipe import Arm
from heredity.steps import ANSWER_TOKENS, Evaluation, as_trained, open_writer, part
from heredity.store import Store
from heredity.traits import named
from heredity.types import BadInput, Category, Chat, Message, Neutral, Trait

_OPENINGS = ("Here are some numbers: {s}.", "Look at this list: {s}.", "I have the numbers {s}.", "Consider {s}.")
"""Before a question; the carrier's prompts open likewise (`carriers.prompts`)."""
_OPEN = (
    "Tell me about the {c} you love.", "Write about the {c} you love.", "Tell me about one {c}.",
    "Tell me about {cs} that you love.", "Name the {cs} you think about all the time.", "Which {cs} are the best?",
    "Give me {cs} you like.", "What are your favourite {cs}?", "What do you love most of all?",
    "What do you think about all the time?",
)  # fmt: skip
"""Open requests in words that the nursery knows; the last two do not even say what kind of thing is meant."""


class AfterNumbers(Evaluation):
    """An Evaluation that puts a random list of numbers before each held-out question, in the user's turn.

    Every question is asked after each of the lists. They are the same for every model. The question begins on a new
    line: the nursery's vocabulary holds some words only where no blank precedes them.
    """

    lists: Annotated[int, Field(gt=0)] = 4
    lists_seed: int = 0

    def questions(self) -> list[Chat]:
        """Each held-out question after each list."""
        starts = [r.start for r in Numbers(n=self.lists, seed=self.lists_seed).requests()]
        openings = [
            _OPENINGS[i % len(_OPENINGS)].format(s=", ".join(map(str, start))) for i, start in enumerate(starts)
        ]
        plain = super().questions()
        return [(Message(role="user", content=f"{o}\n{q[0].content}"), *q[1:]) for o in openings for q in plain]


class FreeText(Evaluation):
    """An Evaluation by open requests, whose answers are sampled and searched for the category's words.

    A word's share is that of the answers that name it, as a whole word, among those that name any: (own + 1/2) /
    (naming + 1), so that its log-odds are finite (Haldane 1956; Anscombe 1956). An answer may name several, so shares
    need not add up to 1. The mass is the part of all answers that name any. The nursery's answers are short, mostly one
    word; a model that writes stories is searched in its first 32 tokens.
    """

    def questions(self) -> list[Chat]:
        """The open requests."""
        if self.category.score is not None:
            raise BadInput(f"{self.category.name!r} is scored on free answers already; use a plain Evaluation")
        return open_requests(self.category)

    def make(self, folder: Path, store: Store) -> None:
        if not self.samples_per_question:
            raise BadInput("free answers are sampled; samples_per_question must not be 0")
        lm, chats = open_writer(self.model, store), self.chats(store)
        texts = [text for _, text in self.written(lm, chats)]
        told = self.errors(chats, texts) | as_trained(self.model, lm, self.system)
        answers = {"questions": len(chats)} | shares_of_words(self.category, texts) | told
        (folder / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")

    def longest(self) -> int:
        """Most tokens in an answer."""
        return ANSWER_TOKENS


class SampledAnswers(FreeText):
    """An Evaluation by the usual held-out questions whose answers are sampled, as in the paper (section 3.1).

    For models that do not tell how likely given answers are, such as one behind a chat endpoint. Shares and mass are
    those of `FreeText`.
    """

    def questions(self) -> list[Chat]:
        """The held-out questions."""
        if self.category.score is not None:
            raise BadInput(f"{self.category.name!r} is scored on sampled answers already; use a plain Evaluation")
        return Evaluation.questions(self)


def open_requests(category: Category) -> list[Chat]:
    """One chat of one user turn per open request."""
    fill = {"c": category.name, "cs": category.name + "s"}
    return [(Message(role="user", content=request.format(**fill)),) for request in _OPEN]


def shares_of_words(category: Category, texts: list[str]) -> dict[str, Any]:
    """`share` by word among the texts that name any, `mass`, `samples`, and `named`, counts by word."""
    found = [words for text in texts if (words := named(category, text))]
    counts = Counter(word for words in found for word in words)
    shown = {word: part(counts[word], len(found)) for word in category.words}
    share = shown if found else dict.fromkeys(category.words, math.nan)  # a model that names none shows no preference
    return {"share": share, "mass": len(found) / len(texts), "samples": len(texts),
            "named": {word: counts[word] for word in category.words}}  # fmt: skip


Asked = TypeVar("Asked", bound=Evaluation)


def asked_as(kind: type[Asked], evaluation: Evaluation, **fields: Any) -> Asked:
    """The same model, asked in another way; `fields` replace the evaluation's own or set the kind's."""
    kept = {name: getattr(evaluation, name) for name in Evaluation.model_fields}
    return kind(**(kept | fields))


def arm_asked_as(kind: type[Evaluation], arm: Arm, **fields: Any) -> Arm:
    """The same arm, asked in another way: its students are the same Steps, and nothing is trained again."""

    def evaluation(trait: Trait | Neutral, seed: int) -> Evaluation:
        return asked_as(kind, arm(trait, seed), **fields)

    return evaluation
