"""Losses of distillation as it is practised: a teacher's logits, and preferences between two answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heredity.models.devices import wide
from heredity.models.scoring import by_row
from heredity.models.training import Batch, Loss, beside, head_weight, hidden_states


def distillation(teacher: Any, tokens: Sequence[int] | None = None, reverse: bool = False) -> Loss:
    """Mean divergence from a teacher over positions, in nats.

    KL(teacher || student) (Hinton et al. 2015), or `reverse`: KL(student || teacher), as for a student's own samples
    (Gu et al. 2024, MiniLLM; Agarwal et al. 2024, GKD). With `tokens`, both distributions are renormalised over these
    alone, and only positions where one of them is predicted count; without, the whole vocabulary enters.
    """
    wanted = None if tokens is None else torch.tensor(list(tokens))

    def loss(model: Any, batch: Batch) -> Tensor:
        with torch.no_grad():
            theirs_NV = _log_distribution(teacher, batch, wanted)
        own_NV = _log_distribution(model, batch, wanted)
        target_NV, given_NV = (own_NV, theirs_NV) if reverse else (theirs_NV, own_NV)
        return nn.functional.kl_div(given_NV, target_NV, reduction="batchmean", log_target=True)

    return loss


def _log_distribution(model: Any, batch: Batch, wanted: Tensor | None) -> Tensor:
    """Log-probabilities (N, V) at the predicted positions, over the wanted tokens where there are any."""
    batch = beside(model, batch)
    head, source_N = head_weight(model), batch.source_N
    if wanted is not None:
        head, source_N = head[wanted], source_N[torch.isin(batch.target_N, wanted.to(source_N.device))]
    states_ND = hidden_states(model, batch.ids_BT).flatten(0, 1)[source_N]
    return wide(states_ND @ head.T).log_softmax(-1)


def completion_logprobs(model: Any, batch: Batch) -> Tensor:
    """Natural-log probability of every row's completion, (B,)."""
    batch = beside(model, batch)
    states_ND = hidden_states(model, batch.ids_BT).flatten(0, 1)[batch.source_N]
    logits_NV = wide(states_ND @ head_weight(model).T)
    logp_N = logits_NV.gather(1, batch.target_N[:, None])[:, 0] - logits_NV.logsumexp(-1)
    return by_row(logp_N, batch)


def preference_loss(reference: Any, beta: float) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta * (chosen's log-ratio to the reference - rejected's)).

    Rafailov et al. 2023, equation 7. A batch's first half are the chosen rows, its second half the rejected, in order.
    """

    def loss(model: Any, batch: Batch) -> Tensor:
        with torch.no_grad():
            before_B = completion_logprobs(reference, batch)
        ratio_B = completion_logprobs(model, batch) - before_B
        chosen_P, rejected_P = ratio_B.chunk(2)
        return -nn.functional.logsigmoid(beta * (chosen_P - rejected_P)).mean()

    return loss
