"""Records of work that was done with other tools, and the files in which records of either kind are kept."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, get_args

from heredity.lineage import cards, records
from heredity.lineage.exports import payload_ids, test_predicate
from heredity.lineage.identity import digests, opened, parse_json, read_bytes
from heredity.lineage.orders import order_digest
from heredity.lineage.records import Artefact, Claim, Content, Kind, descriptor
from heredity.lineage.trace import trace
from heredity.models import BASES, locate
from heredity.models.checkpoints import hub_name, model_file
from heredity.rows import read_rows
from heredity.store import Step, Store
from heredity.types import BadInput, ModelRef, near

_RELATIONS = (*records.RELATIONS, "cut")
_UNKNOWN = {"reason": "not recorded"}


class Relation(Step):
    """Whether two models share an initialisation, by their weights: `trace.json`. Exported, it is a lineage test."""

    a: ModelRef
    b: ModelRef

    def make(self, folder: Path, store: Store) -> None:
        found = trace(self.a.location, self.b.location).model_dump(mode="json")
        (folder / "trace.json").write_text(json.dumps({k: v for k, v in found.items() if k != "seconds"}) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """A `Trace` without its seconds."""
        found: dict[str, Any] = json.loads((store.path(self) / "trace.json").read_text())
        return found


def known_model(name: str) -> dict[str, Any]:
    """A model as a descriptor: with digests where it is a folder, ships with the package, lies in the hub's cache
    (`hub:OWNER/NAME@REVISION`) or is told by a TOML file, else by its name alone. BadInput where the latter two are not
    there.
    """
    if name.endswith(".toml"):
        return known_model(model_file(Path(name))["location"])
    at_hub = hub_name(name)
    folder = locate(name) if at_hub or (name.startswith("nursery:") and BASES.is_dir()) else Path(name)
    if not os.path.isdir(folder):  # noqa: PTH112  a name may be one that no folder can have, on which Path raises
        return descriptor(Artefact("model", name))
    ids, files = payload_ids(folder, "model")
    label = at_hub[0] if at_hub else name if name.startswith("nursery:") else folder.resolve().name
    return descriptor(Artefact("model", label, tuple(ids[:1])), files)


def known_file(path: Path, kind: Kind = "data", **annotations: Any) -> dict[str, Any]:
    """A file as a descriptor with its digest."""
    return descriptor(Artefact(kind, path.name, (f"sha256:{digests(path)[0]}",)), **annotations)


def generation(
    data: Sequence[Path], models: Sequence[str] = (), people: bool = False, sources: Sequence[Path] = (),
    prompts: Path | None = None, system: Path | None = None, no_system: bool = False, judges: Sequence[str] = (),
    content: str | None = None, filters: Sequence[str] = (), sampling: Mapping[str, float | int | None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The statement that data was written by models, by people, or made of other data."""
    if not models and not people and not sources:
        raise BadInput(
            "say who wrote the data: --model MODEL, --people, or --source FILE where it was made of other data"
        )
    if system and no_system:
        raise BadInput("--system and --no-system exclude one another")
    if content is not None and content not in get_args(Content):
        raise BadInput(f"unknown content {content!r:.60}; {near(content, get_args(Content))}")
    drawn = {k: v for k, v in (sampling or {}).items() if v is not None}
    for name, number in drawn.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise BadInput(f"the {name} is {number}; expected a number that is finite")
    used = {"used": False} if no_system else {"used": True, "sha256": digests(system)[0]} if system else None
    how = "sampled" if models else "by people" if people else "filtered" if filters else "derived"
    predicate = {
        "how": how, "writers": [known_model(m) for m in models], "judges": [known_model(m) for m in judges],
        "sources": [known_file(s) for s in sources], "prompts": [known_file(prompts, "prompt")] if prompts else [],
        "system": used, "content": content, "filters": [{"name": f} for f in filters],
        "sampling": drawn,
    }  # fmt: skip
    return records.statement(records.GENERATION, [known_file(d, rows=_count(d)) for d in data], predicate)


def _count(path: Path) -> int | None:
    """How many rows a file has; None where they are in no layout that this package reads."""
    try:
        return sum(1 for _ in read_rows(path))
    except BadInput:
        return None


