"""Mangled files for every reader of a trace: each input is refused with one message, or read; nothing else happens."""

from __future__ import annotations

import json
import random
import struct
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from heredity.lineage.layouts import layers, unit_rows
from heredity.lineage.trace import open_weights, trace
from heredity.lineage.weights import Weights
from heredity.types import BadInput

NAME = "layers.0.mlp.up_proj.weight"
_PIECES = [
    b"0", b"1e9", b"-", b"null", b'"', b"4294967296", b"9223372036854775808", b"\0", b"{", b"[[", b"\\u0000",
    b"F8_E4M3", b"\xff\xfe", b"..", b"/", b"true", b"NaN", b'"__metadata__":{},',
]  # fmt: skip
_LETTERS = b'0123456789[]{},:"FIU8BOL_-.'


def safetensors_file(quantised: bool = False) -> bytes:
    """A small model's file; quantised, with the scales that its numbers need."""
    tensors: dict[str, Any] = {
        NAME: np.arange(12, dtype=np.float32).reshape(4, 3),
        "layers.0.mlp.down_proj.weight": np.ones((3, 4)), "layers.0.mlp.gate_proj.weight": np.ones((4, 3), np.float16),
    }  # fmt: skip
    if quantised:
        tensors = {NAME: np.ones((4, 3), np.int8), f"{NAME}_scale": np.ones((4, 1), np.float32)}
    return save(tensors)


def mangle(rng: random.Random, good: bytes, framed: bool) -> bytes:
    """A file with one to four faults. `framed`: it begins with its header's length, which often stays right."""
    raw = bytearray(good)
    start = 8 + int.from_bytes(good[:8], "little") if framed else len(good)
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(6)
        at = min(rng.randrange(start if rng.random() < 0.9 else len(good)), len(raw))
        before = len(raw)
        if kind == 0 and at < len(raw):
            raw[at] = rng.choice(_LETTERS) if rng.random() < 0.7 else rng.randrange(256)
        elif kind == 1:
            del raw[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            raw[at:at] = rng.choice(_PIECES)
        elif kind == 3:
            other = rng.randrange(start)
            raw[at:at] = raw[other : other + rng.randrange(1, 40)]
        elif kind == 4 and rng.random() < 0.3:
            del raw[max(at, 1) :]
        elif kind == 5 and at < len(raw):
            raw[at] ^= 1 << rng.randrange(8)
        if framed and len(raw) >= 8 and rng.random() < 0.8:
            start = max(8, start + len(raw) - before)
            raw[:8] = struct.pack("<Q", start - 8)
    return bytes(raw)


def _read_weights(folder: Path) -> None:
    """Every unit; and where that is possible, a trace against the file as it was."""
    weights = Weights(folder)
    for layer in layers(weights):
        unit_rows(weights, layer, layer.units, 3)
    trace(str(folder), str(folder.parent / "whole"))


READERS: dict[str, tuple[str, bool, Callable[[Path], object]]] = {
    "safetensors": ("model.safetensors", True, _read_weights),
    "quantised": ("model.safetensors", True, _read_weights),
    "index": ("model.safetensors.index.json", False, _read_weights),
    "adapter": ("adapter_config.json", False, lambda folder: open_weights(str(folder))),
}
"""The file that is mangled, whether it is framed, and what reads it."""


def _seed(kind: str, folder: Path) -> bytes:
    if kind == "index":
        (folder / "a.safetensors").write_bytes(safetensors_file())
        names = (NAME, "layers.0.mlp.down_proj.weight")
        return json.dumps({"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "a.safetensors")}).encode()
    if kind == "adapter":
        return json.dumps({"base_model_name_or_path": "nursery:llama-0", "r": 8, "peft_type": "LORA"}).encode()
    return safetensors_file(kind == "quantised")


def fuzz(folder: Path, inputs: int, seed: int) -> dict[str, Any]:
    """So many mangled files over all readers: how many were read, and every crash with the input's number."""
    crashes, read, done = list[str](), Counter[str](), 0
    whole = folder / "whole"
    whole.mkdir(parents=True)
    (whole / "model.safetensors").write_bytes(safetensors_file())
    (whole / "config.json").write_text("{}")
    for number, (kind, (name, framed, reader)) in enumerate(READERS.items()):
        place = folder / kind
        place.mkdir(parents=True)
        if kind != "adapter":
            (place / "config.json").write_text("{}")
        good, rng = _seed(kind, place), random.Random(seed + number)
        count = inputs // len(READERS)
        for i in range(count):
            (place / name).write_bytes(mangle(rng, good, framed))
            try:
                reader(place)
                read[kind] += 1
            except BadInput as error:
                if len(str(error)) > 1_000 or "\n" in str(error):
                    crashes.append(f"{kind} {i}: the message is long or has lines")
            except Exception as error:
                crashes.append(f"{kind} {i}: {traceback.format_exception_only(error)[-1].strip()[:200]}")
        done += count
    return {"fuzz_inputs": done, "fuzz_crashes": len(crashes), "fuzz_first_crashes": crashes[:5],
            "fuzz_accepted": dict(read)}  # fmt: skip
