"""The graph of what was made of what: who is the same, where models begin, who wrote data, and what does not fit.

Linear in claims: nodes are found by union of ids, then everything that is inherited (starts, writers, faults) is passed
down once, in an order in which inputs come before what was made of them (Tarjan's components; a cycle is a fault).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from heredity.lineage.records import Artefact, Claim, Kind, Role

MOST = 200
"""Starts, writers and faults that are passed down from one node; more are told as a fault."""
_MAKING = ("sampled", "filtered", "derived", "by people", "trained", "merged", "fresh", "cut")
_ROOTED: tuple[Role, ...] = ("base", "start")
MANY = "more sources than are followed"
T = TypeVar("T")


class Hand(NamedTuple):
    """Something that is here, with the ids that were computed from its bytes."""

    artefact: Artefact
    path: Path
    given: bool = True
    """Whether the user named it, and not merely a folder that holds it."""


class Origin(NamedTuple):
    """Where rows come from: a model that wrote them, people, or (`gap`) nobody knows."""

    kind: str
    """`writer`, `judge`, `people` or `gap`."""
    node: int
    """The model; for people and gaps, the data."""
    claim: int
    """The claim that says so; -1 for a gap."""


@dataclass(eq=False, slots=True)
class Node:
    """A model, data, prompts or a start, whatever records call it."""

    kind: Kind
    name: str
    names: list[str] = field(default_factory=list)
    path: Path | None = None
    known: bool = False
    """Whether an id tells it, and not only its name."""
    given: bool = False
    made: list[int] = field(default_factory=list)
    """Claims that say how it was made."""
    inputs: list[tuple[Role, int, int]] = field(default_factory=list)
    """(role, node, claim) of all claims."""
    roots: frozenset[int] = frozenset()
    """Models: where the chain of bases begins, be it a start or a model of which no more is recorded."""
    hands: frozenset[int] = frozenset()
    """Models: the nearest on each chain of bases whose weights are here; -1 where a chain has none."""
    origins: frozenset[Origin] = frozenset()
    """Data: who wrote its rows."""
    named_only: bool = False
    """Whether something it derives from (as `roots` and `origins` do) is told by a name alone."""
    faults: tuple[str, ...] = ()
    """What does not fit, here or in anything that it derives from."""


class Graph:
    """Nodes, and the claims about them."""

    def __init__(
        self, claims: Sequence[Claim], hands: Iterable[Hand] = (), faults: Iterable[tuple[Artefact, str]] = ()
    ):
        self.claims, self.nodes = list(claims), list[Node]()
        self._by_id: dict[str, int] = {}
        self._by_name: dict[tuple[str, str], list[int]] = {}
        self._labels: dict[int, str] = {}
        self.loose: set[tuple[int, Role, int]] = set()
        """(made, role, made of) that no record tells by ids of both."""
        self._above: dict[int, list[tuple[Role, int, int]]] = {}
        self.tested: dict[frozenset[int], tuple[str, str]] = {}
        """Verdict and record, of pairs of models that a record says were compared."""
        hands, faults = list(hands), list(faults)
        artefacts = [a for c in self.claims for a in (c.output, *(x for _, x in c.inputs))]
        artefacts += [h.artefact for h in hands] + [a for a, _ in faults]
        self._unite(artefacts)
        for hand in hands:
            node = self.nodes[self.find(hand.artefact)]
            node.path, node.given = node.path or hand.path, node.given or hand.given
        for artefact, fault in faults:
            self._fault(self.find(artefact), fault)
        self._connect()
        self.order, cyclic = components(self._needs())
        for number in cyclic:
            self._fault(number, f"{self.label(number)} is, by the records, made of itself")
        self._inherit()
        self._contradictions()
        self._pass_faults()

    def above(self, number: int) -> list[tuple[Role, int, int]]:
        """What a thing was made of, but for the data that a model was trained on, of which there may be very many."""
        if number not in self._above:
            self._above[number] = [told for told in self.nodes[number].inputs if told[0] != "data"]
        return self._above[number]

    # Who is the same

    def _unite(self, artefacts: Sequence[Artefact]) -> None:
        parent: dict[str, str] = {}

        def top(one: str) -> str:
            while parent.setdefault(one, one) != one:
                parent[one] = parent[parent[one]]
                one = parent[one]
            return one

        for a in artefacts:
            for other in a.ids[1:]:
                parent[top(other)] = top(a.ids[0])
        for a in artefacts:
            if a.ids:
                self._add(a, top(a.ids[0]))
        self._by_id = {one: self._by_id[top(one)] for one in parent}
        for number, node in enumerate(self.nodes):
            self._name(number, node.names)
        for a in artefacts:
            if not a.ids:
                self._add_named(a)

    def _add(self, artefact: Artefact, key: str) -> None:
        number = self._by_id.get(key)
        if number is None:
            number = self._by_id[key] = len(self.nodes)
            self.nodes.append(Node(artefact.kind, artefact.name, known=True))
        node = self.nodes[number]
        if artefact.name not in node.names and len(node.names) < 20:
            node.names.append(artefact.name)
        if node.kind != artefact.kind:
            self._fault(number, f"{artefact.name} is a {node.kind} in one record and a {artefact.kind} in another")

    def _name(self, number: int, names: Iterable[str]) -> None:
        kind = self.nodes[number].kind
        for name in {part for n in names for part in (n, _short(n))}:
            held = self._by_name.setdefault((kind, name), [])
            if number not in held[-1:]:
                held.append(number)

    def _add_named(self, artefact: Artefact) -> None:
        """What is told by its name alone is the one node of that name, or, where several have it, its own."""
        if self._named(artefact) is None:
            self.nodes.append(Node(artefact.kind, artefact.name, [artefact.name]))
            number = len(self.nodes) - 1
            several = self._by_name.get((artefact.kind, artefact.name), [])
            if several:
                self._fault(number, f"{len(several)} things are called {artefact.name}, with different digests")
            self._by_name[artefact.kind, artefact.name] = [number]

    def _named(self, artefact: Artefact) -> int | None:
        for name in (artefact.name, _short(artefact.name)):
            found = self._by_name.get((artefact.kind, name), [])
            if len(found) == 1:
                return found[0]
        return None

    def find(self, artefact: Artefact) -> int:
        """The number of the node that an artefact is."""
        number = self._by_id[artefact.ids[0]] if artefact.ids else self._named(artefact)
        assert number is not None
        return number

    def label(self, number: int) -> str:
        """What it was called first, by a name that is no digest where there is one."""
        found = self._labels.get(number)
        if found is None:
            node = self.nodes[number]
            found = next((n for n in node.names if not n.startswith(("sha256:", "blake2b:"))), node.name)
            self._labels[number] = found
        return found

    def called(self, name: str, kind: Kind) -> list[int]:
        """The nodes of a kind that go by a name, or by a digest or key."""
        found = [n for i, n in self._by_id.items() if name in (i, i.partition(":")[2])]
        found += self._by_name.get((kind, name), [])
        return [n for n in dict.fromkeys(found) if self.nodes[n].kind == kind]

    def homonyms(self, name: str, kind: Kind) -> int:
        """How many nodes of a kind go by a name."""
        return len(self._by_name.get((kind, name), ()))

    # Who was made of whom

    def _connect(self) -> None:
        firm = set[tuple[int, Role, int]]()
        for number, claim in enumerate(self.claims):
            output = self.find(claim.output)
            inputs = [(role, self.find(a)) for role, a in claim.inputs]
            if claim.verb in ("related", "unrelated"):
                self._compare(output, [i for _, i in inputs], claim)
                continue
            self.nodes[output].inputs += [(role, node, number) for role, node in inputs if role != "other"]
            for (role, a), (_, node) in zip(claim.inputs, inputs, strict=True):
                (firm if a.ids and claim.output.ids else self.loose).add((output, role, node))
            if claim.verb in _MAKING:
                self.nodes[output].made.append(number)
        self.loose -= firm

    def _compare(self, a: int, others: Iterable[int], claim: Claim) -> None:
        for b in others:
            pair = frozenset((a, b))
            if len(pair) == 2 and self.tested.setdefault(pair, (claim.verb, claim.source))[0] != claim.verb:
                self.tested[pair] = ("undetermined", claim.source)
                for one in pair:
                    self._fault(one, f"records disagree on whether {self.label(a)} and {self.label(b)} are related")

    def _needs(self) -> list[list[int]]:
        return [[i for _, i, _ in node.inputs] for node in self.nodes]

    def _fault(self, number: int, text: str) -> None:
        node = self.nodes[number]
        if text not in node.faults and len(node.faults) < MOST:
            node.faults = (*node.faults, text)

    # What is passed down

    def _inherit(self) -> None:
        for number in self.order:
            node = self.nodes[number]
            node.named_only = not node.known
            if node.kind == "data":
                self._data(number, node)
            else:
                self._model(number, node)

    def _model(self, number: int, node: Node) -> None:
        told = [(role, i) for role, i, _ in node.inputs if role in _ROOTED and i != number]
        above = [i for _, i in told]
        roots = frozenset[int]().union(*(self.nodes[i].roots for i in above)) or frozenset((number,))
        hands = frozenset[int]().union(*(self.nodes[i].hands or (-1,) for i in above)) or frozenset((-1,))
        node.hands = frozenset((number,)) if node.path else hands
        node.roots = self._bounded(number, roots)
        node.named_only |= any(self.nodes[i].named_only or (number, role, i) in self.loose for role, i in told)

    def _data(self, number: int, node: Node) -> None:
        found = set[Origin]()
        for role, i, claim in node.inputs:
            if role in ("writer", "judge", "teacher"):
                found.add(Origin("judge" if role == "judge" else "writer", i, claim))
                node.named_only |= not self.nodes[i].known or (number, role, i) in self.loose
            elif role == "source" and i != number:
                found |= self.nodes[i].origins
                node.named_only |= self.nodes[i].named_only or (number, role, i) in self.loose
        found |= {Origin("people", number, c) for c in node.made if self.claims[c].verb == "by people"}
        if all(origin.kind == "judge" for origin in found):  # who only chose among rows did not write them
            found.add(Origin("gap", number, -1))
        node.origins = self._bounded(number, frozenset(found))

    def _bounded(self, number: int, found: frozenset[T]) -> frozenset[T]:
        if len(found) <= MOST:
            return found
        self._fault(number, f"{self.label(number)} has {MANY}")
        return frozenset(sorted(found)[:MOST])  # type: ignore[type-var]

    def _contradictions(self) -> None:
        for number, node in enumerate(self.nodes):
            if len(node.made) > 1:
                self._disagreement(number, node)
        for pair, (verdict, source) in self.tested.items():
            a, b = sorted(pair)
            shared = self.nodes[a].roots & self.nodes[b].roots
            if verdict == "unrelated" and shared:
                text = (f"{source} says that {self.label(a)} and {self.label(b)} are unrelated, and the records derive "
                        f"both from {self.label(min(shared))}")  # fmt: skip
                self._fault(a, text)
                self._fault(b, text)

    def _disagreement(self, number: int, node: Node) -> None:
        """Two records that name bases, or writers, of which none has a start (or a source) in common."""
        told: list[tuple[frozenset[object], str]] = []
        for claim in dict.fromkeys(node.made):
            said: frozenset[object]
            mine = [(role, i) for role, i, c in node.inputs if c == claim]
            if node.kind == "data":
                said = frozenset(i for role, i in mine if role == "writer")
                said |= {o.node for role, i in mine if role == "source" for o in self.nodes[i].origins}
                said |= {"people"} if self.claims[claim].verb == "by people" else frozenset()
            else:
                said = frozenset().union(*(self.nodes[i].roots for role, i in mine if role in _ROOTED))
            if said:
                told.append((said, self.claims[claim].source))
        for said, source in told[1:]:
            if not said & told[0][0]:
                what = "who wrote" if node.kind == "data" else "what it was made from,"
                self._fault(number, f"{told[0][1]} and {source} disagree on {what} {self.label(number)}")

    def _pass_faults(self) -> None:
        """Faults reach what was made of a faulty thing: by bases and sources, and data's from its writers."""
        for number in self.order:
            node = self.nodes[number]
            roles = ("source", "writer", "judge") if node.kind == "data" else _ROOTED
            for role, i, _ in node.inputs:
                if role in roles and self.nodes[i].faults and len(node.faults) < 8:
                    node.faults = tuple(dict.fromkeys((*node.faults, *self.nodes[i].faults)))[:8]


