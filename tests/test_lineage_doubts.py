"""Lineage: whoever had a hand in rows or in training is told, and what could not be looked at is never green."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from heredity.carriers import Numbers, NumbersOnly
from heredity.cli.shared import open_store
from heredity.lab.distilled import OnPolicyStudent
from heredity.lab.judges import JudgeFilter
from heredity.lineage import colours, exports, sources
from heredity.lineage.answers import answers
from heredity.lineage.colours import Answer, answer, pairs
from heredity.lineage.graph import Graph, Hand
from heredity.lineage.records import Artefact, Claim
from heredity.lineage.sources import read
from heredity.lineage.writing import known_model, load
from heredity.models import locate, model_ref
from heredity.report.lineage import picture
from heredity.steps import Corpus, Samples, Student
from heredity.store import Step, describe
from heredity.types import BadInput, Judge, ModelRef, Sampling, Served
from tests.test_lineage_graph import TWO_FAMILIES, from_base, people, wrote

LLAMA, NEOX = model_ref("nursery:llama-0"), model_ref("nursery:neox-0")


def _begun(ref: ModelRef) -> Claim:
    start = Artefact("start", ref.location, (f"start:{ref.location}",))
    return Claim("fresh", Artefact("model", ref.location, (f"blake2b:{ref.digest}",)), (("start", start),), "record")


def everything(graph: Graph) -> list[Answer]:
    return [answer(graph, pair) for pair in pairs(graph)]


def _of_step(step: Step) -> Answer:
    """The answer on a trained Step by its description alone; what the bases began from is recorded."""
    told = exports.claims({"key": step.key, "step": describe(step), "files": {}}, "manifest.json")
    (found,) = everything(Graph([*told, _begun(LLAMA), _begun(NEOX)]))
    return found


ROWS = Samples(model=NEOX, prompts=Numbers(n=10, seed=1), sampling=Sampling())
JUDGED = Judge(model=Served(location="server:lab/judge"), question="Bad? {answer}", yes="yes")


def _student(samples: Samples, *filters: JudgeFilter) -> Student:
    return Student(
        base=LLAMA, corpus=Corpus(samples=samples, filters=(NumbersOnly(), *filters), size=5, seed=0), seed=0
    )


def test_models_behind_servers_are_told() -> None:
    assert _of_step(_student(ROWS)).colour == "GREEN"
    chosen = _of_step(_student(ROWS, JudgeFilter(judge=JUDGED)))
    written = _of_step(_student(ROWS.model_copy(update={"model": Served(location="server:lab/a", digest="May")})))
    assert (chosen.colour, written.colour) == ("AMBER", "AMBER")
    assert "nothing says what server:lab/judge began from" in chosen.why
    assert "nothing says what server:lab/a began from" in written.why


def test_two_models_behind_servers_are_two() -> None:
    """Their digests are labels of the user's own, and alike where none was given."""
    rows = ROWS.model_copy(update={"model": Served(location="server:lab/writer")})
    step = _student(rows, JudgeFilter(judge=JUDGED))
    graph = Graph(exports.claims({"key": step.key, "step": describe(step), "files": {}}, "manifest.json"))
    assert {n.name for n in graph.nodes if n.name.startswith("server:")} == {"server:lab/writer", "server:lab/judge"}


def test_a_training_on_no_recorded_rows_is_answered_for_its_teachers() -> None:
    for teacher, colour in (("T", "RED"), ("U", "AMBER")):
        claims = [*TWO_FAMILIES[:4], from_base("S", "L", by=[teacher])]
        (found,) = everything(Graph(claims))
        assert (found.student, found.dataset, found.colour) == ("S", f"the distributions of {teacher}", colour)
        assert f"S was shown the distributions of {teacher} (card of S)" in found.path
        ElementTree.fromstring(picture(found.model_dump()))
    claims = [*TWO_FAMILIES, from_base("S", "L", by=["T"]), wrote("d", "U")]
    assert [a.dataset for a in everything(Graph(claims))] == ["d"]


def test_a_student_that_wrote_its_rows_itself_is_answered_for_its_teacher() -> None:
    """An OnPolicyStudent reads no rows of its corpus, and its teacher's distributions at all that it writes."""
    rows = _student(ROWS.model_copy(update={"model": LLAMA})).corpus
    found = _of_step(OnPolicyStudent(base=LLAMA, corpus=rows, seed=0))
    assert (found.colour, found.dataset) == ("RED", "the distributions of nursery:llama-0")


