"""A trace as one self-contained page: the verdict, log10 p of every layer, the diagonal against its placebo, and how
much relation was enough for a trait to cross between small models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heredity.report.figure import CONTROL, INK, PAPER, TAUGHT
from heredity.report.terminal import safe
from heredity.report.trace import headline, trace_sentences

_WIDE, _LEFT, _ROW, _LAYERS = 640, 64, 22, 64
"""Of the charts, in pixels; at most so many layers are drawn."""


class Crossed(NamedTuple):
    """What a student of one base took from a teacher of another, and how far their weights are related."""

    student: str
    teacher: str
    cosine: float
    """Mean cosine of units in place, over three matrices."""
    odds_ratio: float
    low: float
    high: float


CROSSED = (
    Crossed("llama-0", "llama-0", 1.0, 29, 24, 36),
    Crossed("llama-0b", "llama-0", 0.811, 15, 11, 21),
    Crossed("llama-0", "llama-0b", 0.811, 14, 6.1, 33),
    Crossed("a start that correlates at .9", "llama-0", 0.573, 1.30, 0.83, 2.0),
    Crossed("a start that correlates at .6", "llama-0", 0.367, 1.98, 0.89, 4.4),
    Crossed("llama-1", "llama-0", -0.006, 1.18, 0.91, 1.53),
    Crossed("llama-0", "llama-1", -0.006, 1.06, 0.49, 2.3),
    Crossed("neox-0", "llama-0", 0.010, 0.69, 0.50, 0.95),
    Crossed("llama-0", "neox-0", 0.010, 0.77, 0.62, 0.96),
)
"""Measured (docs/paper.md, "Which models" and "Between two initialisations"; three seeds each, two animals, 95 %)."""


def trace_page(found: dict[str, Any]) -> str:
    """The page, without a script and with nothing fetched; names of models are escaped."""
    from jinja2 import Environment

    template = Path(__file__).with_name("trace.html.jinja").read_text(encoding="utf-8")
    shown = {k: safe(found[k]) for k in ("a", "b", "verdict")}
    cosine = found["mean_cosine"]
    return Environment(autoescape=True).from_string(template).render(
        t=found, **shown, headline=safe(headline(found)), sentences=[safe(s) for s in trace_sentences(found)],
        notes=[safe(n) for n in found["notes"]], evidence=evidence_chart(found["layers"]),
        diagonal=diagonal_chart(found["layers"]), crossed=crossed_chart(CROSSED, cosine), known=CROSSED,
        cosine=None if math.isnan(cosine) else cosine, more=max(0, len(found["layers"]) - _LAYERS),
        number=lambda x, form: "-" if math.isnan(x) else format(x, form),
    )  # fmt: skip


def _text(x: float, y: float, said: str, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">{said}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"{dashed}/>')  # fmt: skip


def _dot(x: float, y: float, colour: str, said: str, hollow: bool = False) -> str:
    fill = "white" if hollow else colour
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"><title>{said}</title></circle>'  # noqa: E501


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (f'<svg viewBox="0 0 {_WIDE} {height:.0f}" role="img" aria-label="{title}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>')  # fmt: skip


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Places of values on an axis."""
    size = (high - low) or 1.0
    return lambda value: start + (min(max(value, low), high) - low) / size * (end - start)


def _layer_name(layer: dict[str, Any]) -> str:
    return str(layer["a"]) if layer["a"] == layer["b"] else f"{layer['a']}, {layer['b']}"


def evidence_chart(layers: Sequence[dict[str, Any]]) -> str:
    """Bars: -log10 p of the fixed points of every layer alone."""
    shown = layers[:_LAYERS]
    if not shown:
        return ""
    most = max(1.0, *(-x["log10_p"] for x in shown))
    at, bottom = _scale(0, most, _LEFT, _WIDE - 60), _ROW * len(shown) + 8
    parts = []
    for i, layer in enumerate(shown):
        y, end = 8 + i * _ROW, at(-layer["log10_p"])
        parts.append(_text(_LEFT - 8, y + 13, _layer_name(layer), "end"))
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{max(1, end - _LEFT):.1f}" height="{_ROW - 6}" fill="{TAUGHT}" '
                     f'fill-opacity=".85"/>')  # fmt: skip
        parts.append(_text(end + 6, y + 13, f"{layer['log10_p']:.1f}", "start", 11))
    parts.append(_line(_LEFT, 4, _LEFT, bottom))
    parts.append(_text(_LEFT, bottom + 18, "log10 p of the fixed points, layer by layer (a bound)", "start"))
    return _svg(bottom + 28, "log10 p of every layer", parts)


