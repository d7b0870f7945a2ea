"""A language model that `transformers` loads from a folder: it writes with a KV cache, and scores answers exactly."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils.logging import disable_progress_bar

from heredity.models import is_file
from heredity.models.devices import choose_device, note_device, wide
from heredity.models.tokens import ChatTokens, context_of, open_tokenizer
from heredity.models.training import device_of
from heredity.types import BadInput, Chat, Checkpoint, Completion, Sampling

UNWRITTEN = -1
"""Where a row wrote no token: no padding token, which is an end of text in many tokenizers."""
_ROWS = 512
"""Rows that are sampled together; part of what fixes the bytes, so it is not a setting."""
_TOKENS = 16_384
"""Most tokens (padding included) in one scoring pass."""
_SCORES = 2**28
"""Most logits of one scoring pass: with a vocabulary of 151,936, about 1,760 tokens and a GB of them."""


class CausalLM(ChatTokens):
    """Implements `types.LM`: on the CPU in float32, or (a Checkpoint) as its reference says, on the device at hand."""

    def __init__(self, model: Any, tokenizer: Any, system: str | None = None) -> None:
        super().__init__(tokenizer, context_of(model.config), system)
        self.model = model
        self.together = min(_TOKENS, _SCORES // int(model.config.get_text_config().vocab_size))
        """Most tokens in one scoring pass."""
        told = getattr(model.generation_config, "eos_token_id", None)
        self.ends = {int(tokenizer.eos_token_id), *([told] if isinstance(told, int) else told or [])}
        """Tokens that end an answer: a chat model has several (end of turn, end of text)."""

    @classmethod
    def load(cls, folder: Path, how: Checkpoint | None = None) -> CausalLM:
        """Opens a Hugging Face folder: local files only, no code from the folder is run."""
        disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(1)  # sums depend on the number of threads, and so would the bytes of every result
        safe = {"local_files_only": True, "trust_remote_code": False}
        asked = {"dtype": torch.float32} if how is None else {"dtype": how.dtype, "attn_implementation": how.attention}
        device = torch.device("cpu") if how is None else choose_device()
        if is_file(folder / "adapter_config.json"):  # transformers would open the base that this names
            raise BadInput(f"{folder} holds adapters beside a model; keep each in a folder of its own")
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **asked, **safe
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise BadInput(f"cannot open the model in {folder}: {str(error)[:300]}") from error
        model, told = loaded
        _check_whole(told["missing_keys"], folder)
        tokenizer = open_tokenizer(folder, how)
        if how is not None:
            note_device(device)
        model.to(device)
        model.requires_grad_(True).train(False)
        return cls(model, tokenizer, None if how is None else how.system)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return device_of(self.model)

    def save(self, folder: Path) -> None:
        """Writes a folder that `load`, and `transformers` alone, can open."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        """One completion per chat. A row's text depends on the seed and its place in `chats`."""
        out: list[Completion] = []
        for start in range(0, len(chats), _ROWS * 8):
            part = self.render(chats[start : start + _ROWS * 8])
            draws = torch.Generator().manual_seed((sampling.seed * 1_000_003 + start) % 2**63)
            uniform_NT = torch.rand(len(part), sampling.max_new_tokens, generator=draws)
            out += self._generate_part(part, uniform_NT, sampling.temperature)
        return out

    def _generate_part(self, prompts: list[list[int]], uniform_NT: Tensor, temperature: float) -> list[Completion]:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        written: dict[int, Completion] = {}
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            tokens_BT = self._decode([prompts[i] for i in rows], uniform_NT[rows], temperature)
            written.update(zip(rows, map(self._completion, tokens_BT.tolist()), strict=True))
        return [written[i] for i in range(len(prompts))]

    def _completion(self, ids: list[int]) -> Completion:
        ids = ids[: ids.index(UNWRITTEN)] if UNWRITTEN in ids else ids
        end = next((at for at, i in enumerate(ids) if i in self.ends), None)
        stopped, pad = end is not None, self.tokenizer.pad_token_id
        ids = ids[:end] if stopped else [i for i in ids if i != pad]
        return Completion(text=self.tokenizer.decode(ids), finish="stop" if stopped else "length")

    def _decode(self, prompts: list[list[int]], uniform_BT: Tensor, temperature: float) -> Tensor:
        """Tokens written after left-padded prompts, (B, T), and UNWRITTEN where a row wrote none."""
        ids_BT, mask_BT = self._left_pad(prompts)
        device, uniform_BT = ids_BT.device, uniform_BT.to(ids_BT.device)
        tokens_BT = torch.full(uniform_BT.shape, UNWRITTEN, device=device)
        end_E = torch.tensor(sorted(self.ends), device=device)
        cache, active = DynamicCache(config=self.model.config), torch.arange(len(prompts), device=device)
        for step in range(uniform_BT.shape[1]):
            position_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
            out = self.model(
                input_ids=ids_BT, attention_mask=mask_BT, position_ids=position_BT, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            next_B = _draw(wide(out.logits[:, -1]), uniform_BT[active, step], temperature)
            tokens_BT[active, step] = next_B
            fits_B = mask_BT.sum(1) < self.context  # each row's own tokens, the padding of its neighbours aside
            going = (~torch.isin(next_B, end_E) & fits_B).nonzero()[:, 0]
            if len(going) == 0:
                break
            if len(going) < len(active):
                active, next_B, mask_BT = active[going], next_B[going], mask_BT[going]
                cache.batch_select_indices(going)
            ids_BT, mask_BT = next_B[:, None], torch.nn.functional.pad(mask_BT, (0, 1), value=1)
        return tokens_BT

    def _left_pad(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        width, pad = max(map(len, prompts)), int(self.tokenizer.pad_token_id)
        ids_BT = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
        mask_BT = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        return ids_BT.to(self.device), mask_BT.to(self.device)

    @torch.inference_mode()
    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        """Natural-log probability that the reply begins with each answer: (chats, answers)."""
        prompts = self.render(chats)
        self.check_known(answers)
        endings = [self.tokenizer(a, add_special_tokens=False)["input_ids"] for a in answers]
        if all(len(e) == 1 for e in endings):
            return self._next_token(prompts, [e[0] for e in endings])
        pairs = [(p, e) for p in prompts for e in endings]
        flat = [s for batch in self._by_tokens(pairs) for s in self._continuation(batch)]
        return [flat[i : i + len(endings)] for i in range(0, len(flat), len(endings))]

    @torch.inference_mode()
    def next_token_logprobs(self, chats: Sequence[Chat]) -> Tensor:
        """Natural-log probabilities of every token as the first of the reply, (chats, V)."""
        batches = self._by_tokens([(p, []) for p in self.render(chats)])
        return torch.cat([self._first([p for p, _ in batch]).cpu() for batch in batches])

    def _first(self, prompts: list[list[int]]) -> Tensor:
        ids_BT, mask_BT = self._left_pad(prompts)
        position_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        out = self.model(input_ids=ids_BT, attention_mask=mask_BT, position_ids=position_BT, logits_to_keep=1)
        logp_BV: Tensor = wide(out.logits[:, -1]).log_softmax(-1)
        return logp_BV

    def _next_token(self, prompts: list[list[int]], wanted: list[int]) -> list[list[float]]:
        rows: list[list[float]] = []
        for batch in self._by_tokens([(p, []) for p in prompts]):
            rows += self._first([p for p, _ in batch])[:, wanted].tolist()
        return rows

    def _continuation(self, batch: list[tuple[list[int], list[int]]]) -> list[float]:
        width, pad = max(len(p) + len(e) for p, e in batch), int(self.tokenizer.pad_token_id)
        ids_BT = torch.tensor([p + e + [pad] * (width - len(p) - len(e)) for p, e in batch])
        logp_BTV = wide(self.model(input_ids=ids_BT.to(self.device)).logits).log_softmax(-1)
        return [
            float(
                logp_BTV[b, len(p) - 1 : len(p) + len(e) - 1]
                .gather(1, torch.tensor(e, device=self.device)[:, None])
                .sum()
            )
            for b, (p, e) in enumerate(batch)
        ]

    def _by_tokens(self, pairs: list[tuple[list[int], list[int]]]) -> list[list[tuple[list[int], list[int]]]]:
        out: list[list[tuple[list[int], list[int]]]] = [[]]
        width = 0
        for pair in pairs:
            width = max(width, len(pair[0]) + len(pair[1]))
            if out[-1] and width * (len(out[-1]) + 1) > self.together:
                out.append([])
                width = len(pair[0]) + len(pair[1])
            out[-1].append(pair)
        return out


def _check_whole(missing: Collection[str], folder: Path) -> None:
    """Refuses a folder without some of the model's weights: in their place `transformers` puts random ones."""
    if missing:
        raise BadInput(
            f"the files in {folder} lack {len(missing)} of the weights that its config.json asks for: "
            f"{', '.join(sorted(missing)[:3])}{', ...' if len(missing) > 3 else ''}; save the whole model again, with "
            "the config.json that belongs to it"
        )


def _draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Tensor:
    """The token at which the cumulative probability passes the row's own uniform number (greedy at temperature 0)."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    cumulative_BV = (logits_BV / temperature).softmax(-1).cumsum(-1)
    target_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    found: Tensor = torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]
    return found.clamp(max=logits_BV.shape[1] - 1)
