"""What the demo costs: cold and warm wall time, and core-seconds a student. Writes bench/results/demo.json.

Run with `make bench`. The store is a fresh temporary folder, so nothing is reused.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common import write_result

from heredity.lab.first_light import FirstLight


def timed(store: Path) -> float:
    """Wall seconds of one `heredity demo` on a store."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "heredity", "demo", "--store", str(store)], check=True)
    return round(time.perf_counter() - started, 2)


def manifests(store: Path) -> list[dict[str, Any]]:
    """Every manifest of a store."""
    return [json.loads(p.read_text()) for p in store.glob("objects/*/manifest.json")]


def main() -> None:
    """Runs the demo twice and writes what it took."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        cold, warm = timed(store), timed(store)
        made = manifests(store)
    walls = {
        name: [m["run"]["wall_s"] for m in made if m["key"].startswith(name)] for name in ("Student-", "Evaluation-")
    }
    students = walls["Student-"]
    write_result("demo", "make bench", list(FirstLight().seeds), {
        "cold_s": cold, "warm_s": warm, "students": len(students),
        "student_core_s": round(statistics.median(students) + statistics.median(walls["Evaluation-"]), 2),
    })  # fmt: skip


if __name__ == "__main__":
    main()
