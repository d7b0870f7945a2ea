"""Further encoders of the trace benchmark. The Steps of trace_steps.py are known by its bytes, so it stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.trace_steps import FreshEncoder

from heredity.models.adapters import save_adapter
from heredity.store import Step, Store


def contrast(model: Any, steps: int, rate: float) -> list[float]:
    """Trains in place as TunedEncoder does, on the same tokens in the same order whatever the model; every step's loss.

    In nats; log 8 where nothing is learnt.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    model.train()
    for _ in range(steps):
        ids_BT = torch.randint(1000, 30_000, (8, 16))
        one_BD, two_BD = (
            torch.nn.functional.normalize(model(input_ids=ids_BT).last_hidden_state.mean(1), dim=-1) for _ in range(2)
        )
        loss = torch.nn.functional.cross_entropy(one_BD @ two_BD.T / 0.05, torch.arange(len(ids_BT)))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


class UnmergedEncoder(Step):
    """Adapters over a BERT, kept apart: they name it as their base. A folder of PEFT's."""

    folder: str
    digest: str
    steps: int = 15
    rate: float = 1e-3

    def make(self, folder: Path, store: Store) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import BertModel

        torch.manual_seed(0)
        base: Any = BertModel.from_pretrained(self.folder, local_files_only=True)
        model = get_peft_model(base, LoraConfig(r=8, lora_alpha=8, target_modules="all-linear"))
        contrast(model, self.steps, self.rate)
        save_adapter(model, folder, self.folder, None)


class TaughtEncoder(Step):
    """A fresh BERT after contrastive learning: two of other seeds see the same data. A model folder, `losses.txt`."""

    start: FreshEncoder
    steps: int = 200
    rate: float = 1e-4

    def make(self, folder: Path, store: Store) -> None:
        from transformers import BertModel

        model: Any = BertModel.from_pretrained(store.path(self.start), local_files_only=True)
        losses = contrast(model, self.steps, self.rate)
        model.save_pretrained(folder)
        (folder / "losses.txt").write_text(f"{losses[0]:.4f} {losses[-1]:.4f}\n")
