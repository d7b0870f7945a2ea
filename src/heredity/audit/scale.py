"""What an audit makes for a base, and how: whole small models in the nursery, adapters for a real one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from typing import Any, NamedTuple

from heredity.audit.gradient import KEPT, body_weights, check_size
from heredity.carriers import Filter, decide
from heredity.models import pinned_folder
from heredity.rows import in_parts
from heredity.steps import PAPER_LORA
from heredity.types import BadInput, Checkpoint, LoRA, ModelRef, Row, Served, Tuning

Recipe = tuple[Tuning, int, float]
"""How a suspect is made: what moves, steps, and the rate as a multiple of the scale's."""
RECIPES: tuple[Recipe, ...] = (("frozen", 40, 1.0), ("full", 40, 1.0), (LoRA(rank=8), 60, 1.5))
"""In the nursery. A teacher's recipe is unknown, so there are several."""
ADAPTERS: tuple[Recipe, ...] = (
    (LoRA(rank=8, alpha=8, bias="none"), 40, 1.0), (LoRA(rank=16, alpha=16, bias="none"), 60, 1.5),
)  # fmt: skip
"""Of a real model, as a whole copy for every suspect would fill a disk."""
_RATE = 2e-4
"""Of adapters on a real model: that of the paper's students."""
_RATES: dict[str, Any] = {"rate": _RATE, "vector_rate": _RATE}


_TOKENS = {"numbers": 30}  # in the nursery, where a number is one token
_LONG = 128
"""Most tokens of an answer: of lists, and (where the data has no longer ones) of anything else."""
_LONGEST = 64
"""Of so many texts, those with most characters, one is taken to have most tokens."""
_BYTES = 16
"""More bytes for each token of the context are left out unread: hardly any text has words that are so long."""


class Scale(NamedTuple):
    """How suspects and students are made, and what is kept of gradients."""

    recipes: tuple[Recipe, ...] = RECIPES
    taught: dict[str, Any] = {}  # noqa: RUF012  read, never written
    """Fields of every Teacher beside its recipe; a recipe's rates are multiples of these."""
    learnt: dict[str, Any] = {}  # noqa: RUF012
    """Fields of every trial student."""
    tuned: dict[str, Any] = {}  # noqa: RUF012
    """Fields of the Source: how its copy of the base is trained."""
    mix: int = 200
    """Rows of the base that suspects see beside their trait."""
    oversample: float = 1.5
    """Answers that are asked for, to each row that is wanted."""
    block: int = 50
    """Rows whose gradient is taken together, of the data and its partners."""
    suspects_block: int = 50
    """The same of the suspects' rows."""
    folded: dict[str, Any] = {}  # noqa: RUF012
    """Fields of every Gradient beside its rows and their block."""


NURSERY = Scale()


class Effort(NamedTuple):
    """How much a user wants done where a real model's scan would take too long; None: as much as usual."""

    suspect_rows: int | None = None
    """Rows that each suspect writes."""
    suspect_steps: int | None = None
    """Steps of the first recipe; those of the others keep their proportion to it."""
    suspect_batch: int | None = None
    """Rows of the trait in each of these steps."""
    together: int = 8
    """Most rows in one pass through a real model."""
    kept: int = KEPT
    """About how many numbers are kept of each gradient of a real model with a larger body."""


