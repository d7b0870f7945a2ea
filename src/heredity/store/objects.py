"""The Store's folder: payloads with their manifests, written whole or not at all, and checked on demand."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from heredity.store.step import Step, describe
from heredity.types import BadInput, StoreError

MANIFEST = "manifest.json"
Progress = Callable[[float, str], None]
"""Told the fraction done of the step at hand, and a word on how it stands."""


def file_digest(path: Path) -> str:
    """blake2b of a file's bytes, 40 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@cache
def _surroundings() -> dict[str, Any]:
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    inside = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False)
    commit = dirty = None
    if inside.returncode == 0:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        dirty = bool(subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=False).stdout.strip())
    names = ("heredity", "torch", "transformers", "tokenizers", "peft", "numpy", "scipy", "matplotlib")
    versions = {d.name: d.version for d in metadata.distributions() if d.name in names}
    return {"commit": commit or None, "dirty": dirty, "versions": versions, "python": platform.python_version(),
            "machine": platform.machine(), "device": "cpu"}  # fmt: skip


class Store:
    """A folder of finished Steps: `objects/KEY/` holds the payload and its manifest."""

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.root = root
        self.progress: Progress = progress or (lambda fraction, word: None)

    def folder(self, key: str) -> Path:
        return self.root / "objects" / key

    def has(self, step: Step) -> bool:
        return (self.folder(step.key) / MANIFEST).is_file()

    def path(self, step: Step) -> Path:
        """The payload's folder; StoreError where the Step was not made yet."""
        if not self.has(step):
            raise StoreError(f"{step.key} is not in the store {self.root}; make it first")
        return self.folder(step.key)

    def get(self, step: Step) -> Path:
        """The payload's folder, made now (with all it needs) where it is missing."""
        if not self.has(step):
            for needed in step.inputs:
                self.get(needed)
            self.make(step)
        return self.folder(step.key)

    def make(self, step: Step) -> None:
        """Makes one Step whose inputs are at hand, and publishes it atomically."""
        work = self.root / "work" / f"{step.key}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            work.mkdir(parents=True)
            (self.root / "objects").mkdir(exist_ok=True)
            started, clock = time.time(), time.monotonic()
            step.make(work, self)
            run = _surroundings() | {"started": started, "wall_s": round(time.monotonic() - clock, 3)}
            manifest = self._manifest(step, work) | {"run": run}
            (work / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            self._publish(work, self.folder(step.key))
        except OSError as error:
            raise StoreError(
                f"cannot write to the store {self.root}: {error.strerror or error}; finished steps are kept"
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _manifest(self, step: Step, work: Path) -> dict[str, Any]:
        files = {
            p.relative_to(work).as_posix(): {"blake2b": file_digest(p), "bytes": p.stat().st_size} for p in _files(work)
        }
        return {"schema_version": 1, "key": step.key, "step": describe(step), "inputs": [i.key for i in step.inputs],
                "files": files}  # fmt: skip

    @staticmethod
    def _publish(work: Path, final: Path) -> None:
        try:
            work.rename(final)
        except OSError:
            if not (final / MANIFEST).is_file():  # not a second writer who came first
                raise

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a key or of a unique beginning of one."""
        matches = [k for k in self.keys() if k == key] or [k for k in self.keys() if k.lower().startswith(key.lower())]
        if len(matches) != 1:
            raise BadInput(
                f"{len(matches)} steps in {self.root} match {key!r}; `heredity show` lists the keys"
                if matches else f"no step in {self.root} has a key that begins with {key!r}; `heredity show` lists them"
            )  # fmt: skip
        manifest: dict[str, Any] = json.loads((self.folder(matches[0]) / MANIFEST).read_text())
        return manifest

    def keys(self) -> list[str]:
        """The keys of all finished Steps, oldest first."""
        found = [p.parent for p in self.root.glob(f"objects/*/{MANIFEST}")]
        return [p.name for p in sorted(found, key=lambda p: (p / MANIFEST).stat().st_mtime_ns)]

    def verify(self) -> Iterator[tuple[str, list[str]]]:
        """Every key with what is wrong with it: files missing, changed, or never written by the Step."""
        for key in self.keys():
            yield key, self._faults(key)

    def _faults(self, key: str) -> list[str]:
        folder = self.folder(key)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            expected: dict[str, dict[str, Any]] = manifest["files"]
            faults = [] if manifest["key"] == key else [f"manifest belongs to {manifest['key']}"]
        except (ValueError, KeyError, TypeError) as error:
            return [f"manifest cannot be read: {error}"]
        present = {p.relative_to(folder).as_posix(): p for p in _files(folder) if p.name != MANIFEST}
        faults += [f"{name} is missing" for name in expected.keys() - present.keys()]
        faults += [f"{name} was not written by this step" for name in present.keys() - expected.keys()]
        both = expected.keys() & present.keys()
        return sorted(faults + [f"{n} has changed" for n in both if file_digest(present[n]) != expected[n]["blake2b"]])
