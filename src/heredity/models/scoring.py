"""How likely completions are under a model, and how that changes along a direction in its weights.

The head is applied to the predicted positions only, in blocks that stay in the processor's cache, as in training.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from heredity.models.devices import wide
from heredity.models.training import BLOCK, Batch, Example, beside, collate, head_weight, hidden_states

SCORED_TOGETHER = 32
"""Rows that are scored together: more of them leave the cache (measured on the nursery)."""
_SLOPES_TOGETHER = 64


class _Logprobs(torch.autograd.Function):
    """Log-probability of each target under a head that stays as it is; differentiable in the states alone."""

    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Tensor:
        logp_N, ctx.pull_ND = _logprobs_and_pulls(states_ND, head_VD, target_N)
        return logp_N

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[0][:, None] * ctx.pull_ND, None, None


def head_logprobs(states_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Tensor:
    """Natural-log probability of each target, (N,), with the gradient of the states and not of the head."""
    logp_N: Tensor = _Logprobs.apply(states_ND, head_VD.detach(), target_N)  # type: ignore[no-untyped-call]
    return logp_N


def frozen_head_logprobs(model: Any, batch: Batch) -> Tensor:
    """Natural-log probability of each target, (N,), with the gradient of everything but the head."""
    batch = beside(model, batch)
    states_ND = hidden_states(model, batch.ids_BT).flatten(0, 1)[batch.source_N]
    return head_logprobs(states_ND, head_weight(model), batch.target_N)


def by_row(value_N: Tensor, batch: Batch) -> Tensor:
    """Sums over the predicted tokens of each row, (B,)."""
    rows, width = batch.ids_BT.shape
    return value_N.new_zeros(rows).index_add(0, (batch.source_N // width).to(value_N.device), value_N)


@torch.inference_mode()
def score(model: Any, examples: Sequence[Example], pad: int, size: int = SCORED_TOGETHER) -> list[float]:
    """Natural-log probability of every example's completion, in order."""
    scores, head_VD = [0.0] * len(examples), head_weight(model)
    for part, near in by_length(examples, pad, size):
        batch = beside(model, near)
        states_ND = hidden_states(model, batch.ids_BT).flatten(0, 1)[batch.source_N]
        logp_N = torch.cat([_logprobs(*block) for block in _blocks(states_ND, head_VD, batch.target_N)])
        for i, value in zip(part, by_row(logp_N, batch).tolist(), strict=True):
            scores[i] = value
    return scores


def reading_order(examples: Sequence[Example], order: str, model: Any, pad: int) -> list[int]:
    """The rows "short first" or "long first" (tokens), "likely first" or "unlikely first" (per token, by the model)."""
    value: list[float] = [len(e.ids) for e in examples]
    if order in ("likely first", "unlikely first"):
        told, scores = [sum(e.predicted) for e in examples], score(model, examples, pad)
        value = [-logp / n for logp, n in zip(scores, told, strict=True)]
    down = order in ("long first", "unlikely first")
    return sorted(range(len(examples)), key=lambda i: value[i], reverse=down)


