"""What a scan costs: memory, time of reading, scoring beside bare forward passes, and all of it beside training.

`python -m bench.scan_cost --store FOLDER` prints the figures; the set-up is made first where FOLDER lacks it.
`costs` says what each figure is of.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench.common import ROOT
from bench.scan_sets import BASE, KIND, ROWS, panels

from heredity.audit.data import Audited, Matched, data_file, open_student
from heredity.audit.panel import Panel, prior
from heredity.audit.scan import Scan, again, scan
from heredity.rows import as_line, write_rows
from heredity.store import Step, Store, make_all, missing
from heredity.store.crews import QUIET
from heredity.types import Row

SIZES = (1_000, 100_000, 1_000_000)
LARGE = 100_000
"""Rows of the file whose scan is set against training."""
MANY = 10_000
"""Rows that the benchmark's scans of mixtures look at; others look at `ROWS`."""
REPEATS, SCORED, KINDS = 7, 1_000, 10_000
SEED = 80_000


def audited(path: Path, limit: int = ROWS) -> Audited:
    """The sample of a file that a scan looks at."""
    return Audited(data=data_file(path), student=BASE, filters=KIND.filters, limit=limit)


def whole(path: Path, made: Panel, held: int, limit: int = ROWS) -> Scan:
    """The scan of a file that holds so many rows, as `heredity scan` would do it with `--rows LIMIT`.

    What its trial is compared with learnt from as many rows as it looks at.
    """
    sample = audited(path, limit)
    matched = Matched(audited=sample, sampling=KIND.sampling.model_copy(update={"seed": SEED}))
    return scan(sample, matched, made, prior(made, KIND, min(held, limit)), None)


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


def peak_mb() -> float:
    """The most memory that this process ever held, MB; getrusage counts what its parent held before it was its own."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def alone(function: Callable[..., Any], *told: object) -> Any:
    """What a function of this file returns in a process of its own, with one thread; it is told texts."""
    call = f"{function.__name__}(*sys.argv[1:])"
    code = f"import json, sys; from bench import scan_cost; print(json.dumps(scan_cost.{call}))"
    command = [sys.executable, "-c", code, *map(str, told)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=os.environ | QUIET)
    return json.loads(done.stdout)


def sampled(path: str, root: str) -> tuple[int, float, float, float]:
    """Reads a file and draws its sample: rows in the file, peak (MB), seconds, processor seconds."""
    store, step = Store(Path(root)), audited(Path(path))
    open_student(step.student)  # so that what is imported is not timed
    clock, used = time.perf_counter(), time.process_time()
    audited(Path(path))  # the digest is read as well
    store.make(step)
    took = time.perf_counter() - clock, time.process_time() - used
    return step.counts(store)["rows"], peak_mb(), *took


def scanned(path: str, held: str, root: str) -> tuple[int, float]:
    """Makes every Step of a file's scan here, one after another: rows in the file, peak (MB).

    The set-up must be in the store.
    """
    store, audit = Store(Path(root)), whole(Path(path), panels()[0], int(held))
    assert not missing(store, set_up(audit)), "the set-up is made before, elsewhere"
    for step in missing(store, [audit]):
        store.make(step)
    return audit.source.matched.audited.counts(store)["rows"], peak_mb()


def reading(folder: Path) -> dict[str, Any]:
    """Peak memory (MB) and seconds of sampling files of 10^3 to 10^6 rows, each in a fresh process."""
    peaks, walls, cpus = {}, {}, {}
    for rows in SIZES:
        path = folder / f"{rows}.jsonl"
        write_file(path, rows)
        counted, peaks[rows], walls[rows], cpus[rows] = alone(sampled, path, folder / f"store-{rows}")
        assert counted == rows
        path.unlink()
    first, middle, last = SIZES
    return {
        "read_rss_mb": {str(n): round(peaks[n], 1) for n in SIZES},
        "read_s": {str(n): round(walls[n], 2) for n in SIZES}, "read_cpu_s": {str(n): round(cpus[n], 2) for n in SIZES},
        "read_s_per_100k": round((walls[last] - walls[middle]) / (last - middle) * 100_000, 2),
        "read_linear": round((cpus[last] - cpus[first]) / (cpus[middle] - cpus[first]) / (last / middle), 3),
    }  # fmt: skip


def scanning(store: Store, made: Panel, folder: Path) -> dict[str, float]:
    """Peak memory (MB) of whole scans of files of 10^3 and of 10^6 rows, each in a fresh process, after set-up."""
    peaks = {}
    for name, rows in (("rss_mb_1k", SIZES[0]), ("rss_mb_1m", SIZES[-1])):
        path = folder / f"whole-{rows}.jsonl"
        write_file(path, rows)
        make_all(store, set_up(whole(path, made, rows)))
        counted, peak = alone(scanned, path, rows, store.root.resolve())
        assert counted == rows
        peaks[name] = round(peak, 1)
        path.unlink()
    return peaks


def throughput(rows: list[Row]) -> dict[str, Any]:
    """Scoring rows, from texts on, beside bare forward passes on the same batches: medians of ratios of processor time.

    This is of scoring (`heredity.models.scoring.score`) under one model, not of a scan: of one, `scan_rows_per_cpu_s`.
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
    """These Steps and all that they rest on, each once, inputs before the Steps that read them."""
    return list(dict.fromkeys(s for step in top for s in (*ready(list(step.inputs)), step)))


