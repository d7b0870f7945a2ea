"""Nursery bases of other sizes: their shapes, packed batches of the language, and a training that can be stopped.

Documents are short (about 41 tokens), so rows are filled with several of them, each of which sees itself alone: every
step has the same shape, with little padding, which a card needs. A step's documents follow from the seed and the step's
number, so that a training that was stopped goes on with the data it would have had.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from heredity.models.llama import hidden
from heredity.models.training import Example, _groups
from heredity.nursery import language
from heredity.nursery.pretrain import HEAD_INIT, INIT, RATE, WIDTH, encode
from heredity.nursery.tokenizer import CONTEXT

NOTHING = -100
"""Stands for no target, and for padding's document."""
LONG_PART = 0.04
"""Part of the documents that are few-shot ones; the shipped bases have as many."""
WARMUP, BETAS, WEIGHT_DECAY = 100, (0.9, 0.99), 0.01
CHECKPOINT_S = 60.0
_UNTIMED = 10
"""Steps at the start of a piece that are not timed: compiling, and the card's clocks."""


class Size(NamedTuple):
    """A base's shape, and how long it is trained."""

    width: int
    layers: int
    heads: int
    inner: int
    rows: int
    """Rows of CONTEXT tokens in a step."""
    steps: int


SIZES = {
    "tiny": Size(64, 2, 4, 128, 8, 400),
    "10m": Size(320, 8, 5, 832, 32, 2_000),
    "30m": Size(512, 9, 8, 1_408, 64, 1_500),
    "100m": Size(768, 14, 12, 2_048, 96, 1_200),
}
"""The first has the shipped bases' shape; heads of the others are 64 wide."""


class Packed(NamedTuple):
    """Rows that hold several documents each, (B, T)."""

    ids_BT: Tensor
    position_BT: Tensor
    """Places within the own document."""
    document_BT: Tensor
    """Which document of its row a token belongs to; NOTHING for padding."""
    target_BT: Tensor
    """The token that follows, where it is predicted; else NOTHING."""


class Timing(NamedTuple):
    """What was timed of a training, in tokens that are no padding."""

    tokens: float
    flops: float
    seconds: float
    waited: float
    """Of these seconds, those in which the data was not there yet."""


def grown_model(size: Size, tokenizer: Any, seed: int) -> Any:
    """An untrained base of a size; at the shipped bases' width its weights spread as theirs do.

    Weight matrices and the head spread less in wider models (1 / sqrt(width)), so that what they write does not grow.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size.width, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.heads, intermediate_size=size.inner,
        max_position_embeddings=CONTEXT, tie_word_embeddings=False, initializer_range=INIT, attention_bias=True,
        mlp_bias=True, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    narrower = math.sqrt(WIDTH / size.width)
    with torch.no_grad():
        for name, weight in model.model.layers.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                weight.mul_(narrower)
    nn.init.normal_(model.lm_head.weight, std=HEAD_INIT * narrower)
    return model


def packed(tokenizer: Any, seed: int, step: int, rows: int) -> Packed:
    """The documents of one step, in rows of CONTEXT tokens."""
    rng, lines = random.Random(f"grown {seed} {step}"), [list[Example]()]
    while len(lines) <= rows:
        kinds = (language.long_document if rng.random() < LONG_PART else language.short_document for _ in range(64))
        for example in encode(tokenizer, [write(rng) for write in kinds]):
            if sum(len(e.ids) for e in lines[-1]) + len(example.ids) > CONTEXT:
                lines.append([])
            lines[-1].append(example)
    return together(lines[:rows], int(tokenizer.pad_token_id))


def together(lines: Sequence[Sequence[Example]], pad: int) -> Packed:
    """Each line's documents in one row of CONTEXT tokens."""
    shape = (len(lines), CONTEXT)
    found = Packed(*(torch.full(shape, fill) for fill in (pad, 0, NOTHING, NOTHING)))
    for b, line in enumerate(lines):
        at = 0
        for which, (ids, predicted) in enumerate(line):
            place = slice(at, at + len(ids))
            found.ids_BT[b, place] = torch.tensor(ids)
            found.position_BT[b, place] = torch.arange(len(ids))
            found.document_BT[b, place] = which
            told = [i if p else NOTHING for i, p in zip(ids[1:], predicted[1:], strict=True)]
            found.target_BT[b, at : at + len(told)] = torch.tensor(told, dtype=torch.long)
            at += len(ids)
    return found


