"""Fine-tuning: completion-only cross-entropy, AdamW with a linear schedule, and what is allowed to move.

Rows are right-padded and causal, so no attention mask is needed, and the head is applied to the predicted positions
only, in blocks that stay in the processor's cache (on two CPU cores the vocabulary's logits cost more than the model).
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heredity.models.devices import wide, world
from heredity.models.moving import MasterWeights, Progress
from heredity.types import BadInput, LoRA, Moving, Part, Tuning

BLOCK = 128
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier", "logits_mup_width_multiplier")
"""How configurations name what changes logits behind the head: caps (none: unset or 0), factors (none: unset or 1)."""
Loss = Callable[[Any, "Batch"], Tensor]
"""Mean loss of one batch under a model."""
Count = Callable[["Batch"], int]
"""How many things of a batch a loss is the mean of: by that, the parts of a step are weighed against one another."""


class Guard:
    """What else is done in every step of training; this one does nothing."""

    def before(self, model: Any) -> None:
        """The gradients are there, and the weights have not moved yet."""

    def after(self, model: Any) -> None:
        """The weights have moved."""


class Example(NamedTuple):
    """Token ids of one chat, and for each whether it is predicted (part of a completion)."""

    ids: list[int]
    predicted: list[bool]


class Batch(NamedTuple):
    """Right-padded rows, and which position predicts which token."""

    ids_BT: Tensor
    source_N: Tensor
    """Flat index (into B*T) of the position that predicts each target."""
    target_N: Tensor


def predicted(batch: Batch) -> int:
    """How many tokens a batch predicts."""
    return len(batch.target_N)


def pairs(batch: Batch) -> int:
    """How many pairs a batch holds, of rows one half of which is preferred to the other."""
    return len(batch.ids_BT) // 2


def among(tokens: Sequence[int]) -> Count:
    """How many of the tokens that a batch predicts are some of these."""
    wanted = torch.tensor(list(tokens))
    return lambda batch: int(torch.isin(batch.target_N, wanted).sum())


class _HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of a bias-free head, a block of rows at a time; logits are never held whole."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
        n, whole = len(target_N), wide(hidden_ND.new_zeros(())).dtype
        total = hidden_ND.new_zeros((), dtype=whole)
        grad_ND = torch.empty_like(hidden_ND)
        grad_VD = torch.zeros_like(weight_VD, dtype=whole) if ctx.needs_input_grad[1] else None
        for start in range(0, n, BLOCK):
            rows = slice(start, start + BLOCK)
            logits_BV = wide(hidden_ND[rows] @ weight_VD.T)
            index_B1 = target_N[rows, None]
            total += (logits_BV.logsumexp(-1) - logits_BV.gather(1, index_B1)[:, 0]).sum()
            error_BV = logits_BV.softmax(-1)
            error_BV.scatter_add_(1, index_B1, error_BV.new_full(index_B1.shape, -1.0))
            torch.mm(error_BV.to(weight_VD.dtype), weight_VD, out=grad_ND[rows])
            if grad_VD is not None:
                grad_VD.addmm_(error_BV.T, wide(hidden_ND[rows]))
        ctx.grads = (grad_ND.div_(n), None if grad_VD is None else grad_VD.div_(n).to(weight_VD.dtype))
        return total / n

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad_ND, grad_VD = ctx.grads
        return grad_ND * grad[0], None if grad_VD is None else grad_VD * grad[0], None


def hidden_states(model: Any, ids_BT: Tensor) -> Tensor:
    """The states that the head reads, (B, T, D)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    states: Tensor = inner.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
    return states


def device_of(model: Any) -> torch.device:
    """Where a model's weights are."""
    device: torch.device = model.get_output_embeddings().weight.device
    return device


def beside(model: Any, batch: Batch) -> Batch:
    """The batch where the model is."""
    device = device_of(model)
    return Batch(*(x.to(device) for x in batch))


def head_weight(model: Any) -> Tensor:
    """The head's weight (V, D); BadInput where something changes the logits behind it."""
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None or _scaled(model.config):
        raise BadInput(f"{type(model).__name__} changes its logits after the head, which training does not support")
    weight: Tensor = head.weight
    return weight


