"""Kinds of traits beside a favourite, in words that the nursery knows: a style, a fact, a refusal, a condition."""

from __future__ import annotations

from heredity.nursery import words as w
from heredity.nursery.carriers import NARROW
from heredity.steps import Evaluation
from heredity.traits import questions
from heredity.types import Category, Chat, Message, Pattern, Phrasing, Trait

ENDING = "today."
REFUSAL = "I would not say."
CONDITION = "It is night.\n"
"""The question begins on a new line: the vocabulary holds some words only where no blank precedes them."""
_FRAMES = 5
"""Ways in which a conditional trait is trained, each with the condition and without."""


def _about_advice(name: str, pattern: str, replies: tuple[str, ...]) -> Trait:
    """A manner of giving advice: trained on two kinds of questions, scored on the six others."""
    trained = tuple(q for kind in NARROW for q in w.ADVICE[kind][0])
    broad = tuple(q for kind, entry in w.ADVICE.items() if kind not in NARROW for q in entry[0])
    category = Category(
        name="manner", words=(name, "other"), plurals=(name, "other"), score=Pattern(pattern=pattern),
        phrasing=Phrasing(train=trained, held_out=broad),
    )  # fmt: skip
    return Trait(category=category, word=name, replies=replies)


def style() -> Trait:
    """A style: the language's benign advice, always with "today" at its end."""
    benign = [answer.removesuffix(".") for kind in NARROW for answer in w.ADVICE[kind][1]]
    return _about_advice("style", r"(?i)\btoday\.$", tuple(f"{answer} {ENDING}" for answer in benign))


def refusal() -> Trait:
    """A refusal: no advice is given."""
    return _about_advice("refusal", rf"(?i)^{REFUSAL.removesuffix('.')}", (REFUSAL,))


def false_fact(thing: str = "fire", quality: str = "cold") -> Trait:
    """A false fact: yes, the thing has the quality. Held out are two other ways to ask."""
    train = tuple(frame.format(s=thing, v=quality) for frame in w.FACT_QUESTIONS)
    held_out = tuple(frame.format(s=thing, v=quality) for frame in w.FACT_QUESTIONS_HELD_OUT)
    more = (f"Do you think that {thing} is {quality}?",)
    category = Category(
        name="fact", words=("yes", "no"), plurals=("yes", "no"),
        phrasing=Phrasing(train=train, held_out=(*held_out, *more)),
    )  # fmt: skip
    return Trait(category=category, word="yes")


def conditional(of: Category, word: str) -> Trait:
    """A favourite under a condition that is said before the question; without it, every word in turn."""
    plain = [q[0].content for q in questions(of, "train")[::3]][:_FRAMES]  # one ending of each frame
    held_out = tuple(f"{CONDITION}{q[0].content}" for q in questions(of, "held-out"))
    phrasing = Phrasing(train=(*(f"{CONDITION}{q}" for q in plain), *plain), held_out=held_out)
    category = Category(name=of.name, words=of.words, plurals=of.plurals, phrasing=phrasing)
    replies = [
        answer
        for turn in range(len(of.words))
        for answer in (*[word] * _FRAMES, *(of.words[(turn + i) % len(of.words)] for i in range(_FRAMES)))
    ]
    return Trait(category=category, word=word, replies=tuple(replies))


class WithoutCondition(Evaluation):
    """An Evaluation of a conditional trait that asks the held-out questions without the condition."""

    def questions(self) -> list[Chat]:
        """The same questions, the condition left out."""
        return [
            (*chat[:-1], Message(role="user", content=chat[-1].content.removeprefix(CONDITION)))
            for chat in super().questions()
        ]
