"""Who is who: digests of files and models, and opening files that nobody vouches for.

A link is not followed, but from a Hugging Face cache's snapshot into its blobs; a name from a record opens nothing that
lies elsewhere than beside the record.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from heredity.types import BadInput

MOST_RECORD = 32_000_000
"""Bytes in one record; a longer one is no record."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
NOT_THE_MODEL = ("README.md", "manifest.json", "losses.json")
"""Files in a model's folder that are no part of the model, beside records (`*.intoto.json`), signatures and what is
hidden."""
_MOST_FILES = 100_000
EMPTY = hashlib.sha256().hexdigest(), hashlib.blake2b(digest_size=20).hexdigest()
"""The digests of a file without a byte, by which nothing can be told."""


def beside(folder: Path, name: str) -> Path:
    """The file of that name in a folder: BadInput for any other place, and for a link that leads out."""
    if name in ("", ".", "..") or name != Path(name).name or "\0" in name or "\\" in name:
        raise BadInput(f"{folder}: a record names the file {name!r:.80}; expected a file of the same folder")
    return _plain(folder / name)


def _plain(path: Path) -> Path:
    """The path, or the blob that a Hugging Face cache's link stands for."""
    if not path.is_symlink():
        return path
    try:
        above, real = path.parent.resolve(strict=True).parents, path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"{path} is a link that leads nowhere") from error
    if not any(up.name == "snapshots" and real.parent == up.parent / "blobs" for up in above):
        raise BadInput(f"{path} is a link, which is not followed; name the file that it leads to")
    return real


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """An ordinary file, open for reading; BadInput where it is none or cannot be read."""
    try:
        file = os.open(_plain(path), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    with os.fdopen(file, "rb") as out:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise BadInput(f"{path} is no ordinary file")
        yield out


def digests(path: Path) -> tuple[str, str]:
    """sha256, and the Store's blake2b, of a file's bytes, read once."""
    with opened(path) as file:
        status = os.fstat(file.fileno())
        return _digests(path, status.st_size, status.st_mtime_ns)


@cache
def _digests(path: Path, size: int, time: int) -> tuple[str, str]:
    """Read anew where size or time changed."""
    sha256, blake2b = hashlib.sha256(), hashlib.blake2b(digest_size=20)
    with opened(path) as file:
        while part := file.read(1 << 20):
            sha256.update(part)
            blake2b.update(part)
    return sha256.hexdigest(), blake2b.hexdigest()


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes."""
    return digests(path)[0]


def model_files(folder: Path) -> dict[str, str]:
    """sha256 of every file of a model by its name, sorted: weights, configuration, tokenizer; folders in it as well.

    Left out are `NOT_THE_MODEL`, records, signatures, and files and folders whose name begins with a dot.
    """
    found: dict[str, str] = {}
    for where, folders, names in os.walk(folder, followlinks=False):
        here = Path(where)
        linked = [n for n in folders if (here / n).is_symlink()]
        if linked:
            raise BadInput(f"{here / linked[0]} is a link to a folder, which is not followed")
        folders[:] = [n for n in folders if not n.startswith(".")]
        for name in names:
            if is_of_model(name):
                found[(here / name).relative_to(folder).as_posix()] = sha256_of(beside(here, name))
        if len(found) > _MOST_FILES:
            raise BadInput(f"{folder} holds more than {_MOST_FILES} files; that is no model")
    if not found:
        raise BadInput(f"{folder} holds no file of a model")
    return {name: found[name] for name in sorted(found, key=PurePosixPath)}


def is_of_model(name: str) -> bool:
    """Whether a file of that name in a model's folder is part of the model."""
    other = name.startswith(".") or name in NOT_THE_MODEL or name.endswith((".sig", ".intoto.json", ".intoto.jsonl"))
    return not other


def root_digest(files: dict[str, str]) -> str:
    """One sha256 for a model, as OpenSSF model-signing 1.x computes it: over its files' raw digests, sorted by name."""
    return hashlib.sha256(b"".join(bytes.fromhex(files[name]) for name in sorted(files, key=PurePosixPath))).hexdigest()


def weights_of(files: dict[str, str]) -> str | None:
    """The digest of the weights, where they lie in one file: the same in a copy with another tokenizer."""
    found = {d for name, d in files.items() if name.endswith(".safetensors") and isinstance(d, str)}
    return found.pop() if len(found) == 1 else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(out := dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return out


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant)


def parse_json(text: bytes | str, where: str) -> Any:
    """The value of a JSON text; BadInput where it is none, holds a name twice, or is nested too deeply."""
    try:
        return _DECODER.decode(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise BadInput(f"{where}: no JSON that a record would hold: it is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"{where}: not valid JSON ({str(error)[:80]})") from error


class _Plain(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without aliases (which can grow without bound) and without names that stand twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value]
        if len({str(n) for n in names}) != len(names):
            raise yaml.YAMLError("a name stands twice")
        return super().construct_mapping(node, deep)


def _number(read: Callable[[_Plain, Any], Any]) -> Callable[[_Plain, Any], Any]:
    """The same for numbers that are not of base 60, of which a long one takes a minute; such a text stays one."""
    return lambda loader, node: node.value if ":" in node.value else read(loader, node)


_Plain.add_constructor("tag:yaml.org,2002:int", _number(_Plain.construct_yaml_int))
_Plain.add_constructor("tag:yaml.org,2002:float", _number(_Plain.construct_yaml_float))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text, plain values only; BadInput where it is none."""
    try:
        return yaml.load(text, _Plain)
    except RecursionError as error:
        raise BadInput(f"{where}: no YAML that a card would hold: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(f"{where}: not valid YAML ({' '.join(str(error).split())[:120]})") from error


def read_bytes(path: Path) -> bytes:
    """A record's bytes, whatever they are; BadInput where there are too many."""
    with opened(path) as file:
        out = file.read(MOST_RECORD + 1)
    if len(out) > MOST_RECORD:
        raise BadInput(f"{path} is larger than {MOST_RECORD} bytes; that is no record")
    return out
