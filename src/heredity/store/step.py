"""A Step is a frozen description of a result; its key hashes its name, version and every field."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from functools import cache
from inspect import isabstract
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from heredity.types import BadInput, Frozen, near, refusal

if TYPE_CHECKING:
    from heredity.store.objects import Store


class Step(Frozen):
    """A frozen description of a result. Subclasses are named after the result and write it in `make`."""

    version: ClassVar[int] = 1
    """Raised when the code would give another result for the same fields."""

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
    return _hash(type(step).__name__, step.version, _fields(step, nested=False))


def _hash(name: str, version: int, fields: dict[str, Any]) -> str:
    identity = {"step": name, "version": version, "fields": fields}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"{name}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"


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
    if isinstance(value, Step):
        body = {"step": type(value).__name__, "version": value.version, "fields": _fields(value, nested)}
        return body if nested else {"key": value.key}
    if isinstance(value, Frozen):
        body = {"type": type(value).__name__, "fields": _fields(value, nested)}
        return body | {"version": value.version} if hasattr(value, "version") else body
    if isinstance(value, tuple):
        return [describe(item, nested) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a Step's field holds a {type(value).__name__}; only plain values, tuples and nouns have a key")


def _fields(value: Frozen, nested: bool) -> dict[str, Any]:
    return {name: describe(getattr(value, name), nested) for name in type(value).model_fields}


def stored_identity(described: Any) -> tuple[str, set[str]]:
    """The key of the Step that `describe` wrote, and its inputs' keys; no class is needed.

    ValueError where it is no description.
    """
    inputs: set[str] = set()

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "step" in value:
            key = stored_identity(value)[0]
            inputs.add(key)
            return {"key": key}
        _check(value, {"type", "fields"} | ({"version"} & value.keys()))  # a noun may have a version of its code
        return value | {"fields": {name: named(v) for name, v in value["fields"].items()}}

    _check(described, {"step", "version", "fields"})
    fields = {name: named(value) for name, value in described["fields"].items()}
    return _hash(described["step"], described["version"], fields), inputs


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
    known = {c.__name__: c for c in _classes(Frozen) if not (c.__name__.startswith("_") or isabstract(c))}
    if not isinstance(name, str) or name not in known:
        raise BadInput(f"unknown step or noun {str(name)[:80]!r} in a description; {near(str(name)[:80], known)}")
    if set(described) - {"step", "type", "version", "fields"} or not isinstance(fields, dict):
        raise BadInput(f"{name}: a description has the fields step or type, version, and fields, and no others")
    if described.get("version") != getattr(known[name], "version", None):
        raise BadInput(
            f"{name} was described by version {str(described.get('version'))[:20]} of its code; this is version "
            f"{getattr(known[name], 'version', None)}"
        )
    try:
        return known[name](**{str(k): rebuild(v) for k, v in fields.items()})
    except ValidationError as error:
        raise refusal(name, error, known[name].model_fields) from error
