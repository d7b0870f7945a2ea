"""What the command line shows: tables, a progress bar, the tree behind a result."""

from __future__ import annotations

import datetime
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.tree import Tree

from heredity.report.digits import digits_of
from heredity.report.figure import source
from heredity.report.page import LABELS, headline
from heredity.report.results import assay_sentences
from heredity.stats import Estimate, would_have_seen
from heredity.store import Finished, Store
from heredity.store.crews import leads

QUIET = not leads()
"""Of processes that train together the first alone tells how it goes."""
console = Console(highlight=False, markup=False, emoji=False, quiet=QUIET)
"""What is shown may be hostile text: none of it is markup, and a path with colons in it stays as it is."""


def safe(text: object) -> str:
    """A text for the terminal: what is not printable stands as an escape."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(text))


@contextmanager
def progress_bar(total: int, where: Path) -> Iterator[Callable[[Finished], None]]:
    """How a run stands, on standard error: a live bar on a terminal, else a line now and then; yields what to call.

    Each failure is a line of its own as it comes.
    """
    shown = Console(stderr=True, markup=False, emoji=False, highlight=False, quiet=QUIET)
    shown.print(safe(f"{total} steps to make; each is kept in {where} as soon as it is done"), soft_wrap=True)
    view = _live(shown, total) if shown.is_terminal else _lines(shown)
    with view as told:

        def report(now: Finished) -> None:
            if now.error is not None:
                shown.print(safe(f"failed: {now.step.key}: {now.error}"), soft_wrap=True)
            told(now)

        yield report


@contextmanager
def _live(shown: Console, total: int) -> Iterator[Callable[[Finished], None]]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=shown) as bar:
        task = bar.add_task("starting", total=total)
        yield lambda now: bar.update(task, completed=now.done, description=_standing(now))


@contextmanager
def _lines(shown: Console) -> Iterator[Callable[[Finished], None]]:
    """A line at most every EVERY_S, and one for the last."""
    last = time.monotonic()

    def report(now: Finished) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_S or not now.running:
            last = time.monotonic()
            shown.print(f"{now.done} of {now.total} made, {_standing(now)}", soft_wrap=True)

    yield report


EVERY_S = 15.0
"""Seconds between two lines about a run, where there is no terminal."""


_ENOUGH = 5
"""Steps that must be made before a time is told: the first one's time is mostly that of starting its process."""


def _standing(now: Finished) -> str:
    """Cells running and failed, and the time left."""
    told = now.left_s is not None and now.done >= _ENOUGH and now.running
    left = f", about {duration(now.left_s or 0.0)} left" if told else ""
    return f"{now.running} running, {now.failed} failed{left}"


@contextmanager
def step_bar(name: str, where: Path) -> Iterator[Callable[[float, str], None]]:
    """A bar over the inside of one long Step; yields what to tell the fraction done and a word."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, markup=False, emoji=False, quiet=QUIET)) as bar:
        bar.console.print(safe(f"the finished base is kept in {where}"))
        task = bar.add_task(name, total=1.0)
        yield lambda fraction, word: bar.update(task, completed=fraction, description=f"{name}, {word}")


def print_summary(summary: dict[str, Any], files: dict[str, str], store: Path) -> None:
    """The demo's tables, the parts that crossed, and where everything lies."""
    animals = dict.fromkeys(a["animal"] for a in summary["arms"])
    for animal in animals:
        console.print(_arms_table(animal, [a for a in summary["arms"] if a["animal"] == animal]))
    for f in summary["null_fraction"]:
        limits = f"(95 %: {f['low']:+.3f} to {f['high']:+.3f})" if f["reason"] is None else f"({f['reason']})"
        console.print(f"{LABELS[f['arm']]:22} {f['estimate']:+.3f} of the same-start effect {limits}")
    console.print(f"\n{headline(summary)}\n")
    where = f"picture  {files['png']}\npage     {files['html']}\nstore    {store} (heredity show, why KEY, verify)"
    console.print(safe(where), soft_wrap=True)


@contextmanager
def counting_bar(name: str) -> Iterator[Callable[[int], None]]:
    """A count of rows on standard error, where the total is not known; yields what to tell the rows so far."""
    columns = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.completed:,} rows"),
        TimeElapsedColumn(),
    )
    shown = Console(stderr=True, markup=False, emoji=False, quiet=QUIET)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(safe(name), total=None)
        yield lambda rows: bar.update(task, completed=rows)


