"""The whole audit of a data file, and what it comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from heredity.audit.data import Audited, Control, Matched, Partnered
from heredity.audit.data_only import DataOnly
from heredity.audit.gradient import Gradient
from heredity.audit.naming import Naming
from heredity.audit.panel import Panel
from heredity.audit.rank import Carrying
from heredity.audit.source import Source
from heredity.audit.trial import Trial, trial
from heredity.stats import ALPHA
from heredity.store import Step, Store
from heredity.types import Trait

Outcome = Literal["named", "none", "undetermined"]
_SHOWN = 5
_PLACEBOS = 3
"""Students of the base's own rows beside the student of the data."""


class Scan(Step):
    """Which traits a student would inherit from a data file: `scan.json`.

    A trait is named by the trial student where one was trained, else by the panel, at a family-wise 5 %. "none" means
    that nothing stands out and that the base itself may have written the rows; anything else is "undetermined".
    """

    source: Source
    naming: Naming
    data_only: DataOnly
    carrying: Carrying
    trial: Trial | None = None
    control: Control | None = None
    compared: DataOnly | None = None
    """The data-only test against the control."""

    def make(self, folder: Path, store: Store) -> None:
        evidence, naming = self.source.read(store), self.naming.read(store)
        deep = self.trial.read(store) if self.trial else None
        traits = _traits(naming, deep)
        verdict, named, why = decide(traits, evidence["crossed"] is not None, naming["foreign"], deep is not None)
        audited = self.source.matched.audited
        result = {
            "verdict": verdict, "named": named, "why": why, "data": audited.data.location,
            "student": audited.student.location, "rows": audited.counts(store), "traits": traits,
            "detectors": self._detectors(store, evidence, naming, deep), "limits": _limits(naming, deep),
            "carrying": self._carrying(store),
        }  # fmt: skip
        (folder / "scan.json").write_text(json.dumps(result, indent=1) + "\n")

    @property
    def checks(self) -> list[Step]:
        """What fails where the data or its control cannot be used; cheap beside the rest."""
        return [self.source.matched, *([self.control] if self.control else [])]

    def _carrying(self, store: Store) -> dict[str, Any]:
        rows = self.carrying.read(store)
        shown = [{"value": v, "prompt": r.prompt[-1].content[:200], "completion": r.completion[:200]}
                 for v, r in rows[:_SHOWN]]  # fmt: skip
        trait = self.naming.read(store)["traits"][0]["trait"]
        return {"trait": trait, "rows": shown}

    def _detectors(
        self, store: Store, evidence: dict[str, Any], naming: dict[str, Any], deep: dict[str, Any] | None
    ) -> list[dict[str, Any]]:
        """What ran, on which null, at which cost, and why the rest did not."""
        size, first = len(self.naming.panel.suspects), naming["traits"][0]
        alone = self.data_only.read(store)
        return [
            _ran("source", "suspects", "the base, untouched, wrote the rows",
                 f"log e {evidence['log_sup']:.1f} after {evidence['n']} pairs", evidence["p"],
                 self._cost(store, self.source, self.source.matched)),
            _ran("panel", "gradient", f"{first['trait']} lies among the other traits",
                 f"t {first['statistic']:.1f}, {size} suspects; outside them {naming['outside']:.1f} x noise",
                 first["p"], self._cost(store, self.naming, self.naming.own, self.naming.control)),
            _deep(deep, self._cost(store, self.trial.taught, *self.trial.placebos) if self.trial else 0.0),
            _ran("data only", "data", "the base's rows look the same; says \"another source\", never a trait",
                 f"{alone['test']}: {alone['accuracy']:.0%} of {alone['n']}", alone["p"],
                 self._cost(store, self.data_only)),
            self._against_control(store),
            _not_run("discovery", "gradient", "not built: traits that are on no list are not looked for"),
        ]  # fmt: skip

    def _against_control(self, store: Store) -> dict[str, Any]:
        if self.compared is None:
            return _not_run("against the control", "data", "no --control was given")
        found = self.compared.read(store)
        null = "data and control have one source" + ("" if found["matched"] >= 0.5 else ", and one kind of prompts")
        text = f"{found['test']}: {found['accuracy']:.0%} of {found['n']}; {found['matched']:.0%} of prompts are shared"
        return _ran("against the control", "data", null, text, found["p"], self._cost(store, self.compared))

    def _cost(self, store: Store, *steps: Step) -> float:
        """Seconds that making these took, with what nothing but they needed."""
        every = {s.key: s for step in steps for s in (step, *_students(step))}
        return round(sum(float(store.manifest(key)["run"]["wall_s"]) for key in every), 2)

    def read(self, store: Store) -> dict[str, Any]:
        """`verdict`, `named`, `why`, `rows`, `traits`, `detectors`, `limits`, `carrying` (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "scan.json").read_text())
        return found


def _students(step: Step) -> list[Step]:
    """Students and answers behind a trial's figures."""
    below = [s for s in step.inputs if type(s).__name__ in ("Evaluation", "TrialStudent", "Matched")]
    return below + [s for b in below for s in _students(b)]


