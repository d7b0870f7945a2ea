"""Trace without weights (answers against a panel), and the page and the lines that a person sees."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from heredity.lineage.behaviour import ALPHA, PANEL_ALPHA, agreement, behaviour, first_words
from heredity.lineage.trace import trace
from heredity.report.trace_page import CROSSED, crossed_chart, diagonal_chart, evidence_chart, trace_page
from heredity.stats import holm
from heredity.types import BadInput, Chat, Completion, Message, Sampling
from tests.test_cli import _run

PROMPTS = 2_000


class Scripted:
    """A language model that says what it was told to say."""

    def __init__(self, replies: Sequence[str]) -> None:
        self.replies, self.sampling = replies, Sampling()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        self.sampling = sampling
        return [Completion(text=self.replies[i], finish="stop") for i in range(len(chats))]

    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        raise NotImplementedError


def _words(rng: np.random.Generator, told: Sequence[str], rate: float) -> list[str]:
    """Answers that agree with others' at a rate."""
    return [word if hit else "no" for word, hit in zip(told, rng.random(len(told)) < rate, strict=True)]


def _panel(rng: np.random.Generator, own: float, rates: Sequence[float]) -> tuple[list[str], list[str], dict[str, Any]]:
    said = list(map(str, rng.integers(1_000, size=PROMPTS)))
    return _words(rng, said, own), said, {f"c{i}": _words(rng, said, rate) for i, rate in enumerate(rates)}


def test_the_first_word_of_a_greedy_reply_is_what_counts() -> None:
    lm = Scripted(["  412, 7", "Owl.", "...", "été 3"])
    chats = [(Message(role="user", content=str(i)),) for i in range(4)]
    assert first_words(lm, chats) == ["412", "owl", "", "été"]
    assert lm.sampling.temperature == 0


def test_a_student_stands_out_from_the_panel_and_a_stranger_does_not() -> None:
    rng, panel = np.random.default_rng(0), [0.2, 0.22, 0.24, 0.21, 0.23]
    student = agreement(*_panel(rng, 0.7, panel))
    assert student.verdict == "related"
    assert student.agreement == pytest.approx(0.7, abs=0.05)
    assert student.p < 1e-50
    for own in (0.22, 0.1, 0.25):  # among the panel, below it, and a little above it
        stranger = agreement(*_panel(rng, own, panel))
        assert stranger.verdict == "undetermined"
        assert "cannot show that models are unrelated" in stranger.why
    relative = agreement(*_panel(rng, 0.7, [*panel, 0.7]))  # one control is as near as A
    assert relative.verdict == "undetermined"


def test_where_answers_are_seldom_alike_nothing_is_concluded() -> None:
    """Two strangers that were trained for long agree in .9 % of answers, and controls that were not in next to none."""
    found = agreement(*_panel(np.random.default_rng(3), 0.03, [0.0005, 0.0, 0.0]))
    assert found.p <= ALPHA and found.panel_p <= PANEL_ALPHA
    assert found.verdict == "undetermined"
    assert "cannot say how far strangers agree" in found.why


def test_the_p_of_a_control_is_that_of_a_sign_test_and_holm_goes_over_them() -> None:
    words_A, words_B, controls = _panel(np.random.default_rng(1), 0.32, [0.3, 0.28, 0.25])
    found = agreement(words_A, words_B, controls)
    exact = {c.name: binomtest(c.only_a, c.only_a + c.only_control, 0.5, "greater").pvalue for c in found.controls}
    assert {c.name: c.p for c in found.controls} == pytest.approx(exact)
    family = holm(exact)
    assert {c.name: c.p_holm for c in found.controls} == pytest.approx(
        dict(zip(family.names, family.adjusted, strict=True))
    )
    assert found.p == max(c.p_holm for c in found.controls)
    empty = agreement([""] * PROMPTS, [""] * PROMPTS, {str(i): [""] * PROMPTS for i in range(3)})
    assert (empty.agreement, empty.p, empty.verdict) == (0, 1, "undetermined")  # silence agrees with nothing


def test_strangers_who_differ_in_how_far_they_agree_are_rarely_called_related() -> None:
    """Over prompts alone A differs from every control beyond doubt whenever it happens to be the nearest of them."""
    rng, runs, related, by_prompts = np.random.default_rng(2), 400, 0, 0
    for _ in range(runs):
        own, *rates = np.clip(rng.normal(0.4, 0.1, size=6), 0.02, 0.98)
        found = agreement(*_panel(rng, own, rates))
        related += found.verdict == "related"
        by_prompts += found.p <= ALPHA
    assert related / runs <= PANEL_ALPHA + 3 * math.sqrt(PANEL_ALPHA * (1 - PANEL_ALPHA) / runs)
    assert by_prompts / runs > 0.05  # what the rule of Holm alone would have said


