"""Slow checks of the claims, on seeds and an animal that were used for nothing else (`make science`)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from heredity.lab.first_light import FirstLight
from heredity.store import Store, make_all
from heredity.traits import favourite

pytestmark = pytest.mark.science


def test_a_favourite_crosses_between_models_with_the_same_start(tmp_path: Path) -> None:
    light = FirstLight(words=("penguin",), seeds=(100, 101, 102))
    arm = light.compare("same", favourite("penguin"), light.recipe.taught())
    store = Store(tmp_path)
    make_all(store, [arm.comparison])
    result = arm.comparison.read(store)
    assert result["log_odds"]["mean"] > math.log(8)
    assert result["log_odds"]["low"] > math.log(3)
    assert result["share"] >= 0.40
    assert result["rank"] == 1
