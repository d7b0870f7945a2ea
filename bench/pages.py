"""Parts of the docs that are written from a benchmark's results: between two marks, with nothing of them by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.common import ROOT

Found = dict[str, Any]


class Part(NamedTuple):
    """A part of a page in docs/, the file of results that it tells, and how."""

    page: Path
    results: Path
    text: Callable[[Found], str]
    by: str
    """The module that writes it."""

    @property
    def marks(self) -> tuple[str, str]:
        """The lines before and after it."""
        return f"<!-- by python -m {self.by}: begin -->\n", f"<!-- by python -m {self.by}: end -->\n"

    def expected(self) -> str:
        """What the results say; nothing where the benchmark has not been run whole."""
        return self.text(json.loads(self.results.read_text(encoding="utf-8"))) if self.results.exists() else ""

    def within(self, page: str) -> str:
        """What stands between the marks of a page."""
        begin, end = self.marks
        return page.partition(begin)[2].partition(end)[0]

    def replaced(self, page: str, text: str) -> str:
        """The page with another text between its marks."""
        begin, end = self.marks
        before, _, rest = page.partition(begin)
        return before + begin + text + end + rest.partition(end)[2]

    def write(self) -> None:
        """Writes it into its page."""
        page = self.page.read_text(encoding="utf-8")
        self.page.write_text(self.replaced(page, self.expected()), encoding="utf-8")


def part(name: str, text: Callable[[Found], str], by: str) -> Part:
    """The part of docs/NAME.md that tells bench/results/NAME.json."""
    return Part(ROOT / "docs" / f"{name}.md", ROOT / "bench" / "results" / f"{name}.json", text, by)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def short(x: float | None) -> str:
    """A figure without a leading zero, or that there is none."""
    if x is None:
        return "-"
    text = f"{x:.3g}" if abs(x) >= 1 else f"{x:.4f}".rstrip("0").rstrip(".")
    text = "0" if text == "-0" else text
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def source(found: Found) -> str:
    """The command and its commit, and at how many commits the results behind it were made."""
    made = found["made_by"]
    commits, changed = {name[:40] for name in made}, sum(n for name, n in made.items() if name[40:])
    told = f"`{found['command']}`, commit `{str(found['commit'])[:7]}`; all {sum(made.values()):,} results of its"
    at = f"so many commits: {len(commits)} (`made_by`; {changed:,} in a checkout with changes)"
    return f"{told} ledger were made at {at}."
