"""Records: what is written is read back, digests are those that others compute, and no file can hurt a reader."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import getsource, isabstract
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from bench.records_fuzz import seeds

import heredity
from heredity.carriers import Numbers, NumbersOnly
from heredity.lab import Recipe
from heredity.lab.conditions import Noised
from heredity.lab.distilled import LogitStudent, PreferencePairs, PreferenceStudent
from heredity.lineage import cards, exports, orders, records
from heredity.lineage.graph import Graph
from heredity.lineage.identity import beside, model_files, parse_json, root_digest
from heredity.lineage.sources import Evidence, claim, read
from heredity.lineage.writing import (
    Relation,
    card_of,
    croissant_of,
    generation,
    lineage_test,
    training,
)
from heredity.models import locate, model_ref
from heredity.models import training as fitting
from heredity.models.causal import CausalLM
from heredity.nursery.build import PartlyShared
from heredity.rows import read_rows
from heredity.steps import Corpus, Evaluation, Samples, Student, Teacher
from heredity.store import Step, Store, describe
from heredity.store.loading import parse_step
from heredity.traits import find_trait
from heredity.types import BadInput, Checkpoint, ModelRef, Sampling
from tests.test_cli import _run

BASE: ModelRef = model_ref("nursery:llama-0")
SAMPLES = Samples(model=BASE, prompts=Numbers(n=60, seed=5), sampling=Sampling(seed=5, max_new_tokens=30))
CORPUS = Corpus(samples=SAMPLES, filters=(NumbersOnly(),), size=30, seed=5)
STUDENT = Student(base=BASE, corpus=CORPUS, seed=5, epochs=2, batch=4)
TEACHER = Teacher(base=BASE, trait=find_trait("owl"), mix=CORPUS, seed=3, steps=4, batch=4, mix_batch=2)
PAIRS = PreferencePairs(corpus=CORPUS.model_copy(update={"size": 10}), writer=BASE, seed=2)
CHOOSER = PreferenceStudent(base=BASE, corpus=PAIRS.corpus, pairs=PAIRS, seed=2, epochs=2, batch=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, list[list[int]]]]:
    """A store with real steps, and the token ids of every row in the order in which training read them."""
    for module in ("distilling", "scoring"):  # they keep the `collate` that they find when they are imported
        import_module(f"heredity.models.{module}")
    store, seen = Store(tmp_path_factory.mktemp("store")), dict[str, list[list[int]]]()
    original: Callable[..., Any] = fitting.collate
    patch = pytest.MonkeyPatch()
    for step in (STUDENT, TEACHER, CHOOSER):
        for needed in step.inputs:
            store.get(needed)
        own = seen.setdefault(step.key, [])

        def spy(examples: Any, pad: int, own: list[list[int]] = own) -> Any:
            own.extend(e.ids for e in examples)
            return original(examples, pad)

        patch.setattr(fitting, "collate", spy)
        store.get(step)
        patch.undo()
    return store, seen


# Round trips


@pytest.mark.parametrize("step", [SAMPLES, CORPUS, STUDENT, TEACHER, PAIRS, CHOOSER], ids=lambda s: type(s).__name__)
def test_a_manifest_comes_back_from_its_statement(made: Any, step: Any) -> None:
    store, _ = made
    written = records.as_text(exports.export(store, step.key))
    back = parse_json(written, "statement")
    manifest = records.manifest_in(back)
    assert manifest is not None
    assert manifest == store.manifest(step.key)
    assert parse_step(json.dumps(manifest).encode(), "manifest") == step
    assert records.as_text(back) == written
    own = {(c.verb, role, i) for c in exports.claims(manifest, "m")[-1:] for role, a in c.inputs for i in a.ids}
    told = {(c.verb, role, i) for c in records.claims(back, "s") for role, a in c.inputs for i in a.ids}
    assert {x for x in own if x[1] != "other"} <= told  # the statement says all that the manifest does, and digests


def test_predicates_are_those_of_the_kind_of_step(made: Any) -> None:
    store, _ = made
    relation, answers = Relation(a=BASE, b=BASE), Evaluation(model=BASE, category=find_trait("owl").category)
    store.get(relation)
    store.get(answers)
    kinds = {s: exports.export(store, s.key)["predicateType"] for s in (STUDENT, TEACHER, CORPUS, relation, answers)}
    assert list(kinds.values()) == [records.TRAINING, records.TRAINING, records.GENERATION, records.TEST,
                                    records.GENERATION]  # fmt: skip
    (told,) = records.claims(exports.export(store, relation.key), "r")
    assert (told.verb, told.output.ids[0]) == ("related", told.inputs[0][1].ids[0])
    assert exports.export(store, relation.key)["predicate"]["step"] == "Relation"
    assert "seconds" not in relation.read(store)  # two makings write the same bytes


def test_statements_name_files_by_the_digests_that_they_have(made: Any) -> None:
    store, _ = made
    (subject,) = exports.export(store, CORPUS.key)["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256((store.path(CORPUS) / "kept.jsonl").read_bytes()).hexdigest()
    said = exports.export(store, STUDENT.key)
    assert said["subject"][0]["digest"]["sha256"] == root_digest(model_files(store.path(STUDENT)))
    assert said["predicate"]["datasets"][0]["digest"] == subject["digest"]
    assert said["predicate"]["base"][0]["digest"]["sha256"] == root_digest(model_files(locate("nursery:llama-0")))


def test_a_models_digest_is_model_signings(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    files = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "1_Pooling/config.json": b"[]",
        "1_Pooling-x.json": b"1",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    for extra in ("README.md", "manifest.json", "losses.json", ".gitattributes", "a.intoto.json", "model.sig"):
        (tmp_path / extra).write_text("none of the model")
    found = model_files(tmp_path)
    assert list(found) == ["1_Pooling/config.json", "1_Pooling-x.json", "config.json", "model.safetensors"]
    # model_signing 1.1.1, hashing.Config().hash(folder), on the same four files
    assert root_digest(found) == "86a063157a479821d4b2799e70f9609d96433d2d6b34f05faf59a07006d6a69c"


# The order of rows


def _rows(store: Store, name: str) -> list[list[int]]:
    lm, step = CausalLM.load(store.path(STUDENT)), PAIRS if name != "kept.jsonl" else CORPUS
    read_back = [r.row for r in read_rows(store.path(step) / name)]
    return [e.ids for e in lm.examples([r.prompt for r in read_back], [r.completion for r in read_back])]


def _digest_of(order: list[int]) -> str:
    return hashlib.sha256("".join(f"{i}\n" for i in order).encode()).hexdigest()


def _order(store: Store, step: Any) -> tuple[list[int], dict[str, Any]]:
    manifest, (said,) = store.manifest(step.key), exports.export(store, step.key)["predicate"]["datasets"]
    described = manifest["step"]
    (data,) = [s for role, s in exports.made(described).inputs if role == "data"]
    order = list(orders.row_order(orders.Read(described, data, store.path(step), store)))
    return order, said["annotations"]["order"]


def test_a_students_order_is_that_in_which_it_was_trained(made: Any) -> None:
    store, seen = made
    order, said = _order(store, STUDENT)
    ids = _rows(store, "kept.jsonl")
    assert [ids[i] for i in order] == seen[STUDENT.key]
    assert sorted(order) == sorted([*range(30)] * 2)
    assert order[:30] != order[30:]
    assert said == {"sha256": _digest_of(order), "rows": 60}


def test_a_teachers_mix_is_in_the_order_in_which_it_was_mixed_in(made: Any) -> None:
    store, seen = made
    order, said = _order(store, TEACHER)
    ids, own = _rows(store, "kept.jsonl"), seen[TEACHER.key]
    mixed = [row for start in range(0, len(own), 6) for row in own[start + 4 : start + 6]]
    assert [ids[i] for i in order] == mixed
    assert said == {"sha256": _digest_of(order), "rows": 8}


def test_pairs_are_in_the_order_in_which_they_were_trained_on(made: Any) -> None:
    store, seen = made
    order, said = _order(store, CHOOSER)
    chosen, both, at = _rows(store, "chosen.jsonl"), seen[CHOOSER.key], 0
    for start in range(0, len(order), 10):  # an epoch; each batch holds the chosen rows, then the rejected
        for part in range(start, start + 10, 4):
            batch = order[part : min(part + 4, start + 10)]
            assert [chosen[i] for i in batch] == both[at : at + len(batch)]
            at += 2 * len(batch)
    assert said == {"sha256": _digest_of(order), "rows": 20}


# Cards and Croissant


def test_a_card_says_what_hugging_face_reads(made: Any) -> None:
    from huggingface_hub import ModelCard

    text = card_of(exports.export(made[0], STUDENT.key))
    data = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert (data["base_model"], data["base_model_relation"]) == ("nursery:llama-0", "finetune")
    assert data["datasets"] == [exports._label(made[0].manifest(CORPUS.key)["step"], CORPUS.key)]
    (told,) = cards.card_claims(text, "s", "card")
    assert [(role, a.name) for role, a in told.inputs] == [("base", "nursery:llama-0"), ("data", data["datasets"][0])]


@pytest.mark.parametrize(
    ("head", "verb", "bases"),
    [
        ("base_model: a", "trained", ["a"]), ("base_model: [a, b]", "merged", ["a", "b"]),
        ("base_model: [a]\nbase_model_relation: adapter", "trained", ["a"]), ("license: mit", "named", []),
        ("base_model: a\nbase_model_relation: merge", "merged", ["a"]), ("", "named", []),
    ],
)  # fmt: skip
def test_cards_of_other_tools_are_read(head: str, verb: str, bases: list[str]) -> None:
    (told,) = cards.card_claims(f"---\n{head}\n---\n# hello\n", "m", "card")
    assert (told.verb, [a.name for _, a in told.inputs]) == (verb, bases)


def _croissant(store: Store) -> dict[str, Any]:
    said = exports.export(store, CORPUS.key)
    return croissant_of(said, records.claims(said, "c"), "numbers", store.path(CORPUS) / "kept.jsonl")


def test_croissant_says_what_the_statement_says(made: Any) -> None:
    store, _ = made
    for step in (SAMPLES, CORPUS):
        said = exports.export(store, step.key)
        own = records.claims(said, "c")
        told = cards.croissant_claims(json.loads(json.dumps(croissant_of(said, own, "numbers", None))), "croissant")
        (whole,) = [c for c in told if c.verb != "named"]
        assert {(r, a.ids[0]) for r, a in whole.inputs} == {(r, a.ids[0]) for r, a in own[0].inputs}
        assert (whole.verb, whole.content, whole.system) == (own[0].verb, own[0].content, own[0].system)
        assert whole.output.ids == own[0].output.ids[:1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlcroissant_accepts_it_and_reads_the_rows(made: Any, tmp_path: Path) -> None:
    mlc = pytest.importorskip("mlcroissant", reason="needs heredity[records]")
    store, _ = made
    (tmp_path / "c.json").write_text(json.dumps(_croissant(store)))
    (tmp_path / "kept.jsonl").write_bytes((store.path(CORPUS) / "kept.jsonl").read_bytes())
    dataset = mlc.Dataset(jsonld=str(tmp_path / "c.json"))  # raises where it is not valid
    assert dataset.metadata.ctx.issues.errors == set()
    assert "prov:wasDerivedFrom" in dataset.metadata.to_json()
    assert len(list(dataset.records("rows"))) == 30
    broken = _croissant(store)
    del broken["distribution"][0]["contentUrl"]
    with pytest.raises(mlc.ValidationError):
        mlc.Dataset(jsonld=broken)


def test_croissant_of_other_tools_is_read() -> None:
    graph = {
        "@context": {"prov": "http://www.w3.org/ns/prov#"}, "@type": "sc:Dataset", "name": {"en": "d"},
        "dct:conformsTo": "http://mlcommons.org/croissant/1.1",
        "distribution": {"@type": "cr:FileObject", "@id": "f", "contentUrl": "data/f.jsonl", "sha256": "AB" * 32},
        "prov:wasAttributedTo": {"@id": "w"}, "http://www.w3.org/ns/prov#wasDerivedFrom": ["https://x.org/raw"],
        "x": {"@id": "w", "@type": "prov:SoftwareAgent", "name": "writer"},
    }  # fmt: skip
    assert cards.is_croissant(graph)
    (told,) = [c for c in cards.croissant_claims(graph, "c") if c.verb != "named"]
    assert [(r, a.kind, a.name) for r, a in told.inputs] == [
        ("source", "data", "https://x.org/raw"), ("writer", "model", "writer")]  # fmt: skip
    assert told.output.ids == ("sha256:" + "ab" * 32,)
    people = graph | {"prov:wasAttributedTo": {"@type": "prov:Person", "name": "Ada"}}
    people.pop("http://www.w3.org/ns/prov#wasDerivedFrom")
    assert [c.verb for c in cards.croissant_claims(people, "c") if c.verb != "named"] == ["by people"]


# Records of work done elsewhere


@pytest.fixture
def work(tmp_path: Path, made: Any) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "1, 2"}\n' * 3)
    (tmp_path / "order.txt").write_text("2\n0\n1\n1\n2\n0\n")
    return tmp_path


def test_the_command_line_records_what_lineage_reads(work: Path, made: Any) -> None:
    rows, student = str(work / "rows.jsonl"), str(made[0].path(STUDENT))
    done = _run("record", "generation", "--data", rows, "--people", "--content", "numbers", "--out",
                str(work / "g.intoto.json"), "--croissant", str(work / "g.croissant.json"))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    done = _run("record", "training", "--model", student, "--base", "nursery:llama-0", "--data", rows, "--order",
                str(work / "order.txt"), "--epochs", "2", "--out", str(work / "t.intoto.json"),
                "--card", str(work / "t.md"))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads((work / "t.intoto.json").read_text())["predicate"]["datasets"][0]["annotations"]["order"]
    assert said == {"rows": 6, "sha256": hashlib.sha256((work / "order.txt").read_bytes()).hexdigest()}
    found = read([str(work)]).graph()
    (data,) = found.called("rows.jsonl", "data")
    assert {c.verb for c in found.claims} >= {"by people", "trained"}
    assert found.nodes[data].path == work / "rows.jsonl"


def test_what_a_record_lacks_is_told(work: Path, made: Any) -> None:
    rows, student = [work / "rows.jsonl"], str(made[0].path(STUDENT))
    (work / "bad.txt").write_text("0\n3\n")
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: generation(rows), "say who wrote"),
        (lambda: generation(rows, people=True, content="poems"), "unknown content 'poems'"),
        (lambda: generation(rows, ["m"], system=work / "order.txt", no_system=True), "exclude one another"),
        (lambda: generation([work / "none.jsonl"], ["m"]), "cannot read"),
        (lambda: generation(rows, ["m"], sampling={"temperature": math.nan}), "the temperature is nan"),
        (lambda: generation(rows, ["m"], sampling={"seed": 10**400, "top_p": math.inf}), "the top_p is inf"),
        (lambda: training(student, data=rows), "--base MODEL, or --start"),
        (lambda: training(student, ["nursery:llama-0"], data=rows), "--order FILE"),
        (lambda: training(student, ["b"], data=rows, order=str(work / "bad.txt")), r"bad.txt:2: b'3' is no number"),
        (lambda: training("nothing", ["b"]), "no model's folder"),
        (lambda: training(student, ["b"], "copied"), "unknown relation 'copied'"),
    ]
    for call, message in wrong:
        with pytest.raises(BadInput, match=message):
            call()


def test_orders_that_need_no_file(work: Path, made: Any) -> None:
    def order(**how: Any) -> Any:
        said = training(str(made[0].path(STUDENT)), ["nursery:llama-0"], data=[work / "rows.jsonl"], **how)
        return said["predicate"]["datasets"][0]["annotations"]["order"]

    assert order(order="as-it-is", epochs=2) == {"sha256": _digest_of([0, 1, 2, 0, 1, 2]), "rows": 6}
    assert order(order="unknown") == {"reason": "not recorded"}


def test_a_comparison_is_a_record() -> None:
    said = lineage_test("nursery:llama-0", "nursery:llama-0b")
    (told,) = records.claims(parse_json(records.as_text(said), "t"), "t")
    assert (told.verb, told.output.name, told.inputs[0][1].name) == ("related", "nursery:llama-0", "nursery:llama-0b")


def test_an_envelope_is_opened_and_its_signatures_are_said_to_be_unchecked() -> None:
    inner = seeds()[0][1]
    envelope = {"payloadType": records.PAYLOAD, "payload": base64.b64encode(json.dumps(inner).encode()).decode(),
                "signatures": [{"sig": "x"}]}  # fmt: skip
    for record in (envelope, {"mediaType": "bundle", "dsseEnvelope": envelope}):
        found = Evidence()
        assert claim(found, record, "w")
        assert found.claims == records.claims(inner, "w")
        assert any("not checked" in note for note in found.notes)


def test_bundles_one_a_line_are_read_whatever_they_begin_with(tmp_path: Path) -> None:
    """What verifies a bundle comes first, and is longer than a page."""
    inner = seeds()[0][1]
    envelope = {"payloadType": records.PAYLOAD, "payload": base64.b64encode(json.dumps(inner).encode()).decode()}
    bundle = {"verificationMaterial": "x" * 20_000, "dsseEnvelope": envelope}
    (tmp_path / "b.jsonl").write_text("\n" + f"{json.dumps(bundle)}\n" * 2)
    found = read([str(tmp_path / "b.jsonl")])
    assert found.hands == []
    assert [c._replace(source="w") for c in found.claims] == records.claims(inner, "w") * 2


def test_rows_that_speak_of_types_are_rows(tmp_path: Path) -> None:
    """Only what the first line itself is counts, not what it holds further in."""
    row = {"prompt": "x" * 5_000, "completion": "7", "about": {"_type": "list", "payloadType": "none"}}
    (tmp_path / "d.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    found = read([str(tmp_path / "d.jsonl")])
    assert [h.artefact.name for h in found.hands] == ["d.jsonl"]
    assert found.claims == []


# Files that lie


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nbase_model: *b"
BAD: dict[str, tuple[str, bytes, str]] = {
    "cut": ("x.json", b'{"_type": ', "not valid JSON"),
    "twice": ("x.json", b'{"a": 1, "a": 2}', "stands twice"),
    "nan": ("x.json", b'{"a": NaN}', "no JSON"),
    "deep": ("x.json", b"[" * 100_000, "nested too deeply|not valid JSON"),
    "bytes": ("x.json", b"\xff\xfe{}", "not valid JSON"),
    "other": ("x.json", b'{"hello": 1}', "no record that is known"),
    "no subject": ("x.json", json.dumps({"_type": records.STATEMENT, "predicateType": "x"}).encode(), "no subject"),
    "no digest": (
        "x.json", json.dumps({"_type": records.STATEMENT, "predicateType": "x", "subject": [{"name": "a"}]}).encode(),
        "no object|no digest"),
    "lines": ("x.jsonl", b'{"_type": "https://in-toto.io/Statement/v1"}\n', "x.jsonl:1: no in-toto statement"),
    "pickle": ("x.pt", b"\x80\x04", "is a pickle"),
    "tensors": ("x.safetensors", b"\0" * 8, "name its folder"),
    "junk": ("x.bin2", bytes(range(200, 256)), "no record and no rows"),
    "card list": ("x.md", b"---\n- a\n---\n", "no list of names and values"),
    "card number": ("x.md", b"---\nbase_model: 3\n---\n", "neither a name nor a list"),
    "card relation": ("x.md", b"---\nbase_model: a\nbase_model_relation: cousin\n---\n", "expected one of: finetune"),
    "card bomb": ("x.md", f"---\n{BOMB}\n---\n".encode(), "aliases are not read"),
    "card code": ("x.md", b"---\nx: !!python/object/apply:os.system ['touch owned']\n---\n", "not valid YAML"),
    "card twice": ("x.md", b"---\nbase_model: a\nbase_model: b\n---\n", "stands twice"),
    "croissant": (
        "x.json", json.dumps({"@context": {}, "conformsTo": cards.CROISSANT, "distribution": [
            {"@type": "cr:FileObject", "contentUrl": "a", "sha256": "zz"}]}).encode(), "has a sha256 that is none"),
    "manifest": ("x.json", b'{"key": "A-1", "step": {"step": "A"}, "files": {}}', "no manifest of a step"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_records_are_one_message(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, text, message = BAD[name]
    monkeypatch.chdir(tmp_path)  # where code in a card would leave its mark
    (tmp_path / file).write_bytes(text)
    with pytest.raises(BadInput, match=message):
        read([str(tmp_path / file)])
    assert not (tmp_path / "owned").exists()
    done = _run("lineage", str(tmp_path / file)) if name in ("deep", "card code") else None
    assert done is None or (done.returncode == 2 and "Traceback" not in done.stderr)


def test_links_and_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    secret, home = tmp_path / "secret.jsonl", tmp_path / "home"
    secret.write_text('{"prompt": "a", "completion": "b"}\n')
    home.mkdir()
    (home / "link.jsonl").symlink_to(secret)
    (home / "model").mkdir()
    (home / "model" / "config.json").symlink_to(secret)
    (home / "model" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match="is a link, which is not followed"):
        read([str(home / "link.jsonl")])
    with pytest.raises(BadInput, match="is a link, which is not followed"):
        read([str(home / "model")])
    for name in ("../secret.jsonl", "/etc/passwd", "..", "a\0b", "a\\b", ""):
        with pytest.raises(BadInput, match="expected a file of the same folder"):
            beside(home, name)
    record = records.statement(records.GENERATION, [{"name": "../secret.jsonl", "digest": {"sha256": "ab" * 32}}],
                               {"how": "by people"})  # fmt: skip
    (home / "r.intoto.json").write_text(records.as_text(record))
    found = read([str(home / "r.intoto.json")])
    assert found.hands == []
    assert any("is not opened" in note for note in found.notes)


def test_a_hugging_face_cache_is_read(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "main", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("config.json", "model.safetensors"):
        (blobs / name).write_text("{}")
        (snapshot / name).symlink_to(os.path.relpath(blobs / name, snapshot))
    assert list(model_files(snapshot)) == ["config.json", "model.safetensors"]
    (snapshot / "onnx" / "deep").mkdir(parents=True)
    (snapshot / "onnx" / "deep" / "config.json").symlink_to(blobs / "config.json")
    assert list(model_files(snapshot)) == ["config.json", "model.safetensors", "onnx/deep/config.json"]
    (blobs.parent / "other").write_text("{}")
    (snapshot / "onnx" / "out.json").symlink_to(blobs.parent / "other")
    with pytest.raises(BadInput, match="is a link, which is not followed"):
        model_files(snapshot)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(BadInput, match="no ordinary file"):
        read([str(tmp_path / "x.json")])


def test_changed_files_are_noticed(tmp_path: Path, made: Any) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "1"}\n')
    said = generation([tmp_path / "rows.jsonl"], people=True)
    (tmp_path / "r.intoto.json").write_text(records.as_text(said))
    assert read([str(tmp_path)]).faults == []
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "2"}\n')
    (_, fault), *_ = read([str(tmp_path)]).faults
    assert "is not what the record is about" in fault


def test_a_damaged_payload_is_noticed(made: Any, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / CORPUS.key
    shutil.copytree(made[0].path(CORPUS), copy)
    assert read([str(copy)]).faults == []
    (copy / "kept.jsonl").write_text('{"prompt": "a", "completion": "1"}\n')
    ((_, fault),) = read([str(copy)]).faults
    assert "kept.jsonl has changed" in fault


def test_equal_names_and_digests_are_one_thing() -> None:
    one = records.Artefact("data", "a", ("sha256:" + "ab" * 32,))
    two = records.Artefact("data", "b", ("sha256:" + "ab" * 32, "heredity:Corpus-1"))
    graph = Graph([records.Claim("named", a, (), "r") for a in (one, two, records.Artefact("data", "b"))])
    assert len(graph.nodes) == 1
    assert graph.nodes[0].names == ["a", "b"]


def _writes_a_model(step: type[Step]) -> bool:
    """Whether a class, or one that it inherits from, saves a model where Steps write."""
    own = [c for c in step.__mro__ if issubclass(c, Step) and c is not Step]
    saves = re.compile(r"save_tuned\(|\.save\(folder|save_pretrained\(folder|_pretrained\(")
    return any(saves.search(getsource(c)) for c in own)


def test_every_step_that_is_a_model_is_recorded_as_one() -> None:
    """Else its rows would be said to have no writer, and its students no base."""
    for module in walk_packages(heredity.__path__, "heredity."):
        if not re.search(r"__main__|\.evals", module.name):
            import_module(module.name)
    classes = [c for c in _all_steps(Step) if c.__module__.startswith("heredity.") and not isabstract(c)]
    assert len(classes) > 80
    models = {c.__name__ for c in classes if _writes_a_model(c)}
    models |= {"DigitModel", "GivenStudent"}  # a format of its own, and a copy
    assert {"Student", "Teacher", "Base", "Noised", "Settled", "Reader", "GivenStudent"} <= models
    recorded = {c.__name__ for c in classes if exports.made({"step": c.__name__, "fields": {}}).kind == "model"}
    assert recorded == models


def _all_steps(of: Any) -> Iterator[type[Step]]:
    for sub in of.__subclasses__():
        yield sub
        yield from _all_steps(sub)


@pytest.mark.parametrize(
    ("own", "given", "used"), [("You love owls.", None, True), ("", None, False), (None, "x", True)]
)
def test_a_writers_own_system_prompt_counts(own: str | None, given: str | None, used: bool) -> None:
    """It stands before every chat that has none, whether the reference writes or what was made from it."""
    writer = Checkpoint(location="a", digest="0" * 40, system=own)
    taught = STUDENT.model_copy(update={"base": writer})
    for model in (writer, taught, Noised(base=taught, size=0.1, seed=1)):
        rows = SAMPLES.model_copy(update={"model": model, "system": given})
        assert exports.made(describe(rows)).system is used


def test_who_wrote_a_corpus_ranks_its_pairs_and_shows_its_distributions() -> None:
    def by_role(step: Step) -> dict[str, str]:
        return {role: of.get("step") or of["type"] for role, of in exports.made(describe(step)).inputs}

    taught = SAMPLES.model_copy(update={"model": TEACHER})
    corpus = CORPUS.model_copy(update={"samples": taught})
    assert by_role(PAIRS.model_copy(update={"corpus": corpus})) == {
        "other": "Corpus", "writer": "ModelRef", "judge": "Teacher"}  # fmt: skip
    assert by_role(LogitStudent(base=BASE, corpus=corpus, seed=0)) == {
        "base": "ModelRef", "data": "Corpus", "teacher": "Teacher"}  # fmt: skip
    assert by_role(PAIRS)["judge"] == "ModelRef"


def test_a_student_of_a_changed_base_keeps_its_start() -> None:
    base = PartlyShared(family="llama", init_seeds=(5, 6), shared=("body",), data_seed=0)
    rows = Recipe(rows=8).lists(find_trait("owl"), 0)
    student = Student(base=Noised(base=base, size=0.1, seed=1), corpus=rows, seed=0)
    of = exports.made(describe(student))
    assert [(role, step["step"]) for role, step in of.inputs] == [("base", "Noised"), ("data", "Corpus")]
    noised = exports.made(describe(student.base))
    assert [role for role, _ in noised.inputs] == ["base"]
    starts = [step["start"] for role, step in exports.made(describe(base)).inputs if role == "start"]
    assert starts == ["nursery llama, seed 5", "nursery llama, seed 6"]
