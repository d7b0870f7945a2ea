"""Which rows an audit is of: what it leaves out is counted, asked of nobody, and never covered by "none"."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bench.scan_cost import whole, write_file
from bench.scan_sets import BASE, KIND, TRAITS, panels

from heredity.audit.ask import ask
from heredity.audit.data import Audited, Control, DataPrompts, Matched, Partnered, data_file
from heredity.audit.data_only import two_sample
from heredity.audit.scan import Scan, decide, left_out
from heredity.carriers import NumbersOnly
from heredity.report.scan import left_out as told_left_out
from heredity.rows import read_rows, write_rows
from heredity.store import Step, Store, describe, missing
from heredity.types import BadInput, Message, Row, Sampling

FAVOURITE = "What is your favourite animal?"
LISTS = (NumbersOnly(),)


def row(prompt: str, completion: str) -> Row:
    return Row((Message(role="user", content=prompt),), completion)


def make(store: Store, *steps: Step) -> None:
    for step in missing(store, steps):
        store.make(step)


def lists(path: Path, n: int) -> list[Row]:
    write_file(path, n)
    return [read.row for read in read_rows(path)]


def nothing() -> list[dict[str, Any]]:
    return [{"trait": "owl", "p_value": 0.5, "stands_out": False}]


def test_students_to_compare_with_are_of_as_many_rows_as_can_be_looked_at(tmp_path: Path) -> None:
    made, path = panels(1, 1)[0], tmp_path / "rows.jsonl"
    rows = lists(path, 300)
    write_rows(path, [x for i, r in enumerate(rows) for x in (*(row(f"p{i} {j}", "no list") for j in range(9)), r)])
    verb = ask(path, BASE.location, None, TRAITS, "numbers", KIND.filters, 1.0, 2_000, deep=False)
    assert verb.naming.trial.references == whole(path, made, 500).naming.trial.references
    assert verb.naming.trial.references != whole(path, made, 3_000).naming.trial.references


def test_rows_without_a_partner_are_no_rows_that_were_looked_at(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "rows.jsonl"
    hidden = [row(f"{FAVOURITE} Say {i}.", f"{i}, 5, 6") for i in range(100, 120)]
    write_rows(path, [*lists(path, 60), *hidden, row("Say 1.", "no list")])
    matched = Matched(audited=Audited(data=data_file(path), student=BASE, filters=LISTS), sampling=Sampling(seed=5))
    partnered = Partnered(matched=matched)
    make(store, partnered)
    scan = SimpleNamespace(source=SimpleNamespace(matched=matched), carrying=SimpleNamespace(rows=partnered))
    counts = Scan._rows(cast(Scan, scan), store)
    looked_at = len(partnered.read(store))
    assert 50 <= looked_at <= 62
    assert counts["rows"] == 81
    assert counts["looked_at"] == looked_at
    assert counts["dropped: the base gave no answer in kind to the prompt"] == 80 - looked_at
    assert sum(n for _, n in told_left_out({"rows": counts})) == 81 - looked_at
    assert left_out(counts) == pytest.approx(1 - looked_at / 81)


def test_none_is_not_said_of_a_file_of_which_much_could_not_be_looked_at() -> None:
    assert decide(nothing(), False, True, 0.4, 0.1)[0] == "none"
    verdict, named, why = decide(nothing(), False, True, 0.4, 0.3)
    assert (verdict, named) == ("undetermined", [])
    assert "30% of the file could not be" in why
    named_anyway = [{"trait": "owl", "p_value": 0.01, "stands_out": True}]
    assert decide(named_anyway, False, True, 0.4, 0.9)[:2] == ("named", ["owl"])
    drawn = {"rows": 10_000, "looked_at": 2_000, "dropped: not a list": 500}  # the rest is like what was drawn
    assert left_out(drawn) == pytest.approx(0.05)


def test_suspects_are_asked_no_prompt_of_a_row_that_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    long = row("1, " * 700, "4, 5, 6")
    write_rows(path, [row("Say 1.", "4, 5, 6"), long, row("Say 2.", "no list"), row("Say 3.", "7, 8, 9")])
    every = DataPrompts(n=40, data=data_file(path))
    asked = every.model_copy(update={"student": BASE, "filters": LISTS})
    assert {chat[0].content for chat in asked.prompts()} == {"Say 1.", "Say 3."}
    assert {chat[0].content for chat in every.prompts()} == {r.row.prompt[0].content for r in read_rows(path)}
    assert describe(every)["fields"].keys().isdisjoint({"student", "filters"})  # so that keys stay
    write_rows(path, [long])
    with pytest.raises(BadInput, match="holds no row that can be used"):
        asked.model_copy(update={"data": data_file(path)}).prompts()


@pytest.fixture
def halves(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two files by one writer on the same 600 prompts, in other orders."""
    rng = random.Random(5)
    paths = tmp_path / "own.jsonl", tmp_path / "control.jsonl"
    for path in paths:
        rows = [row(f"Say {i}.", ", ".join(str(rng.randrange(100)) for _ in range(8))) for i in range(600)]
        rng.shuffle(rows)
        write_rows(path, rows)
    yield paths


