"""What records say of models and data, as claims, and in-toto Statements v1 that say it (docs/records.md).

Everything that is read (statements, Croissant, cards, manifests) becomes claims: one thing was made of others, says one
record. Statements are the form in which this package writes them; they hold all that a claim holds.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from heredity.lineage.identity import EMPTY, parse_json, weights_of
from heredity.types import BadInput

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
GENERATION, TRAINING, TEST = (f"https://heredity/{name}/v1" for name in ("generation", "training", "lineage-test"))
"""The three predicates. They are names, as model-signing's is; nothing lies at these addresses."""
SIGNING = "https://model_signing/signature/v1.0"
"""OpenSSF model-signing's predicate: which files a model is made of."""

Kind = Literal["model", "data", "prompt", "start"]
"""A start is a set of fresh weights: models with the same one share an initialisation."""
Verb = Literal[
    "sampled", "filtered", "derived", "by people", "trained", "merged", "fresh", "cut", "related", "unrelated", "named"
]  # fmt: skip
"""`named` says who something is, and nothing of where it came from."""
Role = Literal["writer", "judge", "source", "prompts", "base", "data", "teacher", "start", "other"]
Content = Literal["numbers", "code", "worked", "text", "preferences"]
RELATIONS = ("finetune", "adapter", "merge", "quantized")
"""What a Hugging Face card may say of a model and its base; a record may also say `cut`: some of its layers."""
_HEX = re.compile(r"[0-9a-f]{16,128}")
MOST_LINKS = 1_000_000
"""Things that one record may say that others were made of, each counted for each of the others."""
_LONG = 400
"""Characters of a name that are kept."""


class Artefact(NamedTuple):
    """A model, data, prompts or a start, by digests and keys where they are known, else by its name alone."""

    kind: Kind
    name: str
    ids: tuple[str, ...] = ()
    """`sha256:...` (a model's is its root digest), `blake2b:...`, `weights:...`, `heredity:KEY`, `start:...`."""


class Claim(NamedTuple):
    """One record's word that something was made of other things."""

    verb: Verb
    output: Artefact
    inputs: tuple[tuple[Role, Artefact], ...]
    source: str
    """Which record says it."""
    content: Content | None = None
    """What rows of data are."""
    system: bool | None = None
    """Whether rows were sampled under a system prompt; None where that is not recorded."""


def descriptor(artefact: Artefact, files: Mapping[str, str] | None = None, **annotations: Any) -> dict[str, Any]:
    """An in-toto ResourceDescriptor; `files` are a model's, by their sha256."""
    digest, keys = {}, []
    for one in artefact.ids:
        kind, _, value = one.partition(":")
        if kind in ("sha256", "blake2b"):
            digest[kind] = value
        elif not one.startswith("weights:"):
            keys.append(one)
    out: dict[str, Any] = {"name": artefact.name} | ({"uri": keys[0]} if keys else {})
    out |= {"digest": digest} if digest else {}
    annotations = ({"files": dict(files)} if files else {}) | {k: v for k, v in annotations.items() if v is not None}
    return out | ({"annotations": annotations} if annotations else {})


