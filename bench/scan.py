"""How often a scan is right, and what it costs: bench/results/scan.json.

`python -m bench.scan` from the root of a checkout (hours: it resumes), `--minutes M` to stop after so many, `--quick`
for 20 minutes and what is there then. What the figures are made of is kept in bench/results/scan-ledger as well, so
that it resumes on another machine (bench/ledger.py). Until everything is made only counts are told and nothing is
written: labels are joined to verdicts at the end. `--report` prints what a part of it says, on this terminal alone.

A stratum of clean sets passes where none of 220 names a trait, or where one does and none of 143 more: a detector that
is wrong in 1.5 % of sets passes in 5 % of cases (`limits.upper_of_two` is the limit of a rate that is found so).
All figures are of a scan's first look; `--again` writes what looking again at sets that are close does to names, of the
kinds of sets of which all could be made in `--minutes` (bench/results/scan_again.json).
`--only careless`, `pairs`, `code` or `sums` audits a few sets of another kind (bench/scan_others.py), reported apart.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.common import made_by, write_result
from bench.ledger import Ledger
from bench.limits import lower, rate, upper, upper_of_two
from bench.rival_steps import READ, Reader, Rival
from bench.scan_again import second_looks
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
    PANEL_SEED,
    POOLS,
    ROWS,
    STRATA,
    TRAIT_SEED,
    Set,
    clean_sets,
    mixtures,
    panels,
    trait_sets,
)  # fmt: skip
from bench.scan_shifts import CONTROL_SEED, FRESH, Audits, control_students, findings_of, shifts, zeros
from bench.twins import make_with_twins

from heredity.audit.behind import Behind
from heredity.audit.data import Audited, DataFile, Matched, data_file
from heredity.audit.data_only import DataOnly
from heredity.audit.discovery import Discovery
from heredity.audit.naming import Naming
from heredity.audit.panel import Kind, Panel, prior
from heredity.audit.scan import OTHER, Scan, decide, scan
from heredity.audit.source import Source
from heredity.audit.trial import Asked, Trial
from heredity.rows import write_rows
from heredity.stats import ALPHA
from heredity.store import Step, StepsFailed, Store, make_all, missing
from heredity.types import BadInput, Trait

CHUNK = 24
"""Sets that are made and audited together, so that a run that is stopped leaves whole sets behind."""
SETS = Path("heredity-store/sets")
"""Files of sets, by a path that is the same on every machine: an audit's key holds it."""
LEDGER = Path(__file__).parent / "results" / "scan-ledger"
SHORT = "have no answer that passes"
"""What is said of rows that a writer could not complete."""
DRAWN_ON, INSTEAD = 4, 1_000
"""How often a clean set that was left out is replaced by another of its kind, prompt and temperature: that many places
on."""
LEFT_OUT = "left out"
"""What the ledger notes of a set that could not be made, where it has the digest of any other."""
KEPT = (Naming, Trial, Source, Discovery, Behind, Asked, Rival, Reader, DataOnly)
"""Steps whose results the figures are made of, a few kilobytes each."""


class Amount(NamedTuple):
    """How many of everything a run asks for."""

    replicates: int
    """Sets of every trait."""
    clean: int
    """Sets of every stratum."""
    more: int
    """Further sets of a stratum of which one set named a trait."""
    sources: int
    """Clean sets of every stratum but the base's own whose source is tested as well; of its own all are."""
    mixtures: int
    deep: int
    measured: int
    """Sets whose shift is measured by students: two thirds with a trait, a third without."""
    fresh: int
    """Sets with a trait whose shift is measured on other rows of the same teacher as well."""
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


FULL = Amount(5, 220, 143, 6, 24, 48, 72, 12, 24, 6, 12, 6)
QUICK = Amount(1, 2, 0, 2, 0, 0, 6, 0, 0, 0, 0, 0)
QUICK_MINUTES = 20
DOSES = (0.1, 0.25, 0.5)
"""Shares of a teacher's rows among the base's."""
DEEP_FIRST = 5_000
"""The first turn of the clean sets that are audited with --deep."""


