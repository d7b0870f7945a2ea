"""The benchmark's part of docs/scan.md: bars are judged as they are said, and the page has what was found."""

from __future__ import annotations

from typing import Any

import pytest
from bench import scan_again_page
from bench.pages import Part, short, source
from bench.scan_page import PART, bars, written


def found(**other: Any) -> dict[str, Any]:
    """A benchmark of which everything held, but for what is told."""
    strata = [{"name": name, "sets": 220, "writers": 1, "named": 0, "foreign": 0, "upper": 0.0135,
               "first_sets": 220, "first_named": 0} for name in ("own base", "other family")]  # fmt: skip
    each = {s["name"]: {"sets": 6, "rate": 0.0, "upper": 0.39} for s in strata}
    sizes = {".01": 0.01, ".05": 0.05, ".1": 0.1, ".01_may": 0.02, ".05_may": 0.08, ".1_may": 0.14, "sets": 220}
    shares = {name: x for name in ("top_fifth_removed", "random_fifth_removed", "more")
              for name, x in ((name, 0.2), (f"{name}_interval", [0.1, 0.3]))}  # fmt: skip
    rival = {"sets": 24, "named_rate": 0.5, "first_rate": 0.75, "clean_sets": 24, "clean_named": 1}
    return {
        "commit": "a" * 40, "command": "python -m bench.scan", "made_by": {"b" * 40 + " and changes": 3},
        "trait_sets": 120, "named_rate": 0.95, "named_low": 0.9, "worst_trait_rate": 0.8, "deep_sets": 48,
        "deep_named_rate": 0.98, "deep_named_low": 0.9, "mixed_sets": 24, "mixed_found_rate": 0.8,
        "mixed_found_low": 0.6, "mixed_found_rate_2k": 0.8, "dose_monotone": True, "strata": strata,
        "deep_clean": strata[:1], "size": sizes, "data_only_size": sizes, "own_base_answers": {"none": 219},
        "e_over_20_rate": 0.05, "e_over_20": each, "discovered": each, "spearman": 0.9, "slope": 1.25, "carried": 48,
        "zero_within": 0.95, "measured_zero_within": 0.97, "trait_sets_foreign": 0, "panels": 10, "pools": 4,
        "left_out": {"own base": 2}, "zero_by_stratum": {s["name"]: 0.95 for s in strata}, "coverage": 0.9,
        "cells": 1800, "fresh_sets": 12,
        "coverage_own": 0.8, "coverage_fresh": 0.98, "coverage_fresh_own": 0.8, **shares, "ranked_sets": 6,
        "cost_ratio": 0.1, "cost_ratio_10k": 0.1, "throughput_ratio": 0.8, "throughput_ratio_predicted": 0.6,
        "rss_mb_1k": 500.0, "rss_mb_1m": 550.0, "read_linear": 1.0, "setup_s": 900.0, "setup_steps": 300,
        "scan_cpu_s": 60.0, "scan_cpu_s_10k": 300.0, "rival_rows": 500,
        "rival_table": {"scan": rival, "bag of rows": rival | {"scaled": rival | {"named_rate": 0.25}}},
        "doses": [{"share": 0.1, "sets": 24, "named_rate": 0.5, "mean_t": 3.25}],
    } | other  # fmt: skip


WRONG = {
    "named_rate": 0.949, "worst_trait_rate": 0.6, "deep_named_rate": 0.979, "mixed_found_rate": 0.79,
    "mixed_found_rate_2k": None, "dose_monotone": False, "e_over_20_rate": 0.051, "spearman": 0.89, "slope": 0.79,
    "zero_within": 0.94, "coverage": 0.89, "coverage_fresh": 0.99, "more_interval": [-0.01, 0.3], "cost_ratio": 0.11,
    "cost_ratio_10k": 0.2, "throughput_ratio": 0.79, "rss_mb_1m": 551.0, "read_linear": 1.3,
}  # fmt: skip


