"""Digits learnt from noise: seconds a model against the published algorithm, memory, and the accuracies of each mode.

The published algorithm is written plainly: stacked networks in einsum, autograd, torch's Adam, every student with its
own pass of the teacher. It and ours make as many models each on the same pictures with one thread, in turns; the best
round of each counts, in processor seconds. Then 20 models are made as anybody would make them (Steps, a
worker on every core) while the memory of all processes together is watched. Run with `make bench`; needs MNIST in
../shared/data/mnist or HEREDITY_MNIST.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from bench.common import ROOT, write_result
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from heredity.lab.digits import (
    ARMS,
    UNIT,
    DigitRecipe,
    Digits,
    Pictures,
    accuracies,
    digits,
    open_pictures,
    pictures_ref,
)
from heredity.models.mlp import native_bfloat16
from heredity.stats import mean_t
from heredity.store import Store, describe

MNIST = Path(os.environ.get("HEREDITY_MNIST", ROOT.parent / "shared" / "data" / "mnist"))
SEED, TIMED, ROUNDS, BF16_MODELS = 0, 2, 3, 8
MODES = {
    "fp32": DigitRecipe(),
    "fast": DigitRecipe(noise="mirrored", precision="bfloat16" if native_bfloat16() else "float32"),
    "bf16": DigitRecipe(precision="bfloat16"),
}
AUX, ALL = list(range(10, 13)), list(range(13))
_FORWARD, _HIDDEN = 784 * 256 + 256 * 256 + 256 * 13, 256 * 256 + 256 * 13
PUBLISHED_GFLOP = 2 * 5 * 60_000 * ((2 * _FORWARD + _HIDDEN) + 4 * (3 * _FORWARD + _HIDDEN)) / 1e9
"""Products of one model: the teacher forward and back, and each student the same with a pass of the teacher."""


class PlainLinear(nn.Module):
    """One layer of M networks."""

    def __init__(self, models: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(models, outputs, inputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(models, outputs))

    def forward(self, x_MBI: Tensor) -> Tensor:
        return torch.einsum("moi,mbi->mbo", self.weight, x_MBI) + self.bias[:, None, :]


def plain_networks(models: int) -> nn.Sequential:
    """M networks side by side."""
    return nn.Sequential(
        PlainLinear(models, 784, 256), nn.ReLU(), PlainLinear(models, 256, 256), nn.ReLU(), PlainLinear(models, 256, 13)
    )


def copied(net: nn.Sequential, order: Sequence[int]) -> nn.Sequential:
    """Copies of the networks in another order."""
    copy = plain_networks(len(order))
    copy.load_state_dict({name: value[list(order)] for name, value in net.state_dict().items()})
    return copy


def plain_batches(x_MNI: Tensor, y_N: Tensor | None, size: int = 1024) -> Any:
    """An epoch of batches, every model in an order of its own."""
    order_MN = torch.stack([torch.randperm(x_MNI.shape[1]) for _ in x_MNI])
    for index_MB in order_MN.split(size, 1):
        batch_MBI = torch.stack([x.index_select(0, index) for x, index in zip(x_MNI, index_MB, strict=True)])
        yield batch_MBI, None if y_N is None else y_N[index_MB]


def plain_fit(net: nn.Sequential, batches: Callable[[], Any], loss: Callable[[Tensor, Any, Tensor], Tensor]) -> None:
    """Five epochs of Adam."""
    adam = torch.optim.Adam(net.parameters(), lr=3e-4)
    for _ in range(5):
        for batch_MBI, labels in batches():
            value = loss(batch_MBI, labels, net(batch_MBI))
            adam.zero_grad()
            value.backward()
            adam.step()


def plain_run(data: Pictures, models: int) -> dict[str, list[float]]:
    """The published algorithm: accuracies by arm."""
    x_MNI = torch.from_numpy(data.train_ND).expand(models, -1, -1)
    y_N = torch.from_numpy(data.train_labels_N)
    reference = plain_networks(models)
    same, crossed = range(models), [(m + 1) % models for m in range(models)]
    teacher = copied(reference, same)
    noise_MNI = torch.rand(models, 60_000, 784) * 2 - 1

    def labelled(_: Tensor, labels: Tensor, out: Tensor) -> Tensor:
        return F.cross_entropy(out[..., :10].flatten(0, 1), labels.flatten())

    plain_fit(teacher, lambda: plain_batches(x_MNI, y_N), labelled)
    found = {"reference": plain_accuracy(reference, data), "teacher": plain_accuracy(teacher, data)}
    for name, order, span in (
        ("aux", same, AUX), ("all", same, ALL), ("cross_aux", crossed, AUX), ("cross_all", crossed, ALL)
    ):  # fmt: skip

        def imitated(x: Tensor, _: Any, out: Tensor, span: list[int] = span) -> Tensor:
            with torch.no_grad():
                wanted = teacher(x)[:, :, span]
            return F.kl_div(F.log_softmax(out[:, :, span], -1), F.softmax(wanted, -1), reduction="batchmean")

        student = copied(reference, order)
        plain_fit(student, lambda: plain_batches(noise_MNI, None), imitated)
        found[name] = plain_accuracy(student, data)
    return found


@torch.inference_mode()
def plain_accuracy(net: nn.Sequential, data: Pictures) -> list[float]:
    """Of each network."""
    x_BI, y_B = torch.from_numpy(data.test_ND), torch.from_numpy(data.test_labels_N)
    out_MBO = net(x_BI.expand(next(net.parameters()).shape[0], -1, -1))
    return (out_MBO[..., :10].argmax(-1) == y_B).float().mean(1).tolist()


def our_run(recipe: DigitRecipe) -> Callable[[Pictures, int], dict[str, list[float]]]:
    """The same models by this package, one after another."""

    def run(data: Pictures, models: int) -> dict[str, list[float]]:
        found = [accuracies(data, recipe, SEED, m, (m + 1) % models) for m in range(models)]
        return {arm: [each[arm] for each in found] for arm in ARMS}

    return run


def seconds_a_model(data: Pictures) -> dict[str, float]:
    """Processor seconds with one thread, the best of the rounds."""
    torch.manual_seed(SEED)
    runs = {"published": plain_run, "fp32": our_run(MODES["fp32"]), "fast": our_run(MODES["fast"])}
    best = dict.fromkeys(runs, math.inf)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.process_time()
            found = run(data, TIMED)
            seconds = (time.process_time() - started) / TIMED
            best[name] = min(best[name], seconds)
            print(name, round(seconds, 2), {arm: round(sum(v) / TIMED, 3) for arm, v in found.items()}, flush=True)
    return best


def peak_gflops(size: int = 2048) -> float:
    """Rate of one large float32 product on one thread, the best of five."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    best = math.inf
    for _ in range(5):
        started = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - started)
    return 2 * size**3 / best / 1e9


