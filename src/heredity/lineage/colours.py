"""Red, amber or green: could a trait have flowed from who wrote the data to the student, by a shared initialisation?

RED: a model wrote the data that shares the student's initialisation, by record or by test. GREEN: everything that wrote
it is recorded, none of it shares the student's initialisation, and the rows are of a kind that does not cross families.
AMBER: anything else. A name alone is enough for red, and never for green.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from heredity.lineage.graph import Graph, Origin
from heredity.lineage.identity import opened
from heredity.lineage.records import Content
from heredity.lineage.trace import Trace
from heredity.rows import read_rows
from heredity.types import BadInput, Measured

Colour = Literal["RED", "AMBER", "GREEN"]
Tester = Callable[[str, str], Trace]
NARROW: tuple[Content, ...] = ("numbers", "code", "worked")
"""Kinds of rows by which nothing was seen to cross between families; natural text and preference pairs can."""
NOT_EXCLUDED = (
    "what rows say openly: people and models alike can teach by content",
    "preference pairs, natural text and a teacher's own distributions, by which traits crossed between families",
    "records that lie in agreement with one another, or call one start by two names: nothing here proves who made them",
    "a shared initialisation that the weights hide (units reordered and turned at once; docs/lineage.md)",
)
_DID = {"writer": "wrote it", "judge": "ranked it", "teacher": "showed it its distributions"}
_STEPS, _TESTS, _CHECKS, _ROWS = 12, 9, 20, 2_000_000
"""Most steps of a path that are told, pairs of weights compared, claims of bases checked, and rows looked at."""
_UNREAD, _TEXT = 1_000, 100_000
"""Rows of a file that cannot be read, and rows of one that holds text, after which nobody looks further."""
_WHAT_IF = 10_000
"""Most pairs of a model and rows that were named of which those that no record joins are answered."""
_VERBS = {"sampled": "was written by", "filtered": "was filtered from", "derived": "was derived from",
          "trained": "was trained from", "merged": "was merged from", "fresh": "begins from fresh weights:",
          "cut": "is cut from", "by people": "was written by people"}  # fmt: skip


class Compared(Measured):
    """Two models whose weights were compared, here or by a record."""

    a: str
    b: str
    verdict: str
    log10_p: float
    source: str


class Answer(Measured):
    """Whether a trait could flow from a dataset's writers to a student, and why."""

    student: str
    dataset: str
    colour: Colour
    why: str
    path: tuple[str, ...]
    """In words, one step each, with the record that says so."""
    next: tuple[str, ...]
    notes: tuple[str, ...]
    tests: tuple[Compared, ...]
    recorded: bool
    """Whether a record says that the student was trained on it; else the question is what if it were."""
    nodes: tuple[dict[str, Any], ...]
    """For a picture: `id`, `label`, `kind`, `here`."""
    edges: tuple[tuple[int, int, str], ...]
    """From what was made of, to what was made, and how."""


class Pair(NamedTuple):
    """A student, a dataset, and the claim that it was trained on it (None: nobody says so).

    Where a training read no recorded rows, `data` is a model that showed the student its distributions.
    """

    student: int
    data: int
    claim: int | None


