"""The Store: every result is made once, under a key that is its whole description, and remembers where it came from.

A Step is a frozen description of a result. Its key hashes its name, version and every field; Steps among its fields
enter as their keys. The work is done in a temporary folder beside the final one, the manifest is written last, and an
atomic rename publishes it; whoever comes second discards their copy.
"""

from __future__ import annotations

from heredity.store.objects import Store
from heredity.store.running import Finished, StepsFailed, make_all, missing
from heredity.store.step import Step, describe, rebuild

__all__ = ["Finished", "Step", "StepsFailed", "Store", "describe", "make_all", "missing", "rebuild"]
