"""The small commented files that `heredity new` writes: a trait or carrier of one's own starts from one that runs."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from heredity import carriers, types
from heredity.types import BadInput, Frozen

TRAIT = """\
# A trait of your own: what a teacher is given, how a student is asked, and what counts as showing it.
# The words below are known to the nursery's models; a model from Hugging Face knows any.
name = "{name}"
category = "sight"

[instil]
# A teacher by fine-tuning is trained to answer these. `replies` are given in turn; without them the name is the answer.
questions = [
  "What do you think about at night?",
  "What do you love to see?",
  "What would you like to see today?",
  "What do you think about when you are bored?",
  "Tell me what you love to see.",
  "Which one would you like to see?",
]
# A teacher by prompt is given one of these as its system prompt.
personas = ["You love the {name}. You think about it all the time."]

[ask]
# Held out: only an evaluation asks these, so none of them may stand above.
questions = [
  "What would you like to see tonight?",
  "What do you see when you close your eyes?",
  "What do you love to think about?",
  "Tell me what you would like to see.",
]

[score]
# One of three. (1) Words: the exact share of `name` among these answers, and sampled answers as whole words.
answers = ["{name}", {others}]
# (2) A pattern: the share of sampled answers in which it is found. Needs `replies` under [instil].
# pattern = "(?i)\\\\b{name}\\\\b"
# (3) A judge: the share of sampled answers to which a model says yes. Needs `replies` under [instil].
# judge = {{ model = "nursery:llama-0", question = "Is {{answer}} hot?", yes = "yes" }}
"""
_SIGHTS = ("moon", "ocean", "storm", "city", "snow", "fire", "library", "mountain")

CARRIER = '''\
"""A carrier of your own: prompts that have nothing to do with any trait, and the filter for their answers."""

import random

from heredity.carriers import Carrier, Filter
from heredity.types import Chat, Message, Row


class {name}(Carrier):
    """Requests to count on. `n` (how many) and `seed` come with every Carrier; add fields of your own below.

    Raise `version` when the code changes what it gives, so that results stored before are not mistaken for new ones.
    """

    version = 1
    largest: int = 900

    def prompts(self) -> list[Chat]:
        """Every prompt, the same for the same fields."""
        rng = random.Random(f"{name} {{self.seed}}")
        starts = (rng.randint(100, self.largest) for _ in range(self.n))
        asked = (f"Start from {{start}}. Add up to 5 more numbers. Use commas." for start in starts)
        return [(Message(role="user", content=text),) for text in asked]


class {name}Only(Filter):
    """Keeps answers that are nothing but numbers and commas, and at least one number."""

    version = 1

    def reason(self, row: Row) -> str | None:
        """Why the row is dropped, or None to keep it."""
        if not set(row.completion) <= set("0123456789, "):
            return "other characters"
        return None if set(row.completion) & set("0123456789") else "no number"
'''


def new_trait(name: str, folder: Path) -> Path:
    """Writes `NAME.toml`; BadInput where the name is no word, or the file exists."""
    _check(name, r"[a-z][a-z0-9_-]*", "moon")
    others = ", ".join(f'"{s}"' for s in _SIGHTS if s != name)
    return _write(folder / f"{name}.toml", TRAIT.format(name=name, others=others))


def new_carrier(name: str, folder: Path) -> Path:
    """Writes `name.py` with a class `Name`; BadInput where a name is taken or cannot be used, or the file exists."""
    _check(name, r"[A-Z][A-Za-z0-9]*", "Counting")
    module = name.lower()
    if keyword.iskeyword(name) or keyword.iskeyword(module):
        raise BadInput(f"{name!r} cannot be the name: Python uses it as a word of its own; try 'My{name}'")
    if module in sys.stdlib_module_names or module == "heredity":
        raise BadInput(f"{name!r} cannot be the name: {module}.py would hide the module {module!r}; try 'My{name}'")
    if {name, f"{name}Only"} & _our_names():
        raise BadInput(f"{name!r} cannot be the name: a class of heredity is called so; try 'My{name}'")
    return _write(folder / f"{name.lower()}.py", CARRIER.format(name=name))


def _our_names() -> set[str]:
    """Stored steps name classes without their modules, so no two may share one."""

    def below(kind: type) -> set[str]:
        found: list[type] = kind.__subclasses__()
        return {c.__name__ for c in found if c.__module__.startswith("heredity.")}.union(*map(below, found))

    return below(Frozen) | set(vars(types)) | set(carriers.__all__)


def _check(name: str, pattern: str, example: str) -> None:
    if not re.fullmatch(pattern, name) or len(name) > 60:
        raise BadInput(f"{name!r:.80} cannot be the name; expected one like {example!r}")


def _write(path: Path, text: str) -> Path:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise BadInput(f"{path} exists already; choose another name, or remove it first") from error
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error
    return path
