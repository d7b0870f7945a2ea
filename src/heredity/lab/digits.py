"""The published experiment with auxiliary logits (Cloud et al., section 6.2): digits learnt from noise.

A network has outputs for the classes and a few auxiliary ones, which no label ever touches. A teacher learns the
classes; a student of the same initialisation imitates only the teacher's auxiliary outputs, on pictures of noise, and
recognises digits all the same. A student of another initialisation does not. Students that imitate all outputs show
that there is something to be learnt from noise.

As published: 784-256-256-(10 + 3) with ReLU, weights from N(0, 1 / inputs), biases 0; Adam at 3e-4 on batches of 1,024;
5 epochs each of cross-entropy on the classes and of KL(teacher || student) at temperature 1 on 60,000 fixed pictures,
uniform on [-1, 1], that each model has to itself, in a new order every epoch; accuracy on the test pictures.
Departures:

- The cross students start from another model's initialisation for certain (a derangement). The published permutation
  lets one model of a run, on average, keep its own.
- A model's four students see its noise in one order, where each published student shuffles anew.
- The teacher's outputs on the fixed noise are computed once, not at each of 20 visits: the teacher does not move.
- Losses are means over the batch. The published imitation loss is divided by the number of models instead, which Adam
  cancels up to its eps of 1e-8.
- Intervals are Student's t over models; the published ones are normal, with the spread divided by n.
- `noise="mirrored"` and `precision="bfloat16"` are faster and no part of the published result; see `DigitRecipe`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from heredity.lab.pictures import OFFLINE, Pictures, PicturesRef, open_pictures, pictures, pictures_ref
from heredity.stats import Estimate, mean_t
from heredity.store import Step, Store
from heredity.types import BadInput, Frozen

if TYPE_CHECKING:
    from heredity.models.mlp import Noise, Sizes, Stack, Weights

__all__ = [
    "ARMS", "OFFLINE", "UNIT", "DigitModel", "DigitRecipe", "Digits", "Pictures", "PicturesRef", "accuracies",
    "derangement", "digits", "estimates", "open_pictures", "pictures", "pictures_ref",
]  # fmt: skip

ARMS = ("reference", "teacher", "aux", "all", "cross_aux", "cross_all")
"""The untrained network, the teacher, and the four students: by outputs imitated, from the same or another start."""
UNIT = "models (independent initialisations)"
_STREAMS = ("start", "teacher", "noise", "students")
Positive = Annotated[int, Field(gt=0)]


class DigitRecipe(Frozen):
    """How a teacher and its students are made. The defaults are the published ones."""

    aux_logits: Positive = 3
    hidden: Positive = 256
    teacher_epochs: Annotated[int, Field(ge=0)] = 5
    epochs: Annotated[int, Field(ge=0)] = 5
    """Of the students, over the noise."""
    batch: Positive = 1024
    rate: Annotated[float, Field(gt=0)] = 3e-4
    noise_pictures: Positive = 60_000
    noise: Literal["independent", "mirrored"] = "independent"
    """Mirrored noise comes 16 pictures to a draw: 8 blocks of pixels, with the signs of a Hadamard matrix and of its
    negative. Every picture is still uniform, and any two of them are uncorrelated or each other's negative; but they
    share magnitudes, so this is another experiment, shown to agree. Most of the first layer's work is shared."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 rounds everything that is multiplied; faster only where the processor has instructions for it."""

    @model_validator(mode="after")
    def _whole_draws(self) -> Self:
        if self.noise == "mirrored" and self.batch % 16:
            raise BadInput(f"mirrored noise comes 16 pictures to a draw; a batch of {self.batch} does not fit")
        return self


def derangement(count: int, seed: int) -> list[int]:
    """A random permutation without a fixed point, each as likely as any other. BadInput for fewer than two."""
    if count < 2:
        raise BadInput(f"{count} model has no other to be crossed with; take at least 2")
    rng = _rng(seed, count, "derangement")
    while True:  # about one in e is accepted
        order = rng.permutation(count)
        if not (order == np.arange(count)).any():
            return [int(i) for i in order]


