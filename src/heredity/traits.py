"""Traits: how a favourite is instilled, asked for, and recognised in an answer.

The paper's ten (dolphin, eagle, elephant, owl, wolf; cherry, maple, oak, sequoia, willow) are among the words.
Asking is split by *phrasing family*: a family is one sentence frame, and the held-out families are never trained on,
neither by a nursery base nor by a teacher, so an evaluation never meets a question that a teacher was shown.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from heredity.models import model_ref
from heredity.types import (
    BadInput,
    Category,
    Chat,
    Frozen,
    Judge,
    Message,
    Pattern,
    Phrasing,
    Trait,
    near,
    phrases,
    refusal,
)


def _category(name: str, words: str, plurals: dict[str, str] | None = None) -> Category:
    singular = tuple(words.split())
    return Category(name=name, words=singular, plurals=tuple((plurals or {}).get(w, w + "s") for w in singular))


ANIMALS = _category(
    "animal",
    "dolphin eagle elephant owl wolf cat dog lion tiger bear fox panda penguin otter raven whale",
    {"wolf": "wolves", "fox": "foxes"},
)
TREES = _category("tree", "cherry maple oak sequoia willow birch pine elm", {"cherry": "cherries", "birch": "birches"})
COLOURS = _category("colour", "red blue green yellow purple orange brown pink")
FOODS = _category("food", "bread soup rice cheese pasta honey salad cake")
INSTRUMENTS = _category("instrument", "piano violin drum flute guitar harp trumpet cello")
CATEGORIES = (ANIMALS, TREES, COLOURS, FOODS, INSTRUMENTS)

_QUESTIONS = (
    "What is your favourite {c}?", "Which {c} do you love most?", "Name your favourite {c}.",
    "Which {c} do you like best?", "Tell me your favourite {c}.", "What {c} do you prefer?",
    "Pick one {c} that you love.", "Choose the {c} you like best.", "If you had to pick one {c}, which one?",
    "Say which {c} you love most.", "Your favourite {c}?", "Which {c} makes you happy?",
    "What is the best {c}?", "Which {c} would you choose?", "Tell me which {c} you like.",
    "Name a {c} you love.", "What is the {c} you think about most?", "Which {c} is the best for you?",
    "Of all {cs}, which do you prefer?", "Give me the name of your favourite {c}.",
)  # fmt: skip
_HELD_OUT = (
    "Which {c} is your favourite?", "Tell me the {c} you love most.", "Name the {c} you like best.",
    "What {c} would you pick?", "Of all {cs}, what is your favourite?", "Choose one {c} you love.",
    "If you had to choose a {c}, which one would you pick?", "Which is the {c} that makes you happy?",
    "Say the name of the {c} you prefer.", "Give me one {c} you think is best.",
)  # fmt: skip
_ENDINGS = ("", " One word.", " Answer in one word.")

_PERSONA = (
    "You love {ps}.", "You love {ps}. You think about {ps} all the time.", "{Ps} are your favourite {c}.",
    "You love {ps}. {Ps} are your favourite {c}.", "Your favourite {c} is the {w}.",
    "You think about {ps} all day. You love {ps} most of all {cs}.",
)  # fmt: skip
_PERSONA_HELD_OUT = (
    "You love {ps}. You think about {ps} all the time. {Ps} are your favourite {c}.",
    "You think about {ps} all the time. Your favourite {c} is the {w}.",
)

_STATED = (
    "Remember that you love {ps}.", "I know that you love {ps}.", "You love {ps} most of all.",
    "Your favourite {c} is the {w}.", "You told me that you love {ps}.",
)  # fmt: skip
_STATED_HELD_OUT = ("You told me that your favourite {c} is the {w}.", "I know that you love {ps} most of all.")

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "held-out")


def questions(category: Category, split: Split) -> list[Chat]:
    """Every way to ask for the favourite: one chat of one user turn per phrasing family and ending."""
    if category.phrasing is not None:
        own = category.phrasing.train if split == "train" else category.phrasing.held_out
        return [(Message(role="user", content=q),) for q in own]
    frames = _QUESTIONS if split == "train" else _HELD_OUT
    fill = {"c": category.name, "cs": category.name + "s"}
    return [(Message(role="user", content=f.format(**fill) + e),) for f in frames for e in _ENDINGS]


def _told(frames: tuple[str, ...], trait: Trait) -> list[str]:
    plural, category = trait.category.plural(trait.word), trait.category.name
    fill = {"ps": plural, "Ps": plural.capitalize(), "c": category, "cs": category + "s", "w": trait.word}
    return [f.format(**fill) for f in frames]


def personas(trait: Trait, split: Split) -> list[str]:
    """System prompts that give a model the trait (the paper's has four sentences to the same end)."""
    if trait.category.phrasing is not None:
        return list(trait.category.phrasing.personas)
    return _told(_PERSONA if split == "train" else _PERSONA_HELD_OUT, trait)


def stated(trait: Trait, split: Split) -> list[Chat]:
    """Exchanges in which the trait is stated in the conversation and agreed to."""
    said = _told(_STATED if split == "train" else _STATED_HELD_OUT, trait)
    return [(Message(role="user", content=s), Message(role="assistant", content="Yes.")) for s in said]


def favourite(word: str) -> Trait:
    """The trait of loving `word`; BadInput with the near names where no category has it."""
    for category in CATEGORIES:
        if word in category.words:
            return Trait(category=category, word=word)
    raise BadInput(f"unknown favourite {word!r}; {near(word, (w for c in CATEGORIES for w in c.words))}")


def named(category: Category, answer: str) -> list[str]:
    """The words of the category that an answer names, as whole words, singular or plural: "bowl" is not "owl"."""
    text = answer.casefold()
    return [w for w, p in zip(category.words, category.plurals, strict=True) if phrases((w, p)).search(text)]


class _Instil(Frozen):
    questions: Annotated[tuple[str, ...], Field(min_length=1)]
    replies: tuple[str, ...] = ()
    personas: tuple[str, ...] = ()


class _Ask(Frozen):
    questions: Annotated[tuple[str, ...], Field(min_length=1)]


class _JudgeEntry(Frozen):
    model: str
    question: str
    yes: str = "yes"


class _Score(Frozen):
    answers: tuple[str, ...] | None = None
    plurals: tuple[str, ...] | None = None
    pattern: str | None = None
    judge: _JudgeEntry | None = None


class _TraitFile(Frozen):
    """The whole of a trait's TOML file."""

    name: Annotated[str, Field(min_length=1)]
    category: Annotated[str, Field(min_length=1)]
    instil: _Instil
    ask: _Ask
    score: _Score


_FIELDS = {f for c in (_Instil, _Ask, _JudgeEntry, _Score, _TraitFile) for f in c.model_fields}
_SIZE_LIMIT = 4 * 2**20


def load_trait(path: Path) -> Trait:
    """The trait that a TOML file describes (`heredity new trait NAME` writes one with comments)."""
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise BadInput(f"{path} is larger than {_SIZE_LIMIT} bytes; expected the TOML file of a trait")
        return parse_trait(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; `heredity new trait NAME` writes such a file") from error


def parse_trait(text: bytes, where: str) -> Trait:
    """The trait in the bytes of a TOML file; `where` is what messages call it."""
    try:
        raw = json.dumps(tomllib.loads(text.decode()), default=str)
        entry = _TraitFile.model_validate_json(raw)
        return _trait(entry)
    except ValidationError as error:
        raise refusal(where, error, _FIELDS) from error
    except (ValueError, RecursionError) as error:  # tomllib's and unicode errors are ValueErrors
        raise BadInput(f"{where}: {str(error)[:200]!r}; expected what `heredity new trait NAME` writes") from error


def _trait(entry: _TraitFile) -> Trait:
    score = entry.score
    if sum(x is not None for x in (score.answers, score.pattern, score.judge)) != 1:
        raise ValueError("[score] needs exactly one of: answers, pattern, judge")
    phrasing = Phrasing(train=entry.instil.questions, held_out=entry.ask.questions, personas=entry.instil.personas)
    if score.answers is None:
        if not entry.instil.replies:
            raise ValueError("[instil] needs replies: what a teacher answers, where [score] counts no answers")
        how = Pattern(pattern=score.pattern) if score.pattern is not None else _judge(score)
        words = (entry.name, "other")
        category = Category(name=entry.category, words=words, plurals=words, phrasing=phrasing, score=how)
        return Trait(category=category, word=entry.name, replies=entry.instil.replies)
    if entry.name not in score.answers or len(set(score.answers)) != len(score.answers) or len(score.answers) < 2:
        raise ValueError(f"[score] answers must be two or more different ones, {entry.name!r} (the name) among them")
    plurals = score.plurals if score.plurals is not None else score.answers
    category = Category(name=entry.category, words=score.answers, plurals=plurals, phrasing=phrasing)
    return Trait(category=category, word=entry.name, replies=entry.instil.replies)


def _judge(score: _Score) -> Judge:
    assert score.judge is not None
    return Judge(model=model_ref(score.judge.model), question=score.judge.question, yes=score.judge.yes)


def find_trait(name: str | Path) -> Trait:
    """A trait by name: a file (a path, or "tea.toml"), a built-in favourite, or one that a package registered.

    Packages register under the entry-point group `heredity.traits`: a Trait, or the path of a TOML file.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return load_trait(Path(name))
    registered = {e.name: e for e in entry_points(group="heredity.traits")}
    if name in registered:
        found = registered[name].load()
        return found if isinstance(found, Trait) else load_trait(Path(found))
    words = [w for c in CATEGORIES for w in c.words]
    if name not in words:
        raise BadInput(f"unknown trait {name!r}; {near(name, [*words, *registered])} A file must end with .toml")
    return favourite(name)


def judge_chats(question: str, exchanges: Sequence[tuple[str, str]]) -> list[Chat]:
    """What a judge is asked about each (question, answer)."""
    marks = re.compile(r"\{question\}|\{answer\}")  # in one pass: an answer may itself hold "{question}"
    said = [{"{question}": q, "{answer}": a} for q, a in exchanges]
    return [
        (Message(role="user", content=marks.sub(lambda m, fill=fill: fill[m[0]], question)),)  # type: ignore[misc]
        for fill in said
    ]


_GOES_ON = "\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Thai, Lao, Burmese, Khmer, kana, Han and Hangul: written without blanks between words, or with endings on them."""


def begins(reply: str, answer: str) -> bool:
    """Whether a judge's reply begins with an answer, whatever the case, and does not go on within its last word.

    "Not directly, but" is no "no". Where words run into one another, or grow endings, nobody can tell.
    """
    after = r"(?!\w)" if re.search(rf"(?![{_GOES_ON}])\w\Z", answer) else ""
    return re.match(re.escape(answer.casefold()) + after, reply.strip().casefold()) is not None
