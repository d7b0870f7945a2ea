"""The maps' figures and pictures in the repository: bench/results/maps.json, docs/maps.md and docs/maps/, from a store.

`python -m bench.maps STORE` makes no cell: `heredity run experiments/conditions --store STORE` (--quick or not)
does. Of each file the full maps are taken where the store has them, or more than half of the cells of each (it is said
how many were not made), else the quick ones; a file of which it has neither is named and left out. `--quick` takes the
quick ones of all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.common import ROOT, write_result
from PIL import Image

from heredity.lab import Map, Settings, set_settings
from heredity.lab.maps import without_failed
from heredity.report.map import MapFigure
from heredity.report.terminal import ASSAYS
from heredity.stats import Estimate
from heredity.store import Step, Store, loading
from heredity.types import BadInput

FILES = sorted((ROOT / "experiments" / "conditions").glob("*.py"))
PAGE, PICTURES = ROOT / "docs" / "maps.md", ROOT / "docs" / "maps"


def steps_of(path: Path, quick: bool) -> dict[str, Step]:
    """The Steps of a file, for one size."""
    set_settings(Settings(quick=quick))
    loading._loaded.pop(path.resolve(), None)
    return loading.load_experiment(path)


def told_of(step: Map, store: Store) -> dict[str, Any]:
    """What a map found; one without all of its cells is made of those that are there."""
    store.get(step)
    return step.read(store)


def found_in(store: Store, path: Path, sizes: Sequence[str]) -> tuple[str, list[dict[str, Any]], list[Path]] | None:
    """The first of the sizes of which the store has every map of a file, with what they found and their pictures."""
    for size in sizes:
        whole = steps_of(path, size == "quick")
        steps = (whole | without_failed(whole, store, {})).values()
        maps = [s for s in steps if isinstance(s, Map)]
        if all(store.has(m) or len(m.cells) > len(m.left_out) > 0 for m in maps):
            lost = sum(len(m.left_out) for m in maps)
            told = f"{size}, {lost} cells not made" if lost else size
            found = [told_of(m, store) | {"file": path.stem, "size": told, "key": m.key} for m in maps]
            return told, found, [store.get(s) / "figure.png" for s in steps if isinstance(s, MapFigure)]
    return None


def names_of(results: Sequence[dict[str, Any]]) -> list[str]:
    """The pictures' names: each map's file, with a number from the second map of one file on."""
    before = [[r["file"] for r in results[:n]].count(result["file"]) for n, result in enumerate(results)]
    return [f"{r['file']}{f'-{n + 1}' if n else ''}.png" for r, n in zip(results, before, strict=True)]


def page(results: Sequence[dict[str, Any]], command: str) -> str:
    """Every map in Markdown: what its file expects, its picture and sentence, a line per cell."""
    head = (f"# The maps, one by one\n\nWritten by `{command}`; what they mean, and how a cell is judged: "
            "[conditions.md](conditions.md). Odds ratios are\nover the neutral control, with 95 % intervals over each "
            "cell's own seeds; p is by the spread of all cells, corrected over them.\n")  # fmt: skip
    return "\n".join([head, *(part(*both) for both in zip(results, names_of(results), strict=True))])


def part(found: dict[str, Any], picture: str) -> str:
    """One map."""
    title, _, asked = found["question"].partition("\n\n")
    rows = [[*c["place"], f"{c['control_share']:.1%} → {c['share']:.1%}", odds(c["log_odds"]),
             str(c["log_odds"]["n"]), figure(c["p_family"]), c["seen"]] for c in found["cells"]]  # fmt: skip
    names = [*found["axes"], "control → taught", "odds ratio", "seeds", "p", "shows"]
    table = [names, ["---"] * len(names), *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    quoted = [f"> {line}".rstrip() for line in (asked or title).splitlines()]
    told = [f"{ASSAYS[name]}: " + "; ".join(f"{a['of']}: {a['value']:.2f}" for a in group) + "."
            for name, group in groupby(found["assays"], key=lambda a: str(a["assay"]))]  # fmt: skip
    text = [f"## {found['title']} (`{found['file']}.py`, {found['size']})", "\n".join(quoted),
            f"![{found['title']}](maps/{picture})", found["sentence"], "\n".join(lines), *told]  # fmt: skip
    return "\n\n".join(text) + "\n"


def odds(log_odds: dict[str, Any]) -> str:
    """An odds ratio in words, as JSON has its figures: what is not finite is null there."""
    finite = {name: math.nan if log_odds[name] is None else log_odds[name] for name in ("mean", "low", "high")}
    return Estimate(**log_odds | finite).odds_ratio().words()


def figure(p: float | None) -> str:
    """A p, or that there is none."""
    return "-" if p is None or math.isnan(p) else f"{p:.1g}"


def publish(results: Sequence[dict[str, Any]], pictures: Sequence[Path], command: str) -> None:
    """Writes the page and its pictures, and takes away those of before."""
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    for name, path in zip(names_of(results), pictures, strict=True):
        with Image.open(path) as image:
            image.convert("RGB").quantize(200).save(PICTURES / name, optimize=True)
    PAGE.write_text(page(results, command), encoding="utf-8")


def main() -> None:
    """Writes all three, and says of which file which size was taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--quick", action="store_true")
    told = parser.parse_args()
    sizes = ("quick",) if told.quick else ("full", "quick")
    found = {path.stem: found_in(Store(told.store), path, sizes) for path in FILES}
    there = {name: of for name, of in found.items() if of is not None}
    if not there:
        raise BadInput(f"no map in {told.store}; make them with `heredity run experiments/conditions --store STORE`")
    results = [result for _, maps, _ in there.values() for result in maps]
    seeds = sorted({seed for result in results for cell in result["cells"] for seed in cell["seeds"]})
    taken = {name: of[0] if of else "not made" for name, of in found.items()}
    command = f"python -m bench.maps STORE{' --quick' if told.quick else ''}"
    with contextlib.redirect_stdout(io.StringIO()):  # of tens of thousands of lines
        write_result("maps", command, seeds, {"files": taken, "results": results})
    publish(results, [picture for _, _, pictures in there.values() for picture in pictures], command)
    print("\n".join(f"{name}: {size}" for name, size in taken.items()))


if __name__ == "__main__":
    main()
