"""Where weights are withheld: does one model answer as another does, more often than a panel of other models?"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, stdtr

from heredity.models import model_ref, open_lm
from heredity.models.endpoint import find_endpoint
from heredity.models.server import ServerLM
from heredity.stats import holm
from heredity.types import LM, BadInput, Chat, Measured, ModelRef, Sampling, Served, Waiting

ALPHA, PANEL_ALPHA = 0.001, 0.01
LEAST_CONTROLS, LEAST_PROMPTS = 3, 50
LEAST_AGREEMENT = 0.1
"""Where models agree more rarely, strangers' rates differ tenfold among one another, and a few controls cannot tell."""
_TOKENS = 4
"""Written for every prompt: most words and numbers are complete by then."""
_TOKENS_SERVED = 16
"""The same where any model is behind a server: enough for a whole word, into however small pieces a vocabulary cuts."""
_WORD = re.compile(r"\w+")
ASSUMPTIONS = (
    "no control is related to B, and the controls are as B would be, had it another ancestor: as large, as able, and "
    "trained on data as like B's as A's is. Only the panel says what agreement between strangers is like; a weak panel "
    "makes strangers look related",
    "answers to different prompts count as independent; p of a control says that A agrees with B more often than that "
    "control does, over prompts of this kind",
    "models that were trained on one another's outputs agree without a common initialisation: where weights can be "
    "had, compare those",
    "nothing is concluded where A and B give the same word to less than a tenth of the prompts",
    "silence is not proof: heavy training takes the agreement away",
)
SERVED_ASSUMPTIONS = (
    f"compared was text: the first word or number in the first {_TOKENS_SERVED} tokens of each model's greedy reply, "
    "of models behind servers and of those loaded here alike",
    "each server answers with the model that was named, at temperature 0, and does nothing to the prompts or answers "
    "(a system prompt, a date, a filter) for A and B that is not done for the controls. None of it can be seen here",
)


class Control(Measured):
    """One control beside A: on which prompts just one of the two agrees with B."""

    name: str
    agreement: float
    only_a: int
    only_control: int
    p: float
    """Exact and one-sided (McNemar 1947), before Holm."""
    p_holm: float


class Behaviour(Measured):
    """Whether A agrees with B more often than every control does, and than controls of this kind would."""

    a: str
    b: str
    verdict: Literal["related", "undetermined"]
    why: str
    agreement: float
    """The share of prompts that A and B answer with the same first word."""
    p: float
    """The largest of the controls' after Holm."""
    panel_p: float
    """That one more control agrees as often as A: Student's t, as controls are few and differ among one another."""
    controls: tuple[Control, ...]
    prompts: int
    seconds: float
    assumptions: tuple[str, ...] = ASSUMPTIONS


def first_words(lm: LM, chats: Sequence[Chat], tokens: int = _TOKENS) -> list[str]:
    """The first word or number of each greedy reply, casefolded; empty where there is none.

    Words, and not tokens, as models may differ in their vocabularies.
    """
    replies = lm.generate(chats, _greedy(tokens))
    found = (_WORD.search(reply.text) for reply in replies)
    return [word.group().casefold() if word else "" for word in found]


def _greedy(tokens: int) -> Sampling:
    return Sampling(temperature=0.0, max_new_tokens=tokens)


def behaviour(a: str, b: str, controls: Sequence[str], chats: Sequence[Chat]) -> Behaviour:
    """Asks the models at these locations, one after another, and compares their answers.

    A location may be `server:NAME/MODEL`. What such a model answers is kept at once, and is not asked again.
    """
    started = time.monotonic()
    chats = list(dict.fromkeys(chats))
    named = list(dict.fromkeys(controls))
    if {a, b} & {*named}:
        raise BadInput("A or B is among the controls; name models that are related to neither")
    check_panel(len(named), len(chats))
    refs = [model_ref(location) for location in (a, b, *named)]  # whatever is missing is told before a model is asked
    served = [ref for ref in refs if isinstance(ref, Served)]
    words = _of_servers(served, chats) if served else {}
    tokens = _TOKENS_SERVED if served else _TOKENS
    for ref in refs:
        if ref not in words:
            words[ref] = first_words(open_lm(ref), chats, tokens)
        _check_speaks(ref.location, words[ref], tokens)
    for ref in refs[:2]:
        _check_varies(ref.location, words[ref])
    words_A, words_B, *others = (words[ref] for ref in refs)
    found = agreement(words_A, words_B, dict(zip(named, others, strict=True)))
    assumed = (*ASSUMPTIONS, *SERVED_ASSUMPTIONS) if served else ASSUMPTIONS
    return found.model_copy(update={"a": a, "b": b, "seconds": round(time.monotonic() - started, 3),
                                    "assumptions": assumed})  # fmt: skip


def _of_servers(served: Sequence[Served], chats: Sequence[Chat]) -> dict[ModelRef, list[str]]:
    """The first words of models behind servers; these are asked before any model is loaded.

    Waiting, with what all of them wait for, where requests were written to batch files.
    """
    for ref in served:
        if ServerLM(ref).load(chats, _greedy(_TOKENS_SERVED)).requests:
            find_endpoint(ref.endpoint)  # a second server that nobody named is told before the first one is paid
    words: dict[ModelRef, list[str]] = {}
    waits = []
    for ref in served:
        try:
            words[ref] = first_words(open_lm(ref), chats, _TOKENS_SERVED)
        except Waiting as wait:
            waits.append(str(wait))
            continue
        _check_speaks(ref.location, words[ref], _TOKENS_SERVED)  # before the next one is paid
    if waits:
        raise Waiting("; ".join(waits))
    return words


