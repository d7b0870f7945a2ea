"""How much memory a model takes to sample from it or to train it: formulas over its shape, checked in `trial`.

Nothing of the weights is read. A shape comes from `config.json` alone: the model's class is built without storage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from heredity.models.training import BLOCK
from heredity.types import BadInput

Use = Literal["sampling", "lora", "full"]
USES: tuple[Use, ...] = ("sampling", "lora", "full")
BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of one number, by the type that weights are held in."""
PROCESS = 600e6
"""Bytes that a process takes before it holds a model: Python, torch, transformers."""
RANK = 8


class Shape(NamedTuple):
    """What the memory depends on."""

    parameters: int
    head: int
    """Parameters of the head, which training reads once more (tied or not)."""
    adapted: int
    """Parameters of adapters of rank 1 on every linear layer but the head: inputs and outputs added up."""
    layers: int
    width: int
    inner: int
    keys: int
    """Width of the keys, and of the values, of one layer."""
    vocabulary: int
    context: int


class Need(NamedTuple):
    """Bytes, by what takes them."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    """Of all rows together; of sampling: the cache, and what one layer and the draws hold."""

    @property
    def total(self) -> float:
        """Bytes in all, the process itself aside."""
        return math.fsum(self)


def need(shape: Shape, use: Use, dtype: str, batch: int, tokens: int, rank: int = RANK) -> Need:
    """Memory for `batch` rows of `tokens` tokens. Trained weights have a float32 copy and AdamW's two moments.

    Sampling keeps keys and values of every layer; half of a row is taken to be prompt, which goes through a layer at
    once. Training keeps what each layer's backward pass reads: per token 9 widths, the keys and values, and four inner
    widths (a gated block without checkpointing; attention is not held), with the norms' in float32 beside 16-bit
    weights; and one layer's gradients of these. Adapters keep about as much again as their inputs and outputs have
    (measured: PEFT 0.21, `trial`).
    """
    size, rows = BYTES[dtype], batch * tokens
    if use == "sampling":
        cache = 2 * (shape.layers + 1) * shape.keys * rows * size  # a layer's is copied as it grows
        layer = rows / 2 * (6 * shape.width + 3 * shape.inner) * size
        return Need(shape.parameters * size, 0, 0, cache + layer + 20 * batch * shape.vocabulary)
    moving = shape.parameters if use == "full" else rank * shape.adapted
    kept: float = (9 * shape.width + 2 * shape.keys + 4 * shape.inner) * size + 4 * shape.width * (4 - size)
    if use == "lora":  # in float32, and beside 16-bit weights each adapted layer's input is copied to that
        kept += 4 * shape.adapted / shape.layers + (6 * shape.width + shape.inner) * 4 * (size < 4)
    layer = rows * (6 * shape.width + 4 * shape.inner) * size
    head = 8 * BLOCK * shape.vocabulary + 8 * rows * shape.width + (shape.head * size if use == "full" else 0)
    copies = 4 * moving if size < 4 and use == "full" else 0
    gradients = moving * (size if use == "full" else 4)
    weights = shape.parameters * size + copies + (0 if use == "full" else 4 * moving)
    return Need(weights, gradients, 8 * moving, shape.layers * rows * kept + layer + head)


def most_rows(shape: Shape, use: Use, dtype: str, memory: float, tokens: int) -> int:
    """Most rows of that length that fit into so many bytes; 0 where not even one does."""
    one, two = (need(shape, use, dtype, batch, tokens).total for batch in (1, 2))
    return max(0, math.floor((memory - PROCESS - one) / (two - one)) + 1)


def read_shape(place: Path) -> Shape:
    """The shape that a folder's `config.json` (or the file itself) describes; BadInput where it describes none."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        return shape_of(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise BadInput(f"{place}: no configuration of a causal language model: {str(error)[:200]}") from error


def shape_of(config: Any) -> Shape:
    """The shape of the model that transformers would build from a configuration."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return Shape(
        sum(p.numel() for p in model.parameters()), head.weight.numel(),
        sum(m.in_features + m.out_features for m in linear), int(text.num_hidden_layers), int(text.hidden_size),
        int(inner), int(size * (getattr(text, "num_key_value_heads", None) or heads)), int(text.vocab_size),
        int(getattr(text, "max_position_embeddings", 0)),
    )  # fmt: skip


def stored_parameters(folder: Path) -> int | None:
    """Numbers in a folder's safetensors files, by their headers; None where there are no such files."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    total = 0
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                total += sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{file}: no safetensors file: {str(error)[:200]}") from error
    return total if files else None


