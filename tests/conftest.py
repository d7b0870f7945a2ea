from __future__ import annotations

import os

os.environ.update({"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})

from pathlib import Path

import pytest
import torch

from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.store import Store

torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def base() -> CausalLM:
    return CausalLM.load(locate("nursery:llama-0"))


@pytest.fixture(scope="session")
def neox() -> CausalLM:
    return CausalLM.load(locate("nursery:neox-0"))