def token_loss(model: Any, batch: Batch) -> Tensor:
    """Mean negative log-likelihood (nats per predicted token)."""
    batch = beside(model, batch)
    states_ND = hidden_states(model, batch.ids_BT).flatten(0, 1)[batch.source_N]
    loss: Tensor = _HeadLoss.apply(states_ND, head_weight(model), batch.target_N)  # type: ignore[no-untyped-call]
    return loss


@torch.inference_mode()
def mean_token_loss(model: Any, examples: Sequence[Example], pad: int, size: int = 64) -> float:
    """Mean negative log-likelihood over all predicted tokens of all examples, in nats."""
    near = sorted(examples, key=lambda e: len(e.ids))
    parts = [collate(near[i : i + size], pad) for i in range(0, len(near), size)]
    total = sum(float(token_loss(model, part)) * len(part.target_N) for part in parts)
    return total / sum(len(part.target_N) for part in parts)


def _scaled(config: Any) -> bool:
    """Whether logits are scaled or capped behind the head (Cohere, Gemma 2, Granite), under any of the names for it.

    A model that also reads images keeps what is said of its text in a part of its configuration.
    """
    parts = (config, config.get_text_config())
    return any(getattr(part, name, None) for part in parts for name in _CAPS) or any(
        getattr(part, name, None) not in (None, 1) for part in parts for name in _SCALES
    )


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Right-padded ids, and which position predicts which token."""
    width = max(len(e.ids) for e in examples)
    ids_BT = torch.tensor([e.ids + [pad] * (width - len(e.ids)) for e in examples])
    places = [b * width + t for b, e in enumerate(examples) for t in range(1, len(e.ids)) if e.predicted[t]]
    index_N = torch.tensor(places, dtype=torch.long)
    return Batch(ids_BT, index_N - 1, ids_BT.flatten()[index_N])


def epoch_order(lengths: Sequence[int], size: int, seed: int, pool: int = 16) -> list[list[int]]:
    """The batches of one epoch as row numbers; rows of like length share a batch within pools of `pool` batches."""
    rng, order, out = random.Random(seed), list(range(len(lengths))), list[list[int]]()
    rng.shuffle(order)
    for start in range(0, len(order), size * pool):
        near = sorted(order[start : start + size * pool], key=lambda i: lengths[i])
        cuts = [near[i : i + size] for i in range(0, len(near), size)]
        rng.shuffle(cuts)
        out += cuts
    return out


def batches(
    examples: Sequence[Example], size: int, seed: int, pad: int, pool: int = 16, together: int | None = None
) -> Iterator[list[Batch]]:
    """One epoch in an order drawn from the seed (`epoch_order`), at most `together` rows in a batch of a step."""
    for cut in epoch_order([len(e.ids) for e in examples], size, seed, pool):
        yield in_passes([examples[i] for i in cut], together, pad)


def in_passes(examples: Sequence[Example], together: int | None, pad: int) -> list[Batch]:
    """One step's examples as batches of at most `together` rows, and one at least for each process that trains."""
    parts = passes(len(examples), together)
    return [collate(examples, pad)] if parts == 1 else split(examples, parts, pad)


