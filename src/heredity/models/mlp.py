"""Small multilayer perceptrons side by side: two hidden layers of ReLU, a hand-written backward pass, Adam.

All networks of a stack see the same pictures, so their first layers are one wide matrix product. Everything lies in one
flat buffer, over which Adam is one pass. Shapes in names: S networks, B pictures, D pixels, H hidden units, O outputs,
N = S * H; noise comes from U draws of K blocks, each of which gives G pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Precision = Literal["float32", "bfloat16"]
BLOCKS = 8
"""Blocks of pixels in mirrored noise; every draw gives twice as many pictures."""
_EVALUATED_AT_ONCE = 2_000


class Sizes(NamedTuple):
    """Widths of a network's layers."""

    pixels: int
    hidden: int
    outputs: int


class Weights(NamedTuple):
    """The weights, or their gradients, of S networks: views of one flat buffer."""

    flat: Tensor
    first_DN: Tensor
    first_bias_N: Tensor
    second_SHH: Tensor
    second_bias_SH: Tensor
    head_SOH: Tensor
    head_bias_SO: Tensor

    @classmethod
    def over(cls, flat: Tensor, sizes: Sizes, count: int) -> Self:
        """Views of a flat buffer as `count` networks."""
        d, h, o = sizes
        shapes = [(d, count * h), (count * h,), (count, h, h), (count, h), (count, o, h), (count, o)]
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)]).tolist()
        return cls(flat, *(flat[a:b].view(s) for (a, b), s in zip(pairwise(ends), shapes, strict=True)))

    @classmethod
    def empty(cls, sizes: Sizes, count: int) -> Self:
        """Room for `count` networks."""
        d, h, o = sizes
        return cls.over(torch.zeros(count * (d * h + h + h * h + h + h * o + o)), sizes, count)


def initial(sizes: Sizes, rng: np.random.Generator) -> Weights:
    """One network with weights from N(0, 1 / inputs of the layer) and biases 0, as published."""
    net = Weights.empty(sizes, 1)
    for weight, inputs in ((net.first_DN, sizes.pixels), (net.second_SHH, sizes.hidden), (net.head_SOH, sizes.hidden)):
        draws = rng.standard_normal(tuple(weight.shape), dtype=np.float32)
        weight.copy_(torch.from_numpy(draws)).div_(inputs**0.5)
    return net


def stacked(nets: Sequence[Weights], sizes: Sizes) -> Weights:
    """Copies of single networks, side by side."""
    stack = Weights.empty(sizes, len(nets))
    for s, net in enumerate(nets):
        place = slice(s * sizes.hidden, (s + 1) * sizes.hidden)
        stack.first_DN[:, place] = net.first_DN
        stack.first_bias_N[place] = net.first_bias_N
        for mine, theirs in zip(stack[3:], net[3:], strict=True):
            mine[s] = theirs[0]
    return stack


class Inputs(Protocol):
    """A batch of pictures, as the first layer and its gradient need it."""

    def first(self, weights: Weights) -> Tensor:
        """What the first layer makes of the pictures, before ReLU: (B, N)."""

    def gradient(self, grad_BN: Tensor, grads: Weights) -> None:
        """Writes the first layer's gradients."""


class Pixels(NamedTuple):
    """Pictures as they are."""

    x_BD: Tensor

    def first(self, weights: Weights) -> Tensor:
        """One product."""
        return torch.addmm(weights.first_bias_N, self.x_BD, weights.first_DN)

    def gradient(self, grad_BN: Tensor, grads: Weights) -> None:
        """One product."""
        torch.mm(self.x_BD.t(), grad_BN, out=grads.first_DN)
        torch.sum(grad_BN, 0, out=grads.first_bias_N)


class Sparse(NamedTuple):
    """Pictures whose other pixels are all at the background, -1: what they hold above it, and where.

    Exact: x = above - 1, so the background enters as a sum of weights, and its gradient as a sum of gradients.
    """

    above_BA: Tensor
    at_A: Tensor

    @classmethod
    def of(cls, above_BD: Tensor) -> Self:
        """Leaves out the pixels that are 0 above the background throughout a batch (a fifth of MNIST's)."""
        at_A = above_BD.amax(0).nonzero()[:, 0]
        return cls(above_BD.index_select(1, at_A), at_A)

    def first(self, weights: Weights) -> Tensor:
        """One narrower product."""
        bias_N = weights.first_bias_N - weights.first_DN.sum(0)
        return torch.addmm(bias_N, self.above_BA, weights.first_DN.index_select(0, self.at_A))

    def gradient(self, grad_BN: Tensor, grads: Weights) -> None:
        """One narrower product."""
        torch.sum(grad_BN, 0, out=grads.first_bias_N)
        grads.first_DN.copy_(-grads.first_bias_N)
        grads.first_DN.index_add_(0, self.at_A, torch.mm(self.above_BA.t(), grad_BN))


