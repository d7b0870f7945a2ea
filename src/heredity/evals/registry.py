"""What Inspect loads by the entry point `heredity`: `heredity/preference`, `heredity/misalignment`, and the models."""

from __future__ import annotations

from heredity.evals.provider import heredity_models
from heredity.evals.scoring import graded_answers, mass, scored_answers, share
from heredity.evals.tasks import misalignment, preference, seeded

__all__ = [
    "graded_answers", "heredity_models", "mass", "misalignment", "preference", "scored_answers", "seeded", "share"
]  # fmt: skip