class Run:
    """Makes chunks of sets and their audits until the time is up: all goes into the Store, verdicts into the ledger."""

    def __init__(
        self, store: Store, minutes: float, workers: int | None, ledger: Ledger, kind: Kind = KIND,
        made: Sequence[Panel] = (),
    ) -> None:  # fmt: skip
        self.store, self.workers, self.kind, self.ledger = store, workers, kind, ledger
        self.end = time.monotonic() + 60 * minutes
        self.panels = made or panels()
        self.short = False
        """Whether something was not made for want of time."""
        self.left_out = dict[str, Set]()
        """Sets that could not be made, by their rows' keys: their writer has no answer that passes to some prompt."""
        self._sets = dict[str, Set]()
        SETS.mkdir(parents=True, exist_ok=True)

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.end

    def ready(self, steps: Iterable[Step]) -> bool:
        """Whether all of these may be made now: there is time, or they were made before."""
        may = not self.late or all(step.key in self.ledger or self.store.has(step) for step in steps)
        self.short |= not may
        return may

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
        short = self._short([one.rows for one in sets])
        for one in sets:
            path = place(one)
            if one.rows in short:
                self.ledger.write(one.rows.key, LEFT_OUT)
                continue
            if not path.exists():
                write_rows(path, one.rows.read(self.store))
            digest = data_file(path).digest
            self.ledger.write(one.rows.key, digest)
            if self.ledger.note(one.rows.key) != digest:
                raise BadInput(f"{path}: other rows than those whose audit the ledger holds; take their part out of "
                               "the ledger, and its sets are audited anew")  # fmt: skip

    def _short(self, rows: Sequence[Step]) -> set[Step]:
        """Makes the rows of sets; returns those that are short, as their writer has no answer that passes somewhere."""
        try:
            make_all(self.store, rows, self.workers, keep_going=True)
        except StepsFailed as error:
            if any(step not in rows or SHORT not in str(why) for step, why in error.failed.items()):
                raise
            return set(error.failed)
        return set()

    def audit(self, one: Set, rows: int = ROWS, deep: bool = False) -> Scan:
        """The audit of a set's file by one of the panels."""
        data = DataFile(location=str(place(one)), digest=self.ledger.note(one.rows.key))
        self._sets[data.location] = one
        audited = Audited(data=data, student=BASE, filters=self.kind.filters, limit=rows)
        matched = Matched(audited=audited, sampling=self.kind.sampling.model_copy(update={"seed": one.control_seed}))
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
            self.left_out |= {s.rows.key: s for s in chunk if self.ledger.note(s.rows.key) == LEFT_OUT}
            audits = [(one, self.audit(one, rows, deep)) for one in chunk if self.ledger.note(one.rows.key) != LEFT_OUT]
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


def flat(hits: dict[str, list[bool]]) -> float | None:
    """The share of hits over all traits."""
    return rate([hit for some in hits.values() for hit in some])


def limited(name: str, hits: dict[str, list[bool]]) -> dict[str, float | None]:
    """The share of hits over all traits, and its lower limit: for these traits, whose sets share words and suspects."""
    return {f"{name}_rate": flat(hits), f"{name}_low": lower([hit for some in hits.values() for hit in some])}


def mean_t(run: Run, audited: Audits) -> float | None:
    """How far the label stands out on average."""
    t = [x["t"] for one, audit in audited for x in findings_of(run, audit) if x["trait"] == one.label]
    return round(float(np.mean(t)), 3) if t else None


def strata(run: Run, clean: Audits, first: int) -> list[dict[str, Any]]:
    """How many sets of each stratum name a trait, how many are foreign to the panel, and how many writers wrote them.

    `first`: how many sets were planned, before one that named a trait asked for more. The limit is for these writers.
    Where the panel cannot be relied on nothing is named, which is no error.
    """
    found = []
    for name, audits in by_stratum(clean).items():
        named, foreign = how_many(run, audits)
        planned = of_first_round(audits, first)
        early = how_many(run, planned)[0]
        limit = upper_of_two((early, len(planned)), (named - early, len(audits) - len(planned)))
        writers = len({one.writer for one, _ in audits})
        found.append({"name": name, "sets": len(audits), "writers": writers, "named": named, "foreign": foreign,
                      "upper": round(limit, 4), "first_sets": len(planned), "first_named": early})  # fmt: skip
    return found


