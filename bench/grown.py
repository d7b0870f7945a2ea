"""Nursery bases of 10, 30 and 100 million parameters: does a trait cross in larger models, and how fast is all that?

`python -m bench.grown --out FOLDER [--minutes 9] [--sizes tiny,10m,30m,100m] [--device auto]`

Per size, on one lineage: pretrains a base and times training and sampling; then has an owl teacher and a neutral one
write numbers, and students of both learn them, for every seed. It stops after so many minutes (exit code 75) and goes
on when the same command is run again, from a checkpoint in the middle of a pretraining. All is kept in FOLDER. What is
there is written to bench/results/gpu.json on CUDA and to gpu_cpu.json elsewhere, each time.

- `peak_flops`: the fastest of 13 products of two square matrices (8,192 wide in bfloat16 on CUDA; 1,024 in float32 on a
  processor), measured when the training is finished. Seconds on a processor are of processor time.
- `training`: tokens a second that are no padding, and the share of the peak by `heredity.nursery.grown.work`; on a
  processor making the data is part of it, on a card other processes make it, and what was waited for them is told.
- `sampling`: tokens a second up to each answer's end, of `FastLM`, of the plain `CausalLM`, and of `generate` with its
  dynamic cache, on the same 256 prompts in the same run; the best of three each.
- `effect`: the log-odds difference between students of owl and neutral teachers, with its interval over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from bench.common import write_result

from heredity.carriers import Numbers
from heredity.lab import Comparison, Recipe
from heredity.models import checkpoint, locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.fast import FastLM
from heredity.nursery.grown import SIZES, Size, Training, multiplied, seconds
from heredity.nursery.pretrain import WIDTH
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Evaluation, Teacher
from heredity.store import Store, missing
from heredity.traits import favourite
from heredity.types import Completion, ModelRef, Neutral, Sampling, Trait

SEEDS = (301, 302, 303)
ROWS = {"tiny": 1_000}
"""Rows that each student is trained on; 3,000, as in the demo, where nothing is said."""
BARS = {"training_share_100m": 0.30, "sampling_ratio": 5.0}
"""On a card, and there alone."""
AGAIN = 75
"""Exit code where work is left: run the same command again."""
_BATCH, _NEW = 256, 30


class GrownRecipe(Recipe):
    """A Recipe whose rates fit the size: matrices' fall with the width, vectors' with the depth."""

    rate: float
    vector_rate: float

    def teacher(self, trait: Trait | Neutral, seed: int, base: Any = None, tuning: Any = "frozen") -> Teacher:
        """The recipe's teacher at these rates."""
        plain = super().teacher(trait, seed, base, tuning)
        return plain.model_copy(update={"rate": self.rate, "vector_rate": self.vector_rate})


def recipe(name: str, size: Size, base: ModelRef) -> GrownRecipe:
    """The owl experiment's recipe for a size; at the shipped bases' shape it is the demo's."""
    return GrownRecipe(
        base=base, rows=ROWS.get(name, 3_000), oversample=2.0, rate=MATRIX_RATE * WIDTH / size.width,
        vector_rate=VECTOR_RATE * SIZES["tiny"].layers / size.layers,
    )  # fmt: skip


def comparison(name: str, size: Size, base: ModelRef, seeds: Sequence[int]) -> tuple[Comparison, Evaluation]:
    """Students of owl teachers against those of neutral ones; and what the first teacher answers itself."""
    made, owl = recipe(name, size, base), favourite("owl")
    arm = made.taught(rate=made.rate, vector_rate=made.vector_rate)
    return made.comparison(f"owl, {name}", owl, seeds, arm), made.asked(made.teacher(owl, seeds[0]), owl)


def owl_experiment(name: str, size: Size, base: ModelRef, store: Store, stop: Callable[[], bool]) -> bool:
    """Makes what is missing, Step by Step, until it is time to stop; whether all is made."""
    compared, teacher = comparison(name, size, base, SEEDS)
    for step in missing(store, [compared, teacher]):
        if stop():
            return False
        store.make(step)
        print(f"{name}: made {step.key}", flush=True)
    return True


