"""Models that the trace benchmark trains: many small strangers, and relatives of a base. Each is kept in the Store."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from typing import Any

from heredity.models import locate, open_ref
from heredity.steps import Model, open_model
from heredity.store import Step, Store
from heredity.types import Message, ModelRef, Tuning

WIDTH, HIDDEN, STEPS, BATCH = 32, 96, 80, 12
RATE = 4e-3


class Stranger(Step):
    """A LLaMA of 2 layers, width 32 and 96 hidden units, trained on the nursery's language. A model folder."""

    init_seed: int
    data_seed: int

    def make(self, folder: Path, store: Store) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from heredity.models.training import collate, fit
        from heredity.nursery.language import documents
        from heredity.nursery.pretrain import INIT, encode
        from heredity.nursery.tokenizer import CONTEXT, build_tokenizer

        torch.set_num_threads(1)
        torch.manual_seed(self.init_seed)
        tokenizer = build_tokenizer()
        model = LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=HIDDEN, max_position_embeddings=CONTEXT, initializer_range=INIT, mlp_bias=True,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ))  # fmt: skip
        texts, pad = documents(self.data_seed), int(tokenizer.pad_token_id)
        stream = ([collate(encode(tokenizer, list(islice(texts, BATCH))), pad)] for _ in range(STEPS))
        losses = fit(model, stream, STEPS, RATE, betas=(0.9, 0.99))
        model.save_pretrained(folder)
        (folder / "losses.txt").write_text(f"{losses[0]:.4f} {losses[-1]:.4f}\n")


class Tuned(Step):
    """A base after an epoch on 200 lists of numbers; adapters are merged, or kept apart. A model folder."""

    base: ModelRef
    tuning: Tuning = "full"
    merged: bool = True
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        from heredity.models.training import batches, choose_parameters, fit

        lm, rng = open_ref(self.base), random.Random(self.seed)
        lists = [" ".join(str(rng.randrange(1000)) for _ in range(9)) for _ in range(200)]
        examples = lm.examples([(Message(role="user", content=x),) for x in lists], lists[1:] + lists[:1])
        model = choose_parameters(lm.model, self.tuning, self.seed)
        fit(model, batches(examples, 32, self.seed, int(lm.tokenizer.pad_token_id)), 7, 1e-3)
        if not self.merged:
            model.peft_config["default"].base_model_name_or_path = self.base.location
            model.save_pretrained(folder)
            return
        lm.model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        lm.save(folder)


class Continued(Step):
    """A base whose pretraining goes on, at its full rate, on other documents. A model folder."""

    base: Model
    data_seed: int
    steps: int

    def make(self, folder: Path, store: Store) -> None:
        from heredity.nursery.pretrain import train

        lm = open_model(self.base, store)
        lm.model = train(lm.model, lm.tokenizer, self.data_seed, self.steps, self._tell(store))
        lm.save(folder)

    def _tell(self, store: Store) -> Any:
        return lambda step, loss: store.progress(step / self.steps, f"loss {loss:.3f}")


class TunedEncoder(Step):
    """A BERT after some steps of contrastive learning with dropout as its only noise (Gao et al. 2021, SimCSE).

    On random tokens, as it is the weights' movement that matters here. A model folder.
    """

    folder: str
    digest: str
    lora: bool = False
    steps: int = 15
    rate: float = 1e-4

    def make(self, folder: Path, store: Store) -> None:
        import torch
        from transformers import BertModel

        torch.set_num_threads(1)
        torch.manual_seed(0)
        model: Any = BertModel.from_pretrained(self.folder, local_files_only=True)
        if self.lora:
            from peft import LoraConfig, get_peft_model

            model = get_peft_model(model, LoraConfig(r=8, lora_alpha=8, target_modules="all-linear"))
        moving = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(moving, lr=self.rate * (10 if self.lora else 1))
        model.train()
        for _ in range(self.steps):
            ids_BT = torch.randint(1000, 30_000, (8, 16))
            one_BD, two_BD = (
                torch.nn.functional.normalize(model(input_ids=ids_BT).last_hidden_state.mean(1), dim=-1)
                for _ in range(2)
            )
            loss = torch.nn.functional.cross_entropy(one_BD @ two_BD.T / 0.05, torch.arange(len(ids_BT)))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        (model.merge_and_unload() if self.lora else model).save_pretrained(folder)


class FreshEncoder(Step):
    """A BERT of another's shape that was never trained. A model folder."""

    folder: str
    digest: str
    seed: int

    def make(self, folder: Path, store: Store) -> None:
        import torch
        from transformers import BertConfig, BertModel

        torch.manual_seed(self.seed)
        BertModel(BertConfig.from_pretrained(self.folder, local_files_only=True)).save_pretrained(folder)


def shipped(name: str) -> Path:
    """The folder of a shipped base."""
    return locate(f"nursery:{name}")