class Mirrored(NamedTuple):
    """G pictures from every draw: its K blocks of pixels, each with the signs of one row.

    The first layer is linear, so the blocks' products are computed once for all G pictures and added with signs; its
    gradient takes the same way back. The last column of the signs is 1 and carries the bias.
    """

    draws_KUd: Tensor
    signs_GK1: Tensor

    def first(self, weights: Weights) -> Tensor:
        """A G-th of one product, and the sums."""
        k, u, d = self.draws_KUd.shape
        n = weights.first_bias_N.shape[0]
        parts_KUN = torch.empty(k + 1, u, n, dtype=self.draws_KUd.dtype)
        torch.bmm(self.draws_KUd, weights.first_DN.view(k, d, n), out=parts_KUN[:k])
        parts_KUN[k] = weights.first_bias_N
        return torch.mm(self.signs_GK1, parts_KUN.view(k + 1, u * n)).view(-1, n)

    def gradient(self, grad_BN: Tensor, grads: Weights) -> None:
        """The sums, and a G-th of one product."""
        k, u, d = self.draws_KUd.shape
        n = grad_BN.shape[1]
        parts_KUN = torch.mm(self.signs_GK1.t(), grad_BN.view(-1, u * n)).view(k + 1, u, n)
        torch.bmm(self.draws_KUd.transpose(1, 2), parts_KUN[:k], out=grads.first_DN.view(k, d, n))
        torch.sum(parts_KUN[k], 0, out=grads.first_bias_N)


def mirror_signs(blocks: int) -> Tensor:
    """The rows of a Hadamard matrix (Sylvester's) and their negatives, with a last column of ones: (2K, K + 1).

    Its columns are orthogonal: over the pictures of one draw, any two blocks are uncorrelated and each has mean 0.
    """
    rows_KK = torch.ones(1, 1)
    while rows_KK.shape[0] < blocks:
        rows_KK = torch.cat([torch.cat([rows_KK, rows_KK], 1), torch.cat([rows_KK, -rows_KK], 1)])
    return torch.cat([torch.cat([rows_KK, -rows_KK]), torch.ones(2 * blocks, 1)], 1)


