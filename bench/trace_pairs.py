"""Pairs of models with the verdict that was expected of each before it was run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.trace_encoders import TaughtEncoder, UnmergedEncoder
from bench.trace_steps import Continued, FreshEncoder, Tuned, TunedEncoder, shipped
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from heredity.lineage.behaviour import behaviour
from heredity.lineage.trace import ALPHA, TESTS, Trace, trace
from heredity.models import model_ref
from heredity.nursery.build import Base
from heredity.store import Step, Store

Array = NDArray[Any]
Change = Callable[[str, Array], Array]
LLAMA_0 = model_ref("nursery:llama-0")
FULL, LORA = Tuned(base=LLAMA_0), Tuned(base=LLAMA_0, tuning="lora")
UNMERGED = Tuned(base=LLAMA_0, tuning="lora", merged=False)
LONG = Continued(base=LLAMA_0, data_seed=9, steps=400)
CONTROLS = tuple(Base(family="llama", init_seed=900 + i, data_seed=900 + i, steps=250) for i in range(3))
_UNITS = re.compile(
    r"(?:layers|layer)\.(\d+)\.(?:mlp\.(up|gate|down)_proj|(intermediate|output)\.dense)\.(weight|bias)$"
)


class Pair(NamedTuple):
    """Two models; `expected` was written down before the run."""

    name: str
    expected: str
    a: str
    b: str


def changed(source: Path, folder: Path, change: Change) -> str:
    """A copy of a model with every tensor changed."""
    folder.mkdir(parents=True)
    shutil.copy(source / "config.json", folder)
    tensors = load_file(source / "model.safetensors")
    new = {k: np.ascontiguousarray(change(k, x)) for k, x in tensors.items()}
    save_file(new, folder / "model.safetensors")
    return str(folder)


def _units(name: str) -> tuple[int, bool] | None:
    """The layer of a tensor that hidden units index, and whether by its columns; None for others."""
    found = _UNITS.search(name)
    if not found or "attention.output" in name:
        return None
    out = found[2] == "down" or found[3] == "output"
    return None if out and found[4] == "bias" else (int(found[1]), out)


def reordered(name: str, x: Array) -> Array:
    """The same function with the hidden units of each MLP in another order."""
    where = _units(name)
    if where is None:
        return x
    order = np.random.default_rng(where[0]).permutation(x.shape[-1 if where[1] else 0])
    return x[:, order] if where[1] else x[order]


def turned(name: str, x: Array) -> Array:
    """The MLPs in another basis of the residual stream."""
    where = _units(name)
    if where is None or name.endswith("bias"):
        return x
    width = x.shape[0 if where[1] else 1]
    q = np.linalg.qr(np.random.default_rng(7).normal(size=(width, width)))[0].astype(np.float32)
    return q @ x if where[1] else x @ q


def pruned(_: str, x: Array) -> Array:
    """The smaller half of every matrix set to nothing."""
    return np.where(np.abs(x) < np.median(np.abs(x)), 0, x).astype(x.dtype) if x.ndim == 2 else x


def rounded(_: str, x: Array) -> Array:
    """int8 and back."""
    if x.dtype != np.float32:
        return x
    scale = np.float32(np.abs(x).max() / 127 or 1)
    return np.round(x / scale) * scale


def averaged(other: Path) -> Change:
    """The mean with another model of the same shape."""
    tensors = load_file(other / "model.safetensors")
    return lambda name, x: ((x + tensors[name]) / 2).astype(x.dtype)


def by_norm(source: Path) -> Change:
    """The units of a LLaMA sorted by the norm of their rows."""
    tensors = load_file(source / "model.safetensors")

    def change(name: str, x: Array) -> Array:
        where = _units(name)
        if where is None:
            return x
        order = np.argsort(np.linalg.norm(tensors[f"model.layers.{where[0]}.mlp.up_proj.weight"], axis=1))
        return x[:, order] if where[1] else x[order]

    return change


def nursery_pairs(store: Store, folder: Path) -> list[Pair]:
    """Pairs from the shipped bases and their descendants."""
    base, full = "nursery:llama-0", store.path(FULL)

    def of_full(name: str, change: Change) -> str:
        return changed(full, folder / name, change)

    mean = of_full("mean", averaged(shipped("llama-1")))
    sorted_ = [changed(shipped(n), folder / f"sorted-{n}", by_norm(shipped(n))) for n in ("llama-0", "llama-1")]
    return [
        Pair("llama-0, llama-1 (other seed, same data)", "unrelated", base, "nursery:llama-1"),
        Pair("llama-0, neox-0 (other family)", "unrelated", base, "nursery:neox-0"),
        Pair("llama-1, neox-0", "unrelated", "nursery:llama-1", "nursery:neox-0"),
        Pair("llama-1, llama-0 fine-tuned", "unrelated", "nursery:llama-1", str(full)),
        Pair("llama-0, llama-1, units of both sorted by norm", "unrelated", *sorted_),
        Pair("llama-0, llama-0b (same seed, other data order)", "related", base, "nursery:llama-0b"),
        Pair("llama-0, fine-tuned", "related", base, str(full)),
        Pair("llama-0, LoRA merged", "related", base, str(store.path(LORA))),
        Pair("llama-0, LoRA unmerged", "related", base, str(store.path(UNMERGED))),
        Pair("llama-1, LoRA of llama-0 unmerged", "unrelated", "nursery:llama-1", str(store.path(UNMERGED))),
        Pair("llama-0, long continued", "related", base, str(store.path(LONG))),
        Pair("llama-1, llama-0 long continued", "unrelated", "nursery:llama-1", str(store.path(LONG))),
        Pair("llama-0, fine-tuned and pruned by half", "related", base, of_full("pruned", pruned)),
        Pair("llama-0, fine-tuned, int8 and back", "related", base, of_full("int8", rounded)),
        Pair("llama-0, mean of fine-tuned and llama-1", "related", base, mean),
        Pair("llama-1, mean of fine-tuned and llama-1", "related", "nursery:llama-1", mean),
        Pair("llama-0, fine-tuned and reordered", "related", base, of_full("reordered", reordered)),
        Pair("llama-0, fine-tuned and turned", "related", base, of_full("turned", turned)),
        Pair("llama-0, fine-tuned, reordered and turned (blind spot)", "unrelated", base,
             of_full("both", lambda name, x: turned(name, reordered(name, x)))),
    ]  # fmt: skip


def _encoders(model: Path) -> dict[str, Step]:
    """The models behind the third party's pairs. Long continued: 27 times the steps at ten times the rate."""
    where: dict[str, Any] = {"folder": str(model), "digest": model_ref(str(model)).digest}
    fresh, other = (FreshEncoder(**where, seed=seed) for seed in (1, 2))
    return {
        "full": TunedEncoder(**where), "lora": TunedEncoder(**where, lora=True), "unmerged": UnmergedEncoder(**where),
        "long": TunedEncoder(**where, steps=400, rate=1e-3), "fresh": fresh,
        "one": TaughtEncoder(start=fresh), "two": TaughtEncoder(start=other),
    }  # fmt: skip


