"""The Store's Steps as records: what a description says about lineage, and a manifest as an in-toto statement."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heredity.lineage import records
from heredity.lineage.identity import EMPTY, digests, model_files, root_digest, weights_of
from heredity.lineage.orders import no_order, row_orders
from heredity.lineage.records import Artefact, Claim, Content, Kind, Role, Verb, descriptor
from heredity.models import BASES
from heredity.store import Store
from heredity.store.step import stored_steps
from heredity.types import BadInput

_MODELS = (
    "Base", "Corridor", "DepthCut", "DigitModel", "DirectionProjected", "DrawnToBase", "Excused", "GradientProjected",
    "Held", "Inoculated", "Interpolated", "Masked", "NearBase", "NearBaseOnRows", "Negated", "Noised", "PartFrozen",
    "PartlyShared", "Reader", "Settled", "Shaped", "Steered", "Subtracted", "UpdateProjected",
)  # fmt: skip
"""Steps whose payload is a model, beside those whose names end with Student or Teacher."""
_REFERENCES = ("ModelRef", "Checkpoint", "Served")
_BASES = ("base", "bases", "start", "student")
_TEACHERS = ("soft_targets", "teacher", "teachers", "like")
_LISTENS = ("LogitStudent", "OnPolicyStudent")
"""Students that are shown the distributions of the model that wrote their corpus."""
_CONTENT: dict[str, Content] = {"NumbersOnly": "numbers", "CodeOnly": "code", "WorkedAnswer": "worked"}
Described = Mapping[str, Any]


class Made(NamedTuple):
    """What a Step's description says about lineage: inputs are descriptions, of Steps and of what is no Step."""

    kind: Kind
    verb: Verb
    inputs: list[tuple[Role, Described]]
    content: Content | None = None
    system: bool | None = None


def _steps(value: Any) -> Iterator[Described]:
    """The Steps and model references in a field, not looked for inside of them."""
    if isinstance(value, list):
        for item in value:
            yield from _steps(item)
    elif isinstance(value, dict):
        if "step" in value or value.get("type") in _REFERENCES:
            yield value
        else:
            yield from _steps(list(value.get("fields", {}).values()))


def _name(described: Described) -> str:
    return str(described.get("step") or described.get("type"))


def _is_model(described: Described) -> bool:
    name = _name(described)
    return name in (*_REFERENCES, *_MODELS) or name.endswith(("Student", "Teacher"))


def made(described: Described) -> Made:
    """How a Step came to be, by the names of its class and fields."""
    fields: dict[str, Any] = described["fields"]
    inputs = [(name, step) for name, value in fields.items() for step in _steps(value)]
    return _model(described, inputs) if _is_model(described) else _data(described, inputs)


def _model(described: Described, inputs: list[tuple[str, Described]]) -> Made:
    name, fields, out = _name(described), described["fields"], list[tuple[Role, Described]]()
    unread = ("corpus",) if name in ("OnPolicyStudent", "PreferenceStudent") else ()
    for field, step in inputs:
        role: Role = "other" if field in unread else "data"
        if _is_model(step):
            role = "base" if field in _BASES else "teacher" if field in _TEACHERS else "other"
        out.append((role, step))
    if name in _LISTENS:
        out += [("teacher", step) for step in _corpus_writers(fields)]
    starts = _starts(described)
    out += [("start", {"start": start}) for start in starts]
    return Made("model", "fresh" if starts else "cut" if name == "DepthCut" else "trained", out)


def _starts(described: Described) -> list[str]:
    """The fresh weights of a nursery base, by family and seed."""
    fields = described["fields"]
    one, two = [fields.get("init_seed")], fields.get("init_seeds")
    seeds = {"Base": one, "Shaped": one, "Interpolated": two, "PartlyShared": two}.get(_name(described))
    return [f"nursery {fields.get('family')}, seed {seed}" for seed in seeds or []]


def _data(described: Described, inputs: list[tuple[str, Described]]) -> Made:
    name, fields, out = _name(described), described["fields"], list[tuple[Role, Described]]()
    for field, step in inputs:
        role: Role = "writer" if _is_model(step) else "other" if field == "gate" else "source"
        role = "other" if field == "prompts" else role  # a student whose context they must fit wrote none of them
        role = "judge" if field == "filters" and _is_model(step) else role
        out.append(("other" if name == "PreferencePairs" and role == "source" else role, step))
    if name == "PreferencePairs":
        out += [("judge", step) for step in _corpus_writers(fields)]
        prompted = bool(_at(fields, "corpus", "samples", "system")) or _own_system(out) is not None
        return Made("data", "sampled", out, "preferences", prompted)
    prompts = fields.get("prompts")
    out += [("prompts", prompts)] if isinstance(prompts, dict) and "type" in prompts else []
    kinds = [
        _CONTENT[f["type"]] for f in fields.get("filters") or [] if isinstance(f, dict) and f.get("type") in _CONTENT
    ]
    system = fields["system"] is not None or _own_system(out) is not None if "system" in fields else None
    verb: Verb = "sampled" if name == "Samples" else "filtered" if name == "Corpus" else "derived"
    return Made("data", verb, out, kinds[0] if kinds else None, system)


