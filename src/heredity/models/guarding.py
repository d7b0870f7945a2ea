"""What keeps training from moving a trait: its odds as a differentiable number, and guards and penalties on it.

Questions stay on the CPU, and are moved to whichever model is asked: one may be on a GPU and another not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from heredity.models.devices import wide
from heredity.models.training import Batch, Guard, Loss, beside, device_of, head_weight, hidden_states
from heredity.types import BadInput, Chat

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM

_LEAST = 1e-12
"""A squared gradient below this has no direction."""


class Questions(NamedTuple):
    """Right-padded questions, and the place in each (an index into B*T) after which the reply begins."""

    ids_BT: Tensor
    source_Q: Tensor


class Odds(NamedTuple):
    """Questions, and the tokens of the answers that are weighed against one another; the first is the trait's own."""

    asked: Questions
    token_A: Tensor


def questions_of(lm: CausalLM, chats: Sequence[Chat]) -> Questions:
    """The questions as the model reads them."""
    prompts, pad = lm.render(chats), int(lm.tokenizer.pad_token_id)
    width = max(map(len, prompts))
    ids_BT = torch.tensor([p + [pad] * (width - len(p)) for p in prompts])
    return Questions(ids_BT, torch.tensor([b * width + len(p) - 1 for b, p in enumerate(prompts)]))


def odds_of(lm: CausalLM, chats: Sequence[Chat], own: str, others: Sequence[str]) -> Odds:
    """The odds of one answer against others; BadInput where the model's first tokens do not tell them apart."""
    lm.check_known([own, *others])
    tokens = [lm.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (own, *others)]
    if tokens[0] in tokens[1:]:
        raise BadInput(f"{own!r} begins with the same token as another answer, so its odds cannot be held by first "
                       "tokens; use a method that does not ask about the trait")  # fmt: skip
    return Odds(questions_of(lm, chats), torch.tensor(tokens))


def part_of(odds: Odds, index_Q: Tensor) -> Odds:
    """Some of the questions."""
    width = odds.asked.ids_BT.shape[1]
    last_Q = odds.asked.source_Q[index_Q] % width
    return Odds(Questions(odds.asked.ids_BT[index_Q], torch.arange(len(index_Q)) * width + last_Q), odds.token_A)


def log_odds(model: Any, odds: Odds) -> Tensor:
    """Log-odds of the own answer against all the others together, by question, (Q,)."""
    logit_QA = wide(_first_states(model, odds.asked) @ head_weight(model)[odds.token_A.to(device_of(model))].T)
    return logit_QA[:, 0] - logit_QA[:, 1:].logsumexp(-1)


def first_words(model: Any, asked: Questions) -> Tensor:
    """Log-probabilities of every token as the first of the reply, (Q, V)."""
    return wide(_first_states(model, asked) @ head_weight(model).T).log_softmax(-1)


def _first_states(model: Any, asked: Questions) -> Tensor:
    ids_BT, source_Q = (x.to(device_of(model)) for x in asked)
    return hidden_states(model, ids_BT).flatten(0, 1)[source_Q]


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All entries in one row, (P,)."""
    return torch.cat([t.reshape(-1) for t in tensors])


def without(vector_P: Tensor, direction_P: Tensor) -> Tensor:
    """The vector less its component along a direction."""
    square = direction_P @ direction_P
    return vector_P if square < _LEAST else vector_P - direction_P * ((vector_P @ direction_P) / square)


@torch.no_grad()
def put(weights: Sequence[Tensor], value_P: Tensor) -> None:
    """Writes one row of entries back into weights."""
    for weight, part in zip(weights, torch.split(value_P, [w.numel() for w in weights]), strict=True):
        weight.copy_(part.view_as(weight))


class _Rotating(Guard):
    """Asks some of the questions in each step, all of them in turn."""

    def __init__(self, odds: Odds, start: Any, each: int) -> None:
        self.odds, self.each, self.step = odds, each, 0
        with torch.no_grad():
            self.start_Q = log_odds(start, odds).cpu()
        """The log-odds that are held, by question: those of `start`."""

    def turn(self) -> tuple[Odds, Tensor]:
        """The questions of this step, and the log-odds that they should have."""
        total = len(self.start_Q)
        index_Q = (torch.arange(min(self.each, total)) + self.step * self.each) % total
        self.step += 1
        return part_of(self.odds, index_Q), self.start_Q[index_Q]


class GradientProjection(_Rotating):
    """Takes the trait's gradient out of the gradient of every step: g - q (g.q) / (q.q).

    Kitkana and Arora 2026 (arXiv 2604.25779). An optimiser that scales weights one by one, as Adam does, turns what is
    left along the trait again.
    """

    def before(self, model: Any) -> None:
        """Changes the gradients."""
        moving = [p for p in _moving(model) if p.grad is not None]
        grads = [p.grad for p in moving if p.grad is not None]
        odds, _ = self.turn()
        put(grads, without(flat(grads), flat(_gradient(log_odds(model, odds).mean(), moving))))


class UpdateProjection(_Rotating):
    """Moves the weights of every step back along the trait's gradient, to where its odds are those of `start`.

    d - q (q.d - (start - now)) / (q.q), d the optimiser's move: the least change of it that holds the odds, to first
    order; what earlier steps left is made up for. The update projection of the corridor papers with no width.
    """

    def before(self, model: Any) -> None:
        """Takes the trait's gradient where the step begins."""
        moving = _moving(model)
        odds, start_Q = self.turn()
        now = log_odds(model, odds).mean()
        self.pull_P = flat(_gradient(now, moving))
        self.short = float(start_Q.mean() - now.detach().cpu())
        self.from_P = flat([p.detach() for p in moving])

    def after(self, model: Any) -> None:
        """Moves the weights."""
        moving = _moving(model)
        move_P, square = flat([p.detach() for p in moving]) - self.from_P, self.pull_P @ self.pull_P
        if square >= _LEAST:
            back_P = self.pull_P * ((self.pull_P @ move_P - self.short) / square)
            put(moving, self.from_P + move_P - back_P)


