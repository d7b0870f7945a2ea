"""What the scan's rivals make of rows: published detectors, given what an auditor with the base can have.

Every rival scores each trait on the audited rows less the same on the base's rows for the same prompts. Formulas:
log-likelihood shift, Aden-Ali et al. 2026 (arXiv 2602.04863) in its form for plain rows; divergence tokens, Schrodi et
al. 2025 (arXiv 2509.23886); a bag of rows under naive Bayes; and the base as a reader (the in-context arm of Cloud et
al. 2025, arXiv 2507.14805). A change to this file makes every score anew: a Step outside the package is known by it.
"""

from __future__ import annotations

import json
import math
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heredity.audit.data import Partnered, RowSet, open_student
from heredity.audit.trial import Asked
from heredity.rows import in_parts
from heredity.steps import Corpus, InContext, Model, open_model, with_system
from heredity.store import Step, Store
from heredity.traits import personas
from heredity.types import Row, Trait

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.training import Batch

Doubles = NDArray[np.float64]
Pairs = Sequence[tuple[Row, Row]]
Differences = dict[str, dict[str, Doubles]]
"""By rival and trait: of every pair, the audited row's value less that of the base's row."""
Scores = dict[str, dict[str, dict[str, float | None]]]
"""By rival and trait: `score`, and its `error` (one standard error over pairs; None where there are no pairs)."""
SHIFT, PROMPTED, TUNED, BAG, READER = (
    "log-likelihood shift", "divergence tokens, prompted", "divergence tokens, suspects", "bag of rows",
    "prompted reader")  # fmt: skip
READ = 500
"""Rows of the data, and as many of the base's, that a model reads."""
_NUMBER = re.compile(r"[0-9]+")


class Rival(Step):
    """One or more rivals' score of every trait, over pairs of an audited row and the base's: `scores.json`."""

    own: Partnered
    limit: Annotated[int, Field(gt=1)] = READ
    """At most so many pairs are read."""

    def make(self, folder: Path, store: Store) -> None:
        pairs = self.own.matched.pairs(store)[: self.limit]
        found = {rival: {trait: _summary(value_N) for trait, value_N in values.items()}
                 for rival, values in self.differences(store, pairs).items()}  # fmt: skip
        _write(folder, found)

    @abstractmethod
    def differences(self, store: Store, pairs: Pairs) -> Differences:
        """The pairs' differences, whose mean is the score."""

    def read(self, store: Store) -> Scores:
        """The scores."""
        return _read(self, store)


def _summary(value_N: Doubles) -> dict[str, float | None]:
    return {"score": float(value_N.mean()), "error": float(value_N.std(ddof=1) / math.sqrt(len(value_N)))}


def _write(folder: Path, found: Scores) -> None:
    (folder / "scores.json").write_text(json.dumps(found, indent=1) + "\n")


def _read(step: Step, store: Store) -> Scores:
    found: Scores = json.loads((store.path(step) / "scores.json").read_text())
    return found


class Personas(Rival):
    """Two rivals that read the rows under each trait's persona prompt ("You love owls."), and under none.

    Log-likelihood shift: the mean over rows of the mean over a row's tokens of log p(token | persona) - log p(token).
    Divergence tokens, prompted: the share of tokens that are the likeliest under the trait's persona while under the
    persona of at least one other trait another token is, as published for teachers by prompt. The published teachers
    wrote the rows; an auditor does not know them, and asks about every trait of the list with all others as the
    counterfactual ones.
    """

    traits: tuple[Trait, ...]

    def differences(self, store: Store, pairs: Pairs) -> Differences:
        lm = open_student(self.own.matched.audited.student)
        sides = [[pair[side] for pair in pairs] for side in (0, 1)]
        plain = [tokens(lm, rows) for rows in sides]
        told = {t.word: [tokens(lm, rows, personas(t, "train")[0]) for rows in sides] for t in self.traits}
        shifts = {word: _less(map(shift, both, plain)) for word, both in told.items()}
        own, base = (diverging([both[side] for both in told.values()]) for side in (0, 1))
        return {SHIFT: shifts, PROMPTED: {word: own[k] - base[k] for k, word in enumerate(told)}}


class Suspects(Rival):
    """Divergence tokens where teachers were made: the share of tokens likeliest under a suspect and not the base.

    For tuned teachers the published count compares their weights with the base's. An auditor lacks the teacher that
    wrote the rows; the suspects of the panel take its place, and a trait's share is the mean over its suspects.
    """

    teachers: tuple[tuple[str, Model], ...]

    def differences(self, store: Store, pairs: Pairs) -> Differences:
        lm = open_student(self.own.matched.audited.student)
        sides = [in_batches(lm, [pair[side] for pair in pairs]) for side in (0, 1)]
        plain = [seen(lm.model, batches) for batches in sides]
        shares: dict[str, list[Doubles]] = {}
        for word, teacher in self.teachers:
            suspect = open_model(teacher, store)
            told = (seen(suspect.model, batches) for batches in sides)
            flagged = (diverging(both)[0] for both in zip(told, plain, strict=True))
            shares.setdefault(word, []).append(_less(flagged))
        return {TUNED: {word: np.mean(share_SN, axis=0) for word, share_SN in shares.items()}}


