"""Rows from a server that fails in three answers of ten, while the client is killed twice: is any lost or repeated?

`python -m bench.server [--rows 5000]` (`make bench-server`) writes bench/results/server.json: `rows` asked for,
`faults_injected` with `faults` by kind, `kills` (SIGKILL), `lost` and `repeated` rows of the finished result,
`requests`, and `answered_again`: whole answers of the server to a request that it had answered whole before (those were
on their way when the client was killed).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.common import ROOT, write_result
from bench.faulty_server import answer_to

from heredity.carriers import Numbers
from heredity.models.server import row_seed
from heredity.rows import read_rows

SEED = 47
_EXPERIMENT = """
from heredity.carriers import Numbers
from heredity.models import model_ref
from heredity.steps import Samples
from heredity.types import Sampling

prompts = Numbers(n={rows}, seed={seed})
samples = Samples(model=model_ref("server:faulty/echo"), prompts=prompts, sampling=Sampling(seed={seed}))
"""
_PATIENCE_S = 600


@contextmanager
def faulty(share: float, seed: int, stall_s: float) -> Iterator[str]:
    """A failing server in a process of its own; its address."""
    told = ["--share", str(share), "--seed", str(seed), "--stall", str(stall_s)]
    with subprocess.Popen([sys.executable, "-m", "bench.faulty_server", *told], stdout=subprocess.PIPE, text=True,
                          cwd=ROOT) as server:  # fmt: skip
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def exercise(rows: int, folder: Path, share: float = 0.3, kills: int = 2, key: str = "") -> dict[str, Any]:
    """Asks for rows, kills the client now and then, lets it finish, and counts what came."""
    file = folder / "experiment.py"
    file.write_text(_EXPERIMENT.format(rows=rows, seed=SEED))
    store = folder / "store"
    command = [sys.executable, "-m", "heredity", "run", str(file), "--workers", "1", "--store", str(store)]
    with faulty(share, SEED, 30.0) as url, (folder / "log.txt").open("wb") as log:
        limits = {"HEREDITY_SERVER_FAULTY": url, "HEREDITY_SERVER_FAULTY_TIMEOUT": "0.5",
                  "HEREDITY_SERVER_FAULTY_CONCURRENCY": "32", "HEREDITY_SERVER_FAULTY_KEY": key}  # fmt: skip
        for kill in range(kills):
            client = _start(command, limits, log)
            _wait_for(store / "answers.sqlite", rows * (kill + 1) // (kills + 1), client)
            os.killpg(client.pid, signal.SIGKILL)  # the command and its worker
            client.wait()
        if _start(command, limits, log).wait() != 0:
            raise SystemExit(f"the client failed: {(folder / 'log.txt').read_text()[-2_000:]}")
        with urllib.request.urlopen(url.removesuffix("/v1") + "/counts") as reply:
            counts = json.load(reply)
    told = {"rows": rows, "faults_injected": sum(counts["faults"].values()), "kills": kills}
    return told | _compared(rows, store) | {k: counts[k] for k in ("requests", "answered_again", "faults")}


def _start(command: list[str], limits: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
    env = os.environ | limits | {"PYTHONPATH": f"{ROOT / 'src'}"}
    return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)


def _wait_for(answers: Path, count: int, client: subprocess.Popen[bytes]) -> None:
    """Until so many answers are kept."""
    for _ in range(_PATIENCE_S * 50):
        if client.poll() is not None:
            raise SystemExit("the client ended before it could be killed")
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{answers}?mode=ro", uri=True)) as base:
            if base.execute("SELECT COUNT(*) FROM answers").fetchone()[0] >= count:
                return
        time.sleep(0.02)
    raise SystemExit(f"{count} answers did not come within {_PATIENCE_S} s")


def _compared(rows: int, store: Path) -> dict[str, int]:
    """Rows of the result that are lost or repeated, each known by its text, and those out of their place."""
    prompts = Numbers(n=rows, seed=SEED).prompts()
    wanted = [answer_to(p[-1].content, row_seed(SEED, i)) for i, p in enumerate(prompts)]
    (file,) = store.glob("objects/Samples-*/rows.jsonl")
    came = [read.row for read in read_rows(file)]
    lost, extra = Counter(wanted), Counter(row.completion for row in came)
    moved = sum(row.completion != text or row.prompt != p
                for row, text, p in zip(came, wanted, prompts, strict=False))  # fmt: skip
    return {"lost": (lost - extra).total(), "repeated": (extra - lost).total(), "out_of_place": moved}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        figures = exercise(given.rows, Path(place))
    write_result("server", f"python -m bench.server --rows {given.rows}", [SEED], figures)
