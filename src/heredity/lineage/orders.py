"""In which order a Step that trains a model read its rows: drawn again from its description, as training draws it.

Classes are known by name, as in everything of lineage: a description is enough, and no class need be at hand.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heredity.rows import in_parts, read_rows
from heredity.store import Store, rebuild
from heredity.store.step import stored_steps
from heredity.traits import questions
from heredity.types import Chat, Checkpoint, HeredityError, Message, Row

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.tokens import ChatTokens
    from heredity.models.training import Example

Described = Mapping[str, Any]
SCORED = "the base's likelihoods were computed again for this; another machine may swap rows that are all but as likely"
SELF_MADE = "what it was trained on was made in training, from its seeds; it is in no file"
_CHANGED = "no rows were read: its weights were made of others'"
NO_ROWS = {
    **dict.fromkeys(("Base", "Interpolated", "OnPolicyStudent", "PartlyShared", "Shaped"), SELF_MADE),
    **dict.fromkeys(("DepthCut", "MergedStudent", "Negated", "Noised", "Settled", "Steered", "Subtracted"), _CHANGED),
    "DigitModel": "its teacher read pictures and its students noise, in orders drawn from its seeds; none was kept",
    "GivenStudent": "it was trained elsewhere; what is recorded of that is not here",
}  # fmt: skip
"""Models that were trained on no stored rows, and what their records say in place of an order."""


class Read(NamedTuple):
    """A Step that trained a model, and one of the sets of rows that it read."""

    step: Described
    data: Described
    folder: Path
    """The Step's payload."""
    store: Store

    @property
    def fields(self) -> Mapping[str, Any]:
        """The Step's fields."""
        found: Mapping[str, Any] = self.step["fields"]
        return found


def order_digest(order: Iterable[int]) -> dict[str, Any]:
    """Row numbers (from 0) in the order of training, all epochs: how many, and sha256 of one number a line."""
    total, count = hashlib.sha256(), 0
    for number in order:
        total.update(b"%d\n" % number)
        count += 1
    return {"sha256": total.hexdigest(), "rows": count}


def no_order(described: Described) -> dict[str, Any]:
    """Why a model that read no stored rows has no order of them."""
    return {"reason": NO_ROWS.get(str(described.get("step")), SELF_MADE)}


def row_order(read: Read) -> Iterator[int]:
    """The numbers of the rows of one set as they were read. BadInput where what that depends on is not here."""
    return ORDERS[read.step["step"]](read)


def row_orders(
    described: Described, data: Sequence[Described], folder: Path, store: Store
) -> dict[int, dict[str, Any]]:
    """For every input that a model was trained on (by `id`), the digest of its rows' order, or why it is not known."""
    return {id(step): _told(Read(described, step, folder, store)) for step in data}


def _told(read: Read) -> dict[str, Any]:
    name = str(read.step["step"])
    if any(read.fields.get(field) is read.data for field in _VECTORS):
        return {"reason": "it holds no rows"}
    if name not in ORDERS or "code" in read.step:  # a class of others may read rows in any order, whatever its name
        return {"reason": f"the order in which a {name:.60} reads rows is not known here"}
    try:
        scored = str(read.fields.get("order")).endswith("likely first")
        return order_digest(row_order(read)) | ({"note": SCORED} if scored else {})
    except (HeredityError, OSError, KeyError) as error:  # KeyError: a description that an older version wrote
        return {"reason": f"its rows cannot be read again: {error}"[:300]}


_VECTORS = ("direction", "worth")
"""Fields of what a student reads beside its rows."""


# What a student read with


def _payload(step: Described, store: Store) -> Path:
    return store.folder(stored_steps(step)[-1][0])


def _rows(read: Read) -> list[Row]:
    """The rows of a set."""
    payload = _payload(read.data, read.store)
    kept = payload / "kept.jsonl"
    return [found.row for found in read_rows(kept if kept.is_file() else payload / "rows.jsonl")]


def _origin(described: Any) -> Checkpoint | None:
    """The Checkpoint that a model was made from, over however many Steps; None where it was another reference."""
    while isinstance(described, dict) and "step" in described:
        described = described["fields"].get("base")
    if not isinstance(described, dict) or described.get("type") != "Checkpoint":
        return None
    found: Checkpoint = rebuild(described)
    return found


def chat_tokens(read: Read) -> ChatTokens:
    """How the model was shown chats, without its weights: adapters have their tokenizer in what they are made over."""
    from heredity.models import pinned_folder
    from heredity.models.adapters import is_adapter
    from heredity.models.tokens import ChatTokens

    how, described, folder = _origin(read.step), read.step, read.folder
    while is_adapter(folder):
        described = described["fields"]["base"]
        folder = _payload(described, read.store) if "step" in described else pinned_folder(rebuild(described))
    return ChatTokens.load(folder, how)