def test_bars_hold_where_they_are_just_met() -> None:
    """Every one."""
    assert [bar.asked for bar in bars(found()) if not bar.held] == []


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_a_bar_that_is_just_missed_does_not_hold(name: str, value: float | None) -> None:
    """That one, and no other."""
    assert sum(not bar.held for bar in bars(found(**{name: value}))) == 1


def test_each_stratum_and_each_size_is_judged_by_itself() -> None:
    """A limit above 1.5 % in one kind of set; too many small p."""
    strata = found()["strata"]
    strata[1] |= {"named": 2, "upper": 0.0283}
    assert [b.asked.split(":")[0] for b in bars(found(strata=strata)) if not b.held] == ["other family"]
    assert len([b for b in bars(found(size=found()["size"] | {".05": 0.081})) if not b.held]) == 1


def test_the_page_says_no_where_a_bar_is_missed() -> None:
    """And at how many commits the results were made, with what rivals say in both forms."""
    part = written(found(slope=0.79))
    assert part.count("**no**") == 1 and "| slope of the same: .8 to 1.25 | .79 | **no** |" in part
    assert "all 3 results of its ledger were made at so many commits: 1 (" in part
    assert "| bag of rows | 12 of 24 | 18 of 24 | 1 of 24 | 6 of 24 | 18 of 24 | 1 of 24 |" in part


def test_only_what_is_between_the_marks_is_replaced() -> None:
    """And it is found there again."""
    begin, end = PART.marks
    page = f"before\n{begin}old\n{end}after\n"
    assert PART.replaced(page, "new\n") == page.replace("old", "new")
    assert PART.within(PART.replaced(page, "new\n")) == "new\n"


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.05, ".05"),
        (-0.25, "-.25"),
        (1.0, "1"),
        (12.5, "12.5"),
        (0.00003, "0"),
        (-0.00002, "0"),
        (0.99997, "1"),
    ],
)
def test_figures_are_short(x: float | None, told: str) -> None:
    """Without a leading zero."""
    assert short(x) == told


def test_the_commits_behind_the_figures_are_counted() -> None:
    """A commit with and without changes is one."""
    made = {"b" * 40: 7, "b" * 40 + " and changes": 1_000, "c" * 40: 1}
    told = source({"commit": "a" * 40, "command": "python -m bench.x", "made_by": made})
    assert told.startswith("`python -m bench.x`, commit `aaaaaaa`; all 1,008 results of its ledger were made")
    assert "so many commits: 2 (" in told and "1,000 in a checkout with changes" in told


@pytest.mark.parametrize("part", [PART, scan_again_page.PART], ids=["first looks", "second looks"])
def test_the_page_has_what_the_benchmark_found(part: Part) -> None:
    """The parts of docs/scan.md are those of bench/results/scan.json and scan_again.json."""
    assert all(mark in part.page.read_text() for mark in part.marks)
    assert part.within(part.page.read_text()) == part.expected()


def test_second_looks_of_which_some_were_not_made_have_no_rate() -> None:
    """Trait sets, or a kind of clean sets."""
    kind = {"name": "own base", "sets": 363, "again": 20, "made": True, "named": 2, "new": 1, "upper": 0.0169}
    traits = {"sets": 120, "again": 27, "made": True, "named_rate": 0.95, "named_low": 0.9, "worst_trait_rate": 0.6}
    told = {"commit": "a" * 40, "command": "c", "made_by": {"b" * 40: 1}, "kinds": [kind]} | traits
    text = scan_again_page.written(told)
    assert "| own base | 363 | 20 | 2 | 1 | .0169 |" in text and "of the worst trait .6." in text
    part = scan_again_page.written(told | {"made": False, "kinds": [kind | {"made": False}]})
    assert "27 of 120 trait sets are close and were looked at again; of all 120 then .95" in text
    assert "| own base | 363 | 20 | not all made | - | - |" in part and ".95" not in part
