"""How much each token of some rows says of a trait: what methods that select go by."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heredity.audit.data import RowSet, open_student
from heredity.audit.gradient import body_parameters
from heredity.audit.panel import Panel
from heredity.steps import Corpus, Model, open_model
from heredity.store import Step, Store
from heredity.traits import questions
from heredity.types import BadInput, ModelRef, Row, Trait

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.guarding import Odds

Floats = NDArray[np.float32]


def trait_odds(lm: CausalLM, trait: Trait) -> Odds:
    """The odds of the trait's word among its category's, asked in the phrasings that teachers are trained on."""
    from heredity.models.guarding import odds_of

    if trait.category.score is not None:
        raise BadInput(f"{trait.word!r} is scored on sampled answers, which have no gradient; use a method that "
                       "does not ask about the trait: relay, kl")  # fmt: skip
    others = [w for w in trait.category.words if w != trait.word]
    return odds_of(lm, questions(trait.category, "train"), trait.word, others)


class Direction(Step):
    """A direction in the weights of a base's body: `direction.safetensors`, one entry a weight, in order."""

    def read(self, store: Store) -> Floats:
        """The direction."""
        from safetensors.numpy import load_file

        return load_file(store.path(self) / "direction.safetensors")["direction"]

    def write(self, folder: Path, direction_P: Floats) -> None:
        """Writes it."""
        from safetensors.numpy import save_file

        save_file({"direction": np.ascontiguousarray(direction_P, np.float32)}, folder / "direction.safetensors")


class TraitGradient(Direction):
    """The gradient of a trait's log-odds at the base: what a row adds to them in training, to first order.

    The margin query of TracIn (Pruthi et al. 2020) with the base as its only checkpoint.
    """

    student: ModelRef
    trait: Trait

    def make(self, folder: Path, store: Store) -> None:
        import torch

        from heredity.models.guarding import log_odds

        lm = open_student(self.student)
        grads = torch.autograd.grad(log_odds(lm.model, trait_odds(lm, self.trait)).mean(), body_parameters(lm.model))
        self.write(folder, torch.cat([g.flatten() for g in grads]).float().cpu().numpy())


class PanelDirection(Direction):
    """The discriminant of a trait in a scan's panel: what its suspects' rows share, and others' do not."""

    panel: Panel
    word: str

    def make(self, folder: Path, store: Store) -> None:
        from heredity.audit.rank import unfolded

        templates, own = self.panel.read(store), self.panel.own
        direction_P = templates.direction_KP[templates.words.index(self.word)] * templates.weight_P
        if own.dims is not None:
            moves = unfolded(open_student(own.student), direction_P, own.dims)
            direction_P = np.concatenate([move.cpu().numpy() for move in moves])
        self.write(folder, direction_P)


class Token(NamedTuple):
    """From which character of a completion, up to which, and its value; the end of turn lies beyond the completion."""

    start: int
    end: int
    value: float


class TokenWorth(Step):
    """A value of every predicted token of some rows: `values.jsonl`, one line a row."""

    rows: RowSet | Corpus

    @abstractmethod
    def values(self, rows: list[Row], store: Store) -> list[list[float]]:
        """Of every row, the values of its tokens."""

    @abstractmethod
    def reader(self, store: Store) -> CausalLM:
        """The model whose tokens are meant."""

    def make(self, folder: Path, store: Store) -> None:
        rows = self.rows.read(store)
        spans = self.reader(store).spans([r.prompt for r in rows], [r.completion for r in rows])
        found = [
            [[start, end, value] for (start, end), value in zip(places, values, strict=True)]
            for places, values in zip(spans, self.values(rows, store), strict=True)
        ]
        (folder / "values.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))

    def read(self, store: Store) -> list[list[Token]]:
        """Of every row, its tokens."""
        with (store.path(self) / "values.jsonl").open() as file:
            return [[Token(int(a), int(b), float(v)) for a, b, v in json.loads(line)] for line in file]


class Slopes(TokenWorth):
    """The derivative of every token's log-likelihood along a direction of unit length in the base's weights."""

    student: ModelRef
    direction: Direction

    def values(self, rows: list[Row], store: Store) -> list[list[float]]:
        """By forward-mode differentiation."""
        from heredity.audit.rank import along
        from heredity.models.scoring import token_slopes_along

        lm = open_student(self.student)
        examples = lm.examples([r.prompt for r in rows], [r.completion for r in rows])
        moves = along(lm, self.direction.read(store))
        return token_slopes_along(lm.model, examples, int(lm.tokenizer.pad_token_id), moves)

    def reader(self, store: Store) -> CausalLM:
        """The base."""
        return open_student(self.student)


class Learnt(TokenWorth):
    """How much likelier every token is under a student of the rows than under its base: no trait need be known."""

    student: Model
    base: ModelRef

    def values(self, rows: list[Row], store: Store) -> list[list[float]]:
        """Natural-log ratios."""
        from heredity.models.scoring import token_scores

        scores = []
        for lm in (open_model(self.student, store), open_student(self.base)):
            examples = lm.examples([r.prompt for r in rows], [r.completion for r in rows])
            scores.append(token_scores(lm.model, examples, int(lm.tokenizer.pad_token_id)))
        return [[a - b for a, b in zip(own, base, strict=True)] for own, base in zip(*scores, strict=True)]

    def reader(self, store: Store) -> CausalLM:
        """The base."""
        return open_student(self.base)


def row_values(tokens: list[list[Token]]) -> NDArray[np.float64]:
    """The sum over each row's tokens."""
    return np.array([sum(t.value for t in row) for row in tokens])
