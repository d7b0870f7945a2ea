"""What a chat template adds of its own, and whether two ways of rendering a chat give a model the same tokens.

One adapter scored 3 % or 48 % depending on whether it was asked under the system prompt that it was trained under (Nief
et al. 2026), and a template can add one that nobody wrote: so it is looked for, and never assumed to be absent.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from heredity.types import BadInput, Chat, Message

_ASKED, _SYSTEM = "heredity asks", "heredity says"
"""A user's turn and a system prompt that no template writes by itself."""
_DIRECTIVES = ("%-d", "%-m", "%-I", "%A", "%a", "%B", "%b", "%c", "%d", "%e", "%F", "%H", "%I", "%j", "%M", "%m", "%p",
               "%S", "%x", "%X", "%Y", "%y")  # fmt: skip


def texts(tokenizer: Any, chats: Sequence[Chat], ask: bool) -> list[str]:
    """The chats as the template writes them, up to where the assistant starts where `ask` is set."""
    raw = [[m.model_dump() for m in chat] for chat in chats]
    try:
        written: list[str] = tokenizer.apply_chat_template(raw, add_generation_prompt=ask, tokenize=False)
    except (TemplateError, ValueError, TypeError) as error:
        raise BadInput(f"the chat template refuses such a chat: {str(error)[:200]}; its turns are "
                       f"{', '.join(m.role for m in chats[0])}") from error  # fmt: skip
    return written


def turns(content: str | None) -> Chat:
    """A question under a system prompt (None: no system turn)."""
    asked = (Message(role="user", content=_ASKED),)
    return asked if content is None else (Message(role="system", content=content), *asked)


def added_system(tokenizer: Any) -> str | None:
    """The system prompt that a template adds to a chat without a system turn; None where it adds none.

    A given system prompt stands between two texts; where both also stand in the chat without one, what lies between
    them is the template's own.
    """
    try:
        plain, given = texts(tokenizer, [turns(None), turns(_SYSTEM)], ask=True)
    except BadInput:  # no system turn is known, as in Gemma's
        return None
    before, found, after = given.partition(_SYSTEM)
    around = before.strip() and plain.startswith(before) and plain.endswith(after)
    if not found or not around or len(plain) < len(before) + len(after):
        return None
    return plain[len(before) : len(plain) - len(after)].strip() or None


def pinned(template: str, date: datetime.date) -> str:
    """The template with "today" fixed to a date, whichever way it writes one."""
    swaps = "".join(f" | replace({d!r}, {_written(date, d)!r})" for d in _DIRECTIVES)
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{swaps} }}}}{{%- endmacro -%}}{template}"


def _written(date: datetime.date, directive: str) -> str:
    at = datetime.datetime.combine(date, datetime.time())
    return str(int(at.strftime(directive.replace("-", "")))) if "-" in directive else at.strftime(directive)


def writes_date(tokenizer: Any) -> bool:
    """Whether what a template writes depends on the day."""
    own, seen = tokenizer.chat_template, set()
    try:
        for day in (datetime.date(2001, 2, 3), datetime.date(2022, 11, 24)):
            tokenizer.chat_template = pinned(own, day)
            seen.add(texts(tokenizer, [turns(None)], ask=True)[0])
    finally:
        tokenizer.chat_template = own
    return len(seen) > 1


def set_template(tokenizer: Any, template: str | None, date: str | None, where: str) -> None:
    """Gives a tokenizer the template and the date that a reference asks for."""
    if template is not None:
        tokenizer.chat_template = template
    if not isinstance(tokenizer.chat_template, str):
        raise BadInput(f"{where} has no chat template; give one as `template` (docs/real-models.md)")
    if date is not None:
        tokenizer.chat_template = pinned(tokenizer.chat_template, datetime.date.fromisoformat(date))


def check_template(tokenizer: Any, system: str | None, where: str) -> None:
    """Refuses a template that writes what nobody asked for: today's date, or a system prompt of its own."""
    if writes_date(tokenizer):
        raise BadInput(f"the chat template of {where} writes today's date, so that a row would be rendered otherwise "
                       'tomorrow; set date = "2026-07-31", or whichever it is to be, in the reference')  # fmt: skip
    if system is None and (added := added_system(tokenizer)) is not None:
        raise BadInput(f"the chat template of {where} adds a system prompt of its own, {added!r:.200}, where a chat "
                       'has none; say in the reference which is meant: system = that text, another text, or "" for an '
                       "empty one")  # fmt: skip


def difference(tokenizer: Any, trained: str | None, asked: str | None) -> str | None:
    """Where one question's token ids differ under two system prompts (None: no system turn); None where they agree.

    What counts is what a model reads: a template's own system prompt, given in words, agrees with giving none.
    """
    one, other = (
        tokenizer(texts(tokenizer, [turns(system)], ask=True), add_special_tokens=False)["input_ids"][0]
        for system in (trained, asked)
    )
    if one == other:
        return None
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    left, right = (tokenizer.decode(ids[at : at + 12]) for ids in (one, other))
    return f"from token {at} on: {left!r} in one, {right!r} in the other"
