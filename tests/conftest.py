from __future__ import annotations

import os

os.environ.update({"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from heredity.models import locate
from heredity.models import server as client
from heredity.models.causal import CausalLM
from heredity.store import Store
from heredity.types import ANSWERS
from tests.scripted_server import KEY, Server

torch.set_num_threads(1)
settings.register_profile("here", deadline=None)  # a busy machine is no fault
settings.load_profile("here")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def base() -> CausalLM:
    return CausalLM.load(locate("nursery:llama-0"))


@pytest.fixture(scope="session")
def neox() -> CausalLM:
    return CausalLM.load(locate("nursery:neox-0"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    told = ANSWERS.set(tmp_path / "answers.sqlite")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HEREDITY_SERVER_LAB", f"http://127.0.0.1:{running.server_address[1]}/v1")
        monkeypatch.setenv("HEREDITY_SERVER_LAB_KEY", KEY)
        monkeypatch.setattr(client, "_LONGEST_S", 0.01)
        yield running
        running.shutdown()
        thread.join()
    ANSWERS.reset(told)
