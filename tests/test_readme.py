"""The README's examples run as they stand, smaller."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def _ran(*command: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_trait_of_ones_own(tmp_path: Path) -> None:
    text = BLOCKS[0].replace("Recipe()", "Recipe(rows=64)").replace("(21, 22, 23)", "(1000, 1001)")
    assert text != BLOCKS[0]
    (tmp_path / "moon.py").write_text(text)
    _ran("-m", "heredity", "new", "trait", "moon", folder=tmp_path)
    told = _ran("-m", "heredity", "run", "moon.py", folder=tmp_path)
    assert re.search(r"same_start +moon .*2 +\d of 8", told)
    assert "other_start" in told


def test_the_library(tmp_path: Path) -> None:
    (tmp_path / "fox.py").write_text(BLOCKS[1].replace("2000", "200"))
    assert 0 < float(_ran("fox.py", folder=tmp_path)) < 1


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((docs/[^)]+|#[^)]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    path, _, section = link.partition("#")
    text = Path(__file__).parent.parent / (path or "README.md")
    assert text.is_file()
    if section:
        headings = re.findall(r"^#+ (.+)$", text.read_text(), re.MULTILINE)
        assert section in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
