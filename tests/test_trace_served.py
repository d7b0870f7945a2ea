"""Behaviour alone, of models behind servers and of models at hand: the same words are compared, and kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heredity.carriers import Numbers
from heredity.lineage.behaviour import ASSUMPTIONS, SERVED_ASSUMPTIONS, behaviour
from heredity.models import locate
from heredity.models.causal import CausalLM
from heredity.traits import ANIMALS, questions
from heredity.types import BadInput, Chat, Completion, Sampling, Waiting
from tests.scripted_server import KEY, Reply, Server, good

CONTROLS = ["server:lab/stranger-0", "server:lab/stranger-1", "server:lab/stranger-2"]
ASKED = Numbers(n=200, seed=0).prompts()


def _answering(model: str, prompt: str) -> str:
    """A served model's reply: parent and child mostly give the same one, strangers mostly one of their own."""
    draw = np.random.default_rng(list(f"{model} {prompt}".encode()))
    own = f"{model}-{draw.integers(1_000)}".replace("-", "")
    common = f"{np.random.default_rng(list(prompt.encode())).integers(1_000)}, 4"
    rate = {"parent": 1.0, "child": 0.8}.get(model, 0.2)
    return common if draw.random() < rate else own


def _by_model(body: dict[str, Any]) -> Reply:
    return good(f"  {_answering(body['model'], body['messages'][-1]['content'])}")


def test_models_behind_a_server_that_answer_alike_are_related_and_strangers_are_not(server: Server) -> None:
    server.answer = _by_model
    found = behaviour("server:lab/child", "server:lab/parent", CONTROLS, ASKED)
    texts = [chat[-1].content for chat in ASKED]
    said = {m: [_answering(m, t).split(",")[0] for t in texts] for m in ("child", "parent")}
    assert found.agreement == np.mean([x == y for x, y in zip(said["child"], said["parent"], strict=True)])
    assert (found.verdict, found.prompts) == ("related", 200)
    assert found.assumptions == (*ASSUMPTIONS, *SERVED_ASSUMPTIONS)
    assert {(b["temperature"], b["max_tokens"]) for b in server.bodies} == {(0.0, 16)}
    assert len(server.bodies) == 5 * 200
    stranger = behaviour("server:lab/stranger-3", "server:lab/parent", CONTROLS, ASKED)
    assert stranger.verdict == "undetermined"
    assert len(server.bodies) == 6 * 200, "what the others had answered was kept"


def test_a_model_that_is_loaded_is_asked_as_those_behind_servers_are(
    server: Server, base: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says what a base writes agrees with that base in every prompt: both write as many tokens."""
    asked = ASKED[:60]
    told = base.generate(asked, Sampling(temperature=0, max_new_tokens=16))
    texts = {chat[-1].content: reply.text for chat, reply in zip(asked, told, strict=True)}

    def answer(body: dict[str, Any]) -> Reply:
        same = body["model"] == "same"
        return good(texts[body["messages"][-1]["content"]]) if same else _by_model(body)

    server.answer = answer
    lengths = []
    plain = CausalLM.generate

    def watched(lm: CausalLM, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        lengths.append(sampling.max_new_tokens)
        return plain(lm, chats, sampling)

    monkeypatch.setattr(CausalLM, "generate", watched)
    found = behaviour("server:lab/same", "nursery:llama-0", CONTROLS, asked)
    assert (found.agreement, found.verdict, lengths) == (1.0, "related", [16])


def test_a_silent_model_is_refused_and_what_a_batch_waits_for_is_told_of_all(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.answer = lambda body: good("...") if body["model"] == "stranger-1" else _by_model(body)
    with pytest.raises(BadInput, match="stranger-1 gave a word to 0 of 200 prompts"):
        behaviour("server:lab/child", "server:lab/parent", CONTROLS, ASKED)
    server.answer = lambda body: good("<think> Now") if body["model"] == "thinks" else _by_model(body)
    with pytest.raises(BadInput, match="thinks begins with 'think' in 200 of 200 answers"):
        behaviour("server:lab/thinks", "server:lab/parent", [f"{c}9" for c in CONTROLS], ASKED)
    sent = len(server.bodies)
    with pytest.raises(BadInput, match="no server named 'other'"):  # before anything is asked
        behaviour("server:lab/new", "server:other/m", CONTROLS, ASKED)
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(tmp_path / "batches"))
    with pytest.raises(Waiting, match=r"200 requests.*; 200 requests"):
        behaviour("server:lab/new", "server:lab/newer", ["server:lab/child", *CONTROLS[::2]], ASKED)
    assert len(list((tmp_path / "batches").glob("*.input.jsonl"))) == 2 + 1  # stranger-2 had not been asked either
    assert len(server.bodies) == sent


def test_models_at_hand_are_compared_as_before(tmp_path: Path) -> None:
    """Counts that were written down before servers were asked; the words are those of four tokens."""
    copy = shutil.copytree(locate("nursery:llama-1"), tmp_path / "copy")
    asked = [*ASKED, *questions(ANIMALS, "held-out")]
    found = behaviour("nursery:llama-0", "nursery:llama-0b", ["nursery:llama-1", "nursery:neox-0", str(copy)], asked)
    counts = {c.name: (round(c.agreement * 230, 6), c.only_a, c.only_control) for c in found.controls}
    assert counts == {"nursery:neox-0": (17, 16, 9), "nursery:llama-1": (11, 14, 1), str(copy): (11, 14, 1)}
    assert round(found.agreement * 230, 6) == 24
    assert [found.p, found.panel_p] == pytest.approx([0.11476147174835191, 0.056375504659438865])
    assert (found.verdict, found.assumptions) == ("undetermined", ASSUMPTIONS)


def test_the_verb_asks_servers_and_says_in_one_line_where_it_cannot(server: Server, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.json"
    lines = [json.dumps({"prompt": chat[-1].content, "completion": "1"}) for chat in ASKED]
    rows.write_text("\n".join(lines))
    server.answer = _by_model
    more = ["--behaviour", "--prompts", str(rows), "--json", str(out), *(x for c in CONTROLS for x in ("--control", c))]
    pair = ["trace", "server:lab/child", "server:lab/parent"]
    done = _run_in(tmp_path, *pair, *more)
    assert done.returncode == 10, done.stderr
    assert (json.loads(out.read_text())["verdict"], len(server.bodies)) == ("related", 1_000)
    assert KEY not in done.stdout + done.stderr + out.read_text()
    assert _run_in(tmp_path, *pair, *more).returncode == 10
    assert len(server.bodies) == 1_000, "a second run finds every answer beside the store"
    server.answer = lambda body: (403, {}, "no")
    refused = _run_in(tmp_path, "trace", "server:lab/other", "server:lab/parent", *more)
    weights = _run_in(tmp_path, *pair)
    for failed, why in ((refused, "403"), (weights, "--behaviour")):
        assert (failed.returncode, failed.stderr.count("\n")) == (2, 1), failed.stderr
        assert why in failed.stderr


def _run_in(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