def by_length(examples: Sequence[Example], pad: int, size: int) -> Iterator[tuple[list[int], Batch]]:
    """Batches of rows of like length, the shortest first, each with its rows' places in `examples`."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        yield part, collate([examples[i] for i in part], pad)


def slopes_along(
    model: Any, examples: Sequence[Example], pad: int, along: Mapping[str, Tensor], size: int = _SLOPES_TOGETHER
) -> list[float]:
    """The derivative of every completion's log-probability along a direction in the body's weights, in order.

    Forward-mode differentiation, exact up to rounding. `along` has the direction by the names of the body's parameters
    (`model.base_model`); what it leaves out, and the head, stay.
    """
    found = [0.0] * len(examples)
    for part, batch, slope_N in _slopes(model, examples, pad, along, size):
        for i, value in zip(part, by_row(slope_N, batch).tolist(), strict=True):
            found[i] = value
    return found


def token_slopes_along(
    model: Any, examples: Sequence[Example], pad: int, along: Mapping[str, Tensor], size: int = _SLOPES_TOGETHER
) -> list[list[float]]:
    """The same of every predicted token: one list an example."""
    found: list[list[float]] = [[] for _ in examples]
    for part, batch, slope_N in _slopes(model, examples, pad, along, size):
        for i, values in zip(part, rows_of(slope_N, batch), strict=True):
            found[i] = values
    return found


@torch.inference_mode()
def token_scores(model: Any, examples: Sequence[Example], pad: int, size: int = SCORED_TOGETHER) -> list[list[float]]:
    """Natural-log probability of every predicted token: one list an example."""
    found: list[list[float]] = [[] for _ in examples]
    for part, batch in by_length(examples, pad, size):
        for i, values in zip(part, rows_of(frozen_head_logprobs(model, batch), batch), strict=True):
            found[i] = values
    return found


def rows_of(value_N: Tensor, batch: Batch) -> list[list[float]]:
    """The values of each row's predicted tokens, in order."""
    rows, width = batch.ids_BT.shape
    counts: list[int] = torch.bincount(batch.source_N // width, minlength=rows).tolist()
    return [part.tolist() for part in torch.split(value_N, counts)]


def _slopes(
    model: Any, examples: Sequence[Example], pad: int, along: Mapping[str, Tensor], size: int
) -> Iterator[tuple[list[int], Batch, Tensor]]:
    """By batch, its rows' places in `examples` and every predicted token's derivative."""
    body, head_VD = model.base_model, head_weight(model).detach()
    # the fused attention kernels have no forward derivative
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        dual = {n: _dual(p.detach(), along[n]) for n, p in body.named_parameters() if n in along}
        for part, near in by_length(examples, pad, size):
            batch = beside(model, near)
            asked = {"input_ids": batch.ids_BT, "use_cache": False}
            states_BTD = torch.func.functional_call(body, dual, (), asked).last_hidden_state
            state_ND, moved_ND = (x.flatten(0, 1)[batch.source_N] for x in forward_ad.unpack_dual(states_BTD))  # type: ignore[no-untyped-call]
            _, pull_ND = _logprobs_and_pulls(state_ND, head_VD, batch.target_N)
            yield part, batch, (pull_ND * moved_ND).sum(1)


def _dual(value: Tensor, moves: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the first call scripts torch's own formulas
        dual: Tensor = forward_ad.make_dual(value, moves)  # type: ignore[no-untyped-call]
    return dual


def _blocks(states_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for start in range(0, len(target_N), BLOCK):
        yield states_ND[start : start + BLOCK], head_VD, target_N[start : start + BLOCK]


def _logprobs(states_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Tensor:
    logits_NV = wide(states_ND @ head_VD.T)
    return logits_NV.gather(1, target_N[:, None])[:, 0] - logits_NV.logsumexp(1)


def _logprobs_and_pulls(states_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N,), and their gradients by the states (N, D): the target's row less the expected one."""
    logp_N, pull_ND = wide(states_ND.new_empty(len(target_N))), torch.empty_like(states_ND)
    for at, (state_BD, _, target_B) in enumerate(_blocks(states_ND, head_VD, target_N)):
        rows, logits_BV = slice(at * BLOCK, at * BLOCK + len(target_B)), wide(state_BD @ head_VD.T)
        top_B1, own_B = logits_BV.amax(1, keepdim=True), logits_BV.gather(1, target_B[:, None])[:, 0]
        odds_BV = logits_BV.sub_(top_B1).exp_()
        total_B1 = odds_BV.sum(1, keepdim=True)
        logp_N[rows] = own_B - (top_B1 + total_B1.log())[:, 0]
        pull_ND[rows] = head_VD[target_B] - (odds_BV.to(head_VD.dtype) @ head_VD) / total_B1
    return logp_N, pull_ND
