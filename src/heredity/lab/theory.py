"""Lemma 1 and Theorem 1 of Cloud et al. (section 6.1, appendix C) as measurements on any torch module, in float64.

A teacher takes a small step, theta_T = theta_0 + eps * dT. A student that starts at the same theta_0 takes one gradient
step, theta_S = theta_0 + alpha * dS, towards the teacher's outputs on any inputs. Lemma 1: dS . dT >= 0 for small eps,
whatever dT is. Theorem 1: where dT = -grad L_T(theta_0), L_T falls for the student too, unless dS . dT = 0 for all eps.

The proof's first order gives more than a sign, and that is what is measured here:

    dS . dT = eps * A + O(eps^2),   A = E_x[v^T M v],   v = J dT

where J is the Jacobian of the outputs at theta_0 and M the curvature of the student's loss: a Gauss-Newton form. Then
L_T(theta_S) - L_T(theta_0) = -eps * alpha * A + O(eps^2).

Departures: the paper's D is a distribution, here it is a finite batch (E_x is the mean over it, and the identity is
exact for that batch); parameters that do not require a gradient are constants, so theta is the others.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from heredity.types import BadInput, Frozen, Measured

Direction = dict[str, Tensor]
"""A vector in parameter space: one tensor for each parameter that requires a gradient, by name."""
TeacherLoss = Callable[[nn.Module], Tensor]
"""L_T: any differentiable scalar of a module, with data of its own or none at all (a regulariser)."""
EPSILONS = (1e-2, 1e-3, 1e-4, 1e-5)
_NULL = 1e-20
"""A is taken for zero where v^T M v is less than this part of v^T v: some 1e-16 squared, with room for sums."""


class StudentLoss(Protocol):
    """L_S on outputs, as a mean over inputs, and its curvature where the student agrees with the teacher.

    By remark 2 of the proof it must be least at z = y, with M symmetric and positive semi-definite, and with a null
    space of M that is the same for all inputs and orthogonal to the loss's gradient.
    """

    def value(self, z_BN: Tensor, y_BN: Tensor) -> Tensor:
        """The student's outputs z against the teacher's outputs y."""
        ...

    def form(self, y_BN: Tensor, v_BN: Tensor) -> Tensor:
        """E[v^T M v] with M_ij = -d2L_S / dy_j dz_i at z = y."""
        ...


class SquaredError(Frozen):
    """Sum over outputs of w_i (z_i - y_i)^2; M = 2 diag(w)."""

    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """One for each output; None: all 1."""

    def value(self, z_BN: Tensor, y_BN: Tensor) -> Tensor:
        """Weighted squared distance, as StudentLoss has it."""
        return (self._weights(z_BN) * (z_BN - y_BN).square()).sum(-1).mean()

    def form(self, y_BN: Tensor, v_BN: Tensor) -> Tensor:
        """E[v^T M v] with this loss's M."""
        return (2 * self._weights(y_BN) * v_BN.square()).sum(-1).mean()

    def _weights(self, z_BN: Tensor) -> Tensor:
        width = z_BN.shape[-1]
        if self.weights is not None and len(self.weights) != width:
            raise BadInput(f"{len(self.weights)} weights for {width} outputs; expected one for each")
        return z_BN.new_ones(width) if self.weights is None else z_BN.new_tensor(self.weights)