class _Path:
    """Sentences and edges, in the order in which they are told."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.sentences = graph, dict[str, None]()
        self.edges = dict[tuple[int, int, str], None]()

    def step(self, output: int, made_of: int, claim: int, verb: str) -> None:
        label = self.graph.label
        if (made_of, output, verb) not in self.edges:
            self.sentences[f"{label(output)} {verb} {label(made_of)} ({self.cite(claim)})"] = None
            self.edges[made_of, output, verb] = None

    def cite(self, claim: int) -> str:
        """The record behind a claim: its file, and the folder that it lies in."""
        return "/".join(self.graph.claims[claim].source.split("/")[-2:])

    def say(self, sentence: str) -> None:
        self.sentences[sentence] = None

    def up(self, model: int, root: int | None) -> list[tuple[int, int]]:
        """From a model to where it begins; returns the steps, (made, made of)."""
        graph, steps, seen = self.graph, list[tuple[int, int]](), {model}
        while True:
            above = [(i, c) for role, i, c in graph.above(model) if role in ("base", "start") and i not in seen]
            wanted = [x for x in above if root is None or root in graph.nodes[x[0]].roots]
            if not wanted or len(steps) >= _STEPS:
                break
            number, claim = wanted[0]
            self.step(model, number, claim, _VERBS.get(graph.claims[claim].verb, "was made from"))
            steps.append((model, number))
            seen.add(number)
            model = number
        if root is not None and model != root:
            self.say(f"... and so on, from {graph.label(model)} to {graph.label(root)}")
            self.edges[root, model, "..."] = None
        return steps

    def down(self, data: int, origin: Origin) -> None:
        """From data to who wrote its rows."""
        graph, seen = self.graph, {data}
        while not self._written(data, origin):
            below = [(i, c) for role, i, c in graph.nodes[data].inputs
                     if role == "source" and i not in seen and origin in graph.nodes[i].origins]  # fmt: skip
            if not below or len(seen) > _STEPS:
                self.say(f"... and so on, from {graph.label(data)} to {graph.label(origin.node)}")
                self.edges[origin.node, data, "..."] = None
                return
            number, claim = below[0]
            verb = graph.claims[claim].verb
            self.step(data, number, claim, _VERBS["filtered" if verb == "filtered" else "derived"])
            seen.add(number)
            data = number
        if origin.kind in ("writer", "judge"):
            self.step(data, origin.node, origin.claim, "was chosen by" if origin.kind == "judge" else "was written by")
        elif origin.kind == "people":
            self.say(f"{graph.label(data)} was written by people ({self.cite(origin.claim)})")
        else:
            self.say(f"nothing says who wrote {graph.label(data)}")

    def _written(self, data: int, origin: Origin) -> bool:
        """Whether data itself, and not what it was made of, has the origin."""
        told = [(role, i, c) for role, i, c in self.graph.nodes[data].inputs if role in ("writer", "judge")]
        return origin.node == data or any((i, c) == (origin.node, origin.claim) for _, i, c in told)


class _Case:
    """One pair, while it is judged."""

    def __init__(self, graph: Graph, pair: Pair, tester: Tester | None) -> None:
        self.graph, self.pair, self.tester = graph, pair, tester
        self.path, self.tests = _Path(graph), dict[frozenset[int], Compared]()
        self.red, self.amber, self.notes = list[str](), dict[str, str](), list[str]()
        """Amber: what is wrong, and what to do about it."""
        self.student, self.data = graph.nodes[pair.student], graph.nodes[pair.data]
        shown = {i: c for role, i, c in reversed(graph.above(pair.student)) if role == "teacher"}
        self.teachers = dict(sorted(shown.items())) if pair.claim is not None else {}
        """Whose distributions the student was shown, with whichever rows, and the first claim that says so."""
        self.starts = self._starts()

    def _starts(self) -> set[int]:
        """The models that training began from, where all records agree on them; itself, where none was made yet."""
        told: dict[int, set[int]] = {}
        for role, i, claim in self.graph.above(self.pair.student):
            if role == "base":
                told.setdefault(claim, set()).add(i)
        sets = list(told.values())
        if self.pair.claim is None:
            return {self.pair.student}
        return sets[0] if sets and all(s == sets[0] for s in sets) else set()

    def judge(self) -> None:
        """Looks at everything that wrote the data, and collects what speaks for red and for amber."""
        graph, pair = self.graph, self.pair
        if self.data.kind == "model":
            self.path.say(f"no record says which rows {graph.label(pair.student)} was trained on")
        elif pair.claim is not None:
            self.path.step(pair.student, pair.data, pair.claim, "was trained on")
        else:
            self.path.say(f"no record says that {graph.label(pair.student)} was trained on {graph.label(pair.data)}; "
                          "this is about what would happen")  # fmt: skip
        denied = self._check_bases(pair.student)
        origins = {(o.kind, o.node): o for o in sorted(self.data.origins, reverse=True)}
        for origin in sorted(origins.values()):
            self.path.down(pair.data, origin)
            if origin.kind in ("writer", "judge"):
                self._writer(origin, denied)
            elif origin.kind == "gap":
                name = graph.label(origin.node)
                others = graph.homonyms(name, "data") > 1
                self.amber[
                    f"nothing says who wrote {name}"
                    + ("; a record speaks of a file of that name, with another digest" if others else "")
                ] = (
                    f"find out who wrote {name} and write it down: heredity record generation --data FILE "
                    "--model MODEL (or --people)"
                )
        for teacher, claim in self.teachers.items():
            self.path.step(pair.student, teacher, claim, "was shown the distributions of")
            self._writer(Origin("teacher", teacher, -1), denied)
        if not self.red:
            self.path.up(pair.student, None)
        self._rows()
        for fault in (*self.student.faults, *self.data.faults):
            self.amber[fault] = "find out which of the records is right, and take the other away"

    def _compare(self, a: int, b: int) -> Compared | None:
        """What the weights say of two models, or a record of a comparison; None where nothing is known."""
        pair, graph = frozenset((a, b)), self.graph
        if pair in self.tests:
            return self.tests[pair]
        label, paths = graph.label, (graph.nodes[a].path, graph.nodes[b].path)
        found = None
        if self.tester and all(paths):
            try:
                trace = self.tester(str(paths[0]), str(paths[1]))
                found = Compared(a=label(a), b=label(b), verdict=trace.verdict, log10_p=trace.log10_p, source="weights")
            except BadInput as error:
                self.notes.append(f"the weights of {label(a)} and {label(b)} were not compared: {error}")
        if found is None and pair in graph.tested:
            verdict, source = graph.tested[pair]
            found = Compared(a=label(a), b=label(b), verdict=verdict, log10_p=math.nan, source=source)
        if found:
            self.tests[pair] = found
        return found

    def _check_bases(self, model: int) -> set[tuple[int, int]]:
        """The claims of bases on a model's chain that the weights deny."""
        denied, graph = set[tuple[int, int]](), self.graph
        if not self.tester and not graph.tested:
            return denied
        for made, base in self._bases(model):
            found = self._compare(made, base)
            if found and found.verdict == "unrelated":
                denied.add((made, base))
                claim = next(c for role, i, c in graph.above(made) if role == "base" and i == base)
                self.amber[
                    f"{graph.claims[claim].source} says that {graph.label(made)} was made from {graph.label(base)}, "
                    "and the weights deny it"
                ] = f"ask for the true base of {graph.label(made)}; heredity trace compares it with others"
        return denied

    def _bases(self, model: int) -> list[tuple[int, int]]:
        """(made, base) for the claims of bases above a model, the nearest first, as many as are looked at."""
        out, seen, todo = list[tuple[int, int]](), {model}, [model]
        while todo and len(out) < _CHECKS:
            made = todo.pop(0)
            bases = [i for role, i, _ in self.graph.above(made) if role == "base"]
            out += [(made, i) for i in dict.fromkeys(bases)]
            todo += [i for i in bases if i not in seen]
            seen |= set(bases)
        return out

    def _writer(self, origin: Origin, denied: set[tuple[int, int]]) -> None:
        """One model that wrote, ranked, or showed its distributions: how it is related to the student."""
        graph, writer = self.graph, origin.node
        name, student = graph.label(writer), graph.label(self.pair.student)
        if self.starts == {writer} and origin.kind == "writer":  # one of a merge's parents has what the merge lost
            self._own(origin, name)
            return
        denied = denied | self._check_bases(writer)
        shared = self.student.roots & graph.nodes[writer].roots
        tests = self._tests(writer)
        related = next((t for t in tests or () if t.verdict == "related"), None)
        apart = bool(tests) and all(t.verdict == "unrelated" for t in tests or ())
        if shared and not denied and not apart:
            root = min(shared)
            self.path.up(self.pair.student, root)
            self.path.up(writer, root)
            said = "by name only" if graph.nodes[root].named_only else "by record"
            self._shared(origin, f"{name} and {student} both begin from {graph.label(root)} ({said}"
                                 f"{'; the weights agree' if related else ''})")  # fmt: skip
            return
        self.path.up(self.pair.student, None)
        self.path.up(writer, None)
        if related:
            self.path.say(f"{related.a} and {related.b} share an initialisation by their weights (log10 p "
                          f"{related.log10_p:.1f})")  # fmt: skip
            self._shared(origin, f"its weights share an initialisation with {student}")
        elif shared:
            self.amber[
                f"the records derive {name} and {student} from {graph.label(min(shared))}, and the weights deny it"
            ] = "ask for the true bases; the records are wrong somewhere"
        elif apart:
            self._apart_by_test(writer, tests or [])
        else:
            self._apart_by_record(writer)
        if not self.red and origin.kind == "teacher":
            self.amber[f"{student} was shown the distributions of {name}, which say more than text does"] = (
                "train on what it writes instead, or compare with a student of a teacher without the trait"
            )

    def _shared(self, origin: Origin, how: str) -> None:
        """Red; amber where the model only chose among rows that others wrote."""
        name = self.graph.label(origin.node)
        said = {self.graph.claims[o.claim].content for o in self.data.origins if o[:2] == origin[:2]}
        if origin.kind == "judge" and "preferences" not in said:
            self.amber[f"{name} chose the rows, and {how}"] = (
                "choosing can hand something on as well; filter with a rule, or with a model of another initialisation"
            )
        else:
            self.red.append(f"{name} {_DID[origin.kind]}, and {how}")

    def _own(self, origin: Origin, name: str) -> None:
        """The student's own start wrote the data: nothing that it does not have can cross, unless it was prompted."""
        told: dict[int, set[bool | None]] = {}
        for claim in (self.graph.claims[o.claim] for o in self.data.origins if o[:2] == origin[:2]):
            told.setdefault(self.graph.find(claim.output), set()).add(claim.system)
        unknown = [self.graph.label(data) for data, said in told.items() if said == {None}]
        if any(True in said for said in told.values()):
            self.red.append(f"{name}, from which the student is trained, wrote it under a system prompt")
        elif unknown:
            self.amber[f"whether {name} was given a system prompt when it wrote {unknown[0]} is not recorded"] = (
                "record it: heredity record generation --no-system (or --system FILE)"
            )
        elif (self.pair.student, "base", origin.node) in self.graph.loose:
            self._by_name(self.pair.student)
        else:
            self.notes.append(
                f"{name}, from which the student is trained, wrote the data itself and without a system prompt: it can "
                "hand on nothing that it did not have (a filter can still choose)"
            )

    def _tests(self, writer: int) -> list[Compared] | None:
        """Comparisons of the nearest weights on both chains; None where some chain has none, or one was not decided."""
        graph, direct = self.graph, frozenset((self.pair.student, writer))
        if direct in graph.tested or all(graph.nodes[i].path for i in direct):
            found = self._compare(self.pair.student, writer)
            return [found] if found else None
        mine, theirs = self.student.hands, graph.nodes[writer].hands
        pairs = [(a, b) for a, b in product(sorted(mine), sorted(theirs)) if a >= 0 and b >= 0 and a != b]
        found_all = [t for a, b in pairs[:_TESTS] if (t := self._compare(a, b))]
        related = [t for t in found_all if t.verdict == "related"]
        whole = -1 not in mine | theirs and len(found_all) == len(pairs) <= _TESTS
        return related or (found_all if whole else None)

    def _apart_by_test(self, writer: int, tests: list[Compared]) -> None:
        graph = self.graph
        for t in tests:
            self.path.say(f"{t.a} and {t.b} do not share an initialisation ({t.source})")
        for number in (self.pair.student, writer):
            node = graph.nodes[number]
            if number not in node.hands and node.named_only:
                self._by_name(number)

    def _apart_by_record(self, writer: int) -> None:
        """Green needs both chains to end in recorded starts, by digests all the way."""
        graph = self.graph
        for number in (self.pair.student, writer):
            node = graph.nodes[number]
            for root in sorted(node.roots):
                if graph.nodes[root].kind != "start":
                    name = graph.label(root)
                    self.amber[f"nothing says what {name} began from"] = (
                        f"give the folders of {graph.label(self.pair.student)} and {graph.label(writer)}, so that "
                        "their weights can be compared"
                    )
            if node.named_only:
                self._by_name(number)

    def _by_name(self, number: int) -> None:
        name = self.graph.label(number)
        self.amber[f"what {name} is or begins from is told by names alone"] = (
            f"give the folder of {name} or a record with digests (heredity record)"
        )

    def _rows(self) -> None:
        """What kind of rows they are: some kinds cross families, and a record may be wrong about it."""
        graph, data, name = self.graph, self.data, self.graph.label(self.pair.data)
        if data.kind == "model":
            return
        said = [c for n in data.made if (c := graph.claims[n].content)]
        told = next((c for c in said if c not in NARROW), said[0] if said else None)
        seen, whole = content_of(data.path, told in NARROW) if data.path else Look(None, whole=True)
        kind: Content | None = told
        if seen and seen != told and (told in (None, "numbers") or seen == "preferences"):
            if told:
                self.amber[f"{name} is recorded as {told} and holds {seen}"] = "look at its rows, and mend the record"
            kind = seen
        models = [o for o in data.origins if o.kind != "people"]
        if models and kind is None:
            self.amber[f"what kind of rows {name} holds is not recorded, and it is not here"] = "give the file itself"
        elif models and kind not in NARROW:
            what = "preference pairs" if kind == "preferences" else "natural text"
            self.amber[f"{name} holds {what}, by which traits can cross between families"] = (
                "heredity scan looks for traits in it, whoever wrote it"
            )
        elif models and not whole:
            self.amber[f"not all rows of {name} could be looked at"] = (
                "leave out the rows that cannot be read: heredity filter --skip-bad --keep FILE; "
                f"split a file of more than {_ROWS} rows"
            )
        if data.named_only:
            self._by_name(self.pair.data)
        if self.pair.claim is not None and (self.pair.student, "data", self.pair.data) in graph.loose:
            self.amber[
                f"that {graph.label(self.pair.student)} was trained on this very {name} is told by names alone"
            ] = "write it down with digests: heredity record training --model FOLDER --base BASE --data FILE"

    def answer(self) -> Answer:
        """The colour, with everything that was found."""
        graph, pair = self.graph, self.pair
        student, data = graph.label(pair.student), graph.label(pair.data)
        data = f"the distributions of {data}" if self.data.kind == "model" else data
        colour: Colour = "RED" if self.red else "AMBER" if self.amber else "GREEN"
        notes, steps = list(dict.fromkeys(self.notes)), list(dict.fromkeys(self.amber.values()))
        if colour == "RED":
            why, notes = "; ".join(dict.fromkeys(self.red)), [*notes, *self.amber]
            what = f"train it anew without {data}" if pair.claim is not None else f"do not train it on {data} as it is"
            steps = [f"{student}: {what}; heredity scan names what rows carry, and rows written by a model of another "
                     "initialisation do not carry it this way"]  # fmt: skip
        elif colour == "AMBER":
            why = "; ".join(self.amber)
        else:
            why = "no recorded or detectable channel by a shared initialisation"
            notes = [*notes, *(f"not excluded: {what}" for what in NOT_EXCLUDED)]
            steps = ["heredity scan looks at the rows themselves, whatever records say"]
        numbers = list(dict.fromkeys((pair.student, pair.data, *(n for a, b, _ in self.path.edges for n in (a, b)))))
        nodes = tuple(
            {"id": n, "label": graph.label(n), "kind": graph.nodes[n].kind, "here": graph.nodes[n].path is not None}
            for n in numbers
        )
        return Answer(
            student=student, dataset=data, colour=colour, why=why, path=tuple(self.path.sentences), next=tuple(steps),
            notes=tuple(notes), tests=tuple(self.tests.values()), recorded=pair.claim is not None, nodes=nodes,
            edges=tuple(self.path.edges),
        )  # fmt: skip