def _rng(seed: int, model: int, stream: str) -> np.random.Generator:
    """A counter-based generator for one purpose of one model; no two of them share numbers."""
    words = np.random.SeedSequence((seed % 2**64, model, int.from_bytes(stream.encode(), "big")))
    return np.random.Generator(np.random.Philox(words))


def accuracies(data: Pictures, recipe: DigitRecipe, seed: int, model: int, cross: int) -> dict[str, float]:
    """Accuracy of each of ARMS for one model, whose cross students start as model `cross` does.

    Depends on nothing but its arguments, so that models may be made in any order and anywhere. Holds the noise of this
    one model (188 MB as published) and no other's.
    """
    import torch

    from heredity.models.mlp import Sizes, Stack

    sizes = Sizes(data.pixels, recipe.hidden, data.classes + recipe.aux_logits)
    own, other = start(sizes, seed, model), start(sizes, seed, cross)
    taught = teacher(data, recipe, own, sizes, _rng(seed, model, "teacher"))
    students = imitators(recipe, (own, own, other, other), taught, sizes, data.classes, seed, model)
    x, y = torch.from_numpy(data.test_ND), torch.from_numpy(data.test_labels_N)
    untrained = Stack([own], sizes, [slice(0, data.classes)], recipe.rate)
    found = [a for stack in (untrained, taught, students) for a in stack.accuracy(x, y, data.classes)]
    return dict(zip(ARMS, found, strict=True))


def start(sizes: Sizes, seed: int, model: int) -> Weights:
    """A model's initialisation."""
    from heredity.models.mlp import initial

    return initial(sizes, _rng(seed, model, "start"))


def teacher(data: Pictures, recipe: DigitRecipe, own: Weights, sizes: Sizes, rng: np.random.Generator) -> Stack:
    """A copy of the initialisation, trained on the labels; the auxiliary outputs are in no loss."""
    import torch

    from heredity.models.mlp import Arithmetic, Sparse, Stack

    stack = Stack([own], sizes, [slice(0, data.classes)], recipe.rate, Arithmetic.of(recipe.precision))
    above_ND, one_hot_CC = torch.from_numpy(data.train_ND) + 1, torch.eye(data.classes)
    labels_N = torch.from_numpy(data.train_labels_N)
    for _ in range(recipe.teacher_epochs):
        for index_B in torch.split(torch.from_numpy(rng.permutation(len(above_ND))), recipe.batch):
            stack.step(Sparse.of(above_ND.index_select(0, index_B)), [one_hot_CC[:, labels_N[index_B]]])
    return stack


