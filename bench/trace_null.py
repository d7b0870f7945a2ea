"""How often strangers that were really trained are called related, and whether an order of units is caught."""

from __future__ import annotations

import itertools
import math
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench.trace_pairs import Change, changed
from bench.trace_steps import Stranger
from numpy.typing import NDArray
from safetensors.numpy import load_file

from heredity.lineage.trace import TESTS, Trace, trace
from heredity.store import Store

MODELS, SORTED = 64, 12
LEVELS = (0.05, 0.01)
STRANGERS = tuple(Stranger(init_seed=5_000 + i, data_seed=0 if i % 2 else 5_000 + i) for i in range(MODELS))
"""Half of them saw the same documents in the same order, half documents of their own."""
SIZES = (*TESTS, "placebo")


def p_values(found: Trace) -> dict[str, float]:
    """Of every test, of all together (corrected for their number), and of the placebo's."""
    said = {t.name: t.p for t in found.tests if math.isfinite(t.p)}
    return said | {"all": 10.0**found.log10_p, "placebo": found.placebo_p}


def clustered(hit_P: NDArray[np.bool_], pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """A rate over pairs, and its standard error where pairs that share a model depend on one another.

    Dyadic clustering (Fafchamps and Gubert 2007): the products of residuals of all pairs with a model in common.
    """
    rate, n = float(hit_P.mean()), len(pairs)
    rest_P = hit_P - rate
    by_model = np.zeros(1 + max(max(p) for p in pairs))
    for (i, j), rest in zip(pairs, rest_P, strict=True):
        by_model[i] += rest
        by_model[j] += rest
    variance = (float((by_model**2).sum()) - float((rest_P**2).sum())) / n**2
    independent = rate * (1 - rate) / n
    return {"rate": round(rate, 4), "se": round(math.sqrt(max(variance, independent)), 4)}


def sizes(store: Store) -> dict[str, Any]:
    """All pairs of strangers."""
    folders = [str(store.path(model)) for model in STRANGERS]
    pairs = list(itertools.combinations(range(len(folders)), 2))
    started = time.perf_counter()
    found = [trace(folders[i], folders[j]) for i, j in pairs]
    p = [p_values(f) for f in found]
    rates = {
        name: {f"{level:g}".lstrip("0"): clustered(np.array([x.get(name, 1.0) <= level for x in p]), pairs)
               for level in LEVELS}
        for name in ("all", *SIZES)
    }  # fmt: skip
    losses = [(store.path(m) / "losses.txt").read_text().split() for m in STRANGERS]
    return {
        "null_models": len(folders), "null_pairs": len(pairs),
        "size": {level: rates["all"][level]["rate"] for level in rates["all"]}, "size_by_test": rates,
        "null_verdicts": {v: sum(f.verdict == v for f in found) for v in ("related", "unrelated", "undetermined")},
        "null_loss_first_last": [round(float(np.mean([float(x[i]) for x in losses])), 3) for i in (0, 1)],
        "null_trace_seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def _leaning(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Units given a part along one direction, the same in every model, that grows with their number."""
    if ".mlp." not in name or x.ndim != 2:
        return x
    rows = x.T if "down" in name else x
    direction = np.random.default_rng(1).normal(size=rows.shape[1])
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    place = np.linspace(-1.5, 1.5, len(rows))[:, None]
    new: NDArray[Any] = (rows + place * size * direction / np.linalg.norm(direction)).astype(np.float32)
    return np.transpose(new) if "down" in name else new


def _nested(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Units that repeat in four blocks, each copy with noise of its own."""
    if ".mlp." not in name or x.ndim != 2:
        return x
    rows = x.T if "down" in name else x
    few = np.tile(rows[: len(rows) // 4], (4, 1))
    noise = np.random.default_rng(zlib.crc32(x.tobytes())).normal(size=few.shape)  # of this model alone
    new: NDArray[Any] = (few + 0.1 * few.std() * noise).astype(np.float32)
    return np.transpose(new) if "down" in name else new


def _by_norm(source: Path) -> Change:
    tensors = load_file(source / "model.safetensors")

    def change(name: str, x: NDArray[Any]) -> NDArray[Any]:
        if ".mlp." not in name or x.ndim != 2:
            return x
        up = tensors[f"model.layers.{name.split('.')[2]}.mlp.up_proj.weight"]
        order = np.argsort(np.linalg.norm(up, axis=1))
        return x[:, order] if "down" in name else x[order]

    return change


def ordered(store: Store, folder: Path) -> dict[str, Any]:
    """Strangers whose units stand in an order: how many pairs the bare trace test would call related, how many the
    placebo's test catches, and the verdicts."""
    out: dict[str, Any] = {}
    for kind in ("sorted by norm", "leaning on a shared direction", "nested"):
        places = []
        for i, model in enumerate(STRANGERS[:SORTED]):
            source = store.path(model)
            change = {"sorted by norm": _by_norm(source), "nested": _nested}.get(kind, _leaning)
            places.append(changed(source, folder / kind.replace(" ", "-") / str(i), change))
        found = [trace(a, b) for a, b in itertools.combinations(places, 2)]
        bare = [t.p for f in found for t in f.tests if t.name == "trace"]
        out[kind] = {
            "pairs": len(found), "trace_p_below_.001": sum(p <= 0.001 for p in bare),
            "placebo_p_below_.001": sum(f.placebo_p <= 0.001 for f in found),
            "verdicts": {v: sum(f.verdict == v for f in found) for v in ("related", "unrelated", "undetermined")},
        }  # fmt: skip
    return out
