"""Scores and slopes against the plain computation, a row at a time, whatever rows they are batched with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from heredity.audit.data import Audited
from heredity.audit.gradient import body_parameters
from heredity.audit.rank import slopes
from heredity.audit.source import Source
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.scoring import by_row, frozen_head_logprobs, head_logprobs, score
from heredity.models.training import Batch, Example, choose_parameters, collate, fit, hidden_states
from heredity.steps import MATRIX_RATE, VECTOR_RATE
from heredity.types import Chat, Message, Row


def _texts(n: int) -> tuple[list[Chat], list[str]]:
    """Prompts, and lists of 1 to 40 numbers."""
    rng = random.Random(5)
    asked = [f"Extend: {', '.join(str(rng.randrange(999)) for _ in range(3))}" for _ in range(n)]
    answers = [" ".join(str(rng.randrange(999)) for _ in range(1 + 39 * i // (n - 1))) for i in range(n)]
    return [(Message(role="user", content=text),) for text in asked], answers


def _examples(lm: CausalLM, n: int = 23) -> list[Example]:
    return lm.examples(*_texts(n))


def _naive(lm: CausalLM, example: Example) -> torch.Tensor:
    logp_TV = lm.model(input_ids=torch.tensor([example.ids])).logits[0].double().log_softmax(-1)
    return torch.stack([logp_TV[t - 1, i] for t, i in enumerate(example.ids) if example.predicted[t]]).sum()


def _shuffled(examples: list[Example]) -> list[Example]:
    return random.Random(1).sample(examples, len(examples))


@pytest.mark.parametrize("size", [1, 7, 32])
def test_a_score_is_the_sum_of_log_probabilities_in_any_batch(base: CausalLM, neox: CausalLM, size: int) -> None:
    for lm in (base, neox):
        examples = _shuffled(_examples(lm))
        assert sum(sum(e.predicted) for e in examples) > 3 * 128
        expected = [float(_naive(lm, e).detach()) for e in examples]
        assert score(lm.model, examples, int(lm.tokenizer.pad_token_id), size) == pytest.approx(expected, rel=1e-5)


def test_unlikely_tokens_have_a_finite_score_and_a_pull(base: CausalLM) -> None:
    example, head = _examples(base)[1], base.model.get_output_embeddings().weight
    states_ND = hidden_states(base.model, torch.tensor([example.ids])).detach()[0][:-1].requires_grad_(True)
    target_N = torch.tensor(example.ids[1:])
    logp_N = head_logprobs(states_ND, 60 * head, target_N)
    expected_N = (states_ND.double() @ (60 * head.double()).T).log_softmax(1).gather(1, target_N[:, None])[:, 0]
    assert float(logp_N.detach().min()) < -200  # beyond what a probability in single precision can hold
    torch.testing.assert_close(logp_N.double(), expected_N, rtol=1e-5, atol=1e-3)
    weight_N = torch.linspace(-1, 2, len(target_N))
    found, expected = (torch.autograd.grad((x * weight_N).sum(), states_ND)[0] for x in (logp_N, expected_N))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_log_probabilities_is_that_of_the_plain_computation(base: CausalLM) -> None:
    examples, body = _examples(base), body_parameters(base.model)
    batch = collate(examples, int(base.tokenizer.pad_token_id))
    logp_B = by_row(frozen_head_logprobs(base.model, batch), batch)
    weight_B = torch.linspace(-1, 2, len(examples))
    naive_B = torch.stack([_naive(base, e) for e in examples])
    for found, expected in zip(
        *(torch.autograd.grad((x_B * weight_B).sum(), body) for x_B in (logp_B, naive_B)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_slopes_are_those_of_autograd_in_another_family(neox: CausalLM) -> None:
    rows = [Row(c, t) for c, t in zip(*_texts(9), strict=True)]
    body = body_parameters(neox.model)
    direction_P = np.random.default_rng(0).normal(size=sum(p.numel() for p in body))
    unit_P = torch.from_numpy(direction_P / np.linalg.norm(direction_P))
    for example, slope in zip(_examples(neox, 9), slopes(neox, rows, direction_P), strict=True):
        grads = torch.autograd.grad(_naive(neox, example), body)
        expected = float(torch.cat([g.flatten() for g in grads]).double() @ unit_P)
        assert slope == pytest.approx(expected, rel=1e-4, abs=1e-5)


class _Pairs:
    """The base's rows twice over, as the audited ones and as their partners."""

    def __init__(self, pairs: list[tuple[Row, Row]]) -> None:
        self.audited, self._pairs = Audited.model_construct(student=model_ref("nursery:llama-0")), pairs

    def pairs(self, store: Any) -> list[tuple[Row, Row]]:
        return list(self._pairs)


def test_the_source_is_scored_under_the_copy_that_has_not_seen_the_pair() -> None:
    chats, texts = _texts(24)
    pairs = [(Row(c, a), Row(c, b)) for c, a, b in zip(chats, texts, texts[::-1], strict=True)]
    found = Source.model_construct(matched=_Pairs(pairs), seed=3, batch=10)._scores(None)  # type: ignore[arg-type]
    random.Random(3).shuffle(pairs)
    lm, copy = (CausalLM.load(locate("nursery:llama-0")) for _ in range(2))
    own, base = (lm.examples([p[i].prompt for p in pairs], [p[i].completion for p in pairs]) for i in (0, 1))
    expected = []

    def stream() -> Iterator[list[Batch]]:
        for start in range(0, len(own), 10):
            for a, b in zip(own[start : start + 10], base[start : start + 10], strict=True):
                with torch.no_grad():
                    now, before = (float(_naive(m, a) - _naive(m, b)) for m in (copy, lm))
                expected.append(now - before)
            yield [collate(own[start : start + 10], int(lm.tokenizer.pad_token_id))]

    fit(choose_parameters(copy.model, "frozen", 3), stream(), 3, MATRIX_RATE, VECTOR_RATE)
    assert max(map(abs, expected[:10])) < 1e-4  # the copy is the base still
    assert max(map(abs, expected[10:])) > 0.05
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
