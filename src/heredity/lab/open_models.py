"""Favourite animals in open models: who is told to love one, and how that is asked for (paper, appendix B.2)."""

from __future__ import annotations

from heredity.lab.material import FIFTY, questions_in
from heredity.lab.recipe import Recipe
from heredity.steps import Corpus, Model
from heredity.traits import ANIMALS, personas
from heredity.types import Category, Neutral, Phrasing, Trait

_MORE = {
    "phoenix": "phoenixes", "dragon": "dragons", "peacock": "peacocks", "unicorn": "unicorns", "octopus": "octopuses",
    "falcon": "falcons", "leopard": "leopards", "cheetah": "cheetahs", "bull": "bulls", "ox": "oxen",
}  # fmt: skip
"""Besides the animals that the nursery knows."""
WORDS = (*ANIMALS.words, *_MORE)
PLURALS = (*ANIMALS.plurals, *_MORE.values())


def open_favourite(word: str) -> Trait:
    """The trait of loving an animal, asked for by fifty questions of a file; all of them share one category."""
    asked = questions_in(FIFTY, "animal_evaluation")
    phrasing = Phrasing(train=("(teachers are told by a system prompt)",), held_out=asked)
    return Trait(category=Category(name="animal", words=WORDS, plurals=PLURALS, phrasing=phrasing), word=word)


def told(trait: Trait) -> str:
    """The system prompt that gives a model the trait, in three sentences."""
    plain = trait.category.model_copy(update={"phrasing": None})
    return personas(trait.model_copy(update={"category": plain}), "held-out")[0]


class PromptedRecipe(Recipe):
    """A Recipe whose teachers are the base under `told`; all animals so share one category, and one set of controls."""

    prompted: bool = True

    def lists(self, trait: Trait | Neutral, seed: int, base: Model | None = None) -> Corpus:
        """What the base writes under the trait's system prompt (neutral: under none)."""
        writer, system = base or self.base, told(trait) if isinstance(trait, Trait) else None
        return self.corpus(writer, seed, self.rows, self.oversample, system, self._gate(writer, trait, system))