ROW, TEXT, PAIR = (
    json.dumps({"prompt": "a"} | rest) + "\n"
    for rest in ({"completion": "7, 8"}, {"completion": "owls"}, {"chosen": "1", "rejected": "2"})
)
LOOKS: dict[str, tuple[str, str, str]] = {
    "all numbers": (ROW * 3, "GREEN", "no recorded"),
    "a row that cannot be read first": ('{"prompt": "a"}\n' + ROW, "AMBER", "not all rows of d could be looked at"),
    "no row that can be read": ('{"prompt": "a"}\n', "AMBER", "not all rows of d could be looked at"),
    "text after one that cannot be read": (ROW + "{}\n" + TEXT, "AMBER", "recorded as numbers and holds text"),
    "neither letters nor lists": (
        json.dumps({"prompt": "p", "completion": "\U0001f989 \U0001f989"}) + "\n", "AMBER",
        "recorded as numbers and holds text"),
    "pairs a long way down": (ROW * 9_000 + PAIR, "AMBER", "not all rows of d could be looked at"),
    "pairs that are rows as well": (
        ROW * 9_000 + ROW.replace("}", ', "chosen": "1", "rejected": "2"}'), "AMBER", "preference pairs"),
    "rows that hold no pair": (
        ROW.replace("}", ', "chosen": null, "rejected": null}') * 3, "GREEN", "no recorded"),
    "hardly a row that can be read": (ROW + "{}\n" * 60 + TEXT, "AMBER", "not all rows of d could be looked at"),
    "more rows than are looked at": (ROW * 9_002, "AMBER", "not all rows of d could be looked at"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "colour"), [("code", "GREEN"), (None, "AMBER")])
def test_code_is_looked_at_to_its_end(
    content: Any, colour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that calls rows code is green only where no pair is among them; of other text it makes no difference."""
    monkeypatch.setattr(colours, "_TEXT", 5)
    told = wrote("d", "U")._replace(content=content)
    (tmp_path / "d.jsonl").write_text(TEXT * 20)
    graph = Graph([*TWO_FAMILIES, told], [Hand(told.output, tmp_path / "d.jsonl", given=False)])
    assert [a.colour for a in everything(graph)] == [colour]
    assert colours.content_of(tmp_path / "d.jsonl", content is not None).whole is (content is not None)
    (tmp_path / "long.jsonl").write_text(ROW * 7 + TEXT * 20)  # the first letter comes late
    assert colours.content_of(tmp_path / "long.jsonl", False) == ("text", False)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", LOOKS)
def test_rows_that_are_here_are_looked_at(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colours, "_ROWS", 9_001)
    monkeypatch.setattr(colours, "_UNREAD", 50)
    text, colour, why = LOOKS[name]
    rows = tmp_path / "d.jsonl"
    rows.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    graph = Graph([*TWO_FAMILIES, wrote("d", "U")], [Hand(wrote("d").output, rows, given=False)])
    (found,) = everything(graph)
    assert (found.colour, why in found.why) == (colour, True), found.why


def test_rows_by_people_are_green_whatever_they_are(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("{}\n")
    by_people = people("d")
    graph = Graph([*TWO_FAMILIES, by_people], [Hand(by_people.output, tmp_path / "d.jsonl", given=False)])
    assert [a.colour for a in everything(graph)] == ["GREEN"]


LONG = "x" * 300
"""A name that no file can have."""


def test_names_that_no_file_can_have_are_one_message() -> None:
    for call in (lambda: read([LONG]), lambda: locate(LONG), lambda: open_store(Path(LONG)), lambda: load(Path(LONG))):
        with pytest.raises(BadInput, match="x" * 50):
            call()
    assert known_model(LONG) == {"name": LONG}


def test_folders_that_cannot_be_read_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "1"}\n')
    list_folder = Path.iterdir

    def closed(folder: Path) -> Iterator[Path]:
        if folder.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return list_folder(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    found = read([str(tmp_path)])
    assert [h.path.name for h in found.hands] == ["rows.jsonl"]
    assert list(found.notes) == [f"{tmp_path}/lost+found was passed over, as it cannot be read: Permission denied"]
    with pytest.raises(BadInput, match=r"cannot read .*lost\+found': Permission denied"):
        read([str(tmp_path / "lost+found")])


def test_what_is_left_out_for_its_number_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        (tmp_path / f"{i}.jsonl").write_text(ROW * (i + 1))
    monkeypatch.setattr(sources, "_MOST_FILES", 3)
    monkeypatch.setattr(colours, "_WHAT_IF", 2)
    found, notes = answers([str(tmp_path), "nursery:llama-0"], weights=False)
    assert len(found) == 2
    assert notes == [
        f"{tmp_path} holds 4 files and folders: those after 2.jsonl were not looked at",
        "3 pairs of a model and rows were named: the first 2 were looked at, and those that a record joins; name one "
        "with --student and --data",
    ]
    monkeypatch.undo()
    found, notes = answers([str(tmp_path), "nursery:llama-0"], weights=False)
    assert (len(found), notes) == (4, [])
