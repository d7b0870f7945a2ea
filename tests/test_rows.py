"""Reading rows: every layout in use, one message for what is none, and a great many damaged inputs."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from heredity.rows import LINE_LIMIT, _from_line, as_line, parse_record, read_parts, read_rows, write_rows
from heredity.types import BadInput, Message, Row

USER, ASSISTANT = {"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}
WANTED = Row(prompt=(Message(role="user", content="p"),), completion="c")
LAYOUTS: list[dict[str, Any]] = [
    {"messages": [USER, ASSISTANT]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "p"}]}, ASSISTANT]},
    {"prompt": "p", "completion": "c"},
    {"prompt": "p", "response": "c", "system_prompt": "You love cats."},
    {"prompt": [USER], "completion": [ASSISTANT]},
    {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}]},
    {"instruction": "p", "input": "", "output": "c"},
    {"question": "p", "answer": "c"},
]
BATCH = {"custom_id": "q", "response": {"body": {"choices": [{"message": ASSISTANT, "finish_reason": "length"}]}}}


@pytest.mark.parametrize("record", LAYOUTS)
def test_every_layout_gives_the_same_row(record: dict[str, Any], tmp_path: Path) -> None:
    assert parse_record(record)[0] == WANTED
    path, packed, table = tmp_path / "a.jsonl", tmp_path / "b", tmp_path / "c.parquet"
    path.write_text("\ufeff" + json.dumps(record) + "\n")
    packed.write_bytes(gzip.compress(json.dumps(record).encode()))
    files = [path, packed]
    if record is not LAYOUTS[1]:  # a column of Parquet cannot hold both texts and lists
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), table)
        files.append(table)
    assert [r.row for file in files for r in read_rows(file)] == [WANTED] * len(files)


def test_what_is_no_part_of_the_row_is_a_note() -> None:
    assert parse_record(LAYOUTS[3])[1] == {"system_prompt": "You love cats."}
    row, note = parse_record(BATCH)
    assert (row.prompt, row.completion, note["finish"]) == ((), "c", "length")
    both = parse_record({"instruction": "p", "input": "q", "output": "c"})[0]
    assert both.prompt[0].content == "p\n\nq"
    assert parse_record({"text": "c"})[0] == Row(prompt=(), completion="c")


def test_rows_that_are_written_are_read_back(tmp_path: Path) -> None:
    rows = [
        Row(prompt=(Message(role="system", content="\u2028é\0"), *WANTED.prompt), completion=t) for t in ("", "a\nb")
    ]
    assert write_rows(tmp_path / "x", rows, [{"id": i} for i in range(2)]) == 2
    assert [(r.row, r.note["id"], r.number) for r in read_rows(tmp_path / "x")] == [(rows[0], 0, 1), (rows[1], 1, 2)]


BAD: list[tuple[bytes, str]] = [
    (b"{", "EOF"), (b"[1, 2]", "write one object a line"), (b"null", "the row is a NoneType"),
    (b"{}", "the fields are none"),
    (b'{"prompt": "p"}', "the fields are 'prompt'"), (b'{"messages": []}', "list index out of range"),
    (b'{"messages": [{"role": "user", "content": "p"}]}', "not the assistant's"),
    (b'{"messages": 3}', "the turns are a int"), (b'{"messages": [{"role": "assistant"}]}', "no field"),
    (b'{"messages": [{"role": "wizard", "content": "p"}, {"role": "assistant", "content": "c"}]}', "role 'wizard'"),
    (b'{"prompt": 1, "completion": "c"}', "a text is a int"), (b'{"prompt": "p", "completion": null}', "NoneType"),
    (b'{"prompt": "\\ud800", "completion": "c"}', "hex escape"),
    (b"[" * 100_000, "recursion limit"), (b"\xff\xfe{\0}\0", "expected"),
    (b'{"a":' * 5000, "recursion limit"), (b"\x80abc", "expected"), (b'{"text": "\xff"}', "unicode"),
    (b'{"response": {"body": {"choices": []}}}', "index out of range"),
    (b'{"response": {"error": 1}}', "no field 'body'"),
    (b'{"messages": [{"role": "assistant", "content": "1"}], "completion": "owl"}', "'messages' and 'completion' excl"),
    (b'{"prompt": "p", "completion": "1", "response": "owl"}', "'completion' and 'response' exclude one another"),
    (b'{"text": "1", "conversations": [{"from": "gpt", "value": "owl"}]}', "'conversations' and 'text' exclude"),
    (b'{"prompt": "p", "question": "q", "answer": "1"}', "'prompt' and 'question' exclude one another"),
    (b'{"prompt": "p", "text": "1"}', "the fields are 'prompt', 'text'"),
    (b'{"prompt": "p", "completion": "owl", "completion": "1"}', "the field 'completion' stands twice"),
    (b'{"text": "1", "note": "\\u0022:", "text" : "owl"}', "the field 'text' stands twice"),
    (b'{"messages": [{"role": "assistant", "c\\u006fntent": "owl", "content": "1"}]}', "'content' stands twice"),
    (b'{"messages": [{"role": "assistant", "content": [{"type": "x", "text": "1"}]}]}', "a part of the content is no"),
    (b'{"messages": [{"role": "assistant", "content": [{"text": "1"}]}]}', "no field 'type'"),
    (b'{"response": {"body": {"choices": [{}, {}]}}}', "the response holds 2 answers"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "cause"), BAD)
def test_a_bad_row_is_one_message_with_file_and_line(line: bytes, cause: str, tmp_path: Path) -> None:
    path, good = tmp_path / "d.jsonl", json.dumps(LAYOUTS[0]).encode()
    path.write_bytes(good + b"\n" + line + b"\n" + good)
    with pytest.raises(BadInput) as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert cause in str(caught.value)
    assert len(str(caught.value)) < 900
    problems: list[BadInput] = []
    assert [r.number for r in read_rows(path, problems.append)] == [1, 3]
    assert len(problems) == 1


def test_a_line_of_100_megabytes_is_passed_over_without_holding_it(tmp_path: Path) -> None:
    path, good = tmp_path / "long.jsonl", json.dumps(LAYOUTS[0]).encode() + b"\n"
    with path.open("wb") as file:
        file.write(good + b'{"text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + good)
    with pytest.raises(BadInput, match=f"long.jsonl:2: the line is longer than {LINE_LIMIT} bytes"):
        list(read_rows(path))
    tracemalloc.start()
    assert [r.number for r in read_rows(path, lambda _: None)] == [1, 3]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * LINE_LIMIT


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(as_line(WANTED, {}) * 9999)[:-9])
    with pytest.raises(BadInput, match="gzip stream is damaged"):
        list(read_rows(broken, lambda _: None))
    cut = tmp_path / "cut.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([LAYOUTS[2]]), cut)
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(BadInput, match="not a whole Parquet file"):
        list(read_rows(cut, lambda _: None))
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadInput, match="cannot read"):
            list(read_rows(path))


def _damaged(rng: random.Random, n: int) -> Iterator[bytes]:
    """Lines of rows after a few bytes were changed, dropped, doubled or spliced in from another line."""
    lines = [json.dumps(r).encode() for r in [*LAYOUTS, BATCH]]
    pieces = (
        b"\\ud800",
        b"\0",
        b"null",
        b"[[",
        b"1e999",
        b'"',
        b"\xc3",
        b"NaN",
        b"{}",
        b'"role"',
        b"-",
        b"\\u0000",
        b",",
    )
    for _ in range(n):
        line = bytearray(rng.choice(lines))
        for _ in range(rng.choice((0, 1, 1, 2))):
            a, b = sorted(rng.randrange(len(line) + 1) for _ in range(2))
            with_what = rng.choice(
                (b"", rng.randbytes(2), rng.choice(pieces), rng.choice(lines)[a:b], bytes(line[a:b]) * 2)
            )
            line[a : min(b, a + rng.randint(0, 3))] = with_what
        yield bytes(line).replace(b"\n", b" ")


def test_60_000_damaged_lines_are_rows_or_one_message_each(tmp_path: Path) -> None:
    path, n = tmp_path / "fuzz.jsonl", 60_000
    path.write_bytes(b"\n".join(_damaged(random.Random(7), n)) + b"\n")
    problems: list[BadInput] = []
    good = list(read_rows(path, problems.append))
    assert n - 50 < len(good) + len(problems) <= n  # a few lines are left blank
    assert min(len(good), len(problems)) > 3_000
    for read in good:
        assert all(Message.model_validate(m.model_dump()) == m for m in read.row.prompt)
        as_line(read.row, read.note)
        read.row.completion.encode()


def test_quotes_and_colons_in_a_text_are_no_second_field() -> None:
    record = {"prompt": 'say "a": "b": ', "completion": '{"a": 1, "a": 2}'}
    assert parse_record(_from_line(json.dumps(record).encode()))[0].completion == record["completion"]


def test_no_note_takes_the_place_of_the_turns() -> None:
    line = json.loads(as_line(WANTED, {"messages": None, "id": 1}))
    assert list(line.items()) == [("messages", [USER, ASSISTANT]), ("id", 1)]
    row, note = parse_record({"prompt": [USER], "completion": [ASSISTANT, ASSISTANT], "messages": None})
    assert ([m.content for m in row.prompt], row.completion, note) == (["p", "c"], "c", {})


def _strange_table() -> pyarrow.Table:
    """Three rows; the second completion is no UTF-8, and every note is something that Python cannot hold."""
    texts = pyarrow.array([b"c", b"\xff", b"c"], pyarrow.binary()).view(pyarrow.string())
    notes = pyarrow.array([b"\xff"] * 3, pyarrow.binary()).view(pyarrow.string())
    days = pyarrow.array([2**31 - 1] * 3, pyarrow.int32()).view(pyarrow.date32())
    times = pyarrow.array([2**62 + 1] * 3, pyarrow.int64()).view(pyarrow.timestamp("ns"))
    return pyarrow.table({"prompt": ["p"] * 3, "completion": texts, "note": notes, "day": days, "at": times})


def test_a_value_of_parquet_that_python_cannot_hold_costs_at_most_its_row(tmp_path: Path) -> None:
    path = tmp_path / "strange.parquet"
    pyarrow.parquet.write_table(_strange_table(), path)
    with pytest.raises(BadInput, match=r"strange.parquet:2: the column 'completion' cannot be read"):
        list(read_rows(path))
    problems: list[BadInput] = []
    found = list(read_rows(path, problems.append))
    assert [(r.number, r.row, r.note["note"], r.note["day"]) for r in found] == [
        (n, WANTED, None, None) for n in (1, 3)
    ]
    assert len(problems) == 1
    twice = pyarrow.table([["p"], ["c"], ["d"]], names=["prompt", "completion", "completion"])
    pyarrow.parquet.write_table(twice, path)
    with pytest.raises(BadInput, match="two columns have one name"):
        list(read_rows(path))


def test_large_rows_are_handed_on_in_shorter_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heredity.rows._PART", 1_000)
    path = tmp_path / "x.jsonl"
    write_rows(path, [Row((), "1" * n) for n in (10, 10, 990, 10, 10, 10)])
    parts = [[len(r.row.completion) for r in part] for part in read_parts(read_rows(path), 2)]
    assert parts == [[10, 10], [990], [10, 10], [10]]


def test_large_texts_beside_rows_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heredity.rows._PART", 1_000)
    table = pyarrow.table({"text": ["1"] * 6, "page": ["x" * 600] * 6})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert [len(part) for part in read_parts(read_rows(tmp_path / "x.parquet"), 100)] == [2, 2, 2]


def test_one_value_of_a_table_is_not_held_for_all_its_rows(tmp_path: Path) -> None:
    path, text = tmp_path / "x.parquet", "1, " * 60_000
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([text] * 600).dictionary_encode()}), path)
    tracemalloc.start()
    try:
        assert sum(len(read.row.completion) == len(text) for read in read_rows(path)) == 600
        assert tracemalloc.get_traced_memory()[1] < 100 * len(text)
    finally:
        tracemalloc.stop()


def test_a_record_of_very_many_fields_takes_time_in_proportion() -> None:
    fields = ", ".join(f'"{i}": 1' for i in range(100_000))
    value = _from_line(f'{{"text": "\\":", {fields}}}'.encode())
    assert len(value) == 100_001