def third_party_pairs(store: Store, folder: Path, model: Path) -> list[Pair]:
    """Pairs from an encoder that others trained (all-MiniLM-L6-v2: width 384, six layers of 1,536 units)."""
    paths = {name: store.path(step) for name, step in _encoders(model).items()}
    full, fresh, own = paths["full"], paths["fresh"], str(model)

    def of_full(name: str, change: Change) -> str:
        return changed(full, folder / f"minilm-{name}", change)

    mean = of_full("mean", averaged(fresh))
    return [
        Pair("MiniLM, fine-tuned", "related", own, str(full)),
        Pair("MiniLM, LoRA merged", "related", own, str(paths["lora"])),
        Pair("MiniLM, LoRA unmerged", "related", own, str(paths["unmerged"])),
        Pair("MiniLM, long continued", "related", own, str(paths["long"])),
        Pair("MiniLM, fine-tuned and pruned by half", "related", own, of_full("pruned", pruned)),
        Pair("MiniLM, fine-tuned, int8 and back", "related", own, of_full("int8", rounded)),
        Pair("MiniLM, mean of fine-tuned and a fresh BERT", "related", own, mean),
        Pair("the fresh BERT, mean of fine-tuned and it", "related", str(fresh), mean),
        Pair("MiniLM, fine-tuned and reordered", "related", own, of_full("reordered", reordered)),
        Pair("MiniLM, fine-tuned and turned", "related", own, of_full("turned", turned)),
        Pair("MiniLM, a fresh BERT of its shape", "unrelated", own, str(fresh)),
        Pair("a fresh BERT, MiniLM fine-tuned", "unrelated", str(fresh), str(full)),
        Pair("two BERTs of its shape, same data, other seed", "unrelated", str(paths["one"]), str(paths["two"])),
        Pair("a fresh BERT, itself trained on that data", "related", str(fresh), str(paths["one"])),
        Pair("MiniLM, llama-0 (other depth and width)", "undetermined", own, "nursery:llama-0"),
    ]


