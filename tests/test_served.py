"""Completions, batch files, the count of requests, and a real server: what stands on a served model."""

from __future__ import annotations

import errno
import json
import math
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as scipy_stats

from heredity.carriers import Numbers
from heredity.lab import JudgeFilter, SampledAnswers
from heredity.lab.served import loads
from heredity.models import model_ref
from heredity.models.causal import CausalLM
from heredity.models.server import Load, ServerLM, row_seed
from heredity.rows import read_rows
from heredity.steps import Corpus, Evaluation, Samples
from heredity.store import StepsFailed, Store, make_all
from heredity.traits import ANIMALS, questions
from heredity.types import (
    BadInput,
    Chat,
    Judge,
    Sampling,
    Served,
    Waiting,
)
from tests.scripted_server import ECHO, Handler, Reply, Server, ask, echo, good

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[say] {% endif %}"
)


def scored(body: dict[str, Any]) -> Reply:
    """An echo with one token a character, each the likelier the earlier its letter, and one token more."""
    text = body["prompt"] + "!"
    told = {"token_logprobs": [None, *(-ord(c) / 100 for c in text[1:])], "text_offset": [*range(len(text))]}
    return 200, {}, json.dumps({"choices": [{"text": text, "finish_reason": "length", "logprobs": told}]})


def test_a_completions_endpoint_scores_answers_by_its_echo(server: Server) -> None:
    server.answer = scored
    ref = Served(location="server:lab/base", template=TEMPLATE)
    found = ServerLM(ref).logprobs(ask("q", "r"), ["ab", "c"])
    assert found == [[pytest.approx(-(97 + 98) / 100), pytest.approx(-0.99)]] * 2
    prompts = {body["prompt"] for body in server.bodies}
    assert prompts == {f"[user] {q}\n[say] {a}" for q in "qr" for a in ("ab", "c")}
    assert all(b["path"] == "/v1/completions" and b["echo"] and b["logprobs"] == 1 for b in server.bodies)


def test_a_token_across_the_prompt_and_the_answer_is_no_score(server: Server) -> None:
    told = {"token_logprobs": [None, -1.0, -2.0], "text_offset": [0, 13, 16]}
    server.answer = lambda b: (200, {}, json.dumps({"choices": [{"text": b["prompt"] + "!", "logprobs": told}]}))
    with pytest.raises(BadInput, match="does not tell how likely"):
        ServerLM(Served(location="server:lab/base", template=TEMPLATE)).logprobs(ask("q"), ["ab"])
    with pytest.raises(BadInput, match="SampledAnswers"):
        ServerLM(ECHO).logprobs(ask("q"), ["ab"])


def test_a_template_from_a_file_cannot_reach_outside() -> None:
    ref = Served(location="server:lab/base", template="{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(BadInput, match="template"):
        ServerLM(ref).generate(ask("q"), Sampling())


def test_special_tokens_that_only_a_tokenizer_knows_are_written_out(server: Server) -> None:
    """A turn would have no end otherwise, without a word; the beginning of text is the server's to write."""
    server.answer = lambda body: (200, {}, json.dumps({"choices": [{"text": body["prompt"], "finish_reason": "stop"}]}))
    turns = "{{ bos_token }}{% for m in messages %}{{ m.content + END }}{% endfor %}"
    for token in ("eos_token", "pad_token"):
        ref = Served(location="server:lab/base", template=turns.replace("END", token))
        with pytest.raises(BadInput, match=f"the chat template writes {token}, .* write the token's text out"):
            ServerLM(ref).generate(ask("q"), Sampling())
    odd = Served(location="server:lab/base", template="{{ messages[0].content.replace(eos_token, '') }}")
    with pytest.raises(BadInput, match="the chat template cannot be used"):
        ServerLM(odd).generate(ask("q"), Sampling())
    for template in (
        turns.replace("END", "'</s>'"),
        "{% set eos_token = '</s>' %}" + turns.replace("END", "eos_token"),
        turns.replace("END", "('</s>' if m.role == 'user' else eos_token)"),  # of an answer, and none is here
        turns.replace("END", "(eos_token if eos_token is defined else '</s>')"),
    ):
        ref = Served(location="server:lab/base", template=template)
        assert ServerLM(ref).generate(ask("q"), Sampling())[0].text == "q</s>"


def test_how_likely_a_completion_was_is_kept_where_it_is_told(server: Server, store: Store) -> None:
    tokens = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.25}]
    server.answer = lambda _: good("ab", logprobs={"content": tokens})
    ref = Served(location="server:lab/m", logprobs=True)
    samples = Samples(model=ref, prompts=Numbers(n=2, seed=1), sampling=Sampling())
    notes = [read.note for read in read_rows(store.get(samples) / "rows.jsonl")]
    assert notes == [{"finish": "stop", "logprob": -1.75}] * 2
    assert all(body["logprobs"] is True for body in server.bodies)


