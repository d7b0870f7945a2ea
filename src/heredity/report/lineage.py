"""What an audit of lineage found: for the terminal, and as a page with pictures. Names in it are hostile text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from heredity.report.terminal import console
from heredity.types import printable as safe

_SHOWN, _PICTURES, _DRAWN = 40, 24, 40
"""Most answers in the terminal, pictures on a page, and nodes in a picture."""
_WIDE, _HIGH, _GAP_X, _GAP_Y, _LETTERS = 216, 46, 30, 66, 27
Place = tuple[float, int]
Edge = tuple[int, int, str]
_FILL = {"model": "#dbeafe", "data": "#fef3c7", "prompt": "#f3f4f6", "start": "#ede9fe"}
_STROKE = {"RED": "#b91c1c", "AMBER": "#b45309", "GREEN": "#15803d"}


def headline(answers: Sequence[dict[str, Any]]) -> str:
    """How many answers there are of each colour, in one sentence."""
    counts = {c: sum(a["colour"] == c for a in answers) for c in _STROKE}
    if not answers:
        return "No student and no dataset to answer about: no record says that a model was trained on data."
    told = ", ".join(f"{n} {c}" for c, n in counts.items() if n)
    return f"{len(answers)} {'pair' if len(answers) == 1 else 'pairs'} of student and dataset: {told}."


def print_lineage(answers: Sequence[dict[str, Any]], notes: Sequence[str], page: str | None) -> None:
    """Every answer with its path in words and what to do next; the worst come first."""
    for a in answers[:_SHOWN]:
        style = {"RED": "bold red", "AMBER": "bold yellow", "GREEN": "bold green"}[a["colour"]]
        console.print(safe(f"{a['colour']}  {a['student']}  on  {a['dataset']}"), style=style, soft_wrap=True)
        console.print(safe(f"  {a['why']}."), soft_wrap=True)
        for title, lines in (("path", a["path"]), ("next", a["next"]), ("note", a["notes"])):
            for line in lines:
                console.print(safe(f"  {title}: {line}"), soft_wrap=True)
        console.print()
    if len(answers) > _SHOWN:
        console.print(f"{len(answers) - _SHOWN} further pairs are in the file that --json names")
    for note in notes[:_SHOWN]:
        console.print(safe(f"note: {note}"), soft_wrap=True)
    console.print(headline(answers))
    if page:
        console.print(safe(f"page  {page}"), soft_wrap=True)


def lineage_page(answers: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    """One page with everything in it, for opening without a network: answers, paths, and pictures of the first."""
    from jinja2 import Environment
    from markupsafe import Markup

    template = Environment(autoescape=True).from_string((Path(__file__).parent / "lineage.html.jinja").read_text())
    template.globals.update(safe=safe)
    pictures = [Markup(picture(a)) if i < _PICTURES else "" for i, a in enumerate(answers)]
    return template.render(answers=list(zip(answers, pictures, strict=True)), notes=notes, headline=headline(answers))


def picture(answer: dict[str, Any]) -> str:
    """The answer's models and data as SVG: what was made of a thing stands below it. Everything in it is escaped."""
    nodes = {n["id"]: n for n in answer["nodes"][:_DRAWN]}
    edges: list[Edge] = [(a, b, verb) for a, b, verb in answer["edges"] if a in nodes and b in nodes]
    places, ways = _layout(list(nodes), edges)
    rows = max((y for _, y in places.values()), default=0) + 1
    columns = max((x for x, _ in places.values()), default=0) + 1
    width, height = columns * (_WIDE + _GAP_X) + _GAP_X, rows * (_HIGH + _GAP_Y) + _GAP_X
    parts = list(_edges(places, ways))
    parts += [_box(n, places[i], answer) for i, n in nodes.items()]
    title = _escaped(f"{answer['student']} on {answer['dataset']}: {answer['colour']}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'role="img" aria-label="{title}"><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#6b7280"/></marker></defs>'
        f"{''.join(parts)}</svg>"
    )


def _escaped(text: object) -> str:
    """Text for SVG: what does not print (controls, marks of direction) as escapes, and no markup."""
    import html

    return html.escape(safe(str(text)))


