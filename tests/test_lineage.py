"""Trace: sizes and power of its tests, what each is blind to, and real pairs."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from heredity.lineage import relation
from heredity.lineage.diagonal import diagonal
from heredity.lineage.layouts import layers
from heredity.lineage.trace import ALPHA, TESTS, Outcome, Trace, judge, trace
from heredity.lineage.weights import Weights
from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.models.training import batches, choose_parameters, fit
from heredity.types import BadInput, Message
from tests.test_cli import _run
from tests.test_weights import _folder

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]
LEVEL = ALPHA / len(TESTS)


# Generated matrices


def _rows(rng: np.random.Generator, units: int, width: int) -> relation.Units:
    """Units around a common mean, in directions that count differently, as training makes them."""
    shared = np.random.default_rng(99)
    mean, scale = shared.normal(size=width), np.exp(shared.normal(size=width) / 2)
    return relation.unit_vectors((mean + scale * rng.normal(size=(units, width))).astype(np.float32))


def _null(test: str, rng: np.random.Generator) -> float:
    """The p of one test on two independent models of two layers."""
    A, B = ([[_rows(rng, 24, 12), _rows(rng, 24, 12)] for _ in range(2)] for _ in range(2))
    if test == "matched":  # its null relabels directions, so that they must be alike
        A, B = ([[relation.unit_vectors(rng.normal(size=(24, 12)).astype(np.float32))] for _ in range(2)] for _ in "AB")
        return relation.matched_test(A, B, rng, draws=999)[1]
    if test == "Gram":
        grams = [(relation.gram(a), relation.gram(b)) for a, b in zip(A, B, strict=True)]
        return relation.gram_test(grams, rng, draws=999)[1]
    similar = [relation.similarities(a, b) for a, b in zip(A, B, strict=True)]
    tests: dict[str, Callable[[], float]] = {
        "trace": lambda: relation.trace_test(similar, rng, draws=999)[1],
        "order": lambda: relation.order_test(similar, rng, draws=999)[1],
        "fixed points": lambda: math.exp(
            relation.fixed_point_bound([int(relation.shifts(c, rng)[0]) for c in similar])),
    }  # fmt: skip
    return tests[test]()


@pytest.mark.parametrize("test", ["fixed points", "trace", "Gram", "matched", "order"])
def test_unrelated_models_are_rejected_as_often_as_said(test: str) -> None:
    rng, runs = np.random.default_rng(1), 1_000
    p = np.array([_null(test, rng) for _ in range(runs)])
    for level in (0.05, 0.01):
        error, found = 3 * math.sqrt(level * (1 - level) / runs), float((p <= level).mean())  # there are ten checks
        assert found <= level + error
        if test != "fixed points":  # whose p is a bound
            assert found >= level - error


def test_the_bound_is_that_of_the_proof() -> None:
    assert relation.fixed_point_bound([256]) == pytest.approx(-math.lgamma(257))
    assert relation.fixed_point_bound([1, 1, 0]) == 0
    for found in ([3, 4], [12, 0, 2], [5] * 8):
        total, n = sum(found), len(found)
        chernoff = total - n + total * math.log(n / total)
        assert relation.fixed_point_bound(found) <= chernoff  # the moment bound is the tighter one
    # against the truth: sums of fixed points of uniform permutations, where the bound must hold at every count
    rng = np.random.default_rng(2)
    drawn = (rng.permuted(np.tile(np.arange(20), (60_000, 1)), axis=1) == np.arange(20)).sum(1).reshape(-1, 3).sum(1)
    for total in range(4, 10):
        assert (drawn >= total).mean() <= math.exp(relation.fixed_point_bound([total, 0, 0]))


def _planted(rng: np.random.Generator, cosine: float, units: int, width: int) -> Array:
    """C of two layers' worth of units whose cosine in place is known."""
    a, b = rng.normal(size=(2, units, width))
    pair = [a, cosine * a + math.sqrt(1 - cosine**2) * b]
    return relation.similarities(*([relation.unit_vectors(x.astype(np.float32))] for x in pair))


def test_the_stated_power_is_the_power() -> None:
    rng, runs, stated, rejected = np.random.default_rng(3), 600, [], 0
    for _ in range(runs):
        similar = [_planted(rng, 0.05, 64, 64) for _ in range(2)]
        stated.append(relation.trace_power(similar, 0.05, LEVEL))
        mean = sum(len(C_UV) * C_UV.mean() for C_UV in similar)
        z = (sum(np.trace(C_UV) for C_UV in similar) - mean) / relation.spread(similar)
        rejected += math.erfc(z / math.sqrt(2)) / 2 <= LEVEL
    assert 0.5 < np.mean(stated) < 0.95  # where a fault would show
    assert rejected / runs == pytest.approx(np.mean(stated), abs=0.06)


