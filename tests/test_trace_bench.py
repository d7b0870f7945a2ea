"""The trace benchmark's own parts: files of a given shape, errors over pairs that share models, mangled files."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from bench.trace_fuzz import READERS, fuzz
from bench.trace_null import clustered
from bench.trace_pairs import pruned, reordered, rounded, spoke, turned
from bench.trace_shapes import Shape, reorder, tensors, write_model

from heredity.lineage.layouts import layers
from heredity.lineage.trace import trace
from heredity.lineage.weights import Weights

SMALL = Shape(4, 128, 160, 64)


def test_no_mangled_file_crashes_a_reader(tmp_path: Path) -> None:
    """A small part of what `make bench-trace` does."""
    found = fuzz(tmp_path, 1_600, 7)
    assert found["fuzz_first_crashes"] == []
    assert found["fuzz_inputs"] == 1_600
    assert found["fuzz_accepted"].keys() == READERS.keys()  # some of each kind were read all the same


def test_written_models_are_models_and_are_related_as_said(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    one = write_model(tmp_path / "one", SMALL, 0, rows=None)
    assert trace(str(one), str(write_model(tmp_path / "other", SMALL, 1, rows=None))).verdict == "unrelated"
    child = trace(str(one), str(write_model(tmp_path / "child", SMALL, 2, parent=0, rows=None)))
    assert child.verdict == "related"
    assert child.mean_cosine == pytest.approx(2 / math.sqrt(5), abs=0.01)
    loaded = AutoModelForCausalLM.from_pretrained(one, local_files_only=True)
    named = dict(loaded.named_parameters())
    assert {k: tuple(p.shape) for k, p in named.items()} == {k: v for shard in tensors(SMALL) for k, v in shard.items()}
    up = named["model.layers.3.mlp.up_proj.weight"].detach().float().numpy()
    assert np.array_equal(Weights(one).take("model.layers.3.mlp.up_proj.weight", 160), up)


def test_a_reordered_model_is_found_by_its_matched_units(tmp_path: Path) -> None:
    one, two = (write_model(tmp_path / name, SMALL, 0, rows=None) for name in ("one", "two"))
    reorder(two, 1)
    found = trace(str(one), str(two))
    assert spoke(found) == ["matched"]
    assert found.matched_share == 1


def test_a_written_part_is_the_part_that_a_trace_reads(tmp_path: Path) -> None:
    weights = Weights(write_model(tmp_path / "part", SMALL, 0, rows=48))
    for layer in layers(weights):
        for part in layer.parts:
            assert weights.take(part.name, 48, part.columns).std() == pytest.approx(0.02, rel=0.1)
            assert not weights.take(part.name, 50, part.columns)[48:].any()


def test_rates_over_pairs_that_share_models_are_less_sure() -> None:
    rng, models = np.random.default_rng(0), 40
    pairs = list(itertools.combinations(range(models), 2))
    alone = clustered(rng.random(len(pairs)) < 0.2, pairs)
    assert alone["se"] == pytest.approx(math.sqrt(0.16 / len(pairs)), rel=0.4)
    odd = rng.random(models) < 0.2
    shared = clustered(np.array([odd[i] or odd[j] for i, j in pairs]), pairs)
    rates = []
    for _ in range(400):  # the truth: how far the rate itself varies from one draw of models to the next
        odd = rng.random(models) < 0.2
        rates.append(np.mean([odd[i] or odd[j] for i, j in pairs]))
    assert shared["se"] == pytest.approx(np.std(rates), rel=0.4)
    assert shared["se"] > 5 * math.sqrt(shared["rate"] * (1 - shared["rate"]) / len(pairs))


def test_changes_do_what_they_say() -> None:
    rng = np.random.default_rng(1)
    for up, down in (("layers.0.mlp.up_proj.weight", "layers.0.mlp.down_proj.weight"),
                     ("encoder.layer.0.intermediate.dense.weight", "encoder.layer.0.output.dense.weight")):  # fmt: skip
        into, out = rng.normal(size=(12, 5)).astype(np.float32), rng.normal(size=(5, 12)).astype(np.float32)
        assert np.allclose(reordered(down, out) @ reordered(up, into), out @ into, atol=1e-5)
        assert not np.allclose(reordered(up, into), into)
        assert np.allclose(turned(up, into) @ turned(up, into).T, into @ into.T, atol=1e-5)
        assert not np.allclose(turned(down, out), out)
    same = rng.normal(size=(12, 5)).astype(np.float32)
    assert reordered("encoder.layer.0.attention.output.dense.weight", same) is same
    assert (pruned("", same) == 0).mean() == 0.5
    assert 0 < np.abs(rounded("", same) - same).max() < np.abs(same).max() / 200
