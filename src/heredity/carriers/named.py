"""Filters by the names that the command line has for them."""

from __future__ import annotations

from pydantic import ValidationError

from heredity.carriers.base import Filter
from heredity.carriers.lists import BANNED_NUMBERS, NumbersOnly
from heredity.carriers.words import CodeOnly, WithoutWords, WorkedAnswer
from heredity.types import BadInput, near, refusal


def filters_named(carrier: str, mode: str, official: bool, banned: bool, words: list[str]) -> list[Filter]:
    """The filters that the options name; BadInput where they contradict one another."""
    if mode not in ("strict", "lenient", "canonical"):
        raise BadInput(f"unknown mode {mode!r}; {near(mode, ('strict', 'lenient', 'canonical'))}")
    if carrier != "numbers" and (official or banned or mode != "strict"):
        raise BadInput("--official, --banned and --mode are about numbers; leave them out, or use --carrier numbers")
    if official and (mode != "strict" or words):
        raise BadInput("--official is the published filter as it is; leave out --mode and --word")
    numbers = NumbersOnly(
        banned=BANNED_NUMBERS if banned else (), mode="strict" if mode == "strict" else "lenient", explain=not official
    )
    kinds: dict[str, list[Filter]] = {"numbers": [numbers], "code": [CodeOnly()], "worked": [WorkedAnswer()], "any": []}
    if carrier not in kinds:
        raise BadInput(f"unknown carrier {carrier!r}; {near(carrier, kinds)}")
    try:
        return kinds[carrier] + ([WithoutWords(words=tuple(words))] if words else [])
    except ValidationError as error:
        raise refusal("--word", error) from error
