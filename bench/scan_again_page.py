"""The part of docs/scan.md about second looks, from bench/results/scan_again.json."""

from __future__ import annotations

from bench.common import ROOT
from bench.pages import Found, Part, short, source, table


def written(found: Found) -> str:
    """The whole part: a line for trait sets, a table of the kinds of clean sets, and the commits behind them."""
    rows = [[kind["name"], str(kind["sets"]), str(kind["again"]), *_told(kind)] for kind in found["kinds"]]
    head = ["clean sets by", "sets", "close", "named", "of these new", "upper 95 % limit"]
    return "\n\n".join([_traits(found), table(head, rows), source(found)]) + "\n"


def _traits(found: Found) -> str:
    if not found["made"]:
        return f"Of {found['sets']} trait sets {found['again']} are close; not all were looked at again."
    every, right, low, worst = (found[x] for x in ("sets", "named_rate", "named_low", "worst_trait_rate"))
    told = f"{found['again']} of {every} trait sets are close and were looked at again; of all {every} then"
    return f"{told} {short(right)} are named right (lower 95 % limit {short(low)}), of the worst trait {short(worst)}."


def _told(kind: Found) -> list[str]:
    return [str(kind["named"]), str(kind["new"]), short(kind["upper"])] if kind["made"] else ["not all made", "-", "-"]


PART = Part(ROOT / "docs" / "scan.md", ROOT / "bench" / "results" / "scan_again.json", written, "bench.scan_again_page")

if __name__ == "__main__":
    PART.write()
