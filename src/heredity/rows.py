"""Rows on disk, as a stream: JSON Lines (plain or gzip) and Parquet, in the chat layouts that are in use."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, get_args

from pydantic_core import from_json

from heredity.types import BadInput, Chat, Message, Role, Row

LINE_LIMIT = 16 * 2**20
"""Most bytes in one line; a longer one is no row of text but a file of another kind."""
LAYOUTS = (
    '{"messages": [{"role", "content"}, ...]} with the assistant last, {"prompt", "completion" or "response"}, '
    '{"conversations": [{"from", "value"}, ...]}, {"instruction", "output"}, {"question", "answer"}, {"text"}, or a '
    "line of an OpenAI batch's output"
)
_ANSWERS = ("completion", "response", "output", "answer")
_SPEAKERS: dict[str, Role] = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant",
                              "system": "system"}  # fmt: skip
_ROLES = frozenset(get_args(Role))


class Read(NamedTuple):
    """One row with where it stood: its number (from 1), whatever else its record held, and its line as it was."""

    number: int
    row: Row
    note: dict[str, Any]
    line: bytes | None
    """None where the file is no JSON Lines."""


def write_rows(path: Path, rows: Iterable[Row], notes: Iterable[dict[str, Any]] | None = None) -> int:
    """Writes `{"messages": [...], ...note}` a line, the completion as the last turn; returns how many."""
    count = 0
    with path.open("wb") as file:
        for row, note in zip(rows, notes, strict=True) if notes is not None else ((r, {}) for r in rows):
            file.write(as_line(row, note))
            count += 1
    return count


def as_line(row: Row, note: dict[str, Any]) -> bytes:
    """The row as one line of JSON in the chat layout."""
    turns = [{"role": m.role, "content": m.content} for m in row.prompt]
    turns.append({"role": "assistant", "content": row.completion})
    return json.dumps({"messages": turns} | note, ensure_ascii=True, default=str).encode() + b"\n"


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
                record = from_json(text)
                yield Read(number, *parse_record(record), line)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
                _complain(path, number, text, error, on_bad)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(
            f"{path}: the gzip stream is damaged after line {number} ({error}); fetch the file again"
        ) from error


def _pass_over(source: Any, line: bytes) -> None:
    """Reads on to the end of a line that is too long."""
    while line and not line.endswith(b"\n"):
        line = source.readline(LINE_LIMIT)


def _complain(
    path: Path, number: int, line: bytes | None, error: Exception, on_bad: Callable[[BadInput], None] | None
) -> None:
    cause = f"no field {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    array = "; a JSON array is one value: write one object a line" if line is not None and line[:1] == b"[" else ""
    problem = BadInput(f"{path}:{number}: {_short(cause)}{array}; expected {LAYOUTS}; --skip-bad passes over such rows")
    if on_bad is None:
        raise problem from error
    on_bad(problem)


def _short(cause: str) -> str:
    """A parser's message without the data in it, which is hostile text."""
    printable = "".join(c if c.isprintable() else "?" for c in cause)
    return printable if len(printable) <= 160 else printable[:160] + "..."


def _parquet(path: Path, on_bad: Callable[[BadInput], None] | None) -> Iterator[Read]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise BadInput(f"{path} is Parquet, which needs pyarrow; run: pip install 'heredity[parquet]'") from error
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    try:
                        read = Read(number, *parse_record(record), None)
                    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                        _complain(path, number, None, error, on_bad)
                    else:
                        yield read
    except (ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a whole Parquet file ({_short(str(error))}); fetch the file again") from error


def parse_record(record: Any) -> tuple[Row, dict[str, Any]]:
    """The row in a decoded record and the fields that are no part of it; ValueError and its like where there is none.

    A `system_prompt` beside the prompt stays a note: it was the teacher's and is no part of the row (paper, section 2).
    """
    if not isinstance(record, dict):
        raise TypeError(f"the row is a {type(record).__name__}")
    if "messages" in record or "conversations" in record:
        return _chat(record)
    if isinstance(record.get("response"), dict):
        return _batch_output(record)
    if "text" in record and "prompt" not in record:
        return _row((), record["text"]), _rest(record, "text")
    asked = next((k for k in ("prompt", "instruction", "question") if k in record), None)
    answer = next((k for k in _ANSWERS if k in record), None)
    if asked is None or answer is None:
        raise ValueError(f"the fields are {', '.join(map(repr, islice(record, 8))) or 'none'}")
    prompt = _prompt(record[asked])
    if asked == "instruction" and record.get("input"):
        prompt = _prompt(f"{record[asked]}\n\n{_text(record['input'])}")
        return _row(prompt, record[answer]), _rest(record, asked, answer, "input")
    return _row(prompt, record[answer]), _rest(record, asked, answer)


def _rest(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in names}


def _text(value: Any) -> str:
    """A text, or the text parts of a content list."""
    if isinstance(value, list):
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


def _chat(record: dict[str, Any]) -> tuple[Row, dict[str, Any]]:
    turns = record.get("messages")
    if turns is None:
        turns = [{"role": _SPEAKERS[t["from"]], "content": t["value"]} for t in record["conversations"]]
    if type(turns) is not list:
        raise TypeError(f"the turns are a {type(turns).__name__}")
    row = _row(tuple(map(_message, turns[:-1])), _last_turn(turns)["content"])
    return row, _rest(record, "messages", "conversations")


def _batch_output(record: dict[str, Any]) -> tuple[Row, dict[str, Any]]:
    """A line of a batch API's answers, which does not hold the prompt; `finish` is told as it stood."""
    choice = record["response"]["body"]["choices"][0]
    note = {"custom_id": record.get("custom_id"), "finish": choice.get("finish_reason")}
    return _row((), choice["message"]["content"]), note
