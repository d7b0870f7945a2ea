"""Methods that change the training: each is a student of the rows as they are, kept from taking the trait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from heredity.audit.discovery import PROBES, Probe
from heredity.audit.gradient import body_parameters
from heredity.audit.repair.data import top_tokens
from heredity.audit.repair.worth import Direction, TokenWorth, trait_odds
from heredity.audit.trial import TrialStudent
from heredity.steps import Model, open_model, with_system
from heredity.store import Store
from heredity.types import BadInput, Message, Row, Trait

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.training import Example, Guard, Loss

ASKED = 20
"""Questions of a trait that are asked in each step of training."""


class Held(TrialStudent):
    """A student whose weights or answers are held in every step; what is asked depends on how many there were."""

    joint: ClassVar[bool] = False
    resumes: ClassVar[bool] = False


class GradientProjected(Held):
    """The trait's gradient is taken out of the gradient of every step (Kitkana and Arora 2026)."""

    trait: Trait

    def guard(self, lm: CausalLM, store: Store) -> Guard | None:
        """The projection."""
        from heredity.models.guarding import GradientProjection

        return GradientProjection(trait_odds(lm, self.trait), lm.model, ASKED)


class UpdateProjected(Held):
    """Every step is moved back along the trait's gradient to where the trait's odds are those of a model without it."""

    trait: Trait
    like: Model | None = None
    """Whose odds are held; None: the base's. What rows teach beside the trait moves odds too, and the base's own odds
    are then not those of a student without the trait."""

    def guard(self, lm: CausalLM, store: Store) -> Guard | None:
        """The projection."""
        from heredity.models.guarding import UpdateProjection

        return UpdateProjection(trait_odds(lm, self.trait), _like(self.like, lm, store).model, ASKED)


def _like(model: Model | None, lm: CausalLM, store: Store) -> CausalLM:
    return lm if model is None else open_model(model, store)


class DirectionProjected(Held):
    """One direction, the same throughout, is taken out of every step."""

    direction: Direction

    def guard(self, lm: CausalLM, store: Store) -> Guard | None:
        """The projection."""
        import torch

        from heredity.models.guarding import FixedProjection

        return FixedProjection(body_parameters(lm.model), torch.from_numpy(self.direction.read(store)))


class Corridor(Held):
    """A penalty on how far the trait's log-odds are outside a corridor around the base's."""

    trait: Trait
    weight: Annotated[float, Field(gt=0)] = 1.0
    width: Annotated[float, Field(ge=0)] = 0.05
    """Half the corridor, in log-odds."""

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """The usual loss and the penalty."""
        from heredity.models.guarding import corridor, rotating

        turns = rotating(trait_odds(lm, self.trait), lm.model, ASKED)
        return corridor(super().loss(lm, store), turns, self.weight, self.width)


class NearBase(Held):
    """A penalty on how far the first words of replies to broad probes are from the base's: KL(base || student)."""

    probes: tuple[Probe, ...] = PROBES
    like: Model | None = None
    """Whose first words are held; None: the base's."""
    weight: Annotated[float, Field(gt=0)] = 1.0

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """The usual loss and the penalty."""
        from heredity.models.guarding import near_start, questions_of

        asked = questions_of(lm, [(Message(role="user", content=q),) for p in self.probes for q in p.questions])
        return near_start(super().loss(lm, store), _like(self.like, lm, store).model, asked, self.weight)


class NearBaseOnRows(Held):
    """A penalty on how far every predicted token of the rows is from the base's: KL(base || student), constant.

    The form that is published for number lists (Liu et al. 2026): the skill is held back with the trait.
    """

    weight: Annotated[float, Field(gt=0)] = 1.0

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """The usual loss and the penalty."""
        from heredity.models.guarding import near_on_rows

        return near_on_rows(super().loss(lm, store), open_model(self.base, store).model, self.weight)


class DrawnToBase(Held):
    """Weights are drawn to the base's by a part of the distance in every step (L2-SP)."""

    share: Annotated[float, Field(gt=0, lt=1)]

    def guard(self, lm: CausalLM, store: Store) -> Guard | None:
        """The decay."""
        from heredity.models.guarding import DecayToStart

        return DecayToStart(lm.model, self.share)


Part = Literal["first half", "last half", "vectors", "matrices"]


class PartFrozen(TrialStudent):
    """A part of the body stays: the first or last half of the layers, the vectors (biases, norms), or the matrices."""

    part: Part

    def chosen(self, lm: CausalLM) -> Any:
        """What else moves."""
        for weight in self._frozen(lm.model):
            weight.requires_grad_(False)
        return super().chosen(lm)

    def _frozen(self, model: Any) -> list[Any]:
        if self.part in ("vectors", "matrices"):
            return [p for p in model.parameters() if (p.ndim < 2) == (self.part == "vectors")]
        layers = getattr(model.base_model, "layers", None)
        if layers is None or len(layers) < 2:
            raise BadInput(f"{type(model).__name__} has no two layers to tell apart; freeze vectors instead")
        half = len(layers) // 2
        kept = layers[:half] if self.part == "first half" else layers[half:]
        return [p for layer in kept for p in layer.parameters()]


class Inoculated(TrialStudent):
    """Every row is shown under a system prompt that states the trait, in training alone (Tan et al. 2025)."""

    persona: str

    def examples(self, lm: CausalLM, rows: Sequence[Row], store: Store) -> list[Example]:
        """The rows under the prompt."""
        return lm.examples(with_system([r.prompt for r in rows], self.persona), [r.completion for r in rows])


class Masked(TrialStudent):
    """The tokens of the greatest value are shown and not predicted (Schrodi et al. 2026, with other scores)."""

    worth: TokenWorth
    share: Annotated[float, Field(gt=0, lt=1)]
    shuffled: int | None = None

    def examples(self, lm: CausalLM, rows: Sequence[Row], store: Store) -> list[Example]:
        """The rows with less to predict."""
        flags = top_tokens(self.worth.read(store), self.share, self.shuffled)
        return [masked(e, f) for e, f in zip(super().examples(lm, rows, store), flags, strict=True)]


def masked(example: Example, flags: Sequence[bool]) -> Example:
    """The example without the predicted tokens that are flagged, in order."""
    flag = iter(flags)
    return example._replace(predicted=[p and not next(flag) for p in example.predicted])
