"""Trace: sizes and power of its tests, what each is blind to, real pairs, and readers that no file can hurt."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from heredity.lineage import relation
from heredity.lineage.diagonal import diagonal
from heredity.lineage.layouts import layers, unit_rows
from heredity.lineage.trace import ALPHA, TESTS, Outcome, Trace, judge, open_weights, trace
from heredity.lineage.weights import Weights, read_header
from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.models.training import batches, choose_parameters, fit
from heredity.types import BadInput, Message
from tests.test_cli import _run

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


# Readers


def _folder(folder: Path, tensors: Tensors) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({k: np.ascontiguousarray(x) for k, x in tensors.items()}, folder / "model.safetensors")
    return folder


def _raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


NAME = "layers.0.mlp.up_proj.weight"
GOOD = _tensor("F32", [2, 2], 0, 16)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes"),
    "short": (b"\1\2\3", "3 bytes"),
    "absurd length": (struct.pack("<Q", 2**63) + b"{}", "claims"),
    "length past the end": (struct.pack("<Q", 99) + b"{}", "claims"),
    "no JSON": (_raw(b"\x80\x81"), "not valid JSON"),
    "deep": (_raw(b"[" * 50_000), "not valid JSON|no object"),
    "a list": (_raw([]), "no object"),
    "twice": (_raw(b'{"a": 1, "a": 2}'), "twice"),
    "not a number": (_raw(b'{"a": NaN}'), "NaN"),
    "huge number": (_raw(b'{"a": ' + b"9" * 5_000 + b"}"), "not valid JSON"),
    "no fields": (_raw({NAME: 3}), "needs a dtype"),
    "type": (_raw({NAME: _tensor("F33", [1], 0, 4)}, b"0" * 4), "unknown type"),
    "type of a type": (_raw({NAME: GOOD | {"dtype": []}}, b"0" * 16), "unknown type"),
    "negative": (_raw({NAME: _tensor("F32", [-2, -2], 0, 16)}, b"0" * 16), "whole numbers"),
    "a truth": (_raw({NAME: GOOD | {"shape": [True, 4]}}, b"0" * 16), "whole numbers"),
    "overflow": (_raw({NAME: _tensor("F32", [2**62, 2**62], 0, 16)}, b"0" * 16), "size"),
    "backwards": (_raw({NAME: _tensor("F32", [2, 2], 16, 0)}, b"0" * 16), "size"),
    "past the end": (_raw({NAME: GOOD}, b"0" * 8), "overlap, or lie beyond"),
    "cut off": (_raw({NAME: GOOD, "b": _tensor("F32", [2], 16, 24)}, b"0" * 16), "overlap, or lie beyond"),
    "left over": (_raw({NAME: GOOD}, b"0" * 20), "gap"),
    "gap": (_raw({NAME: _tensor("F32", [2], 8, 16)}, b"0" * 16), "gap"),
    "overlap": (_raw({NAME: GOOD, "b": _tensor("F32", [2], 8, 16)}, b"0" * 16), "overlap"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_message(name: str, tmp_path: Path) -> None:
    raw, message = DAMAGED[name]
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(BadInput, match=message) as told:
        Weights(tmp_path)
    assert len(str(told.value)) < 600
    with pytest.raises(SafetensorError), safe_open(tmp_path / "model.safetensors", "np"):
        pass


def test_no_mangled_file_crashes_the_reader(tmp_path: Path) -> None:
    """3,000 files; what is accepted is also accepted by the format's own reader, and reads the same."""

    def resized(raw: bytearray) -> bytearray:
        raw[:8] = struct.pack("<Q", max(0, start - 8 + len(raw) - len(good)))
        return raw

    rng, path = random.Random(0), tmp_path / "model.safetensors"
    parts: Tensors = {
        NAME: np.arange(12, dtype=np.float32).reshape(4, 3),
        "layers.0.mlp.down_proj.weight": np.ones((3, 4)),
    }
    save_file(parts, path)
    good, accepted = path.read_bytes(), 0
    start = 8 + int.from_bytes(good[:8], "little")
    for _ in range(3_000):
        raw = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            kind, at = rng.randrange(4), rng.randrange(start if rng.random() < 0.9 else len(raw))
            if kind == 0:
                raw[at % len(raw)] = rng.choice(b'0123456789[]{},:"FIU' + bytes([rng.randrange(256)]))
            elif kind == 1:
                del raw[at : at + rng.randrange(4)]
                resized(raw)
            elif kind == 2:
                raw[at:at] = rng.choice([b"0", b"1e9", b"-", b"null", b'"', b"4294967296", b"\0"])
                resized(raw)
            else:
                raw = raw[: max(at, 9)]
        path.write_bytes(raw)
        try:
            weights = Weights(tmp_path)
            read = [x for layer in layers(weights) for x in unit_rows(weights, layer, layer.units, 3)]
        except BadInput as error:
            assert len(str(error)) < 800
            continue
        accepted += 1
        with safe_open(path, "np") as file:
            assert set(file.keys()) == set(weights.entries)
            if NAME in weights.entries and weights.entries[NAME].dtype == "F32":
                assert np.array_equal(read[0], file.get_tensor(NAME))
    assert accepted > 20


