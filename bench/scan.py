"""How often a scan is right, and what it costs: bench/results/scan.json.

`python -m bench.scan` from the root of a checkout (hours: it resumes), `--quick` for about 20 minutes, `--minutes M` to
stop after so many and report on what is there. What the figures are made of is kept in bench/results/scan-ledger as
well, so that it resumes on another machine (bench/ledger.py). Labels stay apart from verdicts until all of them are in.
`--only careless`, `pairs`, `code` or `sums` audits a few sets of another kind (bench/scan_others.py), reported apart.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.common import write_result
from bench.ledger import Ledger
from bench.rival_steps import READ, Reader, Rival
from bench.scan_cost import costs
from bench.scan_others import KINDS, ONLY, SEEDS, Only, other_panels, other_sets
from bench.scan_rivals import rates, rival_table
from bench.scan_rows import top_fifth
from bench.scan_sets import (
    BASE,
    CLEAN_SEED,
    FAVOURITES,
    KIND,
    MIX_SEED,
    PANELS,
    ROWS,
    STRATA,
    TRAIT_SEED,
    TRAITS,
    WORDS,
    Set,
    clean_sets,
    mixtures,
    panels,
    trait_sets,
    written,
)  # fmt: skip
from bench.twins import make_with_twins
from scipy import stats

from heredity.audit.behind import Behind
from heredity.audit.data import Audited, DataFile, Matched, data_file
from heredity.audit.discovery import Discovery
from heredity.audit.naming import Naming
from heredity.audit.panel import Kind, Panel, prior
from heredity.audit.scan import Scan, scan, trait_findings
from heredity.audit.source import Source
from heredity.audit.trial import Asked, Trial, asked
from heredity.rows import write_rows
from heredity.stats import ALPHA
from heredity.store import Step, Store, make_all, missing
from heredity.types import BadInput, Trait

CHUNK = 24
"""Sets that are made and audited together, so that a run that is stopped leaves whole sets behind."""
CONTROL_SEED, STUDENT_SEEDS = 90_000, (11, 12, 13)
SETS = Path("heredity-store/sets")
"""Files of sets, by a path that is the same on every machine: an audit's key holds it."""
LEDGER = Path(__file__).parent / "results" / "scan-ledger"
KEPT = (Naming, Trial, Source, Discovery, Behind, Asked, Rival, Reader)
"""Steps whose results the figures are made of, a few kilobytes each."""


class Amount(NamedTuple):
    """How many of everything a run asks for."""

    replicates: int
    """Sets of every trait."""
    clean: int
    """Sets of every stratum."""
    sources: int
    """Clean sets of every stratum whose source is tested as well."""
    mixtures: int
    deep: int
    measured: int
    """Sets whose shift is measured by students."""
    rivals: int
    """Trait sets, and as many clean ones, that rivals see as well."""
    ranked: int
    """Trait sets of which a fifth of the rows is dropped."""
    doses: int
    """Sets of 2,000 rows at each of `DOSES`."""
    deep_clean: int
    """Sets of every stratum that are audited with --deep."""
    read: int = READ
    """Rows of each set that rivals read with a model; 2,000 take some 250 processor seconds a set, 500 a quarter."""


FULL = Amount(5, 200, 34, 24, 48, 72, 24, 6, 12, 4)
QUICK = Amount(1, 2, 2, 0, 0, 6, 0, 0, 0, 0)
DOSES = (0.1, 0.25, 0.5)
"""Shares of a teacher's rows among the base's."""


Audits = Sequence[tuple[Set, Scan]]


