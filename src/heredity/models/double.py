"""A causal language model as a float64 function of its parameters, for checks that need many digits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from heredity.models.causal import CausalLM
from heredity.models.training import hidden_states
from heredity.types import Chat

_NOTHING = -1
"""Stands after a prompt that is shorter than the longest; no token has this id."""


class _RMSNorm(nn.Module):
    """Root-mean-square norm in the precision of its input; those of transformers round to float32 inside."""

    def __init__(self, weight_D: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = weight_D, epsilon

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.weight * x_BTD * torch.rsqrt(x_BTD.pow(2).mean(-1, keepdim=True) + self.epsilon)


class NextToken(nn.Module):
    """Token ids of prompts (B, T) to the logits of the token that follows each (B, V), in float64.

    It is a copy: the language model stays as it is. Attention is computed by its formula, as the fast kernels have no
    forward derivative. Norms that are written otherwise than Llama's may still round to float32 inside.
    """

    def __init__(self, lm: CausalLM) -> None:
        super().__init__()
        self.model: Any = copy.deepcopy(lm.model).double()
        for module in list(self.model.modules()):
            for name, part in module.named_children():
                if type(part).__name__.endswith("RMSNorm") and hasattr(part, "variance_epsilon"):
                    setattr(module, name, _RMSNorm(part.weight, part.variance_epsilon))

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits of the token after each row's last one, (B, V)."""
        last_B = (ids_BT != _NOTHING).sum(1) - 1
        with sdpa_kernel(SDPBackend.MATH):
            states_BTD = hidden_states(self.model, ids_BT.clamp(min=0))
        logits_BV: Tensor = self.model.get_output_embeddings()(states_BTD[torch.arange(len(ids_BT)), last_B])
        return logits_BV


def prompt_ids(lm: CausalLM, chats: Sequence[Chat]) -> Tensor:
    """What `NextToken` reads: the chats' token ids up to where the assistant starts, (B, T)."""
    prompts = lm.render(chats)
    width = max(map(len, prompts))
    return torch.tensor([p + [_NOTHING] * (width - len(p)) for p in prompts])