def test_links_pickles_pipes_and_escapes(tmp_path: Path) -> None:
    good = _folder(tmp_path / "good", {NAME: np.ones((4, 4), np.float32)})
    cases: dict[str, Callable[[Path], object]] = {
        "leads out": lambda f: (f / "model.safetensors").symlink_to(good / "model.safetensors"),
        "not there": lambda f: (f / "model.safetensors").symlink_to(f / "model.safetensors"),
        "no ordinary file": lambda f: os.mkfifo(f / "model.safetensors"),
        "pickle": lambda f: (f / "pytorch_model.bin").write_bytes(b"\x80\x02c__builtin__\neval\n"),
        "of the same folder": lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {NAME: "../good/model.safetensors"}})),
        "weight_map": lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}'),
        "named and not there": lambda f: (f / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "b.safetensors"}}'),
        "no safetensors file": lambda f: None,
        "cannot open|no ordinary": lambda f: (f / "model.safetensors").mkdir(),
    }  # fmt: skip
    for i, (message, make) in enumerate(cases.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        make(folder)
        with pytest.raises(BadInput, match=message):
            Weights(folder)
    cache = tmp_path / "models--x" / "snapshots" / "abc"  # how a Hugging Face cache keeps files
    cache.mkdir(parents=True)
    (tmp_path / "models--x" / "blobs").mkdir()
    shutil.copy(good / "model.safetensors", tmp_path / "models--x" / "blobs" / "f00d")
    (cache / "model.safetensors").symlink_to("../../blobs/f00d")
    assert NAME in Weights(cache).entries


def test_an_adapter_is_traced_through_its_base(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "nursery:llama-0b"}))
    found = trace("nursery:llama-0", str(tmp_path))
    assert (found.verdict, "the base was compared" in found.notes[0]) == ("related", True)
    for text, message in (("{", "no adapter"), ('{"a": 1}', "names no base"), ("[]", "no adapter"),
                          ('{"base_model_name_or_path": "meta/x"}', "not here")):  # fmt: skip
        config.write_text(text)
        with pytest.raises(BadInput, match=message):
            open_weights(str(tmp_path))


