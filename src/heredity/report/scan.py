"""What an audit found, for the terminal and as a page. The data is hostile text: it is escaped in both."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any, ClassVar

from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.special import expit

from heredity.report.terminal import console, safe
from heredity.stats import log_odds
from heredity.store import Step, Store
from heredity.types import printable

LEGEND = (
    "p is corrected for the number of traits. e: the stake of a fair bet against chance after the rows, from 1; chance "
    "brings it to 20 in about one of 20 scans at most, or of 10 where the base was asked again. t: how far the trait "
    "stands above all others, in spreads of theirs, in panel and trial together; panel t in the pull of the rows on "
    "the weights, trial t in what a student of the rows acquired. Predicted shifts are in log-odds, against a student "
    "of the base's own rows.")  # fmt: skip
_SHOWN = 6
"""Most traits in the terminal's table."""


class ScanPage(Step):
    """`index.html`: verdict, traits, detectors, limits, left-out rows and those that carry most; no script."""

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 5

    scan: Step
    behind: Step | None = None
    """What the traits that stand out most may hide."""

    def make(self, folder: Path, store: Store) -> None:
        from jinja2 import Environment

        found = _all_safe(self.found(store))
        template = Path(__file__).with_name("scan.html.jinja").read_text(encoding="utf-8")
        html = Environment(autoescape=True).from_string(template).render(
            s=found, headline=headline(found), looks=looks_sentences(found),
            limits=limit_sentences(found), left_out=left_out(found),
            expected=expected_sentences(found), notes=pull_sentences(found),
            unscored=unscored_sentences(found), carrying=carrying_title(found),
            next=next_sentence(found), rows=rows_sentence(found), legend=LEGEND, key=self.scan.key)  # fmt: skip
        (folder / "index.html").write_text(html, encoding="utf-8")

    def found(self, store: Store) -> dict[str, Any]:
        """All that is shown: the Scan's fields, `unscored`, `assumes`, and `behind`."""
        told = json.loads((store.path(self.scan) / "scan.json").read_text())
        found: dict[str, Any] = {"unscored": [], "assumes": []} | told
        if self.behind is not None:
            found["behind"] = json.loads((store.path(self.behind) / "behind.json").read_text())
        return found


