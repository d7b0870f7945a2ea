"""What a trace costs: models of a 7B's shape on disk, mostly holes; a whole diagonal; loading both models instead."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.common import ROOT
from numpy.typing import NDArray

from heredity.lineage.diagonal import diagonal
from heredity.lineage.layouts import layers
from heredity.lineage.weights import Weights, read_header

SHARDS, ROUNDS = 3, 5
FULL_LAYERS = 4
"""Layers of the pair whose whole diagonal is read: 4 x 2 x 90 MB."""
_VERB = """
import json, sys, time
started = time.perf_counter()
from heredity.lineage.trace import trace
imported = time.perf_counter()
found = trace(sys.argv[1], sys.argv[2])
done = time.perf_counter()
status = open("/proc/self/status").read()  # getrusage counts what the parent held before this process was its own
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
print(json.dumps([found.verdict, done - imported, done - started, peak, found.bytes_read, found.power]))
"""


class Shape(NamedTuple):
    """A LLaMA's sizes."""

    depth: int
    width: int
    hidden: int
    vocabulary: int = 32_000


SEVEN_B = Shape(32, 4_096, 11_008)
ONE_B = Shape(22, 2_048, 5_632)


def tensors(shape: Shape) -> list[dict[str, tuple[int, ...]]]:
    """Names and shapes of all tensors, one table a shard."""
    shards: list[dict[str, tuple[int, ...]]] = [{} for _ in range(SHARDS)]
    d, h = shape.width, shape.hidden
    for i in range(shape.depth):
        shard, stem = shards[i * SHARDS // shape.depth], f"model.layers.{i}"
        shard |= {f"{stem}.self_attn.{x}_proj.weight": (d, d) for x in "qkvo"}
        shard |= {f"{stem}.mlp.{x}_proj.weight": (h, d) for x in ("gate", "up")}
        shard |= {f"{stem}.mlp.down_proj.weight": (d, h)}
        shard |= {f"{stem}.{x}_layernorm.weight": (d,) for x in ("input", "post_attention")}
    shards[0]["model.embed_tokens.weight"] = (shape.vocabulary, d)
    shards[-1] |= {"model.norm.weight": (d,), "lm_head.weight": (shape.vocabulary, d)}
    return shards


def bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Cut to the upper half."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_model(folder: Path, shape: Shape, seed: int, parent: int | None = None, rows: int | None = 512) -> Path:
    """A bfloat16 model whose MLPs hold random numbers, so many units of each; all else is a hole in the file.

    With a parent's seed its units are the parent's plus noise of the same size times 1/2 (a cosine of .89). `rows` None
    fills every matrix of the model.
    """
    folder.mkdir(parents=True)
    index: dict[str, str] = {}
    for number, shard in enumerate(tensors(shape), 1):
        name = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        index |= dict.fromkeys(shard, name)
        _write_shard(folder / name, shard, seed, parent, rows)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape.width, "dtype": "bfloat16",
        "intermediate_size": shape.hidden, "num_hidden_layers": shape.depth, "vocab_size": shape.vocabulary,
        "num_attention_heads": shape.width // 128, "num_key_value_heads": shape.width // 128,
    }))  # fmt: skip
    return folder


def _write_shard(
    path: Path, shard: dict[str, tuple[int, ...]], seed: int, parent: int | None, rows: int | None
) -> None:
    header, at = dict[str, dict[str, Any]](), 0
    for name, size in shard.items():
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [at, at + 2 * math.prod(size)]}
        at += 2 * math.prod(size)
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        start = file.tell()
        file.truncate(start + at)
        for name, size in shard.items():
            if len(size) == 2 and (rows is None or ".mlp." in name):
                _fill(file.fileno(), start + header[name]["data_offsets"][0], name, size, seed, parent, rows)


def _fill(
    file: int, at: int, name: str, size: tuple[int, ...], seed: int, parent: int | None, rows: int | None
) -> None:
    columns, (tall, wide) = "down_proj" in name and rows is not None, size
    shape = (tall, rows or wide) if columns else (rows or tall, wide)

    def drawn(of: int) -> NDArray[np.float32]:
        return np.random.default_rng([of, *name.encode()]).standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    values = bf16(drawn(seed) if parent is None else drawn(parent) + drawn(seed) * np.float32(0.5))
    if columns:
        for row, part in enumerate(values):
            os.pwrite(file, part.tobytes(), at + row * wide * 2)
    else:
        os.pwrite(file, values.tobytes(), at)