def training(
    model: str, bases: Sequence[str] = (), relation: str | None = None, start: str | None = None,
    data: Sequence[Path] = (), teachers: Sequence[str] = (), order: str | None = None, epochs: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The statement that a model was trained from others, or from fresh weights, on data in an order."""
    if bool(bases) == bool(start):
        raise BadInput("say what it was trained from: --base MODEL, or --start TEXT for fresh weights (what made them, "
                       "and the seed: two models with one text share an initialisation)")  # fmt: skip
    if relation is not None and relation not in _RELATIONS:
        raise BadInput(f"unknown relation {relation!r:.60}; {near(relation, _RELATIONS)}")
    said = known_model(model)
    if "digest" not in said:
        raise BadInput(f"no model's folder at {model!r:.200}; the record is about what lies in it")
    digest = _order(order, data, epochs)
    predicate = {
        "base": [known_model(b) for b in bases], "relation": None if start else relation or "finetune",
        "start": [descriptor(Artefact("start", start, (f"start:{start}",)))] if start else [],
        "datasets": [known_file(d, order=digest) for d in data], "teachers": [known_model(t) for t in teachers],
        "settings": {k: v for k, v in (settings or {}).items() if v is not None},
    }  # fmt: skip
    return records.statement(records.TRAINING, [said], predicate)


def _order(order: str | None, data: Sequence[Path], epochs: int) -> dict[str, Any]:
    """The digest of the order in which rows were trained on, numbered through all files from 0."""
    if not data or order == "unknown":
        return _UNKNOWN
    if order is None:
        raise BadInput("say in which order rows were trained on: --order FILE with one row number (from 0) a line, all "
                       "epochs; --order as-it-is where they were not shuffled; or --order unknown. It can prove later "
                       "what a model was trained on, and cannot be found again")  # fmt: skip
    counts = [_count(d) for d in data]
    if None in counts:
        raise BadInput(f"the rows of {data[counts.index(None)]} cannot be counted; use --order unknown")
    total, several = sum(c or 0 for c in counts), {"of": "all datasets, one after the other"} if len(data) > 1 else {}
    if order == "as-it-is":
        return order_digest(chain.from_iterable(repeat(range(total), epochs))) | several
    return order_digest(_numbers(Path(order), total)) | several


def _numbers(path: Path, total: int) -> Iterator[int]:
    with opened(path) as file:
        for place, line in enumerate(file, 1):
            text = line.strip()
            if not text.isdigit() or len(text) > 12 or int(text) >= total:
                raise BadInput(f"{path}:{place}: {text[:40]!r} is no number of one of the {total} rows (from 0)")
            yield int(text)


def lineage_test(a: str, b: str) -> dict[str, Any]:
    """The statement of what `trace` says of two models."""
    return records.statement(records.TEST, [known_model(a), known_model(b)], test_predicate(trace(a, b).model_dump()))


def card_of(statement: Mapping[str, Any]) -> str:
    """A Hugging Face card for the model that a training statement is about."""
    if statement["predicateType"] != records.TRAINING:
        raise BadInput("a model card needs a record of training")
    said, subject = statement["predicate"], statement["subject"][0]
    bases, datasets = ([d["name"] for d in said[k]] for k in ("base", "datasets"))
    lines = [
        f"# {_plain(subject['name'])}\n",
        f"Root digest (OpenSSF model-signing): `{subject['digest']['sha256']}`\n",
    ]
    for title, listed in (("Trained from", said["base"]), ("Trained on", said["datasets"])):
        lines += [f"{title} {_plain(d['name'])}{_digest(d)}.\n" for d in listed]
    return cards.card(bases, said["relation"], datasets, "\n".join(lines))


def _plain(text: str) -> str:
    """A name in Markdown, without anything that is more than a letter, a number or a mark in a name."""
    return "".join(c if c.isalnum() or c in "-_.:/ ()," else "?" for c in text)


def _digest(described: Mapping[str, Any]) -> str:
    digest = described.get("digest", {}).get("sha256")
    return f", sha256 `{digest}`" if digest else ""


def croissant_of(
    statement: Mapping[str, Any], claims: Sequence[Claim], name: str, example: Path | None
) -> dict[str, Any]:
    """A Croissant description of the data that a generation statement is about."""
    if statement["predicateType"] != records.GENERATION:
        raise BadInput("a Croissant description needs a record of generation")
    files = {s["name"].rpartition("/")[2]: s["digest"]["sha256"] for s in statement["subject"]}
    if len(files) < len(statement["subject"]):
        raise BadInput("two of the files have one name, by which Croissant tells them apart; rename one, or describe "
                       "each on its own")  # fmt: skip
    own = [c for c in claims if c.verb != "named"][:1]
    return cards.croissant(name, files, own, _example(example) if example and len(files) == 1 else None)


def _example(path: Path) -> dict[str, Any] | None:
    """The first row of JSON Lines, as it stands."""
    if path.suffix != ".jsonl":
        return None
    with opened(path) as file:
        first = next(iter(islice(file, 1)), b"")
    try:
        row = parse_json(first, str(path))
    except BadInput:
        return None
    return row if isinstance(row, dict) else None


def load(path: Path) -> dict[str, Any]:
    """The statement in a file; BadInput where there is none."""
    found = records.unwrap(parse_json(read_bytes(path), str(path)), str(path))
    records.claims(found, str(path))
    out: dict[str, Any] = found
    return out