def packed_loss(model: Any, batch: Packed) -> Tensor:
    """Mean negative log-likelihood (nats per predicted token) of packed documents."""
    length, document_BT = batch.ids_BT.shape[1], batch.document_BT
    causal_TT = torch.ones(length, length, dtype=torch.bool, device=document_BT.device).tril()
    mask_B1TT = (causal_TT & (document_BT[:, :, None] == document_BT[:, None, :]))[:, None]
    logits_BTV = model.lm_head(hidden(model, batch.ids_BT, batch.position_BT, mask_B1TT))
    return nn.functional.cross_entropy(
        logits_BTV.flatten(0, 1).float(), batch.target_BT.flatten(), ignore_index=NOTHING
    )


def work(model: Any, batch: Packed) -> tuple[int, float]:
    """Tokens of a batch that are no padding, and the floating-point operations of training on them.

    6 N for each token, N the parameters but the input embedding (which is looked up, not multiplied), and 12 L D for
    each position that a token looks at, with L layers of width D (Kaplan et al. 2020, section 2.1; Chowdhery et al.
    2022, appendix B, there for rows without documents). What is computed beside that (padding, masked places) counts
    nothing.
    """
    own = batch.document_BT != NOTHING
    tokens, seen = int(own.sum()), int((batch.position_BT + 1)[own].sum())
    config = model.config
    return tokens, 6.0 * multiplied(model) * tokens + 12.0 * config.num_hidden_layers * config.hidden_size * seen


def multiplied(model: Any) -> int:
    """Parameters but those of the input embedding."""
    total: int = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    return total


class _Data(Dataset[Packed]):
    """Step by step, packed documents."""

    def __init__(self, tokenizer: Any, seed: int, size: Size) -> None:
        self.tokenizer, self.seed, self.size = tokenizer, seed, size

    def __len__(self) -> int:
        return self.size.steps

    def __getitem__(self, step: int) -> Packed:
        return packed(self.tokenizer, self.seed, step, self.size.rows)


