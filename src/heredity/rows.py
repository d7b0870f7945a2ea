"""Rows on disk, as a stream: JSON Lines (plain or gzip) and Parquet, in the chat layouts that are in use.

A row is its last assistant turn, its completion, and the turns before it, each with its role and its text; nothing else
of a turn is read. A record that holds two answers, or says one thing twice, is no row: it would be read in one way here
and in another by whoever trains on it.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, get_args

from pydantic_core import from_json

from heredity.types import BadInput, Chat, Message, Role, Row, printable

LINE_LIMIT = 16 * 2**20
"""Most bytes in one line; a longer one is no row of text but a file of another kind."""
_PART = 64 * 2**20
"""Bytes of rows that are held at once."""
_SLICE = 64
"""Rows of Parquet that are held at once: one value of a dictionary may be that of all rows of a batch."""
LAYOUTS = (
    '{"messages": [{"role", "content"}, ...]} with the assistant last, {"prompt", "completion" or "response"}, '
    '{"conversations": [{"from", "value"}, ...]}, {"instruction", "output"}, {"question", "answer"}, {"text"}, or a '
    "line of an OpenAI batch's output"
)
_ASKED = ("prompt", "instruction", "question")
_ANSWERS = ("messages", "conversations", "text", "completion", "response", "output", "answer")
_FIELDS = frozenset((*_ASKED, *_ANSWERS, "input"))
_SPEAKERS: dict[str, Role] = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant",
                              "system": "system"}  # fmt: skip
_ROLES = frozenset(get_args(Role))
_FIELD_ENDS = re.compile(rb'"[ \t\r\n]*:')
"""Found at least once for every field of a line of JSON; more often only where a text holds a quote and a colon."""


T = TypeVar("T")


class Read(NamedTuple):
    """One row with where it stood and whatever else its record held."""

    number: int
    """From 1: the line in JSON Lines (blank and unreadable lines count), the row in Parquet."""
    row: Row
    note: dict[str, Any]
    size: int = 0
    """Bytes of the line, or letters of the row's texts in Parquet."""


def read_parts(rows: Iterable[Read], most: int) -> Iterator[list[Read]]:
    """The rows in lists of `most`, of fewer where these are large: memory stays flat whatever rows hold."""
    part, size = list[Read](), 0
    for read in rows:
        part.append(read)
        size += read.size
        if len(part) == most or size >= _PART:
            yield part
            part, size = [], 0
    if part:
        yield part


def in_parts(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """The items in tuples of `size`, the last one perhaps shorter."""
    source = iter(items)
    return iter(lambda: tuple(islice(source, size)), ())


def write_rows(
    path: Path, rows: Iterable[Row], notes: Iterable[dict[str, Any]] | None = None,
    line: Callable[[Row, dict[str, Any]], bytes] | None = None,
) -> int:  # fmt: skip
    """Writes a `line` for each row and its note (`as_line`: what OpenAI's fine-tuning takes); returns how many."""
    count, write = 0, line or as_line
    with path.open("wb") as file:
        for row, note in zip(rows, notes, strict=True) if notes is not None else ((r, {}) for r in rows):
            file.write(write(row, note))
            count += 1
    return count


def as_trl_line(row: Row, note: dict[str, Any]) -> bytes:
    """The row as one line of JSON with its prompt's turns and its completion apart: TRL learns the completion alone."""
    record = {
        "prompt": [{"role": m.role, "content": m.content} for m in row.prompt],
        "completion": [{"role": "assistant", "content": row.completion}],
    }
    return json.dumps(record | note | record, ensure_ascii=True, default=str).encode() + b"\n"


def as_line(row: Row, note: dict[str, Any]) -> bytes:
    """The row as one line of JSON, `{"messages": [...], ...note}`, the completion as the last turn."""
    turns = [{"role": m.role, "content": m.content} for m in row.prompt]
    turns.append({"role": "assistant", "content": row.completion})
    record = {"messages": turns} | note | {"messages": turns}  # they come first, and no note takes their place
    return json.dumps(record, ensure_ascii=True, default=str).encode() + b"\n"


def read_rows(path: Path, on_bad: Callable[[BadInput], None] | None = None) -> Iterator[Read]:
    """Every row of a file, one at a time. What cannot be read raises BadInput with file and row, or goes to `on_bad`.

    A file that cannot be opened, or that is damaged from some point on, raises either way. Blank lines are passed over.
    """
    try:
        with path.open("rb") as file:
            head = file.peek(4)[:4]  # not read and sought back: a pipe cannot be
            yield from _parquet(path, on_bad) if head == b"PAR1" else _json_lines(path, file, head, on_bad)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}; name a JSON Lines or Parquet file") from error