def _layout(nodes: Sequence[int], edges: Sequence[Edge]) -> tuple[dict[Any, Place], dict[Edge, list[Any]]]:
    """The (column, row) of each node, and each edge's way: a row below everything that a node was made of.

    An edge that passes rows has a place of its own in each, so that no box lies over it.
    """
    above: dict[Any, list[Any]] = {n: [] for n in nodes}
    for source, made, _ in edges:
        above[made].append(source)
    depth, ways = _depths(nodes, above), dict[Edge, list[Any]]()
    rows: dict[int, list[Any]] = {}
    for n in nodes:
        rows.setdefault(depth[n], []).append(n)
    for edge in edges:
        passed = [(*edge, row) for row in range(depth[edge[0]] + 1, depth[edge[1]])]
        ways[edge] = [edge[0], *passed, edge[1]]
        for before, point in pairwise(ways[edge][:-1]):
            above[point] = [before]
            rows[point[-1]].append(point)
    widest, places = max(map(len, rows.values()), default=1), dict[Any, Place]()
    for row in sorted(rows):
        wanted = {n: _mean([places[a][0] for a in above[n] if a in places], i) for i, n in enumerate(rows[row])}
        start = (widest - len(rows[row])) / 2
        for i, n in enumerate(sorted(rows[row], key=lambda n: wanted[n])):
            places[n] = (start + i, row)
    return places, ways


def _depths(nodes: Sequence[int], above: dict[int, list[int]]) -> dict[int, int]:
    """The longest way down to each node; a cycle stops after as many rounds as there are nodes."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        new = {n: min(len(nodes) - 1, max((depth[a] + 1 for a in above[n] if a != n), default=0)) for n in nodes}
        if new == depth:
            break
        depth = new
    used = {d: i for i, d in enumerate(sorted(set(depth.values())))}
    return {n: used[d] for n, d in depth.items()}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _corner(place: Place) -> tuple[float, float]:
    return _GAP_X + place[0] * (_WIDE + _GAP_X), _GAP_X / 2 + place[1] * (_HIGH + _GAP_Y)


def _edges(places: dict[Any, Place], ways: dict[Edge, list[Any]]) -> Iterator[str]:
    """Each edge along its way, with its word where it arrives; edges into one box arrive side by side."""
    arriving: dict[int, list[Edge]] = {}
    for edge, way in sorted(ways.items(), key=lambda e: places[e[1][-2]][0]):
        arriving.setdefault(way[-1], []).append(edge)
    for made, into in arriving.items():
        left, top = _corner(places[made])
        for i, edge in enumerate(into):
            port = left + _WIDE * (i + 1) / (len(into) + 1)
            yield _edge([_corner(places[p]) for p in ways[edge]], port, top, edge[2], top - 10 - 14 * (i % 3))


def _edge(way: Sequence[tuple[float, float]], port: float, top: float, verb: str, word: float) -> str:
    x, y = way[0][0] + _WIDE / 2, way[0][1] + _HIGH
    line = f"M{x:.0f} {y:.0f}"
    for left, high in way[1:-1]:
        line += _curve(x, y, left + _WIDE / 2, high) + f" V{high + _HIGH:.0f}"
        x, y = left + _WIDE / 2, high + _HIGH
    return (
        f'<path d="{line}{_curve(x, y, port, top - 2)}" fill="none" stroke="#6b7280" marker-end="url(#arrow)"/>'
        f'<text x="{port:.0f}" y="{word:.0f}" class="verb">{_escaped(verb)}</text>'
    )


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    bend = abs(to_y - y) / 2
    return f" C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"


def _box(node: dict[str, Any], place: Place, answer: dict[str, Any]) -> str:
    (x, y), label = _corner(place), safe(node["label"])
    shown = label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…"
    asked = label in (safe(answer["student"]), safe(answer["dataset"]))
    stroke, width = (_STROKE[answer["colour"]], 3) if asked else ("#6b7280", 1)
    below = f"{node['kind']}{', here' if node['here'] else ''}"
    return (
        f'<g><title>{_escaped(label)}</title><rect x="{x:.0f}" y="{y:.0f}" width="{_WIDE}" height="{_HIGH}" '
        f'rx="{4 if node["kind"] == "data" else 16}" fill="{_FILL.get(node["kind"], "#fff")}" stroke="{stroke}" '
        f'stroke-width="{width}"/><text x="{x + _WIDE / 2:.0f}" y="{y + 20:.0f}" class="name">{_escaped(shown)}</text>'
        f'<text x="{x + _WIDE / 2:.0f}" y="{y + 37:.0f}" class="kind">{_escaped(below)}</text></g>'
    )