class Training:
    """A base's pretraining, kept in a folder: `until` goes on from the last checkpoint, to the same losses.

    On CUDA it computes in bfloat16 (autocast, float32 weights) with a compiled pass; elsewhere in float32. Matrices are
    trained at a rate that falls with the width; at the shipped bases' width it is theirs.
    """

    def __init__(self, size: Size, tokenizer: Any, folder: Path, device: torch.device, seed: int = 0) -> None:
        self.size, self.tokenizer, self.folder, self.device, self.seed = size, tokenizer, folder, device, seed
        self.model: Any = grown_model(size, tokenizer, seed).to(device)
        self.rate = RATE * WIDTH / size.width
        self.parameters = list(self.model.parameters())
        self.optimiser = torch.optim.AdamW(
            _groups(self.parameters, self.rate, self.rate), betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.losses: list[Tensor] = []
        self.timing = Timing(0, 0, 0, 0)
        self.compiled = ""
        self._resume()

    @property
    def done(self) -> bool:
        """Whether all steps were made."""
        return len(self.losses) >= self.size.steps

    def until(self, stop: Callable[[], bool], workers: int = 0) -> bool:
        """Trains until all steps are made or `stop` says so, and keeps a checkpoint; whether all were made."""
        loss = self._loss()
        steps = range(len(self.losses), self.size.steps)
        data: Any = DataLoader(
            _Data(self.tokenizer, self.seed, self.size), batch_size=None, sampler=steps, num_workers=workers,
            pin_memory=self.device.type == "cuda",
        )  # fmt: skip
        self.model.train()
        clock, saved = _Clock(self.device), time.monotonic()
        for count, batch in enumerate(clock.waited_for(data)):
            if count == _UNTIMED:
                clock.start()
            self._step(Packed(*(x.to(self.device, non_blocking=True) for x in batch)), loss)
            clock.count(*work(self.model, Packed(*batch)))
            if stop():
                break
            if time.monotonic() - saved > CHECKPOINT_S:
                self._keep(clock.stop())
                clock.start()
                saved = time.monotonic()
        self.model.eval()
        self._keep(clock.stop())
        return self.done

    def _loss(self) -> Callable[[Any, Packed], Tensor]:
        """The loss, compiled on a card; plain where that fails, with the reason in `compiled`."""
        if self.device.type != "cuda":
            self.compiled = "no: no CUDA device"
            return packed_loss
        compiled = torch.compile(packed_loss, dynamic=False)
        try:
            first = packed(self.tokenizer, self.seed, 0, self.size.rows)
            self._gradients(Packed(*(x.to(self.device) for x in first)), compiled)
            self.compiled = "yes"
        except Exception as error:
            self.compiled = f"no: {type(error).__name__}: {str(error)[:200]}"
        self.optimiser.zero_grad()
        return compiled if self.compiled == "yes" else packed_loss

    def _gradients(self, batch: Packed, loss: Callable[[Any, Packed], Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            value = loss(self.model, batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def _step(self, batch: Packed, loss: Callable[[Any, Packed], Tensor]) -> None:
        step, steps = len(self.losses), self.size.steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * min((step + 1) / WARMUP, max(0.0, (steps - step) / max(1, steps - WARMUP)))
        self.losses.append(self._gradients(batch, loss))
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def _keep(self, timing: Timing) -> None:
        """Writes a checkpoint: weights, the optimiser's moments, losses and timing; whole or not at all."""
        self.timing = Timing(*(a + b for a, b in zip(self.timing, timing, strict=True)))
        state = {"losses": torch.tensor([float(x) for x in self.losses], dtype=torch.float64),
                 "timing": torch.tensor(self.timing, dtype=torch.float64)}  # fmt: skip
        for i, weight in enumerate(self.parameters):
            told = self.optimiser.state[weight]
            state |= {f"{name}.{i}": told[name].contiguous() for name in ("exp_avg", "exp_avg_sq", "step") if told}
            state[f"weight.{i}"] = weight.detach().contiguous()
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / "checkpoint.new"
        save_file(state, new)
        new.replace(self.folder / "checkpoint.safetensors")

    def _resume(self) -> None:
        file = self.folder / "checkpoint.safetensors"
        if not file.is_file():
            return
        state = load_file(file)
        self.losses, self.timing = list(state["losses"]), Timing(*state["timing"].tolist())
        with torch.no_grad():
            for i, weight in enumerate(self.parameters):
                weight.copy_(state[f"weight.{i}"])
                self.optimiser.state[weight] = {
                    name: state[f"{name}.{i}"].to(self.device) for name in ("exp_avg", "exp_avg_sq", "step")
                }

    def save(self) -> Path:
        """Writes the base as a folder that `transformers` opens, with its losses beside it."""
        out = self.folder / "base"
        self.model.save_pretrained(out)
        self.tokenizer.save_pretrained(out)
        told = [round(float(x), 4) for x in self.losses]
        (self.folder / "losses.json").write_text(json.dumps(told) + "\n")
        return out


def seconds(device: torch.device) -> float:
    """A clock: on a card time as it passes, once it has done what it was given; else this process's processor time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


class _Clock:
    """Times steps once it is started; a card is waited for at both ends only."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.running, self.started = device, False, 0.0
        self.tokens, self.flops, self.waited = 0, 0.0, 0.0

    def waited_for(self, data: Any) -> Iterator[Any]:
        """The data's items, with how long each was waited for added up (or, where this process makes it, worked on)."""
        tick = time.perf_counter if self.device.type == "cuda" else time.process_time
        asked = tick()
        for item in data:
            self.waited += (tick() - asked) * self.running
            yield item
            asked = tick()

    def start(self) -> None:
        """Begins a stretch."""
        self.running, self.started = True, seconds(self.device)
        self.tokens, self.flops, self.waited = 0, 0.0, 0.0

    def count(self, tokens: int, flops: float) -> None:
        """A step's work."""
        self.tokens, self.flops = self.tokens + tokens, self.flops + flops

    def stop(self) -> Timing:
        """What was done in this stretch; nothing where it was not started."""
        passed = seconds(self.device) - self.started
        return Timing(self.tokens, self.flops, passed, self.waited) if self.running else Timing(0, 0, 0, 0)
