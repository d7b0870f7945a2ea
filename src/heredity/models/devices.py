"""Where real models run: one device, or one of several processes that `accelerate launch` started."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from heredity.types import DEVICES, BadInput

_NARROW = {torch.bfloat16, torch.float16}


def choose_device() -> torch.device:
    """The device of `HEREDITY_DEVICE` (cpu, cuda or auto, the default): under `accelerate launch`, this process's own.

    It is no part of a key, as the machine is none: results are described by what was asked, and a manifest tells where
    they were made. A store that a GPU filled can so be read, and gone on with, on a laptop.
    """
    wanted = os.environ.get("HEREDITY_DEVICE", "auto")
    if wanted not in {"auto", "cpu", "cuda"}:
        raise BadInput(f"HEREDITY_DEVICE is {wanted!r:.40}; expected cpu, cuda or auto")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise BadInput("HEREDITY_DEVICE is cuda, but torch sees no CUDA device here; set it to cpu, or install a torch "
                       "that fits the driver")  # fmt: skip
    if wanted == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if world() > 1 else 0)


def note_device(device: torch.device) -> None:
    """Tells the Store that is making a Step where its model is."""
    _note(device.type if device.type == "cpu" else f"cuda ({torch.cuda.get_device_name(device)})")


def _note(word: str) -> None:
    used = DEVICES.get()
    if used is not None:
        used.add(word)


def world() -> int:
    """How many processes work together (1 where this one works alone)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class Together:
    """The processes that train one model together, each with its share of every step; one where not shared."""

    def __init__(self, shared: bool) -> None:
        self.size = world() if shared else 1
        self.rank = int(os.environ.get("RANK", "0")) if self.size > 1 else 0
        if self.size > 1:
            _join()
            _note(f"{self.size} processes")

    def add(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        for tensor in tensors if self.size > 1 else []:
            torch.distributed.all_reduce(tensor)

    def share(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by that of the first process."""
        for tensor in tensors if self.size > 1 else []:
            torch.distributed.broadcast(tensor, 0)


@cache
def _join() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=choose_device().type == "cpu")


def wide(x: Tensor) -> Tensor:
    """The tensor in float32 where it is held in 16 bits, and as it is otherwise."""
    return x.float() if x.dtype in _NARROW else x
