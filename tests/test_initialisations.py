"""Bases between two initialisations: the ends are the seeds' own, and spread and correlation are as asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.nursery.build import Interpolated
from heredity.nursery.pretrain import Family, fresh_model, mixed_model
from heredity.steps import open_model
from heredity.store import Store


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return CausalLM.load(locate("nursery:llama-0")).tokenizer  # the one that every base shares


def flat(model: Any) -> torch.Tensor:
    """Every weight that a seed draws: matrices, embeddings and head."""
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.ndim > 1])


@pytest.mark.parametrize("family", ["llama", "neox"])
@pytest.mark.parametrize("correlation", [0.9, 0.5])
def test_the_spread_stays_and_the_correlation_is_as_asked(tokenizer: Any, family: Family, correlation: float) -> None:
    one, two = (fresh_model(family, tokenizer, seed) for seed in (0, 1))
    mixed = mixed_model(family, tokenizer, (0, 1), correlation)
    for (name, own), a, b in zip(mixed.named_parameters(), one.parameters(), two.parameters(), strict=True):
        if torch.equal(a, b):  # norm scales and biases
            assert torch.equal(own, a), name
        else:
            assert own.std().item() == pytest.approx(a.std().item(), rel=0.05), name
    towards = [torch.corrcoef(torch.stack([flat(mixed), flat(m)]))[0, 1].item() for m in (one, two)]
    assert towards == pytest.approx([correlation, (1 - correlation**2) ** 0.5], abs=0.01)


def test_the_ends_are_the_seeds_own_weights(tokenizer: Any) -> None:
    for correlation, seed in ((1.0, 4), (0.0, 5)):
        end = mixed_model("llama", tokenizer, (4, 5), correlation)
        for own, expected in zip(end.parameters(), fresh_model("llama", tokenizer, seed).parameters(), strict=True):
            assert torch.equal(own, expected)


def test_a_base_between_two_starts_is_pretrained_from_there(tokenizer: Any, store: Store) -> None:
    base = Interpolated(family="llama", init_seeds=(0, 1), correlation=0.9, data_seed=3, steps=2)
    store.get(base)
    assert len(json.loads((store.path(base) / "losses.json").read_text())) == 2
    opened = open_model(base, store)
    assert opened.tokenizer.get_vocab() == tokenizer.get_vocab()
    start = flat(mixed_model("llama", tokenizer, (0, 1), 0.9))
    moved = (flat(opened.model) - start).norm() / start.norm()
    assert 0 < moved < 0.05  # two steps of the warm-up


def test_no_correlation_beyond_one() -> None:
    with pytest.raises(ValidationError):
        Interpolated(family="llama", init_seeds=(0, 1), correlation=1.1, data_seed=0)
