"""Reading what a user names: records of every kind, models, data, folders of them, and stores. Nothing is run.

A record may name files; only those beside it are looked at, to compare their digests. Links are not followed, and
pickles are not opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heredity.lineage import cards, exports, records
from heredity.lineage.graph import Graph, Hand
from heredity.lineage.identity import (
    EMPTY,
    PICKLES,
    beside,
    digests,
    model_files,
    opened,
    parse_json,
    read_bytes,
    root_digest,
    weights_of,
)
from heredity.lineage.records import Artefact, Claim
from heredity.models import BASES, locate, model_ref
from heredity.store.manifests import faults as payload_faults
from heredity.types import BadInput

_DEEPEST = 50
_MOST_FILES, _MOST_LINE, _MOST_LINES = 20_000, 1_000_000, 2_000_000
_CONFIGS = ("config.json", "adapter_config.json")
_REFERENCE = 2_000_000_000
"""Bytes of a model above which the digest by which Steps refer to models is not computed as well."""


@dataclass
class Evidence:
    """What was found: claims, what is here, what does not fit, and what was passed over."""

    claims: list[Claim] = field(default_factory=list)
    hands: list[Hand] = field(default_factory=list)
    faults: list[tuple[Artefact, str]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def graph(self) -> Graph:
        """Everything as one graph."""
        self._shipped()
        return Graph(self.claims, self.hands, self.faults)

    def _shipped(self) -> None:
        """Bases that ship with the package and that records refer to are here."""
        names = {a.name for c in self.claims for a in (c.output, *(x for _, x in c.inputs)) if a.kind == "model"}
        for name in sorted(n for n in names if n.startswith("nursery:")):
            if name.removeprefix("nursery:") in {p.parent.name for p in BASES.glob("*/config.json")}:
                _model(self, locate(name), name, given=False)


def read(files: Iterable[str]) -> Evidence:
    """Everything in the files and folders that the user names; BadInput where one of them cannot be used."""
    found = Evidence()
    for name in files:
        if name.startswith("nursery:"):
            _model(found, locate(name), name, given=True)
        else:
            try:
                _path(found, Path(name))
            except OSError as error:
                raise BadInput(f"cannot read {error.filename or name!r:.200}: {error.strerror or error}") from error
    if not found.claims and not found.hands:
        raise BadInput("no record, model or data in what was named; expected in-toto statements, Croissant, model "
                       "cards, manifests of steps, folders of models, or rows")  # fmt: skip
    return found


def _path(found: Evidence, path: Path) -> None:
    if path.is_symlink():
        raise BadInput(f"{path} is a link, which is not followed; name the file or folder that it leads to")
    if path.is_dir():
        _folder(found, path, given=True)
    elif not path.exists():
        raise BadInput(f"no file or folder at {path}")
    elif path.suffix.lower() in PICKLES:
        raise BadInput(f"{path} is a pickle, which can run code when it is opened, so it is not. Name the model's "
                       "folder; where you trust it, convert it: AutoModelForCausalLM.from_pretrained(FOLDER)"
                       ".save_pretrained(NEW_FOLDER)")  # fmt: skip
    elif path.suffix == ".safetensors":
        raise BadInput(f"{path} is one file of a model; name its folder")
    else:
        _file(found, path, given=True)


# Folders


def _folder(found: Evidence, folder: Path, given: bool, depth: int = 0) -> None:
    """A model, a store, a Step's payload, or a folder in which such things lie."""
    names = {p.name for p in folder.iterdir()}
    if (folder / "objects").is_dir():
        for payload in sorted((folder / "objects").iterdir()):
            if payload.is_dir() and not payload.is_symlink() and (payload / "manifest.json").is_file():
                _payload(found, payload, given=False)
    elif "manifest.json" in names and _is_manifest(folder / "manifest.json"):
        _payload(found, folder, given)
    elif names & set(_CONFIGS) or any(n.endswith(".safetensors") for n in names):
        _model_folder(found, folder, given)
    else:
        _walk(found, folder, given, depth)


def _walk(found: Evidence, folder: Path, given: bool, depth: int) -> None:
    """Records and rows in a folder, and the folders in it."""
    if depth > _DEEPEST:
        found.notes[f"{folder} was passed over: folders are looked at to a depth of {_DEEPEST}"] = None
        return
    entries = sorted(folder.iterdir())
    if len(entries) > _MOST_FILES:
        last = entries[_MOST_FILES - 1].name
        found.notes[f"{folder} holds {len(entries)} files and folders: those after {last} were not looked at"] = None
    for entry in entries[:_MOST_FILES]:
        try:
            _entry(found, entry, given, depth)
        except OSError as error:
            found.notes[f"{entry} was passed over, as it cannot be read: {error.strerror or error}"] = None


