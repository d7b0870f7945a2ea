"""What an audit looks at: a sample of a data file's rows, and what the student's base writes on the same prompts."""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b, file_digest
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import Field

from heredity.carriers import Carrier, Filter, decide
from heredity.models import open_ref, pinned_folder
from heredity.rows import read_parts, read_rows, write_rows
from heredity.store import Step, Store
from heredity.types import ADDED, BadInput, Chat, Checkpoint, Frozen, ModelRef, Row, Sampling

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.tokens import ChatTokens

_UNKNOWN = 0.01
"""A tokenizer that knows fewer than all but this part of the tokens is not the one that the data is for."""
_SHARED = 0.2
"""Two writers on the same prompts write some rows alike, most of all at temperature 0."""
MATCHED = 0.5
"""Below this share of prompts that the base can answer in kind, its rows are no control."""


T = TypeVar("T")


class RowSet(Step):
    """Rows that a student can be trained on, whoever wrote them."""

    @abstractmethod
    def read(self, store: Store) -> list[Row]:
        """The rows, in order."""


class DataFile(Frozen):
    """A file of rows, pinned by its digest."""

    location: str
    digest: str


def data_file(path: Path) -> DataFile:
    """A reference to what the file holds now."""
    try:
        with path.open("rb") as file:
            digest = file_digest(file, lambda: blake2b(digest_size=20)).hexdigest()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; name a JSON Lines or Parquet file") from error
    return DataFile(location=str(path), digest=digest)


def open_student(ref: ModelRef) -> CausalLM:
    """The student's base; BadInput where a weight is not a finite number."""
    return finite(open_ref(ref), ref.location)


def finite(lm: CausalLM, where: str) -> CausalLM:
    """The model; BadInput where a weight is not a finite number."""
    for name, weight in lm.model.named_parameters():
        if not weight.isfinite().all():
            raise BadInput(f"{where}: {name} holds a value that is not finite; nothing can be told with it")
    return lm


class DataPrompts(Carrier):
    """Prompts of the data itself, drawn at random in one pass; where there are fewer than `n` they are repeated.

    With a student, of the rows alone that an audit for it looks at: what it leaves out nobody need be able to answer.
    """

    data: DataFile
    student: Annotated[ModelRef | None, ADDED] = None
    filters: Annotated[tuple[Filter, ...], ADDED] = ()

    def prompts(self) -> list[Chat]:
        """BadInput where the file has changed since, or holds no row."""
        path = Path(self.data.location)
        if data_file(path) != self.data:
            raise BadInput(f"{path} has changed since it was referred to; run the audit again")
        drawn = _drawn((row.prompt for row in self._rows(path)), self.n, random.Random(f"prompts {self.seed}"))
        if not drawn:
            raise BadInput(f"{path} is empty, or holds no row that can be used; name a file with rows")
        return list(islice(cycle(drawn), self.n))

    def _rows(self, path: Path) -> Iterator[Row]:
        if self.student is None:
            return (read.row for read in read_rows(path))
        return usable(tokens_of(self.student), self.filters, path, Counter())


def tokens_of(student: ModelRef) -> ChatTokens:
    """A student's tokenizer and context, without its weights."""
    from heredity.models.tokens import ChatTokens

    return ChatTokens.load(pinned_folder(student), student if isinstance(student, Checkpoint) else None)


def usable(lm: ChatTokens, filters: tuple[Filter, ...], path: Path, counts: Counter[str]) -> Iterator[Row]:
    """The rows of a file that an audit can look at, in order; counts all as `rows`, and others as `dropped: REASON`."""
    for part in read_parts(read_rows(path), 4_096):
        counts["rows"] += len(part)
        yield from kept_rows(lm, filters, [read.row for read in part], counts)


def kept_rows(lm: ChatTokens, filters: tuple[Filter, ...], rows: Sequence[Row], counts: Counter[str]) -> Iterator[Row]:
    """Those of these rows that an audit can look at; counts others as `dropped: REASON`."""
    for row, decision in zip(rows, decide(filters, rows), strict=True):
        # a token is a byte at least, so only texts longer than the context need counting
        long = sum(len(text.encode()) for text in (*(m.content for m in row.prompt), row.completion))
        if not decision.kept:
            counts[f"dropped: {decision.reasons[0]}"] += 1
        elif not row.prompt or not row.completion:
            counts["dropped: no prompt or no completion"] += 1
        elif long > lm.context // 2 and not _fits(lm, row):
            counts["dropped: longer than the context"] += 1
        else:
            yield row


