"""The whole audit of a data file, and what it comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from heredity.audit.data import Audited, Control, Matched, Partnered
from heredity.audit.data_only import DataOnly
from heredity.audit.discovery import Discovery, discovery
from heredity.audit.gradient import Gradient
from heredity.audit.naming import Naming, close
from heredity.audit.panel import Panel, Prior
from heredity.audit.rank import Carrying
from heredity.audit.scale import NURSERY, Scale
from heredity.audit.source import Source
from heredity.audit.trial import TrialStudent, retaught, shrunk, trial
from heredity.stats import ALPHA
from heredity.steps import Corpus, Evaluation, Teacher
from heredity.store import Step, Store
from heredity.types import ADDED, LoRA

Outcome = Literal["named", "none", "undetermined"]
_SHOWN = 5
OTHER = 0.01
"""The data-only test's level for "another source": beside the e-process's 5 % it adds little to false alarms."""
_LEFT_OUT = 0.1
"""Where more of a file's rows than this were left out, the answer is never "none"."""
_UNANSWERED = "dropped: the base gave no answer in kind to the prompt"
_UNSETTLED = (
    "but the rows pull where no teacher made from this base does (another initialisation or family?), and clean rows "
    "of such writers were named too often (docs/scan.md): a name here is not settled")  # fmt: skip
_PLACEBOS = 3
"""Students of the base's own rows beside the student of the data, in a deep audit."""
_FURTHER = 3
"""Draws of the base's answers that an audit adds where its first look was close."""


