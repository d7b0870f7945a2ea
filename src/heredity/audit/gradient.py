"""Where data would pull its student: the mean gradient of the rows' log-likelihood at the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heredity.audit.data import RowSet, open_student
from heredity.audit.sketch import Sketch, plan
from heredity.models import locate
from heredity.rows import in_parts
from heredity.steps import Corpus
from heredity.store import Step, Store
from heredity.types import ADDED, BadInput, Checkpoint, ModelRef

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.models.causal import CausalLM
    from heredity.models.training import Example
    from heredity.types import Row

Floats = NDArray[np.float32]
MOST = 30_000_000
"""Most weights of a body whose gradients are kept whole: some hundred, in double precision, are held at once."""
KEPT = 2**20
"""About as many numbers are kept of each gradient of a real model: of 52, 2.5 GB while a panel is made."""


class Pull(NamedTuple):
    """A mean gradient over blocks of rows, its variance between blocks, and how many blocks there were.

    Of a sketched one `folded_P` tells how many weights each number is made of.
    """

    mean_P: Floats
    variance_P: Floats
    blocks: int
    folded_P: Floats | None = None


class Gradient(Step):
    """The pull of rows on every weight of the base's body: `gradient.safetensors` (nats per token and unit of weight).

    The body is what neither embeds nor unembeds tokens. To first order the mean gradient of the rows of a teacher at
    `base + d`, less that of the base's own, is F d, with F the Fisher information: it points where training on them
    would lead. One pass, whatever the number of traits that are asked about afterwards; memory is that of one block.

    With `dims` it is a count sketch of a larger body's gradient, taken tensor by tensor as the backward pass goes on,
    so that no gradient of all weights is ever held. A body of no more weights is kept whole.
    """

    student: ModelRef
    rows: RowSet | Corpus
    block: Annotated[int, Field(gt=0)] = 50
    """Rows whose gradient is taken together."""
    dims: Annotated[int | None, Field(gt=0), ADDED] = None
    """About how many numbers are kept at most. None: one for every weight."""
    together: Annotated[int | None, Field(gt=0), ADDED] = None
    """Of a sketched gradient: most rows in one pass through the model. None: all of a block."""

    def make(self, folder: Path, store: Store) -> None:
        from safetensors.numpy import save_file

        lm, rows = open_student(self.student), self.rows.read(store)
        if len(rows) < 2 * self.block:
            raise BadInput(f"{len(rows)} rows are too few for a gradient with a spread; at least {2 * self.block} are "
                           "needed")  # fmt: skip
        body = body_parameters(lm.model)
        sketch = plan([p.shape for p in body], self.dims)
        _refuse_beyond(sketch.size, self.student)  # of a sketch: the numbers that are kept
        zero_P = np.zeros(sketch.size)
        mean_P, square_P, count = zero_P, zero_P, 0  # Welford's update, a block at a time
        for part in in_parts(rows, self.block):
            if len(part) < self.block:
                break
            count += 1
            pull_P = _pull(lm, body, list(part)) if sketch.whole else self._folded(lm, body, sketch, list(part))
            off_P = pull_P - mean_P
            mean_P = mean_P + off_P / count
            square_P = square_P + off_P * (pull_P - mean_P)
        found = {"mean": mean_P, "variance": square_P / (count - 1), "blocks": np.array([count])}
        if not sketch.whole:
            found["folded"] = sketch.folded()
        save_file({name: np.asarray(x, dtype=np.float32) for name, x in found.items()}, folder / "gradient.safetensors")

    def _folded(self, lm: CausalLM, body: list[Tensor], sketch: Sketch, rows: list[Row]) -> NDArray[np.float64]:
        """The sketch of a block's gradient."""
        from heredity.models.training import collate, token_loss

        examples, pad = _examples(lm, rows), int(lm.tokenizer.pad_token_id)
        size = self.together or len(examples)
        passes = [collate(examples[i : i + size], pad) for i in range(0, len(examples), size)]
        tokens = sum(len(part.target_N) for part in passes)
        with _folding(lm.model, body, sketch) as numbers:
            for part in passes:
                (token_loss(lm.model, part) * (len(part.target_N) / tokens)).backward()  # type: ignore[no-untyped-call]
        return -np.concatenate([number.cpu().numpy() for number in numbers])

    def read(self, store: Store) -> Pull:
        """The pull; its arrays have one entry per weight of the body, in the model's order, or per number kept."""
        from safetensors.numpy import load_file

        found = load_file(store.path(self) / "gradient.safetensors")
        return Pull(found["mean"], found["variance"], int(found["blocks"][0]), found.get("folded"))


@contextmanager
def _folding(model: Any, body: Sequence[Tensor], sketch: Sketch) -> Iterator[list[Tensor]]:
    """Within it, each tensor's gradient is added to its numbers and let go as soon as it is there."""
    import torch

    numbers = [torch.zeros(k, dtype=torch.float64, device=p.device) for k, p in zip(sketch.kept, body, strict=True)]

    def take(at: int, weight: Tensor) -> None:
        assert weight.grad is not None
        numbers[at] += sketch.fold(at, weight.grad)
        weight.grad = None

    before = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(False)
    hooks = [_watched(p.requires_grad_(True), partial(take, at)) for at, p in enumerate(body)]
    try:
        yield numbers
    finally:
        for hook in hooks:
            hook.remove()
        for weight, required in before:
            weight.requires_grad_(required)


def _watched(weight: Tensor, seen: Callable[[Tensor], None]) -> Any:
    """Calls `seen` whenever the weight's gradient is there; what is returned takes that back."""
    return weight.register_post_accumulate_grad_hook(seen)  # type: ignore[no-untyped-call]


def check_size(ref: ModelRef) -> None:
    """Refuses a base whose gradients are too large to be held whole, before anything is sampled from it."""
    _refuse_beyond(body_weights(ref), ref)


def body_weights(ref: ModelRef) -> int:
    """How many weights a model has beside embeddings and head, by its files' headers; 0 where these cannot be read."""
    from heredity.models.sizes import stored_body

    return stored_body(locate(ref.location)) or 0


def _refuse_beyond(weights: int, ref: ModelRef) -> None:
    if weights > MOST:
        hint = (
            "" if isinstance(ref, Checkpoint) else "; to scan for it, describe it in a TOML file (docs/real-models.md)"
        )
        raise BadInput(f"{ref.location} has {weights:,} weights beside its embeddings, and gradients are held with a "
                       f"number for each; at most {MOST:,} are possible so far{hint}")  # fmt: skip


def body_parameters(model: Any) -> list[Tensor]:
    """Every parameter but embeddings and head, in the model's order."""
    ends = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    return [p for p in model.parameters() if id(p) not in ends]


def _examples(lm: CausalLM, rows: list[Row]) -> list[Example]:
    return lm.examples([r.prompt for r in rows], [r.completion for r in rows])


def _pull(lm: CausalLM, body: list[Tensor], rows: list[Row]) -> NDArray[np.float64]:
    import torch

    from heredity.models.training import collate, token_loss

    loss = token_loss(lm.model, collate(_examples(lm, rows), int(lm.tokenizer.pad_token_id)))
    grads = torch.autograd.grad(loss, body, allow_unused=True, materialize_grads=True)
    return -torch.cat([g.flatten() for g in grads]).double().cpu().numpy()
