"""Peak memory of a randomly initialised model, measured in a process of its own and set beside the formulas.

`python -m heredity.models.trial JSON` is that process: it builds the model, samples or trains two steps with the code
that everything else uses, and prints the bytes that this took beyond what it had before.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from heredity.models.sizes import USES, Need, Use, need, shape_of
from heredity.types import Chat, HeredityError, Tuning


class Trial(NamedTuple):
    """A model and what is done with it."""

    name: str
    use: Use
    layers: int
    width: int
    vocabulary: int
    batch: int
    tokens: int
    dtype: str = "float32"


TRIALS = (
    Trial("nursery", "full", 2, 64, 2_000, 512, 64),
    Trial("nursery", "lora", 2, 64, 2_000, 512, 64),
    Trial("nursery", "sampling", 2, 64, 2_000, 512, 64),
    Trial("42M", "full", 8, 512, 8_000, 8, 128),
    Trial("42M", "lora", 8, 512, 8_000, 8, 128),
    Trial("42M", "sampling", 8, 512, 8_000, 64, 128),
)


class Checked(NamedTuple):
    """What the formulas say beside what was measured, in bytes."""

    trial: Trial
    predicted: Need
    measured: float

    @property
    def factor(self) -> float:
        """Predicted over measured."""
        return self.predicted.total / self.measured


def check(trial: Trial) -> Checked:
    """Runs a trial in a process of its own."""
    command = [sys.executable, "-m", "heredity.models.trial", json.dumps(trial._asdict())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HeredityError(f"the trial {trial.name} ({trial.use}) ended with {done.returncode}: {done.stderr[-300:]}")
    predicted = need(shape_of(_config(trial)), trial.use, trial.dtype, trial.batch, trial.tokens)
    return Checked(trial, predicted, float(done.stdout))


def _config(trial: Trial) -> Any:
    from transformers import LlamaConfig

    heads = max(1, trial.width // 64)
    return LlamaConfig(
        vocab_size=trial.vocabulary, hidden_size=trial.width, intermediate_size=4 * trial.width,
        num_hidden_layers=trial.layers, num_attention_heads=heads, num_key_value_heads=heads,
        max_position_embeddings=2 * trial.tokens, tie_word_embeddings=False,
    )  # fmt: skip


def _build(trial: Trial) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = AutoModelForCausalLM.from_config(_config(trial), dtype=getattr(torch, trial.dtype))  # type: ignore[no-untyped-call]
    return found.to(device)


def _sample(trial: Trial, model: Any) -> None:
    from transformers import AutoTokenizer

    from heredity.models import locate
    from heredity.models.causal import CausalLM
    from heredity.types import Message, Sampling

    lm = CausalLM(model.eval(), AutoTokenizer.from_pretrained(locate("nursery:llama-0")))
    asked: Chat = ()
    length = 0
    while 2 * length < trial.tokens:  # half of a row is prompt
        asked = (*asked, Message(role="user", content="What is your favourite animal?"))
        length = len(lm.render([asked])[0])
    lm.generate([asked] * trial.batch, Sampling(max_new_tokens=max(1, trial.tokens - length), seed=0))


def _train(trial: Trial, model: Any) -> None:
    from heredity.models.training import Batch, Example, choose_parameters, collate, fit

    row = Example([1] * trial.tokens, [True] * trial.tokens)

    def stream() -> Iterator[list[Batch]]:
        for _ in range(2):
            yield [collate([row] * trial.batch, 0)]

    tuning: Tuning = "lora" if trial.use == "lora" else "full"
    fit(choose_parameters(model, tuning, 0), stream(), 2, 1e-4, warmup=1)


def _warm() -> None:
    """Everything that is loaded once, whatever the model: kernels, PEFT, and a tokenizer."""
    tiny = Trial("tiny", "full", 1, 64, 2_000, 1, 32)
    for use in USES:
        _run(tiny._replace(use=use))


def _run(trial: Trial) -> None:
    (_sample if trial.use == "sampling" else _train)(trial, _build(trial))


def _measured(trial: Trial) -> int:
    """Bytes that the trial takes at its peak beyond what the process had before."""
    import torch

    torch.set_num_threads(1)
    _warm()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = _status("VmRSS")
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    _run(trial)
    return (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")) - before


def _status(name: str) -> int:
    """Bytes, as Linux tells them of this process."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


if __name__ == "__main__":
    print(_measured(Trial(**json.loads(sys.argv[1]))))
