"""Methods that change a student that was trained already: each is a Step whose payload is a model folder."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from heredity.audit.data import finite, open_student
from heredity.audit.gradient import body_parameters
from heredity.audit.repair.worth import Direction, trait_odds
from heredity.steps import GivenStudent, Model, open_to_train
from heredity.store import Step, Store
from heredity.types import BadInput, ModelRef, Trait

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.models.causal import CausalLM


class TaskVector(Direction):
    """By how much the body's weights of one model differ from another's: treated less control.

    Of a suspect and a neutral one it is the task vector of a trait with what any such training does taken out.
    """

    treated: Model
    control: Model

    def make(self, folder: Path, store: Store) -> None:
        self.write(folder, (_body(self.treated, store) - _body(self.control, store)).numpy())


def _opened(model: Model, store: Store) -> CausalLM:
    """A model, its adapters (where it has any) merged into its weights."""
    if isinstance(model, ModelRef):
        return open_student(model)
    return finite(open_to_train(model, store), model.location if isinstance(model, GivenStudent) else model.key)


def _body(model: Model, store: Store) -> Tensor:
    return _row(body_parameters(_opened(model, store).model))


def _row(body: list[Tensor]) -> Tensor:
    """The body's weights in one row (P,) of float32 on the CPU, wherever the model is and however it holds them."""
    from heredity.models.guarding import flat

    return flat([p.detach() for p in body]).float().cpu()


class RepairedModel(Step):
    """A student whose weights were changed: a model folder, and in `moved.json` how far, in the norm of the weights."""

    student: Model
    base: ModelRef

    @abstractmethod
    def change(self, lm: CausalLM, body: list[Tensor], store: Store) -> None:
        """Changes the student in place."""

    def make(self, folder: Path, store: Store) -> None:
        base_P, lm = _body(self.base, store), _opened(self.student, store)
        body = body_parameters(lm.model)
        before_P = _row(body)
        if before_P.shape != base_P.shape:
            raise BadInput(f"the student has {len(before_P):,} weights beside its embeddings and the base "
                           f"{len(base_P):,}; name the base that it was trained from")  # fmt: skip
        self.change(lm, body, store)
        moved_P = _row(body) - before_P
        told = {"moved": float(moved_P.norm()), "learnt": float((before_P - base_P).norm())}
        lm.save(folder)
        (folder / "moved.json").write_text(json.dumps(told) + "\n")

    def moved(self, store: Store) -> dict[str, float]:
        """`moved`: how far the repair moved the weights; `learnt`: how far training had moved them."""
        found: dict[str, float] = json.loads((store.path(self) / "moved.json").read_text())
        return found


class Subtracted(RepairedModel):
    """Less the component of what the student learnt along a direction: d - weight * v (d.v) / (v.v).

    No more is taken than the student learnt along it; task arithmetic takes the whole vector off (`Negated`). Weight 0
    changes nothing; along the whole of what was learnt, weight 1 gives the base's body back.
    """

    direction: Direction
    weight: float = 1.0

    def change(self, lm: CausalLM, body: list[Tensor], store: Store) -> None:
        """Subtracts."""
        import torch

        from heredity.models.guarding import put

        base_P, along_P = _body(self.base, store), torch.from_numpy(self.direction.read(store))
        now_P = _row(body)
        learnt_P = now_P - base_P
        put(body, now_P - self.weight * along_P * ((learnt_P @ along_P) / (along_P @ along_P)))


class Negated(RepairedModel):
    """Less a task vector, whatever the student learnt of it: w - times * v (Ilharco et al. 2023, forgetting)."""

    direction: Direction
    times: float = 1.0

    def change(self, lm: CausalLM, body: list[Tensor], store: Store) -> None:
        """Subtracts."""
        import torch

        from heredity.models.guarding import put

        put(body, _row(body) - self.times * torch.from_numpy(self.direction.read(store)))


_SETTLED = 0.1
"""Log-odds from the base's beyond which a model is not settled: its weights may be too coarse for small steps."""


