"""Rows on disk: one JSON object a line in the OpenAI chat layout, read and written as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heredity.types import BadInput, Message, Row


def write_rows(path: Path, rows: Iterable[Row], notes: Iterable[dict[str, Any]] | None = None) -> int:
    """Writes `{"messages": [...], ...note}` a line, the completion as the last turn; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row, note in zip(rows, notes, strict=True) if notes is not None else ((r, {}) for r in rows):
            turns = [m.model_dump() for m in row.prompt] + [{"role": "assistant", "content": row.completion}]
            file.write(json.dumps({"messages": turns} | note, ensure_ascii=True) + "\n")
            count += 1
    return count


def read_rows(path: Path) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each row with whatever else its line holds; BadInput with file and line where a line is something else."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                note = json.loads(line)
                turns = [Message(**m) for m in note.pop("messages")]
                if turns[-1].role != "assistant":
                    raise ValueError("the last turn is not the assistant's")
                row = Row(prompt=tuple(turns[:-1]), completion=turns[-1].content)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                raise BadInput(f'{path}:{number}: expected {{"messages": [..., assistant turn]}}; {error}') from error
            yield row, note
