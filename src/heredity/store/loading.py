"""Experiment files: Python that says in Steps what is wanted. Loaded by path, here and in the workers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from heredity.store.step import Step, rebuild
from heredity.types import BadInput, HeredityError, refusal

_SIZE_LIMIT = 64 * 2**20
MODULE = "heredity_experiment_"
"""How the names of modules begin that were loaded from experiment files; a sum of the path follows."""
_loaded: dict[Path, ModuleType] = {}
_told: dict[str, Any] = {}


def tell_files(told: Mapping[str, Any]) -> None:
    """Sets what experiment files can read besides their own text (`lab.settings`), in plain values; load them after."""
    _told.clear()
    _told.update(told)


def told_files() -> dict[str, Any]:
    """What experiment files were told; workers tell theirs the same, so that they build the same Steps."""
    return dict(_told)


def loaded_files() -> tuple[Path, ...]:
    """The files that were loaded so far; workers load them too, to know the Step classes in them."""
    return tuple(_loaded)


def load_experiment(path: Path) -> dict[str, Step]:
    """The Steps of an experiment file by name: public names of a Python file, or one described in JSON.

    A list, tuple or dict of Steps counts as its items, a folder as its Python files. These are run, so name none that
    you do not trust. JSON is what manifests hold under `step` (or a whole manifest). BadInput for anything else, and
    where a file raises.
    """
    if os.path.isdir(path):  # noqa: PTH112  of a name that no file can have, Path raises
        files = sorted(path.glob("*.py"))
        if not files:
            raise BadInput(f"no Python file in the folder {path}; name a folder of Python files of Steps, or one file")
        return {f"{file.stem}.{name}": step for file in files for name, step in load_experiment(file).items()}
    if not os.path.isfile(path):  # noqa: PTH113
        raise BadInput(f"no file at {path}; name a Python file of Steps, or a step in JSON")
    steps = dict(_named(vars(load_module(path)))) if path.suffix == ".py" else {path.stem: load_step(path)}
    if not steps:
        raise BadInput(f"{path}: none of its names is a Step; assign one, for example a Comparison, to a public name")
    return steps


def _named(names: dict[str, Any]) -> Iterator[tuple[str, Step]]:
    for name, value in names.items():
        if name.startswith("_"):
            continue
        if isinstance(value, Step):
            yield name, value
        elif isinstance(value, dict):
            yield from ((f"{name}.{k}", v) for k, v in value.items() if isinstance(v, Step))
        elif isinstance(value, list | tuple):
            yield from ((f"{name}.{i}", v) for i, v in enumerate(value) if isinstance(v, Step))


def load_module(path: Path) -> ModuleType:
    """Runs a Python file once, under a name of its own; its folder can be imported from. BadInput where it raises."""
    path = path.resolve()
    if path in _loaded:
        return _loaded[path]
    name = f"{MODULE}{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise BadInput(f"{_place(path, error)}: {_said(error)}") from error
    _loaded[path] = module
    return module


def own_fault(error: Exception) -> BadInput | None:
    """The error as one message where a user's own file raised it; None where it is this program's."""
    ours, libraries = str(Path(__file__).parents[1]), [sysconfig.get_path(k) for k in ("stdlib", "purelib", "platlib")]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(ours):
            return None
        if not frame.filename.startswith((*libraries, "<")):
            return BadInput(f"{frame.filename}:{frame.lineno}: {_said(error)}")
    return None


def _place(path: Path, error: BaseException) -> str:
    """The file and the line of it in which the error arose."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}:{error.lineno or 1}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _said(error: BaseException) -> str:
    if isinstance(error, HeredityError):
        return str(error)
    if isinstance(error, ValidationError):
        return str(refusal(error.title, error))
    return f"the file raised {type(error).__name__}{f': {error}' if str(error) else ''}"


def load_step(path: Path) -> Step:
    """The Step that a JSON file describes."""
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise BadInput(f"{path} is larger than {_SIZE_LIMIT} bytes; expected the description of a step")
        return parse_step(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error


def parse_step(text: bytes, where: str) -> Step:
    """The Step in the bytes of a JSON file; `where` is what messages call it."""
    try:
        described = json.loads(text)
        if isinstance(described, dict) and "key" in described and "step" in described:
            described = described["step"]  # a whole manifest
        step = rebuild(described)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: {_short(error)}; expected a step in JSON, as manifests hold it") from error
    except HeredityError as error:
        raise BadInput(f"{where}: {error}") from error
    if not isinstance(step, Step):
        raise BadInput(f"{where}: describes a {type(step).__name__}; expected a step")
    return step


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