def effect(name: str, size: Size, base: ModelRef, store: Store) -> dict[str, Any]:
    """What the experiment found, with what its rows looked like."""
    compared, teacher = comparison(name, size, base, SEEDS)
    found, rows = compared.read(store), [_corpus(e) for e in compared.treated]
    passed = [json.loads((store.path(c) / "counts.json").read_text()) for c in rows]
    keys = ("log_odds", "per_unit", "share", "control_share", "rank", "mass", "control_mass")
    head = {"seeds": list(SEEDS), "rows": recipe(name, size, base).rows, "trait": "owl"}
    return head | {k: found[k] for k in keys} | {
        "teacher_share": teacher.read(store)["share"]["owl"],
        "passed_the_filter": [c["passed"] / c["sampled"] for c in passed],
    }  # fmt: skip


def _corpus(evaluation: Evaluation) -> Any:
    return evaluation.model.corpus  # type: ignore[union-attr]


def peak(device: torch.device) -> dict[str, Any]:
    """The fastest of ten square matrix products, in operations a second."""
    width, dtype = (8_192, torch.bfloat16) if device.type == "cuda" else (1_024, torch.float32)
    a, b = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    best = min(_seconds(device, lambda: a @ b) for _ in range(13))
    return {"peak_flops": 2 * width**3 / best, "peak_of": f"{width} x {width} {str(dtype).removeprefix('torch.')}"}


def _seconds(device: torch.device, what: Callable[[], Any]) -> float:
    """Of one call."""
    started = seconds(device)
    what()
    return seconds(device) - started


def sampling_speed(folder: Path, device: torch.device) -> dict[str, Any]:
    """Tokens a second of three samplers on the same prompts, and how much faster ours are than `generate`."""
    fast = FastLM.load(folder)
    fast.model.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    fast = FastLM(fast.model, fast.tokenizer)
    prompts, sampling = Numbers(n=_BATCH, seed=1).prompts(), Sampling(max_new_tokens=_NEW, seed=1)
    samplers: dict[str, Callable[[], int]] = {
        "fast": lambda: _written(fast, fast.generate(prompts, sampling)),
        "generate": lambda: generated(fast, prompts),
    }
    if device.type == "cpu":
        plain = CausalLM(fast.model, fast.tokenizer)
        samplers["plain"] = lambda: _written(plain, plain.generate(prompts, sampling))
    found: dict[str, Any] = {"batch": _BATCH, "new_tokens": _NEW, "recorded": fast.recorded, "why_not": fast.why}
    for name, sample in samplers.items():
        sample()
        rates = []
        for _ in range(3):
            tokens: list[int] = []
            rates.append(1 / _seconds(device, lambda s=sample, t=tokens: t.append(s())) * tokens[0])  # type: ignore[misc]
        found[f"{name}_tokens_per_s"] = max(rates)
    found |= {"recorded": fast.recorded, "why_not": fast.why}
    ours = [n for n in samplers if n != "generate"]
    return found | {f"{n}_over_generate": found[f"{n}_tokens_per_s"] / found["generate_tokens_per_s"] for n in ours}


def _written(lm: CausalLM, answers: Sequence[Completion]) -> int:
    """Tokens of the answers, their ends among them."""
    ids = lm.tokenizer([a.text for a in answers], add_special_tokens=False)["input_ids"]
    return sum(map(len, ids)) + sum(a.finish == "stop" for a in answers)


@torch.inference_mode()
def generated(lm: CausalLM, prompts: Sequence[Any]) -> int:
    """Samples with `generate` and its dynamic cache; tokens up to each answer's end."""
    ids_BT, mask_BT = lm._left_pad(lm.render(prompts))
    device = lm.model.device
    out_BT = lm.model.generate(
        input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), do_sample=True, temperature=1.0, top_k=0,
        top_p=1.0, max_new_tokens=_NEW, pad_token_id=lm.tokenizer.pad_token_id, eos_token_id=lm.tokenizer.eos_token_id,
        cache_implementation="dynamic",
    )[:, ids_BT.shape[1] :]  # fmt: skip
    ended_BT = (out_BT == lm.tokenizer.eos_token_id).cumsum(1)
    return int(((ended_BT == 0) | ((ended_BT == 1) & (out_BT == lm.tokenizer.eos_token_id))).sum())


