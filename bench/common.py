"""What every benchmark writes beside its figures."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from heredity.cli.shared import finite

ROOT = Path(__file__).parent.parent
STARTED = time.perf_counter()


def made_by(runs: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many results were made at which commit, and whether with changes beside it, of the manifests' `run`."""
    return dict(Counter(f"{run['commit']}{' and changes' if run['dirty'] else ''}" for run in runs))


def write_result(name: str, command: str, seeds: list[int], figures: dict[str, Any]) -> None:
    """Writes bench/results/NAME.json with commit, machine and wall time, and prints it."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    asked = [*git, "status", "--porcelain", "--", ".", ":(exclude)bench/results"]  # a ledger grows while it is read
    status = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    result = {
        "commit": commit or None, "dirty": bool(status.strip()), "command": command, "machine": platform.machine(),
        "seeds": seeds, **figures, "wall_s": round(time.perf_counter() - STARTED, 2),
    }  # fmt: skip
    out = Path(__file__).parent / "results" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    text = json.dumps(finite(result), indent=1, allow_nan=False)
    out.write_text(text + "\n")
    print(text)