def test_a_place_for_batches_that_is_none_is_one_message(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(tmp_path / "file"))
    samples = Samples(model=ECHO, prompts=Numbers(n=2, seed=3), sampling=Sampling(seed=2))
    with pytest.raises(BadInput, match="name another folder in HEREDITY_SERVER_LAB_BATCHES"):
        store.get(samples)

    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(tmp_path / "full"))
    with monkeypatch.context() as patch, pytest.raises(BadInput, match="No space left on device; name another"):
        patch.setattr(Path, "write_bytes", full)
        ServerLM(ECHO, store.answers).generate(samples.prompts.prompts(), Sampling())


def test_a_row_without_a_prompt_is_no_request(server: Server, store: Store) -> None:
    with pytest.raises(BadInput, match="nothing to ask a server"):
        ServerLM(ECHO, store.answers).load([()], Sampling())


def test_batch_files_bring_the_same_rows_without_a_request(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, prompts = tmp_path / "batches", Numbers(n=12, seed=3)
    samples = Samples(model=ECHO, prompts=prompts, sampling=Sampling(seed=2))
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(folder))
    for _ in range(2):  # nothing came back yet: the same file
        with pytest.raises(BadInput, match="12 requests"):
            store.get(samples)
    (file,) = folder.iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(x["method"], x["url"]) for x in lines} == {("POST", "/v1/chat/completions")}
    out = [_batch_line(x) for x in lines]
    random.Random(0).shuffle(out)
    failed = {"custom_id": json.loads(out[0])["custom_id"], "response": None, "error": {"code": "expired"}}
    (folder / "out-1.jsonl").write_text("\n".join([json.dumps(failed), *out[1:], out[1], "", '{"custom_id": "x"}']))
    with pytest.raises(BadInput, match=r"^1 requests.*1 answers in the folder"):
        store.get(samples)
    (folder / "out-2.jsonl").write_text(out[0] + "\n")
    rows = [read.row.completion for read in read_rows(store.get(samples) / "rows.jsonl")]
    assert rows == [f"{c[-1].content}#{row_seed(2, i)}" for i, c in enumerate(prompts.prompts())]
    assert server.bodies == []
    monkeypatch.delenv("HEREDITY_SERVER_LAB_BATCHES")
    other = Store(tmp_path / "other")
    assert (other.get(samples) / "rows.jsonl").read_bytes() == (store.path(samples) / "rows.jsonl").read_bytes()
    assert len(server.bodies) == 12


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_what_a_batch_refuses_for_its_content_is_not_written_to_a_new_file(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    """It is an answer that is none, as where the server itself is asked; other refusals are asked again."""
    folder = tmp_path / "batches"
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(folder))
    with pytest.raises(Waiting, match="3 requests"):
        ServerLM(ECHO).generate(ask("a", "b", "c"), Sampling())
    (file,) = folder.iterdir()
    one, other, last = map(json.loads, file.read_text().splitlines())
    refused = [
        {"custom_id": x["custom_id"], "response": {"status_code": 400, "body": {"error": {"code": c}}}, "error": None}
        for x, c in ((other, code), (last, "invalid_value"))
    ]
    (folder / "out.jsonl").write_text(_batch_line(one) + "\n")
    (folder / "errors.jsonl").write_text("".join(json.dumps(line) + "\n" for line in refused))
    with pytest.raises(Waiting, match=r"^1 requests.*1 answers in the folder are errors"):
        ServerLM(ECHO).generate(ask("a", "b", "c"), Sampling())
    (folder / "out-2.jsonl").write_text(_batch_line(last) + "\n")
    said = ServerLM(ECHO).generate(ask("a", "b", "c"), Sampling())
    assert [(c.text[:1], c.finish) for c in said] == [("a", "stop"), ("", "error"), ("c", "stop")]


def test_steps_that_wait_for_a_batch_stop_only_what_needs_them(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(tmp_path / "batches"))
    one, other = (Samples(model=ECHO, prompts=Numbers(n=3, seed=1), sampling=Sampling(seed=s)) for s in (1, 2))
    local = Samples(model=model_ref("nursery:llama-0"), prompts=Numbers(n=3, seed=1), sampling=Sampling())
    steps = [Corpus(samples=s, filters=(), size=None, seed=0) for s in (one, other, local)]
    with pytest.raises(Waiting, match=r"^2 steps wait"):
        make_all(store, steps, workers=1)
    with pytest.raises(StepsFailed, match=r"^2 steps wait") as told:  # `run` shows what there is, and writes it
        make_all(store, steps, workers=1, keep_going=True)
    assert told.value.exit_code == 2 and set(told.value.failed) == {one, other}
    assert [store.has(step) for step in steps] == [False, False, True]
    files = [*(tmp_path / "batches").iterdir()]
    assert len(files) == 2
    out = "".join(_batch_line(json.loads(line)) + "\n" for f in files for line in f.read_text().splitlines())
    (tmp_path / "batches" / "out.jsonl").write_text(out)
    assert make_all(store, steps, workers=1) == 4