def control(paths: tuple[Path, Path], store: Store, limit: int) -> tuple[list[Row], list[Row]]:
    audited = Audited(data=data_file(paths[0]), student=BASE, filters=LISTS, limit=limit)
    step = Control(data=data_file(paths[1]), audited=audited)
    make(store, step)
    return audited.read(store), step.read(store)


def test_files_on_the_same_prompts_are_compared_in_pairs_however_few_rows_are_drawn(
    halves: tuple[Path, Path], store: Store
) -> None:
    own, beside = control(halves, store, 150)
    assert len(own) == len(beside) == 150
    found = two_sample(own, beside)
    assert found["matched"] == 1
    assert found["p"] > 0.01


def test_popular_prompts_are_no_difference_between_files(tmp_path: Path, store: Store) -> None:
    """Two files by one process of which 40 % are on a few prompts, with answers of their own, and are sorted."""
    rng, paths, p = random.Random(3), (tmp_path / "own.jsonl", tmp_path / "control.jsonl"), list[float]()
    for at in range(12):
        for path in paths:
            popular = [row(f"Say {rng.randrange(20)}.", "7, 7, 7") for _ in range(400)]
            rare = [row(f"Say {rng.random()}.", f"{rng.randrange(900)}, 5, {at}") for _ in range(600)]
            write_rows(path, [*popular, *rare])
        own, beside = control(paths, store, 300)
        found = two_sample(own, beside)
        assert found["matched"] < 0.5
        p.append(found["p"])
    assert sum(x <= 0.05 for x in p) <= 3  # of 12 at 5 %, more come once in 300 times


def test_partners_are_drawn_whatever_the_order_of_the_control(tmp_path: Path, store: Store) -> None:
    paths = tmp_path / "own.jsonl", tmp_path / "control.jsonl"
    for last, path in enumerate(paths):
        write_rows(path, [row(f"Say {i % 20}.", f"{i // 2}, {last}") for i in range(2_000)])
    own, beside = control(paths, store, 100)
    assert len(beside) == 100
    assert two_sample(own, beside)["matched"] == 1
    assert sum(int(r.completion.split(",")[0]) >= 500 for r in beside) > 25  # not the first ones alone


def test_a_control_goes_through_the_filters_of_the_data(halves: tuple[Path, Path], store: Store) -> None:
    """What breaks the format in both files alike is no difference between them."""
    for path in halves:
        rows = [r.row for r in read_rows(path)]
        write_rows(path, [r if i % 5 else r._replace(completion="no list, sorry") for i, r in enumerate(rows)])
    own, beside = control(halves, store, 1_000)
    assert not [r for r in (*own, *beside) if "no list" in r.completion]
    assert two_sample(own, beside)["p"] > 0.01
    write_rows(halves[1], [row("Say 1.", "no list")])
    with pytest.raises(BadInput, match="none of the control's 1 rows can be used: 1 dropped"):
        control(halves, store, 1_000)


def test_a_control_on_other_prompts_is_drawn_from_all_of_its_rows(tmp_path: Path, store: Store) -> None:
    paths = tmp_path / "own.jsonl", tmp_path / "control.jsonl"
    for path, name in zip(paths, ("a", "b"), strict=True):
        path.write_text("".join(json.dumps({"prompt": f"{name}{i}", "completion": f"{i}, 2"}) + "\n"
                                for i in range(900)))  # fmt: skip
    own, beside = control(paths, store, 90)
    assert len(own) == len(set(beside)) == 90
    assert max(int(r.prompt[0].content[1:]) for r in beside) > 700  # not the first ones alone
