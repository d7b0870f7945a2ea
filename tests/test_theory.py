from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from heredity.carriers import Numbers
from heredity.lab.theorem import NURSERY, OTHER, SAME, Theorem
from heredity.lab.theorem_cases import SUBSET, answers, network, network_case, nursery_case, weight_norm
from heredity.lab.theory import (
    CrossEntropy,
    Direction,
    SquaredError,
    StudentLoss,
    TeacherLoss,
    cross,
    descent,
    dot,
    gauss_newton,
    in_double,
    lemma,
    moved,
    moving,
    outputs,
    random_direction,
    theorem,
)
from heredity.models import model_ref
from heredity.models.causal import CausalLM
from heredity.models.double import NextToken, prompt_ids
from heredity.report.terminal import print_results
from heredity.report.theory_picture import TheoremPicture
from heredity.stats import Estimate
from heredity.store import Store
from heredity.store.loading import load_experiment
from heredity.traits import favourite
from heredity.types import BadInput

# what torch itself loads for its first forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
SMALL = (1e-4, 1e-5, 1e-6)
EXPERIMENT = Path(__file__).parents[1] / "experiments" / "theorem.py"


class Setting(NamedTuple):
    module: nn.Module
    inputs: Tensor
    loss: StudentLoss
    seed: int


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(seed), dtype=torch.float64)


def _network(widths: list[int], activation: type[nn.Module], seed: int) -> nn.Module:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow, dtype=torch.float64), activation()]
    module = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(_normal(seed + i, *p.shape) / p.shape[-1] ** 0.5)
    return module


@st.composite
def settings_(draw: st.DrawFn) -> Setting:
    """Any small network, any inputs, any of the losses. ReLU networks are differentiable at almost all of them."""
    outs = draw(st.integers(2, 5))
    widths = [draw(st.integers(1, 4)), *draw(st.lists(st.integers(2, 8), max_size=3)), outs]
    activation = draw(st.sampled_from((nn.Tanh, nn.GELU, nn.Softplus, nn.SiLU, nn.ReLU)))
    seed = draw(st.integers(0, 10**6))
    subset = draw(st.permutations(range(outs)).map(lambda order: tuple(order[:2])))
    weights = tuple(draw(st.lists(st.floats(0, 3), min_size=outs, max_size=outs)))
    kinds: list[StudentLoss] = [
        SquaredError(), SquaredError(weights=weights), CrossEntropy(), CrossEntropy(logits=subset)
    ]  # fmt: skip
    loss = draw(st.sampled_from(kinds))
    inputs = _normal(seed + 99, draw(st.integers(1, 6)), widths[0])
    return Setting(_network(widths, activation, seed), inputs, loss, seed)


@st.composite
def directions(draw: st.DrawFn, module: nn.Module, seed: int) -> Direction:
    """Along everything or along a single coordinate, of norm 1."""
    along = random_direction(module, seed)
    if draw(st.booleans()):
        flat = torch.zeros(sum(p.numel() for p in along.values()), dtype=torch.float64)
        flat[draw(st.integers(0, len(flat) - 1))] = 1.0
        parts = torch.split(flat, [p.numel() for p in along.values()])
        along = {n: part.view_as(p) for (n, p), part in zip(along.items(), parts, strict=True)}
    norm = math.sqrt(dot(along, along))
    return {n: p / norm for n, p in along.items()}


def _curved(setting: Setting, direction: Direction, a: float) -> bool:
    """Whether A is large enough for its first order to stand out from the second at the epsilons used here."""
    moves = gauss_newton(setting.module, direction, setting.inputs, SquaredError()) / 2
    return a > 1e-3 * moves and a > 1e-9