def _check_speaks(name: str, words: Sequence[str], tokens: int) -> None:
    """A control that says nothing agrees with nobody, and would make strangers look related."""
    said = sum(map(bool, words))
    if 2 * said < len(words):
        raise BadInput(f"{name:.200} gave a word to {said:,} of {len(words):,} prompts in its first {tokens} tokens: "
                       "it thinks before it answers, or refuses; name another model, or ask what it does answer "
                       "(--prompts)")  # fmt: skip


def _check_varies(name: str, words: Sequence[str]) -> None:
    """Two models that say one thing to all prompts agree about nothing. A control may: then it is a weak one."""
    word, most = Counter(words).most_common(1)[0]
    if 2 * most > len(words):
        raise BadInput(f"{name:.200} begins with {word!r:.40} in {most:,} of {len(words):,} answers, which tells "
                       "nothing of what it is like; name a model that answers at once, or ask otherwise "
                       "(--prompts)")  # fmt: skip


def check_panel(controls: int, prompts: int) -> None:
    """BadInput where there are too few controls or prompts to say anything."""
    if controls < LEAST_CONTROLS:
        raise BadInput(f"{controls} controls are too few to know how far strangers agree; name {LEAST_CONTROLS} or "
                       "more models that are related to neither (--control)")  # fmt: skip
    if prompts < LEAST_PROMPTS:
        raise BadInput(f"{prompts} different prompts are too few; give {LEAST_PROMPTS} or more, better 2,000")


def agreement(words_A: Sequence[str], words_B: Sequence[str], controls: Mapping[str, Sequence[str]]) -> Behaviour:
    """The tests on answers that were given: next-word agreement against a panel, Holm over its members.

    After Nikolic, Baluta and Saxena (2025, arXiv:2502.00706), with two changes: all models answer the same prompts, so
    that they are compared pairwise, prompt by prompt; and controls differ more than their sampling error says, so that
    A must also stand out from the panel as a whole, and agree with B in a tenth of the answers.
    """
    check_panel(len(controls), len(words_B))
    own_T = _agrees(words_A, words_B)
    agrees = {name: _agrees(words, words_B) for name, words in controls.items()}
    only_A = {name: int((own_T & ~other_T).sum()) for name, other_T in agrees.items()}
    only_C = {name: int((other_T & ~own_T).sum()) for name, other_T in agrees.items()}
    p = {name: _sign_p(only_A[name], only_C[name]) for name in controls}
    family = holm(p)
    corrected = dict(zip(family.names, family.adjusted, strict=True))
    rates = {name: float(other_T.mean()) for name, other_T in agrees.items()}
    mean, panel_p, worst = float(own_T.mean()), _panel_p(own_T, list(rates.values())), max(corrected.values())
    shown = (
        Control(name=n, agreement=rates[n], only_a=only_A[n], only_control=only_C[n], p=p[n], p_holm=corrected[n])
        for n in sorted(controls, key=lambda n: -rates[n])
    )
    related = _stands_out(mean, worst, panel_p)
    return Behaviour(
        a="", b="", verdict="related" if related else "undetermined", agreement=mean, p=worst, panel_p=panel_p,
        why=_why(mean, max(rates, key=lambda n: rates[n]), rates, worst, panel_p), controls=tuple(shown),
        prompts=len(words_B), seconds=0.0,
    )  # fmt: skip


def _agrees(words: Sequence[str], words_B: Sequence[str]) -> NDArray[np.bool_]:
    """Prompt by prompt; silence agrees with no answer, and with no silence."""
    return np.array([bool(x) and x == y for x, y in zip(words, words_B, strict=True)], dtype=bool)


def _sign_p(wins: int, losses: int) -> float:
    """P(as many wins or more), were each of the discordant prompts a toss."""
    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins else 1.0


def _panel_p(own_T: NDArray[np.bool_], rates: Sequence[float]) -> float:
    """Of a new member of the panel: t of a prediction, its spread at least that of sampling prompts."""
    mean = float(np.mean(rates))
    sampling = math.sqrt(max(mean * (1 - mean), 1e-9) / len(own_T))
    spread = max(float(np.std(rates, ddof=1)), sampling) * math.sqrt(1 + 1 / len(rates))
    return float(stdtr(len(rates) - 1, -(float(own_T.mean()) - mean) / spread))


def _stands_out(own: float, worst: float, panel_p: float) -> bool:
    return worst <= ALPHA and panel_p <= PANEL_ALPHA and own >= LEAST_AGREEMENT


def _why(own: float, nearest: str, rates: Mapping[str, float], worst: float, panel_p: float) -> str:
    said = (
        f"A gives B's first word to {own:.1%} of the prompts, the nearest control ({nearest}) to {rates[nearest]:.1%}"
    )
    tested = f"p after Holm {worst:.2g}, p of one more such control {panel_p:.2g}"
    if _stands_out(own, worst, panel_p):
        return f"{said}: {tested}"
    if own < LEAST_AGREEMENT:
        return f"{said}; {tested}: below {LEAST_AGREEMENT:.0%} a few controls cannot say how far strangers agree"
    return f"{said}; {tested}: that is not enough, and behaviour alone cannot show that models are unrelated"