def decide(
    traits: list[dict[str, Any]], another_source: bool, foreign: bool, deep: bool
) -> tuple[Outcome, list[str], str]:
    """The verdict, the traits that are named, and the reason in a sentence."""
    named = [t["trait"] for t in traits if t["p_value"] <= ALPHA]
    if foreign and not deep:
        return "undetermined", [], (
            "the rows pull where no teacher made from this base does (another initialisation or family?); the panel "
            "cannot be relied on: --deep trains students")  # fmt: skip
    if named:
        return (
            "named",
            named,
            "the trial student acquired it" if deep else "it stands out among all traits of the panel",
        )
    if another_source or foreign:
        return (
            "undetermined",
            [],
            "another source than the untouched base wrote the rows, and no listed trait stands out",
        )
    return "none", [], "no listed trait stands out, and the untouched base may well have written the rows"


def _traits(naming: dict[str, Any], deep: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Per trait what is reported, the one with the strongest evidence first."""
    shifts = {t["trait"]: t for t in deep["traits"]} if deep else {}
    traits = []
    for t in naming["traits"]:
        found, panel = shifts.get(t["trait"]), {"panel_p": t["p"], "panel_t": t["statistic"], "strength": t["strength"]}
        shown = found or {"e": t["e"], "p": t["p"], "shift": None, "low": None, "high": None}
        traits.append(
            {"trait": t["trait"], "e_value": min(shown["e"], 1e300), "p_value": shown["p"],
             "predicted_shift": shown["shift"], "low": shown["low"], "high": shown["high"],
             "reason": None if found else "no trial student was trained: --deep does"} | panel
        )  # fmt: skip
    return sorted(traits, key=lambda t: (t["p_value"], -(t["predicted_shift"] or 0), -t["panel_t"]))


def _limits(naming: dict[str, Any], deep: dict[str, Any] | None) -> dict[str, Any]:
    """What would have been found with power .8."""
    return {
        "share": naming["limit"], "worst_share": naming["worst_limit"], "shift": deep["limit"] if deep else None,
        "shift_reason": None if deep else "no trial student was trained: --deep does", "power": 0.8,
    }  # fmt: skip


def _ran(name: str, tier: str, null: str, evidence: str, p: float, cost: float) -> dict[str, Any]:
    return {"name": name, "tier": tier, "ran": True, "reason": None, "null": null, "evidence": evidence, "p": p,
            "cost_s": cost}  # fmt: skip


def _not_run(name: str, tier: str, reason: str) -> dict[str, Any]:
    return {"name": name, "tier": tier, "ran": False, "reason": reason, "null": None, "evidence": None, "p": None,
            "cost_s": None}  # fmt: skip


def _deep(deep: dict[str, Any] | None, cost: float) -> dict[str, Any]:
    if deep is None:
        return _not_run("trial student", "deep", "not asked for: --deep")
    first = min(deep["traits"], key=lambda t: (t["p"], -t["shift"]))
    text = f"{first['shift']:+.2f} in log-odds; placebos spread {deep['spread']:.2f}"
    null = f"{first['trait']} moves like the placebos, or like the other traits"
    return _ran("trial student", "deep", null, text, first["p"], cost)


def scan(
    audited: Audited, matched: Matched, panel: Panel, control: Control | None, deep: tuple[Trait, ...] = ()
) -> Scan:
    """An audit; with `deep`, students are trained and asked about these traits."""
    partnered = Partnered(matched=matched)
    own, base = (Gradient(student=audited.student, rows=rows) for rows in (partnered, matched))
    naming = Naming(panel=panel, own=own, control=base)
    seeds = (matched.sampling.seed + i for i in range(_PLACEBOS))
    again = [
        matched.model_copy(update={"sampling": matched.sampling.model_copy(update={"seed": seed})}) for seed in seeds
    ]
    return Scan(
        source=Source(matched=matched), naming=naming, data_only=DataOnly(own=partnered, control=matched),
        carrying=Carrying(naming=naming, rows=partnered), trial=trial(again, deep) if deep else None,
        control=control, compared=DataOnly(own=audited, control=control) if control else None,
    )  # fmt: skip
