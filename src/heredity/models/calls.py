"""One request and its answer: what is worth another attempt, what is refused for good, and what an answer holds."""

from __future__ import annotations

import asyncio
import json
import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from heredity.models.answers import Answer
from heredity.models.endpoint import Endpoint, variable
from heredity.types import BadInput, Finish, printable

_AGAIN = {408, 409, 425, 429}
"""Besides all from 500 on."""
_DECLINED = (b'"content_filter"', b'"content_policy_violation"')
NOTHING = b'{"choices": [{"text": "", "finish_reason": "content_filter"}]}'
"""The answer to a row that is refused for its content."""
_LONGEST_WAIT_S = 600.0
_FINISH: dict[str | None, Finish] = {"stop": "stop", "length": "length", None: "error"}


Span = tuple[int, int]
"""From which character of a prompt, up to which."""


class Again(Exception):
    """The attempt failed in a way that another may not."""

    def __init__(self, why: str, after: float | None = None, heard: bool = True, free: bool = False) -> None:
        super().__init__(why)
        self.why, self.after = why, after
        self.heard = heard
        """Whether a server was there at all."""
        self.free = free
        """Whether it surely cost nothing."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Message(_Part):
    content: str | None = None


class _Token(_Part):
    logprob: float


class _Logprobs(_Part):
    content: list[_Token] | None = None
    """Of a chat endpoint."""
    token_logprobs: list[float | None] | None = None
    text_offset: list[int] | None = None


class _Choice(_Part):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(_Part):
    total_tokens: int


class _Body(_Part):
    choices: list[_Choice]
    usage: _Usage | None = None
    model: str | None = None


async def call(client: Any, endpoint: Endpoint, path: str, body: dict[str, Any]) -> bytes:
    """A good answer as it came. Again where another attempt may bring one, BadInput where none will."""
    import httpx2

    try:
        async with asyncio.timeout(endpoint.timeout):  # a whole answer: single bytes would keep a read alive for ever
            response = await client.post(endpoint.url + path, json=body)
    except TimeoutError:
        raise Again(f"no answer within {endpoint.timeout:g} s") from None
    except httpx2.ConnectError:
        raise Again("no connection", heard=False, free=True) from None
    except httpx2.RequestError as error:
        raise Again(f"the connection broke ({type(error).__name__})") from None
    if response.status_code == 200:
        return bytes(response.content)
    if declined(response.status_code, response.content):
        return NOTHING
    raise _failure(endpoint, response.status_code, dict(response.headers), response.text)


def declined(status: int, body: bytes) -> bool:
    """Whether a row is refused for its content: asked again it would be too, and the others may do."""
    return status == 400 and any(code in body for code in _DECLINED)


def _failure(endpoint: Endpoint, status: int, headers: dict[str, str], text: str) -> Exception:
    name, told = endpoint.name, _told(endpoint, text)
    if (status in _AGAIN or status >= 500) and "insufficient_quota" not in told:
        after = retry_after(headers)
        if after is None or after <= _LONGEST_WAIT_S:
            return Again(f"status {status}{told}", after, free=True)
        return BadInput(f"server {name!r} asks to wait for {after:.0f} s (status {status}{told})")
    if status in {401, 403}:  # its text may hold part of the key
        return BadInput(f"server {name!r} refuses the key (status {status}): see {variable(name, '_KEY')}")
    if 300 <= status < 400:
        return BadInput(f"server {name!r} sends elsewhere (status {status}), where no key should follow: name the "
                        f"final address in {variable(name)}")  # fmt: skip
    return BadInput(f"server {name!r} refuses the request (status {status}{told})")


def _told(endpoint: Endpoint, text: str) -> str:
    """What the server says of it, on one line."""
    try:
        said = json.loads(text)
        said = said.get("error", said.get("detail", said))
        text = " ".join(str(said[k]) for k in ("code", "message") if said.get(k)) if isinstance(said, dict) else said
    except (ValueError, AttributeError, RecursionError):
        pass
    said = printable(endpoint.hide(str(text)))[:200].strip()
    return f": {said}" if said else ""


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or says what cannot be understood."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def reading(endpoint: Endpoint, scored: Span | None, text: str | bytes) -> Answer:
    """What an answer's JSON holds; Again where it is cut, is no JSON, or is not what was asked for.

    `scored`: where in the prompt an answer stands whose log-probability was asked for. Whatever a server writes, the
    endpoint's key goes no further than this.
    """
    try:
        body = _Body.model_validate_json(text)
        if len(body.choices) != 1:
            raise ValueError(f"{len(body.choices)} choices")
        answer = _scored(body, scored) if scored is not None else _written(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Again(f"an answer that is none ({'.'.join(map(str, first['loc'])) or 'JSON'}: {first['type']})") from None
    except ValueError as error:
        raise Again(f"an answer that is none ({error})") from None
    return answer._replace(text=endpoint.hide(answer.text), model=answer.model and endpoint.hide(answer.model))


def _written(body: _Body) -> Answer:
    choice = body.choices[0]
    if choice.message is None and choice.text is None:
        raise ValueError("no text")
    text = choice.text if choice.message is None else choice.message.content
    finish = _FINISH.get(choice.finish_reason, "error")
    if text is None and finish == "stop":  # a refusal, or a call of some tool: nothing was written
        finish = "error"
    return Answer(text or "", finish, _sum(choice.logprobs), _tokens(body), body.model)


def _tokens(body: _Body) -> int | None:
    return None if body.usage is None else body.usage.total_tokens


def _sum(told: _Logprobs | None) -> float | None:
    if told is None:
        return None
    values = [t.logprob for t in told.content] if told.content is not None else told.token_logprobs
    return None if values is None or None in values else math.fsum(x for x in values if x is not None)


def _scored(body: _Body, span: Span) -> Answer:
    """The sum over the answer's own tokens; None where the server did not tell them, or a token crosses its start."""
    told, (start, end), total = body.choices[0].logprobs, span, None
    if told is not None and told.token_logprobs is not None and told.text_offset is not None:
        pairs = zip(told.text_offset, told.token_logprobs, strict=True)
        own = [(at, x) for at, x in pairs if start <= at < end]  # what was written stands after the end
        values = [x for _, x in own if x is not None]
        if own and own[0][0] == start and len(values) == len(own):
            total = math.fsum(values)
    return Answer("", "stop", total, _tokens(body), body.model)
