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


def head() -> str | None:
    """The commit that is checked out; None outside a checkout."""
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or None


def write_result(name: str, command: str, seeds: list[int], figures: dict[str, Any]) -> None:
    """Writes bench/results/NAME.json with commit, machine and wall time, and prints it."""
    git, commit = ["git", "-C", str(ROOT)], head()
    asked = [*git, "status", "--porcelain", "--", ".", ":(exclude)bench/results"]  # a ledger grows while it is read
    status = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    result = {
        "commit": commit, "dirty": bool(status.strip()), "command": command, "machine": platform.machine(),
        "seeds": seeds, **figures, "wall_s": round(time.perf_counter() - STARTED, 2),
    }  # fmt: skip
    out = Path(__file__).parent / "results" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    text = json.dumps(finite(result), indent=1, allow_nan=False)
    out.write_text(text + "\n")
    print(text)
