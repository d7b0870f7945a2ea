"""The house's rules: which room may import which, and what importing costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import heredity

SOURCE = Path(heredity.__file__).parent
LOW = {"types", "rows"}
SHARED = LOW | {"stats", "store", "traits", "carriers", "models", "steps"}
MAY_IMPORT = {
    "types": set(), "rows": {"types"}, "stats": {"types"}, "store": {"types"}, "traits": LOW | {"models"},
    "carriers": LOW, "models": LOW, "steps": SHARED - {"steps"}, "nursery": SHARED, "lab": SHARED | {"nursery"},
    "audit": SHARED,
    "evals": SHARED | {"nursery", "lab"}, "doctor": LOW | {"models"},
    "lineage": LOW | {"stats", "store", "models", "traits"}, "report": {"types", "stats", "store"},
}  # fmt: skip


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    """The rooms of ours that a file imports, however it writes that."""
    package = ("heredity", *path.relative_to(SOURCE).parts[:-1])
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            names = [base, *(f"{base}.{a.name}" for a in node.names)]
        rooms |= {n.split(".")[1] for n in names if n.startswith("heredity.")}
    return {r for r in rooms if (SOURCE / r).is_dir() or (SOURCE / f"{r}.py").is_file()} - {_room(path)}


def test_rooms_import_only_what_the_table_allows() -> None:
    everything = {_room(p) for p in SOURCE.rglob("*.py")}
    assert everything == {*MAY_IMPORT, "__init__", "__main__", "cli"}
    wrong = [
        f"{path.name}: {room}"
        for path in SOURCE.rglob("*.py")
        for room in _imported(path)
        if room not in MAY_IMPORT.get(_room(path), everything)
    ]
    assert wrong == []


def test_help_is_quick_and_does_not_import_torch() -> None:
    heavy = {"torch", "matplotlib", "inspect_ai"}
    code = f"import sys, heredity, heredity.cli; sys.exit(not {heavy}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    seconds = []
    for _ in range(3):  # processor time: what else runs on the machine does not count
        before = os.times()
        done = subprocess.run([sys.executable, "-m", "heredity", "--help"], capture_output=True, check=True, text=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert "demo" in done.stdout
    assert min(seconds) <= 0.5


def test_everything_public_says_what_it_is() -> None:
    """`make` says nothing of its own: what it writes stands in its Step's docstring."""
    silent = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
                continue
            own = [n for n in node.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
            hidden = isinstance(node, ast.FunctionDef) or getattr(node, "name", "").startswith("_")
            inner = [] if hidden else own
            silent += [
                f"{path.name}:{n.lineno} {n.name}"
                for n in inner
                if not n.name.startswith("_") and n.name != "make" and ast.get_docstring(n) is None
            ]
    assert silent == []


def test_files_stay_short() -> None:
    assert [p.name for p in SOURCE.rglob("*.py") if len(p.read_text().splitlines()) > 600] == []