def stored_body(folder: Path) -> int | None:
    """How many weights a model has beside embeddings and head, by its files' headers; None where none can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        rows = json.loads((folder / "config.json").read_bytes()).get("vocab_size")
        weights = 0
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "np") as file:
                shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118  no mapping
            weights += sum(math.prod(shape) for shape in shapes if len(shape) != 2 or shape[0] != rows)
    except (OSError, ValueError, AttributeError, RecursionError, SafetensorError):
        return None  # opening it will say what is wrong with it
    return weights or None


def body_correlation(one: Path, other: Path) -> float | None:
    """Pearson's correlation of two models' matrices beside embeddings and head, those of one name paired by place.

    0 where no matrix has the name and shape of one of the other's; None where files cannot be read. No model is
    held whole.
    """
    from safetensors import SafetensorError

    try:
        first, second = _body_matrices(one), _body_matrices(other)
        sums = [_sums(first[name], second[name], name) for name in first.keys() & second.keys()]
    except (OSError, ValueError, AttributeError, RecursionError, SafetensorError):
        return None
    n, x, y, xx, yy, xy = map(math.fsum, zip(*sums, strict=True)) if sums else (0.0,) * 6
    spread = math.sqrt(max(0.0, n * xx - x * x) * max(0.0, n * yy - y * y))
    return (n * xy - x * y) / spread if spread else 0.0


def _body_matrices(folder: Path) -> dict[tuple[str, tuple[int, ...]], Path]:
    """The file of each matrix that has no row per token, by name and shape."""
    from safetensors import safe_open

    rows = json.loads((folder / "config.json").read_bytes()).get("vocab_size")
    found = dict[tuple[str, tuple[int, ...]], Path]()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        found |= {(name, shape): path for name, shape in shapes.items() if len(shape) == 2 and shape[0] != rows}
    return found


def _sums(one: Path, other: Path, named: tuple[str, tuple[int, ...]]) -> tuple[float, ...]:
    """n and the sums of x, y, x x, y y and x y over one matrix of two files."""
    from safetensors import safe_open

    values = []
    for path in (one, other):
        with safe_open(path, "pt") as file:
            values.append(file.get_tensor(named[0]).double())
    x, y = values
    return (float(x.numel()), *(float(v.sum()) for v in (x, y, x * x, y * y, x * y)))


def gated(name: str, layers: int, width: int, inner: int, keys: int, vocabulary: int, tied: bool) -> tuple[str, Shape]:
    """The shape of a decoder with gated blocks and biases on queries, keys and values, by its name."""
    linear = 2 * width * width + 2 * width * keys + 3 * width * inner
    layer = linear + width + 2 * keys + 2 * width
    parameters = vocabulary * width * (1 if tied else 2) + layers * layer + width
    adapted = layers * (4 * width + 2 * (width + keys) + 3 * (width + inner))
    return name, Shape(parameters, vocabulary * width, adapted, layers, width, inner, keys, vocabulary, 32_768)


COMMON: tuple[tuple[str, Shape], ...] = (
    gated("0.5B", 24, 896, 4_864, 128, 151_936, tied=True),
    gated("1.5B", 28, 1_536, 8_960, 256, 151_936, tied=True),
    gated("3B", 36, 2_048, 11_008, 256, 151_936, tied=True),
    gated("7B", 28, 3_584, 18_944, 512, 152_064, tied=False),
    gated("14B", 48, 5_120, 13_824, 1_024, 152_064, tied=False),
    gated("32B", 64, 5_120, 27_648, 1_024, 152_064, tied=False),
    gated("72B", 80, 8_192, 29_568, 1_024, 152_064, tied=False),
)
"""Sizes that open models come in (the shapes are those of Qwen2.5's published configurations)."""


def largest(memory: float, use: Use, dtype: str, tokens: int, of: Iterable[tuple[str, Shape]] = COMMON) -> str | None:
    """The name of the largest model of which at least one row fits; None where none does."""
    fits = [(shape.parameters, name) for name, shape in of if most_rows(shape, use, dtype, memory, tokens)]
    return max(fits)[1] if fits else None
