"""Where hidden units lie in the MLP of each layer, by the names that model families give their tensors."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from heredity.lineage.weights import Entry, Floats, Weights
from heredity.types import BadInput

_FUSED = "mlp.gate_up_proj"
_FAMILIES = (
    ("mlp.up_proj", "mlp.gate_proj", "mlp.down_proj"),  # LLaMA, Mistral, Qwen, Gemma, OLMo
    (_FUSED, None, "mlp.down_proj"),  # Phi-3, Phi-4: gate and up in one matrix
    ("mlp.dense_h_to_4h", None, "mlp.dense_4h_to_h"),  # GPT-NeoX, Pythia, Falcon, BLOOM
    ("mlp.c_fc", None, "mlp.c_proj"),  # GPT-2 (stored transposed), StarCoder, StarCoder 2
    ("intermediate.dense", None, "output.dense"),  # BERT, RoBERTa, MiniLM, ViT
    ("mlp.fc_in", None, "mlp.fc_out"),  # GPT-J, CodeGen
    ("mlp.fc1", None, "mlp.fc2"),  # Phi-2
    ("fc1", None, "fc2"),  # OPT
    ("ffn.lin1", None, "ffn.lin2"),  # DistilBERT
)
"""Names of the matrix into the units, of the one that gates them, and of the one out of them."""


class Part(NamedTuple):
    """One matrix that the units index: by its rows, or by its columns, from some row on."""

    name: str
    columns: bool
    first: int = 0


class Layer(NamedTuple):
    """The matrices of one layer that share its hidden units; the one into the units comes first."""

    number: int
    parts: tuple[Part, ...]
    units: int
    width: int
    """Of the residual stream."""


def layers(weights: Weights) -> list[Layer]:
    """The layers of a model, first to last. Of several stacks (encoder and decoder) the one with most layers."""
    stacks: dict[tuple[str, int], dict[int, Layer]] = defaultdict(dict)
    for family, names in enumerate(_FAMILIES):
        ending = f".{names[0]}.weight"
        for name, entry in weights.entries.items():
            stem = name.removesuffix(ending)
            stack, _, number = stem.rpartition(".")
            if name.endswith(ending) and number.isascii() and number.isdigit() and len(number) < 6:
                stacks[stack, family][int(number)] = _layer(weights, stem, names, entry)
    if not stacks:
        packed = any(name.endswith((".qweight", ".weight_packed")) for name in weights.entries)
        why = "its weights are packed; dequantise the model (`model.dequantize()` in transformers) and save it again"
        known = "expected names as in LLaMA, Qwen, Mistral, Gemma, GPT-NeoX, GPT-2, BERT, GPT-J, Phi, OPT or DistilBERT"
        where = next((e.path.parent for e in weights.entries.values()), "the model")
        raise BadInput(f"{where}: no layer's MLP was found; {why if packed else known}")
    most = max(stacks.values(), key=lambda found: (len(found), sum(x.units * x.width for x in found.values())))
    widths = sorted({layer.width for layer in most.values()})
    if len(widths) > 1:
        where = next(iter(weights.entries.values())).path.parent
        raise BadInput(
            f"{where}: its layers differ in width ({widths[0]} to {widths[-1]}); expected one residual stream"
        )
    return [most[number] for number in sorted(most)]


def _layer(weights: Weights, stem: str, names: tuple[str, str | None, str], into: Entry) -> Layer:
    number = int(stem.rpartition(".")[2])
    if len(into.shape) != 2 or 0 in into.shape:
        raise BadInput(f"{into.path}: {stem!r:.80}.{names[0]} has the shape {list(into.shape)}; expected a matrix")
    turned = names[0] == "mlp.c_fc" and into.shape[0] < into.shape[1]  # Conv1D keeps (inputs, outputs)
    units, width = into.shape[::-1] if turned else into.shape
    parts = [Part(f"{stem}.{names[0]}.weight", turned)]
    if names[0] == _FUSED:
        if units % 2:
            raise BadInput(f"{into.path}: {stem!r:.80}.{names[0]} has {units} rows; expected two for each unit")
        units //= 2
        parts = [Part(parts[0].name, False, units), parts[0]]
    for name, out in ((names[1], False), (names[2], True)):
        entry = weights.entries.get(f"{stem}.{name}.weight")
        if name is not None and entry is not None:
            columns = turned != out
            if entry.shape != ((width, units) if columns else (units, width)):
                raise BadInput(f"{into.path}: {stem!r:.80}.{name} has the shape {list(entry.shape)}, which does not "
                               f"fit {units} units of width {width}")  # fmt: skip
            parts.append(Part(f"{stem}.{name}.weight", columns))
    return Layer(number, tuple(parts), units, width)


def unit_rows(weights: Weights, layer: Layer, count: int, parts: int) -> list[Floats]:
    """What the first matrices of a layer hold of its first units, each (count, width)."""
    return [weights.take(p.name, count, p.columns, p.first) for p in layer.parts[:parts]]
