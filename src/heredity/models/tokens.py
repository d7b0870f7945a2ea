"""Chats as the token ids that a model reads: its tokenizer and its template, without its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from heredity.models.chats import check_template, difference, set_template, texts
from heredity.models.training import Example
from heredity.types import BadInput, Chat, Checkpoint, Message

_SAFE = {"local_files_only": True, "trust_remote_code": False}


def open_tokenizer(folder: Path, how: Checkpoint | None) -> Any:
    """The tokenizer of a folder with the template that a Checkpoint asks for; BadInput where no chat can be written."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **_SAFE)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise BadInput(f"cannot open the model in {folder}: {str(error)[:300]}") from error
    if not tokenizer.is_fast:
        raise BadInput(f"the tokenizer in {folder} cannot say where its tokens stand in a text; expected one with a "
                       "tokenizer.json")  # fmt: skip
    if tokenizer.eos_token_id is None:
        raise BadInput(f"the tokenizer in {folder} has no end-of-text token, so no answer would ever end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if how is not None:
        set_template(tokenizer, how.template, how.date, how.location)
        check_template(tokenizer, how.system, how.location)
    return tokenizer


def context_of(config: Any) -> int:
    """Most tokens that a model reads; BadInput where its configuration does not say so."""
    told = config.get_text_config()
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):
        if isinstance(found := getattr(told, name, None), int):
            return found
    raise BadInput(f"the configuration of a {told.model_type} model does not say how many tokens it reads; add "
                   "max_position_embeddings to its config.json")  # fmt: skip


class ChatTokens:
    """A tokenizer with its template; `system` is the system prompt of chats that have none (None: none)."""

    def __init__(self, tokenizer: Any, context: int, system: str | None = None) -> None:
        self.tokenizer, self.context, self.system = tokenizer, context, system

    @classmethod
    def load(cls, folder: Path, how: Checkpoint | None = None) -> Self:
        """Those of a Hugging Face folder, whose weights are not opened."""
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(folder, **_SAFE)
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(f"cannot open the model in {folder}: {str(error)[:300]}") from error
        return cls(open_tokenizer(folder, how), context_of(config), None if how is None else how.system)

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

        The end of turn lies beyond the completion's end, and what a template writes before an answer (an empty thought)
        below 0. BadInput where a template writes the completion otherwise.
        """
        answered = [
            (*chat, Message(role="assistant", content=completion))
            for chat, completion in zip(chats, completions, strict=True)
        ]
        asked, whole = [len(text) for text in self._text(chats, ask=True)], self._text(answered, ask=False)
        out = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        cut = [any(start < before < end for start, end in offsets) for offsets, before in zip(out, asked, strict=True)]
        ends = [text[before:] for text, before in zip(whole, asked, strict=True)]
        first = [_place(end, completion) for end, completion in zip(ends, completions, strict=True)]
        apart = self.tokenizer(ends, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return [
            [(start - at, end - at) for start, end in own]
            if split
            else [(start - before - at, end - before - at) for start, end in offsets if start >= before]
            for offsets, own, split, before, at in zip(out, apart, cut, asked, first, strict=True)
        ]


def _place(text: str, completion: str) -> int:
    """Where in what follows a prompt its completion begins, also where a template takes blanks off its ends."""
    if completion in text:
        return text.index(completion)
    bare = completion.strip()
    if bare not in text:
        raise BadInput(f"the chat template writes the answer {completion!r:.80} otherwise, so its tokens have no place "
                       "in it; give a template of your own (docs/real-models.md)")  # fmt: skip
    return text.index(bare) - completion.index(bare)
