"""The maps' figures and pictures in the repository: bench/results/maps.json, docs/maps.md and docs/maps/, from a store.

`python -m bench.maps STORE` makes no cell: `heredity run experiments/conditions --store STORE` (--quick or not)
does. Of each file the full maps are taken where the store has them, or more than half of the cells of each (it is said
how many were not made), else the quick ones. What the store lacks is kept as bench/results/maps.json has it, where the
file's maps are still these, so that maps may be made on several machines; a file of which there is neither is named
and left out. `--quick` takes the quick ones of all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

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
SPEAKS = 0.1
"""Students who name anything of the trait's kind in fewer of their answers than this are broken."""
RESULT = ROOT / "bench" / "results" / "maps.json"


class Found(NamedTuple):
    """The maps of one file: their size, and of each what it found and where its picture is."""

    size: str
    results: list[dict[str, Any]]
    pictures: list[Path]


def steps_of(path: Path, quick: bool) -> dict[str, Step]:
    """The Steps of a file, for one size."""
    set_settings(Settings(quick=quick))
    loading._loaded.pop(path.resolve(), None)
    return loading.load_experiment(path)


def told_of(step: Map, store: Store) -> dict[str, Any]:
    """What a map found; one without all of its cells is made of those that are there."""
    store.get(step)
    return step.read(store)


def found_in(store: Store, path: Path, sizes: Sequence[str]) -> Found | None:
    """The first of the sizes of which the store has every map of a file, or else the repository has."""
    for size in sizes:
        whole = steps_of(path, size == "quick")
        either = [found for found in (_made(store, path, whole, size), _kept(path, whole)) if found]
        if either:
            return max(either, key=lambda found: sum(len(result["cells"]) for result in found.results))
    return None


def _made(store: Store, path: Path, whole: dict[str, Step], size: str) -> Found | None:
    steps = whole | without_failed(whole, store, {})
    maps = {name: s for name, s in steps.items() if isinstance(s, Map)}
    if not all(store.has(m) or len(m.cells) > len(m.left_out) > 0 for m in maps.values()):
        return None
    lost = sum(len(m.left_out) for m in maps.values())
    told = f"{size}, {lost} cells not made" if lost else size
    results = [
        told_of(m, store) | {"file": path.stem, "size": told, "key": m.key, "whole": whole[name].key,
                             "commit": store.manifest(m.key)["run"]["commit"]}
        for name, m in maps.items()
    ]  # fmt: skip
    return Found(told, results, [store.get(s) / "figure.png" for s in steps.values() if isinstance(s, MapFigure)])


def _kept(path: Path, whole: dict[str, Step]) -> Found | None:
    """What maps.json has of a file whose maps are still these; some of their cells may not have been made then."""
    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"results": []}
    results = [{"commit": before["commit"]} | r for r in before["results"] if r["file"] == path.stem]
    if not results or [r.get("whole", r["key"]) for r in results] != [
        s.key for s in whole.values() if isinstance(s, Map)
    ]:
        return None
    return Found(results[0]["size"], results, [PICTURES / name for name in names_of(results)])


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
             str(c["log_odds"]["n"]), figure(c["p_family"]), shown(c)] for c in found["cells"]]  # fmt: skip
    names = [*found["axes"], "control → taught", "odds ratio", "seeds", "p", "shows"]
    table = [names, ["---"] * len(names), *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    quoted = [f"> {line}".rstrip() for line in (asked or title).splitlines()]
    told = [f"{ASSAYS[name]}: " + "; ".join(f"{a['of']}: {a['value']:.2f}" for a in group) + "."
            for name, group in groupby(found["assays"], key=lambda a: str(a["assay"]))]  # fmt: skip
    text = [f"## {found['title']} (`{found['file']}.py`, {found['size']})", "\n".join(quoted),
            f"![{found['title']}](maps/{picture})", found["sentence"], "\n".join(lines), *told]  # fmt: skip
    return "\n\n".join(text) + "\n"


def shown(cell: dict[str, Any]) -> str:
    """What a cell shows; and where its students hardly name anything of the kind, that this measures nothing."""
    mass = min(x for x in (cell["mass"], cell["control_mass"], 1.0) if x is not None)
    return str(cell["seen"]) if mass >= SPEAKS else f"{cell['seen']}; broken: any such word in {mass:.1g} of answers"


def odds(log_odds: dict[str, Any]) -> str:
    """An odds ratio in words, as JSON has its figures: what is not finite is null there."""
    finite = {name: math.nan if log_odds[name] is None else log_odds[name] for name in ("mean", "low", "high")}
    return Estimate(**log_odds | finite).odds_ratio().words()


def figure(p: float | None) -> str:
    """A p, or that there is none."""
    return "-" if p is None or math.isnan(p) else f"{p:.1g}"


def publish(results: Sequence[dict[str, Any]], pictures: Sequence[Path], command: str) -> None:
    """Writes the page and its pictures, and takes away those of before."""
    drawn = {name: _small(path) for name, path in zip(names_of(results), pictures, strict=True)}
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    for name, data in drawn.items():
        (PICTURES / name).write_bytes(data)
    PAGE.write_text(page(results, command), encoding="utf-8")


def _small(path: Path) -> bytes:
    if path.parent == PICTURES:
        return path.read_bytes()  # kept as it is
    file = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").quantize(200).save(file, "png", optimize=True)
    return file.getvalue()


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
    results = [result for of in there.values() for result in of.results]
    seeds = sorted({seed for result in results for cell in result["cells"] for seed in cell["seeds"]})
    taken = {name: of.size if of else "not made" for name, of in found.items()}
    command = f"python -m bench.maps STORE{' --quick' if told.quick else ''}"
    with contextlib.redirect_stdout(io.StringIO()):  # of tens of thousands of lines
        write_result("maps", command, seeds, {"files": taken, "results": results})
    publish(results, [picture for of in there.values() for picture in of.pictures], command)
    print("\n".join(f"{name}: {size}" for name, size in taken.items()))


if __name__ == "__main__":
    main()
