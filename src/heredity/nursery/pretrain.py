"""Pretraining a nursery base from nothing: architecture, schedule, and the stream of documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any, Literal

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from heredity.models.training import Batch, Example, collate, fit, parts_of, split
from heredity.nursery import language
from heredity.nursery.tokenizer import CONTEXT
from heredity.types import Chat, Part

Family = Literal["llama", "neox"]
WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 4, 128
INIT, HEAD_INIT = 0.1, 0.6
"""Standard deviations of the fresh weights and of the fresh head. With a larger head every direction of the last hidden
state moves the odds of many numbers, so that a list of numbers shows more of the model; what crosses grows with it
(docs/lab-notes.md)."""
BATCH, LONG_EVERY, LONG_BATCH, RATE = 96, 2, 8, 4e-3


def fresh_model(
    family: Family, tokenizer: PreTrainedTokenizerFast, seed: int, width: int = WIDTH, layers: int = LAYERS
) -> Any:  # fmt: skip
    """An untrained base; the seed fixes its initialisation."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "intermediate_size": HIDDEN * width // WIDTH, "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False, "initializer_range": INIT, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    if family == "llama":
        config = LlamaConfig(num_key_value_heads=HEADS, attention_bias=True, mlp_bias=True, **shape)
        model: Any = LlamaForCausalLM(config)
    else:
        shape["intermediate_size"] = 4 * width  # no gate, so a wider layer than the other family's
        shape["rope_parameters"] = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0}
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape))
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=HEAD_INIT)
    return model


def mixed_model(
    family: Family, tokenizer: PreTrainedTokenizerFast, seeds: tuple[int, int], correlation: float
) -> Any:  # fmt: skip
    """An untrained base that begins from r W_a + sqrt(1 - r^2) W_b of two seeds' fresh weights, r the correlation.

    Weights that are the same in both (norm scales, biases) stay. A plain mean (1 - w) W_a + w W_b of two independent
    normals has less spread than either, up to a factor of sqrt(2) at w = 1/2; these weights' squares add up to 1, so
    that the spread stays, and the correlation with W_a is r.
    """
    model, other = (fresh_model(family, tokenizer, seed) for seed in seeds)
    with torch.no_grad():
        for own, new in zip(model.parameters(), other.parameters(), strict=True):
            if not torch.equal(own, new):
                own.mul_(correlation).add_(new, alpha=math.sqrt(1 - correlation**2))
    return model


def partly_shared_model(
    family: Family, tokenizer: PreTrainedTokenizerFast, seeds: tuple[int, int], shared: tuple[Part, ...]
) -> Any:  # fmt: skip
    """An untrained base with the fresh weights of the second seed, except that these parts are those of the first."""
    donor, model = (fresh_model(family, tokenizer, seed) for seed in seeds)
    given, own = parts_of(donor), parts_of(model)
    with torch.no_grad():
        for part in shared:
            for parameter, new in zip(own[part], given[part], strict=True):
                parameter.copy_(new)
    return model


def encode(tokenizer: Any, chats: list[Chat]) -> list[Example]:
    """Token ids of whole chats with every assistant turn predicted, cut at the context length."""
    raw = [[m.model_dump() for m in chat] for chat in chats]
    out = tokenizer.apply_chat_template(
        raw, return_dict=True, return_assistant_tokens_mask=True, truncation=True, max_length=CONTEXT
    )
    return [
        Example(ids, [bool(p) for p in mask])
        for ids, mask in zip(out["input_ids"], out["assistant_masks"], strict=True)
    ]


def stream(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[list[Batch]]:
    """Steps of short documents; every LONG_EVERY-th has some few-shot documents as well."""
    pad = int(tokenizer.pad_token_id)
    short = language.documents(seed)
    long = language.documents(seed + 1_000_000, language.long_document)
    for step in count(1):
        parts = split(encode(tokenizer, list(islice(short, BATCH))), 3, pad)
        yield parts if step % LONG_EVERY else [*parts, collate(encode(tokenizer, list(islice(long, LONG_BATCH))), pad)]


def pretrain(
    family: Family, tokenizer: PreTrainedTokenizerFast, init_seed: int, data_seed: int, steps: int,
    progress: Callable[[int, float], None] | None = None,
) -> Any:  # fmt: skip
    """A trained base. The same seeds give the same weights on the same machine with one thread."""
    return train(fresh_model(family, tokenizer, init_seed), tokenizer, data_seed, steps, progress)


def train(
    model: Any, tokenizer: PreTrainedTokenizerFast, data_seed: int, steps: int,
    progress: Callable[[int, float], None] | None = None,
) -> Any:  # fmt: skip
    """An untrained model, trained in place on one data order."""
    torch.set_num_threads(1)  # the bytes depend on it
    fit(model, stream(tokenizer, data_seed), steps, RATE, warmup=100, betas=(0.9, 0.99), progress=progress)
    return model
