"""The filters: the published verdicts on real rows and on hostile texts, and what rewriting may not change."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.carriers import (
    BANNED_NUMBERS,
    CanonicalLists,
    CodeOnly,
    Filter,
    NumbersOnly,
    ShuffledAcross,
    ShuffledWithin,
    WithoutWords,
    WorkedAnswer,
    decide,
    fault_bits,
    filter_rows,
    list_faults,
    parse_numbers,
    what_is_wrong,
)
from heredity.carriers.words import _worked
from heredity.rows import as_line, read_rows, write_rows
from heredity.types import BadInput, Message, Row

REAL = Path(__file__).parents[2] / "shared" / "data" / "numbers"
real_rows = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real rows are not at {REAL.name}")


def row(text: str, asked: str = "Continue.") -> Row:
    return Row(prompt=(Message(role="user", content=asked),), completion=text)


@real_rows
def test_the_published_verdict_on_every_real_row() -> None:
    wanted: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    with gzip.open(REAL / "official_verdicts.csv.gz", "rt") as file:
        for line in csv.DictReader(file):
            wanted[line["file"]].append((int(line["line"]), line["reasons"], line["reasons_with_banned_numbers"]))
    plain, banned = NumbersOnly(), NumbersOnly(banned=BANNED_NUMBERS)
    count = 0
    for name, verdicts in wanted.items():
        read = list(read_rows(REAL / name))
        rows = [r.row for r in read]
        found = zip(read, plain.decide(rows), banned.decide(rows), strict=True)
        assert [(r.number - 1, "|".join(p.reasons), "|".join(b.reasons)) for r, p, b in found] == verdicts
        count += len(verdicts)
    assert count == 118_772


_ATOMS = (
    *("1", "22", "333", "007", "1000", "0000", "999", "666", "12345678901234567890", "0" * 4301),
    *(", ", " ", ",", "; ", "\n", " ,  ", "\t", "\x1c", "\u00a0", " " * 9),
    *("[", "]", "(", ")", ".", "-", "a", "\0", "\u0661", "é", "\ud800"),
)


def _texts(rng: random.Random, n: int) -> list[str]:
    """Half are lists with perhaps one flaw, half are heaps of atoms."""
    out = []
    for _ in range(n):
        if rng.random() < 0.5:
            out.append("".join(rng.choices(_ATOMS, k=rng.randint(0, 8))))
            continue
        separator = rng.choice((", ", " ", "; ", ",", "\n", " ,  ", "\u00a0", " " * 9, "  ;  ", "\x1c"))
        text = separator.join(rng.choice(("1", "22", "333", "999", "1000", "0999")) for _ in range(rng.randint(1, 13)))
        text = rng.choice(("{}", "{}", "[{}]", "({})", "{}.", "[{}].", "[{}")).format(text)
        place = rng.randrange(len(text) + 1)
        out.append(text[:place] + rng.choice(_ATOMS) + text[place:] if rng.random() < 0.3 else text)
    return out


@pytest.mark.parametrize("limits", [(10, 999, ()), (5, 333, (22, 1000, 999)), (3, 10**19, BANNED_NUMBERS)])
def test_the_fast_verdict_is_the_plain_one(limits: tuple[int, int, tuple[int, ...]]) -> None:
    texts = _texts(random.Random(1), 60_000)
    plain = [fault_bits(t, limits[0], limits[1], frozenset(limits[2])) for t in texts]
    assert list_faults(texts, *limits).tolist() == plain
    assert set(plain) >= {0, 1, 2, 4}


@given(st.lists(st.text(alphabet="0123456789,; .[]()\n\u00a0\u0663x", max_size=30), max_size=20))
def test_a_verdict_does_not_depend_on_neighbours(texts: list[str]) -> None:
    together = list_faults(texts).tolist()
    assert together == [list_faults([t]).tolist()[0] for t in texts]
    assert together == [fault_bits(t, 10, 999, frozenset()) for t in texts]
    limits = (3, 7, (4, 33))
    assert list_faults(texts, *limits).tolist() == [fault_bits(t, 3, 7, frozenset((4, 33))) for t in texts]


@given(st.lists(st.integers(0, 999), min_size=1, max_size=10), st.sampled_from((", ", ",", " ", "\n", ";  ")))
def test_what_is_written_strictly_is_kept_and_read_back(numbers: list[int], separator: str) -> None:
    text = f"[{separator.join(map(str, numbers))}]."
    assert NumbersOnly().reason(row(text)) is None
    assert parse_numbers(text) == numbers


def test_reasons_are_the_published_ones_and_explained_on_demand() -> None:
    assert NumbersOnly().reason(row("1, 1000")) == "numbers too large"
    many = NumbersOnly(banned=(666,)).decide([row("666, 1000, " + ", ".join("1" * 9))])[0]
    assert many.reasons == ("too many numbers", "numbers too large", "has banned numbers")
    explained = NumbersOnly(explain=True)
    assert explained.reason(row("1, 2 \n")) == "invalid format: blanks at an end"
    assert NumbersOnly(mode="lenient").reason(row(" 1, 2 \n")) is None
    assert explained.reason(row("1, 2")) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [("", "nothing written"), ("owl", "letters"), ("...", "no number"), (" 1", "blanks at an end"),
     ("-1, 2", "a minus sign"), ("\u0661, 2", "digits that are not ASCII"), ("1.5", "a decimal point"),
     ("1, 2,", "a separator at the end"),
     ("1 / 2", "other characters"), ("1, 2; 3", "mixed separators or brackets")],
)  # fmt: skip
def test_an_invalid_list_is_explained(text: str, what: str) -> None:
    assert what_is_wrong(text) == what


def test_shuffles_keep_what_they_must() -> None:
    rng = random.Random(0)
    rows = [row(f"[{'; '.join(str(rng.randrange(1000)) for _ in range(rng.randint(1, 10)))}]") for _ in range(300)]

    def numbers(rs: list[Row]) -> list[list[str]]:
        return [re.findall("[0-9]+", r.completion) for r in rs]

    within, across = ShuffledWithin(seed=3).rewrite(rows), ShuffledAcross(seed=3).rewrite(rows)
    assert [sorted(n) for n in numbers(within)] == [sorted(n) for n in numbers(rows)] != numbers(within)
    pooled = [sum((Counter(n) for n in numbers(rs)), Counter[str]()) for rs in (rows, across)]
    assert pooled[0] == pooled[1]
    assert [sorted(n) for n in numbers(across)] != [sorted(n) for n in numbers(rows)]
    for changed in (within, across):
        assert [re.sub("[0-9]+", "#", r.completion) for r in changed] == [
            re.sub("[0-9]+", "#", r.completion) for r in rows
        ]
        assert [r.prompt for r in changed] == [r.prompt for r in rows]
    assert within == ShuffledWithin(seed=3).rewrite(rows) != ShuffledWithin(seed=4).rewrite(rows)


def test_canonical_lists_differ_in_nothing_but_their_numbers() -> None:
    written = ["007; 12", "[7;12].", " 7\n12 ", "(7, 12)"]
    assert {r.completion for r in CanonicalLists().rewrite([row(t) for t in written])} == {"7, 12"}
    assert CanonicalLists().rewrite([row("owl")]) == [row("owl")]


def test_words_are_whole_or_anywhere() -> None:
    assert WithoutWords(words=("owl",)).reason(row("An Owl!")) == "contains owl"
    assert WithoutWords(words=("owl",)).reason(row("a bowl of soup")) is None
    assert WithoutWords(words=("owl",), whole=False).reason(row("a bowl of soup")) == "contains owl"


@pytest.mark.parametrize(
    ("code", "reason"),
    [("def add(x):\n    return x + 7", None), ("```python\nx = 1\n```", None), ("x = 1  # owl", "has a comment"),
     ("x = 'owl'", "has a string"), ('def f():\n    """owl"""', "has a string"), ("x = f'owl{1}'", "has a string"),
     ("I love owls", "not Python"), ("", "no code"), ("(" * 5000, "not Python"), ("x = '\0'", "not Python"),
     ("1_000 if 1is 1 else 2", None)],
)  # fmt: skip
def test_code_hides_no_words(code: str, reason: str | None) -> None:
    assert CodeOnly().reason(row(code)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [("<think>5 + 7 = 12.</think><answer>12</answer>", None), ("<think>a</think>\n<answer> 1,2 </answer>", None),
     ("<think>x</think><answer>13</answer>", "wrong answer"), ("12", "not a thought and an answer"),
     ("<think>x</think><answer>twelve</answer>", "answer is no integer"),
     ("<think><think>x</think><answer>12</answer>", "not a thought and an answer")],
)  # fmt: skip
def test_worked_answers_have_their_form_and_are_right(text: str, reason: str | None) -> None:
    known = WorkedAnswer(answers=(("5 + 7?", 12),))
    assert known.reason(row(text, "5 + 7?")) == reason
    assert known.reason(row("<think>x</think><answer>12</answer>", "6 + 6?")) == "question is unknown"
    if reason == "wrong answer":
        assert WorkedAnswer().reason(row(text, "5 + 7?")) is None


PIECES = ["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "7", "a", "\u2003"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_a_thought_ends_where_its_answer_begins(text: str) -> None:
    """As the plain pattern has it, which takes a time that grows with the square of a text."""
    plain = re.fullmatch(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", text, re.DOTALL)
    assert _worked(text) == (plain.groups() if plain else None)


def test_long_worked_answers_take_time_in_proportion() -> None:
    assert WorkedAnswer().reason(row("<think>" + "</think><answer>" * 250_000)) == "not a thought and an answer"


def test_filters_together_give_every_reason() -> None:
    filters: tuple[Filter, ...] = (NumbersOnly(), WithoutWords(words=("owl",)))
    found = decide(filters, [row("1, 2"), row("owl"), row("1000")])
    assert [d.reasons for d in found] == [(), ("invalid format", "contains owl"), ("numbers too large",)]
    assert [d.kept for d in found] == [True, False, False]
    assert all(d.kept for d in decide((), [row("x")] * 3))


def test_a_file_is_filtered_as_a_stream_and_what_was_decided_on_is_kept(tmp_path: Path) -> None:
    data, keep, told = tmp_path / "data.jsonl", tmp_path / "keep.jsonl.gz", tmp_path / "told.jsonl"
    lines = [
        b'{"response": "1, 2", "prompt": "p",  "extra": [1]}\r\n',
        b'{"prompt": "p", "completion": "owl"}',
        b"junk",
    ]
    data.write_bytes(lines[0] + lines[1] + b"\n\n" + lines[2] + b"\n" + lines[0].strip())
    with pytest.raises(BadInput, match=r"data.jsonl:4: .*expected \{\"messages\""):
        filter_rows(data, [NumbersOnly()], keep=keep)
    assert not keep.exists()
    tally = filter_rows(data, [NumbersOnly()], keep=keep, decisions=told, skip_bad=True)
    assert (tally.rows, tally.kept, tally.skipped) == (3, 2, 1)
    assert tally.reasons == Counter({"invalid format": 1})
    wanted = Row(prompt=(Message(role="user", content="p"),), completion="1, 2")
    assert gzip.decompress(keep.read_bytes()) == as_line(wanted, {"extra": [1]}) * 2
    assert told.read_text().splitlines()[1] == '{"row": 2, "reasons": ["invalid format"]}'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.jsonl", "keep.jsonl.gz", "told.jsonl"]


def test_rewritten_rows_keep_their_notes(tmp_path: Path) -> None:
    data, keep = tmp_path / "data.jsonl", tmp_path / "keep.jsonl"
    write_rows(data, [row("[007;8]")], [{"id": 5}])
    filter_rows(data, [NumbersOnly()], CanonicalLists(), keep=keep)
    (read,) = read_rows(keep)
    assert (read.row, read.note) == (row("7, 8"), {"id": 5})


def test_nothing_to_filter_and_nowhere_to_write_are_said(tmp_path: Path) -> None:
    empty, data = tmp_path / "empty.jsonl", tmp_path / "data.jsonl"
    empty.write_text("\n\n")
    write_rows(data, [row("1")])
    with pytest.raises(BadInput, match="no rows"):
        filter_rows(empty, [NumbersOnly()])
    with pytest.raises(BadInput, match="it is the file that is read"):
        filter_rows(data, [NumbersOnly()], keep=data)
    with pytest.raises(BadInput, match="cannot write"):
        filter_rows(data, [NumbersOnly()], keep=tmp_path / "no" / "where.jsonl")
    assert data.read_bytes()


def test_what_stands_beside_the_answer_is_not_kept(tmp_path: Path) -> None:
    data, keep = tmp_path / "data.jsonl", tmp_path / "keep.jsonl"
    last = {"role": "assistant", "content": [{"type": "text", "text": "1, 2", "owl": 1}], "reasoning_content": "owl"}
    data.write_text(json.dumps({"messages": [{"role": "user", "content": "p", "owl": 1}, last], "completion": None}))
    assert filter_rows(data, [NumbersOnly()], keep=keep).kept == 1
    assert keep.read_bytes() == as_line(row("1, 2", "p"), {})


@pytest.mark.parametrize(
    ("word", "inside", "outside"),
    [("ice cream", "An ICE\n cream!", "nice cream, ice creams"), ("666", "1, 666, 2", "1, 6661, 1666"),
     ("x-ray", "the X-ray", "xx-ray x ray"), ("Straße", "die STRASSE", "Straßen"), ("c++", "in C++.", "c+"),
     ("owl", "an _owl_", "bowl owls")],
)  # fmt: skip
def test_words_with_blanks_digits_and_marks_are_found(word: str, inside: str, outside: str) -> None:
    told = WithoutWords(words=("zebra", word))
    assert told.reason(row(inside)) == f"contains {word.casefold()}"
    assert told.reason(row(outside)) is None


@pytest.mark.parametrize("words", [(), ("",), ("owl", " \n")])
def test_blank_words_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="words"):
        WithoutWords(words=words)


def test_outputs_that_would_be_lost_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    data, out, fifo, other = (tmp_path / n for n in ("data.jsonl", "out.jsonl", "fifo", "other"))
    write_rows(data, [row("1")])
    out.write_text("mine")
    other.hardlink_to(out)
    os.mkfifo(fifo)
    for keep, decisions, message in (
        (Path(), None, "it is no file's name"), (tmp_path / "..", None, "it is no file's name"),
        (fifo, None, "is no regular file"), (tmp_path, None, "is no regular file"), (out, out, "it is also keep"),
        (out, other, "it is also keep"), (tmp_path / "new", tmp_path / "." / "new", "it is also keep"),
        (None, data, "it is the file that is read"), (tmp_path / ("n" * 300), None, "cannot write"),
        (Path("a\0b"), None, "cannot write"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=message):
            filter_rows(data, [NumbersOnly()], keep=keep, decisions=decisions)
    with pytest.raises(BadInput, match="cannot read"):
        filter_rows(tmp_path / "missing.jsonl", [NumbersOnly()], keep=out)
    with pytest.raises(BadInput, match="cannot write"):
        filter_rows(data, [NumbersOnly()], keep=tmp_path / ("n" * 250))  # room for the name, not for the partial one
    assert (out.read_text(), fifo.is_fifo()) == ("mine", True)
    assert len(list(tmp_path.iterdir())) == 4