def _entry(found: Evidence, entry: Path, given: bool, depth: int) -> None:
    if entry.is_symlink():
        found.notes[f"{entry} is a link and was not followed"] = None
    elif entry.is_dir():
        if not entry.name.startswith("."):
            _folder(found, entry, given, depth + 1)
    elif entry.suffix.lower() in PICKLES:
        found.notes[f"{entry} is a pickle and was not opened"] = None
    elif entry.suffix.lower() in (".jsonl", ".json", ".jsonld", ".gz", ".parquet", ".md"):
        _file(found, entry, given, strict=False)


def _is_manifest(path: Path) -> bool:
    try:
        return _looks_like_manifest(parse_json(read_bytes(path), str(path)))
    except BadInput:
        return False


def _looks_like_manifest(record: Any) -> bool:
    return isinstance(record, dict) and {"key", "step", "files"} <= record.keys()


def _payload(found: Evidence, folder: Path, given: bool) -> None:
    """A finished Step: its claims, its files, and whether they still are what it wrote."""
    where = str(folder / "manifest.json")
    manifest = parse_json(read_bytes(beside(folder, "manifest.json")), where)
    if not _looks_like_manifest(manifest):
        raise BadInput(f"{where}: no manifest of a step")
    claims = exports.claims(manifest, where, nested=given)
    out = claims[-1].output
    rows = [n for n in manifest["files"] if str(n).endswith((".jsonl", ".parquet"))]
    if not given and out.kind == "data" and not rows:
        return  # answers, figures and the like: nothing is trained on them
    found.claims += claims
    damage = payload_faults(folder)
    for fault in damage:
        found.faults.append((out, f"{where}: {fault}"))
    if damage:
        return
    if out.kind == "model":
        _model(found, folder, out.name, given, out.ids)
    else:
        listed = [n for n in exports.row_files(manifest["files"]) if (folder / n).is_file()]
        for name in listed:
            found.hands.append(Hand(out._replace(ids=(*out.ids, *_data_ids(folder / name))), folder / name, given))


def _model_folder(found: Evidence, folder: Path, given: bool) -> None:
    _model(found, folder, folder.name or str(folder), given)
    ids = found.hands[-1].artefact.ids
    for entry in sorted(folder.iterdir()):
        if entry.name == "README.md":
            text = _card_text(beside(folder, entry.name))
            found.claims += cards.card_claims(text, folder.name, str(entry), ids)
        elif entry.name.endswith((".intoto.json", ".intoto.jsonl", ".sig")) and not entry.is_symlink():
            _file(found, entry, given)


def _model(found: Evidence, folder: Path, name: str, given: bool, ids: tuple[str, ...] = ()) -> None:
    """A model that is here, by every digest that a record may know it by."""
    files = model_files(folder)
    known = [*ids, f"sha256:{root_digest(files)}"]
    weights = next((n for n in files if n.endswith(".safetensors")), None)
    if weights and weights_of(files):
        known += [f"weights:{d}" for d in digests(folder / weights)]
    if (folder / "config.json").is_file() and sum((folder / n).stat().st_size for n in files) < _REFERENCE:
        known.append(f"blake2b:{model_ref(str(folder)).digest}")
    artefact = Artefact("model", name, tuple(dict.fromkeys(known)))
    found.hands.append(Hand(artefact, folder, given))


def _data_ids(path: Path) -> tuple[str, ...]:
    both = digests(path)
    return tuple(f"{kind}:{d}" for kind, d in zip(("sha256", "blake2b"), both, strict=True) if d not in EMPTY)


# Files


def _file(found: Evidence, path: Path, given: bool, strict: bool = True) -> None:
    """One file, by what is in it. Not `strict`: JSON that is no record is passed over."""
    with opened(path) as file:
        head = file.read(4096)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.suffix.lower() == ".md" or start.startswith(b"---"):
        name = path.parent.resolve().name if path.name == "README.md" else path.stem
        found.claims += cards.card_claims(_card_text(path), name, str(path))
    elif head[:4] == b"PAR1" or head[:2] == b"\x1f\x8b":
        _rows(found, path, given)
    elif path.suffix in (".json", ".jsonld", ".sig", ".sigstore"):
        _record(found, path, strict)
    elif start.startswith(b"{"):
        _lines(found, path, start, given, strict)
    else:
        raise BadInput(f"{path} is no record and no rows: expected JSON, JSON Lines, Parquet, or a card (Markdown with "
                       "a head of YAML)")  # fmt: skip