def of_first_round(clean: Audits, first: int) -> Audits:
    """The sets that were planned, and those in their place: whether there are others hangs on what these showed."""
    return [(one, audit) for one, audit in clean if one.at % INSTEAD < first]


def in_rounds(clean: Audits, first: int) -> tuple[Audits, Audits]:
    """The sets that were planned, and those that were made because one of these named a trait."""
    return of_first_round(clean, first), [(one, audit) for one, audit in clean if one.at % INSTEAD >= first]


def by_stratum(clean: Audits) -> dict[str, list[tuple[Set, Scan]]]:
    """The sets of each stratum that has any."""
    found = {name: [(one, audit) for one, audit in clean if one.group == name] for name in STRATA}
    return {name: audits for name, audits in found.items() if audits}


def how_many(run: Run, audited: Audits) -> tuple[int, int]:
    """How many sets name a trait, and how many are foreign to the panel."""
    named = sum(bool(verdict(run, audit)) for _, audit in audited)
    return named, sum(bool(audit.naming.read(run.store)["foreign"]) for _, audit in audited)


LEVELS = (0.01, 0.05, 0.1)


def size(p: Sequence[float]) -> dict[str, Any]:
    """How often a p of sets of the untouched base is at most a level, which it may be that often."""
    may = {f"{a:g}_may": round(a + 2 * math.sqrt(a * (1 - a) / max(1, len(p))), 4) for a in LEVELS}
    found = {f"{a:g}": rate([x <= a for x in p]) for a in LEVELS}
    return {name.lstrip("0"): x for name, x in (found | may).items()} | {"sets": len(p)}


def own_base(run: Run, clean: Audits) -> dict[str, Any]:
    """Of sets of the untouched base: the smallest p of a trait, the data-only p, and what a scan answers.

    Nothing of these files is left out, so that a scan's answer is what `decide` says.
    """
    audits = [audit for one, audit in clean if one.group == "own base"]
    smallest = [audit.naming.read(run.store)["traits"][0]["p"] for audit in audits]
    ready = [audit for audit in audits if run.ready([audit.data_only])]
    run.make(audit.data_only for audit in ready)
    alone, said = list[float](), Counter[str]()
    for audit in ready:
        found, p = audit.naming.read(run.store), audit.data_only.read(run.store)["p"]
        other = audit.source.read(run.store)["crossed"] is not None or p <= OTHER
        said[decide(findings_of(run, audit), other, not found["foreign"], found["share"])[0]] += 1
        alone.append(p)
    return {"size": size(smallest), "data_only_size": size(alone), "own_base_answers": dict(said)}


def crossed(run: Run, clean: Audits, each: int) -> dict[str, Any]:
    """How often the e-process on the untouched base's rows reaches 20, and on others'."""
    return {name: told([audit.source.read(run.store)["crossed"] is not None for audit in audits])
            for name, audits in sourced(clean, each)}  # fmt: skip


def discovered(run: Run, clean: Audits, each: int) -> dict[str, Any]:
    """How often discovery finds that a word moved (p at most .05)."""
    return {name: told([audit.discovery.read(run.store)["words"][0]["p"] <= ALPHA for audit in audits])
            for name, audits in sourced(clean, each)}  # fmt: skip


def told(hits: Sequence[bool]) -> dict[str, Any]:
    """How many there were, the rate, and the upper limit of that of a process that is called so often."""
    return {"sets": len(hits), "rate": rate(hits), "upper": round(upper(sum(hits), len(hits)), 4)}


def sourced(clean: Audits, each: int) -> Iterator[tuple[str, list[Scan]]]:
    """By stratum, the audits whose source was tested."""
    for name, audits in by_stratum(clean).items():
        yield name, [audit for one, audit in audits if tests_source(one, each)]


def tests_source(one: Set, each: int) -> bool:
    """Whether a set's source is tested: of the base's own sets all, of other clean ones the first."""
    return one.label is None and (one.group == "own base" or one.at < each)


