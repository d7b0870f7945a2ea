"""Did the student's base, untouched, write this data? An e-process over pairs on the same prompts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from heredity.audit.data import Matched, open_student
from heredity.rows import in_parts
from heredity.stats import bet
from heredity.steps import MATRIX_RATE, VECTOR_RATE
from heredity.store import Step, Store
from heredity.types import ADDED, Tuning

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.models.training import Batch

PAIRS = "pairs of rows on one prompt"


class Source(Step):
    """Evidence that another source wrote the rows: `source.json`, an anytime-valid e-process.

    Every audited row has a partner that the base wrote on the same prompt, through the same filters. If the base wrote
    both, nothing but chance says which is which, so a score that changes its sign when they are swapped is 0 on
    average, whatever was learnt from earlier pairs. The score: by how much the row is likelier than its partner under
    a copy of the base that was trained on the earlier audited rows, less the same under the base. Rejection means
    "another source", not a trait: another temperature or another prompt does as well.
    """

    version: ClassVar[int] = 2

    matched: Matched
    seed: int = 0
    batch: int = 32
    tuning: Annotated[Tuning, ADDED] = "frozen"
    """What moves in the copy that learns."""
    rate: Annotated[float, ADDED] = MATRIX_RATE
    vector_rate: Annotated[float, ADDED] = VECTOR_RATE
    together: Annotated[int | None, Field(gt=0), ADDED] = None
    """Most rows in one pass through the model. None: all of a step."""

    def make(self, folder: Path, store: Store) -> None:
        h_N = bounded(self._scores(store), self.batch)
        (folder / "source.json").write_text(json.dumps(bet(h_N, PAIRS).model_dump() | {"h": h_N}) + "\n")

    def _scores(self, store: Store) -> list[float]:
        """Of every pair, in a random order, under a copy trained on the pairs before it."""
        from heredity.models.scoring import by_row, frozen_head_logprobs, score
        from heredity.models.training import choose_parameters, collate, fit

        lm, pairs = open_student(self.matched.audited.student), self.matched.pairs(store)
        random.Random(self.seed).shuffle(pairs)
        own, base = (lm.examples([p[i].prompt for p in pairs], [p[i].completion for p in pairs]) for i in (0, 1))
        pad, own_now, base_now = int(lm.tokenizer.pad_token_id), list[float](), list[float]()
        before, size = score(lm.model, own + base, pad), self.together or self.batch

        def stream() -> Iterator[list[Batch]]:
            for start in range(0, len(own), self.batch):
                part = slice(start, start + self.batch)
                base_now.extend(score(model, base[part], pad))
                yield [collate(passed, pad) for passed in map(list, in_parts(own[part], size))]  # in their order

        def loss(model: Any, batch: Batch) -> Tensor:
            logp_N = frozen_head_logprobs(model, batch)  # under the model that has not seen these rows yet
            own_now.extend(by_row(logp_N.detach(), batch).tolist())
            return -logp_N.mean()

        model = choose_parameters(lm.model, self.tuning, self.seed)
        fit(model, stream(), math.ceil(len(own) / self.batch), self.rate, self.vector_rate, loss=loss)
        sides = zip(own_now, base_now, before[: len(own)], before[len(own) :], strict=True)
        return [
            0.0 if data == partner else (a - b) - (c - d)  # of equal rows exactly: they are scored in different passes
            for (a, b, c, d), (data, partner) in zip(sides, pairs, strict=True)
        ]

    def read(self, store: Store) -> dict[str, Any]:
        """An `Evidence` (stats), and `h`, the bounded score of every pair in order."""
        found: dict[str, Any] = json.loads((store.path(self) / "source.json").read_text())
        return found


def bounded(scores: list[float], batch: int) -> list[float]:
    """Scores in [-1, 1]: tanh of the score over a scale that only earlier scores' sizes, never their signs, set."""
    scale, h_N = 1.0, list[float]()
    for part in in_parts(scores, batch):
        h_N += [math.tanh(x / scale) for x in part]
        scale = max(1e-6, 0.7 * scale + 0.3 * sorted(map(abs, part))[len(part) // 2])
    return h_N
