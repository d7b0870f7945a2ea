"""One self-contained page about the demo: no script, nothing fetched, every figure with its key in the Store."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, ClassVar

from heredity.report.picture import Picture
from heredity.store import Step, Store

LABELS = {
    "same": "same start", "same-control": "same start, control", "other-init": "other start",
    "other-family": "other family", "in-context": "only reads the rows",
    "other-init-power": "other start, own teacher", "other-family-power": "other family, own teacher",
    "in-context-power": "reads a stated preference",
}  # fmt: skip
"""What a person calls each arm."""


class Page(Step):
    """`index.html`, for opening in a browser or mailing around."""

    opens_models: ClassVar[bool] = False

    summary: Step
    picture: Picture

    def make(self, folder: Path, store: Store) -> None:
        from jinja2 import Environment

        summary = json.loads((store.path(self.summary) / "summary.json").read_text())
        png = base64.b64encode((store.path(self.picture) / "picture.png").read_bytes()).decode()
        template = Environment(autoescape=True).from_string((Path(__file__).parent / "page.html.jinja").read_text())
        html = template.render(arms=summary["arms"], fractions=summary["null_fraction"], seeds=summary["seeds"],
                              png=png,
                               labels=LABELS, key=self.summary.key, headline=headline(summary))  # fmt: skip
        (folder / "index.html").write_text(html, encoding="utf-8")


def headline(summary: dict[str, Any]) -> str:
    """The result in one sentence, made from the figures."""
    same = [a for a in summary["arms"] if a["arm"] == "same" and a["channel"] == "frozen"]
    parts = [f"{a['animal']} {a['base_share']:.0%} → {a['share']:.0%}" for a in same]
    lost = [f"{LABELS[f['arm']]} {_upper(f)}" for f in summary["null_fraction"]]
    return (
        "Share of answers that name the teacher's favourite animal after training on nothing but filtered lists of "
        f"numbers, with the teacher's start: {', '.join(parts)}. Part of that effect elsewhere: {', '.join(lost)}."
    )


def _upper(fraction: dict[str, Any]) -> str:
    """A part of the effect with its upper limit, or why there is none."""
    if fraction["reason"] is not None:
        return f"undefined ({fraction['reason']})"
    return f"{_part(fraction['estimate'])} (up to {_part(fraction['high'])})"


def _part(part: float) -> str:
    """A part of an effect in whole per cent, without a sign at zero."""
    return f"{part:+.0%}" if abs(part) >= 0.005 else "0%"
