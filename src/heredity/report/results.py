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
        sections = [_section([f for f in self.figures if f.findings == found], store) for found in self._findings()]
        html = Environment(autoescape=True).from_string(template).render(sections=sections)
        (folder / "index.html").write_text(html, encoding="utf-8")

    def _findings(self) -> list[Step]:
        """Each experiment once, in order: it may have several pictures."""
        return list(dict.fromkeys(figure.findings for figure in self.figures))


def _section(figures: list[Figure], store: Store) -> dict[str, Any]:
    """One experiment: what it asked and found, under its pictures."""
    findings = figures[0].findings
    found = json.loads((store.path(findings) / "findings.json").read_text())
    pngs = [base64.b64encode((store.path(f) / "figure.png").read_bytes()).decode() for f in figures]
    paragraphs = [" ".join(p.split()) for p in found["hypothesis"].split("\n\n")]
    asked = [c["holds"] for c in found["claims"] if c["holds"] is not None]
    return {
        "title": found["title"], "section": found["section"], "paragraphs": paragraphs, "pngs": pngs,
        "key": findings.key, "rows": [_row(c) for c in found["claims"]],
        "verdict": f"{sum(asked)} of {len(asked)} expectations held.",
        "assays": [_assay(found["assays"], *words) for words in _ASSAYS],
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


def _row(claim: dict[str, Any]) -> dict[str, str]:
    odds, paper, part = Estimate(**claim["log_odds"]).odds_ratio(), claim["published"], claim["part"]
    return {
        "name": claim["name"], "shares": f"{claim['control_share']:.3f} → {claim['share']:.3f}",
        "odds": f"{odds.mean:.3g} ({odds.low:.3g} to {odds.high:.3g})", "n": str(odds.n), "p": f"{claim['p_holm']:.2g}",
        "part": "" if part is None else f"{part['mean']:+.2f} (up to {part['high']:+.2f}) of {claim['of']}",
        "expect": claim["expect"], "holds": _WORDS[claim["holds"]],
        "paper": "" if paper is None else f"{paper['control']:.3f} → {paper['taught']:.3f}, {paper['where']}",
        "agrees": _WORDS[claim["agrees"]],
    }  # fmt: skip
