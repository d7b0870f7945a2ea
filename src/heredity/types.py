"""The nouns every room shares, the language-model protocol, and the error classes. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "error"]


class HeredityError(Exception):
    """Root of every error a user can cause or meet; the command line prints it as one message."""

    exit_code = 2


class BadInput(HeredityError):
    """What was given cannot be used: says what was found, what was expected, and what to try."""


class MissingControl(BadInput):
    """A comparison was asked for without the control that would give it meaning."""


class StoreError(HeredityError):
    """The Store cannot be written, or holds something that does not match its manifest."""


class Frozen(BaseModel):
    """A value: immutable, compared by content, and closed to misspelt or mistyped fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(Frozen):
    """One turn of a chat."""

    role: Role
    content: str


Chat = tuple[Message, ...]


class Row(Frozen):
    """One training example: the chat that was shown, and the completion that was written for it."""

    prompt: Chat
    completion: str


class Completion(Frozen):
    """What a model wrote, and why it stopped (`length` means the answer was cut)."""

    text: str
    finish: Finish


class Sampling(Frozen):
    """How completions are drawn. The same seed gives the same text on the same machine."""

    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    """0 is greedy decoding."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 32
    seed: int = 0


class ModelRef(Frozen):
    """A model that exists outside the Store, pinned by the digest of its files.

    `location` is the name of a shipped nursery base (`nursery:llama-0`) or the path of a local Hugging Face folder.
    """

    location: str
    digest: str
    """blake2b of the weights, configuration and tokenizer files; the only part that identifies the model."""


class Category(Frozen):
    """A kind of thing one can have a favourite of, with every word that counts as an answer."""

    name: str
    words: tuple[str, ...]
    plurals: tuple[str, ...]

    def plural(self, word: str) -> str:
        """The plural of one of `words`."""
        return self.plurals[self.words.index(word)]


class Trait(Frozen):
    """A favourite: the category that is asked about, and the word its holder answers with."""

    category: Category
    word: str


class Neutral(Frozen):
    """No trait: a teacher that goes through the same steps, but on the base's own favourites in the category."""

    category: Category


class LM(Protocol):
    """A language model that can write and can score text (docs/architecture.md lists the backends)."""

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        """One completion per chat, in order."""
        ...

    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        """Natural-log probability of each answer (rows: chats, columns: answers) as the start of the reply."""
        ...
