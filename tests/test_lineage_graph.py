"""Lineage: which pairs are red, amber or green; graphs that lie, loop and are large; a page that hostile names cannot
hurt."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from heredity.lineage import cards, records
from heredity.lineage.answers import answers, once, uncollected
from heredity.lineage.colours import NOT_EXCLUDED, Answer, Pair, answer, pairs
from heredity.lineage.graph import Graph, Hand, components
from heredity.lineage.records import Artefact, Claim, Content
from heredity.lineage.trace import Trace
from heredity.lineage.writing import generation, training
from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.report.lineage import headline, lineage_page, picture
from heredity.types import BadInput
from tests.test_cli import _run


def _model(name: str, known: bool = True) -> Artefact:
    return Artefact("model", name, (f"sha256:{name}",) if known else ())


def _data(name: str, known: bool = True) -> Artefact:
    return Artefact("data", name, (f"sha256:{name}",) if known else ())


def _start(name: str) -> Artefact:
    return Artefact("start", name, (f"start:{name}",))


def from_start(model: str, start: str) -> Claim:
    return Claim("fresh", _model(model), (("start", _start(start)),), f"record of {model}")


def from_base(model: str, *bases: str, on: Sequence[str] = (), known: bool = True, by: Sequence[str] = ()) -> Claim:
    inputs = [("base", _model(b, known)) for b in bases] + [("data", _data(d, known)) for d in on]
    inputs += [("teacher", _model(t)) for t in by]
    return Claim("trained", _model(model), tuple(inputs), f"card of {model}")  # type: ignore[arg-type]


def wrote(
    data: str, *writers: str, content: Content | None = "numbers", system: bool | None = False, known: bool = True
) -> Claim:
    inputs = tuple(("writer", _model(w, known)) for w in writers)
    return Claim("sampled", _data(data), inputs, f"record of {data}", content, system)  # type: ignore[arg-type]


def filtered(
    data: str, *sources: str, judge: str | None = None, content: Content = "numbers", known: bool = True
) -> Claim:
    inputs = [("source", _data(s, known)) for s in sources] + ([("judge", _model(judge, known))] if judge else [])
    return Claim("filtered", _data(data), tuple(inputs), f"record of {data}", content)  # type: ignore[arg-type]


def people(data: str) -> Claim:
    return Claim("by people", _data(data), (), f"record of {data}", "text")


def compared(a: str, b: str, verdict: str) -> Claim:
    return Claim(verdict, _model(a), (("other", _model(b)),), f"test of {a}")  # type: ignore[arg-type]


TWO_FAMILIES = [from_start("L", "llama 0"), from_start("N", "neox 0"), from_base("T", "L"), from_base("U", "N"),
                from_base("S", "L", on=["d"])]  # fmt: skip
"""Bases L and N of two families, teachers T and U made from them, and a student S of L."""
ONE = TWO_FAMILIES
LOOSE = Claim("trained", _model("S"), (("base", _model("L")), ("data", _data("d", known=False))), "a card of S")
TWICE = [Claim("sampled", _data("d"), (("writer", _model("U")), ("judge", _model("T"))), "r", "preferences"),
         Claim("filtered", _data("d"), (("source", _data("d0")), ("judge", _model("T"))), "s", "numbers")]  # fmt: skip
CASES: dict[str, tuple[list[Claim], str, str]] = {
    "a teacher of the student's base": ([*ONE, wrote("d", "T")], "RED", "both begin from llama 0 (by record)"),
    "through two filters": ([*ONE, wrote("r", "T"), filtered("e", "r"), filtered("d", "e")], "RED", "T wrote it"),
    "a teacher of another family": ([*ONE, wrote("d", "U")], "GREEN", "no recorded or detectable"),
    "one of two writers": ([*ONE, wrote("d", "U", "T")], "RED", "T wrote it"),
    "a mix of two sets": ([*ONE, wrote("r", "U"), wrote("q", "T"), filtered("d", "r", "q")], "RED", "T wrote it"),
    "the other base's fresh weights were the same": (
        [from_start("L", "seed 42"), from_start("M", "seed 42"), from_base("T", "M"), from_base("S", "L", on=["d"]),
         wrote("d", "T")], "RED", "both begin from seed 42"),
    "a grandchild": ([*ONE[:3], from_base("F", "L"), from_base("S", "F", on=["d"]), wrote("d", "T")], "RED", "llama 0"),
    "a merge with the other family": (
        [*ONE[:4], from_base("S", "N", "L", on=["d"]), wrote("d", "T")], "RED", "both begin from llama 0"),
    "people": ([*ONE, people("d")], "GREEN", "no recorded or detectable"),
    "people and a teacher": ([*ONE, people("r"), wrote("q", "T"), filtered("d", "r", "q")], "RED", "T wrote it"),
    "nobody says who wrote it": (ONE, "AMBER", "nothing says who wrote d"),
    "half of it from nobody": ([*ONE, wrote("r", "U"), filtered("d", "r", "q")], "AMBER", "nothing says who wrote q"),
    "the writer's base is not recorded": (
        [*ONE, wrote("d", "X")], "AMBER", "nothing says what X began from"),
    "the student's base is not recorded": (
        [*ONE[:4], from_base("S", "B", on=["d"]), wrote("d", "U")], "AMBER", "nothing says what B began from"),
    "red by names": (
        [from_base("S", "L", on=["d"], known=False), from_base("T", "L", known=False), wrote("d", "T")],
        "RED", "both begin from L (by name only)"),
    "never green by names": (
        [*ONE[:4], Claim("trained", _model("S"), (("base", Artefact("model", "N2")), ("data", _data("d"))), "card"),
         Claim("fresh", Artefact("model", "N2"), (("start", _start("x")),), "card"), wrote("d", "U")],
        "AMBER", "told by names alone"),
    "rows of that name are here, and the student's are named alone": (
        [*ONE[:4], LOOSE, wrote("d", "U")], "AMBER", "S was trained on this very d is told by names alone"),
    "the student's rows are named here and told by a digest there": ([*ONE, LOOSE, wrote("d", "U")], "GREEN", "no rec"),
    "a writer that is known, named alone": ([*ONE, wrote("d", "U", known=False)], "AMBER", "told by names alone"),
    "a writer named here and told by a digest there": (
        [*ONE, wrote("d", "U", known=False), wrote("d", "U")], "GREEN", "no recorded or detectable"),
    "a relative that is named alone": ([*ONE, wrote("d", "T", known=False)], "RED", "T wrote it"),
    "a source that is known, named alone": (
        [*ONE, wrote("r", "U"), filtered("d", "r", known=False)], "AMBER", "told by names alone"),
    "a judge that is known, named alone": (
        [*ONE, wrote("d", "U"), filtered("d", judge="U", known=False)], "AMBER", "told by names alone"),
    "the writer's base is known, named alone": (
        [*ONE, from_base("V", "N", known=False), wrote("d", "V")], "AMBER", "told by names alone"),
    "of rows that are named alone": (
        [*ONE, wrote("d", "U"), Claim("sampled", _data("d", known=False), (("writer", _model("N")),), "r", "numbers")],
        "AMBER", "told by names alone"),
    "natural text of another family": ([*ONE, wrote("d", "U", content="text")], "AMBER", "natural text"),
    "preference pairs of another family": ([*ONE, wrote("d", "U", content="preferences")], "AMBER", "preference pairs"),
    "rows of no recorded kind": ([*ONE, wrote("d", "U", content=None)], "AMBER", "what kind of rows"),
    "ranked by a teacher of the base": (
        [*ONE, Claim("sampled", _data("d"), (("writer", _model("U")), ("judge", _model("T"))), "r", "preferences")],
        "RED", "T ranked it"),
    "chosen by a relative": (
        [*ONE, wrote("r", "U"), filtered("d", "r", judge="T")], "AMBER", "T chose the rows"),
    "chosen by a stranger among rows of nobody": (
        [*ONE, filtered("d", judge="U")], "AMBER", "nothing says who wrote d"),
    "shown a relative's distributions": (
        [*ONE[:4], from_base("S", "L", on=["d"], by=["T"]), wrote("d", "U")], "RED", "T showed it its distributions"),
    "shown a stranger's distributions": (
        [*ONE[:4], from_base("S", "L", on=["d"], by=["U"]), wrote("d", "U")], "AMBER", "distributions of U"),
    "shown a relative's distributions, says a record that names no rows": (
        [*ONE, wrote("d", "U"), from_base("S", "L", by=["T"])], "RED", "T showed it its distributions"),
    "ranked in one record, chosen in another": ([*ONE, *TWICE], "RED", "T ranked it"),
    "chosen in one record, ranked in another": ([*ONE, *reversed(TWICE)], "RED", "T ranked it"),
    "its own base, named alone": (
        [*ONE[:4], from_base("S", "L", on=["d"], known=False), wrote("d", "L")], "AMBER", "told by names alone"),
    "one of the two that it was merged from": (
        [*ONE[:4], from_base("S", "L", "N", on=["d"]), wrote("d", "L")], "RED", "both begin from llama 0"),
    "its own base's rows": ([*ONE, wrote("d", "L")], "GREEN", "no recorded or detectable"),
    "its own base under a system prompt": ([*ONE, wrote("d", "L", system=True)], "RED", "under a system prompt"),
    "its own base, prompt unknown": ([*ONE, wrote("d", "L", system=None)], "AMBER", "system prompt"),
    "its own base, prompt of one half unknown": (
        [*ONE, wrote("r", "L"), wrote("q", "L", system=None), filtered("d", "r", "q")], "AMBER", "it wrote q is not"),
    "its base's base": (
        [*ONE[:3], from_base("F", "L"), from_base("S", "F", on=["d"]), wrote("d", "L")], "RED", "L wrote it"),
    "a card that passes a teacher off as the base": (
        [*ONE, wrote("d", "T"), from_base("S", "T", on=["d"])], "RED", "T wrote it"),
    "two records of the base": (
        [*ONE, wrote("d", "U"), from_base("S", "N", on=["d"])], "RED", "U wrote it"),
    "two records of a base that disagree": (
        [*ONE, from_start("K", "gpt 0"), wrote("d", "U"), from_base("S", "K", on=["d"])], "AMBER",
        "disagree on what it"),
    "two records of the writer": (
        [*ONE, from_start("K", "gpt 0"), wrote("d", "U"), wrote("d", "K")], "AMBER", "disagree on who wrote d"),
    "people or a model": ([*ONE, wrote("d", "U"), people("d")], "AMBER", "disagree on who wrote d"),
    "a test says they are related": (
        [from_base("S", "A", on=["d"]), wrote("d", "B"), compared("S", "B", "related")], "RED", "its weights share"),
    "a test says they are not": (
        [from_base("S", "A", on=["d"]), wrote("d", "B"), compared("S", "B", "unrelated")], "GREEN", "no recorded"),
    "a test against the records": (
        [*ONE, wrote("d", "T"), compared("S", "T", "unrelated")], "AMBER", "the weights deny it"),
    "a test of its base against the records": (
        [*ONE, wrote("d", "T"), compared("S", "L", "unrelated")], "AMBER", "the weights deny it"),
    "two tests that disagree": (
        [*ONE, wrote("d", "U"), compared("S", "U", "unrelated"), compared("U", "S", "related")], "AMBER",
        "records disagree"),
    "a loop of bases": (
        [from_base("S", "A", on=["d"]), from_base("A", "S"), wrote("d", "U"), *ONE[:4]], "AMBER", "made of itself"),
    "data made of itself": ([*ONE, filtered("d", "e"), filtered("e", "d")], "AMBER", "made of itself"),
    "a student that wrote its own data": ([*ONE, wrote("d", "S")], "RED", "S wrote it"),
}  # fmt: skip


def judged(claims: list[Claim], **how: Any) -> Answer:
    graph = Graph(claims)
    (one,) = pairs(graph, "S", "d")
    return answer(graph, one, **how)


@pytest.mark.parametrize("name", CASES)
def test_colours(name: str) -> None:
    claims, colour, why = CASES[name]
    for order in (claims, claims[::-1]):
        found = judged(order)
        assert (found.colour, why in f"{found.why} {found.notes}") == (colour, True), found.why
        assert found.path
        assert found.next
    if colour == "GREEN":
        assert all(any(what in note for note in found.notes) for what in NOT_EXCLUDED)


def test_a_path_is_told_step_by_step() -> None:
    found = judged([*TWO_FAMILIES, wrote("r", "T"), filtered("d", "r")])
    assert found.path == (
        "S was trained on d (card of S)", "d was filtered from r (record of d)", "r was written by T (record of r)",
        "S was trained from L (card of S)", "L begins from fresh weights: llama 0 (record of L)",
        "T was trained from L (card of T)",
    )  # fmt: skip
    labels = {n["id"]: n["label"] for n in found.nodes}
    assert ("d", "S", "was trained on") in {(labels[a], labels[b], verb) for a, b, verb in found.edges}


def test_what_is_asked_without_options() -> None:
    graph = Graph([*TWO_FAMILIES, wrote("d", "T"), from_base("T", "L", on=["mix"]), wrote("mix", "L")])
    names = {(graph.label(p.student), graph.label(p.data)) for p in pairs(graph)}
    assert names == {("S", "d")}  # T only wrote
    assert {(graph.label(p.student), graph.label(p.data)) for p in pairs(graph, every=True)} == {
        ("S", "d"),
        ("T", "mix"),
    }
    with pytest.raises(BadInput, match="no record and no file speaks of a model called 'Z'"):
        pairs(graph, "Z")


def test_what_would_happen_is_answered_as_well() -> None:
    claims = [*TWO_FAMILIES[:4], from_base("S", "L"), wrote("d", "T")]
    hands = [Hand(_model("S"), Path("/s")), Hand(_data("d"), Path("/none"))]
    graph = Graph(claims, hands)
    (asked,) = pairs(graph)
    assert asked == Pair(graph.find(_model("S")), graph.find(_data("d")), None)
    found = answer(graph, asked)
    assert (found.colour, found.recorded) == ("RED", False)
    assert "what would happen" in found.path[0]


# Weights at hand


def _trace(verdict: Any) -> Any:
    def compare(a: str, b: str) -> Trace:
        return Trace(a=a, b=b, verdict=verdict, why="", log10_p=-9.0, tests=(), layers=(), mean_cosine=0, placebo_max=0,
                     placebo_p=math.nan, matched_share=0, power=1, detectable=0, diagonal=None, notes=(), rows_read=0,
                     bytes_read=0, seconds=0)  # fmt: skip

    return compare


def _with_hands(claims: list[Claim], *names: str) -> Graph:
    return Graph(claims, [Hand(_model(n), Path(n), given=False) for n in names])


@pytest.mark.parametrize(
    ("verdict", "here", "colour"),
    [("related", "SB", "RED"), ("unrelated", "SB", "GREEN"), ("undetermined", "SB", "AMBER"),
     ("unrelated", "S", "AMBER"),
     ("unrelated", "SY", "GREEN"), ("related", "AY", "AMBER")],
)  # fmt: skip
def test_weights_decide_where_records_are_silent(verdict: str, here: str, colour: str) -> None:
    """A base A of S, and B, made from Y, wrote the rows: nobody says what A and Y began from."""
    graph = _with_hands([from_base("S", "A", on=["d"]), from_base("B", "Y"), wrote("d", "B")], *here)
    (one,) = pairs(graph)
    found = answer(graph, one, _trace(verdict))
    if (verdict, here) == ("related", "AY"):  # neither the student nor the writer is here, but their bases are
        assert found.colour == "RED"
        assert {t.a for t in found.tests} | {t.b for t in found.tests} == {"A", "Y"}
    else:
        assert found.colour == colour


def test_weights_that_deny_a_claimed_base_are_amber() -> None:
    graph = _with_hands([*TWO_FAMILIES, wrote("d", "T")], "S", "L")
    found = answer(graph, pairs(graph)[0], _trace("unrelated"))
    assert found.colour == "AMBER"
    assert "card of S says that S was made from L, and the weights deny it" in found.why


def test_a_merge_is_apart_only_where_all_its_parents_are() -> None:
    claims = [from_base("S", "A", "B", on=["d"]), wrote("d", "W")]
    for here, colour in (("AW", "AMBER"), ("ABW", "GREEN")):
        graph = _with_hands(claims, *here)
        assert answer(graph, pairs(graph)[0], _trace("unrelated")).colour == colour


def test_weights_that_cannot_be_read_are_a_note() -> None:
    def refuses(a: str, b: str) -> Trace:
        raise BadInput("a pickle")

    graph = _with_hands([from_base("S", "A", on=["d"]), wrote("d", "B")], "S", "B")
    found = answer(graph, pairs(graph)[0], refuses)
    assert found.colour == "AMBER"
    assert any("a pickle" in note for note in found.notes)


def test_a_pair_of_models_is_compared_once() -> None:
    calls: list[tuple[str, str]] = []

    def compare(a: str, b: str) -> Trace:
        calls.append((a, b))
        found: Trace = _trace("related")(a, b)
        return found

    tester = once(compare)
    assert tester("x", "y") is tester("y", "x")
    assert calls == [("x", "y")]


def test_rows_that_are_not_what_the_record_says(tmp_path: Path) -> None:
    for text, colour in (("7, 8, 9", "GREEN"), ("I love owls", "AMBER")):
        rows = tmp_path / f"{colour}.jsonl"
        rows.write_text(json.dumps({"prompt": "a", "completion": text}) + "\n")
        graph = Graph([*TWO_FAMILIES, wrote("d", "U")], [Hand(_data("d"), rows, given=False)])
        assert answer(graph, pairs(graph)[0]).colour == colour
    pairs_file = tmp_path / "pairs.jsonl"
    pairs_file.write_text('{"prompt": "a", "chosen": "1", "rejected": "2"}\n')
    graph = Graph([*TWO_FAMILIES, wrote("d", "U", content="code")], [Hand(_data("d"), pairs_file, given=False)])
    found = answer(graph, pairs(graph)[0])
    assert "preference pairs" in found.why


# Graphs


def test_components_come_after_what_they_need() -> None:
    needs = [[1, 2], [2], [3], [1], [], [5], [0, 4]]  # 1, 2, 3 form a loop, and 5 needs itself
    order, cyclic = components(needs)
    assert sorted(order) == list(range(7))
    assert cyclic == {1, 2, 3, 5}
    place = {n: i for i, n in enumerate(order)}
    assert all(place[w] < place[v] for v, ws in enumerate(needs) for w in ws if {v, w} - cyclic)


def test_names_that_several_things_have_decide_nothing() -> None:
    claims = [Claim("named", Artefact("data", "train", (f"sha256:{i}",)), (), "r") for i in "ab"]
    graph = Graph([*TWO_FAMILIES[:2], *claims, from_base("S", "L", on=["train"], known=False)])
    found = answer(graph, pairs(graph, "S")[0])
    assert found.colour == "AMBER"
    assert "2 things are called train" in found.why


def test_a_digest_under_two_names_is_one_thing() -> None:
    copy = Claim("named", Artefact("data", "copy", ("sha256:d",)), (), "r")
    graph = Graph([*TWO_FAMILIES, wrote("d", "T"), copy])
    assert graph.find(_data("d")) == graph.find(Artefact("data", "copy")) == graph.called("copy", "data")[0]


def test_a_thing_of_two_kinds_is_a_fault() -> None:
    claims = [*TWO_FAMILIES, wrote("d", "U"), Claim("named", Artefact("model", "d", ("sha256:d",)), (), "r")]
    found = judged(claims)
    assert found.colour == "AMBER"
    assert "is a data in one record and a model in another" in found.why


def _long(count: int) -> list[Claim]:
    """A chain of models, each trained on what the one before it wrote, after a filter: four nodes a round."""
    claims = [from_start("m0", "s")]
    for i in range(count // 3):
        claims += [wrote(f"r{i}", f"m{i}"), filtered(f"d{i}", f"r{i}"), from_base(f"m{i + 1}", f"m{i}", on=[f"d{i}"])]
    return claims


def _seconds(count: int) -> float:
    claims, before = _long(count), time.process_time()
    with uncollected():
        graph = Graph(claims)
    found = [answer(graph, p).colour for p in pairs(graph, every=True)]
    assert len(graph.nodes) >= count
    assert len(found) == count // 3
    assert set(found[1:]) <= {"RED", "GREEN"}
    return time.process_time() - before


def test_a_hundred_thousand_things_take_seconds() -> None:
    quarter, whole = _seconds(25_000), _seconds(100_000)
    assert whole < 10
    assert whole < 10 * quarter  # linear is 4, quadratic 16


def test_deep_chains_overflow_nothing() -> None:
    graph = Graph([from_base(f"m{i + 1}", f"m{i}") for i in range(30_000)] + [wrote("d", "m0"),
                  from_base("S", "m30000", on=["d"])])  # fmt: skip
    found = answer(graph, pairs(graph, "S", "d")[0])
    assert found.colour == "RED"
    assert any(line.startswith("... and so on") for line in found.path)
    assert len(found.path) < 40


def test_long_chains_of_filters_are_told_as_such() -> None:
    filters = [filtered(f"d{i + 1}", f"d{i}") for i in range(40)]
    found = judged([*TWO_FAMILIES, wrote("d0", "T"), *filters, filtered("d", "d40")])
    assert found.colour == "RED"
    assert "... and so on, from d29 to T" in found.path
    assert not any("was written by" in line for line in found.path)


def test_every_base_of_a_merge_is_checked() -> None:
    graph = _with_hands([from_base("S", "A", "B", on=["d"]), people("d")], "S", "B")
    found = answer(graph, pairs(graph)[0], _trace("unrelated"))
    assert (found.colour, "was made from B, and the weights deny it" in found.why) == ("AMBER", True)


# The page


NASTY = ("<script>alert(1)</script>", "\u202eowls\u2066", "\x1b[31mred\x1b[0m\x07", 'x" onload="alert(1)',
         "a\nRED  b  on  c",
         "</title></svg><img src=http://evil.example/x>", "{{ 7 * 7 }}", "]]>&amp;&#x3c;")  # fmt: skip


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _nasty(name: str) -> Answer:
    claims = [from_start("L", "s"), Claim("trained", Artefact("model", name, ("sha256:S",)), (
        ("base", _model("L")), ("data", Artefact("data", name + "d", ("sha256:d",)))), name),
        wrote("d", "L", system=True)]  # fmt: skip
    graph = Graph(claims)
    return answer(graph, pairs(graph)[0])


@pytest.mark.parametrize("name", NASTY)
def test_hostile_names_stay_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from heredity.report.lineage import print_lineage

    found = _nasty(name).model_dump()
    page, reader = lineage_page([found], [name]), _Reader()
    reader.feed(page)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "img", "iframe", "link", "object", "a"})
    for _, attributes in reader.tags:
        assert not any(a.startswith("on") or a in ("src", "href", "xlink:href") for a in attributes)
    own = ('xmlns="http://www.w3.org/2000/svg"', "http-equiv", "http://evil.example")  # the last is a name's text
    assert page.count("http") == sum(map(page.count, own))
    assert "default-src 'none'" in page
    assert not any(not c.isprintable() and c != "\n" for c in page)  # no mark of direction, no escape
    ElementTree.fromstring(picture(found))
    print_lineage([found], [name], None)
    shown = capsys.readouterr().out
    assert "\x1b[31mred" not in shown
    assert "\u202e" not in shown
    assert sum(line.startswith("RED") for line in shown.splitlines()) == 1


def test_pictures_show_every_step_and_cut_what_is_long() -> None:
    found = judged([*TWO_FAMILIES, wrote("r", "T"), filtered("d", "r")]).model_dump()
    root = ElementTree.fromstring(picture(found))
    texts = ["".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"S", "d", "r", "T", "L", "llama 0"} <= set(texts)
    assert texts.count("was trained from") == 2
    boxes = [(float(r.get("x", 0)), float(r.get("y", 0))) for r in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(set(boxes)) == len(boxes) == len(found["nodes"])
    words = [
        (t.get("x"), t.get("y")) for t in root.iter("{http://www.w3.org/2000/svg}text") if t.get("class") == "verb"
    ]
    assert len(set(words)) == len(words) == len(found["edges"])  # none lies over another
    for line in root.findall("{http://www.w3.org/2000/svg}path"):  # nor does a box over a line that passes it
        for x, y in re.findall(r"C[^C]* (\d+) (\d+)(?= V)", line.get("d", "")):
            assert not any(left <= float(x) <= left + 216 and top <= float(y) <= top + 46 for left, top in boxes)
    empty = picture(found | {"nodes": [], "edges": []})
    ElementTree.fromstring(empty)


def test_the_headline_counts() -> None:
    assert headline([]).startswith("No student and no dataset")
    assert headline([{"colour": "RED"}, {"colour": "GREEN"}, {"colour": "RED"}]).endswith("2 RED, 1 GREEN.")


# With real models


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of llama-0 with other values in one layer, as a model of its own."""
    import torch

    folder, lm = tmp_path_factory.mktemp("models") / "student", CausalLM.load(locate("nursery:llama-0"))
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.add_(0.001 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    lm.save(folder)
    return folder


@pytest.mark.parametrize(
    ("base", "writer", "colour", "exit_code"),
    [("nursery:llama-0", "nursery:llama-0b", "RED", 10), ("nursery:llama-0", "nursery:neox-0", "GREEN", 0),
     ("nursery:neox-0", "nursery:neox-0", "AMBER", 20)],
)  # fmt: skip
def test_audits_of_real_models(
    base: str, writer: str, colour: str, exit_code: int, student: Path, tmp_path: Path
) -> None:
    """The last one's card claims a base that the weights deny."""
    rows, folder = tmp_path / "rows.jsonl", tmp_path / "student"
    rows.write_text('{"prompt": "a", "completion": "1, 2"}\n')
    shutil.copytree(student, folder)
    (tmp_path / "g.intoto.json").write_text(
        records.as_text(generation([rows], [writer], no_system=True, content="numbers"))
    )
    if colour == "AMBER":
        (folder / "README.md").write_text(cards.card([base], "finetune", ["rows.jsonl"], "# student\n"))
    else:
        said = training(str(folder), [base], data=[rows], order="as-it-is")
        (tmp_path / "t.intoto.json").write_text(records.as_text(said))
    out, page = tmp_path / "found.json", tmp_path / "page.html"
    done = _run("lineage", str(tmp_path), "--json", str(out), "--html", str(page))
    assert (done.returncode, done.stderr) == (exit_code, "")
    (pair,) = json.loads(out.read_text())["pairs"]
    assert pair["colour"] == colour
    assert pair["path"]
    assert colour in page.read_text()
    if colour == "AMBER":
        assert "the weights deny it" in pair["why"]
    if colour == "GREEN":
        assert {t["verdict"] for t in pair["tests"]} == {"related", "unrelated"}  # with its base, with the writer


def test_records_alone_need_no_weights(student: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "1, 2"}\n')
    said = training(str(student), ["nursery:llama-0"], data=[rows], order="unknown")
    (tmp_path / "t.intoto.json").write_text(records.as_text(said))
    found, _ = answers([str(tmp_path)], weights=False)
    assert [(a["colour"], a["tests"]) for a in found] == [("AMBER", ())]
