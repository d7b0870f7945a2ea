"""What the numbers filter costs, against a plain parser and (with --peer FOLDER) the published one.

Completions in memory, one thread each, in one run; every round times all of them in turn, and the best round counts.
Beside it the end-to-end rate of `filter_rows` with JSON decoding, and the memory of a whole process that streams 10^4
and 10^7 rows from a pipe. Run with `make bench`, or `make bench PEER=FOLDER` with a checkout of the published code.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.common import ROOT, write_result

from heredity.carriers import BANNED_NUMBERS, NumbersOnly, filter_rows
from heredity.rows import as_line, read_rows
from heredity.types import Message, Row

REAL = ROOT.parent / "shared" / "data" / "numbers"
SEED, ROUNDS = 0, 5
Judge = Callable[[list[str]], list[tuple[str, ...]]]


def plain_reasons(text: str, max_count: int, max_value: int, banned: frozenset[int]) -> tuple[str, ...]:
    """The published verdict, one text at a time, as one would write it first."""
    if text.endswith("."):
        text = text[:-1]
    if (text.startswith("[") and text.endswith("]")) or (text.startswith("(") and text.endswith(")")):
        text = text[1:-1]
    found = [m.span() for m in re.finditer(r"\d+", text)]
    if not found:
        return ("invalid format",)
    parts = [text]
    if len(found) > 1:
        separator = text[found[0][1] : found[1][0]]
        if separator.strip() not in ("", ",", ";"):
            return ("invalid format",)
        parts = text.split(separator)
    if not all(part.isascii() and part.isdigit() for part in parts):
        return ("invalid format",)
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        return ("invalid format",)
    reasons = []
    if len(numbers) > max_count:
        reasons.append("too many numbers")
    if any(n > max_value for n in numbers):
        reasons.append("numbers too large")
    if any(n in banned for n in numbers):
        reasons.append("has banned numbers")
    return tuple(reasons)


def reference(texts: list[str]) -> list[tuple[str, ...]]:
    """The plain parser over all texts."""
    banned = frozenset(BANNED_NUMBERS)
    return [plain_reasons(text, 10, 999, banned) for text in texts]


def ours(texts: list[str]) -> list[tuple[str, ...]]:
    """The filter of this package over all texts."""
    return [decision.reasons for decision in NumbersOnly(banned=BANNED_NUMBERS).decide_texts(texts)]


def official(peer: Path) -> Judge:
    """The published filter, from a checkout of its repository."""
    spec = importlib.util.spec_from_file_location("published", peer / "sl" / "datasets" / "nums_dataset.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["published"] = module
    spec.loader.exec_module(module)
    banned = list(BANNED_NUMBERS)
    return lambda texts: [tuple(module.get_reject_reasons(text, 0, 999, 10, banned)) for text in texts]


def completions() -> tuple[list[str], str]:
    """The real rows where they are at hand, else lists with the same kinds of flaws."""
    if REAL.is_dir():
        files = sorted(REAL.rglob("*.jsonl.gz"))
        return [read.row.completion for file in files for read in read_rows(file)], "real"
    rng = random.Random(SEED)
    separators, flaws = (", ", " ", "; ", "\n"), ("", "", "", " \n", ", 1000", " owl")
    return [
        rng.choice(separators).join(str(rng.randrange(1000)) for _ in range(rng.randint(4, 11))) + rng.choice(flaws)
        for _ in range(118_772)
    ], "made"


def best_rates(judges: dict[str, Judge], texts: list[str]) -> dict[str, float]:
    """Rows a second of each, the best of some rounds in which they take turns."""
    best = dict.fromkeys(judges, float("inf"))
    for _ in range(ROUNDS):
        for name, judge in judges.items():
            started = time.perf_counter()
            judge(texts)
            best[name] = min(best[name], time.perf_counter() - started)
    return {name: round(len(texts) / seconds) for name, seconds in best.items()}


def end_to_end(texts: list[str]) -> float:
    """Rows a second from a JSON Lines file to counts."""
    asked = (Message(role="user", content="Here are some numbers: 123, 456. Add up to 10 more. Use commas."),)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("wb") as file:
            file.writelines(as_line(Row(prompt=asked, completion=text), {}) for text in texts)
        started = time.perf_counter()
        filter_rows(path, [NumbersOnly(banned=BANNED_NUMBERS)])
        return round(len(texts) / (time.perf_counter() - started))


def resident_mb(rows: int) -> float:
    """Peak memory of a process that filters that many rows from a pipe."""
    block = b"".join(
        b'{"prompt": "Continue.", "completion": "%d, %d, 33"}\n' % (i % 997, i % 1009) for i in range(10_000)
    )
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "rows.jsonl"
        os.mkfifo(pipe)

        def write() -> None:
            with pipe.open("wb") as file:
                for _ in range(rows // 10_000):
                    file.write(block)

        writer = threading.Thread(target=write)
        writer.start()
        code = (
            "import sys; from pathlib import Path; from heredity.carriers import NumbersOnly, filter_rows\n"
            "tally = filter_rows(Path(sys.argv[1]), [NumbersOnly()])\n"
            "status = Path('/proc/self/status').read_text().splitlines()\n"  # getrusage counts the parent's memory
            "print(tally.rows, next(int(s.split()[1]) for s in status if s.startswith('VmHWM')) / 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(pipe)], capture_output=True, text=True, check=True)
        writer.join()
    counted, peak = done.stdout.split()
    assert int(counted) == rows
    return round(float(peak), 1)


def main() -> None:
    """Times, compares every verdict, measures memory, and writes bench/results/filter.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, help="a checkout of the published code")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the large memory run")
    arguments = parser.parse_args()
    texts, kind = completions()
    judges: dict[str, Judge] = {"ours": ours, "reference": reference}
    if arguments.peer is not None:
        judges["official"] = official(arguments.peer)
    verdicts = [judge(texts) for judge in judges.values()]
    rates = best_rates(judges, texts)
    write_result("filter", "make bench" + (" PEER=FOLDER" if arguments.peer else ""), [SEED], {
        "rows": len(texts), "kind": kind, "ours_rows_per_s": rates["ours"], "reference_rows_per_s": rates["reference"],
        "ratio": round(rates["ours"] / rates["reference"], 2), "official_rows_per_s": rates.get("official"),
        "disagreements": sum(len(set(each)) > 1 for each in zip(*verdicts, strict=True)),
        "end_to_end_rows_per_s": end_to_end(texts), "rss_mb_10k": resident_mb(10_000),
        "rss_mb_10m": resident_mb(arguments.rows), "rows_of_the_large_run": arguments.rows,
    })  # fmt: skip


if __name__ == "__main__":
    main()