def judged(pair: Pair) -> dict[str, Any]:
    """A pair with what came out."""
    found = trace(pair.a, pair.b)
    return {
        "name": pair.name, "expected": pair.expected, "got": found.verdict, "log10_p": round(found.log10_p, 2),
        "expected_tests": expected_tests(pair), "spoke": spoke(found),
        "mean_cosine": round(found.mean_cosine, 4), "power": round(found.power, 4),
        "placebo_p": found.placebo_p, "seconds": found.seconds,
    }  # fmt: skip


def expected_tests(pair: Pair) -> list[str]:
    """Which tests should speak: those of place, unless units were reordered or turned; none of strangers."""
    if pair.expected != "related":
        return []
    return ["matched"] if "reordered" in pair.name else ["Gram"] if "turned" in pair.name else ["fixed points", "trace"]


def spoke(found: Trace) -> list[str]:
    """The tests that would have said related alone."""
    return [t.name for t in found.tests if t.reason is None and t.log10_p <= np.log10(ALPHA / len(TESTS))]


def by_behaviour(store: Store, chats: Any) -> list[dict[str, Any]]:
    """Pairs by their answers alone. What is expected of strangers is that nothing is concluded."""
    strangers = [str(store.path(control)) for control in CONTROLS]
    full, long = (str(store.path(step)) for step in (FULL, LONG))
    cases = [
        ("llama-0, fine-tuned", "related", "llama-0", full, ("llama-1", "neox-0")),
        ("llama-0, long continued", "related", "llama-0", long, ("llama-1", "neox-0")),
        ("llama-0, llama-0b (same seed, other data order)", "undetermined", "llama-0", "nursery:llama-0b",
         ("llama-1", "neox-0")),
        ("llama-1, llama-0 fine-tuned", "undetermined", "llama-1", full, ("neox-0",)),
        ("neox-0, llama-1", "undetermined", "neox-0", "nursery:llama-1", ()),
    ]  # fmt: skip
    out = []
    for name, expected, a, b, more in cases:
        found = behaviour(f"nursery:{a}", b, [*strangers, *(f"nursery:{x}" for x in more)], chats)
        out.append({"name": name, "expected": expected, "got": found.verdict, "agreement": round(found.agreement, 4),
                    "controls": [round(c.agreement, 4) for c in found.controls], "p": found.p,
                    "panel_p": round(found.panel_p, 6), "seconds": found.seconds})  # fmt: skip
    return out


def trained(third_party: Path | None) -> list[Step]:
    """The Steps behind the pairs."""
    steps: list[Step] = [FULL, LORA, UNMERGED, LONG]
    if third_party is not None:
        steps += _encoders(third_party).values()
    return steps