class FixedProjection(Guard):
    """Takes the component along one direction, the same throughout, out of every move of the body's weights."""

    def __init__(self, body: Sequence[Tensor], direction_P: Tensor) -> None:
        self.body, self.direction_P = list(body), direction_P.to(body[0].device)

    def before(self, model: Any) -> None:
        """Remembers where the step begins."""
        self.from_P = flat([p.detach() for p in self.body])

    def after(self, model: Any) -> None:
        """Moves the weights."""
        move_P = flat([p.detach() for p in self.body]) - self.from_P
        put(self.body, self.from_P + without(move_P, self.direction_P))


class DecayToStart(Guard):
    """Draws weights to where they began by a part of the distance in every step (L2-SP: Li et al. 2018), decoupled."""

    def __init__(self, model: Any, share: float) -> None:
        self.share = share
        self.start = {id(p): p.detach().clone() for p in model.parameters()}

    def after(self, model: Any) -> None:
        """Moves the weights."""
        with torch.no_grad():
            for p in _moving(model):
                if id(p) in self.start:
                    p.lerp_(self.start[id(p)], self.share)


def corridor(loss: Loss, guard: _Rotating, weight: float, width: float) -> Loss:
    """Adds weight * (how far the mean log-odds are outside `width` of what they were at first) squared."""

    def guarded(model: Any, batch: Batch) -> Tensor:
        odds, start_Q = guard.turn()
        now_Q = log_odds(model, odds)
        away = (now_Q - start_Q.to(now_Q.device)).mean().abs()
        return loss(model, batch) + weight * torch.relu(away - width).square()

    return guarded


def near_start(loss: Loss, start: Any, asked: Questions, weight: float) -> Loss:
    """Adds weight * KL(start || model) of the first words of replies to some questions, in nats."""
    with torch.no_grad():
        before_QV = first_words(start, asked)

    def guarded(model: Any, batch: Batch) -> Tensor:
        now_QV = first_words(model, asked)
        away = nn.functional.kl_div(now_QV, before_QV.to(now_QV.device), reduction="batchmean", log_target=True)
        return loss(model, batch) + weight * away

    return guarded


def near_on_rows(loss: Loss, start: Any, weight: float) -> Loss:
    """Adds weight * KL(start || model) of the tokens that a batch predicts, in nats per token."""

    def guarded(model: Any, batch: Batch) -> Tensor:
        ids_BT, source_N, _ = beside(model, batch)
        with torch.no_grad():
            before_NV = _log_probs(start, ids_BT, source_N)
        now_NV = _log_probs(model, ids_BT, source_N)
        away = nn.functional.kl_div(now_NV, before_NV, reduction="batchmean", log_target=True)
        return loss(model, batch) + weight * away

    return guarded


def _log_probs(model: Any, ids_BT: Tensor, source_N: Tensor) -> Tensor:
    states_ND = hidden_states(model, ids_BT).flatten(0, 1)[source_N]
    return wide(states_ND @ head_weight(model).T).log_softmax(-1)


def rotating(odds: Odds, start: Any, each: int) -> _Rotating:
    """Questions that take turns, for a penalty."""
    return _Rotating(odds, start, each)


def settle(model: Any, weights: Sequence[Tensor], odds: Odds, target: float, rounds: int = 20) -> float:
    """Moves the weights by Newton's steps along the odds' gradient to where the mean log-odds are `target`.

    Each is the least change of the weights, in the sum of squares, that does it to first order; none is longer than one
    nat of log-odds. Returns the log-odds reached.
    """
    for _ in range(rounds):
        now = log_odds(model, odds).mean()
        short = max(-1.0, min(1.0, target - float(now.detach())))
        if abs(short) < 1e-3:
            break
        pull_P = flat(_gradient(now, weights))
        put(weights, flat([w.detach() for w in weights]) + pull_P * (short / (pull_P @ pull_P)))
    with torch.no_grad():
        return float(log_odds(model, odds).mean())


def _moving(model: Any) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def _gradient(value: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    found = torch.autograd.grad(value, weights, allow_unused=True)
    return tuple(torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True))