class Scan(Step):
    """Which traits a student would inherit from a data file: `scan.json`.

    A trait is named by the trial student and the panel together, at a family-wise 5 %, where each leans to it as well.
    "none" means that nothing stands out and that the base itself may have written the rows; anything else is
    "undetermined".
    """

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 7

    source: Source
    naming: Naming
    data_only: DataOnly
    discovery: Discovery
    carrying: Carrying
    control: Control | None = None
    compared: DataOnly | None = None
    """The data-only test against the control."""
    deep: bool = False
    """Whether more placebos than one were trained from the start, so that the trial alone can tell foreign data."""
    first: Annotated[Naming | None, ADDED] = None
    """What the first draw says, where further ones were made: limits are those of an audit that may end there."""

    def make(self, folder: Path, store: Store) -> None:
        evidence, naming = self.source.read(store), self.naming.read(store)
        trial = self.naming.trial.read(store)
        usual = self.naming.trial.usual(store)
        traits = [t | usual[t["trait"]] for t in trait_findings(naming, trial)]
        usable = not naming["foreign"] or self.deep
        other = evidence["crossed"] is not None or self.data_only.read(store)["p"] <= OTHER
        audited, rows = self.source.matched.audited, self._rows(store)
        limits = naming if self.first is None else self.first.read(store)
        verdict, named, why = decide(traits, other, usable, limits["share"], left_out(rows), naming["foreign"])
        result = {
            "verdict": verdict, "named": named, "why": why, "data": audited.data.location,
            "student": audited.student.location, "rows": rows, "traits": traits, "deep": self.deep,
            "draws": trial["placebos"], "temperature": self.source.matched.sampling.temperature,
            "detectors": self._detectors(store, evidence, naming, trial),
            "limits": _limits(limits, usable),
            "moved": self.discovery.read(store)["words"], "carrying": self._carrying(store),
        }  # fmt: skip
        if assumed := assumptions(self.naming.panel):
            result["assumes"] = assumed
        (folder / "scan.json").write_text(json.dumps(result, indent=1) + "\n")

    @property
    def checks(self) -> list[Step]:
        """What fails where the data, its control or its carrier cannot be used; cheap beside the rest."""
        own, base, usual = self.naming.own, self.naming.control, self.naming.panel.own.rows
        return [own, base, *([self.control] if self.control else []), usual]

    def _rows(self, store: Store) -> dict[str, int]:
        """How many rows the file has, how many have a partner and were looked at, and why others were left out."""
        rows = self.source.matched.audited.counts(store)
        looked_at = len(self.carrying.rows.read(store))
        missing = rows["looked_at"] - looked_at
        return rows | {"looked_at": looked_at} | ({_UNANSWERED: missing} if missing else {})

    def _carrying(self, store: Store) -> dict[str, Any]:
        rows = self.carrying.read(store)
        shown = [{"value": v, "prompt": r.prompt[-1].content[:200], "completion": r.completion[:200]}
                 for v, r in rows[:_SHOWN]]  # fmt: skip
        trait = self.naming.read(store)["traits"][0]["trait"]
        return {"trait": trait, "rows": shown}

    def _detectors(
        self, store: Store, evidence: dict[str, Any], naming: dict[str, Any], trial: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """What ran, on which null, at which cost, and why the rest did not."""
        panel, first = max(naming["traits"], key=lambda t: t["panel_t"]), naming["traits"][0]
        moved, alone = max(trial["traits"], key=lambda t: t["shift"]), self.data_only.read(store)
        size, members = len(self.naming.panel.suspects), self.naming.trial
        return [
            _ran("source", "suspects", "the base, untouched, wrote the rows",
                 f"log e {evidence['log_sup']:.1f} after {evidence['n']} pairs", evidence["p"],
                 self._cost(store, self.source, self.source.matched)),
            _ran("panel", "gradient", "every trait's pull lies among the others'",
                 f"{panel['trait']} t {panel['panel_t']:.1f}, {size} suspects; outside them {naming['outside']:.1f} x "
                 "noise", None, self._cost(store, self.naming.own, self.naming.control, *self.naming.further)),
            _ran("trial student", "deep" if self.deep else "gradient", "every trait moves like the others",
                 f"{moved['trait']} {moved['shift']:+.2f} in log-odds; chance moves one by {trial['error']:.2f}", None,
                 self._cost(store, members.taught, *members.placebos)),
            _ran("panel and trial", "deep" if self.deep else "gradient", "no trait stands out among the others",
                 f"{first['trait']} t {first['statistic']:.1f}", first["p"], self._cost(store, self.naming)),
            _ran("data only", "data", "the base's rows look the same; says \"another source\", never a trait",
                 _told_apart(alone), alone["p"],
                 self._cost(store, self.data_only)),
            self._against_control(store),
            self._discovery(store),
        ]  # fmt: skip

    def _discovery(self, store: Store) -> dict[str, Any]:
        found, words = self.discovery.read(store), (self.discovery.taught, *self.discovery.placebos)
        first = found["words"][0]
        text = f"{first['word']!r} on {first['probe']}: {first['shift']:+.2f} in log-probability, t {first['t']:.1f}"
        null = "no first word on broad probes moves further than between students of the base's own rows"
        return _ran("discovery", "gradient", null, text, first["p"], self._alone(store, self.discovery, *words))

    def _against_control(self, store: Store) -> dict[str, Any]:
        if self.compared is None:
            return _not_run("against the control", "data", "no --control was given")
        found = self.compared.read(store)
        null = "data and control have one source" + ("" if found["matched"] >= 0.5 else ", and one kind of prompts")
        text = f"{_told_apart(found)}; {found['matched']:.0%} of the rows that were drawn are paired"
        return _ran("against the control", "data", null, text, found["p"], self._cost(store, self.compared))

    def _cost(self, store: Store, *steps: Step) -> float:
        """Seconds that making these took, with what nothing but they needed."""
        return self._alone(store, *(s for step in steps for s in (step, *_students(step))))

    def _alone(self, store: Store, *steps: Step) -> float:
        """Seconds that making these took, each once."""
        keys = {s.key for s in steps}
        return round(sum(float(store.manifest(key)["run"]["wall_s"]) for key in keys), 2)

    def read(self, store: Store) -> dict[str, Any]:
        """`verdict`, `named`, `why`, `rows`, `traits`, `detectors`, `limits`, `carrying` (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "scan.json").read_text())
        return found


def _students(step: Step) -> list[Step]:
    """Students and answers behind a trial's figures."""
    below = [s for s in step.inputs if isinstance(s, Evaluation | TrialStudent | Matched)]
    return below + [s for b in below for s in _students(b)]


def left_out(rows: Mapping[str, int]) -> float:
    """The share of a file that was left out as it could not be looked at: of all rows, or of those that were drawn."""
    unanswered = rows.get(_UNANSWERED, 0)
    drawn = rows["looked_at"] + unanswered
    dropped = sum(n for name, n in rows.items() if name.startswith("dropped: ")) - unanswered
    kept = (1 - dropped / rows["rows"]) * (1 - unanswered / drawn)
    return 1 - kept


def decide(
    traits: list[dict[str, Any]], another_source: bool, usable: bool, share: float, out: float = 0.0,
    foreign: bool = False,
) -> tuple[Outcome, list[str], str]:  # fmt: skip
    """The verdict, the traits that are named, and the reason in a sentence.

    `usable`: whether anything that can name a trait may be relied on; `share`: of rows by a suspect, to be named;
    `out`: of the file's rows, left out; `foreign`: whether no teacher made from this base pulls as the rows do.
    """
    named = [t["trait"] for t in traits if t["stands_out"]]
    if not usable:
        return "undetermined", [], (
            "the rows pull where no teacher made from this base does (another initialisation or family?); the panel "
            "cannot be relied on: --deep goes by trial students alone")  # fmt: skip
    if named:
        why = "it stands out among all traits, " + (
            f"in what a student of the rows acquired beside three of the base's own; {_UNSETTLED}" if foreign else
            "in the rows' pull on the weights and in what a student of them acquired")  # fmt: skip
        return "named", named, why
    if traits[0]["p_value"] <= ALPHA:
        first = traits[0]["trait"]
        return "undetermined", [], f"{first} stands out, but the rows' pull and a student of them do not agree on it"
    if another_source:
        return "undetermined", [], (
            "another source than the untouched base wrote the rows, and no listed trait stands out")  # fmt: skip
    if share > 1:
        return "undetermined", [], "no listed trait stands out, but the rows are too few to show one"
    return _nothing(out)


def _nothing(out: float) -> tuple[Outcome, list[str], str]:
    """The verdict where nothing speaks for a trait or another source, of all but so much of a file."""
    if out <= _LEFT_OUT:
        return "none", [], "no listed trait stands out, and the untouched base may well have written the rows"
    why = (f"no listed trait stands out in the rows that were looked at, but {out:.0%} of the file could not be; scan "
           "the rows that you would train on (heredity filter keeps rows of a kind), or say with --carrier what they "
           "are")  # fmt: skip
    return "undetermined", [], why


def assumptions(panel: Panel) -> list[str]:
    """What a panel takes for granted beyond a usual one, in sentences: of real models it is made in fewer ways."""
    made = [s.gradient.rows.samples.model for s in panel.suspects if isinstance(s.gradient.rows, Corpus)]
    said, dims = [], panel.own.dims
    if made and all(isinstance(m, Teacher) and isinstance(m.tuning, LoRA) for m in made):
        said.append("All suspects are adapters: a teacher whose own weights were trained may pull in other ways and be "
                    "missed.")  # fmt: skip
    if dims is not None:
        said.append(f"Of each gradient about {dims:,} numbers are kept (a count sketch), so the panel's scores have "
                    "some noise beyond the rows' own.")  # fmt: skip
    return said


def _limits(naming: dict[str, Any], usable: bool) -> dict[str, Any]:
    """What would have been found with power .8; nothing where nothing could be named."""
    names = ("share", "worst_share", "shift")
    return {name: naming[name] if usable else None for name in names} | {
        "power": 0.8, "reason": None if usable else "the panel cannot be relied on for these rows: --deep"}  # fmt: skip


def trait_findings(naming: dict[str, Any], trial: dict[str, Any]) -> list[dict[str, Any]]:
    """Per trait what is reported, the one that stands out most first."""
    shifts = {t["trait"]: t for t in trial["traits"]}
    expected = {word: shrunk(t["shift"], t["error"]) for word, t in shifts.items()}
    return [
        {"trait": t["trait"], "e_value": min(t["e"], 1e300), "p_value": t["p"], "t": t["statistic"],
         "predicted_shift": expected[t["trait"]], "shift": shifts[t["trait"]]["shift"],
         "low": shifts[t["trait"]]["low"], "high": shifts[t["trait"]]["high"], "panel_t": t["panel_t"],
         "trial_t": t["trial_t"], "strength": t["strength"], "stands_out": t["stands_out"]}
        for t in naming["traits"]
    ]  # fmt: skip


def _ran(name: str, tier: str, null: str, evidence: str, p: float | None, cost: float) -> dict[str, Any]:
    return {"name": name, "tier": tier, "ran": True, "reason": None, "null": null, "evidence": evidence, "p": p,
            "cost_s": cost}  # fmt: skip


def _not_run(name: str, tier: str, reason: str) -> dict[str, Any]:
    return {"name": name, "tier": tier, "ran": False, "reason": reason, "null": None, "evidence": None, "p": None,
            "cost_s": None}  # fmt: skip


def scan(
    audited: Audited, matched: Matched, panel: Panel, prior: Prior, control: Control | None, deep: bool = False,
    scale: Scale = NURSERY,
) -> Scan:  # fmt: skip
    """An audit; `deep` trains more students of what the base wrote, each on other draws."""
    partnered = Partnered(matched=matched)
    own, base = (
        Gradient(student=audited.student, rows=rows, block=scale.block, **scale.folded) for rows in (partnered, matched)
    )
    draws = [matched, *(_drawn(matched, i) for i in range(1, _PLACEBOS if deep else 1))]
    tried = trial(draws, prior.traits, prior.references, **scale.learnt)
    naming = Naming(panel=panel, own=own, control=base, trial=tried,
                    positives=prior.positives)  # fmt: skip
    return Scan(
        source=Source(matched=matched, **scale.tuned), naming=naming,
        data_only=DataOnly(own=partnered, control=matched),
        discovery=discovery(naming.trial),
        carrying=Carrying(naming=naming, rows=partnered), control=control,
        compared=DataOnly(own=audited, control=control) if control else None, deep=deep,
    )  # fmt: skip


def undecided(audit: Scan, naming: Mapping[str, Any]) -> bool:
    """Whether the base should be asked again: what its Naming says is close, and no draw is like another."""
    return not audit.deep and audit.source.matched.sampling.temperature > 0 and close(naming)


def again(audit: Scan) -> Scan:
    """The audit with further draws of the base's answers: for its trial student, and for the pull in the panel.

    What else it asks goes by the first draw alone: source, discovery, what the data alone tells, whether the rows are
    foreign to the panel, and the limits.
    """
    naming, matched = audit.naming, audit.source.matched
    draws = [_drawn(matched, i) for i in range(1, 1 + _FURTHER)]
    tried = naming.trial
    first = tried.placebos[0]
    seed = first.evaluations[0].seed
    placebos = (first, *(retaught(first, rows, seed + i) for i, rows in enumerate(draws, 1)))
    gradients = tuple(naming.control.model_copy(update={"rows": rows}) for rows in draws)
    closer = naming.model_copy(
        update={"trial": tried.model_copy(update={"placebos": placebos}), "further": gradients})  # fmt: skip
    carrying = audit.carrying.model_copy(update={"naming": closer})
    return audit.model_copy(update={"naming": closer, "carrying": carrying, "first": naming})


def _drawn(matched: Matched, i: int) -> Matched:
    """Other answers of the base to the same prompts."""
    return matched.model_copy(
        update={"sampling": matched.sampling.model_copy(update={"seed": matched.sampling.seed + i})})  # fmt: skip


def _told_apart(found: dict[str, Any]) -> str:
    return f"{found['test']}: {found['accuracy']:.0%} of pairs told right, {found['n']} tested"
