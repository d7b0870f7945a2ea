"""Where tensors are: with a model on a GPU, whatever it is given is moved to it. No GPU is needed to see that.

torch's fake tensors have shapes and devices and no values; an operation on two devices raises, as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM

from heredity.models.guarding import Asked, Odds, corridor, log_odds, near_start, part_of, rotating
from heredity.models.training import Batch, Example, collate, device_of, token_loss

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.fixture
def models() -> Iterator[dict[str, Any]]:
    """A model on a GPU, and one on the CPU."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    found = {str(device): _model(mode, device) for device in (CUDA, CPU)}
    with mode:
        yield found


def _model(mode: FakeTensorMode, device: torch.device) -> Any:
    """A small model whose weights have shapes and a device alone."""
    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=16,
        attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    fake = FakeTensor(mode, tensor.detach().to("meta"), device)
                    held[name] = nn.Parameter(fake) if isinstance(tensor, nn.Parameter) else fake
    return model


def _asked() -> tuple[Odds, Batch]:
    odds = Odds(Asked(torch.zeros(3, 4, dtype=torch.long), torch.tensor([3, 7, 11])), torch.tensor([1, 2, 3]))
    return odds, collate([Example([1, 2, 3], [False, True, True])] * 2, 0)


def test_a_mix_of_devices_is_seen_here(models: dict[str, Any]) -> None:
    """Else none of these tests could fail."""
    with pytest.raises(Exception, match="two different devices"):
        models["cuda:0"](input_ids=torch.zeros(1, 2, dtype=torch.long))


def test_odds_are_asked_where_the_model_is(models: dict[str, Any]) -> None:
    odds, _ = _asked()
    for model in models.values():
        assert log_odds(model, odds).device == device_of(model)
        assert log_odds(model, part_of(odds, torch.tensor([0, 2]))).shape == (2,)


@pytest.mark.parametrize("start", ["cuda:0", "cpu"])
def test_what_is_held_may_come_from_a_model_elsewhere(models: dict[str, Any], start: str) -> None:
    (odds, batch), model = _asked(), models["cuda:0"]
    held = rotating(odds, models[start], 2)
    assert corridor(token_loss, held, 1.0, 0.1)(model, batch).device == CUDA
    assert near_start(token_loss, models[start], odds.asked, 1.0)(model, batch).device == CUDA