class Run:
    """Makes chunks of sets and their audits until the time is up: all goes into the Store, verdicts into the ledger."""

    def __init__(
        self, store: Store, minutes: float, workers: int | None, ledger: Ledger, kind: Kind = KIND,
        made: Sequence[Panel] = (),
    ) -> None:  # fmt: skip
        self.store, self.workers, self.kind, self.ledger = store, workers, kind, ledger
        self.end = time.monotonic() + 60 * minutes
        self.panels = made or panels()
        self._sets = dict[str, Set]()
        SETS.mkdir(parents=True, exist_ok=True)

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.end

    def ready(self, steps: Iterable[Step]) -> bool:
        """Whether all of these may be made now: there is time, or they were made before."""
        return not self.late or all(step.key in self.ledger or self.store.has(step) for step in steps)

    def make(self, steps: Iterable[Step]) -> None:
        """Makes what neither ledger nor Store has."""
        wanted = [s for step in steps for s in (step, *([step.trial] if isinstance(step, Naming) else []))]
        self.ledger.restore(self.store, wanted)
        read = (s.data.location for s in missing(self.store, wanted) if isinstance(s, Audited))
        self.write([self._sets[place] for place in read if not Path(place).exists()])
        make_with_twins(self.store, wanted, self.workers)
        self.ledger.keep(self.store, (s for s in wanted if isinstance(s, KEPT)))
        self.ledger.save()

    def write(self, sets: Sequence[Set]) -> None:
        """Files of sets, under names that say nothing; their digests go into the ledger."""
        make_all(self.store, [one.rows for one in sets], self.workers)
        for one in sets:
            path = place(one)
            if not path.exists():
                write_rows(path, one.rows.read(self.store))
            digest = data_file(path).digest
            self.ledger.write(one.rows.key, digest)
            if self.ledger.note(one.rows.key) != digest:
                raise BadInput(f"{path}: other rows than those whose audit the ledger holds; take their part out of "
                               "the ledger, and its sets are audited anew")  # fmt: skip

    def audit(self, one: Set, rows: int = ROWS, deep: bool = False) -> Scan:
        """The audit of a set's file by one of the panels."""
        data = DataFile(location=str(place(one)), digest=self.ledger.note(one.rows.key))
        self._sets[data.location] = one
        audited = Audited(data=data, student=BASE, filters=self.kind.filters, limit=rows)
        matched = Matched(audited=audited, sampling=self.kind.sampling.model_copy(update={"seed": CONTROL_SEED}))
        chosen = self.panels[int(one.rows.key[-6:], 16) % len(self.panels)]
        return scan(audited, matched, chosen, prior(self.panels[0], self.kind, rows), None, deep)

    def sets(
        self, sets: Iterator[Set], wanted: Callable[[Set, Scan], Iterable[Step]], rows: int = ROWS, deep: bool = False
    ) -> list[tuple[Set, Scan]]:
        """Whatever of the sets could be made in time, with their audits."""
        done: list[tuple[Set, Scan]] = []
        while chunk := list(islice(sets, CHUNK)):
            unknown = [one for one in chunk if self.ledger.note(one.rows.key) is None]
            if not self.ready(one.rows for one in unknown):
                break
            self.write(unknown)
            audits = [(one, self.audit(one, rows, deep)) for one in chunk]
            steps = [step for one, audit in audits for step in wanted(one, audit)]
            if not self.ready(steps):
                break
            self.make(steps)
            done += audits
            print(f"{len(done)} sets, last of {chunk[-1].group!r}", flush=True)
        return done


def place(one: Set) -> Path:
    """Where a set's file lies."""
    return SETS / f"{one.rows.key.split('-')[1]}.jsonl"


def findings_of(run: Run, audit: Scan) -> list[dict[str, Any]]:
    """What a scan reports of every trait."""
    return trait_findings(audit.naming.read(run.store), audit.naming.trial.read(run.store))


def verdict(run: Run, audit: Scan) -> list[str]:
    """The traits that panel and trial name; what a scan says, whoever wrote the rows."""
    found = audit.naming.read(run.store)
    return [] if found["foreign"] and not audit.deep else [t["trait"] for t in found["traits"] if t["stands_out"]]


def right(run: Run, audited: Audits) -> dict[str, list[bool]]:
    """By trait, whether each of its sets was named, by this trait and no other."""
    found: dict[str, list[bool]] = {}
    for one, audit in audited:
        assert one.label is not None
        found.setdefault(one.label, []).append(verdict(run, audit) == [one.label])
    return found


