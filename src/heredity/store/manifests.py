"""Manifests: what is written beside a payload, how it is read back, and what can be found wrong with either."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from heredity.store.files import entries, file_digest, is_plain
from heredity.store.step import Step, describe, stored_identity
from heredity.types import StoreError

MANIFEST = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _File(_Part):
    blake2b: str
    bytes: int


class _Run(_Part):
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    python: str
    machine: str
    device: str
    started: float
    wall_s: float
    manifest_blake2b: str | None = None
    """None in manifests that were written before there was such a sum."""


class _Manifest(_Part):
    schema_version: Literal[1]
    key: str
    step: dict[str, Any]
    inputs: list[str]
    files: dict[str, _File]
    run: _Run


def manifest_text(step: Step, work: Path, run: dict[str, Any]) -> str:
    """The manifest of a payload as it is stored."""
    files = {name: _seen(name, path) for name, path in entries(work).items()}
    manifest = {"schema_version": 1, "key": step.key, "step": describe(step), "inputs": [i.key for i in step.inputs],
                "files": files, "run": run}  # fmt: skip
    run["manifest_blake2b"] = _sum(manifest)
    return _text(manifest)


def _seen(name: str, path: Path) -> dict[str, Any]:
    if name == MANIFEST or not is_plain(path):
        raise ValueError(
            f"a step wrote {shown(name)} into its payload; expected plain files, and none named {MANIFEST}"
        )
    return {"blake2b": file_digest(path), "bytes": path.stat().st_size}


def _text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=1, sort_keys=True) + "\n"


def _sum(manifest: dict[str, Any]) -> str:
    """blake2b of the whole manifest without this sum itself. It is in the `run` block because it covers that too."""
    run = {k: v for k, v in manifest["run"].items() if k != "manifest_blake2b"}
    return hashlib.blake2b(_text(manifest | {"run": run}).encode(), digest_size=20).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished Step; StoreError where it cannot be trusted to have a manifest's shape."""
    try:
        return _at_its_place(_parse(_bytes(folder)), folder)
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(
            f"the manifest of {shown(folder.name)} cannot be read ({_reason(error)}); `heredity verify` lists all "
            f"damage; delete {shown(str(folder))} and run again to make that step anew"
        ) from error


def _at_its_place(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The manifest; ValueError where it is another result's: its key leads to files elsewhere."""
    if manifest["key"].lower() != folder.name.lower():  # a disk may not tell capitals from small letters
        raise ValueError(f"it says that it is of {shown(str(manifest['key']))}")
    return manifest


def _bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    if folder.is_symlink() or not is_plain(path):
        raise ValueError("it is a link or no file, which this program does not follow")
    return path.read_bytes()


def _parse(raw: bytes) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(raw.decode())
    _Manifest.model_validate(manifest)
    return manifest


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return shown(f"{'.'.join(map(str, first['loc'])) or 'top'}: {first['msg']}")
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def shown(name: str) -> str:
    """A name from the disk as it may be printed: control characters cannot reach the terminal."""
    return name if name.isprintable() else ascii(name)


def faults(folder: Path) -> list[str]:
    """Everything wrong with a finished Step: its manifest, and files missing, changed or never written by it."""
    try:
        raw = _bytes(folder)
        manifest = _parse(raw)
    except (OSError, ValueError, RecursionError) as error:
        return [f"manifest cannot be read: {_reason(error)}"]
    found = [] if raw.decode() == _text(manifest) else ["manifest is not written as a step writes it"]
    return sorted(found + _manifest_faults(manifest, folder.name) + _file_faults(manifest["files"], folder))


def _manifest_faults(manifest: dict[str, Any], name: str) -> list[str]:
    found = [] if manifest["key"] == name else [f"manifest belongs to {shown(manifest['key'])}"]
    try:
        key, inputs = stored_identity(manifest["step"])
        if key != manifest["key"]:
            found.append("manifest's description does not give its key")
        if sorted(inputs) != sorted(manifest["inputs"]):
            found.append("manifest's inputs are not those of its description")
    except (ValueError, RecursionError) as error:
        found.append(f"manifest's description cannot be read: {shown(str(error))}")
    if manifest["run"].get("manifest_blake2b") not in (None, _sum(manifest)):
        found.append("manifest has changed")
    return found


def _file_faults(expected: dict[str, dict[str, Any]], folder: Path) -> list[str]:
    present = {name: path for name, path in entries(folder).items() if name != MANIFEST}
    found = [f"{shown(name)} is missing" for name in expected.keys() - present.keys()]
    found += [f"{shown(name)} was not written by this step" for name in present.keys() - expected.keys()]
    both = sorted(expected.keys() & present.keys())
    return found + [f"{shown(n)} {fault}" for n in both if (fault := _file_fault(present[n], expected[n]))]


def _file_fault(path: Path, expected: dict[str, Any]) -> str | None:
    try:
        if not is_plain(path):
            return "is a link or no file"
        same = path.stat().st_size == expected["bytes"] and file_digest(path) == expected["blake2b"]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if same else "has changed"