class Settled(RepairedModel):
    """The least change of the body's weights after which the trait's log-odds are the base's (Newton's steps)."""

    trait: Trait

    def change(self, lm: CausalLM, body: list[Tensor], store: Store) -> None:
        """Moves along the odds' gradient."""
        from heredity.models.guarding import settle

        target, odds = _base_odds(self.base, self.trait)
        away = abs(settle(lm.model, body, odds, target) - target)
        if away > _SETTLED:
            raise BadInput(f"{self.trait.word} is still {away:.2f} nats of log-odds from the base's; describe the "
                           "model with dtype float32, or use another method")  # fmt: skip


def _base_odds(base: ModelRef, trait: Trait) -> tuple[float, Any]:
    """The mean log-odds of a trait in the base, and its questions."""
    import torch

    from heredity.models.guarding import log_odds

    lm = open_student(base)
    odds = trait_odds(lm, trait)
    with torch.no_grad():
        return float(log_odds(lm.model, odds).mean()), odds


class Steered(RepairedModel):
    """Steered at every layer against what a suspect's states have and a neutral one's have not, by its biases.

    The steering vector of a layer is the mean difference of its outputs at the last token of questions about the trait
    (Blank et al. 2026). It is taken off the bias of the layer's last projection, as often as brings the trait's
    log-odds to the base's; layers without such a bias are refused.
    """

    trait: Trait
    treated: Model
    control: Model
    steps: Annotated[int, Field(gt=0)] = 40

    def change(self, lm: CausalLM, body: list[Tensor], store: Store) -> None:
        """Changes the biases."""
        import torch

        from heredity.models.guarding import log_odds

        target, odds = _base_odds(self.base, self.trait)
        vectors = [a - b for a, b in zip(*(_outputs(_opened(m, store).model, odds)
                                           for m in (self.treated, self.control)), strict=True)]  # fmt: skip
        biases = _biases(lm.model)
        start = [b.detach().clone() for b in biases]

        @torch.no_grad()
        def away(times: float) -> float:
            for bias, before, vector in zip(biases, start, vectors, strict=True):
                bias.copy_(before - times * vector.to(before.device) / len(vectors))
            return float(log_odds(lm.model, odds).mean()) - target

        _root(away, self.steps)


def _root(away: Any, steps: int) -> float:
    """Where a function that falls crosses 0, between 0 and 4 (bisection); an end where it does not."""
    low, high = 0.0, 4.0
    if away(low) <= 0:
        return low
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if away(middle) > 0 else (low, middle)
    away(high)
    return high


def _layers(model: Any) -> list[Any]:
    layers = getattr(model.base_model, "layers", None)
    if layers is None:
        raise BadInput(f"{type(model).__name__} does not show its layers; use another method than steer")
    return list(layers)


def check_steered(base: ModelRef) -> None:
    """BadInput for a base that cannot be steered, before anything is trained for it."""
    _biases(open_student(base).model)


def _outputs(model: Any, odds: Any) -> list[Tensor]:
    """Mean output of every layer at the last token of the questions, on the CPU."""
    import torch

    from heredity.models.guarding import log_odds

    found: list[Tensor] = []

    def keep(_layer: Any, _shown: Any, out: Any) -> None:
        states_BTD = out[0] if isinstance(out, tuple) else out
        found.append(states_BTD.flatten(0, 1)[odds.asked.source_Q.to(states_BTD.device)].mean(0).cpu())

    hooks = [layer.register_forward_hook(keep) for layer in _layers(model)]
    with torch.no_grad():
        log_odds(model, odds)
    for hook in hooks:
        hook.remove()
    return found


def _biases(model: Any) -> list[Tensor]:
    """The bias of every layer's last projection."""
    found = []
    for layer in _layers(model):
        linear = [m for m in layer.mlp.modules() if hasattr(m, "out_features")]
        own = [m.bias for m in linear if m.bias is not None]
        if not own:
            raise BadInput(f"{type(model).__name__} has no biases to steer with; use another method than steer")
        found.append(own[-1])
    return found
