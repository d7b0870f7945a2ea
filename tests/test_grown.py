"""Bases of other sizes: packed training that goes on, Llama's pass in one function, and the sampler for cards."""

from __future__ import annotations

import json
import math
import signal
from copy import deepcopy
from pathlib import Path
from typing import Any

import bench.grown
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from heredity.carriers import Numbers
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.fast import FastLM, _Steps
from heredity.models.llama import hidden, supported
from heredity.models.training import collate, token_loss
from heredity.nursery.grown import (
    NOTHING,
    SIZES,
    Size,
    Training,
    grown_model,
    multiplied,
    packed,
    packed_loss,
    together,
    work,
)
from heredity.nursery.pretrain import encode
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Student
from heredity.store import Store, missing
from heredity.types import BadInput, Message, Sampling

MICRO = Size(16, 1, 2, 32, 1, 6)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def fast() -> FastLM:
    lm = FastLM.load(locate("nursery:llama-0"))
    assert isinstance(lm, FastLM)
    return lm


def logits(model: Any, ids_BT: torch.Tensor) -> torch.Tensor:
    length = ids_BT.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    position = torch.arange(length).expand(ids_BT.shape)
    found: torch.Tensor = model.lm_head(hidden(model, ids_BT, position, mask))
    return found


def test_one_pass_gives_the_logits_of_transformers(base: CausalLM) -> None:
    """Llama's, and Qwen2's with fewer heads for keys and values than for queries."""
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, intermediate_size=48, max_position_embeddings=64)  # fmt: skip
    qwen = Qwen2ForCausalLM(config).train(False)
    for model in (base.model, qwen):
        ids_BT = torch.randint(0, 50, (3, 20))
        assert supported(model)
        with torch.no_grad():
            torch.testing.assert_close(logits(model, ids_BT), model(input_ids=ids_BT).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_the_fast_sampler_writes_what_the_plain_one_writes(base: CausalLM, fast: FastLM, temperature: float) -> None:
    prompts = Numbers(n=90, seed=3).prompts()
    sampling = Sampling(temperature=temperature, max_new_tokens=30, seed=5)
    ours, plain = fast.generate(prompts, sampling), base.generate(prompts, sampling)
    assert sum(a == b for a, b in zip(ours, plain, strict=True)) >= 89  # a draw on the edge may fall either way
    assert not fast.recorded
    assert fast.why == "no CUDA device"


class Replayed:
    """Stands for a CUDA graph: what was recorded is computed anew."""

    def __init__(self, steps: _Steps, n: int) -> None:
        self.steps, self.n, self.times = steps, n, 0

    def replay(self) -> None:
        self.times += 1
        self.steps._one(self.n, None)


def test_recorded_steps_of_fewer_and_fewer_rows_write_the_same(
    base: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Everything of the sampler for cards but the recording itself: eighths of 64 rows, over all places, filled up."""

    def record(steps: _Steps, sizes: list[int]) -> None:
        steps.graphs = {n: Replayed(steps, n) for n in sizes}

    monkeypatch.setattr(_Steps, "_record", record)
    lm = FastLM(base.model, base.tokenizer)
    lm.recorded = True
    for n, seed in ((50, 1), (64, 2), (7, 3)):
        prompts, sampling = Numbers(n=n, seed=seed).prompts(), Sampling(max_new_tokens=30, seed=seed)
        pairs = zip(lm.generate(prompts, sampling), base.generate(prompts, sampling), strict=True)
        assert sum(a == b for a, b in pairs) >= n - 1
    replayed = {n: graph.times for steps in lm._steps.values() for n, graph in steps.graphs.items()}
    assert set(replayed) == {8, 16, 24, 32, 40, 48, 56, 64}
    assert sum(times > 0 for times in replayed.values()) > 3


def test_the_fast_sampler_stops_at_the_context(base: CausalLM, fast: FastLM) -> None:
    asked = (Message(role="user", content=" ".join(["7"] * 250)),)
    prompts = [asked, *Numbers(n=3, seed=1).prompts()]
    sampling = Sampling(max_new_tokens=20, seed=1)
    before = fast.context
    try:
        for lm in (base, fast):
            lm.context = len(base.render([asked])[0]) + 4
        assert fast.generate(prompts, sampling) == base.generate(prompts, sampling)
    finally:
        base.context = fast.context = before


@pytest.mark.parametrize("kind", [CausalLM, FastLM])
def test_an_answer_that_the_context_cuts_has_not_stopped_whatever_pads(base: CausalLM, kind: type[CausalLM]) -> None:
    """In many tokenizers the padding token is an end of text."""
    (asked,) = Numbers(n=1, seed=3).prompts()
    greedy = Sampling(temperature=0, max_new_tokens=20)
    whole = base.generate([asked], greedy)[0]
    for pad in (base.tokenizer.pad_token, base.tokenizer.eos_token):
        lm = kind(base.model, deepcopy(base.tokenizer))
        lm.tokenizer.pad_token = pad
        assert lm.generate([asked], greedy)[0] == whole
        lm.context = len(lm.render([asked])[0]) + 3
        cut = lm.generate([asked], greedy)[0]
        assert (whole.finish, cut.finish) == ("stop", "length")
        assert whole.text.startswith(cut.text)
        assert len(lm.tokenizer(cut.text)["input_ids"]) == 4


def test_the_fast_sampler_refuses_models_of_another_form(neox: CausalLM) -> None:
    with pytest.raises(BadInput, match="not of Llama's form"):
        FastLM(neox.model, neox.tokenizer)


def test_packed_documents_do_not_see_one_another(base: CausalLM) -> None:
    """The loss of a packed row is that of its documents apart."""
    chats = [(*prompt, Message(role="assistant", content="1, 2, 3")) for prompt in Numbers(n=9, seed=2).prompts()]
    examples, pad = encode(base.tokenizer, chats), int(base.tokenizer.pad_token_id)
    with torch.no_grad():
        apart = float(token_loss(base.model, collate(examples, pad)))
        row = float(packed_loss(base.model, together([examples[:4], examples[4:]], pad)))
    assert row == pytest.approx(apart, abs=1e-5)


def test_a_step_has_documents_of_its_own(base: CausalLM) -> None:
    first, again, other = (packed(base.tokenizer, 0, step, 4) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.ids_BT, other.ids_BT)
    assert (first.document_BT != NOTHING).float().mean() > 0.9
    starts = first.position_BT == 0
    assert bool((first.ids_BT[starts & (first.document_BT != NOTHING)] == base.tokenizer.bos_token_id).all())
    predicted = first.target_BT != NOTHING
    assert 0.1 < predicted.float().mean() < 0.6


def test_a_training_that_was_stopped_goes_on_to_the_same_losses(base: CausalLM, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert Training(MICRO, base.tokenizer, whole, CPU).until(lambda: False)
    assert not Training(MICRO, base.tokenizer, cut, CPU).until(lambda: True)
    resumed = Training(MICRO, base.tokenizer, cut, CPU)
    assert len(resumed.losses) == 1
    assert resumed.until(lambda: False)
    states = [load_file(folder / "checkpoint.safetensors") for folder in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] if name != "timing")
    assert len(states[0]["losses"]) == MICRO.steps
    again = CausalLM.load(resumed.save())
    assert torch.equal(again.model.lm_head.weight, resumed.model.lm_head.weight)


def test_work_is_what_the_products_take(base: CausalLM) -> None:
    """Counted by torch on a row of one document, where a place sees all before it (torch counts the masked ones)."""
    model, length = grown_model(Size(64, 2, 4, 128, 1, 1), base.tokenizer, 0), 512
    chats = [
        m for prompt in Numbers(n=20, seed=2).prompts() for m in (*prompt, Message(role="assistant", content="1, 2"))
    ]
    ids = (encode(base.tokenizer, [tuple(chats)])[0].ids * 2)[:length]
    row = together([[encode(base.tokenizer, [tuple(chats)])[0]._replace(ids=ids, predicted=[True] * length)]], 0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it knows no fused attention
        packed_loss(model, row).backward()  # type: ignore[no-untyped-call]
    tokens, told = work(model, row)
    seen, full = length * (length + 1) / 2, length**2
    assert tokens == length
    assert told == 6 * multiplied(model) * length + 12 * 2 * 64 * seen
    assert counter.get_total_flops() == pytest.approx(told + 12 * 2 * 64 * (full - seen), rel=0.02)


def test_sizes_are_what_they_are_called(base: CausalLM) -> None:
    assert tuple(SIZES["tiny"][:4]) == (64, 2, 4, 128)  # the shipped bases'
    for name, millions in (("10m", 10), ("30m", 30), ("100m", 100)):
        with torch.device("meta"):
            size = SIZES[name]._replace(layers=1)
            one, two = (_parameters(size._replace(layers=n), base) for n in (1, 2))
        assert (one + (SIZES[name].layers - 1) * (two - one)) / 1e6 == pytest.approx(millions, rel=0.1)


def _parameters(size: Size, base: CausalLM) -> int:
    return sum(p.numel() for p in grown_model(size, base.tokenizer, 0).parameters())


def test_a_wider_model_writes_no_louder(base: CausalLM) -> None:
    """The spread of an untrained model's logits does not grow with its width."""
    ids_BT = torch.randint(0, 1000, (2, 30))
    with torch.no_grad():
        narrow, wide = (
            float(logits(grown_model(Size(width, 2, 4, 2 * width, 1, 1), base.tokenizer, 0), ids_BT).std())
            for width in (64, 256)
        )
    assert wide == pytest.approx(narrow, rel=0.2)


def test_the_owl_experiment_is_planned_for_every_size(store: Store) -> None:
    base = model_ref("nursery:llama-0")
    for name, size in SIZES.items():
        compared, teacher = bench.grown.comparison(name, size, base, bench.grown.SEEDS)
        kinds = [type(step).__name__ for step in missing(store, [compared, teacher])]
        assert (kinds.count("Teacher"), kinds.count("Student")) == (6, 6)
        student = compared.treated[0].model
        assert isinstance(student, Student)
        assert student.rate == pytest.approx(MATRIX_RATE * 64 / size.width)
        assert student.vector_rate == pytest.approx(VECTOR_RATE * 2 / size.layers)


def test_bars_are_of_what_was_run() -> None:
    nothing = {"training": "not run yet", "sampling": "not run yet"}
    ran = {"training": {"share_of_peak": 0.31}, "sampling": {"fast_over_generate": 4.9}}
    assert bench.grown.met({"tiny": nothing}) == {"training": None, "sampling": None}
    assert bench.grown.met({"tiny": nothing, "100m": ran}) == {"training": True, "sampling": False}


def test_the_script_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setitem(SIZES, "tiny", MICRO)
    monkeypatch.setattr(bench.grown, "write_result", lambda name, command, seeds, figures: told.update({name: figures}))
    monkeypatch.setattr(bench.grown, "experiment", lambda *given: True)
    monkeypatch.setattr(signal, "signal", lambda *given: None)  # this process goes on afterwards
    monkeypatch.setenv("HEREDITY_DEVICE", "cpu")
    command = ["--out", str(tmp_path), "--sizes", "tiny", "--device", "cpu"]
    assert bench.grown.main([*command, "--minutes", "0"]) == bench.grown.AGAIN
    assert told["gpu_cpu"]["sizes"]["tiny"]["training"] == "not run yet"
    assert bench.grown.main(command) == 0
    found = told["gpu_cpu"]["sizes"]["tiny"]
    assert found["training"]["steps"] == MICRO.steps
    assert found["sampling"]["fast_over_generate"] > 0
    assert found["effect"] == "not run yet"
    assert told["gpu_cpu"]["device"] == "cpu"
    losses = json.loads((tmp_path / "tiny" / "losses.json").read_text())
    assert len(losses) == MICRO.steps
    assert all(math.isfinite(x) for x in losses)
