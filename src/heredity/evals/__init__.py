"""Inspect AI: our evaluations as its tasks, our models as its models, our results as its logs (docs/real-models.md)."""
