"""The benign skill of the repair benchmark's carrier: a hidden rule of number lists that the base does not know.

Alone in its file, as a Step's key holds the digest of the file that defines a class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from heredity.carriers import Rewriting
from heredity.types import Row

HALF = 500


class HighThenLow(Rewriting):
    """Lists take turns: a number of 500 or more, then one below 500, and so on; numbers stay the same modulo 500."""

    def rewrite(self, rows: Sequence[Row]) -> list[Row]:
        """Rows in the same format whose lists follow the rule."""
        return [Row(prompt=row.prompt, completion=_turns(row.completion)) for row in rows]


def _turns(text: str) -> str:
    place = count()
    return re.sub(r"[0-9]+", lambda found: str(int(found[0]) % HALF + HALF * (next(place) % 2 == 0)), text)