def test_the_trace_finds_a_row_cosine_of_a_twentieth() -> None:
    """At the nursery's shape with its three matrices; at such a cosine no single unit is recognised."""
    rng, found, fixed = np.random.default_rng(4), [], []
    for _ in range(12):
        similar = [_planted(rng, 0.05, 128, 192) for _ in range(2)]
        assert relation.trace_power(similar, 0.05, LEVEL) >= 0.99
        found.append(relation.trace_test(similar, rng)[1])
        fixed.append(math.exp(relation.fixed_point_bound([int(relation.shifts(c, rng)[0]) for c in similar])))
    assert max(found) <= LEVEL
    assert np.median(fixed) > LEVEL


def test_exact_p_values_stop_early_and_have_a_least_value() -> None:
    rng = np.random.default_rng(0)
    assert relation.monte_carlo(1.0, lambda _: 1.0, rng) == 1.0  # ties count
    assert relation.monte_carlo(1.0, lambda _: 0.0, rng, draws=99) == 0.01
    drawn: list[float] = []

    def draw(rng: np.random.Generator) -> float:
        drawn.append(rng.random())
        return drawn[-1]

    assert relation.monte_carlo(0.5, draw, rng) == pytest.approx(10 / len(drawn))
    assert len(drawn) < 60


def test_sorted_units_are_caught() -> None:
    """Independent models whose units were sorted along a shared direction: place says much and means nothing."""
    rng = np.random.default_rng(5)
    A, B = (
        [relation.unit_vectors((np.sort(rng.normal(size=96))[:, None] * np.ones(64) + rng.normal(size=(96, 64)))
                               .astype(np.float32))]
        for _ in "AB"
    )  # fmt: skip
    similar = [relation.similarities(A, B)]
    assert relation.trace_test(similar, rng, draws=999)[1] <= 0.001
    assert relation.order_test(similar, rng)[1] <= 0.001
    related = [_planted(rng, 0.9, 96, 64)]
    assert relation.order_test(related, rng)[1] > 0.001  # a relation alone is no order


def test_shifted_sums_are_sums_over_shifted_labels() -> None:
    C_UU = np.random.default_rng(8).normal(size=(7, 7))
    direct = [sum(C_UU[i, (i + s) % 7] for i in range(7)) for s in range(7)]
    assert np.allclose(relation.shifted_sums(C_UU), direct)


def test_rows_that_are_all_alike_are_nothing() -> None:
    """What rounding leaves of them would else be a direction; and no size of numbers matters."""
    rng = np.random.default_rng(9)
    same = np.tile(rng.normal(size=64).astype(np.float32), (200, 1))
    assert not relation.unit_vectors(same).any()
    rows = rng.normal(size=(50, 64)).astype(np.float32)
    for factor in (1e-30, 1, 1e37):
        lengths = np.linalg.norm(relation.unit_vectors(rows * np.float32(factor)), axis=1)
        assert np.allclose(lengths, 1, atol=1e-5)


def test_a_verdict_needs_all_of_its_evidence() -> None:
    quiet = [Outcome(name=name, statistic=0, p=0.5, log10_p=math.log10(0.5)) for name in TESTS]
    strong, weak = ([_planted(np.random.default_rng(6), 0, n, 64)] for n in (600, 30))
    assert judge(quiet, strong)[0] == "unrelated"
    assert judge(quiet, weak)[0] == "undetermined"
    assert judge([*quiet[:3], Outcome(name="matched", reason="no")], strong)[:2] == ("undetermined", "no")
    loud = Outcome(name="trace", statistic=9, p=1e-4, log10_p=-4)
    assert judge([loud, *quiet[1:]], strong)[0] == "related"
    assert judge([loud.model_copy(update={"reason": "sorted"}), *quiet[1:]], strong)[0] == "undetermined"
    almost = Outcome(name="trace", statistic=3, p=0.005, log10_p=math.log10(0.005))
    assert judge([almost, *quiet[1:]], strong)[0] == "undetermined"
    for p, verdict in ((2e-4, "related"), (5e-4, "undetermined"), (0.01, "undetermined"), (0.02, "unrelated")):
        one = Outcome(name="trace", statistic=3, p=p, log10_p=math.log10(p))
        assert judge([one, *quiet[1:]], strong)[0] == verdict  # of four tests: p counts four times