def _corpus_writers(fields: Described) -> Iterator[Described]:
    """The model that wrote a Step's corpus."""
    samples = _at(fields, "corpus", "samples")
    return _steps(samples.get("model") if isinstance(samples, dict) else None)


def _own_system(inputs: Iterable[tuple[Role, Described]]) -> str | None:
    """The system prompt of a writer's own: that of the Checkpoint that it is or was made from, which stands before
    every chat that has none. None: there is none, or it is empty."""
    for at in (step for role, step in inputs if role in ("writer", "judge")):
        model: Any = at
        while isinstance(model, dict) and "step" in model:
            model = model["fields"].get("base")
        if isinstance(model, dict) and model.get("type") == "Checkpoint" and (own := model["fields"].get("system")):
            return str(own)
    return None


def _at(fields: Any, *names: str) -> Any:
    """A field of a field of a field; None where there is none."""
    for name in names:
        fields = fields.get(name) if isinstance(fields, dict) else None
        fields = fields["fields"] if isinstance(fields, dict) and isinstance(fields.get("fields"), dict) else fields
    found: Any = fields
    return found


def claims(manifest: Mapping[str, Any], where: str, folder: Path | None = None, nested: bool = True) -> list[Claim]:
    """What a manifest claims: how its Step was made, and (`nested`) every Step that its description holds.

    Of the manifest's own files the digests are added, as ids by which a copy of them is known.
    """
    try:
        found = stored_steps(manifest["step"])
        keys = {id(step): key for key, step in found}
        own = found[-1][0]
        if own != manifest.get("key"):
            raise ValueError(f"its description has the key {own}")
        wanted = dict(found) if nested else {own: found[-1][1]}
        out = []
        for key, step in wanted.items():
            how = made(step)
            output = _artefact(step, keys)
            if key == own:
                output = output._replace(ids=(*output.ids, *_file_ids(how.kind, manifest.get("files", {}))))
            inputs = [(role, _artefact(s, keys)) for role, s in how.inputs]
            out.append(Claim(how.verb, output, tuple(inputs), where, how.content, how.system))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise BadInput(f"{where}: no manifest of a step ({said})") from error
    return out


def _artefact(described: Described, keys: Mapping[int, str]) -> Artefact:
    """A described Step by its key, a model reference by its digest, prompts by what describes them."""
    if "start" in described:
        return Artefact("start", described["start"], (f"start:{described['start']}",))
    if "step" in described:
        key = keys[id(described)]
        return Artefact("model" if _is_model(described) else "data", _label(described, key), (f"heredity:{key}",))
    fields = described["fields"]
    if described["type"] in _REFERENCES:
        location = str(fields["location"])
        if described["type"] == "Served":  # its digest is a label of the user's own: by its name alone it is known
            return Artefact("model", location)
        return Artefact(
            "model", location, (location if location.startswith("hub:") else f"blake2b:{fields['digest']}",)
        )
    text = json.dumps(described, sort_keys=True).encode()
    return Artefact("prompt", str(described["type"]), (f"sha256:{hashlib.sha256(text).hexdigest()}",))


def _label(described: Described, key: str) -> str:
    """A Step's name and the first digits of its key, with a teacher's trait."""
    trait = _at(described["fields"], "trait")
    word = trait.get("word", "neutral") if isinstance(trait, dict) and _is_model(described) else None
    name, _, digits = key.rpartition("-")
    return f"{name} ({word}) {digits[:8]}" if word else f"{name} {digits[:8]}"


def _file_ids(kind: Kind, files: Mapping[str, Any]) -> list[str]:
    """Ids by the digests that a manifest holds: of a model's weights, of data's rows."""
    known = {str(n): str(f["blake2b"]) for n, f in files.items()}
    if kind == "model":
        weights = weights_of(known)
        return [f"weights:{weights}"] if weights else []
    return [f"blake2b:{known[n]}" for n in row_files(known) if known[n] not in EMPTY]


def row_files(names: Iterable[str]) -> list[str]:
    """Which of a payload's files are its rows: not those that were dropped, and not counts and notes beside rows."""
    listed = sorted(names)
    rows = [n for n in listed if n.endswith((".jsonl", ".parquet")) and not n.startswith("dropped")]
    return rows or [n for n in listed if not n.startswith("dropped") and n != "manifest.json"]


def payload_ids(folder: Path, kind: Kind) -> tuple[list[str], dict[str, str]]:
    """Ids of what lies in a payload's folder, and the sha256 of its files."""
    if kind == "model":
        files = model_files(folder)
        ids = [f"sha256:{root_digest(files)}"]
        weights = next((n for n in files if n.endswith(".safetensors")), None)
        if weights_of(files) and weights:
            ids += [f"weights:{d}" for d in digests(folder / weights)]
        return ids, files
    found = {n: digests(folder / n) for n in row_files(p.name for p in folder.iterdir() if p.is_file())}
    ids = [f"{kind}:{d}" for both in found.values() for kind, d in zip(("sha256", "blake2b"), both, strict=True)]
    return [i for i in ids if i.split(":")[1] not in EMPTY], {n: both[0] for n, both in found.items()}


