"""What a trait may hide from an audit, and how that and the pull's strength are told."""

from __future__ import annotations

import math
import re
import shlex
from typing import Any

import numpy as np

from heredity.audit.behind import outlying, set_aside
from heredity.audit.naming import FLOOR, View, together
from heredity.report.scan import carrying_title, next_sentence, trait_sentences
from heredity.stats import ALPHA, holm

WORDS = tuple(f"w{k}" for k in range(24))


def _views(rng: np.random.Generator, **lifts: float) -> list[tuple[Any, float]]:
    """Trial and panel of 24 traits, some lifted in both."""
    seen = []
    for floor in (0.4, FLOOR):
        value_K = rng.normal(size=24)
        for word, lift in lifts.items():
            value_K[WORDS.index(word)] += lift
        seen.append((value_K, floor))
    return seen


def _named(seen: list[tuple[Any, float]]) -> list[str]:
    p_K = together([View(value_K, floor) for value_K, floor in seen]).p_K.tolist()
    return [w for w, p in zip(WORDS, _holm(p_K), strict=True) if p <= ALPHA]


def _holm(p_K: list[float]) -> tuple[float, ...]:
    return holm(dict(zip(WORDS, p_K, strict=True))).adjusted


def _together(seen: list[tuple[Any, float]]) -> list[str]:
    found = set_aside(WORDS, seen)
    return [a.trait for a in found[: outlying(found)]]


def test_the_first_step_is_the_verdicts_own() -> None:
    seen = _views(np.random.default_rng(1), w3=4.0)
    told = together([View(value_K, floor) for value_K, floor in seen])
    first = set_aside(WORDS, seen)[0]
    assert (first.trait, first.t) == ("w3", told.t_K.max())
    assert first.p == _holm(told.p_K.tolist())[3]


def test_two_traits_that_hide_one_another_are_told_together() -> None:
    rng, hidden, told = np.random.default_rng(2), 0, 0
    for _ in range(200):
        seen = _views(rng, w3=3.5, w9=3.5)
        hidden += len(_named(seen)) < 2
        told += {"w3", "w9"} <= set(_together(seen))
    assert hidden > 100
    assert told > 150


def test_nothing_is_made_up_where_there_is_no_trait_and_no_second_where_there_is_one() -> None:
    rng, n, none, second = np.random.default_rng(3), 600, 0, 0
    for _ in range(n):
        none += bool(_together(_views(rng)))
        second += len(_together(_views(rng, w3=6.0))) > 1
    bound = 0.05 * n + 2 * math.sqrt(n * 0.05 * 0.95)
    assert none <= bound
    assert second <= bound


def _found(named: list[str], stands: list[str], panel: bool = True, share: float | None = 0.4) -> dict[str, Any]:
    steps = [{"trait": w, "t": 5.0 - i, "p": 0.01} for i, w in enumerate(("owl", "wolf", "oak"))]
    first = {"trait": "owl", "strength": 0.84, "control_share": 0.2, "among": "animal",
             "predicted_shift": math.log(8), "low": math.log(4), "high": math.log(16)}  # fmt: skip
    return {"named": named, "traits": [first], "carrying": {"trait": "owl"}, "limits": {"share": share},
            "behind": {"steps": steps, "together": stands, "panel": panel}}  # fmt: skip


def test_the_pull_and_what_may_be_hidden_are_told_in_words() -> None:
    expected, pull, behind = trait_sentences(_found(["owl"], ["owl"]))
    assert "to show owl at 8 times the odds" in expected
    assert expected.endswith("(4 to 16; 95 % for the mean of such students): in 67% of its answers that name any "
                             "animal of the list (50% to 80%), in place of 20%.")  # fmt: skip
    rare = _found(["owl"], ["owl"])
    rare["traits"][0] |= {"control_share": 0.0004, "among": None}
    assert trait_sentences(rare)[0].endswith("in 0.32% of its answers (0.16% to 0.64%), in place of 0.04%.")
    assert pull.startswith("The rows pull towards owl 0.8 times as strongly as rows that suspects")
    assert behind.startswith("With owl set aside, no other trait stands out (most: wolf, t 4.0 among those")
    assert "wolf (t 4.0, p 0.01) stands out as well" in trait_sentences(_found(["owl"], ["owl", "wolf"]))[2]
    assert "owl (t 5.0, p 0.01), wolf (t 4.0, p 0.01) stand out" in trait_sentences(_found([], ["owl", "wolf"]))[1]
    assert len(trait_sentences(_found([], []))) == 1
    assert trait_sentences(_found([], ["owl", "wolf"], panel=False, share=None)) == []  # nothing is known of these rows
    assert trait_sentences({"traits": [], "named": []}) == []


def test_what_to_do_next_is_a_command_for_the_data_that_was_scanned() -> None:
    told = {"student": "nursery:llama-0", "named": ["owl"], "behind": {"panel": True}}
    asked = ["--student", told["student"], "--out", "repaired.jsonl"]
    for file, shown in (
        ("my rows.jsonl; reboot", "my rows.jsonl; reboot"), ("-x.jsonl", "./-x.jsonl"),
        ("a\nNamed: none.\x1b[31m", "DATA"),  # it cannot be written so that it is pasted as the same
    ):  # fmt: skip
        found = next_sentence(told | {"data": file})
        (command,) = re.findall(r"(heredity repair .*?), with", found)
        assert shlex.split(command) == ["heredity", "repair", "data", shown, *asked]
    assert "--student" not in next_sentence(told | {"data": "x", "student": "hub:a/b@c"})
    assert "for a hint" in next_sentence(told | {"data": "x", "behind": {"panel": False}})
    assert "repair" not in next_sentence(told | {"named": []})


def test_the_rows_title_says_what_their_order_is_worth() -> None:
    assert carrying_title(_found(["owl"], ["owl"])) == "rows that pull most towards owl"
    assert carrying_title(_found([], [])).endswith("is not named")
    assert "may mean nothing" in carrying_title(_found([], [], panel=False))
