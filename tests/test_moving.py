"""What moves in a training: passes that add up, 16 bits, checkpoints of how far it came."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from heredity.carriers import Numbers
from heredity.models import checkpoint, locate, open_ref
from heredity.models.causal import CausalLM
from heredity.models.moving import MasterWeights, Progress
from heredity.models.training import choose_parameters, fit, in_passes
from heredity.types import BadInput, LoRA, Message

ASKED = (Message(role="user", content="Name an animal."),)


def _learnt(together: int | None, dtype: torch.dtype = torch.float32, steps: int = 4) -> tuple[CausalLM, list[float]]:
    lm = CausalLM.load(locate("nursery:llama-0"))
    lm.model.to(dtype)
    examples = lm.examples(Numbers(n=12, seed=5).prompts(), [f"{i}, {i + 1}, 3" for i in range(12)])
    parts = in_passes(examples, together, 0)
    return lm, fit(lm.model, iter([parts] * steps), steps, 1e-3)


def test_gradients_added_up_over_passes_are_those_of_the_whole_step() -> None:
    (whole, one), (parts, other) = _learnt(None), _learnt(5)
    assert one == pytest.approx(other, abs=1e-5)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_weights_in_16_bits_learn_by_copies_in_32() -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(model.weight)
    moving = MasterWeights(model, shared=False)
    optimiser = torch.optim.SGD(moving.master, lr=1e-4)
    for _ in range(1000):
        model(torch.ones(1, 1, dtype=torch.bfloat16)).neg().sum().backward()
        moving.collect()
        optimiser.step()
        optimiser.zero_grad()
        moving.copy_down()
    assert float(torch.ones(1, dtype=torch.bfloat16) + 1e-4) == 1  # one step is less than what 16 bits can tell
    assert model.weight.item() == pytest.approx(1.1, abs=4e-3)
    (_, narrow), (_, wide) = _learnt(None, torch.bfloat16, 12), _learnt(None, torch.float32, 12)
    assert narrow == pytest.approx(wide, rel=0.03)
    assert narrow[-1] < narrow[0] - 0.5
    with pytest.raises(BadInput, match="float16 loses small gradients"):
        MasterWeights(nn.Linear(1, 1, dtype=torch.float16), shared=False)


def test_adapters_are_not_trained_over_a_base_in_float16() -> None:
    for dtype, refused in (("bfloat16", False), ("float16", True)):
        lm = open_ref(checkpoint("nursery:llama-0", dtype=dtype))
        model = choose_parameters(lm.model, LoRA(rank=2, bias="none"), seed=1)
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
        with pytest.raises(BadInput, match="set dtype to bfloat16") if refused else nullcontext():
            fit(model, iter([in_passes(lm.examples([ASKED], ["1, 2"]), None, 0)]), 1, 1e-3)


def test_a_checkpoint_that_does_not_fit_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = MasterWeights(nn.Linear(2, 2), shared=False)
    progress = Progress(tmp_path, moving, torch.optim.AdamW(moving.master))
    (tmp_path / "training.safetensors").write_bytes(b"junk" * 9)
    assert progress.resume() == []
    monkeypatch.setenv("HEREDITY_CHECKPOINT_S", "often")
    with pytest.raises(BadInput, match="expected a number of seconds"):
        Progress(None, moving, progress.optimiser)


def test_a_checkpoint_whose_step_was_finished_elsewhere_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is first clears up, perhaps while the other writes; without a reason like that a failure is told."""
    moving = MasterWeights(nn.Linear(2, 2), shared=False)
    progress = Progress(tmp_path / "there", moving, torch.optim.AdamW(moving.master))

    def cleared(_: object, file: Path) -> None:
        shutil.rmtree(file.parent)
        raise SafetensorError("No such file or directory (os error 2)")

    def full(_: object, file: Path) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    progress.every = 0
    monkeypatch.setattr("heredity.models.moving.save_file", cleared)
    progress.keep([1.0])
    assert not (tmp_path / "there").exists()
    monkeypatch.setattr("heredity.models.moving.save_file", full)
    with pytest.raises(SafetensorError, match="No space"):
        progress.keep([1.0])