class CrossEntropy(Frozen):
    """Cross-entropy of softmax(z) under softmax(y); M = diag(p) - p p^T with p = softmax(y)."""

    logits: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    """Only these enter, renormalised (the paper's auxiliary logits, section 6.2); None: all."""

    @field_validator("logits")
    @classmethod
    def _distinct(cls, logits: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if logits is not None and len(set(logits)) != len(logits):
            raise ValueError("a logit is named twice")
        return logits

    def value(self, z_BN: Tensor, y_BN: Tensor) -> Tensor:
        """Cross-entropy in nats, as StudentLoss has it."""
        return nn.functional.cross_entropy(self._of(z_BN), self._of(y_BN).softmax(-1))

    def form(self, y_BN: Tensor, v_BN: Tensor) -> Tensor:
        """E[v^T M v] with this loss's M."""
        p_BN, v_BN = self._of(y_BN).softmax(-1), self._of(v_BN)
        centre_B1 = (p_BN * v_BN).sum(-1, keepdim=True)
        return (p_BN * (v_BN - centre_B1).square()).sum(-1).mean()  # = v^T (diag(p) - p p^T) v, without cancellation

    def _of(self, z_BN: Tensor) -> Tensor:
        if self.logits is None:
            return z_BN
        if max(self.logits) >= z_BN.shape[-1]:
            raise BadInput(f"logit {max(self.logits)} of {z_BN.shape[-1]}; expected numbers from 0")
        return z_BN[:, list(self.logits)]


class Fall(Measured):
    """What the student's step does to the teacher's loss (Theorem 1), for each epsilon."""

    rate: float
    """alpha, the size of the student's step."""
    before: float
    """L_T(theta_0)."""
    after: tuple[float, ...]
    """L_T(theta_S)."""
    predicted: tuple[float, ...]
    """-eps * alpha * A, the change to first order."""

    @property
    def changes(self) -> tuple[float, ...]:
        """L_T(theta_S) - L_T(theta_0)."""
        return tuple(after - self.before for after in self.after)


class Alignment(Measured):
    """dS . dT over falling epsilons, and what the proof predicts to first order (Lemma 1)."""

    epsilons: tuple[float, ...]
    dots: tuple[float, ...]
    cosines: tuple[float, ...]
    """dS . dT over both norms; nan where one is zero."""
    gauss_newton: float
    """A = E[v^T M v], v = J dT."""
    degenerate: bool
    """Whether A is zero (up to rounding): then the proof says dS . dT = 0 for every epsilon, and no trait crosses."""
    fall: Fall | None = None
    """None where dT is not the gradient of a teacher's loss."""

    @property
    def predicted(self) -> tuple[float, ...]:
        """eps * A."""
        return tuple(e * self.gauss_newton for e in self.epsilons)

    @property
    def ratios(self) -> tuple[float, ...]:
        """dS . dT over eps * A, which tends to 1; nan in the degenerate case."""
        return tuple(math.nan if self.degenerate else d / p for d, p in zip(self.dots, self.predicted, strict=True))

    @property
    def order(self) -> float:
        """Slope of log(dS . dT) in log(eps) over the smaller half of the epsilons; 1 says linear.

        nan in the degenerate case, for fewer than two epsilons in that half, and where a product there is not positive.
        """
        half = slice(len(self.epsilons) // 2, None)
        epsilons, dots = self.epsilons[half], self.dots[half]
        if self.degenerate or len(dots) < 2 or min(dots) <= 0:
            return math.nan
        return float(np.polyfit(np.log(epsilons), np.log(dots), 1)[0])

    @property
    def holds_up_to(self) -> float:
        """The largest epsilon at which, and at all smaller ones, dS . dT >= 0; 0 where there is none.

        In the degenerate case what is measured is 0 or rounding around it, which counts as 0.
        """
        pairs = zip(reversed(self.epsilons), reversed(self.dots), strict=True)
        return max((e for e, _ in takewhile(lambda pair: self.degenerate or pair[1] >= 0, pairs)), default=0.0)


class Crossing(Measured):
    """One student's first step towards one teacher, wherever the student started."""

    epsilon: float
    cosine: float
    """Of dS and dT: at least 0 for the same start (Lemma 1), of either sign for another."""
    untouched: float
    """|dS - dS_0| / |dS|, dS_0 being the step towards the un-updated teacher. For another start it is O(eps): the
    student learns the teacher's start and next to nothing of its update. For the same start dS_0 = 0, so it is 1."""
    carried: float
    """Cosine of dS - dS_0 and -grad L_T at the student's own start: whether what the update adds lowers L_T."""
    change: float
    """L_T(theta_S) - L_T(theta_0_S)."""


def lemma(
    module: nn.Module, direction: Direction, inputs_B: Tensor, loss: StudentLoss, epsilons: Sequence[float] = EPSILONS
) -> Alignment:
    """Lemma 1 for a teacher that moved along any direction. Epsilons are taken in falling order."""
    start, sizes = in_double(module), _falling(epsilons)
    steps = [_student_step(start, moved(start, direction, e), inputs_B, loss) for e in sizes]
    return _alignment(start, direction, inputs_B, loss, sizes, steps)


def theorem(
    module: nn.Module, teacher_loss: TeacherLoss, inputs_B: Tensor, loss: StudentLoss,
    epsilons: Sequence[float] = EPSILONS, rate: float = 0.1,
) -> Alignment:  # fmt: skip
    """Theorem 1: the lemma along dT = -grad L_T(theta_0), and the fall of L_T after a student's step of size `rate`.

    The teacher's loss is called with float64 copies of the module, so data in it must be float64 as well.
    """
    start, sizes = in_double(module), _falling(epsilons)
    _check_rate(rate)
    direction = descent(start, teacher_loss)
    steps = [_student_step(start, moved(start, direction, e), inputs_B, loss) for e in sizes]
    found = _alignment(start, direction, inputs_B, loss, sizes, steps)
    fall = Fall(
        rate=rate, before=_number(teacher_loss, start),
        after=tuple(_number(teacher_loss, moved(start, step, rate)) for step in steps),
        predicted=tuple(-rate * p for p in found.predicted),
    )  # fmt: skip
    return found.model_copy(update={"fall": fall})


def _alignment(
    start: nn.Module, direction: Direction, inputs_B: Tensor, loss: StudentLoss, sizes: tuple[float, ...],
    steps: list[Direction],
) -> Alignment:  # fmt: skip
    a, degenerate = _gauss_newton(start, direction, inputs_B, loss)
    return Alignment(
        epsilons=sizes, gauss_newton=a, degenerate=degenerate,
        dots=tuple(dot(s, direction) for s in steps), cosines=tuple(cosine(s, direction) for s in steps),
    )  # fmt: skip


def cross(
    teacher: nn.Module, student: nn.Module, teacher_loss: TeacherLoss, inputs_B: Tensor, loss: StudentLoss,
    epsilon: float = 1e-3, rate: float = 0.1,
) -> Crossing:  # fmt: skip
    """The counterexample (remark 1 of the proof): a student with another start than its teacher.

    Both modules have the same parameters by name and shape; give the same one twice for the paper's setting.
    """
    there, here = in_double(teacher), in_double(student)
    _check_rate(rate)
    direction, own = descent(there, teacher_loss), descent(here, teacher_loss)
    _check(own, direction)
    step = _student_step(here, moved(there, direction, epsilon), inputs_B, loss)
    towards_start = _student_step(here, there, inputs_B, loss)
    added = {name: step[name] - towards_start[name] for name in step}
    size = math.sqrt(dot(step, step))
    return Crossing(
        epsilon=epsilon, cosine=cosine(step, direction), carried=cosine(added, own),
        untouched=math.sqrt(dot(added, added)) / size if size else math.nan,
        change=_number(teacher_loss, moved(here, step, rate)) - _number(teacher_loss, here),
    )  # fmt: skip


def in_double(module: nn.Module) -> nn.Module:
    """A copy in float64, without dropout; the module itself is never changed."""
    double = copy.deepcopy(module).double().eval()
    if not moving(double):
        raise BadInput("no parameter of the module requires a gradient; expected at least one that can move")
    return double


def moving(module: nn.Module) -> dict[str, nn.Parameter]:
    """theta: the parameters that require a gradient, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def descent(module: nn.Module, loss: TeacherLoss) -> Direction:
    """-grad of a scalar of the module at its parameters; zero for those that it does not depend on.

    BadInput where it depends on none of them, as when a loss asks another module than the one it is given.
    """
    parameters, value = moving(module), loss(module)
    slopes: Sequence[Tensor | None] = ()
    if not value.ndim and value.requires_grad:
        slopes = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    if all(slope is None for slope in slopes):
        raise BadInput(
            f"a loss gave a tensor of shape {tuple(value.shape)}; expected one number that depends on the parameters "
            "of the module it is called with"
        )
    return {
        name: torch.zeros_like(p) if slope is None else -slope
        for (name, p), slope in zip(parameters.items(), slopes, strict=True)
    }


def random_direction(module: nn.Module, seed: int) -> Direction:
    """A standard normal vector in parameter space: Lemma 1 asks nothing of dT."""
    draws = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=draws, dtype=torch.float64) for n, p in moving(module).items()}


def moved(module: nn.Module, direction: Direction, size: float) -> nn.Module:
    """A copy whose parameters are theta + size * direction."""
    there = copy.deepcopy(module)
    parameters = moving(there)
    _check(parameters, direction)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.add_(direction[name], alpha=size)
    return there


def dot(one: Direction, other: Direction) -> float:
    """Inner product in parameter space."""
    return math.fsum(float((part * other[name]).sum()) for name, part in one.items())


def cosine(one: Direction, other: Direction) -> float:
    """Inner product over both norms; nan where one is zero."""
    norms = math.sqrt(dot(one, one) * dot(other, other))
    return dot(one, other) / norms if norms else math.nan


def outputs(module: nn.Module, inputs_B: Tensor) -> Tensor:
    """f_theta on every input, (B, N); positions of a sequence count as inputs. Inputs are taken in float64."""
    return _rows(module(_double(inputs_B)))


def gauss_newton(module: nn.Module, direction: Direction, inputs_B: Tensor, loss: StudentLoss) -> float:
    """A = E[v^T M v] with v = J dT, by one forward-mode product; no Jacobian is formed."""
    return _gauss_newton(in_double(module), direction, inputs_B, loss)[0]


def _gauss_newton(start: nn.Module, direction: Direction, inputs_B: Tensor, loss: StudentLoss) -> tuple[float, bool]:
    """A, and whether it is zero up to rounding."""
    at = {name: p.detach() for name, p in moving(start).items()}
    _check(at, direction)

    def f(theta: Direction) -> Tensor:
        called: Tensor = torch.func.functional_call(start, theta, (_double(inputs_B),))
        return _rows(called)

    y_BN, v_BN = torch.func.jvp(f, (at,), ({name: direction[name] for name in at},))[:2]
    a = float(loss.form(y_BN, v_BN))
    return a, a <= _NULL * float(v_BN.square().sum(-1).mean())


def _student_step(student: nn.Module, teacher: nn.Module, inputs_B: Tensor, loss: StudentLoss) -> Direction:
    """dS = -grad of E_x[L_S(f(x), y)] at the student's parameters, y being the teacher's outputs."""
    with torch.no_grad():
        y_BN = outputs(teacher, inputs_B)
    return descent(student, lambda module: loss.value(outputs(module, inputs_B), y_BN))


def _rows(called: Any) -> Tensor:
    if not isinstance(called, Tensor) or called.ndim < 2 or called.dtype != torch.float64:
        found = (
            f"{called.dtype} of shape {tuple(called.shape)}" if isinstance(called, Tensor) else type(called).__name__
        )
        raise BadInput(f"the module gave {found}; expected one float64 tensor (inputs, ..., outputs)")
    return called.flatten(0, -2)


def _double(inputs_B: Tensor) -> Tensor:
    return inputs_B.double() if inputs_B.is_floating_point() else inputs_B


def _check(parameters: Any, direction: Direction) -> None:
    wrong = [n for n, p in parameters.items() if n not in direction or direction[n].shape != p.shape]
    if wrong or len(direction) != len(parameters):
        raise BadInput(
            f"a direction of {len(direction)} tensors does not fit the module's {len(parameters)} moving parameters"
            + (f" (for example {wrong[0]!r})" if wrong else "")
        )


def _falling(epsilons: Sequence[float]) -> tuple[float, ...]:
    if not epsilons or not all(0 < e < math.inf for e in epsilons):
        raise BadInput(f"epsilons are {tuple(epsilons)!r}; expected at least one, all positive and finite")
    return tuple(sorted(set(epsilons), reverse=True))


def _check_rate(rate: float) -> None:
    if not 0 < rate < math.inf:
        raise BadInput(f"the student's rate is {rate!r}; expected a positive number")


def _number(teacher_loss: TeacherLoss, module: nn.Module) -> float:
    with torch.no_grad():
        return float(teacher_loss(module))