def statement(kind: str, subjects: Iterable[dict[str, Any]], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """A Statement v1; BadInput where a subject has no digest, which the format demands."""
    listed = list(subjects)
    if not listed or not all(s.get("digest") for s in listed):
        raise BadInput("a statement needs the digest of what it is about; name files that are here")
    return {"_type": STATEMENT, "subject": listed, "predicateType": kind, "predicate": dict(predicate)}


def as_text(record: Mapping[str, Any]) -> str:
    """The record as it is written: one line of JSON, names sorted, so that equal records have equal digests."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False) + "\n"


class _Bad(ValueError):
    """What is wrong with a statement."""


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Bad(f"{what} is no object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Bad(f"{what} is no list")
    return value


def _word(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _Bad(f"{what} is no text")
    return value[:_LONG]


def _artefact(kind: Kind, value: Any, what: str) -> Artefact:
    """A descriptor as an artefact. Its digests are checked for their form, and for those that everything shares."""
    said, ids = _object(value, what), []
    for algorithm, digest in _object(said.get("digest") or {}, f"{what}'s digest").items():
        if not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise _Bad(f"{what} has a digest that is no lower-case hexadecimal number")
        if digest not in EMPTY:
            ids.append(f"{algorithm[:20]}:{digest}")
    if kind == "model" and said.get("annotations"):
        files = _object(said["annotations"], f"{what}'s annotations").get("files")
        weights = weights_of(files) if isinstance(files, dict) else None
        ids += [f"weights:{weights}"] if weights and _HEX.fullmatch(weights) else []
    uri = said.get("uri")
    if isinstance(uri, str) and uri.startswith(("heredity:", "start:")):
        ids.append(uri[:_LONG])
    name = _word(said.get("name", ""), f"{what}'s name") or (uri if isinstance(uri, str) else "")[:_LONG]
    if not name and not ids:
        raise _Bad(f"{what} has neither a name nor a digest")
    return Artefact(kind, name or ids[0], tuple(ids))


def _all(kind: Kind, role: Role, value: Any) -> list[tuple[Role, Artefact]]:
    return [(role, _artefact(kind, item, f"a {role}")) for item in _list(value, f"the {role}s")] if value else []


def unwrap(record: Any, where: str) -> Any:
    """The statement in a DSSE envelope or Sigstore bundle; anything else as it is. Signatures are not checked."""
    if isinstance(record, dict) and isinstance(record.get("dsseEnvelope"), dict):
        record = record["dsseEnvelope"]
    if not isinstance(record, dict) or "payload" not in record or "payloadType" not in record:
        return record
    if record["payloadType"] != PAYLOAD or not isinstance(record["payload"], str):
        raise BadInput(f"{where}: the envelope holds no in-toto statement")
    try:
        return parse_json(base64.b64decode(record["payload"], validate=True), where)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{where}: the envelope's payload is no base64") from error


def is_statement(record: Any) -> bool:
    """Whether a value says of itself that it is an in-toto Statement v1."""
    return isinstance(record, dict) and record.get("_type") == STATEMENT


def claims(record: Any, where: str) -> list[Claim]:
    """What a statement claims: a claim for each subject; none from predicates that are not about lineage."""
    try:
        said = _object(record, "the record")
        if said.get("_type") != STATEMENT:
            raise _Bad(f"its _type is not {STATEMENT}")
        subjects, kind = _list(said.get("subject"), "the subject"), said.get("predicateType")
        if not subjects or not isinstance(kind, str):
            raise _Bad("it has no subject or no predicateType")
        for subject in subjects:
            if not _object(_object(subject, "a subject").get("digest"), "a subject's digest"):
                raise _Bad("a subject has no digest")
        read = _READERS.get(kind)
        return (
            list(bounded(read(subjects, _object(said.get("predicate"), "the predicate"), where), where)) if read else []
        )
    except _Bad as error:
        raise BadInput(f"{where}: no in-toto statement that can be used: {error}") from error


def bounded(told: Iterable[Claim], where: str) -> Iterator[Claim]:
    """The claims of one record; BadInput once they say more than can be followed: each costs memory and time."""
    links = 0
    for claim in told:
        links += 1 + len(claim.inputs)
        if links > MOST_LINKS:
            raise BadInput(f"{where}: it says of many things that each was made of many, and has more than "
                           f"{MOST_LINKS} such links; write one record for each set of rows or model")  # fmt: skip
        yield claim


def _generation(subjects: list[Any], said: dict[str, Any], where: str) -> Iterator[Claim]:
    inputs = [*_all("model", "writer", said.get("writers")), *_all("model", "judge", said.get("judges")),
              *_all("data", "source", said.get("sources")),
              *_all("prompt", "prompts", said.get("prompts"))]  # fmt: skip
    how, content, system = said.get("how"), said.get("content"), said.get("system")
    verb = next((v for v in ("sampled", "filtered", "by people") if v == how), "derived")
    if content is not None and content not in get_args(Content):
        raise _Bad(f"the content is none of {', '.join(get_args(Content))}")
    used = None if system is None else _object(system, "the system prompt").get("used")
    if used is not None and not isinstance(used, bool):
        raise _Bad("whether a system prompt was used is neither true nor false")
    for subject in subjects:
        yield Claim(verb, _artefact("data", subject, "a subject"), tuple(inputs), where, content, used)  # type: ignore[arg-type]


def _training(subjects: list[Any], said: dict[str, Any], where: str) -> Iterator[Claim]:
    inputs = [*_all("model", "base", said.get("base")), *_all("data", "data", said.get("datasets")),
              *_all("model", "teacher", said.get("teachers")), *_all("start", "start", said.get("start"))]  # fmt: skip
    relation = said.get("relation")
    verb: Verb = "merged" if relation == "merge" else "cut" if relation == "cut" else "trained"
    if any(role == "start" for role, _ in inputs):
        verb = "fresh"
    for subject in subjects:
        yield Claim(verb, _artefact("model", subject, "a subject"), tuple(inputs), where)


def _test(subjects: list[Any], said: dict[str, Any], where: str) -> Iterator[Claim]:
    if len(subjects) != 2:
        raise _Bad("a lineage test is about two models")
    a, b = (_artefact("model", s, "a subject") for s in subjects)
    verdict = said.get("verdict")
    if verdict not in ("related", "unrelated", "undetermined"):
        raise _Bad("the verdict is none of related, unrelated, undetermined")
    if verdict != "undetermined":
        yield Claim(verdict, a, (("other", b),), where)


def _signed(subjects: list[Any], said: dict[str, Any], where: str) -> Iterator[Claim]:
    """A model's files: they say who it is, and nothing of where it came from."""
    files = {}
    for resource in _list(said.get("resources"), "the resources"):
        item = _object(resource, "a resource")
        files[_word(item.get("name"), "a name")] = _word(item.get("digest"), "a digest")
    for subject in subjects:
        known = dict(_object(subject, "a subject")) | {"annotations": {"files": files}}
        yield Claim("named", _artefact("model", known, "a subject"), (), where)


_READERS: dict[str, Callable[[list[Any], dict[str, Any], str], Iterator[Claim]]] = {
    GENERATION: _generation, TRAINING: _training, TEST: _test, SIGNING: _signed,
}  # fmt: skip


def manifest_in(record: Any) -> dict[str, Any] | None:
    """The Store's manifest in a statement that was exported from one."""
    said = record.get("predicate") if isinstance(record, dict) else None
    manifest = said.get("manifest") if isinstance(said, dict) else None
    return manifest if isinstance(manifest, dict) else None