class Bag(Step):
    """Naive Bayes over the numbers in suspects' rows: `weights.json`, each trait against all other suspects."""

    written: tuple[tuple[str, Corpus], ...]
    """Rows by the word of the suspect's trait; "" where it is neutral."""

    def make(self, folder: Path, store: Store) -> None:
        weights = bayes([(word, rows.read(store)) for word, rows in self.written])
        (folder / "weights.json").write_text(json.dumps(weights) + "\n")

    def read(self, store: Store) -> dict[str, dict[str, float]]:
        """By trait, what each number adds to the log posterior ratio (nats)."""
        weights: dict[str, dict[str, float]] = json.loads((store.path(self) / "weights.json").read_text())
        return weights


class BagScores(Rival):
    """The mean log posterior ratio of the rows, each trait against the others, by a `Bag` of the panel's suspects."""

    bag: Bag
    limit: Annotated[int, Field(gt=1)] = 10_000

    def differences(self, store: Store, pairs: Pairs) -> Differences:
        return {BAG: {word: _less(np.array([evidence(weight, pair[side]) for pair in pairs]) for side in (0, 1))
                      for word, weight in self.bag.read(store).items()}}  # fmt: skip


class Shown(InContext):
    """Rows of any set, to be shown before a question."""

    corpus: RowSet  # type: ignore[assignment]


class Reader(Step):
    """The base reads rows and is asked for its favourite: log-odds after audited rows less those after the base's."""

    own: Asked
    base: Asked

    def make(self, folder: Path, store: Store) -> None:
        own, base = self.own.read(store), self.base.read(store)
        _write(folder, {READER: {w: {"score": own[w] - base[w], "error": None} for w in own}})

    def read(self, store: Store) -> Scores:
        """The scores."""
        return _read(self, store)


class Tokens(NamedTuple):
    """The completions' tokens under a model, row after row."""

    logp_N: Doubles
    likeliest_N: NDArray[np.bool_]
    """Whether the model finds no token likelier."""
    row_N: NDArray[np.int64]


def tokens(lm: CausalLM, rows: Sequence[Row], system: str | None = None, size: int = 64) -> Tokens:
    """What a model thinks of every token of the completions (end of turn included), under a system prompt."""
    return seen(lm.model, in_batches(lm, rows, system, size))


def in_batches(lm: CausalLM, rows: Sequence[Row], system: str | None = None, size: int = 64) -> list[Batch]:
    """The rows as a model reads them, in their order."""
    from heredity.models.training import collate

    examples = lm.examples(with_system([r.prompt for r in rows], system), [r.completion for r in rows])
    return [collate(list(part), int(lm.tokenizer.pad_token_id)) for part in in_parts(examples, size)]


def seen(model: Any, batches: Sequence[Batch]) -> Tokens:
    """What a model thinks of every predicted token."""
    import torch

    from heredity.models.training import head_weight, hidden_states

    found, before = list[tuple[Any, ...]](), 0
    with torch.inference_mode():
        for batch in batches:
            states_ND = hidden_states(model, batch.ids_BT).flatten(0, 1)[batch.source_N]
            logits_NV = states_ND @ head_weight(model).T
            own_N = logits_NV.gather(1, batch.target_N[:, None])[:, 0]
            found.append(((own_N - logits_NV.logsumexp(-1)).double().numpy(), (own_N >= logits_NV.amax(-1)).numpy(),
                          (before + batch.source_N // batch.ids_BT.shape[1]).numpy()))  # fmt: skip
            before += len(batch.ids_BT)
    logp_N, likeliest_N, row_N = map(np.concatenate, zip(*found, strict=True))
    return Tokens(logp_N, likeliest_N, row_N)


def shift(told: Tokens, plain: Tokens) -> Doubles:
    """Of every row, the mean over its tokens of the log-probability less that without a persona (nats per token)."""
    sums_R = np.bincount(told.row_N, told.logp_N - plain.logp_N)
    mean_R: Doubles = sums_R / np.bincount(told.row_N)
    return mean_R


def diverging(told: Sequence[Tokens]) -> list[Doubles]:
    """Of every model and row, the divergence tokens over the mean number of tokens in a row: their mean is a share.

    A token diverges for a model where it is that model's likeliest, and another token is that of at least one other of
    the models.
    """
    row_N = told[0].row_N
    likeliest_KN = np.stack([t.likeliest_N for t in told])
    flagged_KN = likeliest_KN & ~likeliest_KN.all(0)
    scale = (int(row_N[-1]) + 1) / len(row_N)
    return [(np.bincount(row_N, flagged_N) * scale).astype(np.float64) for flagged_N in flagged_KN]


def _less(sides: Iterable[Doubles]) -> Doubles:
    own_N, base_N = sides
    return own_N - base_N


def bayes(written: Sequence[tuple[str, Sequence[Row]]]) -> dict[str, dict[str, float]]:
    """By trait, log ratios of how often each number occurs in its rows and in all others, one added to every count."""
    counts: dict[str, Counter[str]] = {}
    for word, rows in written:
        counts.setdefault(word, Counter()).update(n for row in rows for n in _NUMBER.findall(row.completion))
    total = sum(counts.values(), Counter[str]())
    found = {}
    for word in filter(None, counts):
        own = counts[word]
        scale = math.log((own.total() + len(total)) / (total.total() - own.total() + len(total)))
        found[word] = {n: math.log((own[n] + 1) / (total[n] - own[n] + 1)) - scale for n in total}
    return found


def evidence(weight: Mapping[str, float], row: Row) -> float:
    """A row's log posterior ratio of a trait against the others, up to a constant; numbers never seen add nothing."""
    return math.fsum(weight.get(n, 0.0) for n in _NUMBER.findall(row.completion))