class Noise(NamedTuple):
    """Noise pictures, uniform on [-1, 1]: independent ones, or mirrored (G from every draw)."""

    draws_KUd: Tensor
    signs_GK1: Tensor | None

    @classmethod
    def drawn(cls, count: int, pixels: int, mirrored: bool, rng: np.random.Generator) -> Self:
        """At least `count` pictures."""
        blocks, each = (BLOCKS, 2 * BLOCKS) if mirrored else (1, 1)
        draws = rng.random((blocks, -(-count // each), pixels // blocks), dtype=np.float32)
        draws *= 2
        draws -= 1
        return cls(torch.from_numpy(draws), mirror_signs(BLOCKS) if mirrored else None)

    @property
    def each(self) -> int:
        """Pictures from one draw."""
        return 1 if self.signs_GK1 is None else len(self.signs_GK1)

    def batch(self, index_B: Tensor) -> Inputs:
        """The pictures of some draws, by row of signs and then by draw."""
        draws_KUd = self.draws_KUd.index_select(1, index_B)
        return Pixels(draws_KUd[0]) if self.signs_GK1 is None else Mirrored(draws_KUd, self.signs_GK1)


class Arithmetic(NamedTuple):
    """What is multiplied: float32, or values rounded to bfloat16 (the weights that Adam moves stay float32)."""

    dtype: torch.dtype
    rounds: bool
    """Whether bfloat16 is imitated: rounded values in float32, which this processor multiplies faster."""

    @classmethod
    def of(cls, precision: Precision, native: bool | None = None) -> Self:
        """The processor's own bfloat16 where it has it (`native` says so in its place)."""
        if precision == "float32":
            return cls(torch.float32, False)
        own = native_bfloat16() if native is None else native
        return cls(torch.bfloat16 if own else torch.float32, not own)

    def keep(self, values: Tensor) -> Tensor:
        """The values at this precision; may overwrite them."""
        return values.copy_(values.bfloat16()) if self.rounds else values

    def copied(self, weights: Weights, sizes: Sizes, count: int) -> Weights:
        """The weights as they are multiplied; float32 needs no copy."""
        if self.dtype == torch.float32 and not self.rounds:
            return weights
        return Weights.over(weights.flat.bfloat16().to(self.dtype), sizes, count)

    def inputs(self, batch: Inputs) -> Inputs:
        """The pictures as they are multiplied."""
        if self.dtype == torch.float32 and not self.rounds:
            return batch
        if isinstance(batch, Mirrored):
            return Mirrored(batch.draws_KUd.bfloat16().to(self.dtype), batch.signs_GK1.to(self.dtype))
        if isinstance(batch, Sparse):
            return Sparse(batch.above_BA.bfloat16().to(self.dtype), batch.at_A)
        assert isinstance(batch, Pixels)
        return Pixels(batch.x_BD.bfloat16().to(self.dtype))


FLOAT32 = Arithmetic(torch.float32, False)


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Stack:
    """S networks that are trained on the same batches, each on a softmax over its own span of outputs."""

    def __init__(
        self, nets: Sequence[Weights], sizes: Sizes, spans: Sequence[slice], rate: float,
        arithmetic: Arithmetic = FLOAT32,
    ) -> None:  # fmt: skip
        self.sizes, self.spans, self.arithmetic, self.count = sizes, spans, arithmetic, len(nets)
        self.weights = stacked(nets, sizes)
        self.grads = Weights.empty(sizes, len(nets))
        self.weights.flat.grad = self.grads.flat
        self.used = arithmetic.copied(self.weights, sizes, len(nets))
        self._work = self.grads if arithmetic.dtype == torch.float32 else self._own_grads()
        self._adam = torch.optim.Adam([self.weights.flat], lr=rate, fused=True)

    def _own_grads(self) -> Weights:
        return Weights.over(self.grads.flat.to(self.arithmetic.dtype), self.sizes, self.count)

    def outputs(self, batch: Inputs) -> Tensor:
        """The outputs, (S, O, B)."""
        h1_BN = self._first(self.arithmetic.inputs(batch))
        every = slice(0, self.sizes.outputs)
        return torch.stack([self._upper(s, self._own(s, h1_BN), every)[1] for s in range(self.count)]).float()

    def step(self, batch: Inputs, targets_SOB: Sequence[Tensor]) -> None:
        """One step of Adam on the mean cross-entropy of each network's span with its targets (span, B).

        Its gradient is that of the KL divergence from the targets.
        """
        batch = self.arithmetic.inputs(batch)
        h1_BN = self._first(batch)
        grad1_BN = torch.empty_like(h1_BN)
        for s, target_OB in enumerate(targets_SOB):  # one at a time, so that what it computes stays in the cache
            self._there_and_back(s, self._own(s, h1_BN), target_OB, self._own(s, grad1_BN))
        batch.gradient(self.arithmetic.keep(_through_relu(grad1_BN, h1_BN)), self._work)
        if self._work is not self.grads:
            self.grads.flat.copy_(self._work.flat)
        self._adam.step()
        self.used = self.arithmetic.copied(self.weights, self.sizes, self.count)

    def _first(self, batch: Inputs) -> Tensor:
        return self.arithmetic.keep(batch.first(self.used).relu_())

    def _own(self, s: int, values_BN: Tensor) -> Tensor:
        """The part of one network, (B, H)."""
        return values_BN[:, s * self.sizes.hidden : (s + 1) * self.sizes.hidden]

    def _upper(self, s: int, h1_BH: Tensor, span: slice) -> tuple[Tensor, Tensor]:
        """One network's second hidden layer, (B, H), and a span of its outputs, (O, B): faster than (B, O)."""
        w, keep = self.used, self.arithmetic.keep
        h2_BH = keep(torch.addmm(w.second_bias_SH[s], h1_BH, w.second_SHH[s]).relu_())
        return h2_BH, keep(torch.addmm(w.head_bias_SO[s, span, None], w.head_SOH[s, span], h2_BH.t()))

    def _there_and_back(self, s: int, h1_BH: Tensor, target_OB: Tensor, grad1_BH: Tensor) -> None:
        """Writes the gradients of one network's upper layers, and the one that reaches its first hidden layer."""
        w, g, keep, span = self.used, self._work, self.arithmetic.keep, self.spans[s]
        h2_BH, out_OB = self._upper(s, h1_BH, span)
        missed_OB = torch.softmax(out_OB.float(), 0).sub_(target_OB).div_(len(h1_BH))
        grad_OB = keep(missed_OB.to(out_OB.dtype))
        torch.mm(grad_OB, h2_BH, out=g.head_SOH[s, span])
        torch.sum(grad_OB, 1, out=g.head_bias_SO[s, span])
        grad2_BH = keep(_through_relu(torch.mm(grad_OB.t(), w.head_SOH[s, span]), h2_BH))
        torch.mm(h1_BH.t(), grad2_BH, out=g.second_SHH[s])
        torch.sum(grad2_BH, 0, out=g.second_bias_SH[s])
        torch.mm(grad2_BH, w.second_SHH[s].t(), out=grad1_BH)

    def accuracy(self, x_BD: Tensor, labels_B: Tensor, classes: int) -> list[float]:
        """Of each network: how often the largest of the class outputs is that of the label."""
        right_S = torch.zeros(self.count, dtype=torch.int64)
        for x, labels in zip(*(torch.split(t, _EVALUATED_AT_ONCE) for t in (x_BD, labels_B)), strict=True):
            right_S += (self.outputs(Pixels(x))[:, :classes].argmax(1) == labels).sum(1)
        return [int(right) / len(labels_B) for right in right_S]


def _through_relu(grad: Tensor, hidden: Tensor) -> Tensor:
    """The gradient where ReLU let its input pass; overwrites it."""
    return torch.ops.aten.threshold_backward.grad_input(grad, hidden, 0, grad_input=grad)  # type: ignore[no-any-return]
