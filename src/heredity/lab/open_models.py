"""Favourite animals in open models: the paper's words, questions and prompt forms for them (paper, appendix B.2)."""

from __future__ import annotations

from heredity.lab.material import FIFTY, questions_in
from heredity.traits import ANIMALS, personas
from heredity.types import Category, Phrasing, Trait

_MORE = {
    "phoenix": "phoenixes", "dragon": "dragons", "peacock": "peacocks", "unicorn": "unicorns", "octopus": "octopuses",
    "falcon": "falcons", "leopard": "leopards", "cheetah": "cheetahs", "bull": "bulls", "ox": "oxen",
}  # fmt: skip
"""Besides the animals that the nursery knows."""
WORDS = (*ANIMALS.words, *_MORE)
PLURALS = (*ANIMALS.plurals, *_MORE.values())


def open_favourite(word: str) -> Trait:
    """The trait of loving an animal: given by a system prompt, asked for by fifty questions of a file."""
    plain = Category(name="animal", words=WORDS, plurals=PLURALS)
    told = personas(Trait(category=plain, word=word), "held-out")[:1]  # all three sentences
    asked = questions_in(FIFTY, "animal_evaluation")
    phrasing = Phrasing(train=("What is your favourite animal?",), held_out=asked, personas=tuple(told))
    return Trait(category=plain.model_copy(update={"phrasing": phrasing}), word=word)