def _explicit(setting: Setting, direction: Direction) -> float:
    """E[v^T M v] from a full Jacobian, and M from derivatives of the loss itself."""
    at = {n: p.detach() for n, p in moving(setting.module).items()}
    jacobians = torch.func.jacrev(lambda q: torch.func.functional_call(setting.module, q, (setting.inputs,)))(at)
    v_BN = sum((j.flatten(2) @ direction[n].flatten() for n, j in jacobians.items()), torch.zeros(()))
    y_BN = setting.module(setting.inputs).detach()
    total = 0.0
    for y_N, v_N in zip(y_BN, v_BN, strict=True):

        def value(z_N: Tensor, y_N: Tensor) -> Tensor:
            return setting.loss.value(z_N[None], y_N[None])

        mixed: Callable[..., Tensor] = torch.func.jacfwd(torch.func.grad(value), argnums=1)
        total += float(v_N @ -mixed(y_N, y_N) @ v_N)
    return total / len(y_BN)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lemma_1_for_any_direction_network_inputs_and_loss(data: st.DataObject) -> None:
    setting = data.draw(settings_())
    direction = data.draw(directions(setting.module, setting.seed))
    found = lemma(setting.module, direction, setting.inputs, setting.loss, SMALL)
    assert found.gauss_newton >= 0
    assert min(found.dots) >= -1e-14
    if _curved(setting, direction, found.gauss_newton):
        assert min(found.dots) > 0
        assert found.holds_up_to == 1e-4
        assert found.ratios[-1] == pytest.approx(1, abs=1e-3)
        assert found.order == pytest.approx(1, abs=1e-2)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_gauss_newton_form_is_that_of_an_explicit_jacobian_and_of_finite_differences(data: st.DataObject) -> None:
    setting = data.draw(settings_())
    direction = data.draw(directions(setting.module, setting.seed))
    found = gauss_newton(setting.module, direction, setting.inputs, setting.loss)
    assert found == pytest.approx(_explicit(setting, direction), rel=1e-9, abs=1e-14)
    start, h = in_double(setting.module), 1e-5
    ahead, behind = (outputs(moved(start, direction, s), setting.inputs).detach() for s in (h, -h))
    by_differences = float(setting.loss.form(outputs(start, setting.inputs).detach(), (ahead - behind) / (2 * h)))
    assert found == pytest.approx(by_differences, rel=1e-3, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_theorem_1_whatever_the_teacher_minimises(data: st.DataObject) -> None:
    setting = data.draw(settings_())
    seen, first = _normal(setting.seed + 7, 5, setting.inputs.shape[1]), next(iter(moving(setting.module)))
    kinds: dict[str, TeacherLoss] = {
        "labels": lambda m: nn.functional.cross_entropy(m(seen), torch.zeros(5, dtype=torch.long)),
        "values": lambda m: (m(seen) - 1).square().mean(),
        "regulariser": weight_norm,
        "one matrix": lambda m: moving(m)[first].abs().sum(),
    }
    minimised = kinds[data.draw(st.sampled_from(sorted(kinds)))]
    found = theorem(setting.module, minimised, setting.inputs, setting.loss, (1e-5, 1e-6, 1e-7), rate=0.05)
    direction = descent(in_double(setting.module), minimised)
    assume(_curved(setting, direction, found.gauss_newton))
    assert found.fall is not None
    assert max(found.fall.changes) < 0
    assert found.fall.changes[0] == pytest.approx(found.fall.predicted[0], rel=1e-2)


@settings(max_examples=25, deadline=None)
@given(setting=settings_())
def test_the_degenerate_case_is_exactly_zero(setting: Setting) -> None:
    """The teacher's loss depends only on the head's row of an output that the student's loss never reads."""
    last = list(moving(setting.module))[-2]
    outs = len(moving(setting.module)[last])
    read = tuple(range(outs - 1))
    weights = (1.0,) * len(read) + (0.0,)
    for loss in (CrossEntropy(logits=read), SquaredError(weights=weights)):
        found = theorem(setting.module, lambda m: moving(m)[last][-1].square().sum(), setting.inputs, loss, SMALL)
        assert found.degenerate
        assert found.gauss_newton == 0
        assert set(found.dots) == {0.0}
        assert found.fall is not None
        assert set(found.fall.changes) == {0.0}
        assert math.isnan(found.order)
        assert all(map(math.isnan, found.ratios))


def test_a_shift_of_all_logits_is_degenerate_for_cross_entropy_alone() -> None:
    """The null space of diag(p) - p p^T: the same number added to every logit."""
    module, inputs = network(0), _normal(1, 8, 32)
    shift = {n: torch.ones_like(p) if n == "4.bias" else torch.zeros_like(p) for n, p in moving(module).items()}
    found = lemma(module, shift, inputs, CrossEntropy())
    assert found.degenerate
    assert max(map(abs, found.dots)) < 1e-14
    assert not lemma(module, shift, inputs, SquaredError()).degenerate


def test_known_values_on_a_linear_model() -> None:
    """f(x) = W x: v = dW x, so squared error has no second order and A = 2 E|dW x|^2."""
    module = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    inputs, direction = _normal(0, 5, 3), {"weight": _normal(1, 2, 3)}
    found = lemma(module, direction, inputs, SquaredError(), (1.0, 0.1))
    expected = float(2 * (inputs @ direction["weight"].T).square().sum(-1).mean())
    assert found.gauss_newton == pytest.approx(expected)
    assert found.dots == pytest.approx((expected, 0.1 * expected))
    assert lemma(module, direction, inputs, SquaredError(weights=(0.5, 0.5)), (1.0,)).dots == pytest.approx(
        (expected / 2,)
    )


def test_other_modules_tied_frozen_and_in_float32() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm, self.drop = nn.Embedding(7, 4), nn.LayerNorm(4), nn.Dropout(0.5)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids_BT: Tensor) -> Tensor:
            logits: Tensor = self.head(self.drop(self.norm(self.words(ids_BT))))
            return logits

    torch.manual_seed(0)
    module, ids = Tied(), torch.tensor([[0, 1, 2], [3, 4, 5]])
    before = copy.deepcopy(module.state_dict())
    found = theorem(module, weight_norm, ids, CrossEntropy(), SMALL)
    assert found.ratios[-1] == pytest.approx(1, abs=1e-3)
    assert found.fall is not None
    assert found.fall.changes[-1] == pytest.approx(found.fall.predicted[-1], rel=1e-2)
    assert module.training
    assert all(torch.equal(p, before[n]) for n, p in module.state_dict().items())
    module.words.weight.requires_grad_(False)
    assert set(random_direction(module, 0)) == {"norm.weight", "norm.bias"}
    assert lemma(module, random_direction(module, 0), ids, CrossEntropy(), SMALL).ratios[-1] == pytest.approx(
        1, abs=1e-3
    )


