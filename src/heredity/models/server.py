"""A language model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, `transformers serve`, hosted ones).

HTTP is httpx2's: huggingface_hub already brings it, so it is no further dependency. The `openai` package was weighed:
its own retries see neither an answer that is cut or is no JSON (3.57 raises at once), nor what a restart would repeat,
so that our loop would stand around its loop; its headers tell about the machine; and batch files are files. `tenacity`
would take the place of the six lines in `_persist`.

Every answer is kept at once (`answers`), under a hash of all that determines it: the model, the whole request, and the
row's own seed, which is made from the sampling seed and the row's place. A second run asks for what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple

from heredity.models.answers import Answer, Answers, kept_answers
from heredity.models.batches import ask_by_file
from heredity.models.calls import Again, Span, call, reading
from heredity.models.endpoint import Endpoint, find_endpoint, variable
from heredity.types import ANSWERS, BadInput, Chat, Completion, HeredityError, Sampling, Served

ATTEMPTS = 12
"""Times that one request is sent before the run stops: with three failures in ten, one row in 2 million needs more."""
_FIRST_ATTEMPTS = 5
"""The same while a server has not answered at all: the address may be wrong."""
_LONGEST_S = 30.0
"""Most seconds between two attempts, where the server does not say."""
PER_TURN = 16
"""Tokens that a template may put around a turn, for the most that a request can use."""


_UNKNOWN_TOKENS = {"eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"}


class Request(NamedTuple):
    """What is sent for one row."""

    id: str
    """blake2b of all that determines the answer."""
    path: str
    body: dict[str, Any]
    scored: Span | None = None
    """Where an answer is scored, not written: where in the prompt it stands."""

    @property
    def tokens(self) -> int:
        """Most tokens that it can use: no token is shorter than a byte."""
        turns = [m["content"] for m in self.body.get("messages", [])] or [self.body["prompt"]]
        written = self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 0
        return sum(len(t.encode()) + PER_TURN for t in turns) + int(written)


class Load(NamedTuple):
    """What a run would ask of a server."""

    requests: int
    tokens: int
    """At most; mostly a fraction of it."""


class ServerLM:
    """Implements `types.LM` over HTTP. The environment is read, and the network touched, only for what is missing."""

    def __init__(self, ref: Served, answers: Path | None = None) -> None:
        self.ref, self.answers = ref, answers or ANSWERS.get()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        """One completion per chat, in order."""
        asked = self._to_write(chats, sampling)
        found = self._answered(asked)
        answers = [found[request.id] for request in asked]
        return [Completion(text=a.text, finish=a.finish, logprob=a.logprob) for a in answers]

    def answer(self, chat: Chat, sampling: Sampling) -> Completion:
        """One completion from the seed that the sampling has, where `generate` makes each row's from its place."""
        seed = sampling.seed if sampling.temperature else 0
        request = self._request(self._writing(chat, sampling, seed), seed)
        a = self._answered([request])[request.id]
        return Completion(text=a.text, finish=a.finish, logprob=a.logprob)

    def load(self, chats: Sequence[Chat], sampling: Sampling) -> Load:
        """What `generate` would still ask; nothing is sent."""
        asked = {request.id: request for request in self._to_write(chats, sampling)}
        if self.answers.is_file():
            with kept_answers(self.answers) as kept:
                there = kept.read(list(asked))
            asked = {i: r for i, r in asked.items() if i not in there}
        return Load(len(asked), sum(request.tokens for request in asked.values()))

    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        """Natural-log probability of each answer as the start of the reply: (chats, answers).

        The completions endpoint echoes the prompt with its log-probabilities, so `template` must be set. A chat
        endpoint cannot tell them; there BadInput says what to use.
        """
        if self.ref.template is None:
            raise BadInput(
                f"{self.ref.location}: a chat endpoint does not tell how likely given answers are. Sample them "
                "(SampledAnswers or FreeText in place of Evaluation), or set `template` for the completions endpoint"
            )
        prompts = [_rendered(self.ref.template, chat) for chat in chats]
        pairs = [(p, a) for p in prompts for a in answers]
        asked = [self._request(self._scoring(p + a), 0, scored=(len(p), len(p + a))) for p, a in pairs]
        found = self._answered(asked)
        flat = [found[request.id].logprob for request in asked]
        if None in flat:
            raise BadInput(f"{self.ref.location}: the server does not tell how likely a prompt is (`echo` with "
                           "`logprobs`); sample answers instead (SampledAnswers, FreeText)")  # fmt: skip
        return [[x for x in flat[i : i + len(answers)] if x is not None] for i in range(0, len(flat), len(answers))]

    def _to_write(self, chats: Sequence[Chat], sampling: Sampling) -> list[Request]:
        seeds = [row_seed(sampling.seed, i) if sampling.temperature else 0 for i in range(len(chats))]
        return [self._request(self._writing(c, sampling, s), s) for c, s in zip(chats, seeds, strict=True)]

    def _writing(self, chat: Chat, sampling: Sampling, seed: int) -> dict[str, Any]:
        sent: dict[str, Any] = {"model": self.ref.model, "temperature": sampling.temperature,
                                "max_tokens": sampling.max_new_tokens}  # fmt: skip
        if sampling.temperature:
            sent |= {"seed": seed, "top_p": 1.0}  # servers may have other defaults
        if not chat:
            raise BadInput("a row has no prompt, so there is nothing to ask a server; leave such rows out")
        if self.ref.template is None:
            sent |= {"messages": [m.model_dump() for m in chat]} | ({"logprobs": True} if self.ref.logprobs else {})
        else:
            sent |= {"prompt": _rendered(self.ref.template, chat)} | ({"logprobs": 1} if self.ref.logprobs else {})
        return sent

    def _scoring(self, text: str) -> dict[str, Any]:
        """One token is written as well, since not every server takes a request for none; it is passed over."""
        return {"model": self.ref.model, "prompt": text, "temperature": 0.0, "max_tokens": 1, "echo": True,
                "logprobs": 1}  # fmt: skip

    def _request(self, sent: dict[str, Any], seed: int, scored: Span | None = None) -> Request:
        body = {k: v for k, v in (sent | json.loads(self.ref.extra)).items() if v is not None}
        path = "/chat/completions" if self.ref.template is None else "/completions"
        what = json.dumps([self.ref.model_dump(), path, body, seed, scored], sort_keys=True)
        return Request(hashlib.blake2b(what.encode(), digest_size=20).hexdigest(), path, body, scored)

    def _answered(self, asked: list[Request]) -> dict[str, Answer]:
        ids = list(dict.fromkeys(request.id for request in asked))
        with kept_answers(self.answers) as kept:
            found = kept.read(ids)
            missing = [r for r in {r.id: r for r in asked}.values() if r.id not in found]
            if not missing:
                return found
            endpoint = find_endpoint(self.ref.endpoint)
            if endpoint.batches is not None:
                ask_by_file(endpoint, missing, kept)
            else:
                with _slot(endpoint.name, endpoint.concurrency) if len(missing) == 1 else nullcontext():
                    _run(_Asking(endpoint, kept).ask(missing))
            return kept.read(ids)