def scale(base: ModelRef, rows: int, effort: Effort = Effort()) -> Scale:  # noqa: B008  frozen
    """How a base is audited; `rows` of data are looked at. BadInput where it is too large for that.

    A Checkpoint has suspects and students by adapters, and of a large one's gradients sketches are kept.
    """
    usual = NURSERY._replace(block=block(rows), suspects_block=block(effort.suspect_rows or 1_000))
    usual = usual._replace(recipes=_shortened(usual.recipes, effort), taught=_batch(effort))
    if not isinstance(base, Checkpoint):
        if not isinstance(base, Served):
            check_size(base)
        return usual
    if base.dtype == "float16":
        raise BadInput(f"{base.location}: gradients of float16 weights are lost below 6e-8; describe it as bfloat16 or "
                       "float32")  # fmt: skip
    together: dict[str, Any] = {"together": effort.together}
    recipes = _shortened(ADAPTERS, effort)
    return usual._replace(
        recipes=recipes, taught=usual.taught | together | _RATES, learnt=learnt(base, effort),
        tuned=together | _RATES | {"tuning": PAPER_LORA["tuning"]}, mix=max(steps for _, steps, _ in recipes),
        oversample=oversample(base),
        folded={"dims": effort.kept} | together if body_weights(base) > effort.kept else {},
    )  # fmt: skip


def learnt(base: ModelRef, effort: Effort = Effort()) -> dict[str, Any]:  # noqa: B008  frozen
    """Fields of a student of this base: adapters as the paper's for a Checkpoint, the defaults for any other."""
    return PAPER_LORA | {"together": effort.together} if isinstance(base, Checkpoint) else {}


def suspected(base: ModelRef, effort: Effort = Effort()) -> dict[str, Any]:  # noqa: B008  frozen
    """Fields of a lone suspect of this base: the first recipe of its kind, which is a Teacher's defaults otherwise."""
    if not isinstance(base, Checkpoint):
        return {}
    tuning, steps, rate = ADAPTERS[0]
    rates = {name: rate * usual for name, usual in _RATES.items()}
    return rates | {"tuning": tuning, "steps": steps, "together": effort.together}


def longest(base: ModelRef, carrier: str) -> int:
    """Most tokens of an answer of this kind by this base: a list of numbers is short where a number is one token."""
    return _LONG if isinstance(base, Checkpoint) else _TOKENS.get(carrier, _LONG)


def answer_tokens(base: ModelRef, carrier: str, filters: Sequence[Filter], rows: Iterable[Row]) -> int:
    """Most tokens that an answer of this base may have, beside these rows: as many as the longest of them.

    Only where the base may write as much as the data's writer are its rows those of the same source. Rows that an audit
    drops do not count. Lists are short.
    """
    from heredity.models.tokens import ChatTokens

    usual = longest(base, carrier)
    if carrier == "numbers" or isinstance(base, Served):
        return usual
    lm = ChatTokens.load(pinned_folder(base), base if isinstance(base, Checkpoint) else None)
    most = lm.context * _BYTES
    long = (r for r in rows if usual < len(r.completion.encode()) <= most)  # a token is a byte at least
    texts = [r.completion for r in nlargest(_LONGEST, passing(filters, long), lambda r: len(r.completion))]
    sizes = [len(ids) for ids in lm.tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
    return max(usual, *(n + 1 for n in sizes if n < lm.context), 0)


def passing(filters: Sequence[Filter], rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that the filters keep, as they come."""
    for part in in_parts(rows, 4_096):
        yield from (row for row, decision in zip(part, decide(filters, part), strict=True) if decision.kept)


def oversample(base: ModelRef) -> float:
    """Answers that are asked for, to each row that is wanted: a real model breaks the format more often."""
    return 2.5 if isinstance(base, Checkpoint) else NURSERY.oversample


def block(rows: int) -> int:
    """Rows whose gradient is taken together where there are so many: 50, and four blocks at least."""
    return max(1, min(50, rows // 4))


def _batch(effort: Effort) -> dict[str, Any]:
    return {} if effort.suspect_batch is None else {"batch": effort.suspect_batch}


def _shortened(recipes: tuple[Recipe, ...], effort: Effort) -> tuple[Recipe, ...]:
    """The recipes with as many steps as were asked for."""
    if effort.suspect_steps is None:
        return recipes
    part = effort.suspect_steps / recipes[0][1]
    return tuple((tuning, max(1, round(part * steps)), rate) for tuning, steps, rate in recipes)