def main() -> None:
    """Makes what the time allows and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--minutes", type=float)
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
    run = Run(
        Store(args.store), limit(args), args.workers, Ledger(args.ledger), made=panels(1, 1) if args.quick else ()
    )
    seeds = [TRAIT_SEED, CLEAN_SEED, MIX_SEED, PANEL_SEED, CONTROL_SEED, FRESH]
    if args.again:
        looks = looked_at_again(run, amount)
        if looks and (args.quick or args.report):
            print(json.dumps(looks, indent=1))
        elif looks:
            by = {"made_by": made_by(run.ledger.runs())}
            write_result("scan_again", "python -m bench.scan --again", seeds, looks | by)
        else:
            print("the time is up before all first looks are made; nothing was written but the ledger")
        return
    run.make([*run.panels])
    found = figures(run, amount)
    if args.quick or args.report:
        print(json.dumps(found, indent=1))
    elif run.short:
        print("the time is up, and not all is made; nothing was written but the ledger")
    else:
        print(json.dumps(found), flush=True)  # before the costs are measured, which may fail
        write_result(
            "scan", "python -m bench.scan", seeds, found | costs(run.store) | {"made_by": made_by(run.ledger.runs())}
        )


def limit(args: argparse.Namespace) -> float:
    """After how many minutes nothing new is begun."""
    usual = QUICK_MINUTES if args.quick else math.inf
    return float(usual if args.minutes is None else args.minutes)


def others(args: argparse.Namespace) -> dict[str, Any]:
    """What is said of sets of another kind, one by one, and how many were named right."""
    only: Only = args.only
    made = other_panels(only, args.favourites)
    run = Run(Store(args.store), limit(args), args.workers, Ledger(args.ledger), KINDS[only], made)
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
        return [audit.naming, *([audit.source, audit.discovery] if tests_source(one, amount.sources) else [])]

    taught, clean = rounds(run, amount, wanted)
    mixed = run.sets(mixtures(0.1, 10_000, amount.mixtures), wanted, rows=10_000)
    usual = run.sets(mixtures(0.1, 10_000, amount.mixtures), wanted)
    deep = run.sets(
        trait_sets(math.ceil(amount.deep / len(FAVOURITES)), rows=6_000, first=50), wanted, rows=6_000, deep=True
    )
    deep_clean = whole(run, clean_sets(amount.deep_clean, 6_000, DEEP_FIRST), naming_alone, 6_000, deep=True)
    doses = {share: run.sets(mixtures(share, ROWS, amount.doses), wanted) for share in DOSES}
    planned = of_first_round(clean, amount.clean)
    hits, sources = right(run, taught), crossed(run, planned, amount.sources)
    found: dict[str, Any] = {
        "trait_sets": len(taught), **limited("named", hits), "trait_sets_foreign": how_many(run, taught)[1],
        "worst_trait_rate": min((rate(x) or 0 for x in hits.values()), default=None),
        **limited("deep_named", right(run, deep)), "deep_sets": len(deep),
        "strata": strata(run, clean, amount.clean), **own_base(run, planned), **zeros(run, clean),
        "e_over_20_rate": sources.get("own base", {}).get("rate"),
        "e_over_20": sources, "discovered": discovered(run, planned, amount.sources),
        **limited("mixed_found", right(run, mixed)), "mixed_sets": len(mixed),
        "mixed_found_rate_2k": flat(right(run, usual)),
        "deep_clean": strata(run, deep_clean, amount.deep_clean),
        **dosed(run, [*doses.items(), (1.0, taught[: amount.doses])]),
        "panels": len(run.panels), "pools": POOLS, "left_out": dict(Counter(s.group for s in run.left_out.values())),
        **shifts(run, [*taught[: amount.measured * 2 // 3], *clean[: amount.measured // 3]], taught[: amount.fresh]),
    }  # fmt: skip
    some = taught[: amount.rivals], clean[: amount.rivals]
    return found | beside(run, *some, taught[: amount.ranked], amount.read)


def looked_at_again(run: Run, amount: Amount) -> dict[str, Any]:
    """What second looks say; where the time is up before all first ones are made, nothing."""
    taught, clean = rounds(run, amount, naming_alone)
    if run.short:
        return {}
    kinds = {name: in_rounds(audits, amount.clean) for name, audits in by_stratum(clean).items()}
    return second_looks(run, taught, kinds, lambda audit: verdict(run, audit))


def naming_alone(_: Set, audit: Scan) -> list[Step]:
    """What is asked of sets whose source is not tested."""
    return [audit.naming]


Wanted = Callable[[Set, Scan], Iterable[Step]]


def rounds(run: Run, amount: Amount, wanted: Wanted) -> tuple[list[tuple[Set, Scan]], list[tuple[Set, Scan]]]:
    """Trait sets and clean ones, and further ones of the strata of which one set named a trait."""
    taught: list[tuple[Set, Scan]] = []
    clean: list[tuple[Set, Scan]] = []
    stream = clean_sets(amount.clean)
    for r in range(amount.replicates):
        taught += run.sets(trait_sets(1, first=r), wanted)
        clean += run.sets(islice(stream, len(STRATA) * math.ceil(amount.clean / amount.replicates)), wanted)
    clean += instead(run, [one for one in run.left_out.values() if one.label is None], wanted)
    if run.short:
        return taught, clean
    doubtful = tuple(name for name, audits in by_stratum(clean).items() if how_many(run, audits)[0] == 1)
    return taught, clean + whole(run, clean_sets(amount.more, first=amount.clean, strata=doubtful), wanted)


def whole(
    run: Run, sets: Iterator[Set], wanted: Wanted, rows: int = ROWS, deep: bool = False
) -> list[tuple[Set, Scan]]:
    """Clean sets, and others in the place of those of them that were left out."""
    before = {*run.left_out}
    found = run.sets(sets, wanted, rows, deep)
    lost = [one for key, one in run.left_out.items() if key not in before]
    return found + instead(run, lost, wanted, rows, deep)


def instead(
    run: Run, lost: Sequence[Set], wanted: Wanted, rows: int = ROWS, deep: bool = False
) -> list[tuple[Set, Scan]]:
    """Clean sets in the place of others that were left out."""
    found: list[tuple[Set, Scan]] = []
    for _ in range(DRAWN_ON if lost else 0):
        known = {*run.left_out}
        sets = (s for one in lost for s in clean_sets(1, rows, one.at + INSTEAD, (one.group,)))
        found += run.sets(sets, wanted, rows, deep)
        lost = [one for key, one in run.left_out.items() if key not in known]
    return found


def dosed(run: Run, doses: Sequence[tuple[float, Audits]]) -> dict[str, Any]:
    """How often each share of a teacher's rows is named, with how large a t; the same teachers at every share."""
    common = set.intersection(*({one.label for one, _ in sets} for _, sets in doses))
    doses = [(share, [(one, audit) for one, audit in sets if one.label in common]) for share, sets in doses]
    found = [{"share": share, "sets": len(sets), "named_rate": flat(right(run, sets)), "mean_t": mean_t(run, sets)}
             for share, sets in doses]  # fmt: skip
    t = [x["mean_t"] for x in found if x["mean_t"] is not None]
    return {"doses": found, "dose_monotone": t == sorted(t) if len(t) == len(found) else None}