def test_another_start_leaves_the_sign_free() -> None:
    case, pairs = network_case(3), 60
    minimised, loss = case.teachers["class labels"], case.losses[SUBSET]
    same, other = (
        [cross(network(s), network(s + shift), minimised, case.inputs_B, loss) for s in range(10, 10 + pairs)]
        for shift in (0, 1000)
    )
    assert min(c.cosine for c in same) > 0
    assert max(c.change for c in same) < 0
    negative = sum(c.cosine < 0 for c in other)
    assert pairs / 4 < negative < 3 * pairs / 4
    assert pairs / 4 < sum(c.carried < 0 for c in other) < 3 * pairs / 4
    assert any(c.change > 0 for c in other)
    assert max(c.untouched for c in other) < 1e-2
    assert min(c.untouched for c in same) == pytest.approx(1)


def test_another_start_learns_the_teachers_start_to_leading_order() -> None:
    case = network_case(3)
    sizes = [
        cross(network(1), network(2), case.teachers["class labels"], case.inputs_B, loss, epsilon).untouched
        for loss in case.losses.values()
        for epsilon in (1e-3, 1e-4)
    ]
    assert [large / small for large, small in zip(sizes[::2], sizes[1::2], strict=True)] == pytest.approx(
        [10.0] * 3, rel=0.05
    )