def _short(name: str) -> str:
    """A name without whose it is: `org/model`, `nursery:model` and a path are all called `model`."""
    return name.rstrip("/").rpartition("/")[2].removeprefix("nursery:") or name


def components(needs: Sequence[Sequence[int]]) -> tuple[list[int], set[int]]:
    """Numbers in an order in which what is needed comes first, and those that need themselves (Tarjan 1972)."""
    index, low, on = [-1] * len(needs), [0] * len(needs), [False] * len(needs)
    order, cyclic, stack, count = list[int](), set[int](), list[int](), 0
    for start in range(len(needs)):
        if index[start] >= 0:
            continue
        work = [(start, 0)]
        while work:
            v, i = work.pop()
            if i == 0:
                index[v] = low[v] = count
                count += 1
                stack.append(v)
                on[v] = True
            for j in range(i, len(needs[v])):
                w = needs[v][j]
                if index[w] < 0:
                    work += [(v, j + 1), (w, 0)]
                    break
                if on[w]:
                    low[v] = min(low[v], low[w])
            else:
                if low[v] == index[v]:
                    group = list[int]()
                    while not group or group[-1] != v:
                        group.append(stack.pop())
                        on[group[-1]] = False
                    order += group[::-1]
                    if len(group) > 1 or v in needs[v]:
                        cyclic |= set(group)
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[v])
    return order, cyclic