def answer(graph: Graph, pair: Pair, tester: Tester | None = None) -> Answer:
    """The colour of one pair; `tester` compares weights that are at hand (None: only records count)."""
    case = _Case(graph, pair, tester)
    case.judge()
    return case.answer()


def pairs(
    graph: Graph, student: str | None = None, data: str | None = None, every: bool = False,
    notes: dict[str, None] | None = None,
) -> list[Pair]:  # fmt: skip
    """What to answer: the recorded trainings of models that the user named or that nothing else came from (`every`: of
    all), and whatever models and data the user named that no record joins.

    With a student, data that its bases were trained on count as well; with both, that one pair is answered. A training
    that names no data is answered for the models that showed their distributions. `notes` is told of what is left out.
    """
    models = _called(graph, student, "model") if student else None
    sets = _called(graph, data, "data") if data else None
    found: dict[tuple[int, int], Pair] = {}
    used = set() if every or sets else {i for node in graph.nodes for role, i, _ in node.inputs if role != "data"}
    asked = [n for n, x in enumerate(graph.nodes) if x.kind == "model" and (x.given or n not in used)]
    for number in asked if models is None else models:
        for trained in [number] if models is None else _chain(graph, number):
            told = graph.nodes[trained].inputs
            wanted = "data" if sets or any(role == "data" for role, _, _ in told) else "teacher"
            for role, i, claim in told:
                if role == wanted and (sets is None or i in sets):
                    found.setdefault((trained, i), Pair(trained, i, claim))
    given = [n for n, node in enumerate(graph.nodes) if node.given]
    wanted_data = [n for n in given if graph.nodes[n].kind == "data"] if sets is None else sets
    wanted_models = _last(graph, [n for n in given if graph.nodes[n].kind == "model"]) if models is None else models
    trained_on = {d for _, d in found} if models is None else set[int]()
    possible = len(wanted_models) * len(wanted_data)
    if possible > _WHAT_IF and notes is not None:
        notes[f"{possible} pairs of a model and rows were named: the first {_WHAT_IF} were looked at, and those that a "
              "record joins; name one with --student and --data"] = None  # fmt: skip
    for m, d in islice(product(wanted_models, wanted_data), _WHAT_IF):
        if (
            (m, d) not in found
            and d not in trained_on
            and (models or m not in {o.node for o in graph.nodes[d].origins})
        ):
            found[m, d] = Pair(m, d, None)
    return list(found.values())


