"""Results of a long benchmark that are kept in the repository, so that another machine goes on where one stopped.

A ledger is a folder of `part-N.jsonl.xz`, one line a result: the Step's key, the files that it wrote, and the `run`
block of its manifest (commit, versions, time). A Step whose result is in the ledger is put into the Store as it was
made, and nothing that only it needs is made again. One run writes one part, and touches no other.
"""

from __future__ import annotations

import json
import lzma
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from heredity.store import Step, Store
from heredity.store.files import settle, work_folder
from heredity.store.manifests import MANIFEST, manifest_text
from heredity.types import StoreError

_PART = re.compile(r"part-(\d+)\.jsonl\.xz")


class Ledger:
    """The results in a folder; `keep` adds to a part of this run's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        parts = sorted(folder.glob("part-*.jsonl.xz"))
        self._known = {entry["key"]: entry for part in parts for entry in _entries(part)}
        self._own: list[dict[str, Any]] = []
        numbers = [int(found[1]) for part in parts if (found := _PART.fullmatch(part.name))]
        self._next = max(numbers, default=0) + 1  # some may have been taken out
        self._part: Path | None = None
        """This run's, once it has one."""

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def note(self, key: str) -> Any:
        """What `write` noted under a name; None where nothing was."""
        return self._known.get(key, {}).get("note")

    def runs(self) -> list[dict[str, Any]]:
        """The `run` block of every result."""
        return [entry["run"] for entry in self._known.values() if "run" in entry]

    def write(self, key: str, note: Any) -> None:
        """Notes something that is no Step's result; the first note of a name stays."""
        self._add({"key": key, "note": note})

    def restore(self, store: Store, steps: Iterable[Step]) -> None:
        """Puts those of the Steps that the ledger has and the Store lacks into the Store."""
        for step in steps:
            if step.key in self and not store.has(step):
                entry = self._known[step.key]
                publish(store, step, {name: text.encode() for name, text in entry["files"].items()}, entry["run"])

    def keep(self, store: Store, steps: Iterable[Step]) -> None:
        """Adds the results of those Steps that were made, whatever was added before."""
        for step in steps:
            if step.key not in self and store.has(step):
                manifest, folder = store.manifest(step.key), store.path(step)
                files = {name: (folder / name).read_text(encoding="utf-8") for name in manifest["files"]}
                self._add({"key": step.key, "files": files, "run": manifest["run"]})

    def _add(self, entry: dict[str, Any]) -> None:
        if entry["key"] not in self:
            self._known[entry["key"]] = entry
            self._own.append(entry)

    def save(self) -> None:
        """Writes this run's part, whole or not at all."""
        if not self._own:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{platform.node()}-{os.getpid()}.unfinished"
        with lzma.open(unfinished, "wt", encoding="utf-8", preset=6) as file:
            file.writelines(json.dumps(entry, separators=(",", ":")) + "\n" for entry in self._own)
        if self._part is None:
            self._part = self._claimed()
        unfinished.replace(self._part)

    def _claimed(self) -> Path:
        """The next part that no other run took, now empty: a file is made, or is there already."""
        for number in count(self._next):
            part = self.folder / f"part-{number:02d}.jsonl.xz"
            with suppress(FileExistsError):
                part.open("xb").close()
                return part
        raise AssertionError


def publish(store: Store, step: Step, files: Mapping[str, bytes], run: Mapping[str, Any]) -> None:
    """Puts what was made elsewhere into the Store, whole or not at all; `run`: that of the manifest it had there.

    What the Store has already stays. StoreError where a folder without a manifest is in the way.
    """
    final = store.folder(step.key)
    final.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(store.root / "work", step.key) as work:
        for name, data in files.items():
            (work / name).write_bytes(data)
        text = manifest_text(step, work, {k: v for k, v in run.items() if k != "manifest_blake2b"})
        (work / MANIFEST).write_text(text, encoding="utf-8")
        settle(work)
        store._publish(work, final)  # as the Store does with what it made itself


def _entries(part: Path) -> Iterator[dict[str, Any]]:
    if not part.stat().st_size:  # claimed by a run that has not written it yet, or was killed before
        return
    try:
        with lzma.open(part, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise StoreError(f"{part} cannot be read ({error}); take it out, and what it held is made again") from error
