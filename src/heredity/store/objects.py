"""The Store's folder: payloads with their manifests, written whole or not at all, and checked on demand."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from heredity.store.files import settle, settle_names, sweep, work_folder
from heredity.store.manifests import MANIFEST, faults, manifest_text, read_manifest, shown
from heredity.store.step import Step
from heredity.types import ANSWERS, DEVICES, BadInput, StoreError

__all__ = ["MANIFEST", "Progress", "Store"]

Progress = Callable[[float, str], None]
"""Told the fraction done of the step at hand, and a word on how it stands."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM}
_DISK = {*_FULL, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE}
"""Errors that only a disk gives; a Step that meets one of them cannot be at fault."""


@cache
def _surroundings() -> dict[str, Any]:
    commit, dirty = _commit()
    names = ("heredity", "torch", "transformers", "tokenizers", "peft", "numpy", "scipy", "matplotlib")
    versions = {d.name: d.version for d in metadata.distributions() if d.name in names}
    return {"commit": commit, "dirty": dirty, "versions": versions, "python": platform.python_version(),
            "machine": platform.machine(), "device": "cpu"}  # fmt: skip


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout that this code lies in, and whether it was changed; None, None where nobody can say:
    the code lies in no checkout, or git is not installed."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        inside = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False)
        if inside.returncode:
            return None, None
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=False).stdout.strip()
    except OSError:
        return None, None
    return head or None, bool(changed)


class Store:
    """A folder of finished Steps: `objects/KEY/` holds the payload and its manifest (docs/store.md)."""

    def __init__(self, root: Path, progress: Progress | None = None) -> None:
        self.root = root
        self.answers = root / "answers.sqlite"
        """What servers answered while Steps were made here."""
        self.progress: Progress = progress or (lambda fraction, word: None)

    def folder(self, key: str) -> Path:
        """Where the payload of a key lies once it is made."""
        return self.root / "objects" / key

    def unfinished(self, step: Step) -> Path:
        """A folder that a Step may make to keep how far it has come: it stays until the Step is done."""
        return self.root / "unfinished" / step.key

    def stopped(self) -> list[dict[str, Any]]:
        """Trainings that were stopped, oldest first: `key`, `bytes`, and `kept`, when they were last (s since 1970).

        They go on from there when their Step is made. Who will not have it made may delete `unfinished/KEY`.
        """
        found = []
        for folder in self.root.glob("unfinished/*"):
            with suppress(OSError):  # it may be finished meanwhile
                told = [path.stat() for path in folder.iterdir()]
                kept = max((s.st_mtime for s in told), default=folder.stat().st_mtime)
                found.append({"key": folder.name, "bytes": sum(s.st_size for s in told), "kept": kept})
        return sorted(found, key=lambda f: float(f["kept"]))

    def has(self, step: Step) -> bool:
        """Whether the Step was made."""
        return self._has(step.key)

    def _has(self, key: str) -> bool:
        return os.path.isfile(self.folder(key) / MANIFEST)  # noqa: PTH113  Path.is_file raises for names too long

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
        self.sweep()
        try:
            with work_folder(self.root / "work", step.key) as work:
                self._make_in(work, step)
        except Exception as error:
            reason = _os_error(error)
            if reason is None or not self._is_ours(reason):
                raise
            raise StoreError(self._explain(step.key, reason)) from error

    def _make_in(self, work: Path, step: Step) -> None:
        (self.root / "objects").mkdir(exist_ok=True)
        started, clock = time.time(), time.monotonic()
        told, devices = ANSWERS.set(self.answers), set[str]()
        used = DEVICES.set(devices)
        try:
            step.make(work, self)
        finally:
            ANSWERS.reset(told)
            DEVICES.reset(used)
        run = _surroundings() | {"started": started, "wall_s": round(time.monotonic() - clock, 3)}
        run["device"] = ", ".join(sorted(devices)) or run["device"]
        text = manifest_text(step, work, run)
        (work / MANIFEST).write_text(text, encoding="utf-8")
        settle(work)
        self._publish(work, self.folder(step.key))
        shutil.rmtree(self.unfinished(step), ignore_errors=True)

    @staticmethod
    def _publish(work: Path, final: Path) -> None:
        try:
            work.rename(final)
        except OSError:
            if (final / MANIFEST).is_file():  # a second writer came first; this copy goes
                return
            if final.exists():
                raise StoreError(f"{final} has no manifest, so it is no finished step; delete it, then run again; "
                                 "finished steps are kept") from None  # fmt: skip
            raise
        settle_names(final.parent)

    def _is_ours(self, error: OSError) -> bool:
        """Whether the Store's disk is at fault, and not something else that a Step opened."""
        named = isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(self.root)
        return error.errno in _DISK or named

    def _explain(self, key: str, error: OSError) -> str:
        where = f" at {shown(str(error.filename))}" if error.filename else ""
        verb = "read" if error.errno == errno.ENOENT else "write to"
        if error.errno in _FULL:
            where += _free(self.root)
            advice = "make room"
        elif error.errno in _LOCKED:
            advice = "make it writable, or name another folder with --store"
        else:
            advice = "mend that (`heredity verify` tells what is damaged)"
        return (f"cannot {verb} the store {self.root}: {error.strerror or error}{where}, while making {key}; finished "
                f"steps are kept: {advice}, then run the same command again, it goes on from there")  # fmt: skip

    def sweep(self) -> None:
        """Removes the unfinished work of killed processes; what a living process holds is spared.

        Of trainings only what is left of finished ones: the others can go on.
        """
        sweep(self.root / "work")
        for folder in self.root.glob("unfinished/*"):
            if (self.folder(folder.name) / MANIFEST).is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a key or of a unique beginning of one."""
        known = self.keys() if "/" in key or not self._has(key) else [key]
        matches = [k for k in known if k == key] or [k for k in known if k.lower().startswith(key.lower())]
        if len(matches) != 1:
            raise BadInput(
                f"{len(matches)} steps in {self.root} match {key!r}; `heredity show` lists the keys"
                if matches else f"no step in {self.root} has a key that begins with {key!r}; `heredity show` lists them"
            )  # fmt: skip
        return read_manifest(self.folder(matches[0]))

    def keys(self) -> list[str]:
        """The keys of all finished Steps, oldest first."""
        found = [p.parent for p in self.root.glob(f"objects/*/{MANIFEST}")]
        return [p.name for p in sorted(found, key=lambda p: (p / MANIFEST).stat().st_mtime_ns)]

    def verify(self) -> Iterator[tuple[str, list[str]]]:
        """Every key with what is wrong with it: files missing, changed, or never written by the Step."""
        keys = self.keys()
        for key in keys:
            yield shown(key), faults(self.folder(key))
        for path in sorted(p for p in self.root.glob("objects/*") if p.name not in keys):
            yield shown(path.name), ["no manifest: this is no finished step"]


def _os_error(error: Exception) -> OSError | None:
    """The system's error behind an exception. Rust libraries (safetensors, tokenizers) tell it in their text only."""
    if isinstance(error, OSError):
        return error
    told = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


def _free(root: Path) -> str:
    try:
        return f" ({shutil.disk_usage(root).free / 1e6:.1f} MB are free there)"
    except OSError:
        return ""