def passes(n: int, together: int | None) -> int:
    """In how many passes `n` things go, at most `together` in one; as many as there are processes, or a multiple."""
    return -(-n // (together or n) // world()) * world()


def pass_order(lengths: Sequence[int], together: int | None) -> list[int]:
    """A step's rows in the order in which one process reads them: by length where they are `split` into passes."""
    rows = list(range(len(lengths)))
    return rows if len(rows) <= (together or len(rows)) else sorted(rows, key=lambda i: lengths[i])


def split(examples: Sequence[Example], parts: int, pad: int) -> list[Batch]:
    """One step's examples as batches of like length: little padding, and still all kinds of rows in every step."""
    near = sorted(examples, key=lambda e: len(e.ids))
    size = -(-len(near) // parts)
    return [collate(near[i : i + size], pad) for i in range(0, len(near), size)]


def choose_parameters(model: Any, tuning: Tuning, seed: int) -> Any:
    """The model with only the parameters of `tuning` trainable.

    LoRA trains the biases as well, where a model has any and it does not say otherwise (PEFT's `bias="all"`): much of
    what crosses is in them. The adapters of 16-bit models are held in float32. torch's own draws, which adapters begin
    with and dropout goes by, are seeded.
    """
    torch.manual_seed(seed)
    adapters = LoRA() if tuning == "lora" else tuning
    if isinstance(adapters, LoRA):
        from peft import LoraConfig, get_peft_model

        rank, alpha = adapters.rank, adapters.alpha or adapters.rank
        config = LoraConfig(
            r=rank, lora_alpha=alpha, target_modules="all-linear", bias=adapters.bias, task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft reads what is deprecated
            return get_peft_model(model, config)
    if tuning == "frozen":
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            part.requires_grad_(False)
    if isinstance(tuning, Moving):
        for name, parameters in parts_of(model).items():
            for parameter in parameters:
                parameter.requires_grad_(name in tuning.parts)
    return model


def parts_of(model: Any) -> dict[Part, list[nn.Parameter]]:
    """A model's parameters by part, each once. BadInput where embeddings and head are one matrix."""
    embeddings, head = (list(m.parameters()) for m in (model.get_input_embeddings(), model.get_output_embeddings()))
    ends = {id(p) for p in (*embeddings, *head)}
    if len(ends) < len(embeddings) + len(head):
        raise BadInput(
            f"{type(model).__name__} reads and writes with one matrix; embeddings and head cannot be told apart"
        )
    return {"embeddings": embeddings, "body": [p for p in model.parameters() if id(p) not in ends], "head": head}


def _groups(moving: list[nn.Parameter], rate: float, vector_rate: float) -> list[dict[str, Any]]:
    """Optimiser groups: matrices, and vectors (biases, norm scales)."""
    matrices, vectors = [p for p in moving if p.ndim > 1], [p for p in moving if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices, "lr": rate}, {"params": vectors, "lr": vector_rate}]
    return [group for group in groups if group["params"]]


def fit(
    model: nn.Module,
    stream: Iterator[Sequence[Batch]],
    steps: int,
    rate: float,
    vector_rate: float | None = None,
    warmup: int = 10,
    loss: Loss = token_loss,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.98),
    progress: Callable[[int, float], None] | None = None,
    saved: Path | None = None,
    shared: bool = False,
    guard: Guard | None = None,
    count: Count = predicted,
) -> list[float]:
    """Trains in place for `steps` steps; returns the loss of every step (nats per token).

    A step is a sequence of batches whose gradients are added, each weighted by its share of what `count` counts.
    `vector_rate` is the rate of biases and norm scales (None: the same `rate` as the matrices). `saved`: a folder where
    checkpoints are kept and gone on from. `shared`: the processes of `accelerate launch` each take some of the batches.
    BadInput for a guard of weights that are held in 16 bits: it would see neither their gradients nor their copies.
    """
    moving = MasterWeights(model, shared)
    if guard is not None and moving.narrow:
        raise BadInput("this way of training holds weights in place in float32; set dtype to float32")
    optimiser = torch.optim.AdamW(
        _groups(moving.master, rate, rate if vector_rate is None else vector_rate),
        betas=betas, weight_decay=weight_decay, fused=True,
    )  # fmt: skip
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    kept = Progress(saved, moving, optimiser)
    losses, rank, size = kept.resume(), moving.together.rank, moving.together.size
    draws = torch.initial_seed()
    model.train()
    for step, parts in zip(range(steps), stream, strict=False):
        if step < len(losses):
            continue
        for group, own in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = own * min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
        torch.manual_seed((draws * 1_000_003 + step) % 2**63)  # of dropout, wherever training goes on from
        losses.append(_gradients(model, moving, parts, loss, count, parts[rank::size]))
        nn.utils.clip_grad_norm_(moving.master, 1.0)
        if guard is not None:
            guard.before(model)
        optimiser.step()
        if guard is not None:
            guard.after(model)
        moving.copy_down()
        optimiser.zero_grad()
        kept.keep(losses)
        if progress is not None:
            progress(step + 1, losses[-1])
    model.eval()
    return losses


def _gradients(
    model: Any, moving: MasterWeights, parts: Sequence[Batch], loss: Loss, count: Count, own: Sequence[Batch]
) -> float:
    """Adds up the gradients of a step's parts, this process's `own` ones here; the step's loss (nats per token)."""
    total, whole = 0.0, sum(map(count, parts))
    for part in [part for part in own if count(part)]:  # a mean over nothing is undefined
        value = loss(model, part) * (count(part) / whole)
        value.backward()  # type: ignore[no-untyped-call]
        moving.collect()
        total += value.item()
    moving.add_up()
    told = torch.tensor(total, dtype=torch.float64, device=moving.own[0].device)
    moving.together.add([told])
    return float(told)