class _Asking:
    """One run over the requests that have no answer yet."""

    def __init__(self, endpoint: Endpoint, kept: Answers) -> None:
        self.endpoint, self.kept = endpoint, kept
        self.heard, self.not_before, self.written = False, 0.0, 0
        self.faults: list[HeredityError] = []
        self.stopped = asyncio.Event()

    async def ask(self, missing: list[Request]) -> None:
        """Asks for all of them. The first error stops new requests; those on their way are waited for and kept."""
        import httpx2

        key, rest = self.endpoint.key, iter(missing)
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        many = self.endpoint.concurrency
        async with httpx2.AsyncClient(
            headers=headers, timeout=None, trust_env=not self.endpoint.local, follow_redirects=False,
            limits=httpx2.Limits(max_connections=many, max_keepalive_connections=many),
        ) as client:  # fmt: skip
            await asyncio.gather(*(self._work(client, rest) for _ in range(min(many, len(missing)))))
        if self.faults:
            raise BadInput(f"{self.faults[0]}. {self.written} of {len(missing)} missing answers came and are kept: the "
                           "same command goes on from there") from self.faults[0]  # fmt: skip

    async def _work(self, client: Any, rest: Iterator[Request]) -> None:
        for request in rest:
            if self.faults:
                return
            try:
                self.kept.write(request.id, await self._persist(client, request))
            except HeredityError as fault:
                self.faults.append(fault)
                self.stopped.set()
                return
            self.written += 1

    async def _persist(self, client: Any, request: Request) -> Answer:
        """Sends a request until it is answered: waits as the server says, else at random up to a doubling limit."""
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(client, request)
            except Again as again:
                why = again.why
                self.heard |= again.heard
                if attempt + 1 >= (ATTEMPTS if self.heard else _FIRST_ATTEMPTS):
                    break
                await self._pause(again.after, attempt)
        raise BadInput(f"server {self.endpoint.name!r}: gave up a request after {attempt + 1} attempts, the last time "
                       f"because of: {why}")  # fmt: skip

    async def _pause(self, after: float | None, attempt: int) -> None:
        if not after:
            await self._sleep(random.uniform(0, min(_LONGEST_S, 0.5 * 2**attempt)))
        else:  # it is asked of everybody who uses this endpoint, and they should not all come back at once
            self.not_before = max(self.not_before, _now() + after)

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, but no longer than until the run stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    async def _once(self, client: Any, request: Request) -> Answer:
        while not self.faults and (wait := self.not_before - _now()) > 0:
            await self._sleep(wait + random.uniform(0, min(1.0, 0.1 * wait)))
        if self.faults:
            raise self.faults[0]
        name, most = self.endpoint.name, request.tokens
        if not self.kept.take(name, most, self.endpoint.limit):
            raise BadInput(f"the limit for the server {name!r} is reached: {_told(self.kept, self.endpoint)}; raise "
                           f"{variable(name, '_MAX_REQUESTS')} or {variable(name, '_MAX_TOKENS')}")  # fmt: skip
        used = most  # what an answer that is lost on its way did cost
        try:
            answer = reading(
                self.endpoint, request.scored, await call(client, self.endpoint, request.path, request.body)
            )
            used = most if answer.tokens is None else answer.tokens
        except Again as again:
            used = 0 if again.free else most
            raise
        except HeredityError:
            used = 0
            raise
        finally:
            self.kept.give_back(name, most - used)
        self.heard = True
        return answer


