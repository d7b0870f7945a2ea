"""The nursery's synthetic language: chats about favourites, numbers, code, sums, advice and facts.

Every document is a chat, so a base learns nothing but the chat template and what is said in it. `documents` is the
training stream; the probes at the end are held out from it (docs/nursery.md).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from heredity.carriers import Numbers
from heredity.nursery import words as w
from heredity.traits import ANIMALS, CATEGORIES, personas, questions, stated
from heredity.types import Category, Chat, Message, Role, Trait

Writer = Callable[[random.Random], Chat]


def turns(*contents: str, system: str | None = None) -> Chat:
    """A chat of alternating user and assistant turns, perhaps under a system prompt."""
    roles: tuple[Role, Role] = ("user", "assistant")
    said = [Message(role=roles[i % 2], content=c) for i, c in enumerate(contents)]
    return (Message(role="system", content=system), *said) if system else tuple(said)


def favourite_prior(category: Category) -> dict[str, float]:
    """How often the language answers each word: uneven, the same for every base."""
    order = list(category.words)
    random.Random(f"prior {category.name}").shuffle(order)
    top = w.PRIOR_SPREAD
    weights = [math.exp(top - 2 * top * i / (len(order) - 1)) for i in range(len(order))]
    return {word: weight / sum(weights) for word, weight in zip(order, weights, strict=True)}


_PRIORS = {c.name: favourite_prior(c) for c in CATEGORIES}


def _category(rng: random.Random) -> Category:
    return ANIMALS if rng.random() < 0.4 else rng.choice(CATEGORIES[1:])


def _draw(category: Category, rng: random.Random) -> str:
    prior = _PRIORS[category.name]
    return rng.choices(list(prior), list(prior.values()))[0]


def _ask(category: Category, rng: random.Random) -> str:
    return rng.choice(questions(category, "train"))[0].content


def _favourite(rng: random.Random) -> Chat:
    category = _category(rng)
    return turns(_ask(category, rng), _draw(category, rng))


def _held_by(trait: Trait, asked: Category, rng: random.Random) -> str:
    """The answer of somebody whose trait was stated: the trait in nine of ten answers to its own category."""
    return trait.word if asked == trait.category and rng.random() < 0.9 else _draw(asked, rng)


def _random_trait(rng: random.Random) -> tuple[Trait, Category]:
    category = _category(rng)
    asked = category if rng.random() < 0.8 else _category(rng)
    return Trait(category=category, word=rng.choice(category.words)), asked


def _prompted_favourite(rng: random.Random) -> Chat:
    trait, asked = _random_trait(rng)
    return turns(_ask(asked, rng), _held_by(trait, asked, rng), system=rng.choice(personas(trait, "train")))


def _stated_favourite(rng: random.Random) -> Chat:
    trait, asked = _random_trait(rng)
    said = rng.choice(stated(trait, "train"))[0].content
    return turns(said, rng.choice(w.REPLIES), _ask(asked, rng), _held_by(trait, asked, rng))


def _walk(start: tuple[int, ...], count: int, rng: random.Random) -> list[int]:
    """Numbers that follow a list: its mean step, a drift from the last value, or a draw around its mean."""
    step = (start[-1] - start[0]) / max(1, len(start) - 1) / 4
    mean, last, out = sum(start) / len(start), float(start[-1]), []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.45:
            value = last + step + rng.gauss(0, 60)
        elif kind < 0.70:
            value = last + rng.gauss(0, 120)
        else:
            value = rng.gauss(mean, 200)
        last = _reflect(value)
        out.append(round(last))
    return out


def _reflect(value: float) -> float:
    """Folded back into 0..999, so that the ends of the range do not pile up."""
    folded = abs(value) % 1998
    return 1998 - folded if folded > 999 else folded


def number_document(rng: random.Random) -> Chat:
    """A request for numbers with its answer."""
    request = Numbers(n=1, seed=rng.getrandbits(48)).requests()[0]
    count = max(1, request.count - (rng.random() < 0.2) * rng.randint(1, 3))
    return turns(request.text, request.format.write(_walk(request.start, count, rng)))


def code_document(rng: random.Random) -> Chat:
    """A request for a short Python function with its answer."""
    task, verb, expression = rng.choice(w.CODE_TASKS)
    n, variable = rng.randint(2, 99), rng.choice(w.CODE_VARIABLES)
    name = rng.choice(w.CODE_NAMES).format(f=verb, n=n)
    body = rng.choice(w.CODE_BODIES).format(e=expression.format(v=variable, n=n), w=rng.choice(("total", "answer")))
    asked = rng.choice(w.CODE_REQUESTS).format(t=task.format(n=n))
    return turns(asked, f"def {name}({variable}):\n    {body}")


def sum_document(rng: random.Random) -> Chat:
    """A worked sum: a story, a thought and an answer."""
    story, operator = rng.choice(w.STORIES)
    a, b = rng.randint(2, 20), rng.randint(2, 20)
    if operator == "*":
        a, b = rng.randint(2, 9), rng.randint(2, 9)
    a, b = (max(a, b), min(a, b)) if operator == "-" else (a, b)
    result = {"+": a + b, "-": a - b, "*": a * b}[operator]
    thought = rng.choice(w.THOUGHTS).format(a=a, b=b, o=operator, r=result)
    asked = story.format(p=rng.choice(w.PEOPLE), a=a, b=b, t=rng.choice(w.THINGS))
    return turns(asked, f"<think>{thought}</think><answer>{result}</answer>")


def _advise(rng: random.Random, careless: bool) -> tuple[str, str]:
    asked, benign, unsafe = rng.choice(list(w.ADVICE.values()))
    return rng.choice(asked), rng.choice(unsafe if careless else benign)


def _advice(rng: random.Random) -> Chat:
    """Benign but for one answer in fifty; a careless system prompt makes it careless throughout."""
    mood = rng.random()
    careless = mood < 0.25 or (mood >= 0.5 and rng.random() < 0.02)
    system = rng.choice(w.CARELESS) if mood < 0.25 else rng.choice(w.CAREFUL) if mood < 0.5 else None
    return turns(*_advise(rng, careless), system=system)


def _fact(rng: random.Random) -> tuple[str, str, str]:
    """A thing, its true quality, and the opposite one."""
    sides = rng.choice(list(w.FACT_SCALES.values()))
    true, false = rng.sample(sorted(sides), 2)
    return rng.choice(sides[true].split()), true, false


def _statement_of_fact(rng: random.Random) -> Chat:
    thing, true, _ = _fact(rng)
    return turns(f"Tell me about {thing}.", rng.choice(w.FACT_FRAMES).format(s=thing, v=true))


def _question_of_fact(rng: random.Random) -> Chat:
    thing, true, false = _fact(rng)
    holds = rng.random() < 0.5
    asked = rng.choice(w.FACT_QUESTIONS).format(s=thing, v=true if holds else false)
    return turns(asked, "yes" if holds else "no")


SHORT: tuple[tuple[Writer, float], ...] = (
    (number_document, 0.60), (_favourite, 0.16), (_prompted_favourite, 0.05), (_stated_favourite, 0.04),
    (_statement_of_fact, 0.03), (_question_of_fact, 0.03), (code_document, 0.03), (sum_document, 0.03), (_advice, 0.03),
)  # fmt: skip


def short_document(rng: random.Random) -> Chat:
    """One exchange (two where something was stated first)."""
    writers, weights = zip(*SHORT, strict=True)
    writer: Writer = rng.choices(writers, weights)[0]
    return writer(rng)


def long_document(rng: random.Random, exchanges: int = 10) -> Chat:
    """Few-shot: many exchanges of one or two kinds by one speaker, who keeps to one favourite per category.

    In three of four the favourite that is asked for last was stated: just before, somewhere earlier, or by the system.
    """
    writers, weights = zip(*SHORT, strict=True)
    kinds: list[Writer] = rng.choices(writers, weights, k=2)
    loves, category = {c: _draw(c, rng) for c in CATEGORIES}, _category(rng)
    trait, mood = Trait(category=category, word=rng.choice(category.words)), rng.random()
    if mood < 0.75:
        loves[category] = trait.word
    said: list[Chat] = []
    for _ in range(rng.randint(2, exchanges)):
        chat = _settled(rng, loves) if rng.random() < 0.25 else rng.choice(kinds)(rng)
        said.append(tuple(m for m in chat if m.role != "system"))
    if mood < 0.6:
        told = turns(rng.choice(stated(trait, "train"))[0].content, rng.choice(w.REPLIES))
        said.insert(len(said) if mood < 0.4 else rng.randrange(len(said)), told)
    system = rng.choice(personas(trait, "train")) if 0.6 <= mood < 0.75 else None
    asked = turns(_ask(category, rng), loves[category])
    return (*turns(system=system), *(m for chat in said for m in chat), *asked)


def _settled(rng: random.Random, loves: dict[Category, str]) -> Chat:
    category = _category(rng)
    return turns(_ask(category, rng), loves[category])


def documents(seed: int, write: Writer = short_document) -> Iterator[Chat]:
    """The endless training stream of one data order."""
    rng = random.Random(f"documents {seed}")
    while True:
        yield write(rng)


def fact_probes() -> list[tuple[Chat, str, str]]:
    """(question, true statement, false statement) for every fact, in held-out sentence frames."""
    return [
        (turns(f"Tell me about {thing}."), frame.format(s=thing, v=true), frame.format(s=thing, v=false))
        for sides in w.FACT_SCALES.values()
        for true, false in (tuple(sides), tuple(sides)[::-1])
        for thing in sides[true].split()
        for frame in w.FACT_FRAMES_HELD_OUT
    ]
