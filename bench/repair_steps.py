"""What the repair benchmark asks every model. Alone in its file: the Steps' keys hold the file's digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from heredity.nursery.language import documents
from heredity.stats import log_odds
from heredity.steps import Corpus, Model, mean_loss, open_model
from heredity.store import Step, Store
from heredity.traits import questions
from heredity.types import Row, Trait

ORDINARY = 600
"""Documents of ordinary text."""


class Told(Step):
    """What a model does: `told.json`. Its log-odds of the trait, and its losses in nats per token.

    `trait` is that of the mean share over held-out questions; `skill` the loss on the held-out lists; `ordinary` that
    on the nursery's ordinary text, lists of numbers and all that speaks of the trait's category left out.
    """

    model: Model
    trait: Trait
    held_out: Corpus

    def make(self, folder: Path, store: Store) -> None:
        import torch

        lm, category = open_model(self.model, store), self.trait.category
        logp_QA = torch.tensor(lm.logprobs(questions(category, "held-out"), category.words), dtype=torch.float64)
        share = float(logp_QA.softmax(1).mean(0)[category.words.index(self.trait.word)])
        told = {
            "trait": log_odds(share), "mass": float(logp_QA.exp().sum(1).mean()),
            "skill": mean_loss(lm, self.held_out.read(store)),
            "ordinary": mean_loss(lm, list(islice(_ordinary(category.name), ORDINARY))),
        }  # fmt: skip
        (folder / "told.json").write_text(json.dumps(told) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`trait`, `mass`, `skill` and `ordinary`."""
        found: dict[str, Any] = json.loads((store.path(self) / "told.json").read_text())
        return found


def _ordinary(category: str) -> Iterator[Row]:
    for chat in documents(4_242):
        text = " ".join(m.content for m in chat)
        if category not in text and sum(c.isdigit() for c in text) < len(text) / 10:
            yield Row(chat[:-1], chat[-1].content)