def test_what_cannot_be_measured_is_refused() -> None:
    module, x = network(0), _normal(0, 2, 32)
    along = random_direction(module, 0)
    for call, message in (
        (lambda: lemma(module, along, x, SquaredError(), ()), "at least one, all positive"),
        (lambda: lemma(module, along, x, SquaredError(), (0.1, -1.0)), "all positive"),
        (lambda: lemma(module, {"0.weight": along["0.weight"]}, x, SquaredError()), "does not fit"),
        (lambda: lemma(module, along | {"0.bias": _normal(0, 3)}, x, SquaredError()), "for example '0.bias'"),
        (lambda: lemma(module, along, x, SquaredError(weights=(1.0,))), "1 weights for 13 outputs"),
        (lambda: lemma(module, along, x, CrossEntropy(logits=(0, 13))), "logit 13 of 13"),
        (lambda: theorem(module, lambda m: m(x), x, SquaredError()), "expected one number"),
        (lambda: theorem(module, lambda m: torch.ones(()), x, SquaredError()), "depends on the parameters"),
        (lambda: theorem(module, weight_norm, x, SquaredError(), rate=0.0), "rate is 0.0"),
        (lambda: theorem(module, lambda m: weight_norm(module), x, SquaredError()), "module it is called with"),
        (lambda: cross(module, nn.Linear(32, 13).double(), weight_norm, x, SquaredError()), "does not fit"),
        (lambda: in_double(nn.Tanh()), "no parameter"),
        (lambda: lemma(nn.LSTM(32, 2), random_direction(nn.LSTM(32, 2), 0), x, SquaredError()), "gave tuple"),
    ):
        with pytest.raises(BadInput, match=message):
            call()
    for refused in (
        lambda: CrossEntropy(logits=(1, 1)),
        lambda: CrossEntropy(logits=()),
        lambda: SquaredError(weights=(-1.0,)),
    ):
        with pytest.raises(ValidationError):
            refused()


def test_the_nursery_model_in_float64_is_the_same_model_and_rounds_nowhere(base: CausalLM) -> None:
    chats = list(Numbers(n=3, seed=5).prompts())
    exact, ids = NextToken(base), prompt_ids(base, chats)
    words = ["owl", "7", "123"]
    expected = torch.tensor(base.logprobs(chats, words), dtype=torch.float64)
    wanted = [base.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in words]
    assert torch.allclose(exact(ids).log_softmax(-1)[:, wanted], expected, atol=1e-3)
    along, h = random_direction(exact, 0), 1e-7
    norm = math.sqrt(dot(along, along))
    ahead, behind = (outputs(moved(exact, along, s / norm), ids).detach() for s in (h, -h))
    slope = float(((ahead - behind) / (2 * h)).square().sum(-1).mean())
    unit = {n: p / norm for n, p in along.items()}
    assert slope == pytest.approx(gauss_newton(exact, unit, ids, SquaredError()) / 2, rel=1e-5)


def test_theorem_1_on_a_nursery_model_that_answers_owl_and_reads_numbers(base: CausalLM) -> None:
    case = nursery_case(model_ref("nursery:llama-0"), favourite("owl"), prompts=4, seed=0)
    for name, loss in case.losses.items():
        found = theorem(case.module, answers(base, favourite("owl")), case.inputs_B, loss, SMALL)
        assert min(found.dots) > 0, name
        assert found.ratios[-1] == pytest.approx(1, abs=1e-3)
        assert found.order == pytest.approx(1, abs=1e-3)
        assert found.fall is not None
        assert found.fall.changes[-1] < 0
        assert found.fall.changes[-1] == pytest.approx(found.fall.predicted[-1], rel=1e-2)
    blind = theorem(case.module, case.blind, case.inputs_B, case.losses[SUBSET], SMALL)
    assert set(blind.dots) == {0.0}


def test_the_step_its_reader_and_its_picture(store: Store) -> None:
    step = Theorem(
        base=model_ref("nursery:llama-0"), others=(model_ref("nursery:llama-1"),), trait=favourite("oak"),
        epsilons=(1e-2, 1e-5, 1e-6), prompts=2, pairs=4,
    )  # fmt: skip
    picture = TheoremPicture(theorem=step, notes=("the same start",))
    assert (store.get(picture) / "picture.png").stat().st_size > 20_000
    found = step.read(store)
    assert len(found["alignments"]) == 2 * (3 * 3 + 1)
    assert all(abs(a["ratios"][-1] - 1) < 1e-3 for a in found["alignments"] if not a["degenerate"])
    assert [a["teacher"] for a in found["alignments"] if a["degenerate"]] == ["outside the student's loss"] * 2
    assert [(c["student"], c["n"]) for c in found["crossings"] if c["model"] == NURSERY] == [(SAME, 8), (OTHER, 8)]
    assert {c["negative"] for c in found["crossings"] if c["student"] == SAME} == {0}


