"""What a trace found, for the terminal. Names of models may be hostile text."""

from __future__ import annotations

import math
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from heredity.report.terminal import console, safe

_SHOWN = 12
"""Most layers in the terminal's table."""


def print_trace(found: dict[str, Any]) -> None:
    """The verdict, what each test said, the layers, and what all of it rests on."""
    console.print(safe(f"{found['a']} and {found['b']}: {found['verdict']}. {found['why']}."), soft_wrap=True)
    console.print(_tests(found["tests"]))
    if found["layers"]:
        console.print(_layers(found["layers"]))
    for sentence in (*_sentences(found), *found["notes"], *(f"- {a}" for a in found["assumptions"])):
        console.print(safe(sentence), soft_wrap=True)


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _tests(tests: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("test", no_wrap=True)
    for name in ("statistic", "log10 p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("does not count, because")
    for t in tests:
        table.add_row(t["name"], _number(t["statistic"], ".3g"), _number(t["log10_p"], ".1f"), safe(t["reason"] or ""))
    return table


def _layers(layers: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("layer of A", "of B", "units", "fixed points", "log10 p", "mean cosine"):
        table.add_column(name, justify="right", no_wrap=True)
    for x in layers[:_SHOWN]:
        cells = (str(x[k]) for k in ("a", "b", "units", "fixed"))
        table.add_row(*cells, f"{x['log10_p']:.1f}", _number(x["cosine"], "+.3f"))
    return table


def _sentences(found: dict[str, Any]) -> list[str]:
    fixed = sum(x["fixed"] for x in found["layers"])
    said = [f"read {found['rows_read']:,} rows, {found['bytes_read'] / 1e6:.1f} MB, in {found['seconds']:.2f} s"]
    if not math.isnan(found["placebo_p"]):
        said.append(f"placebo: shifted labels find {found['placebo_max']} fixed points at most, the true ones {fixed}; "
                    f"p {found['placebo_p']:.2g} where the units' order means nothing")  # fmt: skip
    if not math.isnan(found["matched_share"]):
        said.append(f"matched units: {found['matched_share']:.1%} of them are placed alike by two of their matrices")
    if not math.isnan(found["detectable"]):
        said.append(f"a mean cosine of {found['detectable']:.3f} would have been found with power .99 where units "
                    "stand in place; turned or reordered units only from a far larger one")  # fmt: skip
    return said