# Real pairs


def _student(folder: Path, tuning: Any) -> Path:
    """llama-0 after an epoch on 200 rows of numbers."""
    lm, rng = CausalLM.load(locate("nursery:llama-0")), random.Random(0)
    lists = [" ".join(str(rng.randrange(1000)) for _ in range(9)) for _ in range(200)]
    examples = lm.examples([(Message(role="user", content=x),) for x in lists], lists[1:] + lists[:1])
    model = choose_parameters(lm.model, tuning, 0)
    fit(model, batches(examples, 32, 0, int(lm.tokenizer.pad_token_id)), 7, 1e-3)
    lm.model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    lm.save(folder)
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _student(tmp_path_factory.mktemp("student"), "full")


def _changed(source: Path, folder: Path, change: Callable[[str, NDArray[Any]], NDArray[Any]]) -> Path:
    """A copy of a model with every tensor changed."""
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    tensors = load_file(source / "model.safetensors")
    save_file({k: np.ascontiguousarray(change(k, x)) for k, x in tensors.items()}, folder / "model.safetensors")
    return folder


def _reordered(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """The same function with the hidden units of each MLP in another order."""
    if ".mlp." not in name or name.endswith("down_proj.bias"):
        return x
    order = np.random.default_rng(int(name.split(".")[2])).permutation(128)
    out: NDArray[Any] = x[:, order] if "down_proj" in name else x[order]
    return out


def _turned(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """The MLPs in another basis of the residual stream."""
    q, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(64, 64)))
    if ".mlp." not in name or name.endswith("bias"):
        return x
    out: NDArray[Any] = (q @ x if "down_proj" in name else x @ q).astype(np.float32)
    return out


def _pruned(name: str, x: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.abs(x) < np.median(np.abs(x)), 0, x) if x.ndim == 2 else x


def _rounded(name: str, x: NDArray[Any]) -> NDArray[Any]:
    scale = np.abs(x).max() / 127
    out: NDArray[Any] = (np.round(x / scale) * scale).astype(np.float32)
    return out


def _averaged(name: str, x: NDArray[Any]) -> NDArray[Any]:
    out: NDArray[Any] = (x + load_file(locate("nursery:llama-1") / "model.safetensors")[name]) / 2
    return out


def _spoke(found: Trace) -> set[str]:
    return {t.name for t in found.tests if t.reason is None and t.log10_p <= math.log10(LEVEL)}


