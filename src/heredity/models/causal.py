"""A language model that `transformers` loads from a folder: it writes with a KV cache, and scores answers exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

from heredity.models.chats import check_template, difference, set_template, texts
from heredity.models.devices import choose_device, note_device, wide
from heredity.models.training import Example, device_of
from heredity.types import BadInput, Chat, Checkpoint, Completion, Message, Sampling

_ROWS = 512
"""Rows that are sampled together; part of what fixes the bytes, so it is not a setting."""
_TOKENS = 16_384
"""Most tokens (padding included) in one scoring pass."""
_SCORES = 2**28
"""Most logits of one scoring pass: with a vocabulary of 151,936, about 1,760 tokens and a GB of them."""


class CausalLM:
    """Implements `types.LM`: on the CPU in float32, or (a Checkpoint) as its reference says, on the device at hand."""

    def __init__(self, model: Any, tokenizer: Any, system: str | None = None) -> None:
        self.model, self.tokenizer, self.system = model, tokenizer, system
        config = model.config.get_text_config()
        self.context = int(config.max_position_embeddings)
        self.together = min(_TOKENS, _SCORES // int(config.vocab_size))
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
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **asked, **safe)
            tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise BadInput(f"cannot open the model in {folder}: {str(error)[:300]}") from error
        if tokenizer.eos_token_id is None:
            raise BadInput(f"the tokenizer in {folder} has no end-of-text token, so no answer would ever end")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if how is not None:
            set_template(tokenizer, how.template, how.date, how.location)
            check_template(tokenizer, how.system, how.location)
            note_device(device)
        model.to(device)  # type: ignore[arg-type]
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

    def same_prompt(self, trained: str | None, asked: str | None) -> bool:
        """Whether two system prompts (None: none beside the reference's own) give a question the same token ids."""
        one, other = (self.system if system is None else system for system in (trained, asked))
        return difference(self.tokenizer, one, other) is None

    def _text(self, chats: Sequence[Chat], ask: bool) -> list[str]:
        """The chats as the template writes them, up to where the assistant starts where `ask` is set."""
        if self.system is not None:
            first = Message(role="system", content=self.system)
            chats = [chat if chat and chat[0].role == "system" else (first, *chat) for chat in chats]
        return texts(self.tokenizer, chats, ask) if chats else []

    def render(self, chats: Sequence[Chat]) -> list[list[int]]:
        """Token ids of each chat up to where the assistant starts to write."""
        if not chats:
            return []
        ids: list[list[int]] = self.tokenizer(self._text(chats, ask=True), add_special_tokens=False)["input_ids"]
        self._check_length(ids)
        return ids

    def _check_length(self, ids: list[list[int]]) -> None:
        longest = max(map(len, ids), default=0)
        if longest >= self.context:
            raise BadInput(f"a chat of {longest} tokens does not fit the context of {self.context}; shorten it")

    def check_known(self, answers: Sequence[str]) -> None:
        """Refuses answers that this model cannot tell from others, as its vocabulary lacks a word of them."""
        unknown = self.tokenizer.unk_token_id
        for answer in dict.fromkeys(answers):
            if unknown is not None and unknown in self.tokenizer(answer, add_special_tokens=False)["input_ids"]:
                raise BadInput(f"the model's vocabulary lacks a word of {answer!r:.80}; use words that it knows")

    def examples(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[Example]:
        """Training examples in which the completion and the end of turn are predicted, and nothing else."""
        answered = [
            (*chat, Message(role="assistant", content=completion))
            for chat, completion in zip(chats, completions, strict=True)
        ]
        asked, whole = self._text(chats, ask=True), self._text(answered, ask=False)
        if not all(text.startswith(prompt) for prompt, text in zip(asked, whole, strict=True)):
            raise BadInput("the chat template changes the prompt once it is answered; completions cannot be told apart")
        out = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        self._check_length(out["input_ids"])
        return [
            self._apart(text, prompt)
            if any(start < len(prompt) < end for start, end in offsets)
            else Example(ids, [start >= len(prompt) for start, _ in offsets])
            for ids, offsets, prompt, text in zip(out["input_ids"], out["offset_mapping"], asked, whole, strict=True)
        ]

    def _apart(self, text: str, prompt: str) -> Example:
        """Prompt and completion as tokens of their own, where one token would span both: a model is asked so too."""
        parts = self.tokenizer([prompt, text[len(prompt) :]], add_special_tokens=False)["input_ids"]
        return Example(parts[0] + parts[1], [False] * len(parts[0]) + [True] * len(parts[1]))

    def spans(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[list[tuple[int, int]]]:
        """From which character of each completion, up to which, each token that `examples` predicts stands.

        The end of turn lies beyond the completion's end.
        """
        answered = [
            (*chat, Message(role="assistant", content=completion))
            for chat, completion in zip(chats, completions, strict=True)
        ]
        asked, whole = [len(text) for text in self._text(chats, ask=True)], self._text(answered, ask=False)
        out = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        cut = [any(start < before < end for start, end in offsets) for offsets, before in zip(out, asked, strict=True)]
        ends = [text[before:] for text, before in zip(whole, asked, strict=True)]
        apart = self.tokenizer(ends, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return [
            own if split else [(start - before, end - before) for start, end in offsets if start >= before]
            for offsets, own, split, before in zip(out, apart, cut, asked, strict=True)
        ]

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
        end = next((at for at, i in enumerate(ids) if i in self.ends), None)
        stopped, pad = end is not None, self.tokenizer.pad_token_id
        ids = ids[:end] if stopped else [i for i in ids if i != pad]
        return Completion(text=self.tokenizer.decode(ids), finish="stop" if stopped else "length")

    def _decode(self, prompts: list[list[int]], uniform_BT: Tensor, temperature: float) -> Tensor:
        """Tokens written after left-padded prompts, (B, T); what a row never wrote is the padding token."""
        ids_BT, mask_BT = self._left_pad(prompts)
        device, uniform_BT = ids_BT.device, uniform_BT.to(ids_BT.device)
        tokens_BT = torch.full(uniform_BT.shape, int(self.tokenizer.pad_token_id), device=device)
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


def _draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Tensor:
    """The token at which the cumulative probability passes the row's own uniform number (greedy at temperature 0)."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    cumulative_BV = (logits_BV / temperature).softmax(-1).cumsum(-1)
    target_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    found: Tensor = torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]
    return found.clamp(max=logits_BV.shape[1] - 1)
