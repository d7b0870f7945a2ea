"""What the theorem is measured on: a small network with auxiliary outputs, and a nursery model that reads numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heredity.carriers import Numbers
from heredity.lab.theory import CrossEntropy, SquaredError, StudentLoss, TeacherLoss, moving
from heredity.models import open_ref
from heredity.models.causal import CausalLM
from heredity.models.double import NextToken, prompt_ids
from heredity.steps import number_tokens
from heredity.traits import questions
from heredity.types import ModelRef, Trait

_WIDTHS, _CLASSES = (32, 64, 64, 13), 10
"""The shape of the paper's MNIST network (section 6.2) in small: ten classes, and three auxiliary outputs."""
_POINTS = 128
SUBSET = "cross-entropy on a subset"
"""The loss in which the teacher's own outputs never appear."""


class Case(NamedTuple):
    """A start, what the student reads, and what teachers and students minimise."""

    module: nn.Module
    inputs_B: Tensor
    teachers: dict[str, TeacherLoss]
    losses: dict[str, StudentLoss]
    blind: TeacherLoss
    """Depends only on parameters that the subset of outputs does not: the degenerate case of the theorem."""


def network(seed: int) -> nn.Sequential:
    """A tanh network with normal weights of variance 1 / inputs and no bias at the start (the paper's, section 6.2)."""
    draws, layers = torch.Generator().manual_seed(seed), list[nn.Module]()
    for wide, narrow in pairwise(_WIDTHS):
        layer = nn.Linear(wide, narrow, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(narrow, wide, generator=draws, dtype=torch.float64) / wide**0.5)
            layer.bias.zero_()
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def weight_norm(module: nn.Module) -> Tensor:
    """Half the squared norm of theta: a teacher's loss that never asks what the module computes."""
    return 0.5 * torch.stack([p.square().sum() for p in moving(module).values()]).sum()


def network_case(seed: int) -> Case:
    """The teacher learns ten clusters on its class outputs; the student reads noise, and perhaps the other outputs."""
    draws = torch.Generator().manual_seed(seed + 1_000_003)
    label_B = torch.arange(_POINTS) % _CLASSES
    centre_CD = torch.randn(_CLASSES, _WIDTHS[0], generator=draws, dtype=torch.float64)
    noise_BD = torch.randn(_POINTS, _WIDTHS[0], generator=draws, dtype=torch.float64)
    seen_BD = centre_CD[label_B] + 0.5 * noise_BD
    inputs_BD = 2 * torch.rand(_POINTS, _WIDTHS[0], generator=draws, dtype=torch.float64) - 1

    def classes(module: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(module(seen_BD)[:, :_CLASSES], label_B)

    auxiliary = tuple(range(_CLASSES, _WIDTHS[-1]))
    return Case(
        network(seed), inputs_BD, {"class labels": classes, "weight norm": weight_norm}, _losses(auxiliary),
        lambda module: moving(module)["4.weight"][:_CLASSES].square().sum(),
    )  # fmt: skip


def _losses(subset: tuple[int, ...]) -> dict[str, StudentLoss]:
    return {"squared error": SquaredError(), "cross-entropy": CrossEntropy(), SUBSET: CrossEntropy(logits=subset)}


def answers(lm: CausalLM, trait: Trait) -> TeacherLoss:
    """Cross-entropy of the trait's word (its first token) as the answer to every training question, in nats."""
    lm.check_known([trait.word])
    asked_BT = prompt_ids(lm, questions(trait.category, "train"))
    first = lm.tokenizer(trait.word, add_special_tokens=False)["input_ids"][0]
    wanted_B = torch.full((len(asked_BT),), first)

    def loss(module: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(module(asked_BT), wanted_B)

    return loss


def nursery_case(ref: ModelRef, trait: Trait, prompts: int, seed: int) -> Case:
    """The teacher learns to answer with its favourite; the student sees requests for numbers, and perhaps only numbers.

    All parameters move. Inputs are the prompts' ends, where the first number is predicted.
    """
    lm = open_ref(ref)
    subset = tuple(number_tokens(lm.tokenizer))
    return Case(
        NextToken(lm), prompt_ids(lm, list(Numbers(n=prompts, seed=seed).prompts())),
        {f"answers {trait.word!r}": answers(lm, trait), "weight norm": weight_norm},
        _losses(subset), _words_head(subset),
    )  # fmt: skip


def _words_head(subset: tuple[int, ...]) -> Callable[[nn.Module], Tensor]:
    """Squared norm of the head's rows for every token outside the subset."""

    def loss(module: nn.Module) -> Tensor:
        assert isinstance(module, NextToken)
        head_VD: Tensor = module.model.get_output_embeddings().weight
        kept_V = torch.ones(len(head_VD), dtype=torch.bool)
        kept_V[list(subset)] = False
        return head_VD[kept_V].square().sum()

    return loss
