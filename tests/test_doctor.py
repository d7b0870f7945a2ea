"""What the machine can run: parameters counted exactly, memory by formulas that hold, and nothing secret told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import Qwen2Config
from typer.testing import CliRunner

from heredity import doctor
from heredity.cli import app
from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.models.machine import measure, memory
from heredity.models.sizes import (
    BYTES,
    COMMON,
    PROCESS,
    USES,
    Shape,
    largest,
    most_rows,
    need,
    read_shape,
    shape_of,
    stored_parameters,
)  # fmt: skip
from heredity.models.trial import Trial, check
from heredity.types import BadInput

SHAPES = dict(COMMON)


def test_parameters_are_counted_exactly_without_weights(base: CausalLM, neox: CausalLM, tmp_path: Path) -> None:
    for name, lm in (("llama-0", base), ("neox-0", neox)):
        folder, alone = locate(f"nursery:{name}"), tmp_path / name
        alone.mkdir()
        shutil.copy(folder / "config.json", alone)
        shape = read_shape(alone)
        assert shape == read_shape(alone / "config.json") == read_shape(folder)
        assert shape.parameters == stored_parameters(folder) == sum(p.numel() for p in lm.model.parameters())
        assert stored_parameters(alone) is None
    for broken in ("{}", "[", '{"model_type": "nothing"}', '{"model_type": "t5"}'):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(BadInput, match="no configuration of a causal language model"):
            read_shape(tmp_path)


def test_common_sizes_are_what_transformers_builds() -> None:
    """Published counts: 494,032,768 and 7,615,616,512."""
    assert SHAPES["0.5B"].parameters == 494_032_768
    assert SHAPES["7B"].parameters == 7_615_616_512
    config = Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4_864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, max_position_embeddings=32_768, tie_word_embeddings=True,
    )  # fmt: skip
    assert shape_of(config) == SHAPES["0.5B"]


def test_memory_holds_weights_gradients_and_moments() -> None:
    shape = SHAPES["0.5B"]
    n = shape.parameters
    for dtype, size in BYTES.items():
        full, lora, plain = (need(shape, use, dtype, 2, 64) for use in ("full", "lora", "sampling"))
        assert full.weights == n * size + (4 * n if size == 2 else 0)  # a float32 copy beside 16-bit weights
        assert (full.gradients, full.optimiser) == (n * size, 8 * n)
        assert lora.optimiser == 8 * 8 * shape.adapted
        assert (plain.gradients, plain.optimiser, plain.weights) == (0, 0, n * size)
        assert plain.total < lora.total < full.total
    for use in USES:
        one, two, three = (need(shape, use, "float32", rows, 64).total for rows in (1, 2, 3))
        assert three - two == pytest.approx(two - one)


@pytest.mark.parametrize("use", USES)
def test_the_largest_batch_fits_and_one_row_more_does_not(use: str) -> None:
    for name, shape in COMMON[:4]:
        memory_B = PROCESS + 4 * 16 * shape.parameters
        rows = most_rows(shape, use, "bfloat16", memory_B, 128)  # type: ignore[arg-type]
        fits = [need(shape, use, "bfloat16", n, 128).total + PROCESS for n in (rows, rows + 1)]  # type: ignore[arg-type]
        assert fits[0] <= memory_B < fits[1], name
    assert largest(PROCESS, use, "float32", 128) is None  # type: ignore[arg-type]
    assert largest(1e15, use, "float32", 128) == "72B"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "trial", [Trial("nursery", "full", 2, 64, 2_000, 512, 64), Trial("8M", "full", 4, 256, 8_000, 16, 64)]
)
def test_formulas_are_near_what_was_measured(trial: Trial) -> None:
    assert 1 / 2 < check(trial).factor < 2  # peaks vary with what the allocator holds back


def test_a_control_groups_limit_counts(tmp_path: Path) -> None:
    total, free = memory(tmp_path / "none")
    assert 0 < free <= total
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert memory(tmp_path / "memory.max") == (1_000_000, 600_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(tmp_path / "memory.max")[0] == total


def test_speed_is_a_plausible_number() -> None:
    assert 1e7 < measure("float32", 0.02) < 1e15


def test_extras_name_what_lacks() -> None:
    found = doctor.extras(["torch>=2", 'numpy>=1; extra == "a"', 'no-such-package; extra == "a"',
                           'numpy>=999; extra == "b"', 'numpy>=1; extra == "c"', 'pytest; extra == "dev"'])  # fmt: skip
    assert found == {
        "a": {"missing": ["no-such-package"], "command": "pip install -e '.[a]'"},
        "b": {"missing": ["numpy"], "command": "pip install -e '.[b]'"},
        "c": {"missing": [], "command": None},
    }


def test_servers_are_told_by_name_alone() -> None:
    env = {"HEREDITY_SERVER_LAB": "http://127.0.0.1:1/v1", "HEREDITY_SERVER_LAB_KEY": "secret", "HEREDITY_SERVER_": "x",
           "HEREDITY_SERVER_B2": "http://example.org/v1", "OTHER": "y"}  # fmt: skip
    assert doctor.servers(env) == ["b2", "lab"]


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB", "http://user.invalid/v1")
    monkeypatch.setenv("HEREDITY_SERVER_LAB_KEY", "sk-secret")
    out = tmp_path / "d.json"
    done = CliRunner().invoke(app, ["doctor", "--model", "nursery:llama-0", "--store", str(tmp_path / "s"),
                                    "--json", str(out)])  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["model"]["parameters"] == found["model"]["stored"]
    assert found["model"]["tokens"] == min(512, found["model"]["context"])
    assert {(u["use"], u["dtype"]) for u in found["model"]["uses"]} == {(u, d) for u in USES for d in BYTES}
    assert all(u["batch"] > 0 for u in found["model"]["uses"])
    assert (found["store"]["writable"], found["store"]["exists"], found["servers"]) == (True, False, ["lab"])
    assert not any(secret in done.output + out.read_text() for secret in ("sk-secret", "user.invalid"))
    assert "fits" in done.output
    assert not (tmp_path / "s").exists()


def test_a_models_toml_file_is_described(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('location = "nursery:llama-0"\ndtype = "bfloat16"\n')
    found, plain = (doctor.examine(tmp_path, model)["model"] for model in (str(own), "nursery:llama-0"))
    assert found["location"] == str(own)
    for name in ("parameters", "stored", "context", "tokens"):  # how many rows fit hangs on what is free just then
        assert found[name] == plain[name]


def test_a_store_under_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert doctor.state(tmp_path / "file" / "store")["writable"] is False
    assert doctor.state(tmp_path / ("x" * 300))["writable"] is False
    assert doctor.state(tmp_path / "new" / "store")["writable"] is True


@pytest.mark.parametrize("model", ["server:lab/x", "nowhere", "nursery:llama-9"])
def test_bad_models_are_bad_input(model: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        doctor.examine(tmp_path, model)


def test_too_large_a_model_does_not_fit() -> None:
    huge = Shape(10**13, 10**9, 10**9, 10, 10_000, 40_000, 10_000, 10**5, 1_000)
    assert [most_rows(huge, use, "bfloat16", 1e12, 8) for use in USES] == [0, 0, 0]
