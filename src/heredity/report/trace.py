"""What a trace found, of weights or of behaviour, for the terminal. Names of models may be hostile text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from heredity.report.terminal import console, safe

_SHOWN = 12
"""Most layers in the terminal's table."""


def print_trace(found: dict[str, Any]) -> None:
    """The verdict, what each test said, the layers, and what all of it rests on."""
    console.print(safe(headline(found)), soft_wrap=True)
    console.print(_tests(found["tests"]))
    if found["layers"]:
        console.print(_layers(found["layers"]))
    for sentence in (*trace_sentences(found), *found["notes"]):
        console.print(safe(sentence))
    console.print(_assumptions(found["assumptions"]))


def print_behaviour(found: dict[str, Any]) -> None:
    """The verdict, every control, and what it rests on."""
    console.print(safe(headline(found)), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("agrees with B")
    for name in ("prompts", "only A does", "only it does", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("A", f"{found['agreement']:.1%}", "", "", "")
    for c in found["controls"]:
        cells = (f"{c['agreement']:.1%}", str(c["only_a"]), str(c["only_control"]), f"{c['p_holm']:.2g}")
        table.add_row(safe(c["name"]), *cells)
    console.print(table)
    console.print(f"{found['prompts']:,} prompts, {found['seconds']:.1f} s")
    console.print(_assumptions(found["assumptions"]))


def headline(found: dict[str, Any]) -> str:
    """The two models, the verdict, and why."""
    return f"{found['a']} and {found['b']}: {found['verdict']}. {found['why']}."


def _assumptions(sentences: Sequence[str]) -> Table:
    """A list whose sentences are wrapped beside their marks."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        grid.add_row("-", safe(sentence))
    return grid


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
    for name in ("layer of A", "of B", "units", "fixed points", "log10 p", "mean cosine", "shifted"):
        table.add_column(name, justify="right", no_wrap=True)
    for x in layers[:_SHOWN]:
        cells = (str(x[k]) for k in ("a", "b", "units", "fixed"))
        table.add_row(*cells, f"{x['log10_p']:.1f}", *(_number(x[k], "+.3f") for k in ("cosine", "placebo_cosine")))
    return table


def trace_sentences(found: dict[str, Any]) -> list[str]:
    """What was read, and the numbers that no table holds."""
    fixed, whole = sum(x["fixed"] for x in found["layers"]), found["diagonal"]
    said = [f"read {found['rows_read']:,} rows, {found['bytes_read'] / 1e6:.1f} MB, in {found['seconds']:.2f} s"]
    if not math.isnan(found["placebo_p"]):
        said.append(f"placebo: shifted labels find {found['placebo_max']} fixed points at most, the true ones {fixed}; "
                    f"p {found['placebo_p']:.2g} where the units' order means nothing")  # fmt: skip
    if not math.isnan(found["matched_share"]):
        said.append(f"matched units: {found['matched_share']:.1%} of them are placed alike by two of their matrices")
    if not math.isnan(found["detectable"]):
        said.append(f"a mean cosine of {found['detectable']:.3f} would have been found with power .99 where units "
                    "stand in place; turned or reordered units only from a far larger one")  # fmt: skip
    if whole:
        apart = _number(whole["z"], "+.1f")
        said.append(f"all {whole['units']:,} units of all layers: mean cosine {whole['cosine']:+.4f} in place, "
                    f"{whole['placebo']:+.4f} with the next unit ({apart} standard errors apart)")  # fmt: skip
    return said
