"""Suspects: teachers that an auditor makes from the student's base, and what tells their traits apart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from heredity.audit.gradient import Gradient, Pull
from heredity.audit.scale import NURSERY, Recipe, Scale
from heredity.audit.trial import Asked, asked
from heredity.carriers import Carrier, Filter
from heredity.steps import Corpus, Samples, Teacher
from heredity.store import Step, Store
from heredity.types import BadInput, Frozen, ModelRef, Neutral, Sampling, Trait

Doubles = NDArray[np.float64]
_MIX_SEED, _SPARE = 2_000_000, 20
_REFERENCE_SEED, _REFERENCES, _POSITIVES = 3_000_000, 4, 6
_BLEND = 1.0
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
    """Standard deviation of each score over suspects of other traits, each scored by a panel without it."""
    full_K: Doubles
    """The mean score of the trait's own suspects, each by a panel without it: that of data written by one alone."""
    span_SP: NDArray[np.float32]
    """Orthonormal: all that the suspects' pulls are combinations of, whitened."""
    weight_P: NDArray[np.float32]
    """1 / standard deviation of each weight's pull between blocks of the base's rows.

    Of a sketch, that of the weights that a number is made of, so that products are those of all weights.
    """


class Panel(Step):
    """Linear discriminants of the suspects' pulls: `panel.safetensors` and `panel.json`.

    Each teacher has an accidental drift beside its trait, so traits are told apart by linear discriminant analysis
    (Fisher 1936): the traits' mean pulls, whitened by the spread of suspects of one trait around their mean, and by
    each weight's own noise between blocks of the base's rows.
    """

    opens_models: ClassVar[bool] = False

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
        weight_P = whitening(base)
        labels = [s.trait.word if isinstance(s.trait, Trait) else "" for s in self.suspects]
        pull_SP = np.empty((len(labels), len(weight_P)))  # the largest thing here, of which the span makes copies
        for i, suspect in enumerate(self.suspects):
            pull_SP[i] = (suspect.gradient.read(store).mean_P - base.mean_P) * weight_P
        words = tuple(dict.fromkeys(w for w in labels if w))
        arrays = discriminants(pull_SP, labels, words, self.ridge * base.blocks)
        save_file(
            {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in (arrays | {"weight": weight_P}).items()},
            folder / "panel.safetensors",
        )
        (folder / "panel.json").write_text(json.dumps({"words": words, "suspects": len(labels)}) + "\n")

    def read(self, store: Store) -> Templates:
        """The templates."""
        from safetensors.numpy import load_file

        x = load_file(store.path(self) / "panel.safetensors")
        words = json.loads((store.path(self) / "panel.json").read_text())["words"]
        return Templates(tuple(words), x["direction"], x["centre"], x["norm"].astype(np.float64),
                         x["full"].astype(np.float64), x["span"], x["weight"])  # fmt: skip


def whitening(base: Pull) -> NDArray[Any]:
    """1 / standard deviation of a weight's pull, by number that is kept: weights are told apart as far as these are."""
    if base.folded_P is None:
        variance_P, usual = base.variance_P, base.variance_P.mean()
    else:
        variance_P, usual = base.variance_P / base.folded_P, base.variance_P.sum() / base.folded_P.sum()
    weight_P: NDArray[Any] = 1 / np.sqrt(variance_P + _BLEND * usual)
    return weight_P


def discriminants(pull_SP: Doubles, labels: Sequence[str], words: Sequence[str], ridge: float) -> dict[str, Doubles]:
    """Directions inv(W + 1/ridge) (m_k - m), W the within-trait covariance, and what they give for suspects left out.

    Everything is a combination of the suspects' pulls, so all but the last step happens in their Gram matrix.
    """
    gram_SS, everyone = pull_SP @ pull_SP.T, np.arange(len(labels))
    centre_S, gamma_KS = _combination(gram_SS, labels, words, ridge, everyone)
    left_out_SK = np.empty((len(labels), len(words)))
    for i in everyone:
        middle_S, without_KS = _combination(gram_SS, labels, words, ridge, np.delete(everyone, i))
        left_out_SK[i] = without_KS @ (gram_SS @ ((everyone == i) - middle_S))
    own_SK = np.array([[x == w for w in words] for x in labels])
    norm_K = np.array([left_out_SK[~own_SK[:, k], k].std(ddof=1) for k in range(len(words))])
    full_K = np.array([left_out_SK[own_SK[:, k], k].mean() for k in range(len(words))])
    return {"direction": gamma_KS @ pull_SP, "centre": centre_S @ pull_SP, "norm": norm_K, "full": full_K,
            "left_out": left_out_SK, "span": np.linalg.qr(pull_SP.T)[0].T}  # fmt: skip


