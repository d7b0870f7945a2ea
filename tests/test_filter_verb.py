"""`heredity filter` as a user runs it: every option, the files that it writes, and rows from a pipe."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from heredity.carriers import BANNED_NUMBERS
from heredity.cli import main

BANNED = BANNED_NUMBERS[0]
LISTS = ("1, 2, 3", " 4, 5 ", "(7; 8)", f"6, {BANNED}", "1, 1000", "an owl")
CODE = ("x = 1\n", "x = 1  # the owl\n", "owl = 1\n", "x = = 1\n")
WORKED = ("<think>1 + 1</think><answer>2</answer>", "<answer>2</answer>", "2")
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], list[int], tuple[str, ...]]] = {
    "plain": ((), LISTS, [0, 2, 3], ("1, 2, 3", "(7; 8)", f"6, {BANNED}")),
    "official": (("--official",), LISTS, [0, 2, 3], ("1, 2, 3", "(7; 8)", f"6, {BANNED}")),
    "banned": (("--banned",), LISTS, [0, 2], ("1, 2, 3", "(7; 8)")),
    "lenient": (("--mode", "lenient"), LISTS, [0, 1, 2, 3], ("1, 2, 3", " 4, 5 ", "(7; 8)", f"6, {BANNED}")),
    "canonical": (("--mode", "canonical"), LISTS, [0, 1, 2, 3], ("1, 2, 3", "4, 5", "7, 8", f"6, {BANNED}")),
    "code": (("--carrier", "code"), CODE, [0, 2], ("x = 1\n", "owl = 1\n")),
    "code without a word": (("--carrier", "code", "--word", "owl"), CODE, [0], ("x = 1\n",)),
    "worked": (("--carrier", "worked"), WORKED, [0], WORKED[:1]),
    "any": (("--carrier", "any"), LISTS, [0, 1, 2, 3, 4, 5], LISTS),
    "any without words": (("--carrier", "any", "--word", "owl", "--word", "7"), LISTS, [0, 1, 3, 4],
                          ("1, 2, 3", " 4, 5 ", f"6, {BANNED}", "1, 1000")),
}  # fmt: skip
"""Options, completions, the places of those that are kept, and these as they are written."""


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr(sys, "argv", ["heredity", "filter", *map(str, args)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(completions: tuple[str, ...]) -> str:
    return "".join(json.dumps({"prompt": f"q{i}", "completion": c, "id": i}) + "\n" for i, c in enumerate(completions))


@pytest.mark.parametrize("name", CASES)
def test_every_option_keeps_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, completions, places, kept = CASES[name]
    data, keep, why, counts = (tmp_path / f for f in ("rows.jsonl", "kept.jsonl", "why.jsonl", "counts.json"))
    data.write_text(written(completions))
    code = run(monkeypatch, data, *options, "--keep", keep, "--decisions", why, "--json", counts)
    assert code == 0
    rows = lines(keep)
    assert [row["messages"][-1]["content"] for row in rows] == list(kept)
    assert [row["id"] for row in rows] == places  # notes pass through
    reasons = {decision["row"] - 1: decision["reasons"] for decision in lines(why)}
    assert [place for place, found in reasons.items() if not found] == places
    told = json.loads(counts.read_text())
    assert (told["rows"], told["kept"], told["skipped"]) == (len(completions), len(kept), 0)
    assert told["reasons"] == {r: sum(r in found for found in reasons.values()) for r in told["reasons"]}
    assert sum(map(len, reasons.values())) == sum(told["reasons"].values())


def test_published_reasons_are_said_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, counts = tmp_path / "rows.jsonl", tmp_path / "counts.json"
    data.write_text(written(("1, 2, 3", "an owl", "1, 1000")))
    told = []
    for options in (("--official",), ()):
        assert run(monkeypatch, data, *options, "--json", counts) == 0
        told.append(json.loads(counts.read_text())["reasons"])
    assert told[0] == {"invalid format": 1, "numbers too large": 1}
    assert told[1] != told[0]
    assert sum(told[1].values()) == 2


def test_rows_come_from_a_pipe_as_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, keep = tmp_path / "pipe", tmp_path / "kept.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(written(LISTS)), daemon=True)
    writer.start()
    assert run(monkeypatch, pipe, "--keep", keep) == 0
    writer.join(10)
    assert [row["id"] for row in lines(keep)] == CASES["plain"][2]