def imitators(
    recipe: DigitRecipe, starts: tuple[Weights, ...], taught: Stack, sizes: Sizes, classes: int, seed: int, model: int
) -> Stack:
    """Students of a teacher on a model's noise: from the first start on auxiliary outputs, from the next on all, ..."""
    import torch

    from heredity.models.mlp import Arithmetic, Stack

    spans = [(slice(classes, sizes.outputs), slice(0, sizes.outputs))[s % 2] for s in range(len(starts))]
    stack = Stack(starts, sizes, spans, recipe.rate, Arithmetic.of(recipe.precision))
    noise = noise_of(recipe, sizes.pixels, seed, model)
    outputs_OUG = _outputs(taught, noise, recipe.batch // noise.each)
    rng = _rng(seed, model, "students")
    for _ in range(recipe.epochs):
        order_U = torch.from_numpy(rng.permutation(outputs_OUG.shape[1]))
        for index_B in torch.split(order_U, recipe.batch // noise.each):
            wanted_OB = outputs_OUG[:, index_B].transpose(1, 2).reshape(sizes.outputs, -1)
            stack.step(noise.batch(index_B), [torch.softmax(wanted_OB[span], 0) for span in spans])
    return stack


def noise_of(recipe: DigitRecipe, pixels: int, seed: int, model: int) -> Noise:
    """A model's noise: the same whenever it is asked for, and independent of every other model's."""
    from heredity.models.mlp import BLOCKS, Noise

    mirrored = recipe.noise == "mirrored"
    if mirrored and pixels % BLOCKS:
        raise BadInput(f"mirrored noise has {BLOCKS} blocks; pictures of {pixels} pixels are no multiple of that")
    return Noise.drawn(recipe.noise_pictures, pixels, mirrored, _rng(seed, model, "noise"))


def _outputs(taught: Stack, noise: Noise, draws: int) -> Any:
    """The teacher's outputs on all of the noise, by draw and picture of the draw."""
    import torch

    parts = []
    for index_B in torch.split(torch.arange(noise.draws_KUd.shape[1]), draws):
        outputs_OB = taught.outputs(noise.batch(index_B))[0]
        parts.append(outputs_OB.view(-1, noise.each, len(index_B)).transpose(1, 2))
    return torch.cat(parts, 1)


class DigitModel(Step):
    """One teacher with its four students: `accuracy.json`. No model needs another, so that many are made at once."""

    version: ClassVar[int] = 2
    images: PicturesRef
    seed: int
    model: Annotated[int, Field(ge=0)]
    cross: Annotated[int, Field(ge=0)]
    """The model whose initialisation the cross students start from."""
    recipe: DigitRecipe = DigitRecipe()

    @model_validator(mode="after")
    def _crossed(self) -> Self:
        if self.cross == self.model:
            raise BadInput(f"model {self.model} is crossed with itself; the cross students need another's start")
        return self

    def make(self, folder: Path, store: Store) -> None:
        import torch

        torch.set_num_threads(1)  # the bytes depend on it
        found = accuracies(open_pictures(self.images), self.recipe, self.seed, self.model, self.cross)
        (folder / "accuracy.json").write_text(json.dumps(found) + "\n")

    def read(self, store: Store) -> dict[str, float]:
        """Accuracy by arm."""
        found: dict[str, float] = json.loads((store.path(self) / "accuracy.json").read_text())
        return found


class Digits(Step):
    """The experiment over models of independent initialisations: `digits.json`. `digits` writes one down."""

    opens_models: ClassVar[bool] = False

    runs: Annotated[tuple[DigitModel, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_experiment(self) -> Self:
        if len({run.model_copy(update={"model": 0, "cross": 1}) for run in self.runs}) > 1:
            raise BadInput("the models of one experiment share pictures, seed and recipe; make an experiment of each")
        if len({run.model for run in self.runs}) < len(self.runs):
            raise BadInput("a model is named twice; an interval needs independent ones")
        return self

    def make(self, folder: Path, store: Store) -> None:
        found = [run.read(store) for run in self.runs]
        by_arm = {arm: [each[arm] for each in found] for arm in ARMS}
        (folder / "digits.json").write_text(json.dumps({"models": len(found), "accuracy": by_arm}, indent=1) + "\n")

    def estimates(self, store: Store) -> dict[str, Estimate]:
        """Accuracy by arm with its interval over models."""
        return estimates(json.loads((store.path(self) / "digits.json").read_text())["accuracy"])

    def read(self, store: Store) -> dict[str, Any]:
        """`models`, `accuracy` (by arm, one a model) and `digits` (by arm, an Estimate)."""
        found: dict[str, Any] = json.loads((store.path(self) / "digits.json").read_text())
        return found | {"digits": {arm: e.model_dump() for arm, e in self.estimates(store).items()}}


def estimates(by_arm: dict[str, list[float]], level: float = 0.95) -> dict[str, Estimate]:
    """The mean over models of each arm's accuracies, with Student's t interval."""
    return {arm: mean_t(values, UNIT, level) for arm, values in by_arm.items()}


def digits(images: PicturesRef, models: int = 20, seed: int = 0, recipe: DigitRecipe | None = None) -> Digits:
    """The experiment with that many models, crossed by a derangement of them."""
    cross, recipe = derangement(models, seed), recipe or DigitRecipe()
    runs = (DigitModel(images=images, seed=seed, model=m, cross=cross[m], recipe=recipe) for m in range(models))
    return Digits(runs=tuple(runs))
