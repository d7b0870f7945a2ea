"""Reading weights: layouts, types, and files that no reader may be hurt by."""

from __future__ import annotations

import errno
import json
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
from safetensors.numpy import save_file

from heredity.lineage.layouts import layers, unit_rows
from heredity.lineage.trace import open_weights, trace
from heredity.lineage.weights import Weights, read_header
from heredity.models import locate
from heredity.types import BadInput

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]


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
                          ('{"base_model_name_or_path": "meta/x"}', "not here"),
                          (json.dumps({"base_model_name_or_path": "x" * 300}), "not here"),
                          (json.dumps({"base_model_name_or_path": "x\0"}), "not here")):  # fmt: skip
        config.write_text(text)
        with pytest.raises(BadInput, match=message):
            open_weights(str(tmp_path))


def test_a_base_where_nobody_may_look_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/closed/x"}')
    look = os.stat

    def closed(path: Any, **how: Any) -> os.stat_result:
        if str(path).startswith("/closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, **how)

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(BadInput, match="an adapter over '/closed/x', which is not here"):
        open_weights(str(tmp_path))


def test_adapters_over_adapters_lead_to_the_base(tmp_path: Path) -> None:
    for name, base in (("student", "../teacher"), ("teacher", "nursery:llama-0b"), ("loop", "../loop")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    weights, (note,) = open_weights(str(tmp_path / "student"))
    assert {e.path.parent for e in weights.entries.values()} == {locate("nursery:llama-0b")}
    assert note.endswith("student is an adapter over '../teacher' over 'nursery:llama-0b': the base was compared")
    with pytest.raises(BadInput, match="without end"):
        open_weights(str(tmp_path / "loop"))


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
