"""A Step is a frozen description of a result; its key hashes its name, version and every field.

Classes of this package are known by name and version. Those of others (a carrier of one's own) are known by their
file's digest as well: a changed filter never finds the result of the old one, and two of one name are never mistaken.
"""

from __future__ import annotations

import hashlib
import json
import sys
from abc import abstractmethod
from collections.abc import Iterator
from functools import cache
from inspect import getsource, isabstract
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from heredity.types import ADDED, BadInput, Checkpoint, Frozen, near, refusal

if TYPE_CHECKING:
    from heredity.store.objects import Store


class Step(Frozen):
    """A frozen description of a result. Subclasses are named after the result and write it in `make`."""

    version: ClassVar[int] = 1
    """Raised when the code would give another result for the same fields."""
    joint: ClassVar[bool] = False
    """Whether the processes of `accelerate launch` make it together; of other Steps, the first makes them."""
    opens_models: ClassVar[bool] = True
    """Whether it may open a model behind its inputs; others read what was written, and need no GPU for that."""

    @abstractmethod
    def make(self, folder: Path, store: Store) -> None:
        """Writes the payload into `folder`, reading its inputs from the store."""

    @property
    def key(self) -> str:
        """`Name-` and 20 hexadecimal digits of the description's blake2b hash."""
        return _key(self)

    @property
    def inputs(self) -> tuple[Step, ...]:
        """The Steps that this one reads, in the order of its fields."""
        return tuple(dict.fromkeys(_steps_in([getattr(self, name) for name in type(self).model_fields])))


@cache
def _key(step: Step) -> str:
    return _hash(_named(step, "step") | {"fields": _fields(step, nested=False)})


