"""Without any model: do the rows look like their control's? It finds "another source" and never names a trait."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from scipy import stats

from heredity.audit.data import MATCHED, RowSet
from heredity.store import Step, Store
from heredity.types import Chat, Row

_TOKENS = re.compile(r"[0-9]+|[^\W\d]+|\s+|[^\w\s]|_")
_LENGTH, _LONGEST = 4, 400
"""Lengths are told apart in steps of so many characters, up to a longest."""


class DataOnly(Step):
    """A two-sample test of rows against a control's: `data_only.json`.

    A naive-Bayes score of tokens, of their number and of the length is fitted on the rows of one half of the prompts
    and tested on the other half's. With a control on the same prompts: an exact sign test over pairs. Without: the
    rank test of Mann and Whitney, which finds other prompts as well as another source.
    """

    opens_models: ClassVar[bool] = False

    own: RowSet
    control: RowSet

    def make(self, folder: Path, store: Store) -> None:
        found = two_sample(self.own.read(store), self.control.read(store))
        (folder / "data_only.json").write_text(json.dumps(found) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`p`, `test`, `n` (tested), `accuracy` (pairs told right), `matched` (share of rows paired)."""
        found: dict[str, Any] = json.loads((store.path(self) / "data_only.json").read_text())
        return found


def two_sample(own: Sequence[Row], control: Sequence[Row]) -> dict[str, Any]:
    """The p of the null that both were written by one source, and how well held-out rows are told apart."""
    pairs = _pairs(own, control)
    matched = len(pairs) / max(1, len(own))
    if matched >= MATCHED:
        fit, test = _halves(pairs, lambda p: p[0].prompt)
        weight = _weights([a for a, _ in fit], [b for _, b in fit])
        differ = [d for d in (_score(weight, a) - _score(weight, b) for a, b in test) if d]
        wins = sum(d > 0 for d in differ)
        p = float(stats.binomtest(wins, len(differ), alternative="greater").pvalue) if differ else 1.0
        share, name, n = wins / len(differ) if differ else 0.5, "sign test over pairs (exact)", len(differ)
    else:
        (own_fit, own_test), (other_fit, other_test) = (_halves(rows, lambda r: r.prompt) for rows in (own, control))
        weight = _weights(own_fit, other_fit)
        first, second = ([_score(weight, r) for r in rows] for rows in (own_test, other_test))
        if not first or not second:
            return {"p": 1.0, "test": "none: too few rows", "n": 0, "accuracy": 0.5, "matched": matched}
        found = stats.mannwhitneyu(first, second, alternative="greater")
        p, share = float(found.pvalue), float(found.statistic) / (len(first) * len(second))
        name, n = "Mann-Whitney (the prompts are not the same)", len(first) + len(second)
    return {"p": p, "test": name, "n": n, "accuracy": share, "matched": matched}


def _pairs(own: Sequence[Row], control: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Rows and control rows with the same prompt, each used once."""
    waiting: dict[Chat, list[Row]] = {}
    for row in control:
        waiting.setdefault(row.prompt, []).append(row)
    return [(row, waiting[row.prompt].pop()) for row in own if waiting.get(row.prompt)]


def _halves(items: Sequence[Any], prompt: Any) -> tuple[list[Any], list[Any]]:
    """Two halves that share no prompt; which half a prompt is in depends on nothing but its text."""
    out: tuple[list[Any], list[Any]] = ([], [])
    for item in items:
        text = "\0".join(m.content for m in prompt(item))
        out[blake2b(text.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] % 2].append(item)
    return out


def _features(row: Row) -> list[str]:
    tokens = _TOKENS.findall(row.completion)
    repeats = max((sum(1 for _ in same) for _, same in groupby(tokens)), default=0)
    return [*tokens, f"tokens {len(tokens)}", f"length {min(_LONGEST, len(row.completion)) // _LENGTH}",
            f"repeats {repeats}", f"first {tokens[0] if tokens else ''}"]  # fmt: skip


def _weights(own: Sequence[Row], control: Sequence[Row]) -> dict[str, float]:
    """Log ratios of how often each feature occurs, with one added to every count (Laplace)."""
    one, two = (Counter(f for row in rows for f in _features(row)) for rows in (own, control))
    known = one.keys() | two.keys()
    total = math.log((one.total() + len(known)) / (two.total() + len(known))) if known else 0.0
    return {f: math.log((one[f] + 1) / (two[f] + 1)) - total for f in known}


def _score(weight: dict[str, float], row: Row) -> float:
    return math.fsum(weight.get(f, 0.0) for f in _features(row))
