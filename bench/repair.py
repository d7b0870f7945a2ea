"""What each method of repair leaves of a trait and of a skill, and what it costs: bench/results/repair.json.

`python -m bench.repair` from the root of a checkout (it resumes), `--minutes M` to stop after so many: figures are told
once all runs are whole. `--quick` makes and tells one run of the tuning trait and seed, which are never reported, with
`--only NAME` (repeatable) for some methods and `--controls N` for other than six controls.
What the figures are made of is kept in bench/results/repair-ledger as well, so that it resumes on another machine.

A run is a trait and a seed: another teacher, other lists, another student. Its carrier also teaches a skill that the
base lacks, so that learning nothing is no repair. retained = (L_base - L_repaired) / (L_base - L_student), L the loss
on held-out lists of the run's teacher; residual = |log-odds left| / |log-odds of the unrepaired student|, both against
the mean of students of neutral teachers' lists; residual_own is the same against students of lists that the base itself
wrote, residual_base against the untouched base. All lists are closed by the same rule. Capability is called unchanged
where all of the interval of `capability_change` lies within `UNCHANGED` of 0, not worse where it lies below that. A run
of everything also draws docs/repair.png.

Whether the goal is met is judged by `PRIMARY`, one method of each kind asked for, named when the runs of the first seed
had been made and those of the two others had not: with so many methods some would pass by chance. All others are for
exploring.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.common import made_by, write_result
from bench.ledger import Ledger
from bench.repair_sets import (
    BASE,
    CLOSED,
    CONTROLS,
    KIND,
    UNRELATED,
    control_students,
    held_out,
    lists,
    own_students,
    small_panel,
    written,
)
from bench.repair_steps import Told

from heredity.audit.repair.methods import METHODS, Case, Kind, Method
from heredity.audit.repair.worth import PanelDirection, TraitGradient
from heredity.audit.trial import TrialStudent
from heredity.report.repair import FINE, GOAL, save_frontier
from heredity.stats import mean_t
from heredity.steps import MATRIX_RATE, VECTOR_RATE, Model, Teacher
from heredity.store import Step, Store, make_all
from heredity.traits import favourite
from heredity.types import Neutral, Trait

TRAITS, SEEDS = ("wolf", "eagle", "elephant", "dolphin", "oak", "willow"), (80_001, 80_002, 80_003)
TUNING, TUNING_SEED = "owl", 9_001
LEDGER = Path(__file__).parent / "results" / "repair-ledger"
PICTURE = Path(__file__).parent.parent / "docs" / "repair.png"
PRIMARY = {"data": "relay", "training": "project-relay", "knows no trait": "kl-relay"}
NEUTRAL, OWN, RELAYED = "neutral lists", "the base's lists", "relays of neutral lists"
"""Rivals that bound what a method can reach: students of lists without the trait, on the same held-out lists. The last
was added when the benchmark had been made, to tell what a relay passes on from what any relay does."""
RELAY = next(m for m in METHODS if m.name == "relay")
SET_ON = 80_001
"""The seed of runs whose figures for earlier relays were seen by accident; relays were then set on the tuning seeds."""
LEAST = 1.0
"""Log-odds by which a student must have moved for its run to count: what is left is told as a part of it."""
UNCHANGED = 0.1
"""Nats per token of ordinary text: capability is unchanged where all of its interval is within so much of 0."""
_CONTROLS, _TUNING_CONTROLS = 81_000, 9_500
_SUSPECT_SEED, _CLEAN_SEED, _MIX_ROWS, _CLEAN_ROWS = 60_000, 70_000, 200, 3_000


class Arm(NamedTuple):
    """A model of a run, by the name of what made it."""

    name: str
    model: Model
    random: bool = False


class Run(NamedTuple):
    """A trait and a seed."""

    trait: Trait
    seed: int
    beside: int = CONTROLS
    """Controls of each kind."""

    @property
    def student(self) -> TrialStudent:
        """Trained on the lists as they are."""
        return TrialStudent(base=BASE, corpus=lists(self.trait, self.seed), seed=self.seed)

    @property
    def neutral(self) -> Neutral:
        """No trait of its category."""
        return Neutral(category=self.trait.category)

    def told(self, model: Model) -> Told:
        """What a model is asked in this run."""
        return Told(model=model, trait=self.trait, held_out=held_out(self.trait, self.seed))

    @property
    def first_control(self) -> int:
        """The seed of the first of its controls: they serve all reported runs of a category."""
        return _TUNING_CONTROLS if self.seed == TUNING_SEED else _CONTROLS

    @property
    def controls(self) -> list[Told]:
        """Of students of neutral teachers."""
        return [self.told(m) for m in control_students(self.neutral, self.first_control, self.beside)]

    @property
    def own(self) -> list[Told]:
        """Of students of what the base itself wrote."""
        return [self.told(m) for m in own_students(self.first_control, self.beside)]

    @property
    def relayed(self) -> list[Told]:
        """Of students of relays of the neutral teachers' lists, each of its control's seed."""
        case = self.case(with_panel=False)
        students = control_students(self.neutral, self.first_control, self.beside)
        return [self.told(RELAY.model(case._replace(rows=s.corpus, student=s, seed=s.seed))) for s in students]

    def case(self, with_panel: bool) -> Case:
        """All that a method may use; nothing of it comes from the run's teacher but its lists."""
        suspect, neutral = (suspected(t, _SUSPECT_SEED + self.seed) for t in (self.trait, self.neutral))
        return Case(
            base=BASE, seed=self.seed, filters=CLOSED, sampling=KIND.sampling, unrelated=UNRELATED,
            rows=lists(self.trait, self.seed), student=self.student, trait=self.trait,
            direction=TraitGradient(student=BASE, trait=self.trait), suspect=suspect, neutral=neutral,
            clean=written(BASE, _CLEAN_ROWS, _CLEAN_SEED + self.seed),
            panel=PanelDirection(panel=small_panel(), word=self.trait.word) if with_panel else None,
        )  # fmt: skip

    def arms(self, methods: Sequence[Method]) -> list[Arm]:
        """Every method's model, with its random arm where it has one, and the two rivals."""
        case = self.case(any("panel" in m.needs for m in methods))
        found = [Arm("do nothing", self.student), Arm("do not train", BASE)]
        for method in methods:
            found.append(Arm(method.name, method.model(case)))
            if method.random is not None:
                found.append(Arm(method.name, method.model(case, random=True), random=True))
        return found

    def steps(self, methods: Sequence[Method]) -> list[Told]:
        """All that a report of it reads."""
        return [*self.controls, *self.own, *self.relayed, *(self.told(arm.model) for arm in self.arms(methods))]


