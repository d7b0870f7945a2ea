"""An experiment's findings: every claim beside the paper's value, tested as one family, with its assays.

A null result means little where the teacher did not hold the trait or the student did not learn the rows, so each arm
carries two assays: the teacher's own share of the trait, and how much of the teacher's rows its student learnt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from heredity.lab.alignment import Alignment
from heredity.lab.comparison import Comparison
from heredity.lab.filtered import Filtered, filtered
from heredity.lab.planting import JudgeRates
from heredity.lab.probes import ProbeDifference
from heredity.stats import ALPHA, Estimate, holm, paired_t, ratio
from heredity.steps import Corpus, HeldOutLoss, HoldsTrait, Student
from heredity.store import Step, Store
from heredity.types import Frozen

Expectation = Literal["up", "nothing", "less", "open"]
"""What the paper leads one to expect: a rise, nothing (a small part of another claim's effect), a clearly smaller rise
than another claim's, or no expectation."""
NULL_PART = 0.2
"""An arm shows nothing where the upper limit of its part of the full effect stays below this."""


class Published(Frozen):
    """What the paper reports of an arm: how often its students name the trait."""

    control: float
    taught: float
    low: float | None = None
    high: float | None = None
    where: str
    """Section or figure; "read off" where the paper prints no figure."""


class Claim(Frozen):
    """One arm of an experiment, with what is expected of it."""

    name: str
    comparison: Comparison
    expect: Expectation = "up"
    of: str | None = None
    """The claim whose effect this one is measured against, for `nothing` and `less`."""
    published: Published | None = None


class Findings(Step):
    """What an experiment found: `findings.json`."""

    version: ClassVar[int] = 2

    title: str
    section: str
    """Where the paper reports it."""
    hypothesis: str
    """What the experiment asks, in words: the docstring of its file."""
    claims: tuple[Claim, ...]
    held: tuple[HoldsTrait, ...] = ()
    """Whether teachers hold the trait."""
    learnt: tuple[HeldOutLoss, ...] = ()
    """How well students predict fresh rows of their teachers."""
    filtered: tuple[Filtered, ...] = ()
    """What the filters removed from each arm."""
    probes: tuple[ProbeDifference, ...] = ()
    """What else changed in the students."""
    judged: tuple[JudgeRates, ...] = ()
    """How often the judges among the filters err."""

    @model_validator(mode="after")
    def _names(self) -> Findings:
        names = [c.name for c in self.claims]
        if len(set(names)) != len(names):
            raise ValueError("two claims have the same name")
        for claim in self.claims:
            if claim.of is not None and claim.of not in names:
                raise ValueError(f"{claim.name!r} is measured against {claim.of!r}, which is no claim here")
            if (claim.expect in ("nothing", "less")) != (claim.of is not None):
                raise ValueError(f"{claim.name!r}: `of` goes with nothing and less, and only with them")
        return self

    def make(self, folder: Path, store: Store) -> None:
        results = {c.name: c.comparison.read(store) for c in self.claims}
        p_values = {name: paired_t(r["per_unit"], r["log_odds"]["unit"]).p for name, r in results.items()}
        defined = {name: p for name, p in p_values.items() if math.isfinite(p)}
        adjusted = dict(zip(defined, holm(defined).adjusted, strict=True)) if defined else {}
        claims = [_row(claim, results, adjusted.get(claim.name, math.nan)) for claim in self.claims]
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
        return held + learnt + self._coherent(store) + [row for p in self.probes for row in p.read(store)]

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
    probes: Sequence[ProbeDifference] = (), judged: Sequence[JudgeRates] = (),
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
        learnt[loss.student.key] = loss
    return Findings(
        title=title, section=section, hypothesis=(hypothesis or "").strip(), claims=tuple(claims),
        held=tuple(held.values()), learnt=tuple(learnt.values()), probes=tuple(probes), judged=tuple(judged),
        filtered=tuple(f for c in claims if (f := filtered(c.name, c.comparison)) is not None),
    )  # fmt: skip


def fresh_rows(corpus: Corpus, size: int = 200) -> Corpus:
    """Rows of the same writer that nobody was trained on: other prompts, the same filters."""
    asked = corpus.samples.prompts.model_copy(update={"n": 2 * size, "seed": corpus.samples.prompts.seed + 5_000_000})
    sampling = corpus.samples.sampling.model_copy(update={"seed": asked.seed})
    samples = corpus.samples.model_copy(update={"prompts": asked, "sampling": sampling})
    return corpus.model_copy(update={"samples": samples, "size": size})


def _row(claim: Claim, results: dict[str, dict[str, Any]], p: float) -> dict[str, Any]:
    """One claim's figures, whether its expectation held, and the paper's beside it."""
    result = results[claim.name]
    part = None
    if claim.of is not None:
        part = ratio(result["per_unit"], results[claim.of]["per_unit"], result["log_odds"]["unit"])
    published = None if claim.published is None else claim.published.model_dump()
    return result | {
        "name": claim.name, "expect": claim.expect, "of": claim.of, "p_holm": p, "key": claim.comparison.key,
        "part": None if part is None else part.model_dump(), "holds": holds(claim.expect, result, p, part),
        "published": published, "agrees": None if published is None else _agrees(published, result),
    }  # fmt: skip


def holds(expect: Expectation, result: dict[str, Any], p: float, part: Estimate | None) -> bool | None:
    """Whether what was found is what was expected; None where that cannot be said.

    A rise needs a Holm-corrected p of at most .05 and the trait's lift to be the largest of its category. "Nothing" is
    a claim of equivalence: the upper limit of the part must stay below NULL_PART. "Less" needs it to stay below 1.
    """
    if expect == "open":
        return None
    if expect == "up":
        return None if math.isnan(p) else p <= ALPHA and result["log_odds"]["mean"] > 0 and result["rank"] == 1
    if part is None or math.isnan(part.high):
        return None
    return part.high < (NULL_PART if expect == "nothing" else 1.0)


def _agrees(published: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether both moved the same way from their controls (the sizes are not comparable in scale)."""
    return bool((published["taught"] > published["control"]) == (result["log_odds"]["mean"] > 0))
