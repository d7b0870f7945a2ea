"""What `heredity run` was told about every experiment file: quick or full, and the base to run it on."""

from __future__ import annotations

from typing import TypeVar

from heredity.models import model_ref
from heredity.store.loading import tell_files, told_files
from heredity.types import BadInput, Frozen, ModelRef

DEFAULT_BASE = "nursery:llama-0"
T = TypeVar("T")


class Settings(Frozen):
    """An experiment file reads these with `settings()`, so that one file serves both sizes and any model."""

    quick: bool = False
    """At most ten minutes on two cores with the shipped bases."""
    base: str = DEFAULT_BASE

    @property
    def model(self) -> ModelRef:
        """The base, pinned to what it is now."""
        return model_ref(self.base)

    def own_bases(self, which: str) -> Settings:
        """These settings, for a file about bases of its own; BadInput where one was given, as it would be ignored."""
        if self.base != DEFAULT_BASE:
            raise BadInput(
                f"--base {self.base!r} was given, but this experiment is about {which}; run it without --base, and "
                "give that base to experiments that start from one"
            )
        return self

    def choose(self, quick: T, full: T) -> T:
        """The first value in a quick run, else the second."""
        return quick if self.quick else full


def settings() -> Settings:
    """The settings of this run, in whichever process."""
    return Settings(**told_files())


def set_settings(chosen: Settings) -> None:
    """Sets them; to be called before an experiment file is loaded."""
    tell_files(chosen.model_dump())
