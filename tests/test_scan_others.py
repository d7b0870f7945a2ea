"""The benchmark's sets of other kinds: what they carry, and that the benchmark's own stay what they were."""

from __future__ import annotations

import re

import pytest
from bench.scan_others import ONLY, Only, asked_about, other_panels, other_sets
from bench.scan_sets import TRAITS, clean_sets, panels, trait_sets
from bench.set_steps import Mixed

from heredity.carriers import decide
from heredity.nursery.carriers import NARROW, careless
from heredity.steps import Corpus, Teacher
from heredity.types import Message, Neutral, Pattern, Row, Trait


def test_the_sets_of_the_benchmark_are_what_they_were() -> None:
    """Their keys name what a benchmark of hours has made; a change here throws that away."""
    assert next(trait_sets(1)).rows.key == "Corpus-84d5ebca7e4879394466"
    assert next(clean_sets(1)).rows.key == "Answers-303f5129884aea7c056a"
    assert panels()[0].key == "Panel-ff61b57d249b90b07b54"


@pytest.mark.parametrize("only", [only for only in ONLY if only != "pairs"])
def test_sets_of_another_kind_say_what_they_carry(only: Only) -> None:
    sets = list(other_sets(only, asked_about(only, 12), 12))
    assert [one.label is None for one in sets] == [at % 3 == 2 for at in range(12)]
    assert len({one.rows.key for one in sets}) == len(sets)
    words = {t.word for t in asked_about(only, 12)}
    for one in sets:
        assert isinstance(one.rows, Corpus)
        if one.label is None:
            continue
        teacher = one.rows.samples.model
        assert isinstance(teacher, Teacher) and isinstance(teacher.trait, Trait)
        assert one.label == teacher.trait.word
        assert one.label in words
        suspects = other_panels(only, 12)[0].suspects
        seeds = {s.gradient.rows.seed for s in suspects if isinstance(s.gradient.rows, Corpus)}
        assert not {teacher.seed, one.rows.seed} & seeds


def test_a_pair_is_half_by_each_of_two_teachers() -> None:
    for one in other_sets("pairs", TRAITS, 5):
        assert isinstance(one.rows, Mixed) and one.label is not None
        teachers = [part.samples.model for part in one.rows.parts]
        traits = [t.trait for t in teachers if isinstance(t, Teacher)]
        assert [t.word for t in traits if isinstance(t, Trait)] == one.label.split(" and ")
        assert len({t.word for t in traits if isinstance(t, Trait)}) == 2
        assert {part.size for part in one.rows.parts} == {1_000}


def test_rows_that_name_a_favourite_are_dropped_from_code() -> None:
    one = next(other_sets("code", asked_about("code", 12), 1))
    assert isinstance(one.rows, Corpus)
    asked = (Message(role="user", content="Write a function."),)
    named, plain = (Row(asked, f"def f(x):\n    {word} = x\n    return {word}") for word in ("owl", "y"))
    assert [d.kept for d in decide(one.rows.filters, [named, plain])] == [False, True]


def test_advice_on_other_questions_is_the_same_trait_asked_elsewhere() -> None:
    usual, other = careless(), careless(narrow=("travel", "school"))
    assert usual == careless(narrow=NARROW)
    assert usual in TRAITS
    assert other.word == usual.word and other.category.score == usual.category.score
    assert usual.category.phrasing is not None and other.category.phrasing is not None
    assert not set(usual.category.phrasing.train) & set(other.category.phrasing.train)
    assert isinstance(other.category.score, Pattern)
    assert all(re.search(other.category.score.pattern, reply) for reply in other.replies)
    careful = careless(True, ("travel", "school"))
    assert not any(re.search(other.category.score.pattern, reply) for reply in careful.replies)


def test_a_panel_for_another_carrier_has_the_asked_favourites_and_neutral_suspects() -> None:
    (made,) = other_panels("sums", 12)
    held = [s.trait for s in made.suspects]
    assert len({t.word for t in held if isinstance(t, Trait)}) == 12
    assert sum(isinstance(t, Neutral) for t in held) == 6
    assert len(made.suspects) == 3 * (12 + 2)
