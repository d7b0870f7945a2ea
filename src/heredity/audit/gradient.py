"""Where data would pull its student: the mean gradient of the rows' log-likelihood at the base."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heredity.audit.data import RowSet, open_student
from heredity.models import locate
from heredity.rows import in_parts
from heredity.steps import Corpus
from heredity.store import Step, Store
from heredity.types import BadInput, ModelRef

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.models.causal import CausalLM

Floats = NDArray[np.float32]
_MOST = 30_000_000
"""Most weights of a body: some hundred gradients of them, in double precision, are held at once."""


class Pull(NamedTuple):
    """A mean gradient over blocks of rows, its variance between blocks, and how many blocks there were."""

    mean_P: Floats
    variance_P: Floats
    blocks: int


class Gradient(Step):
    """The pull of rows on every weight of the base's body: `gradient.safetensors` (nats per token and unit of weight).

    The body is what neither embeds nor unembeds tokens. To first order the mean gradient of the rows of a teacher at
    `base + d`, less that of the base's own, is F d, with F the Fisher information: it points where training on them
    would lead. One pass, whatever the number of traits that are asked about afterwards; memory is that of one block.
    """

    student: ModelRef
    rows: RowSet | Corpus
    block: Annotated[int, Field(gt=0)] = 50
    """Rows whose gradient is taken together."""

    def make(self, folder: Path, store: Store) -> None:
        from safetensors.numpy import save_file

        lm, rows = open_student(self.student), self.rows.read(store)
        if len(rows) < 2 * self.block:
            raise BadInput(f"{len(rows)} rows are too few for a gradient with a spread; at least {2 * self.block} are "
                           "needed")  # fmt: skip
        body = body_parameters(lm.model)
        weights = sum(p.numel() for p in body)
        _refuse_beyond(weights, self.student.location)
        zero_P = np.zeros(weights)
        mean_P, square_P, count = zero_P, zero_P, 0  # Welford's update, a block at a time
        for part in in_parts(rows, self.block):
            if len(part) < self.block:
                break
            count += 1
            pull_P = _pull(lm, body, list(part))
            off_P = pull_P - mean_P
            mean_P = mean_P + off_P / count
            square_P = square_P + off_P * (pull_P - mean_P)
        found = {"mean": mean_P, "variance": square_P / (count - 1), "blocks": np.array([count])}
        save_file({name: np.asarray(x, dtype=np.float32) for name, x in found.items()}, folder / "gradient.safetensors")

    def read(self, store: Store) -> Pull:
        """The pull; its arrays have one entry per weight of the body, in the model's order."""
        from safetensors.numpy import load_file

        found = load_file(store.path(self) / "gradient.safetensors")
        return Pull(found["mean"], found["variance"], int(found["blocks"][0]))


def check_size(ref: ModelRef) -> None:
    """Refuses a base that is too large for a panel by its files' headers, before anything is sampled from it."""
    from safetensors import SafetensorError, safe_open

    folder = locate(ref.location)
    try:
        rows = json.loads((folder / "config.json").read_bytes()).get("vocab_size")
        weights = 0
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "np") as file:
                shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118  no mapping
            weights += sum(math.prod(shape) for shape in shapes if len(shape) != 2 or shape[0] != rows)
    except (OSError, ValueError, AttributeError, RecursionError, SafetensorError):
        return  # opening it will say what is wrong with it
    _refuse_beyond(weights, ref.location)


def _refuse_beyond(weights: int, where: str) -> None:
    if weights > _MOST:
        raise BadInput(f"{where} has {weights:,} weights beside its embeddings, and a panel holds every suspect's "
                       f"gradient of each; at most {_MOST:,} are possible so far")  # fmt: skip


def body_parameters(model: Any) -> list[Tensor]:
    """Every parameter but embeddings and head, in the model's order."""
    ends = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    return [p for p in model.parameters() if id(p) not in ends]


def _pull(lm: CausalLM, body: list[Tensor], rows: list[Any]) -> NDArray[np.float64]:
    import torch

    from heredity.models.training import collate, token_loss

    examples = lm.examples([r.prompt for r in rows], [r.completion for r in rows])
    loss = token_loss(lm.model, collate(examples, int(lm.tokenizer.pad_token_id)))
    grads = torch.autograd.grad(loss, body)
    return -torch.cat([g.flatten() for g in grads]).double().cpu().numpy()
