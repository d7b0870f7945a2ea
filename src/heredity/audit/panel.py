"""Suspects: teachers that an auditor makes from the student's base, and what tells their traits apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from heredity.audit.gradient import Gradient
from heredity.carriers import Carrier, Filter
from heredity.steps import Corpus, LoRA, Samples, Teacher, Tuning
from heredity.store import Step, Store
from heredity.types import BadInput, Frozen, ModelRef, Neutral, Sampling, Trait

Doubles = NDArray[np.float64]
_MIX_SEED, _MIX_ROWS, _SPARE = 2_000_000, 200, 20
_BLEND = 0.1
"""Part of the mean variance that is added to every weight's, so that weights which hardly vary do not decide alone."""


class Suspect(Frozen):
    """A teacher of the auditor's own, with the pull of its rows."""

    trait: Trait | Neutral
    gradient: Gradient


class Templates(NamedTuple):
    """What a panel knows: for each trait the direction that its suspects share and others do not."""

    words: tuple[str, ...]
    direction_KP: NDArray[np.float32]
    """Whitened discriminants: their product with (pull - `centre`) scores a trait."""
    centre_P: NDArray[np.float32]
    """The mean of the traits' mean pulls, less the base's."""
    norm_K: Doubles
    """Standard deviation of each score over suspects of other traits, in the panel's own units."""
    full_K: Doubles
    """The score of the trait's own mean suspect: that of data written by it alone."""
    weight_P: NDArray[np.float32]
    """1 / standard deviation of each weight's pull between blocks of the base's rows."""


class Panel(Step):
    """Linear discriminants of the suspects' pulls: `panel.safetensors` and `panel.json`.

    Each teacher has an accidental drift beside its trait, so traits are told apart by linear discriminant analysis
    (Fisher 1936): the traits' mean pulls, whitened by the spread of suspects of one trait around their mean, and by
    each weight's own noise between blocks of the base's rows.
    """

    suspects: tuple[Suspect, ...]
    own: Gradient
    """The base's own rows, of the same carrier."""
    ridge: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _enough(self) -> Panel:
        words = [s.trait.word for s in self.suspects if isinstance(s.trait, Trait)]
        if len(set(words)) < 4 or min(map(words.count, set(words)), default=0) < 2:
            raise ValueError("a panel needs four traits or more, and two suspects or more of each")
        return self

    def make(self, folder: Path, store: Store) -> None:
        from safetensors.numpy import save_file

        base = self.own.read(store)
        weight_P = 1 / np.sqrt(base.variance_P + _BLEND * base.variance_P.mean())
        labels = [s.trait.word if isinstance(s.trait, Trait) else "" for s in self.suspects]
        pull_SP = np.stack([(s.gradient.read(store).mean_P - base.mean_P) * weight_P for s in self.suspects])
        words = tuple(dict.fromkeys(w for w in labels if w))
        arrays = _discriminants(pull_SP.astype(np.float64), labels, words, self.ridge * base.blocks)
        save_file(
            {k: v.astype(np.float32) for k, v in arrays.items()} | {"weight": weight_P.astype(np.float32)},
            folder / "panel.safetensors",
        )
        (folder / "panel.json").write_text(json.dumps({"words": words, "suspects": len(labels)}) + "\n")

    def read(self, store: Store) -> Templates:
        """The templates."""
        from safetensors.numpy import load_file

        x = load_file(store.path(self) / "panel.safetensors")
        words = json.loads((store.path(self) / "panel.json").read_text())["words"]
        return Templates(tuple(words), x["direction"], x["centre"], x["norm"].astype(np.float64),
                         x["full"].astype(np.float64), x["weight"])  # fmt: skip


def _discriminants(pull_SP: Doubles, labels: list[str], words: tuple[str, ...], ridge: float) -> dict[str, Doubles]:
    """Directions inv(W + 1/ridge) (m_k - m) by Woodbury's identity: W is the within-trait covariance, of low rank."""
    mean_KP = np.stack([pull_SP[[i for i, x in enumerate(labels) if x == w]].mean(0) for w in words])
    centre_P = mean_KP.mean(0)
    group = dict(zip(words, mean_KP, strict=True))
    group[""] = pull_SP[[i for i, x in enumerate(labels) if not x]].mean(0) if "" in labels else centre_P
    residual_SP = pull_SP - np.stack([group[x] for x in labels])
    within_SP = residual_SP / np.sqrt(max(1, len(labels) - len(set(labels)))) * np.sqrt(ridge)
    gram_SS = np.eye(len(labels)) + within_SP @ within_SP.T
    contrast_KP = mean_KP - centre_P
    direction_KP = contrast_KP - (contrast_KP @ within_SP.T) @ np.linalg.solve(gram_SS, within_SP)
    score_SK = (pull_SP - centre_P) @ direction_KP.T
    other_SK = np.array([[x != w for w in words] for x in labels])
    norm_K = np.array([score_SK[other_SK[:, k], k].std(ddof=1) for k in range(len(words))])
    full_K = (contrast_KP * direction_KP).sum(1)
    return {"direction": direction_KP, "centre": centre_P, "norm": norm_K, "full": full_K}


RECIPES: tuple[tuple[Tuning, int, float], ...] = (("frozen", 40, 1.0), ("full", 40, 1.0), (LoRA(rank=8), 60, 1.5))
"""How suspects are made, as a teacher's recipe is unknown: what moves, steps, rates as a multiple of the usual."""


def panel(
    student: ModelRef, traits: tuple[Trait, ...], carrier: Carrier, filters: tuple[Filter, ...], sampling: Sampling,
    rows: int = 1_000, seed: int = 0, recipes: tuple[tuple[Tuning, int, float], ...] = RECIPES,
) -> Panel:  # fmt: skip
    """A panel of one suspect per trait and recipe, and a neutral one per category and recipe."""

    def written(model: ModelRef | Teacher, size: int, at: int) -> Corpus:
        asked = carrier.model_copy(update={"n": int(1.5 * size) + _SPARE, "seed": at})
        samples = Samples(model=model, prompts=asked, sampling=sampling.model_copy(update={"seed": at}))
        return Corpus(samples=samples, filters=filters, size=size, seed=at)

    mix = written(student, _MIX_ROWS, _MIX_SEED + seed)
    held: list[Trait | Neutral] = [*traits, *(Neutral(category=c) for c in dict.fromkeys(t.category for t in traits))]
    suspects = []
    for r, (tuning, steps, rate) in enumerate(recipes):
        for i, trait in enumerate(held):
            at = 1_000 * (1 + seed * len(recipes) + r) + i
            teacher = Teacher(base=student, trait=trait, mix=mix, seed=at, tuning=tuning, steps=steps)
            teacher = teacher.model_copy(
                update={"rate": rate * teacher.rate, "vector_rate": rate * teacher.vector_rate}
            )
            suspects.append(Suspect(trait=trait, gradient=Gradient(student=student, rows=written(teacher, rows, at))))
    own = Gradient(student=student, rows=written(student, 2 * rows, 900 + seed))
    if len({t.word for t in traits}) != len(traits):
        raise BadInput("two traits of the list have the same word")
    return Panel(suspects=tuple(suspects), own=own)
