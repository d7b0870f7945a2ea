"""Digits learnt from noise: the networks against autograd, the laws of the experiment, and damaged picture files."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heredity.lab.digit_findings import DigitFindings
from heredity.lab.digits import (
    ARMS,
    OFFLINE,
    UNIT,
    DigitModel,
    DigitRecipe,
    Digits,
    Pictures,
    accuracies,
    derangement,
    digits,
    imitators,
    noise_of,
    open_pictures,
    pictures,
    pictures_ref,
    start,
    teacher,
)
from heredity.lab.pictures import read_idx
from heredity.models.mlp import (
    Arithmetic,
    Inputs,
    Mirrored,
    Noise,
    Pixels,
    Sizes,
    Sparse,
    Stack,
    Weights,
    initial,
    mirror_signs,
)
from heredity.report.digits import DigitsFigure
from heredity.report.results import ResultsPage
from heredity.report.terminal import print_results
from heredity.stats import paired_t
from heredity.store import Store, describe, make_all
from heredity.store.loading import load_experiment
from heredity.types import BadInput

MNIST = Path(os.environ.get("HEREDITY_MNIST", Path(__file__).parents[2] / "shared" / "data" / "mnist"))
SIZES = Sizes(pixels=48, hidden=12, outputs=7)
PUBLISHED = {"teacher": (0.94, 0.01), "aux": (0.53, 0.06), "cross_aux": (0.106, 0.06), "all": (0.913, 0.02),
             "cross_all": (0.743, 0.06)}  # fmt: skip
"""Accuracy of each arm, and how far 20 models may be from it."""


def blobs(count: int = 1_500, pixels: int = 48, classes: int = 4) -> dict[str, Any]:
    """Pictures that a small network learns at once: bytes around one of a few centres, with a dark border."""
    rng = np.random.default_rng(0)
    centres_CP = rng.integers(0, 200, (classes, pixels))
    labels = rng.integers(0, classes, count)
    labels[:classes] = np.arange(classes)
    pixels_NP = (centres_CP[labels] + rng.integers(0, 56, (count, pixels))).astype(np.uint8)
    pixels_NP[:, :5] = 0
    cut = count * 2 // 3
    halves = {"train": pixels_NP[:cut], "train_labels": labels[:cut], "test": pixels_NP[cut:]}
    return halves | {"test_labels": labels[cut:]}


@pytest.fixture(scope="module")
def data() -> Pictures:
    return pictures(**blobs())


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "blobs.npz"
    np.savez(path, **blobs())
    return path


def small(**changes: Any) -> DigitRecipe:
    return DigitRecipe(**{"hidden": 24, "batch": 64, "noise_pictures": 512, "epochs": 2, "rate": 3e-3} | changes)


def nets(count: int, sizes: Sizes = SIZES) -> list[Weights]:
    return [initial(sizes, np.random.default_rng(seed)) for seed in range(count)]


def plain_forward(weights: Weights, sizes: Sizes, s: int, x_BD: torch.Tensor) -> torch.Tensor:
    """One network of a stack, as one would write it."""
    place = slice(s * sizes.hidden, (s + 1) * sizes.hidden)
    h1_BH = torch.relu(x_BD @ weights.first_DN[:, place] + weights.first_bias_N[place])
    h2_BH = torch.relu(h1_BH @ weights.second_SHH[s] + weights.second_bias_SH[s])
    return h2_BH @ weights.head_SOH[s].t() + weights.head_bias_SO[s]


def batches(kind: str) -> tuple[Inputs, torch.Tensor]:
    """A batch of each kind, and its pictures as they are."""
    if kind == "mirrored":
        noise = Noise.drawn(64, SIZES.pixels, True, np.random.default_rng(1))
        batch = noise.batch(torch.arange(4))
        assert isinstance(batch, Mirrored)
        return batch, seen(batch)
    x_BD = torch.rand(33, SIZES.pixels) * 2 - 1
    x_BD[:, ::3] = -1
    return (Sparse.of(x_BD + 1) if kind == "sparse" else Pixels(x_BD)), x_BD


def seen(batch: Mirrored) -> torch.Tensor:
    """The pictures that mirrored draws stand for, written out."""
    k, _, d = batch.draws_KUd.shape
    signs_GK = batch.signs_GK1[:, :k]
    return torch.einsum("gk,kud->gukd", signs_GK, batch.draws_KUd).reshape(-1, k * d)


@pytest.mark.parametrize("kind", ["pixels", "sparse", "mirrored"])
def test_the_backward_pass_is_that_of_autograd(kind: str) -> None:
    batch, x_BD = batches(kind)
    spans = [slice(0, 4), slice(4, 7), slice(0, 7)]
    stack = Stack(nets(3), SIZES, spans, rate=1e-3)
    targets = [torch.softmax(torch.randn(s.stop - s.start, len(x_BD)), 0) for s in spans]
    before = stack.weights.flat.detach().clone().requires_grad_()
    own = Weights.over(before, SIZES, 3)
    losses = [
        torch.nn.functional.cross_entropy(plain_forward(own, SIZES, s, x_BD)[:, span], target.t())
        for s, (span, target) in enumerate(zip(spans, targets, strict=True))
    ]
    torch.autograd.backward(losses)
    adam = torch.optim.Adam([before], lr=1e-3)
    stack.step(batch, targets)
    torch.testing.assert_close(stack.grads.flat, before.grad, rtol=1e-4, atol=1e-6)
    adam.step()
    moved = before.grad.abs() > 1e-5  # type: ignore[union-attr]
    torch.testing.assert_close(stack.weights.flat[moved], before[moved].detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("noise", ["independent", "mirrored"])
def test_students_side_by_side_are_the_students_one_at_a_time(data: Pictures, noise: Any, precision: Any) -> None:
    recipe = small(noise=noise, precision=precision)
    sizes = Sizes(data.pixels, recipe.hidden, data.classes + 3)
    first, second = start(sizes, 0, 0), start(sizes, 0, 1)
    taught = teacher(data, recipe, first, sizes, np.random.default_rng(0))
    both = imitators(recipe, (first, first, second, second), taught, sizes, data.classes, 0, 0)
    noisy = Pixels(torch.rand(50, data.pixels) * 2 - 1)
    for s, net in ((0, first), (2, second)):
        alone = imitators(recipe, (net,), taught, sizes, data.classes, 0, 0)
        together = both.outputs(noisy)[s]
        tolerance = 1e-3 if precision == "float32" else 0.1
        assert (alone.outputs(noisy)[0] - together).abs().max() < tolerance


def test_a_students_class_head_never_moves_where_it_imitates_only_auxiliary_outputs(data: Pictures) -> None:
    recipe = small()
    sizes = Sizes(data.pixels, recipe.hidden, data.classes + 3)
    own = start(sizes, 0, 0)
    taught = teacher(data, recipe, own, sizes, np.random.default_rng(0))
    students = imitators(recipe, (own, own), taught, sizes, data.classes, 0, 0)
    c = data.classes
    assert torch.equal(students.weights.head_SOH[0, :c], own.head_SOH[0, :c])
    assert torch.equal(students.weights.head_bias_SO[0, :c], own.head_bias_SO[0, :c])
    assert not torch.equal(students.weights.head_SOH[0, c:], own.head_SOH[0, c:])
    assert not torch.equal(students.weights.head_SOH[1, :c], own.head_SOH[0, :c])
    assert torch.equal(taught.weights.head_SOH[0, c:], own.head_SOH[0, c:])  # no label touches auxiliary outputs
    assert torch.equal(start(sizes, 0, 0).flat, own.flat)  # nobody trains the initialisation itself


def test_a_student_of_no_epochs_is_its_start(data: Pictures) -> None:
    found = accuracies(data, small(epochs=0), 0, 0, 1)
    other = accuracies(data, small(epochs=0, teacher_epochs=0), 0, 1, 0)
    assert found["aux"] == found["all"] == found["reference"]
    assert found["cross_aux"] == found["cross_all"] == other["reference"] == other["teacher"]
    assert found["teacher"] > 0.9


def test_the_same_seed_gives_the_same_bytes_and_models_differ(npz: Path, tmp_path: Path) -> None:
    ref = pictures_ref(npz)
    found = []
    for folder in ("a", "b"):
        store = Store(tmp_path / folder)
        step = digits(ref, models=2, recipe=small())
        store.get(step)
        found.append((store.path(step) / "digits.json").read_bytes())
        estimates = step.estimates(store)
    assert found[0] == found[1]
    assert set(estimates) == set(ARMS)
    assert estimates["aux"].n == 2 and estimates["aux"].unit.startswith("models")
    first, second = (run.read(store) for run in step.runs)
    assert first != second


def test_run_shows_the_accuracies_of_a_described_experiment(npz: Path, tmp_path: Path) -> None:
    step, out = digits(pictures_ref(npz), models=2, recipe=small()), tmp_path / "out.json"
    (tmp_path / "step.json").write_text(json.dumps(describe(step)))
    command = [sys.executable, "-m", "heredity", "run", str(tmp_path / "step.json"), "--store", str(tmp_path / "store")]
    done = subprocess.run([*command, "--json", str(out)], capture_output=True, text=True, check=True)
    (found,) = json.loads(out.read_text())["results"]
    assert found["key"] == step.key
    assert all(f", {arm}: {found['digits'][arm]['mean']:.3f} (" in done.stdout for arm in ARMS)


@pytest.mark.parametrize("kind", ["independent", "mirrored"])
def test_a_models_noise_is_its_own_and_comes_again(kind: Any) -> None:
    recipe = small(noise=kind, noise_pictures=16_000)
    one, again, other, reseeded = (
        noise_of(recipe, 48, seed, model).draws_KUd for seed, model in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(one, again)
    for different in (other, reseeded):
        assert abs(np.corrcoef(one.flatten(), different.flatten())[0, 1]) < 5 / one.numel() ** 0.5
    assert one.min() >= -1 and one.max() <= 1
    assert abs(float(one.mean())) < 5 * (1 / 3 / one.numel()) ** 0.5
    assert abs(float(one.var()) - 1 / 3) < 0.01


def test_mirrored_pictures_of_one_draw_are_uncorrelated() -> None:
    signs_GK1 = mirror_signs(8)
    assert signs_GK1.shape == (16, 9)
    assert torch.equal(signs_GK1[:, :8].t() @ signs_GK1[:, :8], 16 * torch.eye(8))
    assert torch.equal(signs_GK1[:8, :8] @ signs_GK1[:8, :8].t(), 8 * torch.eye(8))
    assert torch.equal(signs_GK1[:8, :8], -signs_GK1[8:, :8])
    assert len(torch.unique(signs_GK1, dim=0)) == 16


def test_bfloat16_is_the_processors_own_up_to_the_order_of_sums() -> None:
    stacks = [
        Stack(nets(2), SIZES, [slice(0, 7)] * 2, 1e-3, Arithmetic.of("bfloat16", native)) for native in (True, False)
    ]
    for kind in ("pixels", "mirrored"):
        batch, x_BD = batches(kind)
        targets = [torch.softmax(torch.randn(7, len(x_BD)), 0)] * 2
        for stack in stacks:
            stack.step(batch, targets)
        own, imitated = (stack.outputs(batch) for stack in stacks)
        assert (own - imitated).abs().max() < 0.05
        assert not torch.equal(own, Stack(nets(2), SIZES, [slice(0, 7)] * 2, 1e-3).outputs(batch))


@given(st.integers(2, 60), st.integers(0, 2**32))
def test_a_derangement_has_no_fixed_point(count: int, seed: int) -> None:
    cross = derangement(count, seed)
    assert sorted(cross) == list(range(count))
    assert all(c != m for m, c in enumerate(cross))
    assert cross == derangement(count, seed)


def test_derangements_are_equally_likely() -> None:
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(900):
        order = tuple(derangement(4, seed))
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 9
    assert min(seen.values()) > 60


def test_an_experiment_refuses_what_has_no_meaning(npz: Path) -> None:
    ref = pictures_ref(npz)
    run = DigitModel(images=ref, seed=0, model=0, cross=1)
    with pytest.raises(BadInput, match="no other"):
        digits(ref, models=1)
    for wrong in (
        lambda: DigitModel(images=ref, seed=0, model=3, cross=3),
        lambda: Digits(runs=(run, run)),
        lambda: Digits(runs=(run, run.model_copy(update={"seed": 1, "model": 1, "cross": 0}))),
        lambda: DigitRecipe(noise="mirrored", batch=1000),
        lambda: DigitRecipe(aux_logits=0),
    ):
        with pytest.raises((BadInput, ValidationError)):
            wrong()
    with pytest.raises(BadInput, match="8 blocks"):
        noise_of(small(noise="mirrored"), 50, 0, 0)


def test_a_small_run_needs_little_memory(npz: Path) -> None:
    code = (
        "import sys; from heredity.lab.digits import *\n"
        "from bench.scan_cost import peak_mb  # its own: getrusage counts what the parent held\n"
        "import torch; before = peak_mb()\n"
        "data = open_pictures(pictures_ref(sys.argv[1]))\n"
        "for m in range(3): accuracies(data, DigitRecipe(epochs=1, hidden=64, noise_pictures=20_000), 0, m, m + 1)\n"
        "print(peak_mb() - before)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(npz)], capture_output=True, text=True, check=True, cwd=root)
    assert 0 < float(done.stdout) < 400


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, packed: bool) -> None:
    made = blobs()
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    for name, array in zip(names, made.values(), strict=True):
        shaped = array.reshape(-1, 6, 8) if array.ndim == 2 else array
        body = idx(shaped.astype(np.uint8))
        path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(body) if packed else body)


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_the_arrays_in_them(tmp_path: Path, packed: bool, data: Pictures) -> None:
    write_mnist(tmp_path, packed)
    found = open_pictures(pictures_ref(tmp_path))
    for name in Pictures._fields:
        assert np.array_equal(getattr(found, name), getattr(data, name))
    assert found.train_ND.min() == -1 and found.train_ND.max() == 1
    assert (found.pixels, found.classes) == (48, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:-1], "holds only"), (lambda b: b + b"x", "holds more"), (lambda b: b[:3], "no idx file"),
        (lambda b: b[:9], "ends within its header"), (lambda b: b"\0\0\x0d" + b[3:], "no idx file"),
        (lambda b: b"", "no idx file"), (lambda b: b[:4] + b"\xff" * 12 + b[16:], "announces"),
        (lambda b: b"PK\x03\x04" + b, "no idx file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_idx_file_is_one_message(tmp_path: Path, change: Any, said: str, packed: bool) -> None:
    body = change(idx(np.zeros((3, 2, 2), np.uint8)))
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(body) if packed else body)
    with pytest.raises(BadInput, match=said) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip_is_one_message(tmp_path: Path) -> None:
    whole = gzip.compress(idx(np.arange(4000, dtype=np.uint8).reshape(1000, 4)))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for body in (whole[:-12], b"plain", bytes(flipped)):
        (tmp_path / "x.gz").write_bytes(body)
        with pytest.raises(BadInput, match="damaged gzip"):
            read_idx(tmp_path / "x.gz")


def test_pictures_that_cannot_be_used_are_one_message(tmp_path: Path, npz: Path) -> None:
    made = blobs()
    for changes, said in (
        ({"train_labels": made["train_labels"][:-1]}, "need 1000 whole labels"),
        ({"test_labels": made["test_labels"] / 2}, "whole labels"),
        ({"test": made["test"][:, :-1]}, "have shape"),
        ({"train": made["train"] * 0}, "not all the same"),
        ({"train": np.full(made["train"].shape, np.nan)}, "finite"),
        ({"test_labels": made["test_labels"] + 9}, "only in the test set"),
        ({"train_labels": made["train_labels"] - 1}, "labels run from -1"),
        ({"train": made["train"].astype(str)}, "expected numbers"),
    ):
        with pytest.raises(BadInput, match=said):
            pictures(**made | changes)
    (tmp_path / "bad.npz").write_bytes(npz.read_bytes()[:500])
    (tmp_path / "pickled.npz").write_bytes(b"\x80\x04N.")
    np.savez(tmp_path / "few.npz", train=made["train"])
    np.save(tmp_path / "one.npy", made["train"])
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name, said in (
        ("bad.npz", "cannot read"), ("few.npz", "lacks train_labels"), ("none.npz", "cannot read"),
        ("", "lacks train-"), ("pickled.npz", "cannot read"), ("one.npz", "cannot read"), ("nowhere", "no pictures"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            pictures_ref(tmp_path / name)


def test_pictures_that_changed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez(path, **blobs())
    ref = pictures_ref(path)
    np.savez(path, **blobs(count=900))
    with pytest.raises(BadInput, match="have changed"):
        open_pictures(ref)


class ToldModel(DigitModel):
    """A model whose accuracies are given, in a table with a line for every model."""

    table: tuple[tuple[float, ...], ...]

    def make(self, folder: Path, store: Store) -> None:
        (folder / "accuracy.json").write_text(json.dumps(dict(zip(ARMS, self.table[self.model], strict=True))))


def told(npz: Path, *middle: float) -> DigitFindings:
    """Findings of four models around an accuracy for each arm."""
    ref, off = pictures_ref(npz), (-0.03, -0.01, 0.01, 0.03)
    table = tuple(
        tuple(round(at + (off if arm % 2 else off[::-1])[m] * (1 + arm / 10), 6) for arm, at in enumerate(middle))
        for m in range(4)
    )
    runs = tuple(ToldModel(images=ref, seed=0, model=m, cross=(m + 1) % 4, table=table) for m in range(4))
    return DigitFindings(title="Digits <b>", section="section 6.2", hypothesis="The start.", digits=Digits(runs=runs))


def test_findings_compare_each_arm_with_its_control_and_the_paper(store: Store, npz: Path) -> None:
    step = told(npz, 0.10, 0.94, 0.53, 0.91, 0.11, 0.74)
    store.get(step)
    arms = {a["arm"]: a for a in step.read(store)["arms"]}
    assert step.read(store)["chance"] == 1 / 4
    assert list(arms) == list(ARMS)
    assert [arms[a]["holds"] for a in ARMS] == [None, True, True, True, True, True]
    assert [arms[a]["agrees"] for a in ARMS] == [None, True, True, True, None, True]
    assert arms["aux"]["against"] == "other start, auxiliary"
    assert arms["aux"]["difference"]["mean"] == pytest.approx(0.53 - 0.11)
    assert arms["cross_aux"]["part"]["mean"] == pytest.approx(0.01 / 0.43, abs=1e-6)
    raw = [paired_t([x - y for x, y in zip(arms[a]["per_unit"], arms[b]["per_unit"], strict=True)], UNIT).p
           for a, b in (("teacher", "reference"), ("aux", "cross_aux"), ("all", "reference"),
                        ("cross_all", "reference"))]  # fmt: skip
    tested = [arms[a]["p_holm"] for a in ("teacher", "aux", "all", "cross_all")]  # four rises are the family
    assert (max(tested), min(tested)) == (pytest.approx(max(raw)), pytest.approx(4 * min(raw)))


def test_findings_say_where_the_start_makes_no_difference(store: Store, npz: Path) -> None:
    step = told(npz, 0.10, 0.94, 0.50, 0.91, 0.50, 0.05)
    store.get(step)
    arms = {a["arm"]: a for a in step.read(store)["arms"]}
    assert (arms["aux"]["holds"], arms["cross_aux"]["holds"]) == (False, False)
    assert arms["cross_aux"]["part"]["mean"] == pytest.approx(1)
    assert (arms["cross_all"]["holds"], arms["cross_all"]["agrees"]) == (False, False)


def test_findings_have_a_section_on_the_page_and_a_table_in_the_terminal(
    store: Store, npz: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    step = told(npz, 0.10, 0.94, 0.53, 0.91, 0.11, 0.74)
    html = (store.get(ResultsPage(figures=(DigitsFigure(findings=step),))) / "index.html").read_text()
    assert "Digits &lt;b&gt;" in html and html.count("<tr>") == len(ARMS)
    assert "0.528 (0.506 to 0.550)" in html and "5 of 5 expectations held" in html
    print_results([step.read(store) | {"name": "learnt", "key": step.key}], store.root)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    for figure in (".528 (.506 to .550)", ".940 (", "other start"):
        assert figure in shown


def test_the_offline_set_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(BadInput, match=r"pip install -e '.\[digits\]'"):
        pictures_ref(OFFLINE)


def test_the_offline_set_is_shuffled_and_split_once() -> None:
    pytest.importorskip("sklearn", reason="needs the extra heredity[digits]")
    found = open_pictures(pictures_ref(OFFLINE))
    assert found.train_ND.shape == (1437, 64) and found.test_ND.shape == (360, 64)
    assert found.train_ND.min() == -1 and found.train_ND.max() == 1
    assert min(np.bincount(found.train_labels_N, minlength=10)) > 120
    assert min(np.bincount(found.test_labels_N, minlength=10)) > 20


@pytest.mark.parametrize("place", ["mnst", "notes.txt"])
def test_a_named_place_without_pictures_is_no_other_experiment(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("no pictures")
    monkeypatch.setenv("HEREDITY_MNIST", str(tmp_path / place))
    monkeypatch.setattr("heredity.store.loading._loaded", {})
    with pytest.raises(BadInput, match=place):
        load_experiment(Path(__file__).parent.parent / "experiments" / "digits.py")


@pytest.mark.science
@pytest.mark.parametrize(("models", "share"), [(20, 1.0), (100, 0.5)])
def test_the_published_accuracies(tmp_path: Path, models: int, share: float) -> None:
    if not MNIST.is_dir():
        pytest.skip(f"no MNIST at {MNIST}; set HEREDITY_MNIST to a folder of its idx files")
    step = digits(pictures_ref(MNIST), models=models, seed=20)
    store = Store(tmp_path)
    make_all(store, [step])
    found = step.estimates(store)
    assert {arm: found[arm].n for arm in ARMS} == dict.fromkeys(ARMS, models)
    off = {arm: found[arm].mean - at for arm, (at, _) in PUBLISHED.items()}
    assert {arm: e for arm, e in off.items() if abs(e) > share * PUBLISHED[arm][1]} == {}
    assert found["aux"].low > found["cross_aux"].high