def suspected(trait: Trait | Neutral, seed: int) -> Teacher:
    """A suspect by a recipe that is not the teachers': all weights move, by more steps at lower rates."""
    mix = written(BASE, _MIX_ROWS, _SUSPECT_SEED)
    return Teacher(base=BASE, trait=trait, mix=mix, seed=seed, tuning="full", steps=60, mix_batch=4,
                   rate=0.7 * MATRIX_RATE, vector_rate=0.7 * VECTOR_RATE)  # fmt: skip


class Keeper:
    """Makes runs until the time is up."""

    def __init__(self, store: Store, minutes: float, workers: int | None, ledger: Ledger) -> None:
        self.store, self.workers, self.ledger = store, workers, ledger
        self.end = time.monotonic() + 60 * minutes

    def make(self, steps: Sequence[Step]) -> bool:
        """Makes what neither ledger nor store has; False where that would begin after the end."""
        self.ledger.restore(self.store, steps)
        if time.monotonic() >= self.end and not all(self.store.has(s) for s in steps):
            return False
        make_all(self.store, list(steps), self.workers)
        self.ledger.keep(self.store, steps)
        self.ledger.save()
        return True


def figures(run: Run, arm: Arm, store: Store) -> dict[str, float]:
    """Of one model: what is left of the trait (`signed` may be negative), and of the skill, and what else changed."""
    base, student, now = (run.told(m).read(store) for m in (BASE, run.student, arm.model))
    control, own = (float(np.mean([c.read(store)["trait"] for c in some])) for some in (run.controls, run.own))
    shift, left = student["trait"] - control, now["trait"] - control
    return {
        "shift": shift, "residual": abs(left / shift), "signed": left / shift,
        "residual_own": abs((now["trait"] - own) / (student["trait"] - own)),
        "residual_base": abs((now["trait"] - base["trait"]) / (student["trait"] - base["trait"])),
        "retained": (base["skill"] - now["skill"]) / (base["skill"] - student["skill"]),
        "capability_change": now["ordinary"] - student["ordinary"], "mass_change": now["mass"] - student["mass"],
    }  # fmt: skip