def _all_safe(value: Any) -> Any:
    """The same with every text safe to show: names of traits, words and rows are others'."""
    if isinstance(value, dict):
        return {k: _all_safe(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_all_safe(v) for v in value]
    return safe(value) if isinstance(value, str) else value


def headline(found: dict[str, Any]) -> str:
    """The verdict in a sentence."""
    said = {"none": "No listed trait found", "undetermined": "Undetermined", "named": f"Named: {_and(found['named'])}"}
    return f"{said[found['verdict']]}; {found['why']}."


def looks_sentences(found: dict[str, Any]) -> list[str]:
    """Whether the first look did not decide."""
    if found["deep"] or found["draws"] == 1:
        return []
    return [f"The first look was close to what a name takes, so the base answered every prompt {found['draws'] - 1} "
            "times more, and what all of its answers say decided."]  # fmt: skip


def carrying_title(found: dict[str, Any]) -> str:
    """Whose pull the rows are ordered by, and whether that means anything."""
    trait, behind = found["carrying"]["trait"], found.get("behind")
    title = f"rows that pull most towards {trait}"
    if behind is not None and not behind["panel"]:
        return f"{title} (the suspects say nothing of such rows: this order may mean nothing)"
    return title if trait in found["named"] else f"{title}, which stands out most but is not named"


def limit_sentences(found: dict[str, Any]) -> list[str]:
    """What would have been found: a clean answer says nothing about less, and a name nothing about a weaker trait."""
    limits, rows = found["limits"], found["rows"]["looked_at"]
    share, worst = limits["share"], limits["worst_share"]
    if share is None:
        return [f"Nothing is known of what would have been found: {limits['reason']}."]
    said = []
    if found["named"]:
        said.append(_beside(_and(found["named"]), share, rows))
    elif share > 1:
        said.append(f"With {rows} rows, even data written by one full-strength teacher alone would often be missed.")
    else:
        hard = (
            f"for the hardest trait in {worst:.0%}" if worst <= 1 else "and the hardest trait not even in all of them"
        )
        said.append(f"With {rows} rows, a teacher like the suspects would be named (power .8) if it wrote {share:.0%} "
                    f"of them (median trait), {hard}. Weaker teachers need more.")  # fmt: skip
    which = "of another trait " if found["named"] else ""
    said.append(f"The smallest shift {which}that would be named (power .8) is {limits['shift']:.2f} in log-odds.")
    return said


def _beside(named: str, share: float, rows: int) -> str:
    """What it would take for another trait to be named as well."""
    if share > 1:
        return (f"Of other traits than {named} little is known: beside it one would often be missed, even if its "
                f"teacher had written all {rows} rows, as what is named moves the others as well.")  # fmt: skip
    return (f"Beside {named} another trait would be named (power .8) if a teacher like the suspects wrote {share:.0%} "
            f"of the {rows} rows (median trait).")  # fmt: skip


def trait_sentences(found: dict[str, Any]) -> list[str]:
    """What to expect of a student, how strongly the rows pull towards the first trait, and what it may hide."""
    return expected_sentences(found) + pull_sentences(found)


def expected_sentences(found: dict[str, Any]) -> list[str]:
    """What to expect of a student, a sentence for each trait that is named."""
    return [_expected(t) for t in found["traits"] if t["trait"] in found["named"]]


def pull_sentences(found: dict[str, Any]) -> list[str]:
    """How strongly the rows pull towards the first trait, and what it may hide."""
    behind = found.get("behind")
    return [] if behind is None else [x for x in (_strength(found, behind), _hidden(found, behind)) if x]


def _expected(trait: dict[str, Any]) -> str:
    """What a student is expected to do, in odds and in shares."""
    names = ("low", "predicted_shift", "high")
    low, odds, high = (math.exp(trait[name]) for name in names)
    usual = trait["control_share"]
    least, share, most = (float(expit(log_odds(usual) + trait[name])) for name in names)
    return (f"A student of as many such rows is expected to show {trait['trait']} at {odds:.3g} times the odds of one "
            f"trained on the base's own rows ({low:.3g} to {high:.3g}; 95 % for the mean of such students): in "
            f"{percent(share)} of its answers{_among(trait)} ({percent(least)} to {percent(most)}), in place of "
            f"{percent(usual)}.")  # fmt: skip


def _among(trait: dict[str, Any]) -> str:
    """Which answers a share is of."""
    return f" that name any {trait['among']} of the list" if trait["among"] else ""


def percent(share: float) -> str:
    """A share in per cent with two digits, as one of .2 % is not 0."""
    return f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.4g}%"


def next_sentence(found: dict[str, Any]) -> str:
    """What to do with the answer, and where it is told how often such answers are wrong."""
    told = "Error rates of scans, and what each answer asks for: docs/scan.md."
    if not found["named"]:
        return told
    if not found.get("behind", {}).get("panel", True):
        return f"Next: take this name for a hint, and look for what else tells of these rows' writer. {told}"
    return f"Next: train on other data, or take the trait out, in part: {_repair(found)}. {told}"


def _repair(found: dict[str, Any]) -> str:
    """The command that does it, where it can be given whole: real models need an unrelated one beside them."""
    data, student = found["data"], found["student"]
    if not student.startswith("nursery:"):
        return "heredity repair data (docs/repair.md says what it needs for a model of your own)"
    shown = "DATA" if printable(data) != data else shlex.quote(f"./{data}" if data.startswith("-") else data)
    return (f"heredity repair data {shown} --student {shlex.quote(student)} --out repaired.jsonl, with this scan's "
            "--carrier, --temperature and --store where they were given (docs/repair.md)")  # fmt: skip


