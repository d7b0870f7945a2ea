"""What this machine can run, and what is missing: the device, the libraries, the Store, servers, models that fit."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from heredity.models import locate
from heredity.types import BadInput

TOKENS = 512
"""Tokens of the rows that memory is told for, where the model's context is not shorter."""
LIBRARIES = ("heredity", "torch", "transformers", "tokenizers", "peft", "accelerate", "safetensors", "numpy", "scipy")
NOT_OFFERED = {"dev"}


def examine(store: Path, model: str | None = None, tokens: int = TOKENS) -> dict[str, Any]:
    """Everything that `heredity doctor` tells, as plain values; bytes and operations a second are numbers.

    `model` is a location: whether that fits, from its configuration alone. BadInput where there is no such model.
    """
    from heredity.models.machine import examine as look

    shape = None if model is None else _described(model)
    machine = look()
    memory = machine.free if machine.device == "cpu" else machine.memory
    return {
        "machine": machine._asdict() | {"python": platform.python_version(), "system": platform.system()},
        "versions": versions(), "extras": extras(), "store": state(store), "servers": servers(os.environ),
        "fits": _largest(memory, tokens), "model": shape and _fit(shape, memory, tokens),
    }  # fmt: skip


def versions() -> dict[str, str | None]:
    """The version of each library that results depend on; None where it is missing."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def extras(required: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """By extra: the packages it lacks (missing, or too old), and the command that brings them (None: none needed)."""
    wanted = [Requirement(r) for r in (metadata.requires("heredity") or [] if required is None else required)]
    found: dict[str, list[str]] = {}
    for need in wanted:
        named = re.search(r"""extra\s*==\s*["']([^"']+)["']""", str(need.marker or ""))
        if named is None or named[1] in NOT_OFFERED:
            continue
        lacks, version = found.setdefault(named[1], []), _version(need.name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            lacks.append(need.name)
    return {
        name: {"missing": lacks, "command": f"pip install -e '.[{name}]'" if lacks else None}
        for name, lacks in sorted(found.items())
    }


def state(store: Path) -> dict[str, Any]:
    """Whether a Store can be written there, and the bytes that are free."""
    place = next(p for p in (store.absolute(), *store.absolute().parents) if os.path.exists(p))  # noqa: PTH110
    writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK) and _named(store, place)
    return {"folder": str(store), "exists": place == store.absolute(), "writable": writable,
            "free": shutil.disk_usage(place).free}  # fmt: skip


def _named(store: Path, place: Path) -> bool:
    """Whether the file system of a folder that is there can hold the names of those that are not."""
    most = os.pathconf(place, "PC_NAME_MAX") if hasattr(os, "pathconf") else -1
    return most < 0 or all(len(os.fsencode(part)) <= most for part in store.absolute().relative_to(place).parts)


def servers(env: Mapping[str, str]) -> list[str]:
    """The names of the endpoints that the environment describes; never an address or a key."""
    named = (re.fullmatch(r"HEREDITY_SERVER_([A-Z0-9]+)", variable) for variable in env)
    return sorted(found[1].lower() for found in named if found is not None)


def _largest(memory: float, tokens: int) -> list[dict[str, Any]]:
    """By use and type: the largest common size of which one row fits, and how many rows of it."""
    from heredity.models.sizes import BYTES, COMMON, USES, largest, most_rows

    shapes = dict(COMMON)
    return [
        {"use": use, "dtype": dtype, "tokens": tokens, "size": name,
         "batch": most_rows(shapes[name], use, dtype, memory, tokens) if name else 0}
        for use in USES for dtype in BYTES for name in (largest(memory, use, dtype, tokens),)
    ]  # fmt: skip


def _described(model: str) -> dict[str, Any]:
    """A model's shape, and its parameters as its files count them."""
    from heredity.models.sizes import read_shape, stored_parameters

    if model.startswith("server:"):
        raise BadInput(f"{model:.200} is behind a server: what it needs is that server's matter")
    folder = Path(model) if Path(model).suffix == ".json" else locate(model)
    return {"location": model, "shape": read_shape(folder), "stored": stored_parameters(folder)}


def _fit(described: dict[str, Any], memory: float, tokens: int) -> dict[str, Any]:
    from heredity.models.sizes import BYTES, PROCESS, USES, most_rows, need

    shape = described["shape"]
    length = min(tokens, shape.context or tokens)
    uses = [
        {"use": use, "dtype": dtype, "needs": need(shape, use, dtype, 1, length).total + PROCESS,
         "batch": most_rows(shape, use, dtype, memory, length)}
        for use in USES for dtype in BYTES
    ]  # fmt: skip
    return {"location": described["location"], "parameters": shape.parameters, "stored": described["stored"],
            "context": shape.context, "tokens": length, "uses": uses}  # fmt: skip


def check() -> list[dict[str, Any]]:
    """The memory formulas beside what randomly initialised models really took, each in a process of its own."""
    from heredity.models.trial import TRIALS
    from heredity.models.trial import check as measure

    return [
        c.trial._asdict() | {"predicted": c.predicted.total, "measured": c.measured, "factor": c.factor}
        for c in map(measure, TRIALS)
    ]
