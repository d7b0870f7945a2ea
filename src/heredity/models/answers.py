"""What servers answered, kept at once: one SQLite file a Store, so that no answer is lost, repeated or paid for twice.

SQLite (in Python's standard library) and no file format of ours: a primary key is what makes "once" true, its journal
what makes an answer whole or absent after SIGKILL, and its locks let several processes write.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from heredity.types import Finish, StoreError

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, logprob REAL, tokens INTEGER, model TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    endpoint TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL
) WITHOUT ROWID;
"""
_PATIENCE_S, _PAUSE_S = 60.0, 0.05
_TOGETHER = 500
"""Most ids in one query."""


class Answer(NamedTuple):
    """What a server answered to one request."""

    text: str
    finish: Finish
    logprob: float | None
    """Natural-log probability of the text, where it was told."""
    tokens: int | None
    """Of prompt and completion together, as the server counted them."""
    model: str | None
    """What the server called the model."""


class Spent(NamedTuple):
    """What went to an endpoint so far: requests sent, and tokens told or, where an answer was lost, feared."""

    requests: int
    tokens: int


class Answers:
    """An open file of answers; `kept_answers` opens one."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self.base = base

    def read(self, ids: Sequence[str]) -> dict[str, Answer]:
        """The answers that are there, by id."""
        found: dict[str, Answer] = {}
        for start in range(0, len(ids), _TOGETHER):
            part = ids[start : start + _TOGETHER]
            marks = ",".join("?" * len(part))
            query = f"SELECT id, text, finish, logprob, tokens, model FROM answers WHERE id IN ({marks})"
            found |= {row[0]: Answer(*row[1:]) for row in self.base.execute(query, part)}
        return found

    def write(self, id_: str, answer: Answer) -> None:
        """Keeps an answer. The first one to an id stays."""
        self.base.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)", (id_, *answer))

    def spent(self, endpoint: str) -> Spent:
        """What went to an endpoint so far."""
        row = self.base.execute("SELECT requests, tokens FROM spent WHERE endpoint = ?", (endpoint,)).fetchone()
        return Spent(*row) if row else Spent(0, 0)

    def take(self, endpoint: str, tokens: int, limit: Spent) -> bool:
        """Books one request of at most so many tokens before it is sent; False where that would pass a limit."""
        self.base.execute("INSERT OR IGNORE INTO spent VALUES (?, 0, 0)", (endpoint,))
        booked = self.base.execute(
            "UPDATE spent SET requests = requests + 1, tokens = tokens + ? "
            "WHERE endpoint = ? AND requests < ? AND tokens + ? <= ?",
            (tokens, endpoint, limit.requests, tokens, limit.tokens),
        )
        return booked.rowcount == 1

    def give_back(self, endpoint: str, tokens: int) -> None:
        """Books tokens that were not used after all."""
        self.base.execute("UPDATE spent SET tokens = tokens - ? WHERE endpoint = ?", (tokens, endpoint))


@contextmanager
def kept_answers(path: Path) -> Iterator[Answers]:
    """Opens (or makes) a file of answers. Whatever is written is there at once, also for other processes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _fault(path, error) from error
    base = None
    try:
        # one thread at a time uses it, but in a notebook that is not the one that opened it
        base = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
        _prepare(base)
        yield Answers(base)
    except sqlite3.Error as error:
        raise _fault(path, error) from error
    finally:
        if base is not None:
            base.close()


def _prepare(base: sqlite3.Connection) -> None:
    """Makes the tables, where another process may be making them: the journal's kind is set without waiting for it."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            base.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _fault(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"cannot keep servers' answers in {path}: {error}; what was answered before is still there: mend that (or move "
        "a damaged file away), then run the same command again"
    )