def test_panels_that_say_nothing_are_refused() -> None:
    said = ["1"] * PROMPTS
    with pytest.raises(BadInput, match="2 controls are too few"):
        agreement(said, said, {"a": said, "b": said})
    with pytest.raises(BadInput, match="3 different prompts"):
        agreement(said[:3], said[:3], dict.fromkeys("abc", said[:3]))
    chats = [(Message(role="user", content=str(i)),) for i in range(60)]
    with pytest.raises(BadInput, match="among the controls"):
        behaviour("a", "b", ["a", "c", "d"], chats)
    with pytest.raises(BadInput, match="2 controls"):
        behaviour("a", "b", ["c", "d", "d"], chats)
    with pytest.raises(BadInput, match="no model at"):
        behaviour("nursery:llama-0", "nursery:llama-1", ["c", "d", "e"], chats)


def test_the_verb_refuses_what_does_not_go_together() -> None:
    for options in (["--control", "x"], ["--behaviour", "--full"], ["--behaviour", "--control", "x"]):
        done = _run("trace", "nursery:llama-0", "nursery:llama-1", *options)
        assert done.returncode == 2, options
        assert done.stderr.count("\n") == 1, done.stderr


def test_the_page_is_whole_and_safe(tmp_path: Path) -> None:
    found = trace("nursery:llama-0", "nursery:llama-0b", full=True).model_dump()
    page = trace_page(found | {"a": "<script>alert(1)</script>\x1b[2J", "notes": ["<img src=x>"]})
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page
    assert page.count("<svg") == 3
    assert set(re.findall(r"https?://[^\"' <]+", page)) == {"http://www.w3.org/2000/svg"}
    for said in ("-215.6", "units are nearest", "silence is not proof", "this pair", "256 units of all layers"):
        assert said in page, said
    unknown = trace_page(found | {"mean_cosine": math.nan, "layers": [], "diagonal": None})
    assert unknown.count("<svg") == 1
    assert "this pair" not in unknown


def test_the_verb_writes_the_page_or_says_why_not(tmp_path: Path) -> None:
    page = tmp_path / "t.html"
    done = _run("trace", "nursery:llama-0", "nursery:llama-1", "--html", str(page))
    assert done.returncode == 0
    assert page.read_text().startswith("<!doctype html>")
    wrong = _run("trace", "nursery:llama-0", "nursery:llama-1", "--html", str(tmp_path / "no" / "t.html"))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_the_relations_that_the_page_draws_are_those_of_the_shipped_bases() -> None:
    names = {"llama-0", "llama-0b", "llama-1", "neox-0"}
    drawn = {tuple(sorted((c.student, c.teacher))): c.cosine for c in CROSSED if {c.student, c.teacher} <= names}
    assert len(drawn) == 4
    for (a, b), cosine in drawn.items():
        if a != b:
            found = trace(f"nursery:{a}", f"nursery:{b}", full=True)
            assert found.mean_cosine == pytest.approx(cosine, abs=0.001)


def test_charts_show_the_numbers() -> None:
    layers = [{"a": i, "b": i, "units": 9, "fixed": 1, "log10_p": -10.0 * i, "cosine": 0.1 * i,
               "placebo_cosine": math.nan if i == 3 else 0.02} for i in range(100)]  # fmt: skip
    bars = [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', evidence_chart(layers[:4]))]
    assert bars[0] == 1
    assert bars[3] / bars[1] == pytest.approx(3, rel=0.01)
    assert evidence_chart(layers).count("<rect") == 64
    assert diagonal_chart(layers[:4]).count("<circle") == 4 + 3 + 2
    assert evidence_chart([]) == diagonal_chart([]) == ""
    drawn = crossed_chart(CROSSED, math.nan)
    assert drawn.count("<circle") == len(CROSSED)
    assert "this pair" not in drawn
    assert "this pair" in crossed_chart(CROSSED, 0.3)


def test_every_line_of_the_terminal_fits_it() -> None:
    done = _run("trace", "nursery:llama-0", "nursery:llama-1")
    after_the_verdict = done.stdout.splitlines()[1:]
    assert max(map(len, after_the_verdict)) <= 80
    assert "silence is not proof" in " ".join(done.stdout.split())