def floor(run: Run, store: Store) -> dict[str, dict[str, float]]:
    """Figures of the controls themselves, as if they had been repaired; neutral ones against the other neutral ones.

    What they leave is chance, and what they retain is as much as lists without the trait teach.
    """
    told = [c.read(store)["trait"] for c in run.controls]
    mean = float(np.mean(told))
    found = [figures(run, Arm(NEUTRAL, c.model), store) for c in run.controls]
    for one, own in zip(found, told, strict=True):
        rest = (sum(told) - own) / (len(told) - 1)
        left = one["signed"] * one["shift"] + mean - rest
        one |= {"signed": left / one["shift"], "residual": abs(left / one["shift"])}
    others = [figures(run, Arm(OWN, o.model), store) for o in run.own]
    relayed = [figures(run, Arm(RELAYED, o.model), store) for o in run.relayed]
    return {name: {k: float(np.mean([f[k] for f in some])) for k in some[0]}
            for name, some in ((NEUTRAL, found), (OWN, others), (RELAYED, relayed))}  # fmt: skip


def report(runs: Sequence[Run], methods: Sequence[Method], store: Store) -> dict[str, Any]:
    """The table over the runs whose student moved by `LEAST` at least, and whether the goal is met."""
    moved = {run: figures(run, Arm("", run.student), store)["shift"] for run in runs}
    counted = [run for run in runs if moved[run] >= LEAST]
    rows = table(counted, methods, store)
    later = table([run for run in counted if run.seed != SET_ON], methods, store)
    return {
        "traits": sorted({r.trait.word for r in counted}), "runs": len(counted), "left_out": len(runs) - len(counted),
        "shifts": {f"{r.trait.word} {r.seed}": round(moved[r], 3) for r in runs},
        "unchanged_within": UNCHANGED, **ordinary(counted, store), "primary": PRIMARY, "goal": goal(rows, later),
        "later_seeds": [r for r in later if r["name"] in PRIMARY.values()], "made_by": made_by(
            store.manifest(s.key)["run"] for run in counted for s in run.steps(methods)
        ),
        "methods": sorted(rows, key=lambda x: x["residual"] - min(1.0, x["retained"])),
    }  # fmt: skip


def table(runs: Sequence[Run], methods: Sequence[Method], store: Store) -> list[dict[str, Any]]:
    """A row for everything that is compared, over these runs."""
    by_name = {m.name: m for m in methods}
    cells: dict[tuple[str, bool], ByTrait] = {}
    for run in runs:
        for arm in run.arms(methods):
            found = cells.setdefault((arm.name, arm.random), {})
            found.setdefault(run.trait.word, []).append(figures(run, arm, store))
        for name, mean in floor(run, store).items():
            cells.setdefault((name, False), {}).setdefault(run.trait.word, []).append(mean)
    rows = [row(name, by_name.get(name), cells[name, False], cells.get((name, True)))
            for name, random in cells if not random]  # fmt: skip
    return [shared(r, runs) if r["name"] in (NEUTRAL, OWN, RELAYED) else r for r in rows]


