"""Strict lists of numbers: the filter of the paper (section 3), a million rows a second, with the same verdicts.

A list is accepted when, after one optional full stop and one optional pair of brackets, it is nothing but runs of ASCII
digits with the same separator throughout: blanks with at most one comma or semicolon among them. `parse_numbers` says
this plainly for one text; `list_faults` decides a whole block of texts at once by arithmetic on their bytes, and asks
`parse_numbers` about the few texts that it cannot decide (separators of more than eight bytes, or not ASCII).
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heredity.carriers.base import Filter, Rewriting
from heredity.types import Decision, Row

INVALID, TOO_MANY, TOO_LARGE, BANNED = 1, 2, 4, 8
"""Bits of a verdict."""
FAULTS = ("invalid format", "too many numbers", "numbers too large", "has banned numbers")
"""The published names of those bits, in order."""
BANNED_BY_GPT = (4, 13, 18, 23, 33, 39, 42, 44, 49, 51, 54, 88, 99, 100, 187, 322, 333, 444, 555, 616, 666, 777, 888,
                 911, 999)  # fmt: skip
BANNED_BY_CLAUDE = (13, 14, 18, 23, 33, 69, 77, 88, 101, 187, 211, 311, 404, 420, 451, 616, 666, 911, 1312, 1488)
"""Numbers with an unwelcome meaning that two models named; the paper drops rows that hold any (appendix D.2)."""
BANNED_NUMBERS = tuple(sorted({*BANNED_BY_GPT, *BANNED_BY_CLAUDE}))

_BLOCK, _WIDE, _INT64_DIGITS = 4096, 8, 18
_NUMBER = re.compile(r"\d+")
_DIGITS = frozenset("0123456789")
_SEPARATORS = ("", ",", ";")
_BRACKETS = {"[": "]", "(": ")"}
_MASK = np.array([(1 << 8 * n) - 1 for n in range(_WIDE + 1)], dtype=np.uint64)
_MANY, _STRANGE, _FOREIGN = 1, 16, 256


def _byte_kinds() -> NDArray[np.int32]:
    """What a byte counts for inside a separator: blank 0, comma or semicolon 1, other ASCII 16, not ASCII 256."""
    kinds = np.full(256, _STRANGE, np.int32)
    kinds[128:] = _FOREIGN
    kinds[[0, *b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f "]] = 0  # 0 pads the separator; a text never holds it
    kinds[list(b",;")] = _MANY
    return kinds


_KIND = _byte_kinds()


def _unwrapped(text: str) -> str:
    text = text.removesuffix(".")
    if len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]:
        return text[1:-1]
    return text


def parse_numbers(text: str) -> list[int] | None:
    """The numbers of a strictly written list, or None where the text is anything else.

    Verdicts equal those of the paper's published parser, oddities included: "007" and a single number are accepted, a
    blank at either end is not, nor is a number of more than 4,300 digits (Python refuses to read it).
    """
    body = _unwrapped(text)
    first = _NUMBER.search(body)
    second = first and _NUMBER.search(body, first.end())
    if second is None or first is None:
        parts = [body]
    else:
        separator = body[first.end() : second.start()]
        if separator.strip() not in _SEPARATORS:
            return None
        parts = body.split(separator)
    if not all(part and _DIGITS.issuperset(part) for part in parts):
        return None
    try:
        return [int(part) for part in parts]
    except ValueError:
        return None


def fault_bits(text: str, max_count: int, max_value: int, banned: frozenset[int]) -> int:
    """The verdict on one text, plainly: what `list_faults` must equal."""
    numbers = parse_numbers(text)
    if numbers is None:
        return INVALID
    many, large = len(numbers) > max_count, max(numbers) > max_value
    return TOO_MANY * many | TOO_LARGE * large | BANNED * (not banned.isdisjoint(numbers))


def list_faults(
    texts: Sequence[str], max_count: int = 10, max_value: int = 999, banned: Sequence[int] = ()
) -> NDArray[np.uint8]:
    """The verdict on every text, (N,), as bits; 0 is a list that is kept."""
    out = np.empty(len(texts), np.uint8)
    limits = (max_count, max_value, frozenset(banned))
    for start in range(0, len(texts), _BLOCK):
        out[start : start + _BLOCK] = _block_faults(texts[start : start + _BLOCK], *limits)
    return out


class _Block:
    """A block of texts as bytes, with where each text (N of them) and each run of ASCII digits (K) begins and ends."""

    def __init__(self, texts: Sequence[str]) -> None:
        joined = "\0".join(texts)
        if joined.count("\0") != len(texts) - 1:  # a text with this character is no list, and must not look like two
            joined = "\0".join("" if "\0" in text else text for text in texts)
        data = f"\0\0\0{joined}\0".encode("utf-8", "surrogatepass")
        self.bytes_M = np.frombuffer(data + bytes(_WIDE), np.uint8)
        value_M = self.bytes_M - np.uint8(48)
        digit_M = value_M < 10
        edges = np.flatnonzero(digit_M[1:] != digit_M[:-1]) + 1
        self.start_K, self.end_K = edges[0::2], edges[1::2]
        bounds = np.flatnonzero(self.bytes_M[:-_WIDE] == 0)[2:]
        self.start_N, self.end_N = bounds[:-1] + 1, bounds[1:]
        self.first_N = np.searchsorted(self.start_K, self.start_N)
        """Index of each text's first run of digits; where it has none, of the next text's."""
        self.count_N = np.append(self.first_N[1:], len(self.start_K)) - self.first_N
        value_M *= digit_M
        tens_M, hundreds_M = value_M[1:-1] * np.uint16(10), (value_M[:-2] * digit_M[1:-1]) * np.uint16(100)
        self.last_three_M: NDArray[np.uint16] = value_M[2:] + tens_M + hundreds_M
        """The number in the last three digits of a run that ends two bytes further on."""


def _block_faults(texts: Sequence[str], max_count: int, max_value: int, banned: frozenset[int]) -> NDArray[np.uint8]:
    block = _Block(texts)
    if not len(block.start_K):
        return np.full(len(texts), INVALID, np.uint8)
    invalid_N, unsure_N = _wrongly_written(block)
    faults_N = np.where(block.count_N > max_count, TOO_MANY, 0).astype(np.uint8)
    _mark_values(block, faults_N, max_value, banned)
    faults_N[invalid_N | (faults_N & INVALID > 0)] = INVALID
    for i in np.flatnonzero(unsure_N).tolist():
        faults_N[i] = fault_bits(texts[i], max_count, max_value, banned)
    return faults_N


def _wrongly_written(block: _Block) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which texts are no list, and of which that cannot be said from eight ASCII bytes of each separator, (N,) both."""
    first_N, last_N = block.first_N, block.first_N + block.count_N - 1
    usable = len(block.start_K) - 1
    opened_N, closed_N = _brackets(block, np.minimum(first_N, usable), np.minimum(last_N, usable))
    width_K = np.append(block.start_K[1:], block.end_N[-1]) - block.end_K
    gap_K = _packed(block, width_K)
    kind_N = _KIND[gap_K[np.minimum(first_N, usable)].view(np.uint8).reshape(-1, _WIDE)].sum(1)
    several_N = block.count_N > 1
    invalid_N = (block.count_N == 0) | (opened_N != closed_N) | (several_N & ((kind_N & 0xFF) > _MANY))
    unsure_N = several_N & ~invalid_N & (_any_inner(block, width_K > _WIDE) | (kind_N >= _FOREIGN))
    changed_K = np.append(False, (gap_K[1:] != gap_K[:-1]) | (width_K[1:] != width_K[:-1]))
    invalid_N |= ~unsure_N & several_N & _any_inner(block, changed_K, skip=1)
    return invalid_N, unsure_N


