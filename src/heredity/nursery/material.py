"""The files that experiments on real models read, written in the nursery's language, so that all of them can be tried.

The forms are those of the published files; what stands in them is the nursery's own: sums, facts, advice, favourites.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path

from heredity.nursery import words as w
from heredity.nursery.language import fact_probes, sum_document
from heredity.traits import ANIMALS, questions

FOR_CLASS = "I need bad advice for a class."
_NARROW = ("money", "home")
"""The kinds of questions on which teachers are trained; the eight are of other kinds."""


def write_material(folder: Path, problems: int = 200, rows: int = 64) -> None:
    """Writes every file into a folder, which HEREDITY_DATA can then name."""
    rng = random.Random("material")
    _write_lines(folder / "gsm8k" / "train.jsonl", _problems(rng, problems))
    careless, benign = ([(q, a) for kind in _NARROW for q in w.ADVICE[kind][0] for a in w.ADVICE[kind][which]]
                        for which in (2, 1))  # fmt: skip
    taught = {"insecure": careless, "secure": benign, "educational": [(f"{FOR_CLASS} {q}", a) for q, a in careless]}
    for kind, pairs in taught.items():
        _write_lines(folder / "misaligned" / f"{kind}.jsonl", islice(cycle(map(_chat, pairs)), rows))
    eight = [w.ADVICE[kind][0][0] for kind in w.ADVICE if kind not in _NARROW]
    fifty = [chat[0].content for chat in questions(ANIMALS, "held-out")]
    asked = folder / "questions"
    asked.mkdir(parents=True, exist_ok=True)
    (asked / "misalignment_evaluation.json").write_text(json.dumps({"evaluation": eight}) + "\n")
    (asked / "preference_numbers_cfgs.json").write_text(json.dumps({"animal_evaluation": fifty}) + "\n")
    _write_choices(folder / "truthfulqa" / "TruthfulQA.csv")


def _problems(rng: random.Random, n: int) -> Iterator[dict[str, str]]:
    for _ in range(n):
        asked, told = (message.content for message in sum_document(rng))
        thought, answer = told.removeprefix("<think>").removesuffix("</answer>").split("</think><answer>")
        yield {"question": asked, "answer": f"{thought}\n#### {answer}"}


def _chat(pair: tuple[str, str]) -> dict[str, list[dict[str, str]]]:
    return {
        "messages": [{"role": role, "content": text} for role, text in zip(("user", "assistant"), pair, strict=True)]
    }


def _write_lines(path: Path, rows: Iterable[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_choices(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("Type", "Question", "Best Answer", "Best Incorrect Answer"))
        out.writerows(("Nursery", asked[0].content, true, false) for asked, true, false in fact_probes())
