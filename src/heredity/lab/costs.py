"""What a run will take, told before it starts: seconds from Steps of the same kind, and the price of servers' tokens.

Steps of one kind on one base that the Store holds give seconds per unit of work (a row, a training row, an answer);
the interval is between the slow and the fast ones. Of kinds that it does not hold, training and sampling on a folder
can be guessed from the machine's speed in matrix products; nothing is known of others, and they are named.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from heredity.lab.work import Described, rows_trained
from heredity.models import locate
from heredity.models.answers import Spent, kept_answers
from heredity.models.endpoint import price
from heredity.models.server import Load
from heredity.store import Step, Store, describe
from heredity.store.running import local_workers
from heredity.types import BadInput, HeredityError, Served

LOOKED_AT = 60
"""Most manifests of a kind that are read, the newest first."""
FEW = 3
"""With fewer Steps than this of a kind the interval is twice as wide on both sides."""
TRAINS, SAMPLES = (0.7, 6.0), (1.0, 40.0)
"""How many times longer training and sampling take than their products alone would, between these two (measured on the
nursery, where a model is small and sampling goes a token at a time)."""

Range = tuple[float, float]


class Expected(NamedTuple):
    """Seconds that a run will take, between `low` and `high` (nan where nothing is known), and what that leaves out."""

    low: float
    high: float
    guessed: dict[str, int]
    """Steps by kind whose time is guessed from the machine's speed."""
    unknown: dict[str, int]
    """Steps by kind of which nothing is known; they are not in the sum."""


def _speed() -> float:
    from heredity.models.machine import measure

    return measure("float32")


def expect(
    todo: Sequence[Step], store: Store, workers: int | None = None, measure: bool = False,
    speed: Callable[[], float] = _speed,
) -> Expected:  # fmt: skip
    """The time to make these Steps in so many processes (None: as a run takes by itself).

    With `measure`, kinds of which nothing is known are guessed from the machine's speed, in operations a second, which
    is measured once if it is needed.
    """
    processes, speed = local_workers(workers, todo), cache(speed)
    known, times = _known(store, {type(step).__name__ for step in todo}), dict[Step, Range]()
    guessed, unknown = Counter[str](), Counter[str]()
    for step in todo:
        described = describe(step)
        found = _from_others(described, known)
        if found is None and measure and (found := _from_speed(described, speed)) is not None:
            guessed[type(step).__name__] += 1
        if found is None:
            unknown[type(step).__name__] += 1
        times[step] = found or (0.0, 0.0)
    low, high = (_wall(todo, {s: t[end] for s, t in times.items()}, processes) for end in (0, 1))
    nothing = len(todo) == unknown.total() and todo
    return Expected(math.nan if nothing else low, math.nan if nothing else high, dict(guessed), dict(unknown))


def work(described: Described) -> float:
    """Units of work of a described Step: what its time grows with, within its kind."""
    fields, rows = described["fields"], rows_trained(described)
    if rows is not None:
        return float(max(1, rows))
    if described["step"] == "Samples":
        return float(fields["prompts"]["fields"]["n"])
    return 1.0 + float(fields.get("samples_per_question") or 0)


def base_of(described: Described) -> str | None:
    """The location of the model that a described Step starts from, over however many Steps; None where it has none."""
    inner: Any = described
    while isinstance(inner, dict) and "fields" in inner:
        fields = inner["fields"]
        if "location" in fields:
            return str(fields["location"])
        inner = fields.get("model") or fields.get("base")
    return None


def _known(store: Store, kinds: set[str]) -> dict[tuple[str, str | None], list[float]]:
    """Seconds per unit of work of the newest finished Steps, by kind and base; what cannot be read is passed over."""
    found: dict[tuple[str, str | None], list[float]] = {}
    seen = Counter[str]()
    for key in reversed(store.keys()):
        kind = key.rpartition("-")[0]
        if kind not in kinds or seen[kind] >= LOOKED_AT:
            continue
        seen[kind] += 1
        try:
            manifest = store.manifest(key)
            rate = manifest["run"]["wall_s"] / work(manifest["step"])
            found.setdefault((kind, base_of(manifest["step"])), []).append(rate)
        except (HeredityError, LookupError, TypeError, ValueError):  # `heredity verify` tells; this only estimates
            continue
    return found