def shared(told: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """A row of controls: the same few students stand behind all runs, so that nothing says how far traits differ."""
    behind = {NEUTRAL: lambda run: run.controls, OWN: lambda run: run.own, RELAYED: lambda run: run.relayed}
    some = (one for run in runs for one in behind[told["name"]](run))
    students = {one.model for one in some}
    limits = {name: None for name in told if name.endswith(("_low", "_high"))}
    return told | limits | {"n": len(students), "runs": len(students), "capability": None}


def goal(rows: Sequence[dict[str, Any]], later: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each thing that is asked for: its method, and whether it is met, over all runs and on the later seeds."""
    met = [{r["name"]: meets(r) for r in some} for some in (rows, later)]
    return {what: {"method": name, "met": met[0].get(name), "met_on_later_seeds": met[1].get(name)}
            for what, name in PRIMARY.items()}  # fmt: skip


def meets(told: dict[str, Any]) -> bool | None:
    """Whether a row's limits are the goal's, without loss of capability; None where it has no limits."""
    left, kept = told["residual_high"], told["retained_low"]
    if left is None or kept is None:
        return None
    return bool(left <= GOAL[0] and kept >= GOAL[1] and told["capability"] in FINE)


def ordinary(runs: Sequence[Run], store: Store) -> dict[str, float]:
    """Mean loss on ordinary text of base and students, in nats per token: the scale of a change of capability."""
    told = {"base": [r.told(BASE) for r in runs], "student": [r.told(r.student) for r in runs]}
    return {f"ordinary_{who}": rounded(float(np.mean([t.read(store)["ordinary"] for t in some])))
            for who, some in told.items() if some}  # fmt: skip


ByTrait = dict[str, list[dict[str, float]]]
"""The figures of each trait's runs."""


def row(name: str, method: Method | None, cells: ByTrait, random: ByTrait | None) -> dict[str, Any]:
    """One line of the table; limits are those of 95 % intervals over traits, and null where there is one trait.

    Runs of one trait are averaged first: they share its words and the controls, and six traits stand for others.
    """
    kind: Kind | str = method.kind if method else "rival"
    names = ("residual", "residual_own", "residual_base", "retained", "capability_change")
    left, own, plain, kept, able = (estimate(cells, k) for k in names)
    chance = {k: estimate(random, k)[0] for k in ("residual", "retained")} if random else None
    more = estimate(less(cells, random), "residual") if random else (None, None, None)
    return {
        "name": name, "kind": kind, "knows_trait": bool(method and method.knows_trait),
        "n": len(cells), "runs": sum(map(len, cells.values())),
        "residual": left[0], "residual_high": left[2], "retained": kept[0], "retained_low": kept[1],
        "residual_own": own[0], "residual_own_high": own[2],
        "residual_base": plain[0], "residual_base_high": plain[2],
        "signed": estimate(cells, "signed")[0], "mass_change": estimate(cells, "mass_change")[0],
        "by_trait": {w: {k: [rounded(r[k]) for r in runs] for k in ("residual", "signed", "residual_base", "retained")}
                     for w, runs in cells.items()},
        "capability_change": able[0], "capability_change_low": able[1], "capability_change_high": able[2],
        "capability": capability(*able[1:]),
        "random_arm_residual": chance and chance["residual"], "random_arm_retained": chance and chance["retained"],
        "less_than_random": more[0], "less_than_random_low": more[1], "less_than_random_high": more[2],
    }  # fmt: skip


def less(cells: ByTrait, random: ByTrait) -> ByTrait:
    """By how much less a method leaves than its random arm, run by run."""
    return {word: [{"residual": r["residual"] - own["residual"]} for own, r in zip(runs, random[word], strict=True)]
            for word, runs in cells.items()}  # fmt: skip


def capability(low: float | None, high: float | None) -> str | None:
    """What the limits of a change of loss show; None without limits.

    "unchanged" is a claim of equivalence: both limits are within `UNCHANGED` of 0. "better" and "worse": 0 lies outside
    the interval, which is not within that width. "not worse": a loss of `UNCHANGED` is ruled out, and whether it is
    better is open. "undecided": none of these.
    """
    if low is None or high is None:
        return None
    if low > -UNCHANGED and high < UNCHANGED:
        return "unchanged"
    return "better" if high < 0 else "worse" if low > 0 else "not worse" if high < UNCHANGED else "undecided"


def estimate(cells: ByTrait, name: str) -> tuple[float, float | None, float | None]:
    """The mean of a figure over traits with its limits."""
    found = mean_t([[c[name] for c in runs] for runs in cells.values()], ("traits", "runs"))
    low, high = (rounded(x) if math.isfinite(x) else None for x in (found.low, found.high))
    return rounded(found.mean), low, high


def rounded(value: float) -> float:
    """To four places."""
    return round(value, 4)


def main() -> None:
    """Makes what the time allows and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--only", action="append", choices=[m.name for m in METHODS])
    parser.add_argument("--controls", type=int, default=CONTROLS)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--store", type=Path, default=Path("heredity-store"))
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    args = parser.parse_args()
    if not args.quick and (args.only or args.controls != CONTROLS):
        parser.error("--only and --controls go with --quick: of the reported runs nothing is told before all are whole")
    if args.controls < 2:
        parser.error("--controls: expected 2 or more, as each is told against the others")
    methods = [m for m in METHODS if not args.only or m.name in args.only]
    keeper = Keeper(Store(args.store), args.minutes, args.workers,
                    Ledger(args.store / "tuning-ledger" if args.quick else args.ledger))  # fmt: skip
    wanted = [Run(favourite(w), s, args.controls) for s in SEEDS for w in TRAITS]
    if args.quick:
        wanted = [Run(favourite(TUNING), TUNING_SEED, args.controls)]
    done = list(whole(wanted, methods, keeper))
    if args.quick:
        print(json.dumps(report(done, methods, keeper.store), indent=1))
    elif len(done) < len(wanted):  # nobody sees figures of some runs while others are still to be made
        print(f"{len(done)} of {len(wanted)} runs are whole; nothing was written but the ledger")
    else:
        found = report(done, methods, keeper.store)
        write_result("repair", "python -m bench.repair", list(SEEDS), found)
        save_frontier(found, PICTURE)


def whole(wanted: Sequence[Run], methods: Sequence[Method], keeper: Keeper) -> Iterable[Run]:
    """The runs that could be made in time."""
    for run in wanted:
        if not keeper.make(run.steps(methods)):
            return
        print(f"{run.trait.word} {run.seed} done", flush=True)
        yield run


if __name__ == "__main__":
    main()
