"""One self-contained page of many experiments, in the manner of a paper's results section."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from heredity.report.figure import Figure
from heredity.stats import Estimate
from heredity.store import Step, Store

_WORDS = {True: "yes", False: "no", None: "-"}


class ResultsPage(Step):
    """`index.html`: each experiment's question, figure, table with the paper's values, and assays."""

    figures: tuple[Figure, ...]

    def make(self, folder: Path, store: Store) -> None:
        from jinja2 import Environment

        template = Path(__file__).with_name("results.html.jinja").read_text(encoding="utf-8")
        sections = [_section(figure, store) for figure in self.figures]
        html = Environment(autoescape=True).from_string(template).render(sections=sections)
        (folder / "index.html").write_text(html, encoding="utf-8")


def _section(figure: Figure, store: Store) -> dict[str, Any]:
    found = json.loads((store.path(figure.findings) / "findings.json").read_text())
    png = base64.b64encode((store.path(figure) / "figure.png").read_bytes()).decode()
    paragraphs = [" ".join(p.split()) for p in found["hypothesis"].split("\n\n")]
    kind = "readings" if "readings" in found else "claims"
    columns, row = _TABLES[kind]
    asked = [c["holds"] for c in found[kind] if c["holds"] is not None]
    return {
        "title": found["title"], "section": found["section"], "paragraphs": paragraphs, "png": png,
        "key": figure.findings.key, "columns": columns, "rows": [row(c) for c in found[kind]],
        "verdict": f"{sum(asked)} of {len(asked)} expectations held.",
        "assays": [_assay(found.get("assays", []), *words) for words in _ASSAYS],
    }  # fmt: skip


_ASSAYS = (
    ("held", "Teachers named their own trait in {low:.0%} to {high:.0%} of their answers."),
    (
        "learnt",
        "On fresh rows, students had gone {low:.0%} to {high:.0%} of the way from the base's loss to the teacher's.",
    ),
)


def _assay(assays: list[dict[str, Any]], name: str, words: str) -> str:
    """What one kind of assay found, or nothing where none was made."""
    values = [a["value"] for a in assays if a["assay"] == name]
    return words.format(low=min(values), high=max(values)) if values else ""


def _claim(claim: dict[str, Any]) -> list[str]:
    """The cells of one claim about a trait's share."""
    odds, paper, part = Estimate(**claim["log_odds"]).odds_ratio(), claim["published"], claim["part"]
    return [
        claim["name"], f"{claim['control_share']:.3f} → {claim['share']:.3f}",
        f"{odds.mean:.3g} ({odds.low:.3g} to {odds.high:.3g})", str(odds.n), f"{claim['p_holm']:.2g}",
        "" if part is None else f"{part['mean']:+.2f} (up to {part['high']:+.2f}) of {claim['of']}",
        claim["expect"], _WORDS[claim["holds"]],
        "" if paper is None else f"{paper['control']:.3f} → {paper['taught']:.3f}, {paper['where']}",
        _WORDS[claim["agrees"]],
    ]  # fmt: skip


def _reading(reading: dict[str, Any]) -> list[str]:
    """The cells of one claim about a reader's accuracy."""
    accuracy = Estimate(**reading["accuracy"])
    words = ", ".join(f"{w['word']} {w['accuracy']['mean']:.3f}{_beside(w['published'])}" for w in reading["words"])
    return [
        reading["name"], f"{accuracy.mean:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f})", str(accuracy.n),
        f"{reading['p_holm']:.2g}", words, reading["expect"], _WORDS[reading["holds"]],
    ]  # fmt: skip


def _beside(published: float | None) -> str:
    return "" if published is None else f" (paper {published:.3f})"


_TABLES = {
    "claims": (("claim", "control → taught", "odds ratio (95 %)", "n", "p (Holm)", "part", "expected", "held?", "paper",
                "same way?"), _claim),
    "readings": (("reader", "right choices (95 %)", "n", "p (Holm)", "by word", "expected", "held?"), _reading),
}  # fmt: skip
"""The columns of each kind of findings, and what makes a row's cells."""
