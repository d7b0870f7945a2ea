"""Mangled records against the readers: each input is read or refused with one message, and never crashes.

python -m bench.records_fuzz [--inputs N] [--seed S] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heredity.lineage import cards, records
from heredity.lineage.colours import answer, pairs
from heredity.lineage.graph import Graph
from heredity.lineage.identity import parse_json, parse_yaml
from heredity.lineage.sources import Evidence, claim
from heredity.report.lineage import lineage_page, picture
from heredity.store.step import stored_steps
from heredity.types import BadInput

_DIGEST = "ab" * 32
_MODEL = {
    "name": "base",
    "digest": {"sha256": _DIGEST},
    "uri": "heredity:Base-1",
    "annotations": {"files": {"a": "cd" * 32}},
}
_DATA = {"name": "rows.jsonl", "digest": {"sha256": "ef" * 32}}
_WORDS: list[Any] = [
    None, True, 0, -1, 1e308, "", "x" * 5000, "../../etc/passwd", "\0", "\u202e", "<script>alert(1)</script>", [], {},
    [[]], {"a": {}}, "sha256:" + _DIGEST, _DIGEST, _DIGEST.upper(), 10**400, "\ud800", [None],
    {"digest": None}, "related",
]  # fmt: skip


def seeds() -> list[tuple[str, Any]]:
    """Good records of every kind, by kind: what is mangled."""
    generation = records.statement(records.GENERATION, [_DATA], {
        "how": "sampled", "writers": [_MODEL], "content": "text", "system": {"used": False}, "sources": [_DATA],
        "judges": [], "prompts": [_DATA]})  # fmt: skip
    training = records.statement(records.TRAINING, [_MODEL], {
        "base": [_MODEL], "datasets": [_DATA], "relation": "merge", "start": [{"name": "s", "uri": "start:s"}],
        "teachers": [_MODEL]})  # fmt: skip
    test = records.statement(records.TEST, [_MODEL, _DATA], {"verdict": "related", "log10_p": -3.0})
    signed = records.statement(records.SIGNING, [_MODEL], {"resources": [{"name": "a", "digest": "cd" * 32}]})
    made = records.claims(generation, "seed")
    croissant = cards.croissant(
        "rows", {"rows.jsonl": "ef" * 32}, made, {"messages": [{"role": "user", "content": "x"}]}
    )
    step = {"step": "Student", "version": 1, "fields": {"base": {"type": "ModelRef", "fields": {"location": "m",
            "digest": "ab" * 20}}, "corpus": {"step": "Corpus", "version": 1, "fields": {"filters": [
            {"type": "NumbersOnly", "fields": {}}], "samples": {"step": "Samples", "version": 1, "fields": {
                "system": None, "prompts": {"type": "Numbers", "fields": {}}}}}}}}  # fmt: skip
    manifest = {
        "key": stored_steps(step)[-1][0],
        "step": step,
        "files": {"model.safetensors": {"blake2b": "ab" * 20}},
    }
    card = "---\nbase_model: [a, b]\nbase_model_relation: merge\ndatasets:\n- d\nx: {y: [1, 2]}\n---\n# body\n"
    described = [generation, training, test, signed, croissant, manifest]
    return [("record", r) for r in described] + [("card", card)]


def mangled(rng: random.Random, value: Any) -> Any:
    """The value with one to three parts of it changed, removed, or doubled."""
    out = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 3)):
        spots = list(_spots(out))
        if not spots:
            return copy.deepcopy(rng.choice(_WORDS))
        holder, key = rng.choice(spots)
        act = rng.random()
        if act < 0.6:
            holder[key] = copy.deepcopy(rng.choice(_WORDS))  # else a later change would be one of the word itself
        elif act < 0.8 and isinstance(holder, dict):
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[str(rng.choice(_WORDS))[:50]] = copy.deepcopy(holder[key])
    return out


def _spots(value: Any) -> list[tuple[Any, Any]]:
    out, todo = list[tuple[Any, Any]](), [value]
    while todo:
        one = todo.pop()
        items = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, below in items:
            out.append((one, key))
            todo.append(below)
    return out


def _bytes(rng: random.Random, text: bytes) -> bytes:
    """The text with some bytes changed, cut out, or doubled."""
    raw = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw) + 1)
        act = rng.randrange(4)
        if act == 0 and at < len(raw):
            raw[at] = rng.randrange(256)
        elif act == 1:
            del raw[at : at + rng.randint(1, 30)]
        elif act == 2:
            raw[at:at] = bytes(rng.choices(b'{}[]":,\\&*!|>-\n\t 0eE\xff', k=rng.randint(1, 12)))
        else:
            raw[at:at] = raw[at : at + rng.randint(1, 60)]
    return bytes(raw)


def one(rng: random.Random, kind: str, seed: Any) -> str:
    """Reads one mangled input and answers about it; `read`, `refused` or `passed over`."""
    found = Evidence()
    try:
        if kind == "card":
            text = _bytes(rng, seed.encode()).decode("utf-8", "replace")
            found.claims += cards.card_claims(text, "model", "card")
            parse_yaml(text[4:], "card")
        else:
            value = seed if rng.random() < 0.4 else mangled(rng, seed)
            raw = json.dumps(value).encode()
            raw = _bytes(rng, raw) if value is seed or rng.random() < 0.1 else raw
            if not claim(found, parse_json(raw, "record"), "record"):
                return "passed over"
        graph = Graph(found.claims, found.hands, found.faults)
        answers = [answer(graph, pair).model_dump() for pair in pairs(graph, every=True)]
    except BadInput:
        return "refused"
    if rng.random() < 0.02:
        lineage_page(answers, [])
    elif answers:
        picture(answers[0])
    return "read"


def fuzz(inputs: int, seed: int, crashed: Callable[[int, Exception], None]) -> Counter[str]:
    """So many inputs, each from its own seed; how many were read, refused, passed over, and crashed."""
    counts, good = Counter[str](), seeds()
    for number in range(inputs):
        rng = random.Random(seed * 1_000_003 + number)
        kind, value = good[number % len(good)]
        try:
            counts[one(rng, kind, value)] += 1
        except Exception as error:
            counts["crashed"] += 1
            crashed(number, error)
    return counts


def main() -> None:
    """Prints what happened to the inputs; the first crashes with their numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told: list[str] = []
    started = time.monotonic()
    counts = fuzz(given.inputs, given.seed, lambda n, e: told.append(f"{n}: {type(e).__name__}: {e}"[:200]))
    found = {"fuzz_inputs": given.inputs, "fuzz_crashes": counts["crashed"], "seed": given.seed,
             "outcomes": dict(counts), "wall_s": round(time.monotonic() - started, 1)}  # fmt: skip
    print(json.dumps(found, indent=1), *told[:10], sep="\n")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