def test_every_type_is_read_as_the_numbers_it_stands_for(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    exact = torch.randn(6, 5)
    row_scale = exact.abs().amax(1)
    codes = (exact / row_scale[:, None] * 127).round().to(torch.int8)
    kinds: dict[str, tuple[dict[str, torch.Tensor], float]] = {
        "F32": ({NAME: exact}, 0), "F16": ({NAME: exact.half()}, 1e-3), "BF16": ({NAME: exact.bfloat16()}, 1e-2),
        "SCB": ({NAME: codes, NAME.removesuffix("weight") + "SCB": row_scale}, 1e-2),
        "row scale": ({NAME: codes, NAME + "_scale": (row_scale / 127)[:, None]}, 1e-2),
        "E4M3": ({NAME: exact.to(torch.float8_e4m3fn), NAME + "_scale": torch.ones(1)}, 0.07),
        "E5M2": ({NAME: exact.to(torch.float8_e5m2), NAME + "_scale": torch.ones(())}, 0.13),
    }  # fmt: skip
    for name, (tensors, error) in kinds.items():
        folder = tmp_path / name
        folder.mkdir()
        save_torch({k: x.contiguous() for k, x in tensors.items()}, folder / "model.safetensors")
        weights = Weights(folder)
        assert np.allclose(weights.take(NAME, 4), exact[:4], rtol=error, atol=error), name
        assert np.allclose(weights.take(NAME, 3, columns=True), exact.T[:3], rtol=error, atol=error), name
    codes_8 = torch.arange(256, dtype=torch.uint8).view(16, 16).view(torch.float8_e4m3fn)
    finite = torch.where(codes_8.float().isnan(), torch.zeros(()), codes_8.float()).to(torch.float8_e4m3fn)
    save_torch({NAME: finite, NAME + "_scale_inv": torch.ones(1)}, tmp_path / "model.safetensors")
    assert np.array_equal(Weights(tmp_path).take(NAME, 16), finite.float().numpy())


def test_quantised_rows_without_meaning_are_refused(tmp_path: Path) -> None:
    i8, zero = np.ones((4, 4), np.int8), np.zeros((4, 1), np.float32)
    cases: dict[str, Tensors] = {
        "no scales": {NAME: i8}, "cannot be read": {NAME: i8.astype(np.int32)},
        "zero points": {NAME: i8, NAME + "_zero_point": zero}, "empty": {NAME: i8, NAME + "_scale": zero[:0]},
        "holds no scales": {NAME: i8, NAME + "_scale": np.ones((5, 5), np.float32)},
        "not finite": {NAME: np.full((4, 4), np.inf, np.float32)},
        "packed": {"layers.0.mlp.up_proj.qweight": i8}, "expected names": {"x.weight": i8},
        "differ in width": {NAME: zero[:, :1], NAME.replace("0", "1"): np.ones((4, 3), np.float32)},
        "expected two for each unit": {"layers.0.mlp.gate_up_proj.weight": i8[:3].astype(np.float32)},
        "expected a matrix": {NAME: i8[0]}, "does not fit": {NAME: i8, "layers.0.mlp.down_proj.weight": i8[:3]},
    }  # fmt: skip
    for message, tensors in cases.items():
        weights = Weights(_folder(tmp_path / message, tensors))
        with pytest.raises(BadInput, match=message):
            unit_rows(weights, layers(weights)[0], 4, 3)


def test_blocks_of_scales_are_stretched(tmp_path: Path) -> None:
    codes = np.ones((256, 300), np.int8)
    scales = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    weights = Weights(_folder(tmp_path / "m", {NAME: codes, NAME + "_scale_inv": scales}))
    read = weights.take(NAME, 200)
    assert (read[0, 127], read[0, 128], read[0, 299], read[128, 0]) == (1, 2, 3, 4)


def test_only_the_rows_that_are_needed_are_read(tmp_path: Path) -> None:
    big = {f"layers.{i}.mlp.{k}_proj.weight": np.random.default_rng(i).normal(size=(2_000, 64)).astype(np.float16)
           for i in range(12) for k in ("up", "gate")}  # fmt: skip
    folder = _folder(tmp_path / "m", big)
    found = trace(str(folder), str(folder))
    assert found.verdict == "related"
    assert found.bytes_read == 2 * 8 * 256 * 64 * 2
    assert found.rows_read == 2 * 8 * 256


def _models() -> dict[str, tuple[Any, str, bool, int]]:
    """Models, the name of the matrix into the units, whether it is stored transposed, and how many a unit has."""
    import transformers as hf

    size: dict[str, Any] = {"vocab_size": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    small = size | {"hidden_size": 8, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    kv = small | {"num_key_value_heads": 2, "head_dim": 4}
    short = size | {"n_embd": 8, "n_inner": 24, "n_layer": 2, "n_head": 2, "n_positions": 16}
    opt = size | {"hidden_size": 8, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    distil = size | {"dim": 8, "hidden_dim": 24, "n_layers": 2, "n_heads": 2}
    up, four, dense = "layers.{}.mlp.up_proj", "{}.mlp.dense_h_to_4h", "encoder.layer.{}.intermediate.dense"
    return {
        "Mistral": (hf.MistralForCausalLM(hf.MistralConfig(**kv)), f"model.{up}", False, 3),
        "Qwen": (hf.Qwen2Model(hf.Qwen2Config(**small, num_key_value_heads=2)), up, False, 3),
        "Qwen 3": (hf.Qwen3Model(hf.Qwen3Config(**kv)), up, False, 3),
        "Gemma": (hf.Gemma2Model(hf.Gemma2Config(**kv)), up, False, 3),
        "OLMo": (hf.Olmo2Model(hf.Olmo2Config(**small)), up, False, 3),
        "Phi-3": (hf.Phi3Model(hf.Phi3Config(**small, num_key_value_heads=2)), "layers.{}.mlp.gate_up_proj", False, 3),
        "NeoX": (hf.GPTNeoXModel(hf.GPTNeoXConfig(**small)), f"layers.{four}", False, 2),
        "Falcon": (hf.FalconModel(hf.FalconConfig(**small, ffn_hidden_size=24)), f"h.{four}", False, 2),
        "BLOOM": (hf.BloomModel(hf.BloomConfig(**size, hidden_size=8, n_layer=2, n_head=2)), f"h.{four}", False, 2),
        "BERT": (hf.BertModel(hf.BertConfig(**small)), dense, False, 2),
        "RoBERTa": (hf.RobertaModel(hf.RobertaConfig(**small)), dense, False, 2),
        "GPT-2": (hf.GPT2Model(hf.GPT2Config(**short)), "h.{}.mlp.c_fc", True, 2),
        "StarCoder": (hf.GPTBigCodeModel(hf.GPTBigCodeConfig(**short)), "h.{}.mlp.c_fc", False, 2),
        "GPT-J": (hf.GPTJModel(hf.GPTJConfig(**short, rotary_dim=4)), "h.{}.mlp.fc_in", False, 2),
        "Phi": (hf.PhiModel(hf.PhiConfig(**small)), "layers.{}.mlp.fc1", False, 2),
        "OPT": (hf.OPTModel(hf.OPTConfig(**opt, word_embed_proj_dim=8)), "decoder.layers.{}.fc1", False, 2),
        "DistilBERT": (hf.DistilBertModel(hf.DistilBertConfig(**distil)), "transformer.layer.{}.ffn.lin1", False, 2),
    }


def test_the_layouts_of_families_as_transformers_saves_them(tmp_path: Path) -> None:
    for family, (model, name, turned, matrices) in _models().items():
        model.save_pretrained(tmp_path / family, max_shard_size="3KB" if family == "Mistral" else "5GB")
        weights = Weights(tmp_path / family)
        found = layers(weights)
        assert [x.number for x in found] == [0, 1], family
        for layer in found:
            exact = model.get_submodule(name.format(layer.number)).weight.detach().numpy()
            exact = exact.T if turned else exact[-layer.units :]  # up comes after the gate where they are one matrix
            assert (layer.units, layer.width) == (32 if family == "BLOOM" else 24, 8)
            parts = unit_rows(weights, layer, 5, 3)
            assert np.array_equal(parts[0], exact[:5]), family
            assert [p.shape for p in parts] == [(5, 8)] * matrices, family
    assert (tmp_path / "Mistral" / "model.safetensors.index.json").exists()
    one, two = (str(tmp_path / name) for name in ("Phi-3", "GPT-2"))
    assert trace(one, one, full=True).verdict == trace(two, two, full=True).verdict == "related"


def test_a_header_lists_what_the_file_holds() -> None:
    entries = read_header(locate("nursery:llama-0") / "model.safetensors")
    with safe_open(locate("nursery:llama-0") / "model.safetensors", "np") as file:
        assert {k: list(e.shape) for k, e in entries.items()} == {
            k: file.get_slice(k).get_shape()
            for k in file.keys()  # noqa: SIM118
        }
