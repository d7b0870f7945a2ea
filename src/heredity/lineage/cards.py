"""Model cards of Hugging Face, and Croissant: what they claim, and writing them (docs/records.md).

Neither was made for this. A card holds names and no digest. Croissant holds digests of files and, since 1.1, PROV terms
for where they came from; what PROV has no word for stands under names of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, get_args
from urllib.parse import quote, unquote

import yaml

from heredity.lineage.identity import EMPTY, parse_yaml
from heredity.lineage.records import RELATIONS, Artefact, Claim, Content, Kind, Role, Verb, bounded
from heredity.types import BadInput

CROISSANT = "http://mlcommons.org/croissant/1.1"
_TERMS = "https://heredity/terms#"
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MOST_NAMES = 10_000


# Cards


def card_claims(text: str, name: str, where: str, ids: tuple[str, ...] = ()) -> list[Claim]:
    """What a model card's head claims of the model called `name`; BadInput where its YAML cannot be used."""
    head = _FRONT.match(text)
    said = parse_yaml(head[1], where) if head else {}
    if said is None:
        said = {}
    if not isinstance(said, dict):
        raise BadInput(f"{where}: the card's head is no list of names and values")
    bases, data = _names(said.get("base_model"), "base_model", where), _names(said.get("datasets"), "datasets", where)
    relation = said.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        raise BadInput(f"{where}: base_model_relation is {relation!r:.60}; expected one of: {', '.join(RELATIONS)}")
    merged = relation == "merge" or (len(bases) > 1 and relation is None)
    verb: Verb = "named" if not bases and not data else "merged" if merged else "trained"
    inputs: list[tuple[Role, Artefact]] = [("base", Artefact("model", b)) for b in bases]
    inputs += [("data", Artefact("data", d)) for d in data]
    return [Claim(verb, Artefact("model", name, ids), tuple(inputs), where)]


def _names(value: Any, field: str, where: str) -> list[str]:
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > _MOST_NAMES or not all(isinstance(v, str) and v for v in listed):
        raise BadInput(f"{where}: {field} is neither a name nor a list of names")
    return list(dict.fromkeys(v[:400] for v in listed))


def card(bases: Sequence[str], relation: str | None, datasets: Sequence[str], body: str) -> str:
    """A Hugging Face model card: the head that the hub reads, and a text."""
    if relation is not None and relation not in RELATIONS:
        relation = None
    head: dict[str, Any] = {"base_model": bases[0] if len(bases) == 1 else list(bases)} if bases else {}
    head |= {"base_model_relation": relation} if bases and relation else {}
    head |= {"datasets": list(datasets)} if datasets else {}
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{body}"


# Croissant


def is_croissant(record: Any) -> bool:
    """Whether a value is a Croissant description, by the version that it says it conforms to."""
    if not isinstance(record, dict) or "@context" not in record:
        return False
    conforms = [record["@context"], *_get(record, "conformsTo")]
    return any("mlcommons.org/croissant" in repr(v)[:20_000] for v in conforms)


def _local(key: str) -> str:
    return re.split(r"[:/#]", key)[-1]


def _get(node: Mapping[str, Any], name: str) -> list[Any]:
    """All values of a property, whichever prefix it has."""
    out: list[Any] = []
    for key, value in node.items():
        if _local(key) == name:
            out += value if isinstance(value, list) else [value]
    return out


def _text(values: list[Any]) -> str:
    """The first text among values; of texts by language, any."""
    for value in values:
        if isinstance(value, str):
            return value[:400]
        if isinstance(value, dict):
            inner = value.get("@value") or value.get("@id") or next(iter(value.values()), None)
            if isinstance(inner, str):
                return inner[:400]
    return ""


def _nodes(record: Any) -> dict[str, dict[str, Any]]:
    """Every object that has an `@id` and says something, by that."""
    found: dict[str, dict[str, Any]] = {}
    todo = [record]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            name = value.get("@id")
            if isinstance(name, str) and len(value) > 1:
                found[name] = value
            todo += value.values()
    return found