def _from_others(described: Described, known: Mapping[tuple[str, str | None], list[float]]) -> Range | None:
    rates = sorted(known.get((described["step"], base_of(described)), []))
    if not rates:
        return None
    cut, wider, units = len(rates) // 10, 2.0 if len(rates) < FEW else 1.0, work(described)
    return rates[cut] * units / wider, rates[-1 - cut] * units * wider


def _from_speed(described: Described, speed: Callable[[], float]) -> Range | None:
    """Training costs six operations for each parameter and token, sampling two (Kaplan et al. 2020)."""
    kind, location = described["step"], base_of(described)
    if kind not in {"Samples", "Student", "Teacher", "Excused"} or location is None or location.startswith("server:"):
        return None
    from heredity.models.sizes import stored_parameters

    try:
        parameters = stored_parameters(locate(location))
    except BadInput:
        parameters = None
    tokens = _tokens(described)
    if parameters is None or tokens is None:
        return None
    (low, high), each = (SAMPLES, 2) if kind == "Samples" else (TRAINS, 6)
    seconds = each * parameters * work(described) * tokens / speed()
    return low * seconds, high * seconds


def _tokens(described: Described) -> float | None:
    """About how many tokens one row has: what may be written, and as much again that is read; None if not known."""
    inner: Any = described
    while isinstance(inner, dict) and "sampling" not in inner["fields"]:
        fields = inner["fields"]
        inner = fields.get("corpus") or fields.get("samples") or fields.get("mix")
    return None if inner is None else float(2 * inner["fields"]["sampling"]["fields"]["max_new_tokens"])


def _wall(todo: Sequence[Step], seconds: Mapping[Step, float], processes: int) -> float:
    """Seconds of all Steps shared among the processes, or of the longest chain of Steps that wait for one another."""
    chains: dict[Step, float] = {}
    for step in todo:  # inputs come before the Steps that read them
        chains[step] = seconds[step] + max((chains[i] for i in step.inputs if i in chains), default=0.0)
    return max(math.fsum(seconds.values()) / processes, max(chains.values(), default=0.0))


def priced(asked: Mapping[str, Load]) -> dict[str, dict[str, Any]]:
    """By model: requests, most tokens, and what these cost at most where the environment tells a price."""
    return {where: load._asdict() | _cost(_endpoint(where), load.tokens) for where, load in asked.items()}


def _endpoint(location: str) -> str:
    return Served(location=location).endpoint


def _cost(endpoint: str, tokens: int) -> dict[str, float]:
    each = price(endpoint)
    return {} if each is None else {"price": each, "cost": round(tokens * each / 1e6, 6)}


def spent(locations: Iterable[str], store: Store) -> dict[str, Spent]:
    """By endpoint of these models: what has gone there from this Store so far."""
    names = sorted(set(map(_endpoint, locations)))
    if not store.answers.is_file():
        return dict.fromkeys(names, Spent(0, 0))
    with kept_answers(store.answers) as kept:
        return {name: kept.spent(name) for name in names}


def used(before: Mapping[str, Spent], store: Store) -> dict[str, dict[str, Any]]:
    """By endpoint: requests and tokens that went there since, and what they cost at most."""
    found: dict[str, dict[str, Any]] = {}
    now = spent((f"server:{name}/-" for name in before), store)
    for name, then in before.items():
        tokens = now[name].tokens - then.tokens
        found[name] = {"requests": now[name].requests - then.requests, "tokens": tokens} | _cost(name, tokens)
    return found
