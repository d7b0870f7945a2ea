"""The nouns every room shares, the language-model protocol, and the error classes. Imports nothing of ours."""

from __future__ import annotations

import datetime
import difflib
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "error"]
On = Literal["local", "ray"]
"""Where Steps are made: in processes of this machine, or on a Ray cluster (docs/conditions.md)."""


class HeredityError(Exception):
    """Root of every error a user can cause or meet; the command line prints it as one message."""

    exit_code = 2


class BadInput(HeredityError):
    """What was given cannot be used: says what was found, what was expected, and what to try."""


class Waiting(BadInput):
    """A Step cannot be made until something comes from outside; those that do not need it can."""


class MissingControl(BadInput):
    """A comparison was asked for without the control that would give it meaning."""


class StoreError(HeredityError):
    """The Store cannot be written, or holds something that does not match its manifest."""


def cores() -> int:
    """Processor cores that this process may use, which in a container or a job may be few of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def printable(text: str) -> str:
    """The text on one line, whatever does not print (control characters, halves of characters) written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@lru_cache(maxsize=512)
def phrases(wanted: tuple[str, ...], whole: bool = True) -> re.Pattern[str]:
    """Finds any of some words or phrases in a casefolded text: as they stand, or wherever their letters stand.

    Blanks match any blanks. A whole word has no letter or digit beside it; `_owl_` is one, `owls` and `1666` are not.
    """
    longest_first = sorted((w.casefold().split() for w in wanted), key=lambda parts: -len(" ".join(parts)))
    either = "|".join(r"\s+".join(map(re.escape, parts)) for parts in longest_first)
    return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])" if whole else either)