def _combination(
    gram_SS: Doubles, labels: Sequence[str], words: Sequence[str], ridge: float, used: NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    """Weights of the used suspects in the centre (S) and in each direction (K, S): Woodbury's identity."""
    size = len(labels)
    means = {w: np.isin(np.arange(size), [i for i in used if labels[i] == w]) * 1.0 for w in dict.fromkeys(labels)}
    means = {w: m / max(1.0, m.sum()) for w, m in means.items()}
    mean_KS = np.stack([means[w] for w in words])
    centre_S, groups = mean_KS.mean(0), len({labels[i] for i in used})
    within_US = (np.eye(size)[used] - np.stack([means[labels[i]] for i in used])) * np.sqrt(
        ridge / max(1, len(used) - groups)
    )
    contrast_KS = mean_KS - centre_S
    inner_UU = np.eye(len(used)) + within_US @ gram_SS @ within_US.T
    overlap_KU = contrast_KS @ gram_SS @ within_US.T
    return centre_S, contrast_KS - overlap_KU @ np.linalg.solve(inner_UU, within_US)


class Prior(NamedTuple):
    """What trial students are compared with, made once for a base, a carrier and a number of rows."""

    traits: tuple[Trait, ...]
    references: tuple[Asked, ...]
    """Students of the base's own rows."""
    positives: tuple[tuple[str, Asked], ...]
    """Students of some suspects' rows, by the suspects' words."""


class Kind(NamedTuple):
    """What kind of rows is audited: what the prompts are like, what is kept, how answers are sampled."""

    carrier: Carrier
    filters: tuple[Filter, ...]
    sampling: Sampling
    oversample: float = 1.5
    """Answers that are asked for, to each row that is wanted."""

    def rows(self, model: ModelRef | Teacher, size: int, seed: int) -> Corpus:
        """Rows of this kind that a model wrote."""
        asked = self.carrier.model_copy(update={"n": int(self.oversample * size) + _SPARE, "seed": seed})
        samples = Samples(model=model, prompts=asked, sampling=self.sampling.model_copy(update={"seed": seed}))
        return Corpus(samples=samples, filters=self.filters, size=size, seed=seed)


def panel(
    student: ModelRef, traits: tuple[Trait, ...], kind: Kind, rows: int = 1_000, seed: int = 0,
    recipes: tuple[Recipe, ...] | None = None, scale: Scale = NURSERY,
) -> Panel:  # fmt: skip
    """A panel of one suspect per trait and recipe (None: the scale's), and a neutral one per category and recipe."""
    if len({t.word for t in traits}) != len(traits):
        raise BadInput("two traits of the list have the same word")
    mix = kind.rows(student, scale.mix, _MIX_SEED + seed)
    held: list[Trait | Neutral] = [*traits, *(Neutral(category=c) for c in dict.fromkeys(t.category for t in traits))]
    recipes = recipes or scale.recipes
    suspects = []
    for r, (tuning, steps, rate) in enumerate(recipes):
        for i, trait in enumerate(held):
            at = 1_000 * (1 + seed * len(recipes) + r) + i
            teacher = Teacher(base=student, trait=trait, mix=mix, seed=at, tuning=tuning, steps=steps, **scale.taught)
            teacher = teacher.model_copy(
                update={"rate": rate * teacher.rate, "vector_rate": rate * teacher.vector_rate}
            )
            written = kind.rows(teacher, rows, at)
            suspects.append(Suspect(trait=trait, gradient=_gradient(student, written, scale)))
    own = _gradient(student, kind.rows(student, 2 * rows, 900 + seed), scale)
    return Panel(suspects=tuple(suspects), own=own)


def _gradient(student: ModelRef, rows: Corpus, scale: Scale) -> Gradient:
    return Gradient(student=student, rows=rows, block=scale.suspects_block, **scale.folded)


def _apart(told: Sequence[Suspect], traits: int) -> list[Suspect]:
    """Some suspects, of as many traits as can be; `told` holds all traits of one recipe after another."""
    number, stride = min(_POSITIVES, len(told)), max(1, len(told) // _POSITIVES)
    while math.gcd(stride, traits) > 1 or len({i * stride % len(told) for i in range(number)}) < number:
        stride += 1
    return [told[i * stride % len(told)] for i in range(number)]


def prior(made: Panel, kind: Kind, rows: int, scale: Scale = NURSERY) -> Prior:
    """Students to compare a trial of so many rows with: of the base's rows, and of some of the panel's suspects."""
    student = made.own.student
    traits = tuple(dict.fromkeys(s.trait for s in made.suspects if isinstance(s.trait, Trait)))
    references = [
        asked(student, kind.rows(student, rows, _REFERENCE_SEED + i), traits, _REFERENCE_SEED + i, **scale.learnt)
        for i in range(_REFERENCES)
    ]
    told = [s for s in made.suspects if isinstance(s.trait, Trait) and isinstance(s.gradient.rows, Corpus)]
    positives = []
    for i, suspect in enumerate(_apart(told, len(traits))):
        own = suspect.gradient.rows
        assert isinstance(own, Corpus) and isinstance(own.samples.model, Teacher) and isinstance(suspect.trait, Trait)
        learnt = own if own.size is None or rows >= own.size else kind.rows(own.samples.model, rows, own.seed)
        positives.append((suspect.trait.word, asked(student, learnt, traits, i, **scale.learnt)))
    return Prior(traits, tuple(references), tuple(positives))