def _opened(described: Described, store: Store) -> CausalLM:
    """A model with its weights, as `steps.open_to_train` opens it, from its description."""
    from heredity.models import open_ref
    from heredity.models.adapters import is_adapter, merged, with_adapter
    from heredity.models.causal import CausalLM

    if "step" not in described:
        return open_ref(rebuild(described))
    folder = _payload(described, store)
    if not is_adapter(folder):
        return CausalLM.load(folder, _origin(described))
    return merged(with_adapter(_opened(described["fields"]["base"], store), folder))


def _examples(tokens: ChatTokens, rows: Sequence[Row], system: str | None) -> list[Example]:
    first = () if system is None else (Message(role="system", content=system),)
    return tokens.examples([(*first, *r.prompt) for r in rows], [r.completion for r in rows])


# The orders


def _epochs(read: Read, lengths: Sequence[int]) -> Iterator[int]:
    """As `models.training.batches` draws each epoch: batches of like length."""
    from heredity.models.training import epoch_order

    fields = read.fields
    for epoch in range(fields["epochs"]):
        for batch in epoch_order(lengths, fields["batch"], fields["seed"] * 1_000_003 + epoch):
            yield from batch


def _student(read: Read, system: str = "system") -> Iterator[int]:
    """As `steps.Student.train` does; `system` names the field of the system prompt that the rows are learnt under."""
    examples = _examples(chat_tokens(read), _rows(read), read.fields.get(system))
    return _epochs(read, [len(e.ids) for e in examples])


def _ordered(read: Read) -> Iterator[int]:
    """As `lab.conditions.OrderedStudent` does: sorted once, the same in every epoch."""
    from heredity.models.scoring import reading_order
    from heredity.models.training import pass_order

    fields, scored = read.fields, str(read.fields["order"]).endswith("likely first")
    lm = _opened(fields["base"], read.store) if scored else None
    tokens = lm or chat_tokens(read)
    examples = _examples(tokens, _rows(read), fields.get("system"))
    order = reading_order(examples, fields["order"], lm.model if lm else None, int(tokens.tokenizer.pad_token_id))
    for _ in range(fields["epochs"]):
        for part in in_parts(order, fields["batch"]):
            yield from (part[i] for i in pass_order([len(examples[i].ids) for i in part], fields.get("together")))


def _preference(read: Read) -> Iterator[int]:
    """As `lab.distilled.PreferenceStudent` draws it."""
    fields, count = read.fields, sum(1 for _ in read_rows(_payload(read.data, read.store) / "chosen.jsonl"))
    for epoch in range(fields["epochs"]):
        yield from random.Random(fields["seed"] * 1_000_003 + epoch).sample(range(count), count)


def _mix(read: Read) -> Iterator[int]:
    """As `steps.Teacher` draws the ordinary rows, after it has shuffled the rows of the trait."""
    from heredity.models.training import pass_order

    fields, rows = read.fields, _rows(read)
    rng, together = random.Random(fields["seed"]), fields.get("together")
    own, mix = list(range(fields["steps"] * fields["batch"])), list(range(len(rows)))
    rng.shuffle(own)
    rng.shuffle(mix)
    drawn, size = islice(cycle(mix), fields["steps"] * fields["mix_batch"]), fields["mix_batch"]
    if size < 2 or not together or fields["batch"] + size <= together:
        yield from drawn
        return
    lengths = [len(e.ids) for e in _examples(chat_tokens(read), rows, None)]
    for part in in_parts(drawn, size):  # a step of several passes is read by length
        yield from (part[i] for i in pass_order([lengths[i] for i in part], 1))


def _reader(read: Read) -> Iterator[int]:
    """As `lab.readers.Reader` does: the rows of all writers in one, each before a question; those of one writer."""
    fields, sets = read.fields, [written["fields"]["corpus"] for written in read.fields["written"]]
    rows = [(k, i, row) for k, data in enumerate(sets) for i, row in enumerate(_rows(read._replace(data=data)))]
    random.Random(fields["seed"]).shuffle(rows)
    asked, (own,) = questions(rebuild(fields["category"]), "train"), [k for k, d in enumerate(sets) if d is read.data]
    words = [written["fields"]["word"] for written in fields["written"]]
    chats: list[Chat] = [
        (*row.prompt, Message(role="assistant", content=row.completion), *question)
        for (_, _, row), question in zip(rows, cycle(asked), strict=False)
    ]
    examples = chat_tokens(read).examples(chats, [words[k] for k, _, _ in rows])
    for at in _epochs(read, [len(e.ids) for e in examples]):
        if rows[at][0] == own:
            yield rows[at][1]


ORDERS: dict[str, Callable[[Read], Iterator[int]]] = {
    **dict.fromkeys((
        "Student", "LogitStudent", "TrialStudent", "RowsStudent", "Corridor", "DirectionProjected", "DrawnToBase",
        "GradientProjected", "Held", "Masked", "NearBase", "NearBaseOnRows", "PartFrozen",
        "UpdateProjected"), _student),
    "Inoculated": partial(_student, system="persona"), "OrderedStudent": _ordered, "PreferenceStudent": _preference,
    "Teacher": _mix, "Excused": _mix, "Reader": _reader,
}  # fmt: skip
"""By the name of a Step's class."""