def _card_text(path: Path) -> str:
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no text: {error.reason}") from error


def _rows(found: Evidence, path: Path, given: bool) -> None:
    ids = _data_ids(path)
    if not ids:
        raise BadInput(f"{path} is empty")
    found.hands.append(Hand(Artefact("data", path.name, ids), path, given))


def _record(found: Evidence, path: Path, strict: bool) -> None:
    record = parse_json(read_bytes(path), str(path))
    if not claim(found, record, str(path), path.parent) and strict:
        raise BadInput(f"{path}: no record that is known here: expected an in-toto statement (or its envelope), a "
                       "Croissant description, or the manifest of a step")  # fmt: skip


def _lines(found: Evidence, path: Path, start: bytes, given: bool, strict: bool) -> None:
    """JSON Lines: statements, or rows; or one value over many lines."""
    with opened(path) as file:
        first = file.read(_MOST_LINE).lstrip().partition(b"\n")[0]
    if not _states(first, start):
        if path.suffix == ".jsonl":
            _rows(found, path, given)
        else:
            _record(found, path, strict)
        return
    names = _listed(path.parent)
    for number, line in enumerate(_split(path), 1):
        if line.strip():
            where = f"{path}:{number}"
            if not claim(found, parse_json(line, where), where, path.parent, names):
                raise BadInput(f"{where}: no in-toto statement among statements")


def _states(line: bytes, start: bytes) -> bool:
    """Whether a file of such a first line holds statements; by its start where the line is no whole value."""
    marks = ("_type", "payloadType", "dsseEnvelope")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return any(f'"{mark}"'.encode() in start for mark in marks)
    return isinstance(value, dict) and any(mark in value for mark in marks)  # a bundle begins with what verifies it


def _split(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        for number in range(_MOST_LINES + 1):
            line = file.readline(_MOST_LINE + 1)
            if not line:
                return
            if len(line) > _MOST_LINE or number == _MOST_LINES:
                raise BadInput(f"{path}:{number + 1}: a line has more than {_MOST_LINE} bytes, or there are too many")
            yield line


def _listed(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return set()


def claim(found: Evidence, record: Any, where: str, folder: Path | None = None, names: set[str] | None = None) -> bool:
    """Adds what a record of any kind claims; False where it is none. Files beside it are compared with its digests."""
    inner = records.unwrap(record, where)
    if inner is not record:
        found.notes["signatures on envelopes are not checked here; their own tools do that"] = None
    if records.is_statement(inner):
        told = records.claims(inner, where)
        manifest = records.manifest_in(inner)
        told += exports.claims(manifest, where) if manifest is not None else []
        checked = [(a.name, a) for a in dict.fromkeys(c.output for c in told)]
    elif cards.is_croissant(inner):
        told = cards.croissant_claims(inner, where)
        checked = [
            (url.removeprefix("./"), Artefact("data", name, (f"sha256:{digest}",)))
            for name, url, digest in cards.file_objects(inner)
            if digest and "://" not in url
        ]
    elif _looks_like_manifest(inner):
        told, checked = exports.claims(inner, where), []
    else:
        return False
    found.claims += told
    if folder is not None:
        listed = _listed(folder) if names is None else names
        for name, artefact in checked:
            _check(found, folder, name, artefact, listed, where)
    return True


def _check(found: Evidence, folder: Path, name: str, artefact: Artefact, listed: set[str], where: str) -> None:
    """Compares a file or a model beside a record with the digest that the record has for it."""
    wanted = [i for i in artefact.ids if i.startswith("sha256:")]
    if name not in listed or not wanted:
        if "/" in name and name.startswith(("/", "..")):
            found.notes[f"{where} names the file {name!r:.80}, which is not opened: only files beside a record are"] = (
                None
            )
        return
    path = beside(folder, name)
    if artefact.kind == "model" and path.is_dir():
        ids: tuple[str, ...] = (f"sha256:{root_digest(model_files(path))}",)
    elif artefact.kind == "data" and path.is_file():
        ids = _data_ids(path)
    else:
        return
    if ids and wanted[0] == ids[0]:
        found.hands.append(Hand(artefact._replace(ids=(*artefact.ids, *ids)), path, given=False))
    else:
        text = f"{name} beside {where} is not what the record is about: its digest is another (it has changed?)"
        found.faults.append((artefact, text))
        found.faults.append((Artefact(artefact.kind, name, ids), text))