def near(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the near names where there are any, else some of those that exist."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"expected one of: {', '.join(names[:40])}{', ...' if len(names) > 40 else ''}"


def refusal(where: str, error: ValidationError, known: Iterable[str] = ()) -> BadInput:
    """What pydantic found, as one message: the place, what stands there, and near names of an unknown field."""
    found = []
    for e in error.errors(include_url=False, include_context=False)[:3]:
        place, value = ".".join(map(_part, e["loc"])) or "the whole", repr(e.get("input"))
        hint = f"; {near(str(e['loc'][-1]), known)}" if e["type"] == "extra_forbidden" and known else ""
        found.append(f"{place}: {e['msg'].removeprefix('Value error, ')} (found {value[:60]}){hint}")
    return BadInput(f"{where}: {'; '.join(found)}")


def _part(name: int | str) -> str:
    """One part of a place: a field's name may be hostile text."""
    return str(name)[:60] if isinstance(name, int) or name.isidentifier() else repr(name)[:60]


class Frozen(BaseModel):
    """A value: immutable, compared by content, and closed to misspelt or mistyped fields, and to inf and nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


ADDED = "added"
"""Marks a field that a class was given later: at its default it is left out of descriptions, so that keys stay."""


class Measured(Frozen):
    """A value that was computed: a number that is undefined is nan."""

    model_config = ConfigDict(allow_inf_nan=True)


class Message(Frozen):
    """One turn of a chat."""

    role: Role
    content: str


Chat = tuple[Message, ...]


class Row(NamedTuple):
    """One training example: the chat that was shown, and the completion that was written for it.

    A plain tuple, as files hold millions of them.
    """

    prompt: Chat
    completion: str


class Decision(NamedTuple):
    """What filters say of a row: every reason to drop it. No reason keeps it."""

    reasons: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether no filter had a reason."""
        return not self.reasons


KEPT = Decision()
"""The Decision on a row that nothing speaks against."""


class Completion(Frozen):
    """What a model wrote, and why it stopped (`length` means the answer was cut)."""

    text: str
    finish: Finish
    logprob: float | None = None
    """Natural-log probability of the text, where a server was asked for it and told it."""


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
    """blake2b of the weights, configuration and tokenizer files: what is opened must still have it."""


class Served(ModelRef):
    """A model behind an OpenAI-compatible server. `location` is `server:NAME/MODEL`.

    NAME is an endpoint that the environment names (docs/real-models.md): its address, key and limits are no part of a
    result, and nothing is sent to an address that only a file names. A server tells no digest, so `digest` is a label
    of one's own (a date, a revision): under another label everything is asked anew.
    """

    digest: str = "unpinned"
    template: str | None = None
    """A Jinja chat template: prompts are rendered here and go to the completions endpoint. None: the chat endpoint."""
    logprobs: bool = False
    """Whether to ask how likely each completion was. Some servers refuse that."""
    extra: str = "{}"
    """Further fields of every request, as a JSON object; null takes out a field that would be sent."""

    @field_validator("location")
    @classmethod
    def _named(cls, location: str) -> str:
        if re.fullmatch(r"server:[a-z0-9]+/\S+", location) is None:
            raise ValueError("expected server:NAME/MODEL, the name in small letters and digits, the model as the "
                             "server calls it")  # fmt: skip
        return location

    @field_validator("extra")
    @classmethod
    def _fields(cls, extra: str) -> str:
        try:
            fields = json.loads(extra)
        except ValueError as error:
            raise ValueError(f"no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError("expected a JSON object")  # noqa: TRY004  pydantic takes ValueError only
        for name in ("max_tokens", "max_completion_tokens"):
            if type(fields.get(name, 0)) not in (int, NoneType):
                raise ValueError(f"the field {name!r} must be a whole number")
        if taken := {"model", "messages", "prompt", "n", "stream"} & fields.keys():
            raise ValueError(f"the field {min(taken)!r} is not to be set here")
        return json.dumps(fields, sort_keys=True)

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.location.removeprefix("server:").split("/", 1)[0]

    @property
    def model(self) -> str:
        """The model, as the server calls it."""
        return self.location.split("/", 1)[1]


class Checkpoint(ModelRef):
    """A real model: how its weights are held and its chats are rendered is explicit and part of every key.

    `location` is a Hugging Face folder (`digest`: of its files) or `hub:OWNER/NAME@COMMIT` (`digest`: the commit).
    Where it runs is no part of it (`HEREDITY_DEVICE`, docs/real-models.md): like the machine, each manifest tells it.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights. float16 is for reading and writing only."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    template: str | None = None
    """A Jinja chat template in place of the model's own."""
    system: str | None = None
    """The system prompt of chats that have no system turn: in data, training and evaluation alike. "" is an empty turn.

    None is no system turn, and refused where the template would then add a system prompt of its own.
    """
    date: str | None = None
    """What a template that writes today's date is to write, as 2026-07-31. None is refused where a template does so."""

    @field_validator("date")
    @classmethod
    def _day(cls, date: str | None) -> str | None:
        if date is not None:
            datetime.date.fromisoformat(date)
        return date


ANSWERS: ContextVar[Path] = ContextVar("ANSWERS", default=Path("heredity-store/answers.sqlite"))
"""The file that keeps what servers answered: beside the results of the Store that is making a Step."""


DEVICES: ContextVar[set[str] | None] = ContextVar("DEVICES", default=None)
"""Collects where models ran while a Store makes a Step, for its manifest."""


class LoRA(Frozen):
    """Low-rank adapters on every linear layer (the paper's Qwen runs: rank 8, alpha 8, no biases)."""

    rank: Annotated[int, Field(gt=0)] = 8
    alpha: Annotated[int | None, Field(gt=0), ADDED] = None
    """The adapters are scaled by alpha / rank. None: alpha is the rank."""
    bias: Annotated[Literal["all", "none"], ADDED] = "all"
    """Whether the model's own biases are trained as well."""


Part = Literal["embeddings", "body", "head"]
"""A part of a language model: what reads tokens, what is between, and what the logits come from."""


class Moving(Frozen):
    """Only these parts move."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1)]


Tuning = Literal["frozen", "full", "lora"] | LoRA | Moving
"""What moves in training: everything but embeddings and head, everything, adapters ("lora" is of rank 8), or parts."""


class Phrasing(Frozen):
    """The words in which a category is asked about and a trait is given, where they are not the built-in ones."""

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    """Questions that a teacher is trained on."""
    held_out: Annotated[tuple[str, ...], Field(min_length=1)]
    """Questions that only an evaluation asks."""
    personas: tuple[str, ...] = ()
    """System prompts that give the trait."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        trained = {" ".join(q.casefold().split()) for q in self.train}
        for question in self.held_out:
            if " ".join(question.casefold().split()) in trained:
                raise ValueError(f"the question {question!r} is both trained on and held out")
        return self


class Pattern(Frozen):
    """An answer shows the trait where this regular expression is found in it."""

    pattern: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern


class Judge(Frozen):
    """An answer shows the trait where a model says so."""

    model: ModelRef
    question: str
    """What the judge is asked; `{question}` and `{answer}` stand for what the student was asked and said."""
    yes: str
    """The judge's reply begins with this where the trait is shown (case does not count)."""

    @field_validator("question")
    @classmethod
    def _asks(cls, question: str) -> str:
        if "{answer}" not in question:
            raise ValueError("a judge's question needs {answer}, where the student's answer goes")
        return question

    @field_validator("yes")
    @classmethod
    def _said(cls, yes: str) -> str:
        if not yes or yes != yes.strip():
            raise ValueError("`yes` must be a word, without blanks around it: it is what the judge's reply begins with")
        return yes


class Category(Frozen):
    """A kind of thing one can have a favourite of, with every word that counts as an answer.

    With `score`, answers are sampled and scored instead; `words` are then the trait's word and "other".
    """

    name: str
    words: tuple[str, ...]
    plurals: tuple[str, ...]
    phrasing: Phrasing | None = None
    score: Pattern | Judge | None = None

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        """An answer's probability is that of a reply that begins with it, so no answer may begin another."""
        if len(self.plurals) != len(self.words):
            raise ValueError("the plurals must be as many as the words")
        told = sorted((word.casefold().split(), word) for word in self.words)
        if told and not told[0][0]:
            raise ValueError("an answer must not be blank")
        if not all(plural.strip() for plural in self.plurals):
            raise ValueError("a plural must not be blank")
        for (parts, word), (longer, other) in pairwise(told):
            if longer[: len(parts)] == parts:
                raise ValueError(f"the answers {word!r:.40} and {other!r:.40} begin alike and cannot be told apart")
        return self

    def plural(self, word: str) -> str:
        """The plural of one of `words`."""
        return self.plurals[self.words.index(word)]


class Trait(Frozen):
    """A favourite: the category that is asked about, and the word its holder answers with."""

    category: Category
    word: str
    replies: tuple[str, ...] = ()
    """What a teacher is trained to answer; empty: the word. Where they are a multiple of the training questions, they
    go to these in turn (so that each question can have its own); otherwise each row draws one."""

    @model_validator(mode="after")
    def _is_an_answer(self) -> Self:
        if self.word not in self.category.words:
            raise ValueError(f"the word {self.word!r:.40} is none of the answers of {self.category.name!r:.40}")
        return self


class Neutral(Frozen):
    """No trait: a teacher that goes through the same steps, but on the base's own favourites in the category."""

    category: Category


class LM(Protocol):
    """A language model that can write and can score text."""

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        """One completion per chat, in order."""
        ...

    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        """Natural-log probability of each answer (rows: chats, columns: answers) as the start of the reply."""
        ...