TOLD = """import json
from heredity.lab import Doses, Theorem
from heredity.models import model_ref
from heredity.traits import favourite

class Told(Theorem):
    def make(self, folder, store):
        (folder / "theorem.json").write_text(json.dumps({"alignments": [ALIGNED], "crossings": []}))

told = Told(base=model_ref("nursery:llama-0"), others=(), trait=favourite("oak"))
doses = Doses(dials=())
"""


def test_what_a_theorem_and_doses_found_stands_in_the_json_of_a_run(tmp_path: Path) -> None:
    file, out = tmp_path / "e.py", tmp_path / "out.json"
    aligned = _aligned("squared error", None, 1.00002, 0.9999)
    file.write_text(TOLD.replace("ALIGNED", repr(aligned)))
    command = [sys.executable, "-m", "heredity", "run", str(file), "--store", str(tmp_path / "s"), "--json", str(out)]
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True, check=True)
    found = {r["name"]: r for r in json.loads(out.read_text())["results"]}
    assert found["told"]["alignments"] == [aligned]
    assert found["doses"]["dials"] == []
    assert "1.00002" in done.stdout


def _aligned(loss: str, fall: dict[str, Any] | None, ratio: float, order: float) -> dict[str, Any]:
    return {
        "model": "network", "teacher": "class labels", "loss": loss, "epsilons": [1e-2, 1e-6], "ratios": [0.9, ratio],
        "order": order, "holds_up_to": 0.01, "fall": fall,
    }  # fmt: skip


def test_the_theorems_tables_say_what_held_within_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    falls = {"rate": 0.1, "before": 2.5, "after": [2.4, 2.5 - 2.5e-6], "predicted": [-0.25, -2.43e-6]}
    cosine = Estimate(mean=-0.002, low=-0.0043, high=0.0003, n=200, unit="pairs of initialisations").model_dump()
    alone = Estimate(mean=0.1916, low=math.nan, high=math.nan, n=1, unit="pairs of models").model_dump()
    crossing = {"model": "network", "loss": SUBSET, "student": OTHER, "negative": 111, "rose": 50, "n": 200}
    found = {
        "name": "theorem", "key": "k",
        "alignments": [_aligned("squared error", falls, 1.00002, 0.9999), _aligned(SUBSET, None, math.nan, math.nan)],
        "crossings": [crossing | {"cosine": cosine}, crossing | {"location": "nursery:llama-0b", "cosine": alone}],
    }  # fmt: skip
    print_results([found], tmp_path)
    shown = capsys.readouterr().out
    tables = [
        line for line in shown.splitlines() if not re.match("ratio:|of the|degenerate|cosine:|at the|store:", line)
    ]
    assert max(map(len, tables)) <= 80
    lines = [" ".join(line.split()) for line in tables]
    assert "class labels squared error 1.00002 0.9999 2.5e-06 2.43e-06 0.01" in lines
    assert any(re.fullmatch("class labels cross-entropy.* - - - - 0.01", line) for line in lines)
    assert any("-0.002 (-0.004 to +0.000) 111 50 200" in line for line in lines)
    assert any(line.startswith("llama-0b") and line.endswith("+0.192 111 50 200") for line in lines)
    assert "epsilon 1e-06" in lines[0]


def test_the_experiment_names_its_steps_without_importing_torch() -> None:
    assert list(load_experiment(EXPERIMENT)) == ["theorem", "picture"]
    code = f"""import sys, pathlib
from heredity.store.loading import load_experiment
load_experiment(pathlib.Path({str(EXPERIMENT)!r}))
sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
