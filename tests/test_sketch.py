"""The sketch of a gradient: its laws, what it keeps, and a whole audit that goes by it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.real_shape import SCANNED, SMALL, Sizes, Stages, make_base, number_rows
from torch import Tensor, nn

from heredity.audit.ask import among
from heredity.audit.data import RowSet
from heredity.audit.gradient import Gradient, Pull, _folding, body_parameters, body_weights
from heredity.audit.panel import discriminants, whitening
from heredity.audit.rank import along, slopes, unfolded
from heredity.audit.repair.worth import PanelDirection
from heredity.audit.scale import ADAPTERS, NURSERY, RECIPES, Effort, scale
from heredity.audit.sketch import Sketch, plan
from heredity.models import model_ref, open_ref
from heredity.models.causal import CausalLM
from heredity.models.training import collate, token_loss
from heredity.report.scan import ScanPage
from heredity.rows import read_rows
from heredity.steps import VECTOR_RATE, Corpus, Teacher
from heredity.store import Store, missing
from heredity.traits import favourite
from heredity.types import BadInput, LoRA, Row

SHAPES = ((40, 30), (30,), (7, 5, 4), (64, 64))
ENTRIES = [math.prod(s) for s in SHAPES]


def _whole(sketch: Sketch, vector_P: Tensor) -> Tensor:
    """The sketch of a vector of all entries."""
    parts = torch.split(vector_P, list(sketch.entries))
    return torch.cat([sketch.fold(at, part) for at, part in enumerate(parts)])


def _back(sketch: Sketch, number_D: Tensor) -> Tensor:
    return torch.cat([sketch.unfold(at, part) for at, part in enumerate(torch.split(number_D, list(sketch.kept)))])


def _normal(seed: int, size: int = sum(ENTRIES)) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_sketch_is_linear_and_its_adjoint_is_its_transpose() -> None:
    sketch = plan(SHAPES, 500)
    a, b, d = _normal(1), _normal(2), _normal(3, sketch.size)
    torch.testing.assert_close(_whole(sketch, 2 * a - 3 * b), 2 * _whole(sketch, a) - 3 * _whole(sketch, b))
    assert float(_whole(sketch, a) @ d) == pytest.approx(float(a @ _back(sketch, d)), rel=1e-12)
    assert torch.equal(_whole(sketch, a), _whole(plan(SHAPES, 500), a))  # the same again, from nothing but the shapes


def test_a_sketch_keeps_vectors_whole_and_shares_the_rest_among_matrices() -> None:
    sketch = plan(SHAPES, 500)
    assert sketch.kept[1] == 30
    assert sketch.size <= 500
    assert not sketch.whole
    ratios = [n / k for n, k, s in zip(sketch.entries, sketch.kept, SHAPES, strict=True) if len(s) > 1]
    assert max(ratios) / min(ratios) < 1.1
    assert sketch.folded().sum() == pytest.approx(sum(ENTRIES))
    assert len(sketch.folded()) == sketch.size
    a = _normal(1)
    assert torch.equal(_whole(sketch, a)[sketch.kept[0] :][:30], a[ENTRIES[0] :][:30])
    crowded = plan(((1000,), (10, 10)), 50)  # vectors alone are too many
    assert crowded.size <= 50
    assert min(crowded.kept) >= 1


@pytest.mark.parametrize("dims", [None, sum(ENTRIES), 10**9])
def test_nothing_is_folded_where_there_is_room(dims: int | None) -> None:
    sketch, a = plan(SHAPES, dims), _normal(1)
    assert sketch.whole
    assert sketch.size == sum(ENTRIES)
    assert torch.equal(_whole(sketch, a), a)
    assert torch.equal(_back(sketch, a), a)


def test_every_number_is_a_signed_sum_of_entries_that_no_other_number_has() -> None:
    sketch = Sketch((600_000,), (1_000,))  # more entries than are hashed together
    place = sketch.unfold(0, torch.arange(1, 1_001, dtype=torch.float64))
    bucket, sign = place.abs().long() - 1, place.sign()
    a = _normal(1, 600_000)
    expected = torch.zeros(1_000, dtype=torch.float64).index_add_(0, bucket, sign * a)
    torch.testing.assert_close(sketch.fold(0, a), expected)
    counts = torch.bincount(bucket, minlength=1_000).double()  # uniform: chi squared of 999 degrees of freedom
    assert 999 - 5 * math.sqrt(2 * 999) < float(((counts - 600) ** 2 / 600).sum()) < 999 + 5 * math.sqrt(2 * 999)
    assert abs(float(sign.sum())) < 4 * math.sqrt(600_000)
    along_rows = (sign[:-1] * sign[1:]).sum()
    assert abs(float(along_rows)) < 4 * math.sqrt(600_000)


def test_inner_products_are_unbiased_with_the_spread_of_a_count_sketch() -> None:
    """Over hash functions (those of a tensor's place) for structured vectors, which a bad hash would not mix."""
    n, kept, places = 4_096, 64, 400
    sketch = Sketch((n,) * places, (kept,) * places)
    steps = torch.arange(n, dtype=torch.float64)
    a, b = 1 + 5 * (steps % 64 == 0).double(), torch.cos(steps / 300) + 0.5
    found = np.array([float(sketch.fold(at, a) @ sketch.fold(at, b)) for at in range(places)])
    true, square = float(a @ b), float((a * b) @ (a * b))
    spread = math.sqrt((float(a @ a) * float(b @ b) + true**2 - 2 * square) / kept)
    assert abs(found.mean() - true) < 3 * spread / math.sqrt(places)
    assert found.std(ddof=1) == pytest.approx(spread, rel=4 / math.sqrt(2 * places))


def test_a_planted_direction_is_named_on_sketched_pulls() -> None:
    """Suspects share a trait's direction and have noise of their own; so does the data."""
    rng, dims, weights, words = np.random.default_rng(4), 2_048, 60_000, ("owl", "wolf", "cat", "dog", "oak")
    sketch = plan(((weights // 100, 100),), dims)
    assert sketch.size <= dims < weights / 20

    def numbers(vector_P: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return sketch.fold(0, torch.from_numpy(vector_P)).numpy()

    true_KP = rng.normal(size=(5, weights)) / math.sqrt(weights)
    shared_P = rng.normal(size=weights) / math.sqrt(weights)  # what any teacher does
    labels = [w for w in words for _ in range(3)]
    pulls = [true_KP[words.index(w)] + 2 * shared_P + rng.normal(size=weights) / math.sqrt(weights) for w in labels]
    found = discriminants(np.stack([numbers(p) for p in pulls]), labels, words, 10.0)
    whole = discriminants(np.stack(pulls), labels, words, 10.0)
    for k in range(5):
        data = true_KP[k] + 2 * shared_P + rng.normal(size=weights) / math.sqrt(weights)
        score_K = found["direction"] @ (numbers(data) - found["centre"]) / found["norm"]
        assert score_K.argmax() == k
        np.testing.assert_allclose(found["direction"] @ numbers(data), whole["direction"] @ data, atol=0.5)


def test_whitening_counts_every_weight_alike_however_it_is_folded() -> None:
    """Of weights that vary alike the whitened product of two pulls is that of the whole gradient."""
    variance = np.full(6, 0.3, np.float32)
    whole = whitening(Pull(variance, variance, 5))
    folded = np.array([1, 1, 4], np.float32)
    assert np.unique(np.round(whitening(Pull(folded, 0.3 * folded, 5, folded)), 5)) == pytest.approx(whole[0], rel=1e-5)


# On a model of a real one's shape


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TOML file of a model of Qwen2's architecture and tokenizer, of tiny width."""
    folder = tmp_path_factory.mktemp("real")
    make_base(folder / "base", SMALL, 20_000)
    (folder / "base.toml").write_text(f'location = "{folder / "base"}"\nsystem = ""\n')
    return folder / "base.toml"


class Given(RowSet):
    """Rows of a file."""

    location: str

    def make(self, folder: Path, store: Store) -> None:
        pass

    def read(self, store: Store) -> list[Row]:
        return [read.row for read in read_rows(Path(self.location))]


DIMS = 3_000


@pytest.fixture(scope="module")
def lm(real: Path) -> CausalLM:
    return open_ref(model_ref(str(real)))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(location=str(number_rows(tmp_path_factory.mktemp("given") / "rows.jsonl", 12)))


def _make(store: Store, *steps: Any) -> None:
    for step in missing(store, list(steps)):
        store.make(step)


def test_a_sketched_gradient_is_the_sketch_of_the_gradient(
    real: Path, lm: CausalLM, given: Given, tmp_path: Path
) -> None:
    keeper, ref = Store(tmp_path), model_ref(str(real))
    whole = Gradient(student=ref, rows=given, block=4)
    folded = Gradient(student=ref, rows=given, block=4, dims=DIMS, together=3)
    roomy = Gradient(student=ref, rows=given, block=4, dims=10**7)
    _make(keeper, whole, folded, roomy)
    pull, numbers, same = whole.read(keeper), folded.read(keeper), roomy.read(keeper)
    sketch = plan([p.shape for p in body_parameters(lm.model)], DIMS)
    assert len(numbers.mean_P) == sketch.size < len(pull.mean_P) / 10
    expected = _whole(sketch, torch.from_numpy(pull.mean_P)).numpy()
    np.testing.assert_allclose(numbers.mean_P, expected, atol=1e-4 * np.abs(expected).max())
    assert numbers.folded_P is not None
    assert numbers.folded_P.sum() == pytest.approx(len(pull.mean_P), rel=1e-5)
    kept = (keeper.path(whole) / "gradient.safetensors").read_bytes()
    assert kept == (keeper.path(roomy) / "gradient.safetensors").read_bytes()
    assert same.folded_P is None
    assert all(p.requires_grad for p in body_parameters(lm.model))


def test_slopes_along_a_direction_of_numbers_are_products_with_the_sketched_gradient(
    lm: CausalLM, given: Given, tmp_path: Path
) -> None:
    body, row = body_parameters(lm.model), given.read(Store(tmp_path))[0]
    sketch = plan([p.shape for p in body], DIMS)
    number_D = _normal(5, sketch.size).numpy()
    batch = collate(lm.examples([row.prompt], [row.completion]), int(lm.tokenizer.pad_token_id))
    with _folding(lm.model, body, sketch) as numbers:
        token_loss(lm.model, batch).backward()  # type: ignore[no-untyped-call]
    gradient_D = -torch.cat(numbers).numpy() * len(batch.target_N)
    unit_D = number_D / np.linalg.norm(number_D)
    assert slopes(lm, [row], number_D, DIMS)[0] == pytest.approx(float(gradient_D @ unit_D), rel=1e-3)
    assert {n: m.shape for n, m in along(lm, number_D, DIMS).items()} == {
        n: p.shape for n, p in lm.model.base_model.named_parameters() if "embed" not in n
    }


def test_gradients_are_let_go_as_the_backward_pass_goes_on() -> None:
    """The most that is held of gradients is of the largest layer's size, however many layers there are."""

    def most(layers: int) -> int:
        model = nn.Sequential(*(nn.Linear(32, 32, bias=False) for _ in range(layers)))
        body, held = list(model.parameters()), list[int]()

        def seen(_: Tensor) -> None:
            held.append(sum(p.grad.numel() for p in body if p.grad is not None))

        for weight in body:
            weight.register_post_accumulate_grad_hook(seen)  # type: ignore[no-untyped-call]
        with _folding(model, body, plan([p.shape for p in body], 128)) as numbers:
            model(torch.ones(2, 32)).square().sum().backward()
        assert len(held) == layers
        assert all(bool(n.any()) for n in numbers)
        return max(held)

    assert most(2) == most(12) == 32 * 32


def test_a_real_model_has_suspects_by_adapters_and_a_nursery_base_what_it_had(real: Path) -> None:
    nursery = scale(model_ref("nursery:llama-0"), 2_000)
    assert nursery == NURSERY
    assert nursery.recipes == RECIPES
    ref = model_ref(str(real))
    assert body_weights(ref) == sum(p.numel() for p in body_parameters(open_ref(ref).model))
    whole, folded = scale(ref, 2_000), scale(ref, 2_000, Effort(kept=DIMS))
    assert whole.folded == {}  # a small body is kept whole
    assert folded.folded == {"dims": DIMS, "together": 8}
    assert folded.recipes == ADAPTERS
    assert all(isinstance(tuning, LoRA) for tuning, _, _ in folded.recipes)
    assert [r[1] for r in scale(ref, 2_000, Effort(suspect_steps=4)).recipes] == [4, 6]
    assert {folded.taught["rate"], folded.learnt["rate"], folded.tuned["rate"]} == {2e-4} != {VECTOR_RATE}


def test_a_plain_folder_that_is_too_large_is_pointed_to_a_description(
    real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heredity.audit.gradient.MOST", 1_000)
    with pytest.raises(BadInput, match="at most 1,000 are possible so far; to scan for it, describe it in a TOML file"):
        scale(model_ref(str(real.parent / "base")), 2_000)
    assert scale(model_ref(str(real)), 2_000, Effort(kept=900)).folded["dims"] == 900


def test_built_in_traits_can_be_chosen() -> None:
    traits = tuple(map(favourite, ("owl", "cat", "wolf")))
    assert among(traits, ()) == traits
    assert [t.word for t in among(traits, ("wolf", "owl", "wolf"))] == ["wolf", "owl"]
    with pytest.raises(BadInput, match="no built-in trait 'wolv'; did you mean 'wolf'"):
        among(traits, ("wolv",))


def test_a_scan_goes_through_on_a_real_ones_shape_by_sketches(real: Path, tmp_path: Path) -> None:
    """Noise for weights: what is shown is that every part takes such a model and says how it went about it."""
    effort = Effort(suspect_rows=8, suspect_steps=2, suspect_batch=4, together=4, kept=DIMS)
    keeper, stages = Store(tmp_path / "store"), Stages(tmp_path, real.parent / "base", Sizes(60, 1e-2, 12, 6, effort))
    keeper.get(stages.corpus)
    told, audit = stages.scanned(keeper), stages.audit(keeper)
    found = audit.read(keeper)
    assert sorted(t["trait"] for t in found["traits"]) == sorted(t.word for t in SCANNED)
    assert [d["name"] for d in found["detectors"] if not d["ran"]] == ["against the control"]
    assert len(found["assumes"]) == 2
    assert f"{DIMS:,} numbers" in found["assumes"][1]
    assert (told["suspects"], told["audited"]["looked_at"]) == (10, 12)
    templates, panel = audit.naming.panel.read(keeper), audit.naming.panel
    assert templates.direction_KP.shape[1] == told["numbers"] <= DIMS
    for suspect in panel.suspects:
        assert isinstance(suspect.gradient.rows, Corpus)
        model = suspect.gradient.rows.samples.model
        assert isinstance(model, Teacher)
        assert (keeper.path(model) / "adapter_model.safetensors").is_file()
        assert not (keeper.path(model) / "model.safetensors").exists()
    page, direction = ScanPage(scan=audit), PanelDirection(panel=panel, word=templates.words[0])
    _make(keeper, page, direction)
    assert "count sketch" in (keeper.path(page) / "index.html").read_text()
    first_D = templates.direction_KP[0] * templates.weight_P
    moves = unfolded(open_ref(panel.own.student), first_D, DIMS)
    np.testing.assert_array_equal(direction.read(keeper), torch.cat(moves).numpy())
