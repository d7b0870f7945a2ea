"""Building a base as a Step, and writing it out as a folder that `transformers` opens without this package."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from heredity.nursery.quality import Quality, shortfalls
from heredity.store import Step, Store
from heredity.store.objects import MANIFEST
from heredity.types import BadInput, Part

FAMILIES = ("llama", "neox")
STEPS = 2000
SHIPPED = {
    "llama-0": ("llama", 0, 0),
    "llama-1": ("llama", 1, 0),
    "neox-0": ("neox", 0, 0),
    "llama-0b": ("llama", 0, 1),
}
"""The bases in the package: family, seed of the initialisation, seed of the data order."""


class Base(Step):
    """A nursery base, pretrained from nothing. The payload is a model folder with the loss of every step."""

    family: Literal["llama", "neox"]
    init_seed: int
    data_seed: int
    steps: int = STEPS

    def make(self, folder: Path, store: Store) -> None:
        from heredity.nursery.pretrain import fresh_model
        from heredity.nursery.tokenizer import build_tokenizer

        tokenizer = build_tokenizer()
        model = fresh_model(self.family, tokenizer, self.init_seed)
        _pretrained(model, tokenizer, self.data_seed, self.steps, folder, store)


class Interpolated(Step):
    """A nursery base whose fresh weights lie between those of two seeds, pretrained as `Base` is. A model folder.

    At a correlation of 1 it is the Base of the first seed, at 0 that of the second.
    """

    family: Literal["llama", "neox"]
    init_seeds: tuple[int, int]
    correlation: Annotated[float, Field(ge=0, le=1)]
    """Of the fresh weights with the first seed's; their spread is that of both (`pretrain.mixed_model`)."""
    data_seed: int
    steps: int = STEPS

    def make(self, folder: Path, store: Store) -> None:
        from heredity.nursery.pretrain import mixed_model
        from heredity.nursery.tokenizer import build_tokenizer

        tokenizer = build_tokenizer()
        model = mixed_model(self.family, tokenizer, self.init_seeds, self.correlation)
        _pretrained(model, tokenizer, self.data_seed, self.steps, folder, store)


class PartlyShared(Step):
    """A nursery base that shares some parts of its fresh weights with another, pretrained as `Base` is. A model folder.

    With every part shared it is the Base of the first seed, with none that of the second.
    """

    family: Literal["llama", "neox"]
    init_seeds: tuple[int, int]
    """The seed that gives the shared parts, and that of all others."""
    shared: tuple[Part, ...]
    data_seed: int
    steps: int = STEPS

    def make(self, folder: Path, store: Store) -> None:
        from heredity.nursery.pretrain import partly_shared_model
        from heredity.nursery.tokenizer import build_tokenizer

        tokenizer = build_tokenizer()
        model = partly_shared_model(self.family, tokenizer, self.init_seeds, self.shared)
        _pretrained(model, tokenizer, self.data_seed, self.steps, folder, store)


class Shaped(Step):
    """A nursery base of another width or depth, pretrained as `Base` is. A model folder."""

    family: Literal["llama", "neox"]
    init_seed: int
    data_seed: int
    width: Annotated[int, Field(gt=0, multiple_of=8)]
    """In steps of 8: four heads, each of an even width."""
    layers: Annotated[int, Field(gt=0)]
    steps: int = STEPS

    def make(self, folder: Path, store: Store) -> None:
        from heredity.nursery.pretrain import fresh_model
        from heredity.nursery.tokenizer import build_tokenizer

        tokenizer = build_tokenizer()
        model = fresh_model(self.family, tokenizer, self.init_seed, self.width, self.layers)
        _pretrained(model, tokenizer, self.data_seed, self.steps, folder, store)


def _pretrained(model: Any, tokenizer: Any, data_seed: int, steps: int, folder: Path, store: Store) -> None:
    """Trains an untrained model, and writes it with the loss of every step."""
    from heredity.nursery.pretrain import train

    losses = list[float]()

    def progress(step: int, loss: float) -> None:
        losses.append(round(loss, 4))
        store.progress(step / steps, f"loss {loss:.3f}")

    train(model, tokenizer, data_seed, steps, progress).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "losses.json").write_text(json.dumps(losses) + "\n")


def build(store: Store, out: Path, family: str, init_seed: int, data_seed: int) -> tuple[dict[str, Any], list[str]]:
    """Makes a base, copies it to `out`, and returns its qualities and the bars that it misses."""
    if family not in FAMILIES:
        raise BadInput(f"unknown family {family!r}; expected one of: {', '.join(FAMILIES)}")
    partial = _beside(out)
    base = Base(family=family, init_seed=init_seed, data_seed=data_seed)  # type: ignore[arg-type]
    quality = Quality(model=base)
    found: dict[str, Any] = json.loads((store.get(quality) / "quality.json").read_text())
    try:
        shutil.copytree(store.path(base), partial, ignore=shutil.ignore_patterns(MANIFEST, "losses.json"))
        partial.rename(out)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror or error}; the base is in the store {store.root}, and the "
                       "same command with another folder copies it there") from error  # fmt: skip
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found, shortfalls(found)


def _beside(out: Path) -> Path:
    """Where a new folder is written before it has its name; BadInput, before anything is made, where none can be."""
    try:
        if out.exists():
            raise BadInput(f"{out} exists already; name a new folder, or remove it first")
        partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed and had this number
        partial.mkdir()
        partial.rmdir()
    except (OSError, ValueError) as error:  # ValueError: no name, as of "/", or a NUL in it
        told = getattr(error, "strerror", None) or error
        raise BadInput(f"cannot make a folder at {out}: {told}; name another one") from error
    return partial