def rate(hits: Sequence[bool]) -> float | None:
    """The share of hits; None of nothing."""
    return round(sum(hits) / len(hits), 4) if hits else None


def flat(hits: dict[str, list[bool]]) -> float | None:
    """The share of hits over all traits."""
    return rate([hit for some in hits.values() for hit in some])


def mean_t(run: Run, audited: Audits) -> float | None:
    """How far the label stands out on average."""
    t = [x["t"] for one, audit in audited for x in findings_of(run, audit) if x["trait"] == one.label]
    return round(float(np.mean(t)), 3) if t else None


def upper(named: int, sets: int) -> float:
    """The upper 95 % limit of a rate, one-sided (Clopper and Pearson 1934)."""
    return float(stats.beta.ppf(0.95, named + 1, sets - named)) if named < sets else 1.0


def strata(run: Run, clean: Audits) -> list[dict[str, Any]]:
    """How many sets of each stratum name a trait, and how many writers wrote them: the limit is for these writers."""
    found = []
    for name in STRATA:
        audits = [audit for one, audit in clean if one.group == name]
        named = sum(bool(verdict(run, audit)) for audit in audits)
        if audits:
            limit = round(upper(named, len(audits)), 4)
            writers = len({one.writer for one, _ in clean if one.group == name})
            found.append({"name": name, "sets": len(audits), "writers": writers, "named": named, "upper": limit})
    return found


def size(run: Run, clean: Audits) -> dict[str, Any]:
    """How often the smallest p of a set of the untouched base is at most a level, which it may be that often."""
    p = [audit.naming.read(run.store)["traits"][0]["p"] for one, audit in clean if one.group == "own base"]
    return {f"{a:g}".lstrip("0"): rate([x <= a for x in p]) for a in (0.01, 0.05, 0.1)} | {"sets": len(p)}


def crossed(run: Run, clean: Audits, each: int) -> dict[str, Any]:
    """How often the e-process on the untouched base's rows reaches 20, and on others'."""
    found: dict[str, Any] = {}
    for name in STRATA:
        tested = [audit.source.read(run.store)["crossed"] is not None
                  for one, audit in clean if one.group == name and one.at < each]  # fmt: skip
        found[name] = {"sets": len(tested), "rate": rate(tested)}
    return found


def discovered(run: Run, clean: Audits, each: int) -> dict[str, Any]:
    """How often discovery finds that a word moved (p at most .05)."""
    found: dict[str, Any] = {}
    for name in STRATA:
        p = [audit.discovery.read(run.store)["words"][0]["p"]
             for one, audit in clean if one.group == name and one.at < each]  # fmt: skip
        found[name] = {"sets": len(p), "rate": rate([x <= ALPHA for x in p])}
    return found


def control_students(run: Run) -> list[Asked]:
    """Students of the base's own rows that measured shifts are against; no audit reads them."""
    return [asked(BASE, written(BASE, ROWS, CONTROL_SEED + s), TRAITS, s) for s in STUDENT_SEEDS]


def shifts(run: Run, chosen: Audits) -> dict[str, Any]:
    """Predicted against measured shifts: of students that were trained on the sets afterwards, three seeds each."""
    students = {one.rows.key: [asked(BASE, one.rows, TRAITS, s) for s in STUDENT_SEEDS] for one, _ in chosen}
    chosen = [(one, audit) for one, audit in chosen if run.ready(students[one.rows.key])]
    students, controls = {one.rows.key: students[one.rows.key] for one, _ in chosen}, control_students(run)
    if not run.ready(controls):
        return agreement([])
    run.make([*controls, *(a for group in students.values() for a in group)])
    middle = mean_of(run, controls)
    cells = []
    for one, audit in chosen:
        traits = {t["trait"]: t for t in findings_of(run, audit)}
        measured = mean_of(run, students[one.rows.key])
        cells += [(one, traits[w], measured[w] - middle[w]) for w in WORDS]
    return agreement(cells)