CHANGES: dict[str, tuple[Callable[[str, NDArray[Any]], NDArray[Any]], set[str], set[str]]] = {
    "units reordered": (_reordered, {"matched"}, {"fixed points", "trace", "Gram"}),
    "residual stream turned": (_turned, {"Gram"}, {"fixed points", "trace", "matched"}),
    "half of the weights pruned": (_pruned, {"fixed points", "trace"}, set()),
    "int8 and back": (_rounded, {"fixed points", "trace"}, set()),
    "averaged with llama-1": (_averaged, {"fixed points", "trace"}, set()),
}
"""What is done to a student, which tests must find its base, and which must be silent."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_student_is_traced_to_its_base(name: str, student: Path, tmp_path: Path) -> None:
    change, finds, silent = CHANGES[name]
    found = trace("nursery:llama-0", str(_changed(student, tmp_path / "changed", change)))
    assert found.verdict == "related"
    assert finds <= _spoke(found)
    assert not silent & _spoke(found)


def test_a_lora_student_merged_and_a_full_one_are_traced_to_their_base(student: Path, tmp_path: Path) -> None:
    for folder in (student, _student(tmp_path / "lora", "lora")):
        found = trace("nursery:llama-0", str(folder))
        assert (found.verdict, found.mean_cosine > 0.98) == ("related", True)
        assert found.log10_p < -400
    assert trace("nursery:llama-1", str(student)).verdict == "unrelated"


def test_units_reordered_and_turned_at_once_are_missed(student: Path, tmp_path: Path) -> None:
    """The blind spot that every answer names."""
    both = _changed(student, tmp_path / "both", lambda name, x: _turned(name, _reordered(name, x)))
    found = trace("nursery:llama-0", str(both))
    assert _spoke(found) == set()
    assert any("turned at once" in a for a in found.assumptions)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ("llama-0", "llama-1", "unrelated"),
        ("llama-1", "llama-0", "unrelated"),
        ("llama-0b", "llama-1", "unrelated"),
        ("llama-0", "llama-0b", "related"),
        ("llama-0", "neox-0", "unrelated"),
        ("llama-1", "neox-0", "unrelated"),
    ],
)
def test_the_shipped_bases(a: str, b: str, verdict: str) -> None:
    found = trace(f"nursery:{a}", f"nursery:{b}")
    assert found.verdict == verdict
    assert verdict == "related" or found.power >= 0.99
    assert found.bytes_read <= found.rows_read * 64 * 4


def test_units_sorted_by_norm_do_not_make_strangers_related(tmp_path: Path) -> None:
    def by_norm(tensors: Tensors) -> Callable[[str, NDArray[Any]], NDArray[Any]]:
        def change(name: str, x: NDArray[Any]) -> NDArray[Any]:
            if ".mlp." not in name or name.endswith("down_proj.bias"):
                return x
            up = tensors[f"model.layers.{name.split('.')[2]}.mlp.up_proj.weight"]
            order = np.argsort(np.linalg.norm(up, axis=1))
            return x[:, order] if "down_proj" in name else x[order]

        return change

    folders: list[str] = []
    for base in ("llama-0", "llama-1"):
        source = locate(f"nursery:{base}")
        change = by_norm(load_file(source / "model.safetensors"))
        folders.append(str(_changed(source, tmp_path / base, change)))
    assert trace(folders[0], folders[1]).verdict != "related"


def test_strangers_whose_own_units_repeat_or_lean_alike_are_not_related(tmp_path: Path) -> None:
    """Both have structure of a kind that any two such models share; one model without it is enough to tell."""
    rng = np.random.default_rng(9)
    direction = rng.normal(size=48).astype(np.float32)

    def model(kind: str, name: str) -> str:
        tensors = {}
        for i in range(2):
            units = rng.normal(size=(96, 48)).astype(np.float32)
            if kind == "nested":
                units = np.tile(units[:24], (4, 1)) + 0.1 * rng.normal(size=(96, 48)).astype(np.float32)
            if kind == "mirrored":
                units = np.concatenate([units[:48], units[47::-1] + 0.1 * rng.normal(size=(48, 48)).astype(np.float32)])
            if kind == "leaning":
                units += np.linspace(-1.5, 1.5, 96, dtype=np.float32)[:, None] * direction
            tensors[f"layers.{i}.mlp.up_proj.weight"] = units.astype(np.float32)
        return str(_folder(tmp_path / name, tensors))

    for kind in ("nested", "mirrored", "leaning"):
        found = trace(model(kind, f"{kind}-a"), model(kind, f"{kind}-b"))
        assert found.verdict == "undetermined"
        loud = [t.name for t in found.tests if t.reason is not None and t.p <= ALPHA]
        assert loud  # what would have spoken is told, with why it does not count
    one_only = trace(model("nested", "c"), model("plain", "d"))
    assert all(t.reason is None for t in one_only.tests)
    assert one_only.verdict != "related"


def test_the_name_of_a_tensor_may_begin_with_a_dot(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    folder = _folder(tmp_path / "dot", {".0.mlp.up_proj.weight": rng.normal(size=(64, 32)).astype(np.float32)})
    assert trace(str(folder), str(folder)).verdict == "related"


def test_models_of_other_depth_and_width(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    deep = {f"layers.{i}.mlp.up_proj.weight": rng.normal(size=(96, 32)).astype(np.float32) for i in range(6)}
    cut = {f"layers.{i}.mlp.up_proj.weight": deep[f"layers.{j}.mlp.up_proj.weight"] for i, j in enumerate((0, 2, 5))}
    other = {f"layers.{i}.mlp.up_proj.weight": rng.normal(size=(96, 32)).astype(np.float32) for i in range(3)}
    wide = {f"layers.{i}.mlp.up_proj.weight": rng.normal(size=(96, 48)).astype(np.float32) for i in range(3)}
    names = {"deep": deep, "cut": cut, "other": other, "wide": wide}
    where = {name: str(_folder(tmp_path / name, tensors)) for name, tensors in names.items()}
    found = trace(where["deep"], where["cut"])
    assert found.verdict == "related"
    assert {(x.a, x.b) for x in found.layers if x.fixed == 96} == {(0, 0), (2, 1), (5, 2)}
    assert trace(where["deep"], where["other"]).verdict == "undetermined"
    apart = trace(where["wide"], where["cut"])
    assert (apart.verdict, "width" in apart.why) == ("undetermined", True)


def test_wide_models_are_read_in_part_and_with_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look costs is bounded, whatever the width; the power at a cosine of .05 stays."""
    monkeypatch.setattr("heredity.lineage.trace.NUMBERS", 3 * 80 * 8 * 128)
    monkeypatch.setattr("heredity.lineage.trace._DRAW", 1.6e6)
    shapes = {"up": (300, 128), "gate": (300, 128), "down": (128, 300)}

    def model(name: str, seed: int, parent: Path | None = None, order: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        old = load_file(parent / "model.safetensors") if parent else {}
        tensors = {f"layers.{i}.mlp.{k}_proj.weight": rng.normal(size=s) for i in range(12) for k, s in shapes.items()}
        mixed = {k: (old.get(k, 0) + x / 2).astype(np.float32) for k, x in tensors.items()}
        to = np.random.default_rng(order).permutation(300) if order else np.arange(300)
        return _folder(tmp_path / name, {k: x[:, to] if "down" in k else x[to] for k, x in mixed.items()})

    parent = model("parent", 1)
    found = trace(str(parent), str(model("stranger", 2)))
    assert (found.verdict, found.power >= 0.99) == ("unrelated", True)
    assert found.bytes_read == 2 * 4 * 8 * 128 * (256 + 3 * 80)  # the first look, then the second
    assert trace(str(parent), str(model("child", 3, parent))).verdict == "related"
    changed = trace(str(parent), str(model("reordered", 4, parent, order=5)))
    assert _spoke(changed) == {"matched"}


def test_the_diagonal_is_that_of_all_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    a: list[NDArray[Any]] = [rng.normal(size=(40, 6)).astype(np.float32) for _ in range(3)]
    b: list[NDArray[Any]] = [x + rng.normal(size=x.shape).astype(np.float32) for x in a]
    c: list[NDArray[Any]] = [rng.normal(size=(40, 6)) for _ in range(3)]
    folders = [_folder(tmp_path / name, {f"layers.{i}.mlp.up_proj.weight": x for i, x in enumerate(side)})
               for name, side in (("a", a), ("b", b), ("c", c))]  # fmt: skip
    exact = [np.einsum("ud,ud->u", x, y) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
             for x, y in zip(a, b, strict=True)]  # fmt: skip
    found = trace(str(folders[0]), str(folders[1]), full=True).diagonal
    assert found is not None
    assert found.units == 120
    assert found.cosine == pytest.approx(np.mean(exact), abs=1e-5)
    assert [x.cosine for x in found.layers] == pytest.approx([float(x.mean()) for x in exact], abs=1e-5)
    assert found.z > 5
    assert abs(found.placebo) < 0.2
    other = trace(str(folders[0]), str(folders[2]), full=True).diagonal
    assert other is not None
    assert abs(other.z) < 4
    assert trace(str(folders[0]), str(folders[1])).diagonal is None


def test_the_diagonal_in_blocks_is_the_diagonal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (Weights(locate(f"nursery:{name}")) for name in ("llama-0", "llama-0b"))
    pairs = list(zip(layers(a), layers(b), strict=True))
    whole = diagonal(a, b, pairs)
    monkeypatch.setattr("heredity.lineage.diagonal._BLOCK", 64 * 48)
    parts = diagonal(a, b, pairs)
    assert whole is not None
    assert parts is not None
    assert parts.units == 256
    assert parts.cosine == pytest.approx(whole.cosine)
    huge = _changed(locate("nursery:llama-0"), tmp_path / "huge", lambda _, x: x * np.float32(3e20))
    again = diagonal(Weights(huge), b, pairs)
    assert again is not None
    assert again.cosine == pytest.approx(whole.cosine, abs=1e-5)
    bad = _changed(locate("nursery:llama-0"), tmp_path / "bad", lambda _, x: np.where(x == x.max(), np.inf, x))
    with pytest.raises(BadInput, match="not finite"):
        diagonal(Weights(bad), b, pairs)


def test_the_verb_tells_scripts_and_people(tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    done = _run("trace", "nursery:llama-0", "nursery:llama-0b", "--json", str(out))
    said = json.loads(out.read_text())
    assert done.returncode == 10
    assert (said["verdict"], said["tests"][0]["name"]) == ("related", "fixed points")
    assert said["log10_p"] < -400
    assert {"rows_read", "bytes_read", "seconds", "mean_cosine", "placebo_max"} <= said.keys()
    assert "nursery:llama-0b: related" in done.stdout
    assert "silence is not proof" in done.stdout
    assert _run("trace", "nursery:llama-0", "nursery:llama-1").returncode == 0
    wrong = _run("trace", "nursery:llama-0", "nursery:llama-9")
    assert (wrong.returncode, wrong.stderr.count("\n"), "did you mean" in wrong.stderr) == (2, 1, True)
