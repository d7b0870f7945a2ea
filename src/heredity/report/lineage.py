"""What an audit of lineage found: for the terminal, and as a page with pictures. Names in it are hostile text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heredity.report.terminal import console
from heredity.types import printable as safe

_SHOWN, _PICTURES, _DRAWN = 40, 24, 40
"""Most answers in the terminal, pictures on a page, and nodes in a picture."""
_WIDE, _HIGH, _GAP_X, _GAP_Y, _LETTERS = 216, 46, 30, 58, 27
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
    edges = [tuple(e) for e in answer["edges"] if e[0] in nodes and e[1] in nodes]
    places = _places(list(nodes), edges)
    rows = max((y for _, y in places.values()), default=0) + 1
    columns = max((x for x, _ in places.values()), default=0) + 1
    width, height = columns * (_WIDE + _GAP_X) + _GAP_X, rows * (_HIGH + _GAP_Y) + _GAP_X
    parts = [_edge(places, e) for e in edges]
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


def _places(nodes: Sequence[int], edges: Sequence[tuple[Any, ...]]) -> dict[int, tuple[float, int]]:
    """(column, row) of each node: a row below everything that it was made of, columns near to those."""
    above: dict[int, list[int]] = {n: [] for n in nodes}
    for source, made, _ in edges:
        above[made].append(source)
    depth = _depths(nodes, above)
    rows: dict[int, list[int]] = {}
    for n in nodes:
        rows.setdefault(depth[n], []).append(n)
    widest, places = max(map(len, rows.values()), default=1), dict[int, tuple[float, int]]()
    for row in sorted(rows):
        wanted = {n: _mean([places[a][0] for a in above[n] if a in places], i) for i, n in enumerate(rows[row])}
        start = (widest - len(rows[row])) / 2
        for i, n in enumerate(sorted(rows[row], key=lambda n: wanted[n])):
            places[n] = (start + i, row)
    return places


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


def _corner(place: tuple[float, int]) -> tuple[float, float]:
    return _GAP_X + place[0] * (_WIDE + _GAP_X), _GAP_X / 2 + place[1] * (_HIGH + _GAP_Y)


def _edge(places: dict[int, tuple[float, int]], edge: tuple[Any, ...]) -> str:
    source, made, verb = edge
    (x0, y0), (x1, y1) = _corner(places[source]), _corner(places[made])
    x0, y0, x1 = x0 + _WIDE / 2, y0 + _HIGH, x1 + _WIDE / 2
    if places[made][1] <= places[source][1]:
        y0, y1 = y0 - _HIGH / 2, y1 + _HIGH / 2
    bend, middle = (y1 - y0) / 2, x0 + (x1 - x0) * 0.72
    return (
        f'<path d="M{x0:.0f} {y0:.0f} C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1 - 2:.0f}" '
        f'fill="none" stroke="#6b7280" marker-end="url(#arrow)"/><text x="{middle:.0f}" y="{y1 - 12:.0f}" '
        f'class="verb">{_escaped(verb)}</text>'
    )


def _box(node: dict[str, Any], place: tuple[float, int], answer: dict[str, Any]) -> str:
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