def _hash(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"{identity['step']}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"


def _named(value: Frozen, kind: str) -> dict[str, Any]:
    """What a description says of the class."""
    own, code = type(value), code_digest(type(value))
    version = {"version": own.version} if hasattr(own, "version") else {}
    return {kind: own.__name__} | version | ({} if code is None else {"code": code})


@cache
def code_digest(of: type[Frozen]) -> str | None:
    """blake2b of the file that defines a class; None for the classes of this package, which have versions.

    What that file imports does not count: raise `version` when a helper in another file changes what a class does.
    """
    if of.__module__.split(".")[0] == __name__.split(".")[0]:
        return None
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    try:
        source = Path(file).read_bytes() if file is not None else getsource(of).encode()
    except (OSError, TypeError) as error:
        raise BadInput(f"the source of {of.__name__} cannot be read ({error}); define the class in a file") from error
    return hashlib.blake2b(source, digest_size=10).hexdigest()


def nouns_in(value: Any, seen: set[int] | None = None) -> Iterator[Frozen]:
    """Every Step and noun in a value, at any depth; what many share, once."""
    seen = set() if seen is None else seen
    if isinstance(value, Frozen) and id(value) not in seen:
        seen.add(id(value))
        yield value
        yield from nouns_in([getattr(value, name) for name in type(value).model_fields], seen)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from nouns_in(item, seen)


def opens_checkpoint(step: Step) -> bool:
    """Whether a Step may open a Checkpoint, or a model that was made from one: then it wants a GPU to itself."""
    own = [getattr(step, name) for name in type(step).model_fields]  # a filter may ask a judge, whatever the Step
    nouns = nouns_in(step) if step.opens_models else _nouns_outside(own)
    return any(isinstance(noun, Checkpoint) for noun in nouns)


def _nouns_outside(value: Any) -> Iterator[Frozen]:
    """Every noun in a value that is in no Step of it."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _nouns_outside(item)
    elif isinstance(value, Frozen) and not isinstance(value, Step):
        yield value
        yield from _nouns_outside([getattr(value, name) for name in type(value).model_fields])


def _steps_in(value: Any) -> Iterator[Step]:
    if isinstance(value, Step):
        yield value
    elif isinstance(value, Frozen):
        yield from _steps_in([getattr(value, name) for name in type(value).model_fields])
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _steps_in(item)


def describe(value: Any, nested: bool = True) -> Any:
    """A Step, noun or plain value as JSON; Steps among the fields in full, or (not `nested`) as their keys."""
    if isinstance(value, Step) and not nested:
        return {"key": value.key}
    if isinstance(value, Frozen):
        kind = "step" if isinstance(value, Step) else "type"
        return _named(value, kind) | {"fields": _fields(value, nested)}
    if isinstance(value, tuple):
        return [describe(item, nested) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a Step's field holds a {type(value).__name__}; only plain values, tuples and nouns have a key")


def _fields(value: Frozen, nested: bool) -> dict[str, Any]:
    fields = {name: (getattr(value, name), field) for name, field in type(value).model_fields.items()}
    return {
        name: describe(held, nested)
        for name, (held, field) in fields.items()
        if not (ADDED in field.metadata and held == field.default)
    }


def stored_identity(described: Any) -> tuple[str, set[str]]:
    """The key of the Step that `describe` wrote, and its inputs' keys; no class is needed.

    ValueError where it is no description.
    """
    return _identify(described, [])


def stored_steps(described: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every Step in what `describe` wrote with its key, inputs before the Steps that read them; the last is the whole.

    ValueError where it is no description.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    _identify(described, found)
    return found


def _identify(described: Any, found: list[tuple[str, dict[str, Any]]]) -> tuple[str, set[str]]:
    inputs: set[str] = set()

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "step" in value:
            key = _identify(value, found)[0]
            inputs.add(key)
            return {"key": key}
        _check(value, {"type", "fields"} | ({"version", "code"} & value.keys()))
        return value | {"fields": {name: named(v) for name, v in value["fields"].items()}}

    _check(described, {"step", "version", "fields"} | ({"code"} & set(described)))
    key = _hash(described | {"fields": {name: named(value) for name, value in described["fields"].items()}})
    found.append((key, described))
    return key, inputs


def _check(described: Any, members: set[str]) -> None:
    if not isinstance(described, dict) or set(described) != members or not isinstance(described["fields"], dict):
        raise ValueError(f"expected an object with {', '.join(sorted(members))}")


def _classes(of: type[Frozen]) -> Iterator[type[Frozen]]:
    for sub in of.__subclasses__():
        yield sub
        yield from _classes(sub)


def rebuild(described: Any) -> Any:
    """The Step or noun that `describe` wrote; its classes must have been imported. BadInput for anything else."""
    if isinstance(described, list):
        return tuple(rebuild(item) for item in described)
    if not isinstance(described, dict):
        return described
    name, fields = described.get("step") or described.get("type"), described.get("fields")
    if set(described) - {"step", "type", "version", "code", "fields"} or not isinstance(fields, dict):
        raise BadInput(f"{str(name)[:80]!r}: a description has step or type, version, code and fields, and no others")
    found = _known(name, described.get("code"), described.get("version"))
    try:
        return found(**{str(k): rebuild(v) for k, v in fields.items()})
    except ValidationError as error:
        raise refusal(found.__name__, error, found.model_fields) from error


def _known(name: Any, code: Any, version: Any) -> type[Frozen]:
    """The class that a description names, of the same code and version."""
    usable = [c for c in _classes(Frozen) if not (c.__name__.startswith("_") or isabstract(c))]
    named = [c for c in usable if c.__name__ == name]
    if not isinstance(name, str) or not named:
        told, known = str(name)[:80], (c.__name__ for c in usable)
        raise BadInput(f"unknown step or noun {told!r} in a description; {near(told, known)}")
    same = [c for c in named if code_digest(c) == code]
    if not same:
        raise BadInput(f"{name} was described by other code than the {name} at hand; load the file it came from")
    if version != getattr(same[-1], "version", None):
        told, now = str(version)[:20], getattr(same[-1], "version", None)
        raise BadInput(f"{name} was described by version {told} of its code; this is version {now}")
    return same[-1]