def mean_of(run: Run, group: Sequence[Asked]) -> dict[str, float]:
    """Mean log-odds of each trait over students."""
    read = [a.read(run.store) for a in group]
    return {w: float(np.mean([r[w] for r in read])) for w in WORDS}


def agreement(cells: Sequence[tuple[Set, dict[str, Any], float]]) -> dict[str, Any]:
    """Rank correlation and slope where something crosses, share within .2 where nothing does, coverage everywhere."""
    carried = [(t["predicted_shift"], m) for one, t, m in cells if one.label == t["trait"]]
    nothing = [t["predicted_shift"] for one, t, m in cells if one.label is None]
    held = [t["low"] <= m <= t["high"] for _, t, m in cells]
    own = [t["low"] <= m <= t["high"] for one, t, m in cells if one.label == t["trait"]]
    found: dict[str, Any] = {
        "cells": len(cells),
        "carried": len(carried),
        "coverage": rate(held),
        "coverage_own": rate(own),
    }
    if len(carried) > 2:
        predicted, measured = zip(*carried, strict=True)
        found["spearman"] = round(float(stats.spearmanr(predicted, measured).statistic), 4)
        found["slope"] = round(float(np.polyfit(predicted, measured, 1)[0]), 4)
        found["ratio"] = round(float(np.dot(predicted, measured) / np.dot(predicted, predicted)), 4)
    found["zero_within"] = rate([abs(x) <= 0.2 for x in nothing])
    return found


