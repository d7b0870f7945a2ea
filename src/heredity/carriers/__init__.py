"""Carriers: prompts whose answers have nothing to do with a trait, and filters that say why a row is dropped."""

from __future__ import annotations

from heredity.carriers.base import Carrier, Filter, Rewriting, decide, find_carrier
from heredity.carriers.lists import (
    BANNED_BY_CLAUDE,
    BANNED_BY_GPT,
    BANNED_NUMBERS,
    CanonicalLists,
    NumbersOnly,
    ShuffledAcross,
    ShuffledWithin,
    fault_bits,
    list_faults,
    parse_numbers,
    what_is_wrong,
)
from heredity.carriers.named import filters_named
from heredity.carriers.prompts import LIST_FORMATS, ListFormat, NumberPrompt, Numbers, PromptFile, prompt_file
from heredity.carriers.streaming import Tally, check_outputs, filter_rows, written_whole
from heredity.carriers.words import CodeOnly, WithoutWords, WorkedAnswer

__all__ = [
    "BANNED_BY_CLAUDE",
    "BANNED_BY_GPT",
    "BANNED_NUMBERS",
    "LIST_FORMATS",
    "CanonicalLists",
    "Carrier",
    "CodeOnly",
    "Filter",
    "ListFormat",
    "NumberPrompt",
    "Numbers",
    "NumbersOnly",
    "PromptFile",
    "Rewriting",
    "ShuffledAcross",
    "ShuffledWithin",
    "Tally",
    "WithoutWords",
    "WorkedAnswer",
    "check_outputs",
    "decide",
    "fault_bits",
    "filter_rows",
    "filters_named",
    "find_carrier",
    "list_faults",
    "parse_numbers",
    "prompt_file",
    "what_is_wrong",
    "written_whole",
]
