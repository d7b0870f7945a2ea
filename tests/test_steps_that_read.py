"""Which Steps open no model: told from what their code can reach, and compared with what they say of themselves."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from inspect import isabstract
from types import CodeType, FunctionType
from typing import Any

import pytest

import heredity
from heredity.store import Step

READS = {"read", "pairs", "chance"}
"""Methods by which a Step reads another; they are looked into, whichever Step's they are."""
FILES_ONLY = {"locate", "folder_digest", "model_files", "stored_body", "stored_parameters", "body_correlation"}
"""What is taken from the models' rooms and looks at files alone."""
UNSAID = {"Control", "Balanced", "Dropped", "MixedIn", "Renumbered", "Rewritten", "GivenStudent", "Relation"}
"""Steps that only read files and do not say so: to wait for a card costs them time alone."""


def kinds(of: type[Step] = Step) -> Iterator[type[Step]]:
    """Every Step of the package that can be made."""
    for kind in of.__subclasses__():
        if kind.__module__.startswith("heredity."):
            yield from [] if isabstract(kind) else [kind]
            yield from kinds(kind)


def names_in(code: CodeType) -> Iterator[str]:
    """Every name, attribute and import of a function, and of those in it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from names_in(inner)


def methods(kind: type[Step]) -> dict[str, Any]:
    """The methods of a Step by name, without `make`."""
    own = (vars(k) for k in reversed(kind.__mro__) if issubclass(k, Step))
    return {name: v for each in own for name, v in each.items() if isinstance(v, FunctionType) and name != "make"}


def reached(function: FunctionType, kind: type[Step], steps: list[type[Step]]) -> list[Any]:
    """What a method of a Step, or a function, may call: functions, classes and modules, its own imports among them."""
    names = set(names_in(function.__code__))
    imported = [importlib.import_module(name) for name in names if name.startswith("heredity.")]
    found = [space[name] for space in (function.__globals__, *map(vars, imported)) for name in names if name in space]
    found += [m for k in (kind, *(steps if READS & names else [])) for name, m in methods(k).items()
              if name in names and (k is kind or name in READS)]  # fmt: skip
    if "super" in names:
        found += [vars(k)[function.__name__] for k in kind.__mro__ if function.__name__ in vars(k)]
    return found + [importlib.import_module(name) for name in names if name == "torch"]


def opens(kind: type[Step], steps: list[type[Step]]) -> bool:
    """Whether `make` may come to torch or into a model's room, over however many functions of this package."""
    todo, seen = [kind.make], set[int]()
    while todo:
        function = todo.pop()
        if id(function) in seen or not isinstance(function, FunctionType):
            continue
        seen.add(id(function))
        for found in reached(function, kind, steps):
            name = getattr(found, "__name__", "")
            where = getattr(found, "__module__", name) or ""
            if name in FILES_ONLY or (isinstance(found, type) and issubclass(found, Step)):
                continue
            if where.startswith(("torch", "heredity.models")) and name not in FILES_ONLY:
                return True
            if where.startswith("heredity."):
                todo.append(found)
    return False


@pytest.fixture(scope="module")
def steps() -> list[type[Step]]:
    for module in pkgutil.walk_packages(heredity.__path__, "heredity."):
        if not module.name.startswith(("heredity.evals", "heredity.__main__")):
            importlib.import_module(module.name)
    return sorted(set(kinds()), key=lambda kind: kind.__name__)


def test_a_step_that_only_reads_says_so_and_no_other(steps: list[type[Step]]) -> None:
    """Else it waits for a card behind trainings, or opens a model beside another's."""
    found = {kind.__name__: opens(kind, steps) for kind in steps}
    assert {"Student", "Samples", "Evaluation", "HeldOutLoss", "Matched", "Base"} <= {k for k, o in found.items() if o}
    assert [k.__name__ for k in steps if found[k.__name__] and not k.opens_models] == []
    assert {k.__name__ for k in steps if not found[k.__name__] and k.opens_models} - UNSAID == set()