def set_up(audit: Scan) -> list[Step]:
    """What serves every scan of a base, carrier and number of rows: all Steps that do not rest on the file."""
    order, own = ready([audit]), set[Step]()
    for step in order:
        if isinstance(step, Audited) or not own.isdisjoint(step.inputs):
            own.add(step)
    return [step for step in order if step not in own]


def against_training(store: Store, made: Panel, path: Path, rows: int = ROWS) -> dict[str, Any]:
    """A scan that looks at so many rows of a file of `LARGE` rows, after set-up, beside three students of them all."""
    audit = whole(path, made, LARGE, rows)
    make_all(store, set_up(audit))
    took, further = (
        {step.key: cpu(partial(store.make, step)) for step in missing(store, [top])}
        for top in (audit, again(audit).naming)  # what else a second look tells, a first one would have told as well
    )
    matched = audit.source.matched
    found = beside_training(took, len(matched.read(store)), matched.audited.counts(store)["looked_at"])
    more = sum(further.values())
    return found | {
        "again_cpu_s": round(more, 1),
        "cost_ratio_again": round((found["scan_cpu_s"] + more) / found["three_students_cpu_s"], 4),
    }


def beside_training(took: Mapping[str, float], learnt: int, looked_at: int) -> dict[str, Any]:
    """What each Step of a scan took, by key (processor seconds), beside three students of a file of `LARGE` rows.

    A student of all rows costs what one of this scan does (it learnt from `learnt` rows), times how often these go into
    the file: training is linear in its steps. Its evaluations are not multiplied.
    """
    by_name: dict[str, list[float]] = {}
    for key, seconds in took.items():
        by_name.setdefault(key.split("-")[0], []).append(seconds)
    students, answers, total = by_name["TrialStudent"], by_name["Evaluation"], sum(took.values())
    times = LARGE / learnt
    training = 3 * (statistics.mean(students) * times + sum(answers) / len(students))
    return {
        "cost_ratio": round(total / training, 4), "scan_cpu_s": round(total, 1),
        "scan_rows_per_cpu_s": round(looked_at / total, 2), "three_students_cpu_s": round(training, 1),
        "three_students": f"one student of {learnt} rows, times {times:.1f}, times 3; training is linear",
        "scan_cpu_s_by_step": {name: round(sum(x), 2) for name, x in sorted(by_name.items())},
    }  # fmt: skip


def costs(store: Store) -> dict[str, Any]:
    """All figures, for the first panel; what the set-up lacks in the store is made, and is part of no other figure.

    `rss_mb_1k`, `rss_mb_1m`: peak memory of one process that makes a whole scan of a file of 10^3, of 10^6 rows.
    `read_...`: of a process that only reads such a file and draws the sample that a scan looks at.
    `cost_ratio`: a scan that looks at 2,000 of 100,000 rows, beside training three students on all of them;
    `cost_ratio_again`: one whose first look is close, and that looks again, which adds `again_cpu_s`.
    `..._10k`: the same figures for a scan that looks at 10,000 rows; the three students still learn from all.
    `scan_rows_per_cpu_s`: rows looked at in a processor second of a whole scan.
    `throughput_ratio`, `throughput_ratio_predicted`, `scored_rows_per_cpu_s`: of scoring rows under one model alone.
    `setup_s` adds up what the manifests say that each Step of the set-up took: wall time of one process each.
    """
    made = panels()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = large(store, made, folder)
        found = against_training(store, made, path)
        found |= {f"{key}_10k": figure for key, figure in against_training(store, made, path, MANY).items()}
        walls = [float(store.manifest(s.key)["run"]["wall_s"]) for s in set_up(whole(path, made, LARGE))]
        found |= throughput(audited(path).read(store)[:SCORED]) | reading(folder) | scanning(store, made, folder)
    return found | {"setup_s": round(sum(walls), 1), "setup_steps": len(walls)}


def large(store: Store, made: Panel, folder: Path) -> Path:
    """A file of the base's rows, over and over, at a place of its own: nothing of its scan is in the store."""
    store.get(made.own.rows)
    path = folder / "large.jsonl"
    write_rows(path, islice(cycle(made.own.rows.read(store)), LARGE))
    return path


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("heredity-store"))
    print(json.dumps(costs(Store(parser.parse_args().store)), indent=1))


if __name__ == "__main__":
    main()
