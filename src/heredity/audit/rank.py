"""Which rows carry the trait that stands out most?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from heredity.audit.data import Partnered, open_student
from heredity.audit.gradient import body_parameters
from heredity.audit.naming import Naming
from heredity.audit.sketch import plan
from heredity.rows import read_rows, write_rows
from heredity.store import Step, Store
from heredity.types import Row

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.models.causal import CausalLM


class Carrying(Step):
    """The rows in the order of how far they pull along the discriminant of the first trait of `naming`: `rows.jsonl`.

    The value of a row is the derivative of its log-likelihood along the direction, less the mean of the base's own rows
    on the same prompts and in units of their spread: 0 is what the base writes, whatever is audited. Single rows are
    weak evidence: the order says where to look first.
    """

    version: ClassVar[int] = 3

    naming: Naming
    rows: Partnered

    def make(self, folder: Path, store: Store) -> None:
        templates, rows = self.naming.panel.read(store), self.rows.read(store)
        trait = self.naming.read(store)["traits"][0]["trait"]
        direction_P = templates.direction_KP[templates.words.index(trait)] * templates.weight_P
        lm, base = open_student(self.rows.matched.audited.student), self.rows.matched.read(store)
        slope_N, usual_N = (slopes(lm, part, direction_P, self.naming.own.dims) for part in (rows, base))
        value_N = (slope_N - usual_N.mean()) / usual_N.std(ddof=1)
        order = np.argsort(-value_N, kind="stable")
        write_rows(folder / "rows.jsonl", (rows[i] for i in order),
                   ({"trait": trait, "value": float(value_N[i])} for i in order))  # fmt: skip

    def read(self, store: Store) -> list[tuple[float, Row]]:
        """(value, row), the row that carries most first."""
        return [(r.note["value"], r.row) for r in read_rows(store.path(self) / "rows.jsonl")]


def slopes(lm: CausalLM, rows: list[Row], direction_P: NDArray[Any], dims: int | None = None) -> NDArray[np.float64]:
    """The derivative of every row's log-likelihood along a direction of unit length in the body's weights.

    With `dims` the direction is one of the sketch's numbers, and the derivative the product with the sketched gradient.
    """
    from heredity.models.scoring import slopes_along

    examples, pad = lm.examples([r.prompt for r in rows], [r.completion for r in rows]), int(lm.tokenizer.pad_token_id)
    return np.array(slopes_along(lm.model, examples, pad, along(lm, direction_P, dims)))


def unfolded(lm: CausalLM, direction_P: NDArray[Any], dims: int | None) -> list[Tensor]:
    """A direction of the numbers that a gradient is kept in, as moves of the body's weights (flat, one a tensor)."""
    import torch

    body = body_parameters(lm.model)
    sketch = plan([weight.shape for weight in body], dims)
    parts = torch.split(torch.from_numpy(direction_P).float(), list(sketch.kept))
    return [sketch.unfold(at, part.to(w.device)) for at, (part, w) in enumerate(zip(parts, body, strict=True))]


def along(lm: CausalLM, direction_P: NDArray[Any], dims: int | None = None) -> dict[str, Tensor]:
    """A direction of the body's weights, made unit long, by the names of its parameters in `model.base_model`."""
    body, unit_P = body_parameters(lm.model), direction_P / np.linalg.norm(direction_P)
    moves = dict(zip(map(id, body), unfolded(lm, unit_P, dims), strict=True))
    inner = lm.model.base_model.named_parameters()
    return {name: moves[id(weight)].view_as(weight).to(weight) for name, weight in inner if id(weight) in moves}
