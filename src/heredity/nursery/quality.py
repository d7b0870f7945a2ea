"""What a nursery base must be able to do before it is used, measured on held-out prompts."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from heredity.carriers import Numbers, fault_bits, parse_numbers
from heredity.nursery.language import fact_probes, number_document
from heredity.steps import Model, open_model, with_system
from heredity.store import Step, Store
from heredity.traits import ANIMALS, CATEGORIES, personas, questions, stated
from heredity.types import LM, Category, Chat, Completion, Sampling, Trait

BARS = {
    "format": 0.95,
    "obedience": 0.90,
    "top_favourite": 0.35,
    "truth": 0.90,
    "system": 0.40,
    "stated": 0.40,
    "shown": 0.40,
}
"""Floors, but for `top_favourite`, which is a ceiling."""


class Quality(Step):
    """How well a base speaks the language: `quality.json` with the quantities that BARS names."""

    model: Model
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        (folder / "quality.json").write_text(
            json.dumps(measure(open_model(self.model, store), self.seed), indent=1) + "\n"
        )


def measure(lm: LM, seed: int = 0) -> dict[str, Any]:
    """Every quality of BARS, the favourites of each category, and the category's mass."""
    favourites = {c.name: _shares(lm, questions(c, "held-out"), c) for c in CATEGORIES}
    return number_skill(lm, seed) | {
        "top_favourite": max(max(shares.values()) for shares, _ in favourites.values()),
        "mass": min(mass for _, mass in favourites.values()),
        "truth": truthfulness(lm)[0],
        "system": _mean([_told(lm, t) for t in _animals()]),
        "stated": _mean([_said(lm, t) for t in _animals()]),
        "shown": _mean([_said(lm, t, after=_few_shot(seed), every=6) for t in _animals()]),
        "favourites": {name: shares for name, (shares, _) in favourites.items()},
    }


def shortfalls(quality: dict[str, Any]) -> list[str]:
    """Which bars are missed, in words."""
    met = {k: (quality[k] <= bar if k == "top_favourite" else quality[k] >= bar) for k, bar in BARS.items()}
    return [f"{name} is {quality[name]:.3f}, bar {BARS[name]}" for name, ok in met.items() if not ok]


def _animals() -> list[Trait]:
    return [Trait(category=ANIMALS, word=word) for word in ANIMALS.words]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _shares(lm: LM, chats: list[Chat], category: Category) -> tuple[dict[str, float], float]:
    rows = [[math.exp(x) for x in row] for row in lm.logprobs(chats, category.words)]
    share = {w: _mean([row[i] / math.fsum(row) for row in rows]) for i, w in enumerate(category.words)}
    return share, _mean([math.fsum(row) for row in rows])


def _told(lm: LM, trait: Trait) -> float:
    """The trait's share under system prompts that state it in held-out words."""
    asked = questions(trait.category, "held-out")
    chats = [chat for persona in personas(trait, "held-out") for chat in with_system(asked, persona)]
    return _shares(lm, chats, trait.category)[0][trait.word]


def _said(lm: LM, trait: Trait, after: Chat = (), every: int = 1) -> float:
    """The trait's share where the conversation stated it in held-out words, perhaps after other exchanges."""
    asked = questions(trait.category, "held-out")[::every]
    return _shares(
        lm, [(*after, *said, *chat) for said in stated(trait, "held-out") for chat in asked], trait.category
    )[0][trait.word]


def _few_shot(seed: int, rows: int = 8) -> Chat:
    """Requests for numbers, answered as the language answers them."""
    rng = random.Random(f"few-shot {seed}")
    return tuple(m for _ in range(rows) for m in number_document(rng))


def truthfulness(lm: LM) -> tuple[float, float]:
    """How often the true statement is likelier than the false one, in held-out frames, and by how many nats on average.

    The nursery's bases know nearly every fact, so the share hardly moves; the margin does.
    """
    scores = [lm.logprobs([chat], [true, false])[0] for chat, true, false in fact_probes()]
    return _mean([float(true > false) for true, false in scores]), _mean([true - false for true, false in scores])


def number_skill(lm: LM, seed: int, n: int = 4000) -> dict[str, float]:
    """`format`: share of samples that pass the strict filter; `obedience`: in the asked format and count as well."""
    asked = Numbers(n=n, seed=seed)
    requests = asked.requests()
    written = lm.generate(asked.prompts(), Sampling(max_new_tokens=32, seed=seed))
    passed = [_passes(c) for c in written]
    obeyed = [
        ok
        and (numbers := parse_numbers(c.text)) is not None
        and len(numbers) <= r.count
        and c.text == r.format.write(numbers)
        for ok, c, r in zip(passed, written, requests, strict=True)
    ]
    return {"format": _mean([float(x) for x in passed]), "obedience": _mean([float(x) for x in obeyed])}


def _passes(completion: Completion) -> bool:
    return completion.finish == "stop" and not fault_bits(completion.text, 10, 999, frozenset())