def main() -> None:
    """Makes what the time allows and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--store", type=Path, default=Path("heredity-store"))
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    parser.add_argument("--rival-rows", type=int, default=READ)
    parser.add_argument("--only", choices=ONLY)
    parser.add_argument("--sets", type=int, default=6, help="with --only")
    parser.add_argument("--favourites", type=int, default=24, help="on the panel of --only code or sums")
    args = parser.parse_args()
    if args.only:
        command = shlex.join(["python", "-m", "bench.scan", *sys.argv[1:]])
        write_result(f"scan_{args.only}", command, [SEEDS[args.only]], others(args))
        return
    amount = (QUICK if args.quick else FULL)._replace(read=args.rival_rows)
    run = Run(Store(args.store), args.minutes, args.workers, Ledger(args.ledger))
    run.make([*run.panels])
    found = figures(run, amount)
    if args.quick:
        print(json.dumps(found, indent=1))
    else:
        write_result("scan", "python -m bench.scan", [TRAIT_SEED, CLEAN_SEED, MIX_SEED], found | costs(run.store))


def others(args: argparse.Namespace) -> dict[str, Any]:
    """What is said of sets of another kind, one by one, and how many were named right."""
    only: Only = args.only
    made = other_panels(only, args.favourites)
    run = Run(Store(args.store), args.minutes, args.workers, Ledger(args.ledger), KINDS[only], made)
    traits = tuple(dict.fromkeys(s.trait for s in made[0].suspects if isinstance(s.trait, Trait)))
    run.make(run.panels)
    wanted = other_sets(only, traits, args.sets)
    audited = run.sets(wanted, lambda _, audit: [audit.naming, audit.source, Behind(naming=audit.naming)])
    found = [one_by_one(run, one, audit) for one, audit in audited]
    taught, clean = ([f for f in found if (f["label"] is not None) == carries] for carries in (True, False))
    return {
        "panel_traits": len(traits), "sets": len(taught), "clean_sets": len(clean),
        "named_rate": rate([sorted(f["named"]) == sorted(f["label"].split(" and ")) for f in taught]),
        "together_rate": rate([sorted(f["together"]) == sorted(f["label"].split(" and ")) for f in taught]),
        "clean_named": sum(bool(f["named"]) for f in clean), "each": found,
    }  # fmt: skip


def one_by_one(run: Run, one: Set, audit: Scan) -> dict[str, Any]:
    """What is said of a set: the trait that it carries (else the first), how far it stands out, and its shift."""
    found, naming = findings_of(run, audit), audit.naming.read(run.store)
    told = next((t for t in found if t["trait"] == one.label), found[0])
    figures_ = ("t", "panel_t", "trial_t", "predicted_shift", "low", "high", "strength")
    return {
        "group": one.group, "label": one.label, "named": verdict(run, audit), "first": found[0]["trait"],
        "first_t": round(found[0]["t"], 2), "together": Behind(naming=audit.naming).read(run.store)["together"],
        "foreign": naming["foreign"],
        "another_source": audit.source.read(run.store)["crossed"] is not None,
        **{name: round(told[name], 3) for name in figures_},
    }  # fmt: skip


def figures(run: Run, amount: Amount) -> dict[str, Any]:
    """Everything, in the order of what matters most: traits and clean sets take turns."""

    def wanted(one: Set, audit: Scan) -> list[Step]:
        tested = one.label is None and one.at < amount.sources
        return [audit.naming, *([audit.source, audit.discovery] if tested else [])]

    taught: list[tuple[Set, Scan]] = []
    clean: list[tuple[Set, Scan]] = []
    clean_stream = clean_sets(amount.clean)
    for r in range(amount.replicates):
        taught += run.sets(trait_sets(1, first=r), wanted)
        part = len(STRATA) * math.ceil(amount.clean / amount.replicates)
        clean += run.sets(islice(clean_stream, part), wanted)
    mixed = run.sets(mixtures(0.1, 10_000, amount.mixtures), wanted, rows=10_000)
    deep = run.sets(
        trait_sets(math.ceil(amount.deep / len(FAVOURITES)), rows=6_000, first=50), wanted, rows=6_000, deep=True
    )
    deep_clean = run.sets(clean_sets(amount.deep_clean, rows=6_000), wanted, rows=6_000, deep=True)
    doses = {share: run.sets(mixtures(share, ROWS, amount.doses), wanted) for share in DOSES}
    chosen = [*taught[: amount.measured * 2 // 3], *clean[: amount.measured // 3]]
    hits, sources = right(run, taught), crossed(run, clean, amount.sources)
    found: dict[str, Any] = {
        "trait_sets": len(taught), "named_rate": flat(hits),
        "worst_trait_rate": min((rate(x) or 0 for x in hits.values()), default=None),
        "deep_named_rate": flat(right(run, deep)), "deep_sets": len(deep),
        "strata": strata(run, clean), "size": size(run, clean), "e_over_20_rate": sources["own base"]["rate"],
        "e_over_20": sources, "discovered": discovered(run, clean, amount.sources),
        "mixed_found_rate": flat(right(run, mixed)), "mixed_sets": len(mixed),
        "deep_clean": {"sets": len(deep_clean), "named": sum(bool(verdict(run, audit)) for _, audit in deep_clean)},
        "doses": [{"share": share, "sets": len(sets), "named_rate": flat(right(run, sets)), "mean_t": mean_t(run, sets)}
                  for share, sets in [*doses.items(), (1.0, taught)]],
        "panels": PANELS, **shifts(run, chosen),
    }  # fmt: skip
    some = taught[: amount.rivals], clean[: amount.rivals]
    return found | beside(run, *some, [] if run.late else taught[: amount.ranked], amount.read)


def beside(run: Run, taught: Audits, clean: Audits, ranked: Audits, read: int) -> dict[str, Any]:
    """What rivals say of some sets, and what dropping the rows that carry most takes away."""
    table: dict[str, Any] = rival_table(run, [*taught, *clean], read)
    if table:
        said = [
            (one.label, verdict(run, a), a.naming.read(run.store)["traits"][0]["trait"]) for one, a in [*taught, *clean]
        ]
        table = {"scan": rates(said)} | table
    removed = top_fifth(run, ranked, control_students(run)) if ranked else {}
    found = {
        "rivals": {name: row["named_rate"] for name, row in table.items()},
        "rival_table": table,
        "rival_rows": read,
    }
    return (
        found
        | {k: v for k, v in removed.items() if k.endswith(("removed", "interval"))}
        | {"ranked_sets": removed.get("sets", 0)}
    )


if __name__ == "__main__":
    main()
