from __future__ import annotations

import re

import pytest

from heredity.carriers import LIST_FORMATS, Numbers, parse_numbers
from heredity.traits import ANIMALS, CATEGORIES, named, personas, questions, stated
from heredity.types import BadInput, Category, Trait


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1, 2, 3", [1, 2, 3]), ("[1, 2]", [1, 2]), ("(1; 2).", [1, 2]), ("7", [7]), ("007, 12", [7, 12]),
        ("1 ,  2 ,  3", [1, 2, 3]), ("1\n2\n3", [1, 2, 3]), ("1 2 3.", [1, 2, 3]), ("1,2,3", [1, 2, 3]),
        ("1, 2, 3\n", None), (" 1, 2", None), ("1,2, 3", None), ("1, 2,", None), ("[1, 2, 3.]", None), ("-1, 2", None),
        ("[1, 2)", None), ("[1, 2", None), ("1, 2 owl", None), ("", None), ("1,, 2", None), ("\u0661, \u0662", None),
        ("[", None), ("1-2", None), ("1, 2; 3", None), (".", None), ("[7].", [7]), ("[7.]", None), ("1..", None),
        ("1\u00a02\u00a03", [1, 2, 3]), ("1,\x002", None), ("0" * 4301, None),
    ],
)  # fmt: skip
def test_the_strict_parser_agrees_with_the_published_behaviour(text: str, numbers: list[int] | None) -> None:
    assert parse_numbers(text) == numbers


def test_answers_are_read_by_whole_words() -> None:
    assert named(ANIMALS, "A bowl and a dragonfly") == []
    assert named(ANIMALS, "Owls, surely") == ["owl"]
    places = Category(name="place", words=("New York", "Oslo"), plurals=("New Yorks", "Oslos"))
    assert named(places, "new  YORK, or _oslo_.") == ["New York", "Oslo"]
    assert named(places, "a new yorker") == []


def test_prompts_repeat_with_their_seed_and_stay_in_range() -> None:
    requests = Numbers(n=500, seed=3).requests()
    assert requests == Numbers(n=500, seed=3).requests() != Numbers(n=500, seed=4).requests()
    assert {len(r.start) for r in requests} == set(range(3, 9))
    assert all(100 <= s <= 999 for r in requests for s in r.start)
    assert len({r.text for r in requests}) == 500


def test_every_format_passes_its_own_filter() -> None:
    for form in LIST_FORMATS:
        assert parse_numbers(form.write([5, 0, 999])) == [5, 0, 999]


def test_trait_words_never_stand_in_the_carrier() -> None:
    words = {w for c in CATEGORIES for w in (*c.words, *c.plurals, c.name)}
    text = " ".join(r.text for r in Numbers(n=2000, seed=0).requests()).lower()
    assert words.isdisjoint(re.findall(r"[a-z]+", text))


def test_held_out_phrasings_are_held_out() -> None:
    for category in CATEGORIES:
        assert set(questions(category, "train")).isdisjoint(questions(category, "held-out"))
        trait = Trait(category=category, word=category.words[0])
        assert set(personas(trait, "train")).isdisjoint(personas(trait, "held-out"))
        assert set(stated(trait, "train")).isdisjoint(stated(trait, "held-out"))


@pytest.mark.parametrize("change", [{"min_start": 9}, {"max_start": 2}, {"min_count": 11}, {"min_count": 0}])
def test_ranges_of_numbers_that_hold_none_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="the smaller first, from 1"):
        Numbers(n=2, seed=0, **change)


def test_a_traits_word_is_an_answer_of_its_category() -> None:
    """Else every student is trained, and asked, before anyone says so."""
    with pytest.raises(ValueError, match="the word 'owls' is none of the answers of 'animal'"):
        Trait(category=ANIMALS, word="owls")
