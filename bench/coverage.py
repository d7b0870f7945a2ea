"""How often intervals hold the truth and tests reject true nulls, at 3, 5 and 20 units: bench/results/coverage.json.

Run from the root of a checkout with `python -m bench.coverage` (about three minutes on one core). It also measures the
bootstrap intervals that `heredity.stats` does not use, from scipy, on the same kinds of values.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy import stats as scipy_stats
from tests.simulations import INTERVALS, TESTS, Case, normal, rate, skewed

RUNS, SEED, UNITS = 10_000, 0, (3, 5, 20)


def measured(case: Case, kind: str) -> dict[str, Any]:
    """The rate of one case at each number of units, with its standard error; null where it refuses."""
    rates: dict[str, Any] = {}
    for n in case.at:
        found, _, trials = rate(case, n, RUNS, SEED)
        error = None if math.isnan(found) else round(math.sqrt(found * (1 - found) / trials), 4)
        rates[str(n)] = {"rate": None if error is None else round(found, 4), "error": error, "runs": trials}
    return {"kind": kind, "name": case.name, "nominal": case.nominal, "promise": case.promise, "rates": rates}


def rejected_methods(runs: int = 2_000, draws: int = 1_999) -> list[dict[str, Any]]:
    """Coverage of percentile, BCa and expanded percentile (Hesterberg 2015) intervals of a mean at 95 %."""
    found: dict[str, dict[str, Any]] = {}
    for name, draw in (("normal", normal), ("skewed", skewed)):
        for n in UNITS:
            rng = np.random.default_rng([SEED, n])
            values_RN = np.array([draw(rng, n) for _ in range(runs)])
            tail = scipy_stats.norm.cdf(-math.sqrt(n / (n - 1)) * scipy_stats.t.ppf(0.975, n - 1))
            for method, level in (("percentile", 0.95), ("BCa", 0.95), ("percentile", 1 - 2 * tail)):
                label = "expanded percentile" if level != 0.95 else method
                share = scipy_cover(values_RN, method, level, draws)
                found.setdefault(f"{label}, {name}", {})[str(n)] = {"rate": round(share, 4), "runs": runs}
    return [{"kind": "not used", "name": k, "nominal": 0.95, "rates": v} for k, v in found.items()]


def scipy_cover(values_RN: np.ndarray[Any, Any], method: str, level: float, draws: int) -> float:
    """The share of rows whose interval holds 0; an undefined interval does not."""
    held = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BCa warns of rows whose resamples are degenerate
        for block in np.array_split(values_RN, 20):
            result = scipy_stats.bootstrap(
                (block,), np.mean, axis=-1, n_resamples=draws, confidence_level=level, method=method, rng=SEED
            )
            low, high = result.confidence_interval
            held += int(((low <= 0) & (high >= 0)).sum())
    return held / len(values_RN)


def git(*words: str) -> str:
    """What git says here; empty outside a checkout."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def line(row: dict[str, Any]) -> str:
    """A row of the table in docs/statistics.md."""
    cells = ["refused" if r["rate"] is None else f"{r['rate']:.3f}".lstrip("0") for r in row["rates"].values()]
    return f"| {row['name']} | {' | '.join(cells)} |"


def main() -> None:
    """Measures everything, prints the tables and writes the figures."""
    started, changed = time.perf_counter(), git("status", "--porcelain", "--", "src", "tests", "bench/coverage.py")
    rows = []
    for kind, cases in (("interval", INTERVALS), ("test", TESTS)):
        for case in cases:
            rows.append(measured(case, kind))
            print(line(rows[-1]), flush=True)
    rows += rejected_methods()
    print(*map(line, rows[-6:]), sep="\n")
    result = {
        "commit": git("rev-parse", "HEAD"), "dirty": bool(changed), "command": "python -m bench.coverage",
        "machine": platform.machine(), "seeds": [SEED], "wall_s": round(time.perf_counter() - started, 1),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "rows": rows,
    }  # fmt: skip
    out = Path(__file__).parent / "results" / "coverage.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