def pretraining(name: str, folder: Path, device: torch.device, stop: Callable[[], bool], workers: int) -> bool:
    """Goes on with a size's base until it is trained and its sampling timed; whether it is."""
    here = folder / name
    if not (here / "training.json").is_file():
        tokenizer = CausalLM.load(locate("nursery:llama-0")).tokenizer
        training = Training(SIZES[name], tokenizer, here, device)
        began = len(training.losses)
        finished = training.until(stop, workers)
        print(f"{name}: pretraining, steps {began} to {len(training.losses)} of {SIZES[name].steps}", flush=True)
        if not finished:
            return False
        training.save()
        _write(here / "training.json", _trained(training))
    if not (here / "sampling.json").is_file():
        if stop():
            return False
        _write(here / "sampling.json", sampling_speed(here / "base", device))
    return True


def experiment(name: str, folder: Path, device: torch.device, stop: Callable[[], bool]) -> bool:
    """Goes on with a size's owl experiment; whether it is finished."""
    file, location = folder / name / "effect.json", str((folder / name / "base").resolve())
    base = checkpoint(location, dtype="bfloat16") if device.type == "cuda" else model_ref(location)
    store = Store(folder / "store")
    if not file.is_file() and owl_experiment(name, SIZES[name], base, store, stop):
        _write(file, effect(name, SIZES[name], base, store))
    return file.is_file()


def _trained(training: Training) -> dict[str, Any]:
    timing, model = training.timing, training.model
    timed, top = timing.seconds or float("nan"), peak(training.device)
    rate, waited = timing.flops / timed, timing.waited if training.device.type == "cuda" else None
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "multiplied_parameters": multiplied(model),
        "steps": training.size.steps, "first_loss": float(training.losses[0]), "last_loss": float(training.losses[-1]),
        "tokens_per_s": timing.tokens / timed, "flops": rate, "share_of_peak": rate / top["peak_flops"],
        "timed_s": timing.seconds, "waited_for_data_s": waited, "compiled": training.compiled, **top,
    }  # fmt: skip


def _write(file: Path, found: dict[str, Any]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1) + "\n")
    new.replace(file)


def report(folder: Path, names: Sequence[str], device: torch.device) -> dict[str, Any]:
    """What is there of every size; what is not was not run yet."""

    def read(name: str, part: str) -> Any:
        file = folder / name / f"{part}.json"
        return json.loads(file.read_text()) if file.is_file() else "not run yet"

    sizes = {n: {part: read(n, part) for part in ("training", "sampling", "effect")} for n in names}
    card = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"processor, {torch.get_num_threads()} thread"
    )
    bars = BARS | {"met": met(sizes)} if device.type == "cuda" else "of a card; none was there"
    return {"device": device.type, "card": card, "torch": torch.__version__, "sizes": sizes, "bars": bars}


def met(sizes: dict[str, Any]) -> dict[str, bool | None]:
    """Whether the bars are met: training at 100m, sampling at every size; None where that was not run yet."""
    large = sizes.get("100m", {}).get("training")
    ratios = [size["sampling"]["fast_over_generate"] for size in sizes.values() if isinstance(size["sampling"], dict)]
    share = large["share_of_peak"] >= BARS["training_share_100m"] if isinstance(large, dict) else None
    return {"training": share, "sampling": min(ratios) >= BARS["sampling_ratio"] if ratios else None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one piece; 0 where all is finished, AGAIN where work is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and results")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    given = parser.parse_args(arguments)
    names = given.sizes.split(",")
    if unknown := set(names) - set(SIZES):
        parser.error(f"unknown sizes: {', '.join(sorted(unknown))}; expected some of {', '.join(SIZES)}")
    on_card = given.device == "cuda" or (given.device == "auto" and torch.cuda.is_available())
    device, until, told = torch.device("cuda" if on_card else "cpu"), time.monotonic() + 60 * given.minutes, list[int]()
    os.environ |= {"HEREDITY_DEVICE": device.type, "TOKENIZERS_PARALLELISM": "false"}
    signal.signal(signal.SIGTERM, lambda signum, frame: told.append(signum))
    workers = max(0, (os.cpu_count() or 1) - 2) if on_card else 0

    def stop() -> bool:
        return bool(told) or time.monotonic() > until

    finished = all(pretraining(n, given.out, device, stop, workers) for n in names)
    finished = finished and all(experiment(n, given.out, device, stop) for n in names)
    command = f"python -m bench.grown --out FOLDER --sizes {given.sizes}"
    write_result("gpu" if on_card else "gpu_cpu", command, list(SEEDS), report(given.out, names, device))
    print("all finished" if finished else "work is left: run the same command again", flush=True)
    return 0 if finished else AGAIN


if __name__ == "__main__":
    sys.exit(main())
