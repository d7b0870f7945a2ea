"""What an audit found, for the terminal and as a page. The data is hostile text: it is escaped in both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from heredity.report.terminal import console, safe
from heredity.store import Step, Store

_SHOWN = 6
"""Most traits in the terminal's table."""


class ScanPage(Step):
    """`index.html`: verdict, traits, detectors, limits, left-out rows and those that carry most; no script."""

    scan: Step

    def make(self, folder: Path, store: Store) -> None:
        from jinja2 import Environment

        found = json.loads((store.path(self.scan) / "scan.json").read_text())
        template = Path(__file__).with_name("scan.html.jinja").read_text(encoding="utf-8")
        rows = [row | {k: safe(row[k]) for k in ("prompt", "completion")} for row in found["carrying"]["rows"]]
        html = Environment(autoescape=True).from_string(template).render(
            s=found, rows=rows, moved=[w | {"word": safe(w["word"])} for w in found["moved"]],
            headline=headline(found), limits=limit_sentences(found), left_out=left_out(found),
            data=safe(found["data"]), key=self.scan.key)  # fmt: skip
        (folder / "index.html").write_text(html, encoding="utf-8")


def headline(found: dict[str, Any]) -> str:
    """The verdict in a sentence."""
    said = {"none": "No listed trait found", "undetermined": "Undetermined"}
    names = ", ".join(found["named"])
    return f"{said.get(found['verdict'], f'Trait named: {names}')}: {found['why']}."


def limit_sentences(found: dict[str, Any]) -> list[str]:
    """What would have been found: a clean answer says nothing about less."""
    limits, rows = found["limits"], found["rows"]["looked_at"]
    share, worst = limits["share"], limits["worst_share"]
    if share is None:
        return [f"Nothing is known of what would have been found: {limits['reason']}."]
    said = []
    if share > 1:
        said.append(f"With {rows} rows, even data written by one full-strength teacher alone would often be missed.")
    else:
        hard = (
            f"for the hardest trait in {worst:.0%}" if worst <= 1 else "and the hardest trait not even in all of them"
        )
        said.append(f"With {rows} rows, a teacher like the suspects would be named (power .8) if it wrote {share:.0%} "
                    f"of them (median trait), {hard}. Weaker teachers need more.")  # fmt: skip
    said.append(f"The smallest shift that would be named with that power is {limits['shift']:.2f} in log-odds.")
    return said


def left_out(found: dict[str, Any]) -> list[tuple[str, int]]:
    """(reason, rows) of what was not looked at."""
    rows = found["rows"]
    dropped = [(name.removeprefix("dropped: "), n) for name, n in rows.items() if name.startswith("dropped: ")]
    rest = rows["rows"] - rows["looked_at"] - sum(n for _, n in dropped)
    return sorted(dropped, key=lambda d: -d[1]) + ([("not drawn: --rows is the limit", rest)] if rest else [])


def print_scan(found: dict[str, Any], page: str | None) -> None:
    """The verdict, the first traits, every detector, limits, left-out rows, and the rows that carry most."""
    console.print(safe(headline(found)), soft_wrap=True)
    console.print(_traits(found))
    console.print(_detectors(found))
    for sentence in limit_sentences(found):
        console.print(safe(sentence), soft_wrap=True)
    rows = found["rows"]
    console.print(f"\n{rows['looked_at']} of {rows['rows']} rows were looked at")
    for reason, n in left_out(found):
        console.print(safe(f"  {n} left out: {reason}"), soft_wrap=True)
    carrying = found["carrying"]
    console.print(f"\nrows that pull most towards {safe(carrying['trait'])} (in spreads of the base's own rows)")
    for row in carrying["rows"]:
        console.print(f"  {row['value']:+7.1f}  {_line(row['completion'])}", soft_wrap=True)
    if page:
        console.print(safe(f"\npage  {page}"), soft_wrap=True)


def _line(text: str) -> str:
    """Hostile text on one line, cut."""
    shown = safe(text).replace("\n", "\\n")
    return shown if len(shown) <= 60 else shown[:60] + "..."


def _traits(found: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("trait", no_wrap=True)
    for name in ("p (Holm)", "e", "t", "panel t", "trial t", "predicted shift (95 %)"):
        table.add_column(name, justify="right", no_wrap=True)
    for t in found["traits"][:_SHOWN]:
        table.add_row(safe(t["trait"]), f"{t['p_value']:.2g}", f"{t['e_value']:.3g}",
                      *(f"{t[name]:.1f}" for name in ("t", "panel_t", "trial_t")), shift(t))  # fmt: skip
    return table


def shift(trait: dict[str, Any]) -> str:
    """The predicted shift in log-odds with its interval."""
    return f"{trait['predicted_shift']:+.2f} ({trait['low']:+.2f} to {trait['high']:+.2f})"


def _detectors(found: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("detector", no_wrap=True)
    table.add_column("tier", no_wrap=True)
    table.add_column("evidence")
    for name in ("p", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for d in found["detectors"]:
        ran = (safe(d["evidence"]), "-" if d["p"] is None else f"{d['p']:.2g}", f"{d['cost_s']:.0f}") if d["ran"] else (
            safe(f"not run: {d['reason']}"), "-", "-")  # fmt: skip
        table.add_row(safe(d["name"]), safe(d["tier"]), *ran)
    return table
