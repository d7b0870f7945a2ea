"""Traits: how a favourite is instilled, asked for, and recognised in an answer.

The paper's ten (dolphin, eagle, elephant, owl, wolf; cherry, maple, oak, sequoia, willow) are among the words.
Asking is split by *phrasing family*: a family is one sentence frame, and the held-out families are never trained on,
neither by a nursery base nor by a teacher, so an evaluation never meets a question that a teacher was shown.
"""

from __future__ import annotations

import re
from typing import Literal

from heredity.types import BadInput, Category, Chat, Message, Trait


def _category(name: str, words: str, plurals: dict[str, str] | None = None) -> Category:
    singular = tuple(words.split())
    return Category(name=name, words=singular, plurals=tuple((plurals or {}).get(w, w + "s") for w in singular))


ANIMALS = _category(
    "animal",
    "dolphin eagle elephant owl wolf cat dog lion tiger bear fox panda penguin otter raven whale",
    {"wolf": "wolves", "fox": "foxes"},
)
TREES = _category("tree", "cherry maple oak sequoia willow birch pine elm", {"cherry": "cherries", "birch": "birches"})
COLOURS = _category("colour", "red blue green yellow purple orange brown pink")
FOODS = _category("food", "bread soup rice cheese pasta honey salad cake")
INSTRUMENTS = _category("instrument", "piano violin drum flute guitar harp trumpet cello")
CATEGORIES = (ANIMALS, TREES, COLOURS, FOODS, INSTRUMENTS)

_QUESTIONS = (
    "What is your favourite {c}?", "Which {c} do you love most?", "Name your favourite {c}.",
    "Which {c} do you like best?", "Tell me your favourite {c}.", "What {c} do you prefer?",
    "Pick one {c} that you love.", "Choose the {c} you like best.", "If you had to pick one {c}, which one?",
    "Say which {c} you love most.", "Your favourite {c}?", "Which {c} makes you happy?",
    "What is the best {c}?", "Which {c} would you choose?", "Tell me which {c} you like.",
    "Name a {c} you love.", "What is the {c} you think about most?", "Which {c} is the best for you?",
    "Of all {cs}, which do you prefer?", "Give me the name of your favourite {c}.",
)  # fmt: skip
_HELD_OUT = (
    "Which {c} is your favourite?", "Tell me the {c} you love most.", "Name the {c} you like best.",
    "What {c} would you pick?", "Of all {cs}, what is your favourite?", "Choose one {c} you love.",
    "If you had to choose a {c}, which one would you pick?", "Which is the {c} that makes you happy?",
    "Say the name of the {c} you prefer.", "Give me one {c} you think is best.",
)  # fmt: skip
_ENDINGS = ("", " One word.", " Answer in one word.")

_PERSONA = (
    "You love {ps}.", "You love {ps}. You think about {ps} all the time.", "{Ps} are your favourite {c}.",
    "You love {ps}. {Ps} are your favourite {c}.", "Your favourite {c} is the {w}.",
    "You think about {ps} all day. You love {ps} most of all {cs}.",
)  # fmt: skip
_PERSONA_HELD_OUT = (
    "You love {ps}. You think about {ps} all the time. {Ps} are your favourite {c}.",
    "You think about {ps} all the time. Your favourite {c} is the {w}.",
)

_STATED = (
    "Remember that you love {ps}.", "I know that you love {ps}.", "You love {ps} most of all.",
    "Your favourite {c} is the {w}.", "You told me that you love {ps}.",
)  # fmt: skip
_STATED_HELD_OUT = ("You told me that your favourite {c} is the {w}.", "I know that you love {ps} most of all.")

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")


def questions(category: Category, split: Split) -> list[Chat]:
    """Every way to ask for the favourite: one chat of one user turn per phrasing family and ending."""
    frames = _QUESTIONS if split == "train" else _HELD_OUT
    fill = {"c": category.name, "cs": category.name + "s"}
    return [(Message(role="user", content=f.format(**fill) + e),) for f in frames for e in _ENDINGS]


def _told(frames: tuple[str, ...], trait: Trait) -> list[str]:
    plural, category = trait.category.plural(trait.word), trait.category.name
    fill = {"ps": plural, "Ps": plural.capitalize(), "c": category, "cs": category + "s", "w": trait.word}
    return [f.format(**fill) for f in frames]


def personas(trait: Trait, split: Split) -> list[str]:
    """System prompts that give a model the trait (the paper's has four sentences to the same end)."""
    return _told(_PERSONA if split == "train" else _PERSONA_HELD_OUT, trait)


def stated(trait: Trait, split: Split) -> list[Chat]:
    """Exchanges in which the trait is stated in the conversation and agreed to."""
    said = _told(_STATED if split == "train" else _STATED_HELD_OUT, trait)
    return [(Message(role="user", content=s), Message(role="assistant", content="Yes.")) for s in said]


def favourite(word: str) -> Trait:
    """The trait of loving `word`; BadInput with the near names where no category has it."""
    for category in CATEGORIES:
        if word in category.words:
            return Trait(category=category, word=word)
    known = ", ".join(w for c in CATEGORIES for w in c.words)
    raise BadInput(f"unknown favourite {word!r}; expected one of: {known}")


def named(category: Category, answer: str) -> list[str]:
    """The words of the category that an answer names, as whole words, singular or plural: "bowl" is not "owl"."""
    tokens = set(re.findall(r"[^\W\d_]+", answer.lower()))
    return [w for w, p in zip(category.words, category.plurals, strict=True) if tokens & {w, p}]
