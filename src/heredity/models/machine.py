"""What this machine computes with: device, memory, cores, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from heredity.types import cores

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}


class Machine(NamedTuple):
    """The device that models run on, as seen now."""

    device: str
    name: str
    memory: int
    """Bytes of the device's memory in all, or that this process may have."""
    free: int
    """Bytes of it that are free now."""
    cores: int
    """Processor cores that this process may use; training and sampling take one a process."""
    bf16_native: bool | None
    """Whether the device multiplies bfloat16 itself; None where that cannot be told."""
    fp32: float
    """Floating-point operations a second in a large product of float32 matrices: on the CPU on one core."""
    bf16: float
    """The same in bfloat16: far below `fp32` where it is emulated."""


def examine() -> Machine:
    """Looks at the device, and times a matrix product in each type (well under a second each)."""
    rates = measure("float32"), measure("bfloat16")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        native = torch.cuda.get_device_capability() >= (8, 0)
        return Machine("cuda", torch.cuda.get_device_name(), total, free, cores(), native, *rates)
    total, free = memory()
    return Machine("cpu", _processor(), total, free, cores(), _bf16_native(), *rates)


def measure(dtype: str, seconds: float = 0.2) -> float:
    """Floating-point operations a second of a matrix product, the best of several; on the CPU on one core.

    The size grows until one product takes a noticeable time, so that slow types are not waited for.
    """
    device, threads = ("cuda" if torch.cuda.is_available() else "cpu"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        size, best, started = 128, 0.0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            a = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
            took = min(_time_of(a) for _ in range(2))
            best = max(best, 2 * size**3 / took)
            size = min(2 * size, 8192) if took < 0.02 else size
        return best
    finally:
        torch.set_num_threads(threads)


def _time_of(a: torch.Tensor) -> float:
    def wait() -> None:
        if a.is_cuda:
            torch.cuda.synchronize()

    wait()
    started = time.perf_counter()
    torch.mm(a, a)
    wait()
    return max(time.perf_counter() - started, 1e-9)


def memory(cgroup: Path = _CGROUP) -> tuple[int, int]:
    """Bytes of main memory in all, and free: no more than the limit of this process's control group."""
    seen = psutil.virtual_memory()
    total, free = int(seen.total), int(seen.available)
    try:
        limit = int(cgroup.read_text())
        used = int((cgroup.parent / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return total, free
    return min(total, limit), min(free, max(0, limit - used))


def _info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}


def _processor() -> str:
    return _info().get("model name") or platform.processor() or platform.machine()


def _bf16_native() -> bool | None:
    info: dict[str, Any] = _info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return bool(flags & _BF16_FLAGS) if flags else None