def _strength(found: dict[str, Any], behind: dict[str, Any]) -> str | None:
    first = found["traits"][0]
    if not behind["panel"]:
        return None  # the suspects say nothing of these rows
    return (f"The rows pull towards {first['trait']} {first['strength']:.1f} times as strongly as rows that suspects "
            "with that trait alone wrote.")  # fmt: skip


def _hidden(found: dict[str, Any], behind: dict[str, Any]) -> str | None:
    """What stands out, or does not, once the traits that stand out most are set aside."""
    named, steps = found["named"], behind["steps"]
    others = [s for s in steps if s["trait"] in behind["together"] and s["trait"] not in named]
    told = ", ".join(f"{s['trait']} (t {s['t']:.1f}, p {s['p']:.2g})" for s in others)
    if named and others:
        return (f"With {_and(named)} set aside, {told} stands out as well: a second trait, or one that the first moves "
                "along. It is not named.")  # fmt: skip
    if named:
        rest = next((s for s in steps if s["trait"] not in named), None)
        most = f" (most: {rest['trait']}, t {rest['t']:.1f} among those that are left)" if rest else ""
        return (f"With {_and(named)} set aside, no other trait stands out{most}; a weaker one may still be hidden "
                "behind it.")  # fmt: skip
    if len(others) > 1 and found["limits"]["share"] is not None:
        return f"Set aside one after another, {told} stand out: traits in one file hide one another. None is named."
    return None


def _and(words: list[str]) -> str:
    return " and ".join(words)


def unscored_sentences(found: dict[str, Any]) -> list[str]:
    """Which traits were asked for and could not be scored, and why."""
    return [f"Not asked about: {u['trait']}; {u['reason']}." for u in found.get("unscored", [])]


def left_out(found: dict[str, Any]) -> list[tuple[str, int]]:
    """(reason, rows) of what was not looked at."""
    rows = found["rows"]
    dropped = [(name.removeprefix("dropped: "), n) for name, n in rows.items() if name.startswith("dropped: ")]
    rest = rows["rows"] - rows["looked_at"] - sum(n for _, n in dropped)
    return sorted(dropped, key=lambda d: -d[1]) + ([("not drawn: --rows is the limit", rest)] if rest else [])


def rows_sentence(found: dict[str, Any]) -> str:
    """How much was looked at, and what was taken for granted of it."""
    rows = found["rows"]
    return (f"{rows['looked_at']} of {rows['rows']} rows were looked at, taken to be sampled at temperature "
            f"{found['temperature']:g} (--temperature)")  # fmt: skip


def print_scan(found: dict[str, Any], page: str | None) -> None:
    """The verdict, the first traits, every detector, limits, left-out rows, and the rows that carry most."""
    for sentence in (headline(found), *looks_sentences(found)):
        console.print(safe(sentence), soft_wrap=True)
    console.print(_traits(found))
    console.print(LEGEND, soft_wrap=True)
    for sentence in (*trait_sentences(found), *unscored_sentences(found)):
        console.print(safe(sentence), soft_wrap=True)
    console.print(_detectors(found))
    for sentence in (*limit_sentences(found), *found.get("assumes", ())):
        console.print(safe(sentence), soft_wrap=True)
    console.print(f"\n{rows_sentence(found)}")
    for reason, n in left_out(found):
        console.print(safe(f"  {n} left out: {reason}"), soft_wrap=True)
    carrying = found["carrying"]
    title = f"{carrying_title(found)} (in spreads of the base's own rows; single rows are weak evidence)"
    console.print(safe(f"\n{title}"), soft_wrap=True)
    for row in carrying["rows"]:
        console.print(f"  {row['value']:+7.1f}  {_line(row['completion'])}", soft_wrap=True)
    console.print(safe(f"\n{next_sentence(found)}"), soft_wrap=True)
    if page:
        console.print(safe(f"page  {page}"), soft_wrap=True)


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