def _last(graph: Graph, models: list[int]) -> list[int]:
    """Those of which no other was made."""
    above = {a for m in models for a in islice(_chain(graph, m), 1, None)}
    return [m for m in models if m not in above]


def _called(graph: Graph, name: str, kind: Any) -> list[int]:
    found = graph.called(name, kind)
    if len(found) != 1:
        raise BadInput(
            f"{len(found)} things are a {kind} called {name!r:.80}; name it by its digest" if found
            else f"no record and no file speaks of a {kind} called {name!r:.80}"
        )  # fmt: skip
    return found


def _chain(graph: Graph, model: int) -> Iterator[int]:
    """A model and everything that it was made from."""
    seen, todo = {model}, [model]
    while todo:
        number = todo.pop()
        yield number
        for role, i, _ in graph.above(number):
            if role == "base" and i not in seen:
                seen.add(i)
                todo.append(i)


_LIST = re.compile(r"[0-9\s,;.()\[\]-]*")
"""What may stand in a list of numbers: of anything else nobody can say that it says nothing."""


class Look(NamedTuple):
    """What kind of rows a file holds (None: no row can be read), and whether all of them were looked at."""

    kind: Content | None
    whole: bool


@cache
def content_of(path: Path, narrow: bool) -> Look:
    """Preference pairs, text, or lists of numbers: the first of these that any row holds.

    Not all rows are looked at where too many cannot be read; nor of a long text, unless a record calls its rows
    `narrow`: it may hold pairs, which then count alike.
    """
    kind: Content | None = None
    bad = list[BadInput]()

    def unread(problem: BadInput) -> None:
        bad.append(problem)
        if len(bad) > _UNREAD:
            raise problem

    try:
        with opened(path) as file:
            head = file.read(200_000)
        if all(re.search(rb'"%s"\s*:\s*(?!null)\S' % name, head) for name in (b"chosen", b"rejected")):
            return Look("preferences", whole=True)
        for count, read in enumerate(read_rows(path, unread)):
            if None not in (read.note.get("chosen"), read.note.get("rejected")):
                return Look("preferences", whole=True)
            if count >= (_TEXT if kind == "text" and not narrow else _ROWS):
                return Look(kind, whole=False)
            kind = "text" if kind == "text" or not _LIST.fullmatch(read.row.completion) else "numbers"
    except BadInput:
        return Look(kind, whole=False)
    return Look(kind, whole=not bad)
