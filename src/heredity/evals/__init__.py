"""Inspect AI: our evaluations as its tasks, our models as its models, our results as its logs (docs/real-models.md)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from heredity.store import Store
from heredity.types import BadInput


def write_log(store: Store, key: str, out: Path, word: str | None = None) -> dict[str, Any]:
    """Writes a finished Evaluation as an Inspect log (`logs.write_log`); BadInput where Inspect is not installed."""
    if find_spec("inspect_ai") is None:
        raise BadInput("Inspect AI is not installed; in heredity's checkout run pip install -e '.[inspect]'")
    from heredity.evals.logs import write_log as write

    return write(store, key, out, word)