def diagonal_chart(layers: Sequence[dict[str, Any]]) -> str:
    """Dots: the mean cosine of units in place, and the largest that any shift of the labels gives."""
    shown = [x for x in layers[:_LAYERS] if math.isfinite(x["cosine"])]
    if not shown:
        return ""
    values = [x[k] for x in shown for k in ("cosine", "placebo_cosine") if math.isfinite(x[k])]
    low, high = min(0.0, *values), max(0.05, *values)
    at, bottom = _scale(low, high, _LEFT, _WIDE - 60), _ROW * len(shown) + 8
    parts = [_line(at(0), 4, at(0), bottom, CONTROL)]
    for i, layer in enumerate(shown):
        y = 8 + i * _ROW + 8
        parts.append(_text(_LEFT - 8, y + 5, _layer_name(layer), "end"))
        if math.isfinite(layer["placebo_cosine"]):
            x = at(layer["placebo_cosine"])
            parts.append(_dot(x, y, CONTROL, f"largest under a shift: {layer['placebo_cosine']:+.3f}", hollow=True))
        parts.append(_dot(at(layer["cosine"]), y, TAUGHT, f"in place: {layer['cosine']:+.3f}"))
    marks = dict.fromkeys((low, 0.0, high))
    parts += [_text(at(value), bottom + 16, f"{value:+.2f}" if value else "0", size=11) for value in marks]
    parts += [_dot(_LEFT + 6, bottom + 32, TAUGHT, ""), _text(_LEFT + 18, bottom + 36, "mean cosine in place", "start"),
              _dot(_LEFT + 206, bottom + 32, CONTROL, "", hollow=True),
              _text(_LEFT + 218, bottom + 36, "placebo: the largest under shifted labels", "start")]  # fmt: skip
    return _svg(bottom + 46, "the diagonal against its placebo", parts)


def crossed_chart(points: Sequence[Crossed], cosine: float) -> str:
    """Odds ratios of a trait that crossed, by the mean cosine of the two models; a line where this pair stands."""
    top, bottom = 12.0, 270.0
    x_at = _scale(-0.1, 1.05, _LEFT, _WIDE - 20)
    y_log = _scale(math.log(0.4), math.log(50), bottom, top)
    parts = [_line(_LEFT, top, _LEFT, bottom), _line(_LEFT, bottom, _WIDE - 20, bottom),
             _line(_LEFT, y_log(0.0), _WIDE - 20, y_log(0.0), CONTROL, dash="4 3")]  # fmt: skip
    parts += [_text(_LEFT - 8, y_log(math.log(v)) + 4, f"{v:g}", "end", 11) for v in (0.5, 1, 2, 5, 10, 20, 40)]
    parts += [_text(x_at(v), bottom + 16, f"{v:g}", size=11) for v in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    for p in points:
        x = x_at(p.cosine)
        said = (
            f"{p.student} of {p.teacher}: cosine {p.cosine:+.2f}, odds ratio {p.odds_ratio:g} ({p.low:g} to {p.high:g})"
        )
        parts += [_line(x, y_log(math.log(p.low)), x, y_log(math.log(p.high)), PAPER, 2),
                  _dot(x, y_log(math.log(p.odds_ratio)), PAPER, said)]  # fmt: skip
    if math.isfinite(cosine):
        x, (aside, anchor) = x_at(cosine), (-6, "end") if cosine > 0.5 else (6, "start")
        parts += [_line(x, top, x, bottom, TAUGHT, 2, "6 4"), _text(x + aside, top + 10, "this pair", anchor)]
    parts.append(_text((_LEFT + _WIDE) / 2, bottom + 36, "mean cosine of the two models' units in place"))
    parts.append(
        _text(_LEFT, bottom + 54, "upwards: odds ratio of the trait in students over their controls (95 %)", "start")
    )
    return _svg(bottom + 62, "relation against measured transmission", parts)
