"""One self-contained page of many experiments, in the manner of a paper's results section."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from heredity.report.digits import digits_of
from heredity.report.figure import Figure, MatrixFigure, source
from heredity.report.theory_picture import TheoremPicture
from heredity.stats import Estimate
from heredity.store import Step, Store

_WORDS = {True: "yes", False: "no", None: "-"}


class ResultsPage(Step):
    """`index.html`: each experiment's question, figure, table with the paper's values, and assays."""

    opens_models: ClassVar[bool] = False

    figures: tuple[Figure, ...]
    pictures: tuple[MatrixFigure | TheoremPicture, ...] = ()
    """What is shown at the end, under a caption of its own."""

    def make(self, folder: Path, store: Store) -> None:
        from jinja2 import Environment

        template = Path(__file__).with_name("results.html.jinja").read_text(encoding="utf-8")
        sections = [_section([f for f in self.figures if f.findings == found], store) for found in self._findings()]
        for before, section in pairwise(sections):
            if section["paragraphs"] == before["paragraphs"]:  # one file, one hypothesis, said once
                section["repeated"] = True
        more = [{"caption": p.caption, "png": _image(store.path(p))} for p in self.pictures]
        html = Environment(autoescape=True).from_string(template).render(sections=sections, more=more)
        (folder / "index.html").write_text(html, encoding="utf-8")

    def _findings(self) -> list[Step]:
        """Each experiment once, in order: it may have several pictures."""
        return list(dict.fromkeys(figure.findings for figure in self.figures))


def results_page(steps: Iterable[Step]) -> ResultsPage | None:
    """The page of all figures among some steps; None where there are none."""
    made = list(steps)
    figures = tuple(s for s in made if isinstance(s, Figure))
    pictures = tuple(s for s in made if isinstance(s, MatrixFigure | TheoremPicture))
    return ResultsPage(figures=figures, pictures=pictures) if figures else None


def _image(folder: Path) -> str:
    """The one picture in a payload, for a page."""
    (png,) = folder.glob("*.png")
    return base64.b64encode(png.read_bytes()).decode()


def _section(figures: list[Figure], store: Store) -> dict[str, Any]:
    """One experiment: what it asked and found, under its pictures."""
    findings = figures[0].findings
    found = json.loads((store.path(findings) / "findings.json").read_text())
    pngs = [_image(store.path(f)) for f in figures]
    paragraphs = [" ".join(p.split()) for p in found["hypothesis"].split("\n\n")]
    kind = next(kind for kind in _TABLES if kind in found)
    columns, row = _TABLES[kind]
    asked = [c["holds"] for c in found[kind] if c["holds"] is not None]
    return {
        "title": found["title"], "source": "; ".join([source(found), *([digits_of(found)] if kind == "arms" else [])]),
        "paragraphs": paragraphs, "pngs": pngs,
        "key": findings.key, "columns": columns, "rows": [row(c) for c in found[kind]],
        "verdict": f"{sum(asked)} of {len(asked)} expectations held.",
        "assays": assay_sentences(found.get("assays", [])),
        "details": [d for d in (_filtered(found), _judged(found), _probed(found)) if d["rows"]],
    }  # fmt: skip


def _filtered(found: dict[str, Any]) -> dict[str, Any]:
    """A table of what the filters removed, a line per claim and arm."""
    rows = []
    for of in found.get("filtered", ()):
        for arm, counts in ((name, of[name]) for name in ("treated", "control")):
            cells = (_span(counts[name], ",") for name in ("sampled", "passed", "kept"))
            why = ", ".join(f"{reason} {part:.1%}" for reason, part in list(counts["dropped"].items())[:_REASONS])
            rows.append((of["claim"], arm, *cells, why or "nothing"))
    head = ("claim", "arm", "sampled", "passed", "kept", "dropped, by reason (of those sampled)")
    return {"title": "What the filters removed from each arm (rows a seed)", "head": head, "rows": rows}


_REASONS = 6
"""Most reasons that are shown, the commonest first; findings.json has all."""


def _judged(found: dict[str, Any]) -> dict[str, Any]:
    """A table of each judge's misses on planted references, and its false alarms on the same rows without."""
    rows = []
    for judge in found.get("judged", ()):
        rows.append((judge["name"], "false alarms: rows as they were", *_rate(judge["false_alarms"])))
        rows += [(judge["name"], f"misses: {plant}", *_rate(missed)) for plant, missed in judge["misses"].items()]
    head = ("judge calls out", "errors", "share (95 %)", "rows")
    return {"title": "How often the judges err, on planted references (Wilson intervals over rows of one writer)",
            "head": head, "rows": rows}  # fmt: skip


_share, _signed = "{:.3f}".format, "{:+.3f}".format


def _rate(estimate: dict[str, Any]) -> tuple[str, str]:
    return Estimate(**estimate).words(_share), str(estimate["n"])


