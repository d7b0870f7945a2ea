"""An experiment's findings: every claim beside the paper's value, tested as one family, with its assays.

A null result means little where the teacher did not hold the trait or the student did not learn the rows, so each arm
carries two assays: the teacher's own share of the trait, and how much of the teacher's rows its student learnt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from heredity.lab.alignment import Alignment
from heredity.lab.comparison import Comparison
from heredity.lab.conditions import MixedCorpus
from heredity.lab.filtered import Filtered, filtered
from heredity.lab.planting import JudgeRates
from heredity.lab.probes import ProbeDifference
from heredity.stats import ALPHA, Estimate, holm, paired_t, ratio
from heredity.steps import Corpus, Evaluation, HeldOutLoss, HoldsTrait, Student
from heredity.store import Step, Store
from heredity.types import Frozen

Expectation = Literal["up", "nothing", "less", "open"]
"""What the paper leads one to expect: a rise, nothing (a small part of another claim's effect), a clearly smaller rise
than another claim's, or no expectation."""
NULL_PART = 0.2
"""An arm shows nothing where the interval of its part of the full effect lies within this of zero."""


class Published(Frozen):
    """What the paper reports of an arm: how often its students name the trait."""

    control: float
    taught: float
    low: float | None = None
    high: float | None = None
    where: str
    """Section or figure; "read off" where the paper prints no figure."""

    @property
    def rise(self) -> float:
        """By how much the share rose."""
        return self.taught - self.control


class PublishedRise(Frozen):
    """What the paper reports of arms of a kind where it prints only by how much the share rose over the control."""

    rise: float
    """The mean over the paper's arms of this kind."""
    least: float
    """Of these arms, where there are several; no interval."""
    most: float
    where: str
    """Section or figure, and of how many arms."""


class Claim(Frozen):
    """One arm of an experiment, with what is expected of it."""

    name: str
    comparison: Comparison
    expect: Expectation = "up"
    of: str | None = None
    """The claim whose effect this one is measured against, for `nothing` and `less`."""
    published: Published | PublishedRise | None = None


class Writer(Frozen):
    """Who wrote the rows of an arm, asked itself."""

    name: str
    evaluation: Evaluation
    word: str


class Findings(Step):
    """What an experiment found: `findings.json`."""

    opens_models: ClassVar[bool] = False
    version: ClassVar[int] = 3

    title: str
    section: str
    """Where the paper reports it; empty where it does not."""
    hypothesis: str
    """What the experiment asks, in words: the docstring of its file."""
    claims: tuple[Claim, ...]
    held: tuple[HoldsTrait, ...] = ()
    """Whether teachers hold the trait."""
    learnt: tuple[HeldOutLoss, ...] = ()
    """How well students predict fresh rows of their teachers."""
    writers: tuple[Writer, ...] = ()
    """How much of the trait other writers show: a control's teacher that holds some of it is no control."""
    filtered: tuple[Filtered, ...] = ()
    """What the filters removed from each arm."""
    probes: tuple[ProbeDifference, ...] = ()
    """What else changed in the students."""
    judged: tuple[JudgeRates, ...] = ()
    """How often the judges among the filters err."""

    @model_validator(mode="after")
    def _names(self) -> Findings:
        units = {c.name: len(c.comparison.treated) for c in self.claims}
        if len(units) != len(self.claims):
            raise ValueError("two claims have the same name")
        for claim in self.claims:
            if claim.of is not None and claim.of not in units:
                raise ValueError(f"{claim.name!r} is measured against {claim.of!r}, which is no claim here")
            if claim.of is not None and units[claim.of] != units[claim.name]:
                raise ValueError(f"{claim.name!r} has {units[claim.name]} units and {claim.of!r}, against which it is "
                                 f"measured, {units[claim.of]}; each needs its own partner")  # fmt: skip
            if (claim.expect in ("nothing", "less")) != (claim.of is not None):
                raise ValueError(f"{claim.name!r}: `of` goes with nothing and less, and only with them")
        return self

    def make(self, folder: Path, store: Store) -> None:
        results = {c.name: c.comparison.read(store) for c in self.claims}
        p_values = {name: paired_t(r["per_unit"], r["log_odds"]["unit"]).p for name, r in results.items()}
        rises = [c.name for c in self.claims if c.expect == "up"]
        adjusted = p_values | adjust({name: p_values[name] for name in rises})
        claims = [_row(c, results, p_values[c.name]) | {"p_holm": adjusted[c.name]} for c in self.claims]
        for claim, row in zip(self.claims, claims, strict=True):
            row["holds"] = holds(claim.expect, row, row["p_holm"], row["part"] and Estimate(**row["part"]))
        head = {"title": self.title, "section": self.section, "hypothesis": self.hypothesis}
        found = head | {
            "claims": claims, "assays": self._assays(store), "filtered": [f.read(store) for f in self.filtered],
            "judged": [j.read(store) for j in self.judged],
        }  # fmt: skip
        (folder / "findings.json").write_text(json.dumps(found, indent=1) + "\n")

    def _assays(self, store: Store) -> list[dict[str, Any]]:
        held = [{"assay": "held", "of": h.word, "value": h.read(store)["share"], "key": h.key} for h in self.held]
        read = [(x, x.read(store)) for x in self.learnt]
        learnt = [{"assay": "learnt", "of": x.name, "value": loss["learnt"], "gap": loss["gap"], "gain": loss["gain"],
                   "key": x.key} for x, loss in read]  # fmt: skip
        asked = [{"assay": "writer", "of": w.name, "value": w.evaluation.read(store)["share"][w.word],
                  "key": w.evaluation.key} for w in self.writers]  # fmt: skip
        return held + learnt + asked + self._coherent(store) + [row for p in self.probes for row in p.read(store)]

    def _coherent(self, store: Store) -> list[dict[str, Any]]:
        """Of graded answers: the share that was coherent, and how many of each arm had no grade."""
        found = []
        for claim in self.claims:
            compared = claim.comparison
            if not all(isinstance(e, Alignment) for e in (*compared.treated, *compared.control)):
                continue
            result, arms = compared.read(store), {"taught": compared.treated, "control": compared.control}
            ungraded = {arm: sum(e.read(store)["ungraded"] for e in side) for arm, side in arms.items()}
            found.append({"assay": "coherent", "of": claim.name, "value": result["mass"],
                          "control": result["control_mass"], "ungraded": ungraded})  # fmt: skip
        return found

    def read(self, store: Store) -> dict[str, Any]:
        """`title`, `section`, `hypothesis`, `claims`, `assays`, `filtered` and `judged` (docs/json.md)."""
        found: dict[str, Any] = json.loads((store.path(self) / "findings.json").read_text())
        return found


def findings(
    title: str, section: str, claims: Sequence[Claim], hypothesis: str | None,
    probes: Sequence[ProbeDifference] = (), judged: Sequence[JudgeRates] = (), writers: Sequence[Writer] = (),
) -> Findings:  # fmt: skip
    """Findings with the assays that their claims allow (one teacher and one student of each), and what was filtered."""
    held: dict[str, HoldsTrait] = {}
    learnt: dict[str, HeldOutLoss] = {}
    for claim in claims:
        first = claim.comparison.treated[0]
        if not isinstance(first.model, Student):
            continue
        corpus = first.model.corpus
        if corpus.samples.gate is not None:
            held[corpus.samples.gate.key] = corpus.samples.gate
        loss = HeldOutLoss(name=claim.name, student=first.model, fresh=fresh_rows(corpus))
        learnt.setdefault(loss.student.key, loss)  # a student of several claims bears the first one's name
    return Findings(
        title=title, section=section, hypothesis=(hypothesis or "").strip(), claims=tuple(claims),
        held=tuple(held.values()), learnt=tuple(learnt.values()), probes=tuple(probes), judged=tuple(judged),
        writers=tuple(writers),
        filtered=tuple(f for c in claims if (f := filtered(c.name, c.comparison)) is not None),
    )  # fmt: skip


def fresh_rows(corpus: Corpus, size: int = 200) -> Corpus:
    """Rows of the same writer (or writers) that nobody was trained on: other prompts, the same filters."""
    if isinstance(corpus, MixedCorpus):
        own, other = fresh_rows(corpus.own, size), fresh_rows(corpus.other, size)
        return corpus.model_copy(update={"samples": own.samples, "size": size, "own": own, "other": other})
    prompts = corpus.samples.prompts
    per_row = prompts.n / corpus.size if corpus.size else 1.0  # as many as the corpus itself needed, and some more
    n = math.ceil(size * max(2.0, 1.2 * per_row))
    asked = prompts.model_copy(update={"n": n, "seed": prompts.seed + 5_000_000})
    sampling = corpus.samples.sampling.model_copy(update={"seed": asked.seed})
    samples = corpus.samples.model_copy(update={"prompts": asked, "sampling": sampling})
    return corpus.model_copy(update={"samples": samples, "size": size})


def adjust(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's p of each test of a family (only tests that decide something belong to it); nan stays nan."""
    defined = {name: p for name, p in p_values.items() if math.isfinite(p)}
    return {**p_values, **(dict(zip(defined, holm(defined).adjusted, strict=True)) if defined else {})}


def _row(claim: Claim, results: dict[str, dict[str, Any]], p: float) -> dict[str, Any]:
    """One claim's figures, and the paper's beside it; `p` is not corrected."""
    result = results[claim.name]
    part = None
    if claim.of is not None:
        part = ratio(result["per_unit"], results[claim.of]["per_unit"], result["log_odds"]["unit"])
    return result | {
        "name": claim.name, "expect": claim.expect, "of": claim.of, "p": p, "key": claim.comparison.key,
        "part": None if part is None else part.model_dump(),
        "published": None if claim.published is None else claim.published.model_dump(),
        "agrees": _agrees(claim, result),
    }  # fmt: skip


def holds(expect: Expectation, result: dict[str, Any], p: float, part: Estimate | None) -> bool | None:
    """Whether what was found is what was expected; None where that cannot be said.

    A rise needs a Holm-corrected p of at most .05 and the trait's lift to be the largest of its category. "Nothing" is
    a claim of equivalence: the part's interval must lie between -NULL_PART and NULL_PART. "Less" needs it below 1.
    """
    if expect == "open":
        return None
    if expect == "up":
        return None if math.isnan(p) else p <= ALPHA and result["log_odds"]["mean"] > 0 and result["rank"] == 1
    if part is None or math.isnan(part.high):
        return None
    return part.low > -NULL_PART and part.high < NULL_PART if expect == "nothing" else part.high < 1.0


def _agrees(claim: Claim, result: dict[str, Any]) -> bool | None:
    """Whether both moved the same way from their controls (the sizes are not comparable in scale).

    None where the paper has no value, where ours is undefined, and where nothing is expected: what is left has no
    direction to agree on.
    """
    mean = result["log_odds"]["mean"]
    if claim.published is None or claim.expect == "nothing" or math.isnan(mean):
        return None
    return bool((claim.published.rise > 0) == (mean > 0))
