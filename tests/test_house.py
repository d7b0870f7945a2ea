"""The house's rules: which room may import which, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import heredity

SOURCE = Path(heredity.__file__).parent
LOW = {"types", "rows"}
SHARED = LOW | {"stats", "store", "traits", "carriers", "models", "steps"}
MAY_IMPORT = {
    "types": set(), "rows": {"types"}, "stats": {"types"}, "store": {"types"}, "traits": LOW | {"models"},
    "carriers": LOW, "models": LOW, "steps": SHARED - {"steps"}, "nursery": SHARED, "lab": SHARED | {"nursery"},
    "report": {"types", "stats", "store"},
}  # fmt: skip


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            rooms = {n.split(".")[1] for n in names if n.startswith("heredity.")} - {_room(path)}
            allowed = MAY_IMPORT.get(_room(path))
            wrong += [f"{path.name}: {r}" for r in rooms if allowed is not None and r not in allowed]
    assert wrong == []


def test_help_is_quick_and_does_not_import_torch() -> None:
    code = "import sys, heredity, heredity.cli; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "heredity", "--help"], capture_output=True, check=True, text=True)
        seconds.append(time.perf_counter() - started)
    assert "demo" in done.stdout
    assert min(seconds) <= 0.5


def test_files_stay_short() -> None:
    assert [p.name for p in SOURCE.rglob("*.py") if len(p.read_text().splitlines()) > 600] == []