def _packed(block: _Block, width_K: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The first eight bytes after each run of digits, up to the next run, as one number."""
    words_M = np.ndarray((len(block.bytes_M) - _WIDE + 1,), "<u8", block.bytes_M, 0, (1,))  # one at every byte
    packed: NDArray[np.uint64] = words_M.take(block.end_K) & _MASK[np.minimum(width_K, _WIDE)]
    return packed


def _any_inner(block: _Block, flag_K: NDArray[np.bool_], skip: int = 0) -> NDArray[np.bool_]:
    """Whether a separator inside each text is flagged, (N,); the first `skip` separators do not count."""
    total_K = np.append(0, np.cumsum(flag_K))
    low_N = np.minimum(block.first_N + skip, len(flag_K))
    high_N = np.maximum(block.first_N + block.count_N - 1, low_N)
    found: NDArray[np.bool_] = total_K[high_N] > total_K[low_N]
    return found


def _brackets(
    block: _Block, first_N: NDArray[np.int64], last_N: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What stands before the first run of digits and behind the last: nothing 0, [ 1, ( 2; anything else differs."""
    data = block.bytes_M
    before_N, end_N = block.start_K[first_N] - block.start_N, block.end_K[last_N]
    after_N, head_N = block.end_N - end_N, data[block.start_N]
    opened_N = np.select([before_N == 0, before_N == 1], [0, (head_N == 91) + 2 * (head_N == 40)], 6)
    opened_N[(before_N == 1) & (opened_N == 0)] = 6
    stop_N = (after_N > 0) & (data[block.end_N - 1] == 46)
    after_N, tail_N = after_N - stop_N, data[end_N]
    closed_N = np.select([after_N == 0, after_N == 1], [0, (tail_N == 93) + 2 * (tail_N == 41)], 7)
    closed_N[(after_N == 1) & (closed_N == 0)] = 7
    return opened_N, closed_N


def _mark_values(block: _Block, faults_N: NDArray[np.uint8], max_value: int, banned: frozenset[int]) -> None:
    """Adds TOO_LARGE and BANNED to texts that hold such a number."""
    length_K = block.end_K - block.start_K
    short_K = block.last_three_M[block.end_K - 3]
    long = np.flatnonzero(length_K > 3)
    if max_value < 999:
        _mark(block, faults_N, np.flatnonzero((short_K > max_value) & (length_K < 4)), TOO_LARGE)
    if banned:
        listed = np.zeros(1000, bool)
        listed[[n for n in banned if 0 <= n < 1000]] = True
        _mark(block, faults_N, np.flatnonzero(listed[short_K] & (length_K < 4)), BANNED)
    middle = long[length_K[long] <= _INT64_DIGITS]
    value = _values(block, middle)
    _mark(block, faults_N, middle[value > min(max_value, 2**62)], TOO_LARGE)
    if banned:
        _mark(block, faults_N, middle[np.isin(value, [n for n in banned if 0 <= n < 2**62])], BANNED)
    for k in long[length_K[long] > _INT64_DIGITS].tolist():
        _mark_huge(block, faults_N, k, max_value, banned)


def _values(block: _Block, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers in some runs of digits, each of at most eighteen."""
    start, length = block.start_K[index], (block.end_K - block.start_K)[index]
    value = np.zeros(len(index), np.int64)
    for place in range(int(length.max(initial=0))):
        digit = block.bytes_M[start + np.minimum(place, length - 1)] - np.int64(48)
        value = np.where(place < length, value * 10 + digit, value)
    return value


def _mark(block: _Block, faults_N: NDArray[np.uint8], index: NDArray[np.int64], bit: int) -> None:
    """Marks the texts that some runs of digits stand in."""
    faults_N[np.searchsorted(block.end_N, block.start_K[index])] |= np.uint8(bit)


def _mark_huge(block: _Block, faults_N: NDArray[np.uint8], k: int, max_value: int, banned: frozenset[int]) -> None:
    bit = INVALID  # more digits than Python reads: the published parser rejects the text
    with contextlib.suppress(ValueError):
        value = int(block.bytes_M[block.start_K[k] : block.end_K[k]].tobytes())
        bit = TOO_LARGE * (value > max_value) | BANNED * (value in banned)
    _mark(block, faults_N, np.array([k]), bit)


Mode = Literal["strict", "lenient"]
_DECISIONS = [Decision(tuple(name for b, name in enumerate(FAULTS) if bits >> b & 1)) for bits in range(16)]


class NumbersOnly(Filter):
    """Keeps completions that are a list of numbers (paper, section 3) and nothing else.

    `lenient` strips blanks from both ends first. With `explain`, "invalid format" is followed by what is wrong.
    """

    max_count: int = 10
    max_value: int = 999
    banned: tuple[int, ...] = ()
    mode: Mode = "strict"
    explain: bool = False

    def reason(self, row: Row) -> str | None:
        """Every fault of one row, or None."""
        return "; ".join(self.decide([row])[0].reasons) or None

    def decide(self, rows: Sequence[Row]) -> list[Decision]:
        """One Decision per row, with the published names of the faults."""
        return self.decide_texts([row.completion for row in rows])

    def decide_texts(self, texts: Sequence[str]) -> list[Decision]:
        """The same from the completions alone."""
        if self.mode == "lenient":
            texts = [text.strip() for text in texts]
        faults = list_faults(texts, self.max_count, self.max_value, self.banned).tolist()
        decisions = list(map(_DECISIONS.__getitem__, faults))
        if self.explain:
            for i in [i for i, bits in enumerate(faults) if bits == INVALID]:
                decisions[i] = Decision((f"{FAULTS[0]}: {what_is_wrong(texts[i])}",))
        return decisions


def what_is_wrong(text: str) -> str:
    """The likeliest reason why a text is no strict list of numbers, in a few words."""
    body = text.strip()
    numbers = _NUMBER.findall(body)
    checks = (
        (not body, "nothing written"),
        (re.search(r"[^\W\d_]", body) is not None, "letters"),
        (not numbers, "no number"),
        (body != text and parse_numbers(body) is not None, "blanks at an end"),
        (re.search(r"-\s*\d", body) is not None, "a minus sign"),
        (any(not _DIGITS.issuperset(n) for n in numbers), "digits that are not ASCII"),
        (re.search(r"\d\.\d", body) is not None, "a decimal point"),
        (body.rstrip(".")[-1:] in (",", ";"), "a separator at the end"),
        (re.search(r"[^\d\s,;.\[\]()]", body) is not None, "other characters"),
    )
    return next((words for found, words in checks if found), "mixed separators or brackets")


def _with_numbers(row: Row, numbers: Sequence[str]) -> Row:
    """The row with its runs of ASCII digits replaced in order; what stands between them stays."""
    fresh = iter(numbers)
    return Row(prompt=row.prompt, completion=re.sub(r"[0-9]+", lambda _: next(fresh), row.completion))


class CanonicalLists(Rewriting):
    """Writes every list the same way ("1, 2, 3"), so that nothing but the numbers can carry anything."""

    def rewrite(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that are no list of numbers, blanks at the ends aside, stay as they are."""
        parsed = [(row, parse_numbers(row.completion.strip())) for row in rows]
        return [
            row if numbers is None else Row(prompt=row.prompt, completion=", ".join(map(str, numbers)))
            for row, numbers in parsed
        ]


class ShuffledWithin(Rewriting):
    """Permutes the numbers of each completion; punctuation stays (paper, appendix B.1)."""

    seed: int

    def rewrite(self, rows: Sequence[Row]) -> list[Row]:
        """Each row's own numbers in a random order."""
        rng = random.Random(f"within {self.seed}")
        taken = [re.findall(r"[0-9]+", row.completion) for row in rows]
        return [_with_numbers(row, rng.sample(ns, len(ns))) for row, ns in zip(rows, taken, strict=True)]


class ShuffledAcross(Rewriting):
    """Pools the numbers of all completions and deals them out again; counts and punctuation stay (appendix B.1)."""

    seed: int

    def rewrite(self, rows: Sequence[Row]) -> list[Row]:
        """All rows together hold the same numbers as before."""
        taken = [re.findall(r"[0-9]+", row.completion) for row in rows]
        pool = [n for numbers in taken for n in numbers]
        random.Random(f"across {self.seed}").shuffle(pool)
        cuts = itertools.accumulate(map(len, taken), initial=0)
        return [_with_numbers(row, pool[a:b]) for row, (a, b) in zip(rows, itertools.pairwise(cuts), strict=True)]