def file_objects(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, contentUrl, sha256) of every file that a description distributes; texts that are missing are empty."""
    out = []
    for node in _get(record, "distribution"):
        if isinstance(node, dict) and "FileSet" not in _text(_get(node, "@type")):
            url = _text(_get(node, "contentUrl"))
            name = _text(_get(node, "name")) or PurePosixPath(url).name or _text([node.get("@id")])
            out.append((name, url, _text(_get(node, "sha256")).lower()))
    return out


def croissant_claims(record: Any, where: str) -> list[Claim]:
    """What a Croissant description claims of its files: what wrote them, and what they derive from."""
    if not isinstance(record, dict):
        raise BadInput(f"{where}: no Croissant description")
    nodes, name = _nodes(record), _text(_get(record, "name")) or where
    files = []
    for label, url, digest in file_objects(record):
        if digest and not re.fullmatch("[0-9a-f]{64}", digest):
            raise BadInput(f"{where}: the file {label!r:.80} has a sha256 that is none")
        ids = (f"sha256:{digest}",) if digest and digest != EMPTY[0] else ()
        files.append(Artefact("data", PurePosixPath(url).name or label, ids))
    whole = Artefact("data", name, files[0].ids if len(files) == 1 else ())
    out = [] if len(files) < 2 else [Claim("derived", whole, tuple(("source", f) for f in files), where)]
    if len(files) == 1:
        out += [Claim("named", whole, (), where), Claim("named", files[0], (), where)]
    parts = [(record, files or [whole])]
    parts += [(n, files or [whole]) for n in _get(record, "recordSet") if isinstance(n, dict)]
    told = [n for n in _get(record, "distribution") if isinstance(n, dict) and "FileSet" not in _text(_get(n, "@type"))]
    parts += [(n, [f]) for n, f in zip(told, files, strict=True)]
    read: dict[int, tuple[Any, list[_Told]]] = {}
    out += bounded((c for node, outputs in parts for c in _provenance(node, outputs, nodes, where, read)), where)
    return out


_Told = tuple[Role, Artefact] | None
"""What something was made of, or by whom; None stands for people."""


def _provenance(
    node: Mapping[str, Any], outputs: Sequence[Artefact], nodes: Mapping[str, dict[str, Any]], where: str,
    read: dict[int, tuple[Any, list[_Told]]],
) -> Iterator[Claim]:  # fmt: skip
    """The claims about a part of the data. `read` keeps activities, of which many parts may refer to one."""
    sources = list(dict.fromkeys(("source", _entity(v, "data", nodes)) for v in _get(node, "wasDerivedFrom")))
    agents = list(dict.fromkeys(_agent(v, nodes) for v in _get(node, "wasAttributedTo")))
    told = [_whole(v, nodes) for v in _get(node, "wasGeneratedBy")] or [{}]
    for activity in {id(a): a for a in told}.values():  # each once, however often it is referred to
        if id(activity) not in read:
            made = [_agent(v, nodes) for v in _get(activity, "wasAssociatedWith")]
            made += [_used(v, nodes) for v in _get(activity, "used")]
            read[id(activity)] = activity, list(dict.fromkeys(made))
        found: list[_Told] = [*sources, *agents, *read[id(activity)][1]]  # type: ignore[list-item]
        inputs = tuple(dict.fromkeys(f for f in found if f))
        people, how = any(f is None for f in found), _text(_get(activity, "how"))
        if not inputs and not people:
            continue
        writes = any(role == "writer" for role, _ in inputs)
        verb: Verb = "filtered" if how == "filtered" else "sampled" if writes else "by people" if people else "derived"
        content = next((c for c in get_args(Content) if c == _text(_get(activity, "content"))), None)
        system = next((v for v in _get(activity, "systemPromptUsed") if isinstance(v, bool)), None)
        for output in outputs:
            yield Claim(verb, output, inputs, where, content, system)


def _whole(value: Any, nodes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The object that a value is, or that it refers to."""
    if isinstance(value, dict) and set(value) != {"@id"}:
        return value
    name = value.get("@id") if isinstance(value, dict) else value
    return nodes.get(str(name), {"@id": str(name)})


def _entity(value: Any, kind: Kind, nodes: Mapping[str, dict[str, Any]]) -> Artefact:
    node = _whole(value, nodes)
    known, label = _text([node.get("@id")]), _text(_get(node, "name"))
    ids = (known,) if re.fullmatch(r"(sha256|blake2b):[0-9a-f]{16,128}|heredity:\S+", known) else ()
    return Artefact(kind, label or unquote(known.removeprefix("urn:name:")) or "(no name)", ids)


def _agent(value: Any, nodes: Mapping[str, dict[str, Any]]) -> tuple[Role, Artefact] | None:
    """A writer; None stands for people."""
    kinds = str(_get(_whole(value, nodes), "@type"))
    return None if "Person" in kinds or "Organization" in kinds else ("writer", _entity(value, "model", nodes))


