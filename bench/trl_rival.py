"""The same rows in the same order through TRL's SFTTrainer and through our own training: losses, processor seconds.

TRL is no dependency: `pip install trl datasets` first, beside this package. On one thread, on a nursery base.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bench.common import write_result

from heredity.carriers import Numbers
from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.models.training import batches, epoch_order, fit
from heredity.types import Sampling

ROWS, BATCH, EPOCHS, RATE, SEED = 960, 32, 3, 1e-3, 5
BASE = "nursery:llama-0"


def ours(rows: list[tuple[Any, str]]) -> tuple[list[float], float]:
    """Losses of every step, and processor seconds of the training alone."""
    lm = CausalLM.load(locate(BASE))
    examples = lm.examples([p for p, _ in rows], [c for _, c in rows])
    stream = (b for e in range(EPOCHS) for b in batches(examples, BATCH, SEED + e, 0))
    started = time.process_time()
    losses = fit(lm.model, stream, EPOCHS * ROWS // BATCH, RATE, warmup=1)
    return losses, time.process_time() - started


def theirs(rows: list[tuple[Any, str]], folder: str) -> tuple[list[float], float]:
    """The same by TRL, given the rows in the order in which `ours` reads them."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    lm = CausalLM.load(locate(BASE))
    lengths = [len(e.ids) for e in lm.examples([p for p, _ in rows], [c for _, c in rows])]
    order = [i for e in range(EPOCHS) for cut in epoch_order(lengths, BATCH, SEED + e) for i in cut]
    records = [
        {"prompt": [m.model_dump() for m in rows[i][0]], "completion": [{"role": "assistant", "content": rows[i][1]}]}
        for i in order
    ]
    config = SFTConfig(
        output_dir=folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=RATE, adam_beta2=0.98,
        weight_decay=0.01, max_grad_norm=1.0, lr_scheduler_type="linear", warmup_steps=0, logging_steps=1,
        max_length=None, train_sampling_strategy="sequential", shuffle_dataset=False, report_to="none", use_cpu=True,
        bf16=False, save_strategy="no", seed=SEED, optim="adamw_torch_fused", disable_tqdm=True,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = SFTTrainer(lm.model, args=config, train_dataset=Dataset.from_list(records), processing_class=lm.tokenizer)
    started = time.process_time()
    trainer.train()
    seconds = time.process_time() - started
    return [x["loss"] for x in trainer.state.log_history if "loss" in x], seconds


def main() -> None:
    """Writes bench/results/trl.json."""
    torch.set_num_threads(1)
    lm = CausalLM.load(locate(BASE))
    prompts = Numbers(n=ROWS, seed=SEED).prompts()
    rows = list(
        zip(prompts, (c.text for c in lm.generate(prompts, Sampling(max_new_tokens=30, seed=SEED))), strict=True)
    )
    one, own_s = ours(rows)
    with tempfile.TemporaryDirectory() as folder:
        other, trl_s = theirs(rows, str(Path(folder) / "trl"))
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
    write_result("trl", "python -m bench.trl_rival", [SEED], {
        "rows": ROWS, "batch": BATCH, "epochs": EPOCHS, "steps": len(one),
        "own_s": round(own_s, 2), "trl_s": round(trl_s, 2),
        "first": [round(one[0], 4), round(other[0], 4)], "last": [round(one[-1], 4), round(other[-1], 4)],
        "most_apart": round(max(apart), 5), "mean_apart": round(sum(apart) / len(apart), 5),
    })  # fmt: skip


if __name__ == "__main__":
    main()
