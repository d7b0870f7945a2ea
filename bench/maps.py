"""The maps' figures and pictures in the repository: bench/results/maps.json and docs/maps.png, from a store.

`python -m bench.maps STORE` makes no cell: `heredity run experiments/conditions --store STORE` (--quick or not)
does. Of each file the full maps are taken where the store has them, or more than half of the cells of each (it is said
how many were not made), else the quick ones; a file of which it has neither is named and left out. `--quick` takes the
quick ones of all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.common import ROOT, write_result
from PIL import Image

from heredity.lab import Map, Settings, set_settings
from heredity.lab.maps import without_failed
from heredity.report.map import MapFigure
from heredity.store import Step, Store, loading
from heredity.types import BadInput

FILES = sorted((ROOT / "experiments" / "conditions").glob("*.py"))
PICTURE, WIDE, COLUMNS = ROOT / "docs" / "maps.png", 800, 3


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


def montage(pictures: Sequence[Path]) -> Image.Image:
    """All pictures as wide as each other, in columns, each below the shortest column so far."""
    tall, placed = [0] * COLUMNS, list[tuple[Image.Image, int, int]]()
    for path in pictures:
        with Image.open(path) as image:
            scaled = image.convert("RGB").resize(
                (WIDE, round(image.height * WIDE / image.width)), Image.Resampling.LANCZOS
            )
        column = tall.index(min(tall))
        placed.append((scaled, column * WIDE, tall[column]))
        tall[column] += scaled.height
    sheet = Image.new("RGB", (WIDE * COLUMNS, max(tall)), "white")
    for scaled, x, y in placed:
        sheet.paste(scaled, (x, y))
    return sheet


def main() -> None:
    """Writes both files, and says of which file which size was taken."""
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
    sheet = montage([picture for _, _, pictures in there.values() for picture in pictures])
    sheet.quantize(200).save(PICTURE, optimize=True)
    print("\n".join(f"{name}: {size}" for name, size in taken.items()))


if __name__ == "__main__":
    main()
