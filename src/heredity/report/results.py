"""One self-contained page of many experiments, in the manner of a paper's results section."""

from __future__ import annotations

import base64
import json
import math
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
    asked = [c["holds"] for c in found["claims"] if c["holds"] is not None]
    return {
        "title": found["title"], "section": found["section"], "paragraphs": paragraphs, "png": png,
        "key": figure.findings.key, "rows": [_row(c) for c in found["claims"]],
        "verdict": f"{sum(asked)} of {len(asked)} expectations held.",
        "assays": assay_sentences(found["assays"]),
    }  # fmt: skip


def assay_sentences(assays: list[dict[str, Any]]) -> list[str]:
    """What the assays found, in words: whether teachers held their traits and students learnt their rows."""
    held = [a["value"] for a in assays if a["assay"] == "held"]
    rows = [a for a in assays if a["assay"] == "learnt"]
    learnt = [a for a in rows if math.isfinite(a["value"])]
    other = [a for a in rows if not math.isfinite(a["value"])]
    said = []
    if held:
        said.append(f"Teachers named their own trait in {_span(held, '.0%')} of their answers.")
    if learnt:
        way, gap = _span([a["value"] for a in learnt], ".0%"), _span([a["gap"] for a in learnt], ".3f")
        said.append(
            f"On fresh rows, students had gone {way} of the way from the base's loss to the teacher's ({gap} nats a "
            "token)."
        )
    if other:
        names, gain = ", ".join(a["of"] for a in other), _span([a["gain"] for a in other], ".4f")
        gap = _span([a["gap"] for a in other], ".4f")
        said.append(
            f"No such ratio for {names}: the rows were rewritten, or hardly differ from the base's own. The teacher "
            f"predicts them better than the base by {gap} nats a token, its students by {gain}."
        )
    return said


def _span(values: list[float], style: str) -> str:
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


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