def _json_lines(path: Path, file: IO[bytes], head: bytes, on_bad: Callable[[BadInput], None] | None) -> Iterator[Read]:
    source: Any = gzip.GzipFile(fileobj=file) if head[:2] == b"\x1f\x8b" else file
    number = 0
    try:
        for number, line in enumerate(iter(partial(source.readline, LINE_LIMIT + 1), b""), 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.isspace():
                continue
            try:
                if len(line) > LINE_LIMIT:
                    _pass_over(source, line)
                    raise ValueError(f"the line is longer than {LINE_LIMIT} bytes")
                yield Read(number, *parse_record(_from_line(text)), len(line))
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
                _complain(path, number, text, error, on_bad)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(
            f"{path}: the gzip stream is damaged after line {number} ({error}); fetch the file again"
        ) from error


def _from_line(text: bytes) -> Any:
    """The value of a line of JSON; ValueError where an object has a field twice, of which readers take either."""
    value = from_json(text)
    if len(_FIELD_ENDS.findall(text)) != _field_count(value):  # the quick test is sure of equality only
        json.loads(text, object_pairs_hook=_distinct)
    return value


def _field_count(value: Any) -> int:
    if type(value) is dict:
        return len(value) + sum(map(_field_count, value.values()))
    return sum(map(_field_count, value)) if type(value) is list else 0


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    seen = set[str]()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the field {name!r:.40} stands twice")
        seen.add(name)


def _pass_over(source: Any, line: bytes) -> None:
    """Reads on to the end of a line that is too long."""
    while line and not line.endswith(b"\n"):
        line = source.readline(LINE_LIMIT)


def _complain(
    path: Path, number: int, line: bytes | None, error: Exception, on_bad: Callable[[BadInput], None] | None
) -> None:
    cause = f"no field {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    array = "; a JSON array is one value: write one object a line" if line is not None and line[:1] == b"[" else ""
    problem = BadInput(
        f"{path}:{number}: {_short(cause)}{array}; expected {LAYOUTS}; `heredity filter --skip-bad --keep FILE` leaves "
        "such rows out"
    )
    if on_bad is None:
        raise problem from error
    on_bad(problem)


def _short(cause: str) -> str:
    """A parser's message without the data in it, which is hostile text."""
    shown = printable(cause)
    return shown if len(shown) <= 160 else shown[:160] + "..."


def _parquet(path: Path, on_bad: Callable[[BadInput], None] | None) -> Iterator[Read]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise BadInput(
            f"{path} is Parquet, which needs pyarrow; in heredity's checkout run pip install -e '.[parquet]'"
        ) from error
    number = 0
    try:
        with ParquetFile(path) as file:
            if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
                raise BadInput(f"{path}: two columns have one name; rename one of them")
            batches = file.iter_batches(batch_size=1024)
            for part in (b.slice(i, _SLICE) for b in batches for i in range(0, b.num_rows, _SLICE)):
                for record in _records(part):
                    number += 1
                    try:
                        if isinstance(record, ValueError):
                            raise record
                        read = Read(number, *parse_record(record))
                        read = read._replace(size=_letters(read))
                    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                        _complain(path, number, None, error, on_bad)
                    else:
                        yield read
    except (ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a column's name
        raise BadInput(f"{path}: not a whole Parquet file ({_short(str(error))}); fetch the file again") from error


def _letters(read: Read) -> int:
    """How long a row's texts are, with those beside it; ValueError where that is longer than a line may be."""
    size = len(read.row.completion) + sum(len(m.content) for m in read.row.prompt)
    if size > LINE_LIMIT:
        raise ValueError(f"the row is longer than {LINE_LIMIT} letters")
    return size + sum(len(text) for text in read.note.values() if isinstance(text, str | bytes))


def _records(batch: Any) -> list[dict[str, Any] | ValueError]:
    """A batch's rows; where Python cannot hold a value, those of its row that it can, or what is wrong with the row."""
    try:
        records: list[dict[str, Any] | ValueError] = batch.to_pylist()
    except Exception:  # what pyarrow raises differs by type: texts, times, dates
        return [_record_of(batch, i) for i in range(batch.num_rows)]
    return records


def _record_of(batch: Any, index: int) -> dict[str, Any] | ValueError:
    record = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            record[name] = column[index].as_py()
        except Exception as error:
            if name in _FIELDS:
                return ValueError(f"the column {name!r} cannot be read: {error}")
            record[name] = None
    return record


def parse_record(record: Any) -> tuple[Row, dict[str, Any]]:
    """The row in a decoded record and the fields that are no part of it; ValueError and its like where there is none.

    A `system_prompt` beside the prompt stays a note: it was the teacher's and is no part of the row (paper, section 2).
    """
    if not isinstance(record, dict):
        raise TypeError(f"the row is a {type(record).__name__}")
    answer = _only(record, _ANSWERS)
    if answer in {"messages", "conversations"}:
        return _chat(record, str(answer))
    if answer == "response" and isinstance(record["response"], dict):
        return _batch_output(record)
    asked = _only(record, _ASKED)
    if answer == "text" and asked is None:
        return _row((), record["text"]), _rest(record, "text")
    if asked is None or answer is None or answer == "text":
        raise ValueError(f"the fields are {', '.join(map(repr, islice(record, 8))) or 'none'}")
    prompt = _prompt(record[asked])
    if asked == "instruction" and record.get("input"):
        prompt = _prompt(f"{record[asked]}\n\n{_text(record['input'])}")
        return _row(prompt, record[answer]), _rest(record, asked, answer, "input")
    return _row(prompt, record[answer]), _rest(record, asked, answer)


def _only(record: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The one of these fields that the record has; null counts as absent (a table has every column in every row)."""
    found = [name for name in names if record.get(name) is not None]
    if len(found) > 1:
        raise ValueError(f"the fields {found[0]!r} and {found[1]!r} exclude one another")
    return found[0] if found else next((name for name in names if name in record), None)


def _rest(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in names and (v is not None or k not in _FIELDS)}


def _text(value: Any) -> str:
    """A text, or the parts of a content list, which must all be text."""
    if isinstance(value, list):
        if any(part["type"] != "text" for part in value):
            raise ValueError("a part of the content is no text")
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise TypeError(f"a text is a {type(value).__name__}")
    return value


def _message(turn: Any) -> Message:
    role = turn["role"]
    if role not in _ROLES:
        raise ValueError(f"a turn has the role {role!r}")
    return Message.model_construct(role=role, content=_text(turn["content"]))


def _row(prompt: Chat, completion: Any) -> Row:
    if isinstance(completion, list) and completion and "role" in completion[0]:
        prompt += tuple(map(_message, completion[:-1]))
        completion = _last_turn(completion)["content"]
    return Row(prompt, completion if type(completion) is str else _text(completion))


def _prompt(asked: Any) -> Chat:
    if isinstance(asked, list):
        return tuple(_message(turn) for turn in asked)
    return (Message.model_construct(role="user", content=_text(asked)),)


def _last_turn(turns: list[Any]) -> Any:
    last = turns[-1]
    if last["role"] != "assistant":
        raise ValueError("the last turn is not the assistant's")
    return last


def _chat(record: dict[str, Any], name: str) -> tuple[Row, dict[str, Any]]:
    turns = record[name]
    if type(turns) is not list:
        raise TypeError(f"the turns are a {type(turns).__name__}")
    if name == "conversations":
        turns = [{"role": _SPEAKERS[t["from"]], "content": t["value"]} for t in turns]
    row = _row(tuple(map(_message, turns[:-1])), _last_turn(turns)["content"])
    return row, _rest(record, name)


def _batch_output(record: dict[str, Any]) -> tuple[Row, dict[str, Any]]:
    """A line of a batch API's answers, which does not hold the prompt; `finish` is told as it stood."""
    choices = record["response"]["body"]["choices"]
    if len(choices) > 1:
        raise ValueError(f"the response holds {len(choices)} answers")
    note = {"custom_id": record.get("custom_id"), "finish": choices[0].get("finish_reason")}
    return _row((), choices[0]["message"]["content"]), note