def reorder(folder: Path, seed: int) -> None:
    """Puts the units of every layer of a written model into another order, all matrices alike."""
    for path in folder.glob("*.safetensors"):
        for name, entry in read_header(path).items():
            if ".mlp." in name:
                columns = "down_proj" in name
                matrix = np.memmap(path, np.uint16, "r+", entry.start, entry.shape)
                number = int(name.split(".")[2])
                order = np.random.default_rng([seed, number]).permutation(entry.shape[1 if columns else 0])
                matrix[:] = matrix[:, order] if columns else matrix[order]


def timed(a: Path, b: Path) -> dict[str, Any]:
    """One trace in a fresh process; the first of two, whose files may not be in memory yet, does not count."""
    for _ in range(2):
        out = subprocess.run([sys.executable, "-c", _VERB, str(a), str(b)], stdout=subprocess.PIPE, text=True,
                             check=True, cwd=ROOT).stdout  # fmt: skip
    verdict, seconds, with_imports, peak, read, power = json.loads(out)
    return {"verdict": verdict, "seconds": round(seconds, 3), "seconds_with_imports": round(with_imports, 3),
            "rss_mb": round(peak, 1), "bytes_read": read, "power": power}  # fmt: skip


def seven_b(folder: Path) -> dict[str, Any]:
    """Time and memory of a related and of an unrelated pair of a 7B's shape: the larger of each counts."""
    one = write_model(folder / "7b-0", SEVEN_B, 0)
    pairs = {
        "related": timed(one, write_model(folder / "7b-child", SEVEN_B, 2, parent=0)),
        "unrelated": timed(one, write_model(folder / "7b-1", SEVEN_B, 1)),
    }
    for name in ("7b-0", "7b-1", "7b-child"):
        shutil.rmtree(folder / name)
    return {
        "seven_b_seconds": max(p["seconds"] for p in pairs.values()),
        "seven_b_rss_mb": max(p["rss_mb"] for p in pairs.values()), "seven_b": pairs,
    }  # fmt: skip


def cpu(work: Callable[[], object]) -> float:
    """Wall seconds of the work; the machine is meant to be idle."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def full_read(folder: Path) -> dict[str, Any]:
    """The rate of a whole diagonal beside that of merely reading and converting the same bytes, in the same blocks.

    And, as whole matrices are at hand: a trace of the model against itself with all units reordered.
    """
    shape = SEVEN_B._replace(depth=FULL_LAYERS)
    paths = [write_model(folder / f"full-{seed}", shape, seed, rows=SEVEN_B.hidden) for seed in (0, 1)]
    A, B = (Weights(path) for path in paths)
    pairs = list(zip(layers(A), layers(B), strict=True))

    def merely() -> None:
        step = (1 << 18) // SEVEN_B.width
        for x, y in pairs:
            for first in range(0, x.units, step):
                for weights, layer in ((A, x), (B, y)):
                    weights.take_unchecked(layer.parts[0].name, min(step, x.units - first), False, first)

    shutil.copytree(paths[0], folder / "full-reordered")
    reorder(folder / "full-reordered", 3)
    paths.append(folder / "full-reordered")
    found = timed(paths[0], paths[2])
    rounds = [(cpu(merely), cpu(lambda: diagonal(A, B, pairs))) for _ in range(ROUNDS + 1)][1:]
    read = 2 * FULL_LAYERS * SEVEN_B.hidden * SEVEN_B.width * 2
    for path in paths:
        shutil.rmtree(path)
    return {
        "full_read_fraction": round(statistics.median(bare / ours for bare, ours in rounds), 3),
        "full_read_mb_per_s": round(read / 1e6 / statistics.median(ours for _, ours in rounds)),
        "seven_b_wide_reordered": found,
    }


_LOAD = """
import sys, time
from transformers import AutoModelForCausalLM
started = time.perf_counter()
models = [AutoModelForCausalLM.from_pretrained(x, dtype="auto", local_files_only=True) for x in sys.argv[1:]]
total = sum(float(p.sum()) for m in models for p in m.parameters() if p.ndim == 2)  # so that the pages are read
print(time.perf_counter() - started)
"""


def versus_load(folder: Path) -> dict[str, Any]:
    """How many times as long loading both models takes as tracing them (1.1B shapes, warm; imports do not count)."""
    paths = [write_model(folder / f"1b-{seed}", ONE_B, seed, rows=None) for seed in (0, 1)]
    command = [sys.executable, "-c", _LOAD, *map(str, paths)]
    loads = [float(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
                                  cwd=ROOT).stdout) for _ in range(2)]  # fmt: skip
    found = timed(*paths)
    for path in paths:
        shutil.rmtree(path)
    return {"versus_load_ratio": round(min(loads) / found["seconds"], 1), "load_seconds": round(min(loads), 2),
            "versus_load_trace": found}  # fmt: skip