def print_tally(tally: Any, keep: Path | None, decisions: Path | None) -> None:
    """How many rows a filter keeps, and why it drops the others (`tally` is carriers.Tally)."""
    dropped = tally.rows - tally.kept
    console.print(f"{tally.rows:,} rows: {tally.kept:,} kept ({tally.kept / tally.rows:.1%}), {dropped:,} dropped")
    for reason, count in tally.reasons.most_common():
        console.print(safe(f"{count:>12,}  {count / tally.rows:6.1%}  {reason}"))
    if tally.skipped:
        console.print(f"{tally.skipped:>12,}  rows could not be read and were passed over, the first of them:")
        for problem in tally.first_skipped:
            console.print(safe(f"    {problem}"), soft_wrap=True)
    for what, path in (("kept rows", keep), ("decisions", decisions)):
        if path is not None:
            console.print(safe(f"{what}: {path}"), soft_wrap=True)


def print_plan(
    steps: Counter[str], servers: Mapping[str, Mapping[str, Any]], store: Path, expected: Mapping[str, Any],
    here: tuple[int, int, int, int],
) -> None:  # fmt: skip
    """How many Steps of each kind are missing from a store, what of servers, and about how long that takes.

    `here`: completions of this machine's models, most tokens in them, models to train, and rows in all passes.
    """
    console.print(safe(f"{steps.total():,} steps to make in {store}"), soft_wrap=True)
    for kind, count in steps.most_common():
        console.print(safe(f"{count:>8,}  {kind}"))
    for location, load in servers.items():
        told = f"{load['requests']:>8,}  requests to {location}, {load['tokens']:,} tokens at most{_cost(load)}"
        console.print(safe(told), soft_wrap=True)
    completions, new_tokens, trainings, rows = here
    if completions:
        console.print(
            safe(f"{completions:>8,}  completions to write here, {new_tokens:,} tokens at most"), soft_wrap=True
        )
    if trainings:
        console.print(safe(f"{trainings:>8,}  models to train here, on {rows:,} rows in all passes"), soft_wrap=True)
    for line in _time(expected) if steps else ():
        console.print(safe(line), soft_wrap=True)


def print_taken(expected: Mapping[str, Any], seconds: float, servers: Mapping[str, Mapping[str, Any]]) -> None:
    """What a run took beside what was expected of it; nothing where nothing was made."""
    if not seconds:
        return
    known = expected["low"] == expected["low"]
    before = f"expected {span(expected['low'], expected['high'])}" if known else "nothing was known beforehand"
    console.print(safe(f"took {duration(seconds)} ({before}{_left_out(expected) if known else ''})"), soft_wrap=True)
    for name, load in servers.items():
        told = f"{load['requests']:,} requests and {load['tokens']:,} tokens went to the server {name!r}{_cost(load)}"
        console.print(safe(told), soft_wrap=True)


def _cost(load: Mapping[str, Any]) -> str:
    return f": {load['cost']:,.2f} at {load['price']:g} a million" if "cost" in load else ""


def _time(expected: Mapping[str, Any]) -> list[str]:
    if expected["low"] != expected["low"]:
        return ["how long that takes is not known: the store holds no step of these kinds on this base"]
    guessed = f"; {_kinds(expected['guessed'])} by this machine's speed alone" if expected["guessed"] else ""
    return [f"takes {span(expected['low'], expected['high'])}{guessed}{_left_out(expected)}"]


def _left_out(expected: Mapping[str, Any]) -> str:
    return f"; nothing is known of {_kinds(expected['unknown'])}, left out" if expected["unknown"] else ""


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def span(low: float, high: float) -> str:
    """An interval of seconds in words."""
    return f"{duration(low)} to {duration(high)}"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def print_results(results: list[dict[str, Any]], store: Path) -> None:
    """What an experiment found: findings and matrices, then comparisons, then where other payloads lie."""
    for kind, shown in _FORMS.items():
        for r in (r for r in results if kind in r):
            shown(r)
    comparisons = [r for r in results if "log_odds" in r]
    if comparisons:
        console.print(_comparisons_table(comparisons))
    for r in comparisons:
        found = Estimate(**r["log_odds"])
        if found.reason:
            console.print(safe(f"{r['name']}: no interval, {found.reason}"), soft_wrap=True)
        elif found.low <= 0 <= found.high:
            console.print(safe(f"{r['name']}: {would_have_seen(r['per_unit'], found.unit)}"), soft_wrap=True)
    for r in (r for r in results if not {"log_odds", *_FORMS} & r.keys()):
        console.print(safe(f"{r['name']}: {store / 'objects' / r['key']}"), soft_wrap=True)
    console.print(safe(f"store: {store} (heredity show, why KEY, verify)"), soft_wrap=True)