def export(store: Store, key: str) -> dict[str, Any]:
    """A Step's manifest as an in-toto statement: `training`, or `generation`, or `lineage-test` for a Relation.

    The manifest itself stands in the predicate, so that `records.manifest_in` gives it back. Inputs that are in the
    Store, or ship with the package, are named with their sha256; others by their keys.
    """
    manifest = store.manifest(key)
    described, folder = manifest["step"], store.folder(manifest["key"])
    keys = {id(step): k for k, step in stored_steps(described)}
    how, own = made(described), Artefact(made(described).kind, manifest["key"], (f"heredity:{manifest['key']}",))
    if _name(described) == "Relation":
        return _export_test(manifest, folder, [s for _, s in how.inputs], keys, store)
    ids, files = payload_ids(folder, how.kind)
    listed: dict[Role, list[dict[str, Any]]] = {}
    read = [step for role, step in how.inputs if role == "data" and how.kind == "model"]
    orders = row_orders(described, read, folder, store)
    for role, step in how.inputs:
        extra = {"order": orders.get(id(step))} if role == "data" else {}
        listed.setdefault(role, []).append(_described_input(step, keys, store, extra))
    head = {"step": _name(described), "manifest": manifest}
    if how.kind == "model":
        subject = descriptor(own._replace(ids=(*own.ids, ids[0])), files)
        return records.statement(records.TRAINING, [subject], head | _training(how, described, listed))
    subjects = [
        descriptor(Artefact("data", f"{manifest['key']}/{name}", (f"sha256:{digest}", *own.ids)))
        for name, digest in files.items()
    ]
    return records.statement(records.GENERATION, subjects, head | _generation(how, described, listed))


def _training(how: Made, described: Described, listed: Mapping[Role, list[dict[str, Any]]]) -> dict[str, Any]:
    fields = described["fields"]
    plain = {k: v for k, v in fields.items() if isinstance(v, int | float | str) or k == "tuning"}
    relation = {"cut": "cut", "fresh": None}.get(how.verb, "finetune")
    own_order = {"order": no_order(described)} if not listed.get("data") else {}
    return {"base": listed.get("base", []), "relation": relation, "datasets": listed.get("data", []),
            "teachers": listed.get("teacher", []), "start": listed.get("start", []),
            "settings": plain} | own_order  # fmt: skip


def _generation(how: Made, described: Described, listed: Mapping[Role, list[dict[str, Any]]]) -> dict[str, Any]:
    fields = described["fields"]
    system = fields.get("system") if isinstance(fields.get("system"), str) else _own_system(how.inputs)
    used = None if how.system is None else {"used": how.system} | (
        {"sha256": hashlib.sha256(system.encode()).hexdigest()} if isinstance(system, str) else {})  # fmt: skip
    return {"how": how.verb, "writers": listed.get("writer", []), "judges": listed.get("judge", []),
            "sources": listed.get("source", []), "prompts": listed.get("prompts", []), "content": how.content,
            "system": used, "sampling": _plain(fields.get("sampling")),
            "filters": [_plain(f) | {"name": _name(f)} for f in fields.get("filters") or []]}  # fmt: skip


def _plain(noun: Any) -> dict[str, Any]:
    return {k: v for k, v in (noun or {}).get("fields", {}).items() if isinstance(v, int | float | str) or v is None}


def _described_input(
    step: Described, keys: Mapping[int, str], store: Store, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """An input as a descriptor, with the sha256 of what is at hand."""
    artefact, folder = _artefact(step, keys), None
    if "step" in step:
        folder = store.folder(keys[id(step)])
    elif artefact.name.startswith("nursery:"):
        folder = BASES / artefact.name.removeprefix("nursery:")
    if artefact.kind == "prompt" or folder is None or not folder.is_dir():
        return descriptor(artefact, **extra)
    ids, files = payload_ids(folder, artefact.kind)
    known = [i for i in ids if i.startswith("sha256:")][:1]
    return descriptor(
        artefact._replace(ids=(*known, *artefact.ids)), files if artefact.kind == "model" else None, **extra
    )


def _export_test(
    manifest: dict[str, Any], folder: Path, models: list[Described], keys: Mapping[int, str], store: Store
) -> dict[str, Any]:
    found = json.loads((folder / "trace.json").read_text())
    subjects = [_described_input(step, keys, store, {}) for step in models]
    return records.statement(
        records.TEST, subjects, test_predicate(found) | {"step": _name(manifest["step"]), "manifest": manifest}
    )


def test_predicate(found: Mapping[str, Any]) -> dict[str, Any]:
    """A trace (`Trace.model_dump()`) as a lineage test's predicate; undefined numbers are null."""
    out: dict[str, Any] = {"test": "heredity trace"}
    kept = ("verdict", "why", "log10_p", "tests", "mean_cosine", "placebo_max", "matched_share", "power", "assumptions")
    out |= json.loads(_finite(json.dumps({k: found[k] for k in kept})))
    return out


def _finite(text: str) -> str:
    return json.dumps(json.loads(text, parse_constant=lambda _: None))
