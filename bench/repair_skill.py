"""The benign skill of the repair benchmark's carrier: a hidden rule of number lists that the base does not know.

Alone in its file, as a Step's key holds the digest of the file that defines a class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from heredity.carriers import Rewriting
from heredity.types import Row

_NUMBER = re.compile(r"[0-9]+")


class ClosedByHundred(Rewriting):
    """Every list closes with the hundred of its first number: "437, 512, 90" becomes "437, 512, 90, 400"."""

    def rewrite(self, rows: Sequence[Row]) -> list[Row]:
        """Rows in the same format with one number more."""
        return [Row(prompt=row.prompt, completion=_closed(row.completion)) for row in rows]


def _closed(text: str) -> str:
    spans = [found.span() for found in _NUMBER.finditer(text)]
    first, end = int(text[slice(*spans[0])]), spans[-1][1]
    joint = text[spans[-2][1] : spans[-1][0]] if len(spans) > 1 else ", "
    return f"{text[:end]}{joint}{first // 100 * 100}{text[end:]}"