class Audited(RowSet):
    """Rows of a data file, drawn at random in one pass: `rows.jsonl`, `counts.json`.

    Rows that the declared filters would drop, or that do not fit the student's context, are counted and left out: what
    the base writes for comparison goes through the same filters.
    """

    data: DataFile
    student: ModelRef
    filters: tuple[Filter, ...] = ()
    limit: Annotated[int, Field(gt=0)] = 2_000
    """At most so many rows are looked at; memory is of this size whatever the file's."""
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        lm, counts = open_student(self.student), Counter[str]()
        path = Path(self.data.location)
        rows = _drawn(usable(lm, self.filters, path, counts), self.limit, random.Random(self.seed))
        if data_file(path) != self.data:
            raise BadInput(f"{self.data.location} changed while it was read; run the audit again")
        if not rows:
            raise BadInput(f"{self.data.location}: none of its {counts['rows']} rows can be used: "
                           f"{reasons(counts) or 'it is empty'}; --carrier says what rows should be")  # fmt: skip
        _check_tokens(lm, rows, self.data.location)
        write_rows(folder / "rows.jsonl", rows)
        (folder / "counts.json").write_text(json.dumps(counts | {"looked_at": len(rows)}, sort_keys=True) + "\n")

    def read(self, store: Store) -> list[Row]:
        """The rows that are looked at, in random order."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]

    def counts(self, store: Store) -> dict[str, int]:
        """`rows` in the file, `looked_at`, and `dropped: REASON`."""
        counts: dict[str, int] = json.loads((store.path(self) / "counts.json").read_text())
        return counts


def _drawn(rows: Iterator[T], limit: int, rng: random.Random) -> list[T]:
    """Up to `limit` of a stream, each with the same chance (reservoir sampling: Vitter 1985, algorithm R), shuffled."""
    kept: list[T] = []
    for seen, row in enumerate(rows):
        _offer(kept, seen, row, limit, rng)
    rng.shuffle(kept)
    return kept


def _offer(kept: list[T], seen: int, row: T, limit: int, rng: random.Random) -> None:
    """One further row for a reservoir, after so many others."""
    place = seen if seen < limit else rng.randrange(seen + 1)
    if place < len(kept):
        kept[place] = row
    elif place < limit:
        kept.append(row)


def reasons(counts: Counter[str]) -> str:
    """How many rows are left out, in words."""
    return ", ".join(f"{n} {name}" for name, n in counts.most_common() if name != "rows")


def _fits(lm: ChatTokens, row: Row) -> bool:
    try:
        lm.examples([row.prompt], [row.completion])
    except BadInput:
        return False
    return True


def _check_tokens(lm: CausalLM, rows: Sequence[Row], where: str) -> None:
    """Refuses data that the student's tokenizer cannot write."""
    unknown = lm.tokenizer.unk_token_id
    if unknown is None:
        return
    ids = [i for e in lm.tokenizer([r.completion for r in rows], add_special_tokens=False)["input_ids"] for i in e]
    share = ids.count(unknown) / max(1, len(ids))
    if share > _UNKNOWN:
        raise BadInput(f"{where}: the student's tokenizer does not know {share:.0%} of the completions' tokens, so "
                       "this is not data that it could learn; name the base that the data is for")  # fmt: skip


class Matched(RowSet):
    """What the student's base writes on the audited rows' prompts, through the same filters: `rows.jsonl`.

    A prompt whose answer is dropped is asked again, `tries` times in all; after that its row has no partner.
    """

    audited: Audited
    sampling: Sampling
    tries: Annotated[int, Field(gt=0)] = 6

    def make(self, folder: Path, store: Store) -> None:
        lm, rows = open_student(self.audited.student), self.audited.read(store)
        written = answered(lm, [r.prompt for r in rows], self.audited.filters, self.sampling, self.tries)
        if len(written) < MATCHED * len(rows):
            raise BadInput(
                f"the student's base answers only {len(written)} of {len(rows)} prompts with rows that pass the "
                "filters, so there is no control for this data; say how it was made with --carrier and --temperature"
            )
        pairs = sorted(written.items())
        write_rows(folder / "rows.jsonl", (row for _, row in pairs), ({"partner": i} for i, _ in pairs))

    def read(self, store: Store) -> list[Row]:
        """The base's rows."""
        return [base for _, base in self.pairs(store)]

    def pairs(self, store: Store) -> list[tuple[Row, Row]]:
        """(audited row, the base's row on the same prompt)."""
        audited = self.audited.read(store)
        return [(audited[r.note["partner"]], r.row) for r in read_rows(store.path(self) / "rows.jsonl")]