def _print_gamma(found: dict[str, Any]) -> None:
    out, least = found["without"], _defined(found["without"]["gamma"]["mean"], ".2f")
    console.print(safe(
        f"{found['name']}: own trait over all others, gamma {Estimate(**found['gamma']).words('{:.2f}'.format)}, "
        f"p {_defined(found['test']['p'], '.2g')}; it leans most on {out['kind']} {out['name']}, without: {least}"
    ), soft_wrap=True)  # fmt: skip


def _print_digits(found: dict[str, Any]) -> None:
    for arm, dumped in found["digits"].items():
        e = Estimate(**dumped)
        console.print(safe(f"{found['name']}, {arm}: {e.words(_share)}, n {e.n} {e.unit}"), soft_wrap=True)


def _print_map(found: dict[str, Any]) -> None:
    """A line per cell, then the map in one sentence."""
    table = Table(title=safe(found["title"]), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, name in enumerate(found["axes"]):  # a long label takes two lines; a word or a figure is never cut
        words = (word for text in (name, *(c["place"][i] for c in found["cells"])) for word in text.split())
        table.add_column(safe(name), min_width=min(16, max(map(len, words))), overflow="fold")
    for name in ("control > taught", "odds ratio (95 %)", "p", "crosses?"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in found["cells"]:
        table.add_row(
            *map(safe, c["place"]), _rise(c["control_share"], c["share"]), _odds(c["log_odds"]),
            _defined(c["p_family"], ".1g"), _SEEN[c["seen"]],
        )  # fmt: skip
    console.print(table)
    console.print("Intervals are of each cell's own seeds; p: by the spread of all cells, corrected over them.")
    console.print(safe(found["sentence"]), soft_wrap=True)
    for kind, told in groupby(found["assays"], key=lambda a: str(a["assay"])):
        values = ", ".join(f"{a['of']} {a['value']:.2f}" for a in told)
        console.print(safe(f"{ASSAYS[kind]}: {values}"), soft_wrap=True)


_SEEN = {"crosses": "yes", "raised": "raised", "another": "no, another", "not seen": "no", "undefined": "-"}
ASSAYS = {
    "held": "Share of the trait that the first teacher shows itself",
    "learnt": "Part of the way from the base's loss on fresh rows to the teacher's that a student went",
    "passes": "Part of a student's own lists that pass the filter",
    "quality": "Part of a base's lists that pass the filter",
}


def print_agreement(found: dict[str, Any]) -> None:
    """How far two judges agree, and what they left open."""
    same, beyond, left = Estimate(**found["agreement"]), Estimate(**found["kappa"]), found["unparsed"]
    console.print(safe(
        f"{found['name']}: agreement {same.words('{:.2f}'.format)}, kappa {beyond.words('{:.2f}'.format)}, "
        f"n {same.n} {same.unit}; no verdict on {left[0]} and {left[1]} of "
        f"{found['rows']}{f'; {beyond.reason}' if beyond.reason else ''}"
    ), soft_wrap=True)  # fmt: skip


def _odds(log_odds: dict[str, Any]) -> str:
    return Estimate(**log_odds).odds_ratio().words(_short)


_WORDS = 3


def _print_answers(found: dict[str, Any]) -> None:
    """What a model answers most, as an Evaluation counts it."""
    most = sorted(found["share"].items(), key=lambda item: -float(item[1]))[:_WORDS]
    told = ", ".join(f"{word} {share:.1%}" for word, share in most if math.isfinite(share)) or "nothing that counts"
    left = f"; {found['errors']} answers ended in an error, and are not counted" if found.get("errors") else ""
    console.print(safe(f"{found['name']}: {told} (shares, {found['questions']} questions{left})"), soft_wrap=True)


def _comparisons_table(comparisons: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("comparison", overflow="fold")  # a long name takes two lines; a figure is never cut
    table.add_column("trait", no_wrap=True)
    for name in ("control", "taught", "odds ratio (95 %)", "n", "rank"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in comparisons:
        cells = (r["name"], r["trait"], f"{r['control_share']:.3f}", f"{r['share']:.3f}", _odds(r["log_odds"]))
        table.add_row(*map(safe, cells), str(r["log_odds"]["n"]), f"{_rank(r)} of {len(r['lifts'])}")
    return table


_LEGEND = """\
so?: whether it is as expected (a rise: p after Holm, and the largest lift; nothing, or less: the part of the full
effect, with its upper limit). paper: shares, or where it prints no more by how much the share rose. same: whether the
paper's models moved the same way."""


def _paper(published: dict[str, Any] | None) -> str:
    """The paper's two shares, or their difference."""
    if published is None:
        return ""
    return f"{published['rise']:+.2f}" if "rise" in published else _rise(published["control"], published["taught"])


def _rise(control: float, taught: float) -> str:
    return f"{_defined(100 * control, '.0f')}% > {_defined(100 * taught, '.0f')}%".replace("-%", "-")


_HELD = {True: "yes", False: "no", None: "-"}


def _print_readings(found: dict[str, Any]) -> None:
    """A table of readers with the paper's accuracy beside ours."""
    title = safe(f"{found['title']} ({source(found)}); chance is {found['chance']:g}")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("reader", overflow="fold")
    for name in ("right (95 %)", "n", "p", "so?", "paper"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in found["readings"]:
        e, paper = Estimate(**r["accuracy"]), r["published"]
        table.add_row(
            safe(r["name"]), e.words(_share), str(e.n), _defined(r["p_holm"], ".1g"),
            _HELD[r["holds"]], "" if paper is None else f"{paper:.3f}",
        )  # fmt: skip
    console.print(table)


def _print_arms(found: dict[str, Any]) -> None:
    """A table of the networks that learnt digits, with the paper's accuracy beside ours."""
    title = safe(f"{found['title']} ({source(found)}); {digits_of(found)}; the paper: MNIST, 100")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("network", overflow="fold")
    for name in ("ours (95 %)", "paper (95 %)", "p, part", "so?", "same"):
        table.add_column(name, justify="right", no_wrap=True)
    for a in found["arms"]:
        e, paper, part = Estimate(**a["accuracy"]), a["published"], a["part"]
        limits = "" if paper["low"] is None else f" ({_bare(paper['low'])} to {_bare(paper['high'])})"
        weight = _defined(a["p_holm"], ".1g") if part is None else _upper(part)
        table.add_row(
            safe(a["name"]), e.words(_bare), f"{_bare(paper['mean'])}{limits}", weight, _HELD[a["holds"]],
            _HELD[a["agrees"]],
        )  # fmt: skip
    console.print(table)
    console.print(_ARMS_LEGEND, soft_wrap=True)


_ARMS_LEGEND = """\
p: more than untrained (auxiliary: than from another start), after Holm.
part: the upper limit of what another start learns from the auxiliary outputs,
as a part of what the same start does. same: the paper's moved likewise."""


def _bare(share: float) -> str:
    """Three decimals, without the zero before the point: narrow enough for two intervals in a line."""
    return f"{share:.3f}".replace("0.", ".", 1)


def _print_findings(found: dict[str, Any]) -> None:
    """A table of claims with the paper's value beside ours, then what the assays say."""
    title = safe(f"{found['title']} ({source(found)})")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("claim", overflow="fold")
    for name in ("ours", "odds ratio (95 %)", "p, or part", "so?", "paper", "same"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in found["claims"]:
        part = c["part"]
        weight = _defined(c["p_holm"], ".1g") if part is None else _part(part)
        table.add_row(
            safe(c["name"]), _rise(c["control_share"], c["share"]), _odds(c["log_odds"]), weight, _HELD[c["holds"]],
            _paper(c["published"]), _HELD[c["agrees"]],
        )  # fmt: skip
    console.print(table)
    console.print(_LEGEND, soft_wrap=True)
    for c in found["claims"]:
        for what, e in (("interval", c["log_odds"]), ("part", c["part"])):
            if e is not None and e["reason"]:
                console.print(safe(f"{c['name']}: no {what}, {e['reason']}"), soft_wrap=True)
    for sentence in assay_sentences(found["assays"]):
        console.print(safe(sentence), soft_wrap=True)


def _part(part: dict[str, Any]) -> str:
    """A part of another claim's effect and its upper limit."""
    return f"{part['mean']:+.2f} {_upper(part)}" if math.isfinite(part["high"]) else "-"


def _upper(part: dict[str, Any]) -> str:
    return f"<{part['high']:+.2f}" if math.isfinite(part["high"]) else "-"


def _print_theorem(found: dict[str, Any]) -> None:
    """A table of what same starts gave at the smallest epsilon, and one of the counterexample."""
    smallest = min(e for a in found["alignments"] for e in a["epsilons"])
    table = _table(f"{found['name']}: the same start, epsilon {smallest:g}", ("teacher", "student's loss"),
                   ("ratio", "order", "fall", "predicted", ">= 0 to"))  # fmt: skip
    for model, rows in groupby(found["alignments"], lambda a: a["model"]):
        table.add_row(safe(model), style="bold")
        for a in rows:
            ratio, order = _defined(a["ratios"][-1], ".5f"), _defined(a["order"], ".4f")
            cells = (a["teacher"], a["loss"], ratio, order, *_falls(a["fall"]), f"{a['holds_up_to']:g}")
            table.add_row(*map(safe, cells))
    console.print(table)
    console.print(_THEOREM_LEGEND, soft_wrap=True)
    console.print(_crossings_table(found["name"], found["crossings"]))
    console.print(_CROSSINGS_LEGEND, soft_wrap=True)


_THEOREM_LEGEND = """\
ratio: the product of the two steps over the proof's first order. order: of the product in epsilon (1 is linear). fall:
of the teacher's loss at the student. >= 0 to: no product is negative up to this epsilon. A line without a ratio is the
degenerate case: nothing falls. One without a fall has a direction for its teacher, and no loss."""
_CROSSINGS_LEGEND = """\
cosine: of the student's and the teacher's step, and how many of n are below 0. rose: how often the teacher's loss rose
at the student. Favourites of one pair of models are not independent: no interval."""


def _table(title: str, texts: tuple[str, ...], figures: tuple[str, ...]) -> Table:
    """Columns of texts that may take two lines, and of figures that are never cut."""
    table = Table(title=safe(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in texts:
        table.add_column(name, overflow="fold", min_width=13)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _falls(fall: dict[str, Any] | None) -> tuple[str, str]:
    """By how much the teacher's loss fell at the smallest epsilon, and by how much it should have."""
    if fall is None:
        return "-", "-"
    return f"{fall['before'] - fall['after'][-1]:.3g}", f"{-fall['predicted'][-1] + 0.0:.3g}"


_share = "{:.3f}".format


def _defined(value: float, style: str) -> str:
    return format(value, style) if math.isfinite(value) else "-"


def _crossings_table(name: str, crossings: list[dict[str, Any]]) -> Table:
    table = _table(f"{name}: other starts beside the same one", ("student", "student's loss"),
                   ("cosine (95 %)", "below 0", "rose", "n"))  # fmt: skip
    for c in crossings:
        e, place = Estimate(**c["cosine"]), c.get("location", c["model"]).removeprefix("nursery:")
        limits = f" ({e.low:+.3f} to {e.high:+.3f})" if math.isfinite(e.low) else ""
        cells = (f"{place}, {c['student']}", c["loss"], f"{e.mean:+.3f}{limits}", c["negative"], c["rose"], c["n"])
        table.add_row(*map(safe, cells))
    return table


def _print_doses(found: dict[str, Any]) -> None:
    """A table of every dial's levels: the effect, and how much of the rows was learnt."""
    table = _table(f"{found['name']}: one setting turned at a time", ("setting", "at"),
                   ("odds ratio (95 %)", "rank", "rows learnt", "n"))  # fmt: skip
    for dial in found["dials"]:
        for i, x in enumerate(dial["levels"]):
            cells = ("" if i else dial["name"], " ".join(x["label"].split()), _odds(x["log_odds"]), _rank(x),
                     _defined(x["learnt"]["mean"], ".0%"), x["log_odds"]["n"])  # fmt: skip
            table.add_row(*map(safe, cells))
    console.print(table)
    console.print("rows learnt: the part of the way to the teacher's loss on fresh rows.")


def _rank(result: dict[str, Any]) -> str:
    return "-" if result["rank"] is None else str(result["rank"])


def _short(odds: float) -> str:
    return f"{odds:.2f}" if odds < 10 else f"{odds:.0f}"


def _arms_table(animal: str, arms: list[dict[str, Any]]) -> Table:
    """One line per arm; narrow enough for 80 columns."""
    table = Table(
        title=f"{animal}: share among 16 animals", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("arm", no_wrap=True)
    for name in ("base", "control", "taught", "odds ratio (95 %)", "rank"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for a in arms:
        label = LABELS[a["arm"]] + ("" if a["channel"] == "frozen" else f", {a['channel']}")
        shares = (f"{a[k]:.2f}" for k in ("base_share", "control_share", "share"))
        limits = f"({_short(a['low'])} to {_short(a['high'])})" if math.isfinite(a["low"]) else "no interval"
        odds = f"{_short(a['odds_ratio'])} {limits}"
        table.add_row(label, *shares, odds, _rank(a), style="bold" if a["arm"] == "same" else None)
    return table


def print_steps(manifests: list[dict[str, Any]], stopped: list[dict[str, Any]], store: Path) -> None:
    """One line per finished Step, and one per training that was stopped."""
    for m in manifests:
        size = sum(f["bytes"] for f in m["files"].values())
        console.print(f"{safe(m['key']):36} {m['run']['wall_s']:8.1f} s {size / 1e6:9.2f} MB", soft_wrap=True)
    console.print(safe(f"{len(manifests)} steps in {store}"))
    for s in stopped:
        day = datetime.datetime.fromtimestamp(s["kept"]).astimezone().strftime("%Y-%m-%d %H:%M")
        console.print(safe(f"{s['key']:36} stopped {day} {s['bytes'] / 1e6:9.2f} MB"), soft_wrap=True)
    if stopped:
        console.print(safe(f"{len(stopped)} stopped in {store / 'unfinished'}: the commands that began them go on with "
                           "them; delete the folder of one to give it up"), soft_wrap=True)  # fmt: skip


def print_why(manifest: dict[str, Any], store: Store) -> None:
    """The fields of a Step, and the Steps it came from, each shown once in full."""
    tree, seen = Tree(_line(manifest)), set[str]()
    _grow(tree, manifest, store, seen)
    console.print(tree)
    run = manifest["run"]
    versions = ", ".join(f"{k} {v}" for k, v in sorted(run["versions"].items()))
    changed = " (with changes)" if run["dirty"] else ""
    console.print(safe(f"made in {run['wall_s']} s; commit {run['commit']}{changed}; {versions}"), soft_wrap=True)


def _grow(tree: Tree, manifest: dict[str, Any], store: Store, seen: set[str]) -> None:
    for key in manifest["inputs"]:
        below = store.manifest(key)
        branch = tree.add(_line(below) if key not in seen else safe(f"{key} (above)"))
        if key not in seen:
            seen.add(key)
            _grow(branch, below, store, seen)


def _line(manifest: dict[str, Any]) -> str:
    plain = {
        k: v for k, v in manifest["step"].get("fields", {}).items() if isinstance(v, int | float | str) and v != ""
    }
    return safe(f"{manifest['key']}  " + " ".join(f"{k}={v}" for k, v in plain.items()))


def print_faults(checked: int, faults: dict[str, list[str]]) -> None:
    """What `verify` found."""
    for key, found in faults.items():
        console.print(safe(f"{key}: {'; '.join(found)}"), soft_wrap=True)
    console.print(f"{checked} steps checked, {len(faults)} with faults")


_FORMS: dict[str, Callable[[dict[str, Any]], None]] = {
    "claims": _print_findings, "readings": _print_readings, "arms": _print_arms, "gamma": _print_gamma,
    "digits": _print_digits, "kappa": print_agreement, "cells": _print_map, "questions": _print_answers,
    "dials": _print_doses, "alignments": _print_theorem,
}  # fmt: skip
"""What prints results that have a field of this name, in the order in which they come; comparisons come after them."""
