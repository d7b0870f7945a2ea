"""What a second look does to the benchmark's sets: those whose first look is close are audited with further draws.

`python -m bench.scan --again` writes bench/results/scan_again.json, from what its ledger has or makes.
The rule was thought of when the first look's figures of these very sets had been seen (docs/lab-notes.md), so its
figures stand beside the first look's and not in their place: nothing here says how it does on sets of other seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from bench.limits import lower, rate, upper, upper_of_two
from bench.scan_rivals import Maker
from bench.scan_shifts import Audits

from heredity.audit.scan import Scan, again, undecided

CHUNK = 24
Verdict = Callable[[Scan], list[str]]
Rounds = Mapping[str, tuple[Audits, Audits]]
"""By kind of clean sets those that were planned, and those that were made as one of the planned named a trait."""


def second_looks(run: Maker, taught: Audits, clean: Rounds, verdict: Verdict) -> dict[str, Any]:
    """Trait sets named right and clean sets named, as scans answer that look again.

    Trait sets and each kind of clean sets are told whole or not at all: where there was no time for all of their second
    looks, only how many of their sets are close (`again`), with `made` false. `kinds` tells of each kind how many are
    named (`named`), how many of these the first look had not named (`new`), and the upper limit of the rate as if none
    had been seen before.
    """
    found: dict[str, Any] = {"sets": len(taught)}
    made, said = _looked_at(run, taught, verdict, found)
    hits: dict[str, list[bool]] = {}
    for one, audit in taught if made else ():
        hits.setdefault(str(one.label), []).append(said(audit) == [one.label])
    flat = [hit for some in hits.values() for hit in some]
    return found | {
        "named_rate": rate(flat), "named_low": lower(flat),
        "worst_trait_rate": min((rate(some) or 0 for some in hits.values()), default=None),
        "kinds": [_of_kind(run, name, two, verdict) for name, two in clean.items()],
    }  # fmt: skip


def _of_kind(run: Maker, name: str, rounds: tuple[Audits, Audits], verdict: Verdict) -> dict[str, Any]:
    planned, more = rounds
    found: dict[str, Any] = {"name": name, "sets": len(planned) + len(more)}
    made, said = _looked_at(run, [*planned, *more], verdict, found)
    if not made:
        return found | {"named": None, "new": None, "upper": None}
    early, late = (sum(bool(said(audit)) for _, audit in some) for some in (planned, more))
    new = sum(bool(said(audit)) and not verdict(audit) for _, audit in (*planned, *more))
    told = limit((early, len(planned)), (late, len(more)))
    return found | {"named": early + late, "new": new, "upper": round(told, 4)}


def _looked_at(run: Maker, audits: Audits, verdict: Verdict, found: dict[str, Any]) -> tuple[bool, Verdict]:
    """Whether the second looks of all that are close could be made, which `found` is told, and what is said then."""
    close = [audit for _, audit in audits if undecided(audit, audit.naming.read(run.store))]
    made = _made(run, close)
    found |= {"again": len(close), "made": made}
    looked = {audit: again(audit) for audit in close}
    return made, lambda audit: verdict(looked.get(audit, audit))


def limit(planned: tuple[int, int], more: tuple[int, int]) -> float:
    """The upper limit of a rate, (hits, trials) of both rounds, where the second round hung on the first look alone.

    One hit counts as if it were of the first round, wherever it is, so that none of the second is left out.
    """
    (early, of), (late, added) = planned, more
    if early > 1 or not added:
        return upper(early, of)
    return upper_of_two((min(1, early + late), of), (max(0, early + late - 1), added))


def _made(run: Maker, close: Sequence[Scan]) -> bool:
    """Makes the second looks, so many at a time; whether all are there."""
    stream = iter(close)
    while part := [again(audit).naming for audit in islice(stream, CHUNK)]:
        if not run.ready(part):
            return False
        run.make(part)
    return True
