"""Records of strangers: small files that would take much time, and texts that can be read in two ways."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest
from bench.records_fuzz import fuzz

from heredity.lineage import cards, records
from heredity.lineage.identity import parse_json, parse_yaml
from heredity.lineage.sources import read
from heredity.lineage.writing import (
    croissant_of,
    generation,
)
from heredity.types import BadInput


@pytest.mark.parametrize("kind", ["statement", "Croissant"])
def test_a_small_file_makes_no_large_graph(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many things of which each was made of many: more links than its bytes would let one expect."""
    monkeypatch.setattr(records, "MOST_LINKS", 1_060)

    def told(count: int) -> Any:
        named: list[dict[str, Any]] = [{"name": f"f{i}", "digest": {"sha256": f"{i:064x}"}} for i in range(count)]
        if kind == "statement":
            sources = [{"name": f"r{i}"} for i in range(32)]
            return records.claims(records.statement(records.GENERATION, named, {"sources": sources}), "r")
        files = [{"@type": "cr:FileObject", "contentUrl": n["name"], "sha256": n["digest"]["sha256"]} for n in named]
        made = {"prov:wasDerivedFrom": [f"https://x.org/{i}" for i in range(32)]}
        graph = {"@context": {}, "conformsTo": cards.CROISSANT, "name": "d", "distribution": files} | made
        return cards.croissant_claims(graph, "r")

    assert sum(len(c.inputs) for c in told(31) if c.output.name != "d") == 31 * 32
    with pytest.raises(BadInput, match=r"^r: .*more than 1060 such links; write one record for each"):
        told(33)


def test_links_are_counted_as_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them would not fit in memory; by people each thing is made of none, and is a thing all the same."""

    def endless(subjects: list[Any], said: dict[str, Any], where: str) -> Iterator[records.Claim]:
        yield from islice(repeat(records.Claim("by people", records.Artefact("data", "d"), (), where)), 50)
        pytest.fail("more was read than is counted")

    monkeypatch.setattr(records, "MOST_LINKS", 20)
    monkeypatch.setitem(records._READERS, records.GENERATION, endless)
    subject = [{"name": "d", "digest": {"sha256": "0" * 64}}]
    with pytest.raises(BadInput, match="more than 20 such links"):
        records.claims(records.statement(records.GENERATION, subject, {}), "r")


def test_mangled_records_crash_no_reader() -> None:
    crashes: list[str] = []
    counts = fuzz(2_100, 7, lambda n, e: crashes.append(f"{n}: {e!r}"))
    assert crashes == []
    assert min(counts["read"], counts["refused"], counts["passed over"]) > 20


def test_parsers_take_only_what_others_would_read_alike() -> None:
    rng = random.Random(0)

    def plain(depth: int) -> Any:
        kinds: Iterator[Any] = iter([None, True, 3, "x\u202e", [], {}])
        some = list(kinds)
        return rng.choice(some) if depth == 0 else {str(i): [plain(depth - 1)] for i in range(2)}

    for _ in range(50):
        value = plain(3)
        assert parse_json(json.dumps(value), "x") == value
        assert parse_yaml(json.dumps(value, ensure_ascii=True), "x") == value


def test_folders_in_folders_are_followed_only_so_far(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (tmp_path / "rows.jsonl").write_text('{"text": "1"}\n')
    found = read([str(tmp_path)])
    assert any("was passed over: folders are looked at to a depth of" in note for note in found.notes)


def test_a_number_of_base_60_is_a_text_and_takes_no_time() -> None:
    assert parse_yaml("a: 1:30\nb: 12\nc: 1.5\nd: 1:30.5", "x") == {"a": "1:30", "b": 12, "c": 1.5, "d": "1:30.5"}
    assert len(parse_yaml("a: " + ":".join(["1"] * 1_000_000), "x")["a"]) == 1_999_999


def test_files_of_one_name_are_not_described_as_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_text(json.dumps({"text": name}) + "\n")
    made = generation([tmp_path / "a" / "rows.jsonl", tmp_path / "b" / "rows.jsonl"], people=True)
    with pytest.raises(BadInput, match="two of the files have one name"):
        croissant_of(made, records.claims(made, "x"), "x", None)
