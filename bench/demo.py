"""What the demo costs: cold and warm wall time, and core-seconds a student. Writes bench/results/demo.json.

Run with `make bench`. The store is a fresh temporary folder, so nothing is reused.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from heredity.lab.first_light import FirstLight


def timed(store: Path) -> float:
    """Wall seconds of one `heredity demo` on a store."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "heredity", "demo", "--store", str(store)], check=True)
    return round(time.perf_counter() - started, 2)


def manifests(store: Path) -> list[dict[str, object]]:
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
    }  # type: ignore[index, attr-defined]
    run = made[0]["run"]
    result = {
        "commit": run["commit"], "dirty": run["dirty"], "command": "make bench", "machine": platform.machine(),  # type: ignore[index]
        "seeds": list(FirstLight().seeds), "cold_s": cold, "warm_s": warm, "students": len(walls["Student-"]),
        "student_core_s": round(statistics.median(walls["Student-"]) + statistics.median(walls["Evaluation-"]), 2),
        "wall_s": round(cold + warm, 2),
    }  # fmt: skip
    out = Path(__file__).parent / "results" / "demo.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
