"""Llama's forward pass in one function, for accelerators: fixed shapes, no branch on data, a cache that is never moved.

What `transformers` runs step by step from Python is here the same arithmetic on the same modules, so that a step can be
recorded once and replayed (CUDA graphs), or compiled. A test holds both passes to the same logits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_TYPES = ("LlamaForCausalLM", "Qwen2ForCausalLM")


class Cache(NamedTuple):
    """Keys and values of every layer, each (B, H, T, K); T places are there from the start."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def of(self, rows: int, places: int) -> Cache:
        """The first rows and places, as views."""
        return Cache(*(tuple(x[:rows, :, :places] for x in part) for part in self))


def supported(model: Any) -> bool:
    """Whether `hidden` computes what this model does."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    plain = rope.get("rope_type") == "default" and not getattr(config, "use_sliding_window", False)
    return type(model).__name__ in _TYPES and plain and config.hidden_act == "silu"


def head_width(config: Any) -> int:
    """Dimensions of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def empty_cache(model: Any, rows: int, places: int) -> Cache:
    """A cache of zeros where the model is, in its dtype."""
    config, weight = model.config, model.get_input_embeddings().weight
    shape = (rows, config.num_key_value_heads, places, head_width(config))
    parts = [
        tuple(torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(config.num_hidden_layers))
        for _ in range(2)
    ]
    return Cache(*parts)


def hidden(
    model: Any, ids_BS: Tensor, position_BS: Tensor, mask_B1ST: Tensor, cache: Cache | None = None,
    slot_S: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The states that the head reads, (B, S, D).

    `mask_B1ST` is true where a position may look: at the S ids themselves (T = S), or with a cache at its T places, of
    which the ids are written to `slot_S`.
    """
    inner, epsilon = model.model, model.config.rms_norm_eps
    turn = _rotation(model.config, position_BS)
    x_BSD = inner.embed_tokens(ids_BS)
    for i, layer in enumerate(inner.layers):
        kept = None if cache is None else (cache.keys[i], cache.values[i])
        states_BSD = _norm(x_BSD, layer.input_layernorm, epsilon)
        x_BSD = x_BSD + _attended(layer.self_attn, states_BSD, turn, mask_B1ST, kept, slot_S)
        states_BSD = _norm(x_BSD, layer.post_attention_layernorm, epsilon)
        mlp = layer.mlp
        x_BSD = x_BSD + mlp.down_proj(functional.silu(mlp.gate_proj(states_BSD)) * mlp.up_proj(states_BSD))
    return _norm(x_BSD, inner.norm, epsilon)


def _norm(x_BSD: Tensor, module: Any, epsilon: float) -> Tensor:
    return functional.rms_norm(x_BSD, x_BSD.shape[-1:], module.weight, epsilon)


def _rotation(config: Any, position_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines by which each position's queries and keys are turned, (B, 1, S, K)."""
    width = head_width(config)
    places = torch.arange(0, width, 2, device=position_BS.device, dtype=torch.float32)
    angle_BSK = position_BS[..., None].float() * config.rope_parameters["rope_theta"] ** -(places / width)
    angle_B1SK = torch.cat((angle_BSK, angle_BSK), -1)[:, None]
    return angle_B1SK.cos(), angle_B1SK.sin()


def _turned(x_BHSK: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (t.to(x_BHSK.dtype) for t in turn)
    first, second = x_BHSK.chunk(2, -1)
    return x_BHSK * cos + torch.cat((-second, first), -1) * sin


def _attended(
    attention: Any, states_BSD: Tensor, turn: tuple[Tensor, Tensor], mask_B1ST: Tensor,
    kept: tuple[Tensor, Tensor] | None, slot_S: Tensor | None,
) -> Tensor:  # fmt: skip
    rows, length, _ = states_BSD.shape
    projected = (attention.q_proj(states_BSD), attention.k_proj(states_BSD), attention.v_proj(states_BSD))
    query, key, value = (p.view(rows, length, -1, attention.head_dim).transpose(1, 2) for p in projected)
    query, key = _turned(query, turn), _turned(key, turn)
    if kept is not None:
        assert slot_S is not None
        for place, new in zip(kept, (key, value), strict=True):
            place.index_copy_(2, slot_S, new.to(place.dtype))
        key, value = kept
    shared = query.shape[1] != key.shape[1]
    out_BHSK = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_B1ST, enable_gqa=shared)
    out: Tensor = attention.o_proj(out_BHSK.transpose(1, 2).reshape(rows, length, -1))
    return out
