"""A count sketch: a vector of every weight, folded into few numbers by hashes and signs that are nowhere stored.

Each entry goes to one number, by a hash of its place, with a sign, by another bit of it (Charikar, Chen and
Farach-Colton 2002). The map is linear; inner products of what it gives are unbiased over hashes, with a variance of
about |a|^2 |b|^2 / numbers, whatever the vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_TOGETHER = 2**18
"""Entries that are hashed together; what is held beside the sketch is of this size."""
_MIX = 0x045D9F3B
_LOW = 2**32 - 1


class Sketch(NamedTuple):
    """Of the tensors of a body, in order: how many entries each has, and how many numbers are kept of it.

    No number is made of entries of two tensors, so that layers of another scale do not drown one another.
    """

    entries: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers are kept in all."""
        return sum(self.kept)

    @property
    def whole(self) -> bool:
        """Whether every entry is kept as it is."""
        return self.entries == self.kept

    def folded(self) -> NDArray[np.float32]:
        """How many weights each number is made of, on average."""
        each = [n / k for n, k in zip(self.entries, self.kept, strict=True)]
        return np.repeat(np.array(each, np.float32), self.kept)

    def fold(self, at: int, value: Tensor) -> Tensor:
        """The numbers that are kept of the tensor at a place, in double precision, where it lies."""
        import torch

        flat_N = value.reshape(-1)
        if self.kept[at] == self.entries[at]:
            return flat_N.double()
        found = torch.zeros(self.kept[at], dtype=torch.float64, device=flat_N.device)
        for start in range(0, len(flat_N), _TOGETHER):
            part = flat_N[start : start + _TOGETHER].double()
            bucket, sign = self._places(at, start, part)
            found.index_add_(0, bucket, part * sign)
        return found

    def unfold(self, at: int, number: Tensor) -> Tensor:
        """The adjoint: of numbers kept of the tensor at a place, what each of its entries gets (flat)."""
        if self.kept[at] == self.entries[at]:
            return number
        found_N = number.new_empty(self.entries[at])
        for start in range(0, len(found_N), _TOGETHER):
            part = found_N[start : start + _TOGETHER]
            bucket, sign = self._places(at, start, part)
            part.copy_(number[bucket] * sign)
        return found_N

    def _places(self, at: int, start: int, part: Tensor) -> tuple[Tensor, Tensor]:
        """Number and sign of the entries from `start` on: T. Mueller's hash of 32 bits of their places.

        It is one to one, so no two entries of a tensor share both for good. All products stay below 2^63.
        """
        import torch

        seed = _mixed(_mixed(at + 1) ^ (start >> 32))
        hashed = torch.arange(start, start + len(part), device=part.device)
        hashed.bitwise_and_(_LOW).bitwise_xor_(seed)
        for _ in range(2):
            hashed.bitwise_xor_(hashed >> 16).mul_(_MIX).bitwise_and_(_LOW)
        hashed.bitwise_xor_(hashed >> 16)
        sign = (hashed & 1).mul_(-2).add_(1).to(part.dtype)
        return hashed.mul_(self.kept[at]).bitwise_right_shift_(32), sign


def _mixed(number: int) -> int:
    """The same hash of one number."""
    for _ in range(2):
        number = ((number ^ number >> 16) * _MIX) & _LOW
    return number ^ number >> 16


def plan(shapes: Sequence[Sequence[int]], dims: int | None) -> Sketch:
    """How tensors of these shapes are folded into about `dims` numbers; not at all where that is enough, or None.

    Vectors (biases, scales of norms) stay whole as long as they take half of the numbers at most: they are few, and
    much of what crosses is in them. Matrices share the rest in proportion to their sizes, one number each at least.
    """
    entries = tuple(math.prod(shape) for shape in shapes)
    if dims is None or sum(entries) <= dims:
        return Sketch(entries, entries)
    vectors = [len(shape) < 2 for shape in shapes]
    spared = sum(n for n, vector in zip(entries, vectors, strict=True) if vector)
    if 2 * spared > dims:
        vectors, spared = [False] * len(shapes), 0
    share = (dims - spared) / (sum(entries) - spared)
    kept = (n if vector else max(1, int(share * n)) for n, vector in zip(entries, vectors, strict=True))
    return Sketch(entries, tuple(kept))