def _used(value: Any, nodes: Mapping[str, dict[str, Any]]) -> tuple[Role, Artefact]:
    """What an activity used: by the role that we write, else data that the outcome may derive from."""
    role = _text(_get(_whole(value, nodes), "role"))
    if role in ("judge", "prompts", "writer"):
        kind: Kind = "prompt" if role == "prompts" else "model"
        return role, _entity(value, kind, nodes)  # type: ignore[return-value]
    return "source", _entity(value, "data", nodes)


def _reference(artefact: Artefact, **more: Any) -> dict[str, Any]:
    known = next(
        (i for kind in ("sha256", "heredity", "blake2b") for i in artefact.ids if i.startswith(f"{kind}:")), ""
    )
    return {"@id": known or f"urn:name:{quote(artefact.name, safe='')}", "name": artefact.name} | more


_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField", "path": "cr:path", "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform", "heredity": _TERMS,
}  # fmt: skip
"""The format's own context (Croissant 1.1, appendix), with PROV's namespace and ours."""


def croissant(
    name: str, files: Mapping[str, str], claims: Sequence[Claim], example: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A Croissant 1.1 description of a dataset: its files by sha256, and what the claims say of where it came from.

    `example` is a row, as it was parsed. Names of files are relative to where the description lies.
    """
    distribution = [
        {"@type": "cr:FileObject", "@id": quote(file), "name": file, "contentUrl": file, "sha256": digest,
         "encodingFormat": "application/vnd.apache.parquet" if file.endswith(".parquet") else "application/jsonlines"}
        for file, digest in files.items()
    ]  # fmt: skip
    sets = [] if not example or len(files) != 1 else [_record_set(next(iter(files)), example)]
    activities = [a for c in claims if (a := _activity(c))]
    derived = [_reference(a) for c in claims for role, a in c.inputs if role == "source"]
    out: dict[str, Any] = {
        "@context": _CONTEXT, "@type": "sc:Dataset", "name": name, "conformsTo": CROISSANT,
        "description": f"Rows described by heredity; {_origin(claims)}.", "distribution": distribution,
    }  # fmt: skip
    out |= {"recordSet": sets} if sets else {}
    out |= {"prov:wasGeneratedBy": activities} if activities else {}
    return out | ({"prov:wasDerivedFrom": derived} if derived else {})


def _record_set(file: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of rows like an example: texts, and lists of turns that hold texts."""
    fields = [f for column, value in example.items() if (f := _field(file, column, value))]
    return {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}


def _field(file: str, column: str, value: Any) -> dict[str, Any] | None:
    name, source = f"rows/{quote(column, safe='')}", {"fileObject": {"@id": quote(file)}, "extract": {"column": column}}
    out: dict[str, Any] = {"@type": "cr:Field", "@id": name, "name": column}
    if isinstance(value, str):
        return out | {"dataType": "sc:Text", "source": source}
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return None
    parts = [
        {"@type": "cr:Field", "@id": f"{name}/{quote(key, safe='')}", "name": key, "dataType": "sc:Text",
         "source": source | {"transform": {"jsonPath": key}}}
        for key, text in value[0].items()
        if isinstance(text, str) and key.isidentifier()
    ]  # fmt: skip
    return out | {"repeated": True, "subField": parts} if parts else None


def _activity(claim: Claim) -> dict[str, Any] | None:
    agents = [_reference(a, **{"@type": "prov:SoftwareAgent"}) for role, a in claim.inputs if role == "writer"]
    if claim.verb == "by people":
        agents.append({"@type": "prov:Person", "@id": "urn:name:people", "name": "people"})
    used = [
        _reference(a, **{"@type": "prov:Entity", "heredity:role": role})
        for role, a in claim.inputs
        if role in ("prompts", "judge")
    ]
    if not agents and not used and claim.verb in ("named", "derived"):
        return None
    out: dict[str, Any] = {"@type": "prov:Activity", "heredity:how": claim.verb}
    out |= {"prov:wasAssociatedWith": agents} if agents else {}
    out |= {"prov:used": used} if used else {}
    out |= {"heredity:content": claim.content} if claim.content else {}
    return out | ({} if claim.system is None else {"heredity:systemPromptUsed": claim.system})


def _origin(claims: Sequence[Claim]) -> str:
    writers = [a.name for c in claims for role, a in c.inputs if role == "writer"]
    if writers:
        return f"written by {', '.join(writers)}"
    return "written by people" if any(c.verb == "by people" for c in claims) else "derived from other data"