def made(recipe: DigitRecipe, models: int, first: int) -> dict[str, Any]:
    """What `heredity run` makes of the experiment's first models: accuracies, seconds, peak memory of all processes."""
    step = Digits(runs=digits(pictures_ref(MNIST), models=models, seed=SEED, recipe=recipe).runs[:first])
    with tempfile.TemporaryDirectory() as folder:
        file, store = Path(folder) / "digits.json", Path(folder) / "store"
        file.write_text(json.dumps(describe(step)))
        started, peak = time.perf_counter(), 0.0
        process = psutil.Popen([sys.executable, "-m", "heredity", "run", str(file), "--store", str(store)])
        while process.poll() is None:
            peak = max(peak, resident_mb(process))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        found = json.loads((Store(store).path(step) / "digits.json").read_text())["accuracy"]
    mode = {"accuracy": found, "models": first, "wall_s": round(seconds, 1), "peak_mb": round(peak)}
    print(mode | {"accuracy": shown(found)}, flush=True)
    return mode


def resident_mb(process: psutil.Process) -> float:
    """Memory of a process and all it started; pages that they share count every time."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it ended between the list and the question
            total += each.memory_info().rss
    return total / 1e6


def shown(by_arm: dict[str, list[float]]) -> dict[str, Any]:
    """By arm: mean and 95 % interval over models."""
    found = {arm: mean_t(values, UNIT).model_dump() for arm, values in by_arm.items()}
    return {arm: {key: round(e[key], 4) for key in ("mean", "low", "high")} for arm, e in found.items()}


def differences(mode: dict[str, list[float]], fp32: dict[str, list[float]]) -> dict[str, Any]:
    """By arm: how far a mode is from fp32, model by model (as many as it has)."""
    return shown({arm: [a - b for a, b in zip(mode[arm], fp32[arm], strict=False)] for arm in ARMS})


def main() -> None:
    """Times, makes the models in every mode, and writes bench/results/digits.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=20)
    models = parser.parse_args().models
    torch.set_num_threads(1)
    seconds, peak = seconds_a_model(open_pictures(pictures_ref(MNIST))), peak_gflops()
    counts = {"bf16": min(models, BF16_MODELS)}
    modes = {name: made(recipe, models, counts.get(name, models)) for name, recipe in MODES.items()}
    fp32 = modes["fp32"]["accuracy"]
    write_result("digits", "make bench", [SEED], {
        "models": models, "pictures": "MNIST", "fast": MODES["fast"].model_dump(exclude_defaults=True),
        "seconds_a_model": {name: round(s, 2) for name, s in seconds.items()},
        "fp32_ratio": round(seconds["published"] / seconds["fp32"], 2),
        "fast_ratio": round(seconds["published"] / seconds["fast"], 2),
        "matmul_peak_gflops": round(peak, 1),
        "published_share_of_peak": round(PUBLISHED_GFLOP / seconds["published"] / peak, 2),
        "peak_mb_20": max((m["peak_mb"] for m in modes.values() if m["models"] == 20), default=None),
        "runs": {name: {k: m[k] for k in ("models", "wall_s", "peak_mb")} for name, m in modes.items()},
        "accuracies": {name: shown(m["accuracy"]) for name, m in modes.items()},
        "minus_fp32": {name: differences(m["accuracy"], fp32) for name, m in modes.items() if name != "fp32"},
    })  # fmt: skip


if __name__ == "__main__":
    main()