def beside(run: Run, taught: Audits, clean: Audits, ranked: Audits, read: int) -> dict[str, Any]:
    """What rivals say of some sets, and what dropping the rows that carry most takes away."""
    found: dict[str, Any] = rival_table(run, [*taught, *clean], read)
    table = dict(found)
    if table:
        few = run.sets(iter([one for one, _ in (*taught, *clean)]), naming_alone, rows=read)
        table = {"scan": said(run, [*taught, *clean]), f"scan, {read} rows": said(run, few)} | table
    removed = top_fifth(run, ranked, control_students()) if ranked and not run.late else {}
    run.short |= len(removed) == 0 < len(ranked)
    told = {name: x for name, x in removed.items() if name.startswith(("top_", "random_", "more"))}
    return {
        "rivals": {name: row["named_rate"] for name, row in found.items()}, "rival_table": table, "rival_rows": read,
        **told, "ranked_sets": removed.get("sets", 0), "ranked_skipped": removed.get("skipped", 0),
    }  # fmt: skip


def said(run: Run, audited: Audits) -> dict[str, Any]:
    """The scan's own line in the table of rivals."""
    return rates([(one.label, verdict(run, a), a.naming.read(run.store)["traits"][0]["trait"]) for one, a in audited])


if __name__ == "__main__":
    main()
