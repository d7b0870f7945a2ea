"""Lineage: whoever had a hand in rows or in training is told, and what could not be looked at is never green."""

from __future__ import annotations

from heredity.carriers import Numbers, NumbersOnly
from heredity.lab.judges import JudgeFilter
from heredity.lineage import exports
from heredity.lineage.colours import Answer, answer, pairs
from heredity.lineage.graph import Graph
from heredity.lineage.records import Artefact, Claim
from heredity.models import model_ref
from heredity.steps import Corpus, Samples, Student
from heredity.store import Step, describe
from heredity.types import Judge, ModelRef, Sampling, Served

LLAMA, NEOX = model_ref("nursery:llama-0"), model_ref("nursery:neox-0")


def _begun(ref: ModelRef) -> Claim:
    start = Artefact("start", ref.location, (f"start:{ref.location}",))
    return Claim("fresh", Artefact("model", ref.location, (f"blake2b:{ref.digest}",)), (("start", start),), "record")


def _of_step(step: Step) -> Answer:
    """The answer on a trained Step by its description alone; what the bases began from is recorded."""
    told = exports.claims({"key": step.key, "step": describe(step), "files": {}}, "manifest.json")
    graph = Graph([*told, _begun(LLAMA), _begun(NEOX)])
    (pair,) = pairs(graph)
    return answer(graph, pair)


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