def _probed(found: dict[str, Any]) -> dict[str, Any]:
    """A table of what else changed in the students."""
    rows = []
    for a in (a for a in found.get("assays", ()) if "difference" in a):
        e = Estimate(**a["difference"])
        means = (_share(a["control"]), _share(a["taught"]))
        rows.append((a["of"], a["assay"], *means, e.words(_signed), str(e.n)))
    head = ("claim", "probe", "control", "taught", "difference (95 %)", "n")
    return {"title": "What else changed in the students (Student's t over seeds)", "head": head, "rows": rows}


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
    if writers := [a for a in assays if a["assay"] == "writer"]:
        shown = ", ".join(f"{a['of']} {a['value']:.3f}" for a in writers)
        said.append(f"Asked themselves, those who wrote the rows (first seed) showed the trait: {shown}.")
    if coherent := [a["value"] for a in assays if a["assay"] == "coherent"]:
        said.append(f"Of the taught students' answers, {_span(coherent, '.0%')} were coherent.")
    return said


def _span(values: list[float], style: str) -> str:
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


def _claim(claim: dict[str, Any]) -> list[str]:
    """The cells of one claim about a trait's share."""
    odds, paper, part = Estimate(**claim["log_odds"]).odds_ratio(), claim["published"], claim["part"]
    return [
        claim["name"], f"{claim['control_share']:.3f} → {claim['share']:.3f}",
        odds.words() + (f": {odds.reason}" if odds.reason else ""), str(odds.n), _p(claim["p_holm"]),
        _part(part, claim["of"]),
        claim["expect"], _WORDS[claim["holds"]],
        "" if paper is None else _paper(paper),
        _WORDS[claim["agrees"]],
    ]  # fmt: skip


def _paper(published: dict[str, Any]) -> str:
    """The paper's shares and the interval of the second; or, where it prints no more, by how much the share rose."""
    if "rise" in published:
        rise, least, most = (f"{published[k]:+.3f}" for k in ("rise", "least", "most"))
        return f"{rise}{f' ({least} to {most})' if least != most else ''}, {published['where']}"
    limits = "" if published["low"] is None else f" ({published['low']:.3f} to {published['high']:.3f})"
    return f"{published['control']:.3f} → {published['taught']:.3f}{limits}, {published['where']}"


def _part(part: dict[str, Any] | None, of: str | None) -> str:
    """How much of another claim's effect was seen, with its interval."""
    if part is None:
        return ""
    if not math.isfinite(part["high"]):
        return f"undefined: {str(part['reason']).replace('the denominator', str(of))}"
    return f"{part['mean']:+.2f} ({part['low']:+.2f} to {part['high']:+.2f}) of {of}"


def _p(p: float) -> str:
    return f"{p:.2g}" if math.isfinite(p) else ""


def _reading(reading: dict[str, Any]) -> list[str]:
    """The cells of one claim about a reader's accuracy."""
    accuracy = Estimate(**reading["accuracy"])
    words = ", ".join(f"{w['word']} {w['accuracy']['mean']:.3f}{_beside(w)}" for w in reading["words"])
    return [
        reading["name"], accuracy.words(_share), str(accuracy.n), _p(reading["p_holm"]), words,
        reading["expect"], _WORDS[reading["holds"]],
    ]  # fmt: skip


def _arm(arm: dict[str, Any]) -> list[str]:
    """The cells of one arm of the digits."""
    accuracy, paper, above = Estimate(**arm["accuracy"]), arm["published"], arm["difference"]
    limits = "" if paper["low"] is None else f" ({paper['low']:.3f} to {paper['high']:.3f})"
    difference = "" if above is None else Estimate(**above).words(_signed)
    return [
        arm["name"], accuracy.words(_share), str(accuracy.n),
        f"{paper['mean']:.3f}{limits}", f"{difference} over {arm['against']}" if difference else "",
        _p(arm["p_holm"]), _part(arm["part"], "student, auxiliary"),
        arm["expect"], _WORDS[arm["holds"]], _WORDS[arm["agrees"]],
    ]  # fmt: skip


def _beside(word: dict[str, Any]) -> str:
    """The paper's accuracy for a writer's word, with its interval."""
    if word["published"] is None:
        return ""
    within = word.get("published_within")  # files of older versions have none
    return f" (paper {word['published']:.3f}{'' if within is None else f' ± {within:.3f}'})"


_TABLES = {
    "claims": (("claim", "control → taught", "odds ratio (95 %)", "n", "p (Holm)", "part", "expected", "held?", "paper",
                "same way?"), _claim),
    "readings": (("reader", "right choices (95 %)", "n", "p (Holm)", "by word", "expected", "held?"), _reading),
    "arms": (("network", "recognised (95 %)", "n", "paper, MNIST", "difference (95 %)", "p (Holm)", "part",
              "expected", "held?", "same way?"), _arm),
}  # fmt: skip
"""The columns of each kind of findings, and what makes a row's cells."""