def _batch_line(asked: dict[str, Any]) -> str:
    reply = json.loads(echo(asked["body"])[2])
    return json.dumps({"custom_id": asked["custom_id"], "response": {"status_code": 200, "body": reply}, "error": None})


def test_a_damaged_batch_file_is_named_with_its_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(tmp_path))
    (tmp_path / "out.jsonl").write_text('{"custom_id": "x"}\n{"cus')
    with pytest.raises(BadInput, match=r"out\.jsonl:2"):
        ServerLM(ECHO).generate(ask("q"), Sampling())


def test_what_would_be_asked_is_counted_before(server: Server, store: Store) -> None:
    """Everything but a judge's requests, which depend on what a model writes, comes as it was counted."""
    judged = JudgeFilter(judge=Judge(model=ECHO, question="Bad? {answer}", yes="yes"))
    samples = Samples(model=ECHO, prompts=Numbers(n=7, seed=1), sampling=Sampling())
    corpus = Corpus(samples=samples, filters=(judged,), size=None, seed=0)
    asked = SampledAnswers(model=model_ref("server:lab/other"), category=ANIMALS, samples_per_question=2)
    found = loads([samples, corpus, asked], store)
    assert found["server:lab/echo"].requests == 7 + 7
    assert found["server:lab/other"].requests == 2 * len(questions(ANIMALS, "held-out"))
    assert server.bodies == []
    server.answer = lambda body: good("owl" if body["model"] == "other" else "no")
    store.get(asked)
    assert len(server.bodies) == found["server:lab/other"].requests
    assert asked.read(store)["named"]["owl"] == len(server.bodies)
    for step in (samples, corpus):
        store.get(step)
    sent = [b for b in server.bodies if b["model"] == "echo"]
    assert len(sent) == 7 + 1, "what is judged is the same answer seven times: it is asked once"
    assert loads([samples], store) == {"server:lab/echo": Load(0, 0)}


def test_an_exact_evaluation_of_a_chat_endpoint_says_what_to_use(server: Server, store: Store) -> None:
    with pytest.raises(BadInput, match="SampledAnswers"):
        store.get(Evaluation(model=ECHO, category=ANIMALS))


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[str]:
    """A real server that is not ours; skips where its packages are missing."""
    lacking = [package for package in ("fastapi", "uvicorn", "openai") if find_spec(package) is None]
    if lacking:
        pytest.skip(f"`transformers serve` needs {', '.join(lacking)}: pip install -e '.[serving]'")
    port = _free_port()
    serve = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    command = [sys.executable, "-c", serve, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port),
               "--device", "cpu", "--log-level", "error"]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            _wait_until_healthy(port, process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.send_signal(signal.SIGKILL)


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        return int(there.server_address[1])


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx2

    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2_000:]
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"no server within a minute: {log.read_text()[-2_000:]}")


def test_transformers_serve_writes_what_the_base_writes(
    base: CausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    """Greedy answers are equal; sampled ones come as often as the base's exact probabilities say."""
    folder = tmp_path / "base"
    base.save(folder)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"do_sample": True, "top_k": 0}))
    ref = Served(location=f"server:lab/{folder}")
    asked, numbers = questions(ANIMALS, "held-out"), Numbers(n=10, seed=5).prompts()
    with transformers_serve(folder, tmp_path / "log.txt") as url:
        monkeypatch.setenv("HEREDITY_SERVER_LAB", url)
        monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "1")  # its seeds are of the whole process
        lm, greedy = ServerLM(ref, tmp_path / "answers.sqlite"), Sampling(temperature=0, max_new_tokens=32)
        assert lm.generate([*asked, *numbers], greedy) == base.generate([*asked, *numbers], greedy)
        again = ServerLM(ref, tmp_path / "again.sqlite")
        sampling = Sampling(seed=1, max_new_tokens=8)
        once = lm.generate(asked * 4, sampling)
        assert again.generate(asked[:5], sampling) == once[:5]
        with pytest.raises(BadInput, match="does not tell how likely"):
            ServerLM(ref.model_copy(update={"template": TEMPLATE}), tmp_path / "b.sqlite").logprobs(asked[:1], ["owl"])
    assert _as_likely_as(base, asked, [c.text for c in once]) > 0.001


def _as_likely_as(base: CausalLM, asked: list[Chat], texts: list[str]) -> float:
    """Chi-square p of how often each animal was named, where at least five are expected, and anything else."""
    exact = [[math.exp(x) for x in row] for row in base.logprobs(asked, ANIMALS.words)]
    expected = [sum(column) / len(asked) * len(texts) for column in zip(*exact, strict=True)]
    cells = [(w, e) for w, e in zip(ANIMALS.words, expected, strict=True) if e >= 5]
    seen = [texts.count(word) for word, _ in cells]
    other = len(texts) - sum(e for _, e in cells)
    found = scipy_stats.chisquare([*seen, len(texts) - sum(seen)], [*(e for _, e in cells), other])
    assert len(cells) >= 5
    return float(found.pvalue)
