"""What is made of the same answers is made once, and is what it would have been."""

from __future__ import annotations

from pathlib import Path

from bench.scan_sets import KIND, STRATA, clean_sets
from bench.set_steps import Answers
from bench.twins import make_with_twins

from heredity.audit.data import Audited, Matched, Partnered, data_file
from heredity.audit.gradient import Gradient
from heredity.audit.trial import Asked, asked
from heredity.carriers import decide
from heredity.models import model_ref
from heredity.rows import write_rows
from heredity.store import Step, Store, make_all
from heredity.traits import favourite
from heredity.types import Row

BASE, ROWS = model_ref("nursery:llama-0"), 100


def audits(folder: Path, answers: dict[str, str]) -> list[Step]:
    """What audits of files with one set of prompts go by: gradients, and students of the rows and of the base's."""
    prompts = KIND.carrier.model_copy(update={"n": ROWS, "seed": 3}).prompts()
    steps: list[Step] = []
    for name, text in answers.items():
        path = folder / f"{name}.jsonl"
        write_rows(path, (Row(p, text) for p in prompts))
        matched = Matched(audited=Audited(data=data_file(path), student=BASE), sampling=KIND.sampling)
        for rows in (matched, Partnered(matched=matched)):
            steps += [Gradient(student=BASE, rows=rows), asked(BASE, rows, (favourite("owl"),), 1)]
    return steps


def payload(store: Store, step: Step) -> dict[str, bytes]:
    """What a Step wrote."""
    return {p.name: p.read_bytes() for p in store.path(step).iterdir() if p.name != "manifest.json"}


def test_twins_are_made_once_and_are_the_bytes_that_they_would_be(tmp_path: Path) -> None:
    steps = audits(tmp_path, {"one": "1, 2, 3", "other": "700, 800, 900"})
    copied, plain = Store(tmp_path / "copied"), Store(tmp_path / "plain")
    assert make_with_twins(copied, steps, 1) == 3  # a gradient, a student and its answers, all of the base's rows
    assert make_with_twins(copied, steps, 1) == 0
    make_all(plain, steps, 1)
    deep = [s for step in steps for s in (step, *(step.evaluations if isinstance(step, Asked) else ()))]
    for step in [*deep, *(e.model for e in deep if hasattr(e, "model"))]:
        assert payload(copied, step) == payload(plain, step), step.key
    assert payload(copied, steps[2]) != payload(copied, steps[6])  # the rows themselves differ
    assert all(faults == [] for _, faults in copied.verify())


def test_six_writers_answer_the_same_prompts() -> None:
    sets = list(clean_sets(2))
    rows = [one.rows for one in sets]
    assert [one.group for one in sets] == [*STRATA, *STRATA]
    assert all(isinstance(r, Answers) for r in rows)
    prompts = [r.prompts.seed for r in rows if isinstance(r, Answers)]
    assert prompts == [prompts[0]] * 6 + [prompts[6]] * 6 and prompts[0] != prompts[6]
    assert len({r.sampling.seed for r in rows if isinstance(r, Answers)}) == 12


def test_answers_are_in_the_prompts_order_and_pass_the_filters(tmp_path: Path) -> None:
    store, set_ = Store(tmp_path / "store"), next(one for one in clean_sets(1, rows=60) if "prompt" in one.group)
    store.get(set_.rows)
    rows, asked_for = set_.rows.read(store), set_.rows
    assert isinstance(asked_for, Answers)
    assert [row.prompt for row in rows] == list(asked_for.prompts.prompts())  # without the system prompt
    assert all(decision.kept for decision in decide(asked_for.filters, rows))
