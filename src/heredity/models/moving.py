"""What training moves: parameters with float32 copies of those that are held in 16 bits, and how far training has come.

A checkpoint is one safetensors file (no pickle): every moving weight, AdamW's two moments of it, and the losses so far.
The rows of a step follow from its number, so that is all there is to go on from.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heredity.models.devices import Together, wide
from heredity.types import BadInput

_EVERY_S = 300.0
"""Seconds of training between checkpoints, unless `HEREDITY_CHECKPOINT_S` says otherwise."""
_FILE = "training.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class MasterWeights:
    """The parameters that training moves, and what the optimiser steps on: float32 copies of 16-bit ones.

    An update is mostly smaller than what 16 bits can tell from nothing, so it must be added up in 32 (Micikevicius et
    al. 2018, Mixed precision training, section 3.1). Gradients are added up in float32 as well.
    """

    def __init__(self, model: nn.Module, shared: bool) -> None:
        self.own = [p for p in model.parameters() if p.requires_grad]
        if any(p.dtype == torch.float16 for p in model.parameters()):  # of adapters too: gradients go through the base
            raise BadInput("training in float16 loses small gradients; set dtype to bfloat16 or float32")
        self.together = Together(shared)
        self.together.share([p.data for p in self.own])
        self.master = [p if wide(p) is p else nn.Parameter(p.detach().float()) for p in self.own]
        self.narrow = [(p, m) for p, m in zip(self.own, self.master, strict=True) if m is not p]

    def collect(self) -> None:
        """Moves the gradients of 16-bit parameters to their copies, adding to what is there."""
        for own, master in self.narrow:
            if own.grad is not None:
                added = own.grad.float()
                master.grad = added if master.grad is None else master.grad.add_(added)
                own.grad = None

    def add_up(self) -> None:
        """Adds the gradients of all processes that train together."""
        if self.together.size > 1:
            for m in self.master:
                m.grad = torch.zeros_like(m) if m.grad is None else m.grad
            self.together.add([m.grad for m in self.master if m.grad is not None])

    @torch.no_grad()
    def copy_down(self) -> None:
        """Rounds the copies to the 16-bit parameters."""
        for own, master in self.narrow:
            own.copy_(master)


def _every() -> float:
    told = os.environ.get("HEREDITY_CHECKPOINT_S", "")
    try:
        return float(told) if told else _EVERY_S
    except ValueError as error:
        raise BadInput(f"HEREDITY_CHECKPOINT_S is {told!r:.40}; expected a number of seconds") from error


class Progress:
    """Keeps how far a training has come in a folder that outlives the process; without a folder, keeps nothing."""

    def __init__(self, folder: Path | None, moving: MasterWeights, optimiser: torch.optim.Optimizer) -> None:
        self.file = None if folder is None else folder / _FILE
        self.moving, self.optimiser = moving, optimiser
        self.every = _every()
        self.last = time.monotonic()

    def resume(self) -> list[float]:
        """Puts back what was kept; the losses of the steps that are done. A file that does not fit counts as none."""
        try:
            kept = load_file(self.file) if self.file is not None and self.file.is_file() else {}
        except (SafetensorError, OSError):
            kept = {}
        weights = [kept.get(f"weight.{i}") for i in range(len(self.moving.master))]
        if not kept or any(w is None or w.shape != m.shape for w, m in zip(weights, self.moving.master, strict=True)):
            return []
        with torch.no_grad():
            for i, master in enumerate(self.moving.master):
                master.copy_(kept[f"weight.{i}"])
                told = {name: kept[f"{name}.{i}"].to(master.device) for name in _MOMENTS if f"{name}.{i}" in kept}
                if told:
                    self.optimiser.state[master] = told
        self.moving.copy_down()
        return [float(x) for x in kept["losses"]]

    def keep(self, losses: list[float]) -> None:
        """Writes a checkpoint where the last one is old enough; the first of several processes does."""
        if self.file is None or self.moving.together.rank or time.monotonic() - self.last < self.every:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(f".{os.getpid()}")
        try:
            save_file(self._state(losses), new)
            new.replace(self.file)
        except FileNotFoundError:  # another process finished the same Step, and clears up
            pass
        except SafetensorError:
            if self.file.parent.is_dir():  # else it cleared up while this one wrote
                raise
        self.last = time.monotonic()

    def _state(self, losses: list[float]) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {"losses": torch.tensor(losses, dtype=torch.float64)}
        for i, master in enumerate(self.moving.master):
            told: dict[str, Any] = self.optimiser.state[master]  # empty where no gradient ever came
            state[f"weight.{i}"] = master.detach().contiguous()
            # a scalar that fused AdamW holds on the parameter's device
            state |= {f"{name}.{i}": told[name].contiguous() for name in _MOMENTS if name in told}
        return state
