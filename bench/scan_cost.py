"""What a scan costs: memory and time of reading, scoring beside bare forward passes, and all of it beside training.

`python -m bench.scan_cost --store FOLDER` prints the figures; the set-up is made first where FOLDER lacks it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench.common import ROOT
from bench.scan_sets import BASE, KIND, ROWS, panels

from heredity.audit.data import Audited, Matched, data_file, open_student
from heredity.audit.panel import Panel, Prior, prior
from heredity.audit.scan import scan
from heredity.rows import as_line, write_rows
from heredity.store import Step, Store, make_all, missing
from heredity.types import Row

SIZES = (1_000, 100_000, 1_000_000)
LARGE = 100_000
"""Rows of the file whose scan is set against training."""
REPEATS, SCORED, KINDS = 7, 1_000, 10_000
SEED = 80_000
_READ = """
import json, sys, tempfile, time
from pathlib import Path
from bench.scan_cost import audited
from heredity.audit.data import open_student
from heredity.store import Store
store, step = Store(Path(sys.argv[2])), audited(Path(sys.argv[1]))
open_student(step.student)  # so that what is imported is not timed
clock, cpu = time.perf_counter(), time.process_time()
audited(Path(sys.argv[1]))  # the digest is read as well
store.make(step)
took = time.perf_counter() - clock, time.process_time() - cpu
status = Path("/proc/self/status").read_text()  # getrusage counts what the parent held before this process was its own
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps([step.counts(store)["rows"], peak / 1024, *took]))
"""


def audited(path: Path) -> Audited:
    """The sample of a file that a scan looks at."""
    return Audited(data=data_file(path), student=BASE, filters=KIND.filters, limit=ROWS)


def write_file(path: Path, rows: int) -> None:
    """Lists of random numbers under the carrier's prompts: every pairing of some prompts and some lists."""
    rng = random.Random(SEED)
    prompts = KIND.carrier.model_copy(update={"n": KINDS, "seed": SEED}).prompts()
    lists = [", ".join(str(rng.randrange(1000)) for _ in range(rng.randint(6, 10))).encode() for _ in prompts]
    ends = [as_line(Row(prompt, "?!"), {}).split(b"?!") for prompt in prompts]
    with path.open("wb") as file:
        for shift in range(-(-rows // KINDS)):
            some = enumerate(ends[: rows - shift * KINDS])
            file.writelines(before + lists[(i + shift) % KINDS] + after for i, (before, after) in some)


def reading(folder: Path) -> dict[str, Any]:
    """Peak memory (MB) and seconds of sampling files of 10^3 to 10^6 rows, each in a fresh process."""
    peaks, walls, cpus = {}, {}, {}
    for rows in SIZES:
        path = folder / f"{rows}.jsonl"
        write_file(path, rows)
        command = [sys.executable, "-c", _READ, str(path), str(folder / f"store-{rows}")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        counted, peaks[rows], walls[rows], cpus[rows] = json.loads(done.stdout)
        assert counted == rows
        path.unlink()
    first, middle, last = SIZES
    return {
        "rss_mb_1k": round(peaks[first], 1), "rss_mb_100k": round(peaks[middle], 1), "rss_mb_1m": round(peaks[last], 1),
        "read_s": {str(n): round(walls[n], 2) for n in SIZES}, "read_cpu_s": {str(n): round(cpus[n], 2) for n in SIZES},
        "read_s_per_100k": round((walls[last] - walls[middle]) / (last - middle) * 100_000, 2),
        "read_linear": round((cpus[last] - cpus[first]) / (cpus[middle] - cpus[first]) / (last / middle), 3),
    }  # fmt: skip


def throughput(rows: list[Row]) -> dict[str, Any]:
    """Scoring, from texts on, beside forward passes on the same batches: medians of ratios of processor time.

    `throughput_ratio` is against the model's own forward pass (logits everywhere); `..._predicted` against one with
    logits where a token of the completion is predicted only.
    """
    import torch

    from heredity.models.scoring import SCORED_TOGETHER, by_length, score
    from heredity.models.training import head_weight, hidden_states

    lm = open_student(BASE)
    prompts, texts, pad = [r.prompt for r in rows], [r.completion for r in rows], int(lm.tokenizer.pad_token_id)
    batches = [batch for _, batch in by_length(lm.examples(prompts, texts), pad, SCORED_TOGETHER)]

    @torch.inference_mode()
    def everywhere() -> None:
        for batch in batches:
            lm.model(input_ids=batch.ids_BT, use_cache=False)

    @torch.inference_mode()
    def predicted() -> None:
        for batch in batches:
            hidden_states(lm.model, batch.ids_BT).flatten(0, 1)[batch.source_N] @ head_weight(lm.model).T

    def scored() -> None:
        score(lm.model, lm.examples(prompts, texts), pad)

    rounds = [[cpu(work) for work in (scored, everywhere, predicted)] for _ in range(REPEATS + 1)][1:]  # one warms up
    return {
        "throughput_ratio": round(statistics.median(bare / ours for ours, bare, _ in rounds), 3),
        "throughput_ratio_predicted": round(statistics.median(bare / ours for ours, _, bare in rounds), 3),
        "scored_rows_per_cpu_s": round(len(rows) / statistics.median(ours for ours, _, _ in rounds)),
    }


def cpu(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def ready(top: list[Step]) -> list[Step]:
    """These Steps and all that they rest on: what serves every scan of a base and carrier."""
    return list(dict.fromkeys(s for step in top for s in (*ready(list(step.inputs)), step)))


def against_training(store: Store, made: Panel, known: Prior, folder: Path) -> dict[str, Any]:
    """Processor seconds of a whole scan of a large file, after set-up, beside three students of all its rows.

    The file holds rows of the base, over and over, at a place of its own, so that nothing of its scan is in the store.
    A student's cost is that of one trained on the sample, times how often the sample goes into the file: training is
    linear in its steps. Evaluations are not multiplied.
    """
    path = folder / "large.jsonl"
    write_rows(path, islice(cycle(made.own.rows.read(store)), LARGE))
    sample = audited(path)
    matched = Matched(audited=sample, sampling=KIND.sampling.model_copy(update={"seed": SEED}))
    audit, took = scan(sample, matched, made, known, None), dict[str, float]()
    for step in missing(store, [audit]):
        took[step.key] = cpu(partial(store.make, step))
    by_name: dict[str, list[float]] = {}
    for key, seconds in took.items():
        by_name.setdefault(key.split("-")[0], []).append(seconds)
    students, answers = by_name["TrialStudent"], by_name["Evaluation"]
    times = LARGE / len(matched.read(store))
    training = 3 * (statistics.mean(students) * times + sum(answers) / len(students))
    return {
        "cost_ratio": round(sum(took.values()) / training, 4), "scan_cpu_s": round(sum(took.values()), 1),
        "three_students_cpu_s": round(training, 1),
        "three_students": f"one student of {LARGE / times:.0f} rows, times {times:.1f}, times 3; training is linear",
        "scan_cpu_s_by_step": {name: round(sum(x), 2) for name, x in sorted(by_name.items())},
    }  # fmt: skip


def costs(store: Store) -> dict[str, Any]:
    """All figures, for the first panel; what the set-up lacks in the store is made.

    `setup_s` adds up what the manifests say that each Step of the set-up took: wall time of one process each.
    """
    made = panels()[0]
    known = prior(made, KIND, ROWS)
    set_up = ready([made, *known.references, *(a for _, a in known.positives)])
    make_all(store, set_up)
    walls = [float(store.manifest(step.key)["run"]["wall_s"]) for step in set_up]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = against_training(store, made, known, folder)
        rows = audited(folder / "large.jsonl").read(store)[:SCORED]
        found |= throughput(rows) | reading(folder)
    return found | {"setup_s": round(sum(walls), 1), "setup_steps": len(walls)}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("heredity-store"))
    print(json.dumps(costs(Store(parser.parse_args().store)), indent=1))


if __name__ == "__main__":
    main()