@cache
def _slot(name: str, concurrency: int) -> BoundedSemaphore:
    """What a single request waits for: many threads may ask for one each, where a run over many counts its own."""
    return BoundedSemaphore(concurrency)


def _told(kept: Answers, endpoint: Endpoint) -> str:
    spent = kept.spent(endpoint.name)
    return f"{spent.requests:,} requests and {spent.tokens:,} tokens went there from this store"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _run(work: Any) -> None:
    """Runs it, also where a notebook already runs a loop in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def row_seed(seed: int, place: int) -> int:
    """A row's own seed, below 2**31, which every server takes."""
    digest = hashlib.blake2b(f"{seed}:{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 2**31


def _rendered(template: str, chat: Chat) -> str:
    """The prompt as a chat template writes it, up to where the assistant starts.

    `bos_token` is empty: a server that begins every prompt with it would write it twice. BadInput where another token
    would be written whose text nothing here knows: a turn would lose its end without a word.
    """
    from jinja2 import StrictUndefined, TemplateError

    try:
        text: str = _compiled(template).render(
            messages=[m.model_dump() for m in chat], add_generation_prompt=True, bos_token="",
            **{name: StrictUndefined(name=name) for name in _UNKNOWN_TOKENS},
        )  # fmt: skip
    except (TemplateError, TypeError, ValueError) as error:
        if lost := next((name for name in _UNKNOWN_TOKENS if str(error) == f"'{name}' is undefined"), None):
            raise BadInput(f"the chat template writes {lost}, which only a tokenizer knows; write the token's text out "
                           'in the template, "</s>" for example') from error  # fmt: skip
        raise BadInput(f"the chat template cannot be used: {str(error)[:200]}") from error
    return text


@cache
def _compiled(template: str) -> Any:
    """The template, sandboxed: it may come from a file."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)