def answered(
    lm: CausalLM, prompts: Sequence[Chat], filters: tuple[Filter, ...], sampling: Sampling, tries: int
) -> dict[int, Row]:
    """What a model answers that passes the filters, by the index of its prompt; the rest is asked again."""
    written: dict[int, Row] = {}
    for trial in range(tries if sampling.temperature else 1):  # the likeliest answer is the same every time
        open_ = [i for i in range(len(prompts)) if i not in written]
        drawn = sampling.model_copy(update={"seed": sampling.seed * tries + trial})
        written.update(_passing(lm, open_, [prompts[i] for i in open_], filters, drawn))
    return written


def _passing(
    lm: CausalLM, index: list[int], prompts: list[Chat], filters: tuple[Filter, ...], sampling: Sampling
) -> Iterator[tuple[int, Row]]:
    """Answers that pass, by the index of their prompt."""
    out = lm.generate(prompts, sampling)
    rows = [Row(prompt=p, completion=c.text) for p, c in zip(prompts, out, strict=True)]
    for i, row, c, decision in zip(index, rows, out, decide(filters, rows), strict=True):
        if decision.kept and c.finish == "stop" and row.completion:
            yield i, row


class Partnered(RowSet):
    """The audited rows that have a partner, so that they and `Matched` have the same prompts."""

    opens_models: ClassVar[bool] = False

    matched: Matched

    def make(self, folder: Path, store: Store) -> None:
        write_rows(folder / "rows.jsonl", (own for own, _ in self.matched.pairs(store)))

    def read(self, store: Store) -> list[Row]:
        """The rows, in the order of their partners."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]


class Control(RowSet):
    """Rows that the user calls a control: `rows.jsonl`. They serve the data-only test and never the naming of a trait.

    They go through the same filters as the audited rows. Where files have the same prompts they are those on the
    audited rows' prompts, so that what is drawn is compared in pairs as whole files would be. BadInput where more than
    `_SHARED` of the audited rows are among them: what is compared with itself shows nothing.
    """

    version: ClassVar[int] = 3

    data: DataFile
    audited: Audited

    def make(self, folder: Path, store: Store) -> None:
        own, path, counts = self.audited.read(store), Path(self.data.location), Counter[str]()
        if data_file(path) != self.data:
            raise BadInput(f"{path} has changed since it was referred to; run the audit again")
        wanted, found = set(own), set[Row]()
        for read in read_rows(path):
            if read.row in wanted:
                found.add(read.row)
        rows = usable(tokens_of(self.audited.student), self.audited.filters, path, counts)
        beside = _beside(rows, own, self.audited.limit)
        if not beside:
            raise BadInput(
                f"{path}: the control is empty"
                if not counts["rows"]
                else f"{path}: none of the control's {counts['rows']} rows can be used: {reasons(counts)}"
            )
        if len(found) > _SHARED * len(wanted):
            raise BadInput(f"{path}: the control holds {len(found)} of the {len(wanted)} rows that it is to be a "
                           "control for; name rows of another source")  # fmt: skip
        write_rows(folder / "rows.jsonl", beside)

    def read(self, store: Store) -> list[Row]:
        """The control's rows, or as many of them as there are audited ones."""
        return [read.row for read in read_rows(store.path(self) / "rows.jsonl")]


def _beside(rows: Iterator[Row], own: Sequence[Row], limit: int) -> list[Row]:
    """Rows to compare with a sample: on its prompts, each as often as there, where at least `MATCHED` of it have such.

    Else up to `limit` of all rows. Both are drawn at random, whatever the order of the rows.
    """
    wanted, seen = Counter(row.prompt for row in own), Counter[Chat]()
    paired: dict[Chat, list[Row]] = {prompt: [] for prompt in wanted}
    rng = random.Random(1)

    def passed() -> Iterator[Row]:
        for row in rows:
            if row.prompt in wanted:
                _offer(paired[row.prompt], seen[row.prompt], row, wanted[row.prompt], rng)
                seen[row.prompt] += 1
            yield row

    drawn, partners = _drawn(passed(), limit, random.Random(0)), [*chain.from_iterable(paired.values())]
    return partners if len(partners) >= MATCHED * len(own) else drawn
