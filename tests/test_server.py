"""Models behind servers: what is sent, what is tried again, what is kept, and that the key goes nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from bench.faulty_server import answer_to
from bench.server import exercise
from scipy import stats as scipy_stats

from heredity.carriers import Numbers
from heredity.lab import Agreement, Grader, Judged, JudgeFilter, SampledAnswers
from heredity.lab.judges import grades
from heredity.lab.served import loads
from heredity.models import model_ref, open_ref
from heredity.models import server as client
from heredity.models.answers import Answer, Spent, kept_answers
from heredity.models.calls import Again, reading, retry_after
from heredity.models.causal import CausalLM
from heredity.models.endpoint import find_endpoint
from heredity.models.server import Load, ServerLM, row_seed
from heredity.report.terminal import print_results
from heredity.rows import read_rows
from heredity.stats import kappa
from heredity.steps import Corpus, Evaluation, Samples
from heredity.store import Store, describe, make_all
from heredity.store.step import rebuild
from heredity.traits import ANIMALS, questions
from heredity.types import (
    ANSWERS,
    BadInput,
    Category,
    Chat,
    Completion,
    Judge,
    Message,
    Pattern,
    Phrasing,
    Sampling,
    Served,
    StoreError,
    Waiting,
)

KEY = "sk-9f3c-not-a-real-key"
LAB = find_endpoint("lab", {"HEREDITY_SERVER_LAB": "http://127.0.0.1:8000/v1", "HEREDITY_SERVER_LAB_KEY": KEY})
ECHO = Served(location="server:lab/echo")
Reply = tuple[int, dict[str, str], str]


def ask(*texts: str) -> list[Chat]:
    return [(Message(role="user", content=text),) for text in texts]


def good(text: str = "fine", tokens: int = 7, **choice: Any) -> Reply:
    said = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
    return 200, {}, json.dumps({"model": "echo-1", "choices": [said], "usage": {"total_tokens": tokens}})


def echo(body: dict[str, Any]) -> Reply:
    """The question and the seed, so that every row is known by its text."""
    return good(f"{body['messages'][-1]['content']}#{body.get('seed')}")


class Server(ThreadingHTTPServer):
    """Answers by a function of the body, after the scripted replies are used up; remembers what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply] = []
        self.answer: Callable[[dict[str, Any]], Reply] = echo
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.stalls: list[float] = []
        self.slow_s, self.now, self.most = 0.0, 0, 0
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
            server.bodies.append(body | {"path": self.path})
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            status, headers, text = server.script.pop(0) if server.script else server.answer(body)
            wait = server.stalls.pop(0) if server.stalls else server.slow_s
        time.sleep(wait)
        with server.lock:
            server.now -= 1
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(text.encode()))}).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # whoever stopped waiting is gone
            self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Nothing."""


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


def test_rows_arrive_once_although_three_answers_of_ten_fail_and_the_client_is_killed_twice(tmp_path: Path) -> None:
    found = exercise(300, tmp_path, key=KEY)
    assert (found["rows"], found["kills"], found["lost"], found["repeated"], found["out_of_place"]) == (300, 2, 0, 0, 0)
    assert found["faults_injected"] > 60
    assert len(found["faults"]) == 9
    held = [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert (tmp_path / "store" / "answers.sqlite").is_file()
    assert held == []


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_a_busy_server_is_asked_again(server: Server, status: int) -> None:
    server.script = [(status, {}, "busy"), (status, {}, '{"error": "busy"}')]
    assert ServerLM(ECHO).generate(ask("q"), Sampling(temperature=0))[0].text == "q#None"
    assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
def test_a_refusal_is_not_asked_again_and_shows_no_key(server: Server, status: int) -> None:
    server.answer = lambda _: (status, {"Location": "http://127.0.0.1:9/"}, f'{{"error": {{"message": "key {KEY}!"}}}}')
    with pytest.raises(BadInput) as refused:
        ServerLM(ECHO).generate(ask("q"), Sampling())
    assert len(server.bodies) == 1
    assert str(status) in str(refused.value)
    assert KEY not in str(refused.value)


def test_what_a_row_is_refused_for_its_content_is_an_answer_that_is_none(server: Server) -> None:
    server.script = [(400, {}, '{"error": {"code": "content_filter", "message": "no"}}')]
    assert ServerLM(ECHO).generate(ask("q"), Sampling()) == [Completion(text="", finish="error")]


def test_a_used_up_quota_is_not_waited_for(server: Server) -> None:
    server.answer = lambda _: (429, {}, '{"error": {"code": "insufficient_quota", "message": "pay"}}')
    with pytest.raises(BadInput, match="insufficient_quota"):
        ServerLM(ECHO).generate(ask("q"), Sampling())
    assert len(server.bodies) == 1


@pytest.mark.parametrize("text", [
    "", "<html>", '{"choices": [{"mess', '{"choices": []}', '{"error": {"message": "overloaded"}}', "[1]", "null",
    '{"choices": [{"finish_reason": "stop"}]}', '{"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}',
    good()[2].replace('"choices": [', '"choices": [{"text": "two"}, '), good()[2][:-1],
])  # fmt: skip
def test_a_garbled_answer_is_asked_for_again(server: Server, text: str) -> None:
    server.script = [(200, {}, text)]
    assert ServerLM(ECHO).generate(ask("q"), Sampling(temperature=0))[0].text == "q#None"
    assert len(server.bodies) == 2


def test_a_key_in_an_answer_is_hidden_however_it_is_escaped() -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in KEY)
    text = good("K")[2].replace("K", escaped)
    assert KEY not in text
    assert reading(LAB, None, text).text == "[key]"
    assert reading(LAB, None, text.replace("echo-1", escaped)).model == "[key]"


def test_an_answer_in_another_encoding_is_none() -> None:
    with pytest.raises(Again):
        reading(LAB, None, good("na\u00efve")[2].encode("latin-1").replace(b"\\u00ef", b"\xef"))


def test_every_beginning_of_an_answer_is_told_from_an_answer() -> None:
    whole = good("a \u00e9 \\ b")[2]
    assert reading(LAB, None, whole) == Answer("a \u00e9 \\ b", "stop", None, 7, "echo-1")
    for cut in range(len(whole)):
        with pytest.raises(Again):
            reading(LAB, None, whole[:cut])


@pytest.mark.parametrize(("reason", "text", "finish"), [
    ("stop", "a", "stop"), ("length", "a", "length"), ("content_filter", "a", "error"), ("tool_calls", None, "error"),
    (None, "a", "error"), ("stop", None, "error"), ("length", None, "length"),
])  # fmt: skip
def test_why_an_answer_ended(reason: str | None, text: str | None, finish: str) -> None:
    read = reading(LAB, None, good(text, finish_reason=reason)[2])  # type: ignore[arg-type]
    assert (read.text, read.finish) == (text or "", finish)


def test_a_server_is_given_up_after_twelve_attempts_and_one_that_was_never_there_after_five(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = lambda _: (503, {}, "down")
    with pytest.raises(BadInput, match=r"12 attempts.*503: down"):
        ServerLM(ECHO).generate(ask("q"), Sampling())
    assert len(server.bodies) == 12
    monkeypatch.setenv("HEREDITY_SERVER_LAB", "http://127.0.0.1:9/v1")
    with pytest.raises(BadInput, match=r"5 attempts.*no connection"):
        ServerLM(ECHO).generate(ask("q"), Sampling())


def test_a_server_says_how_long_to_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "1")
    server.script = [(429, {"Retry-After": "0.4"}, "")]
    ServerLM(ECHO).generate(ask("q", "r"), Sampling())
    first, second, _ = server.times
    assert 0.4 <= second - first < 1.0
    server.script = [(429, {"Retry-After": "86400"}, "tomorrow")]
    with pytest.raises(BadInput, match="wait for 86400 s"):
        ServerLM(ECHO).generate(ask("s"), Sampling())
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": "-3"}) == 0
    assert [retry_after({"retry-after": t}) for t in ("", "soon", "nan", "inf")] == [None] * 4
    assert retry_after({}) is None


def test_a_stalled_answer_is_asked_for_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_TIMEOUT", "0.2")
    server.stalls = [0.5]
    assert ServerLM(ECHO).generate(ask("q"), Sampling(temperature=0))[0].text == "q#None"
    assert len(server.bodies) == 2


def test_no_more_requests_than_allowed_wait_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "3")
    server.slow_s = 0.02
    ServerLM(ECHO).generate(ask(*map(str, range(20))), Sampling())
    assert server.most == 3


def test_each_row_has_a_seed_of_its_own_by_its_place(server: Server) -> None:
    texts = [c.text for c in ServerLM(ECHO).generate(ask("q", "q", "r"), Sampling(seed=5))]
    assert texts == [f"q#{row_seed(5, 0)}", f"q#{row_seed(5, 1)}", f"r#{row_seed(5, 2)}"]
    assert all(b["top_p"] == 1 and b["temperature"] == 1 and b["max_tokens"] == 32 for b in server.bodies)
    ServerLM(ECHO).generate(ask("q", "q"), Sampling(seed=5))
    assert len(server.bodies) == 3, "these are kept"
    ServerLM(ECHO).generate(ask("q"), Sampling(seed=6))
    ServerLM(ECHO.model_copy(update={"digest": "later"})).generate(ask("q"), Sampling(seed=5))
    assert len(server.bodies) == 5, "another seed and another label are other rows"
    assert len({row_seed(5, i) for i in range(20_000)}) > 19_990


def test_equal_questions_at_temperature_0_are_asked_once(server: Server) -> None:
    assert len(ServerLM(ECHO).generate(ask("q", "q", "q"), Sampling(temperature=0))) == 3
    assert len(server.bodies) == 1
    assert "seed" not in server.bodies[0]


def test_rows_differ_also_where_the_seed_is_not_sent(server: Server) -> None:
    server.answer = lambda _: good(str(len(server.bodies)))
    ref = Served(location="server:lab/o", extra='{"seed": null, "max_tokens": null, "max_completion_tokens": 9}')
    texts = [c.text for c in ServerLM(ref).generate(ask("q", "q"), Sampling())]
    assert sorted(texts) == ["1", "2"]
    assert all("seed" not in b and "max_tokens" not in b and b["max_completion_tokens"] == 9 for b in server.bodies)


def test_answers_that_came_before_a_failure_are_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "1")
    server.script = [good("first"), (400, {}, "bad")]
    with pytest.raises(BadInput, match="1 of 3 missing answers came and are kept"):
        ServerLM(ECHO).generate(ask("a", "b", "c"), Sampling())
    assert ServerLM(ECHO).generate(ask("a", "b", "c"), Sampling())[0].text == "first"
    assert Counter(b["messages"][0]["content"] for b in server.bodies) == {"a": 1, "b": 2, "c": 1}


def test_requests_stop_at_their_limit_and_go_on_where_it_is_raised(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_MAX_REQUESTS", "5")
    with pytest.raises(BadInput, match=r"limit.*5 requests.*HEREDITY_SERVER_LAB_MAX_REQUESTS"):
        ServerLM(ECHO).generate(ask(*"abcdefgh"), Sampling())
    assert len(server.bodies) == 5
    monkeypatch.setenv("HEREDITY_SERVER_LAB_MAX_REQUESTS", "8")
    assert len(ServerLM(ECHO).generate(ask(*"abcdefgh"), Sampling())) == 8
    assert len(server.bodies) == 8


def test_tokens_never_pass_their_limit(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A request is sent only if the most it can use still fits; what it did use is booked."""
    monkeypatch.setenv("HEREDITY_SERVER_LAB_MAX_TOKENS", "200")
    server.answer = lambda _: good(tokens=40)
    with pytest.raises(BadInput, match="limit"):
        ServerLM(ECHO).generate(ask(*"abcdefgh"), Sampling(max_new_tokens=32))
    with kept_answers(tmp_path / "answers.sqlite") as kept:
        assert kept.spent("lab") == Spent(len(server.bodies), 40 * len(server.bodies))
        assert 40 * len(server.bodies) <= 200


def test_what_failed_is_booked_as_it_may_have_cost(server: Server, tmp_path: Path) -> None:
    server.script = [(429, {}, ""), (500, {}, ""), (200, {}, "cut")]
    ServerLM(ECHO).generate(ask("abc"), Sampling(max_new_tokens=32))
    with kept_answers(tmp_path / "answers.sqlite") as kept:
        assert kept.spent("lab") == Spent(4, 3 + 16 + 32 + 7)


def test_two_who_ask_share_one_limit_and_the_first_answer_stays(tmp_path: Path) -> None:
    with kept_answers(tmp_path / "a") as one, kept_answers(tmp_path / "a") as two:
        limit = Spent(3, 100)
        assert [k.take("lab", 40, limit) for k in (one, two, one)] == [True, True, False]
        two.give_back("lab", 30)
        assert one.take("lab", 40, limit)
        assert not two.take("lab", 1, limit)
        one.write("x", Answer("1", "stop", None, None, None))
        two.write("x", Answer("2", "stop", None, None, None))
        assert two.read(["x", "y"]) == {"x": Answer("1", "stop", None, None, None)}


def test_a_damaged_file_of_answers_is_one_message(server: Server, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"answers\.sqlite"):
        ServerLM(ECHO).generate(ask("q"), Sampling())


def test_the_key_is_in_the_header_and_nowhere_else(
    server: Server, store: Store, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer = lambda body: good(f"your header was Bearer {KEY}, {body['messages'][-1]['content']}")
    samples = Samples(model=ECHO, prompts=Numbers(n=3, seed=1), sampling=Sampling())
    store.get(samples)
    assert {h["Authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    assert not any(KEY in json.dumps(body) for body in server.bodies)
    assert "HTTP Request" in caplog.text, "there is a log to look at"
    shown = caplog.text + "".join(capfd.readouterr()) + repr(find_endpoint("lab")) + json.dumps(describe(samples))
    assert KEY not in shown
    files = [p for p in store.root.rglob("*") if p.is_file()]
    assert {"answers.sqlite", "rows.jsonl", "manifest.json"} <= {p.name for p in files}
    assert [p for p in files if KEY.encode() in p.read_bytes()] == []
    assert "[key]" in (store.path(samples) / "rows.jsonl").read_text()


@pytest.mark.parametrize(("name", "value"), [
    ("_KEY", "two words-secret"), ("_KEY", "line\nsecret"), ("_KEY", "\u00e9secret"), ("", "http://me:secret@host/v1"),
    ("", "http://host/v1?key=secret"), ("", "ftp://secret/v1"), ("", "secret"), ("", "http:///secret"),
    ("_CONCURRENCY", "secret"), ("_TIMEOUT", "-1"), ("_MAX_TOKENS", "0"), ("_TIMEOUT", "nan"),
])  # fmt: skip
def test_a_wrong_variable_is_named_and_not_shown(name: str, value: str) -> None:
    env = {"HEREDITY_SERVER_LAB": "http://127.0.0.1:8000/v1", f"HEREDITY_SERVER_LAB{name}": value}
    with pytest.raises(BadInput, match=f"HEREDITY_SERVER_LAB{name}\\b") as told:
        find_endpoint("lab", env)
    assert "secret" not in str(told.value)


def test_an_endpoint_that_the_environment_does_not_name_is_asked_nothing(server: Server) -> None:
    other = rebuild(json.loads(json.dumps(describe(ECHO.model_copy(update={"location": "server:elsewhere/echo"})))))
    with pytest.raises(BadInput, match="set HEREDITY_SERVER_ELSEWHERE to"):
        ServerLM(other).generate(ask("q"), Sampling())
    assert server.bodies == []


@pytest.mark.parametrize("location", ["server:lab", "server:/m", "server:LAB/m", "server:a-b/m", "server:lab/m m"])
def test_a_location_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(BadInput, match="server:NAME/MODEL"):
        model_ref(location)


@pytest.mark.parametrize("extra", ["[]", "{", '{"model": "x"}', '{"messages": []}', '{"stream": true}'])
def test_further_fields_that_would_break_a_request_are_refused(extra: str) -> None:
    with pytest.raises(ValueError, match="extra"):
        Served(location="server:lab/m", extra=extra)


def test_no_proxy_is_asked_for_a_server_of_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ServerLM(ECHO).generate(ask("q"), Sampling(temperature=0))[0].text == "q#None"


def test_a_notebook_may_ask_while_its_own_loop_runs(server: Server) -> None:
    async def cell() -> list[Completion]:
        return ServerLM(ECHO).generate(ask("q"), Sampling(temperature=0))

    assert asyncio.run(cell())[0].text == "q#None"


def test_weights_are_not_asked_of_a_server() -> None:
    with pytest.raises(BadInput, match="shows no weights"):
        open_ref(ECHO)


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


def test_how_likely_a_completion_was_is_kept_where_it_is_told(server: Server, store: Store) -> None:
    tokens = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.25}]
    server.answer = lambda _: good("ab", logprobs={"content": tokens})
    ref = Served(location="server:lab/m", logprobs=True)
    samples = Samples(model=ref, prompts=Numbers(n=2, seed=1), sampling=Sampling())
    notes = [read.note for read in read_rows(store.get(samples) / "rows.jsonl")]
    assert notes == [{"finish": "stop", "logprob": -1.75}] * 2
    assert all(body["logprobs"] is True for body in server.bodies)


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


def test_steps_that_wait_for_a_batch_stop_only_what_needs_them(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_BATCHES", str(tmp_path / "batches"))
    one, other = (Samples(model=ECHO, prompts=Numbers(n=3, seed=1), sampling=Sampling(seed=s)) for s in (1, 2))
    local = Samples(model=model_ref("nursery:llama-0"), prompts=Numbers(n=3, seed=1), sampling=Sampling())
    steps = [Corpus(samples=s, filters=(), size=None, seed=0) for s in (one, other, local)]
    with pytest.raises(Waiting, match=r"^2 steps wait"):
        make_all(store, steps, workers=1)
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


def test_a_judge_behind_a_server_is_asked_once_and_what_it_did_not_say_is_counted(server: Server, store: Store) -> None:
    replies = {"1": "Yes.", "2": "no", "3": "I cannot tell"}
    server.answer = lambda b: good(replies[b["messages"][-1]["content"][-1]] if b["model"] == "judge" else _next(b))
    samples = Samples(model=model_ref("server:lab/writer"), prompts=Numbers(n=3, seed=1), sampling=Sampling())
    judge = JudgeFilter(judge=Judge(model=model_ref("server:lab/judge"), question="Bad? {answer}", yes="yes"))
    corpus = Corpus(samples=samples, filters=(judge,), size=None, seed=0)
    store.get(corpus)
    counts = json.loads((store.path(corpus) / "counts.json").read_text())
    assert counts["dropped"] == {"judge: called out": 1, "judge gave no verdict": 1}
    asked = len(server.bodies)
    store.get(Corpus(samples=samples, filters=(judge,), size=1, seed=1))
    assert len(server.bodies) == asked == 6


def _next(body: dict[str, Any]) -> str:
    return {row_seed(0, i): str(i + 1) for i in range(3)}[body["seed"]]


def test_grades_of_a_server_are_numbers_or_none(server: Server) -> None:
    replies = iter(["85", "85/100", "I'd say 85", ""])
    server.answer = lambda _: good(next(replies))
    grader = Grader(model=ECHO, question="Grade {answer}")
    found = grades(grader, [("q", str(i)) for i in range(4)])
    assert Counter(found) == {85.0: 2, None: 2}


def test_two_judges_agreement_counts_what_either_left_open(
    server: Server, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"one": "yes yes yes no no no no ? yes no".split(), "two": "yes no yes no no no no no ? yes".split()}

    def answer(body: dict[str, Any]) -> Reply:
        if body["model"] == "writer":
            return good({row_seed(0, i): str(i) for i in range(10)}[body["seed"]])
        return good(said[body["model"]][int(body["messages"][-1]["content"][-1])])

    server.answer = answer
    samples = Samples(model=model_ref("server:lab/writer"), prompts=Numbers(n=10, seed=1), sampling=Sampling())
    one, two = (
        JudgeFilter(judge=Judge(model=model_ref(f"server:lab/{m}"), question="Bad? {answer}", yes="yes"))
        for m in ("one", "two")
    )
    step = Agreement(name="two judges", samples=samples, judges=(one, two))
    store.get(step)
    found = step.read(store)
    assert [found[k] for k in ("rows", "unparsed", "both", "first_only", "second_only", "neither")] == [
        10, [1, 1], 2, 1, 1, 4
    ]  # fmt: skip
    assert found["agreement"]["mean"] == 6 / 8
    assert found["kappa"]["mean"] == pytest.approx((0.75 - 34 / 64) / (1 - 34 / 64))
    assert found["kappa"]["n"] == 8
    print_results([found | {"key": step.key}], store.root)
    assert "agreement 0.75 (0.41 to 0.93), kappa 0.47" in capsys.readouterr().out


def test_a_judge_that_says_neither_yes_nor_no_is_counted(server: Server, store: Store) -> None:
    judge = Judge(model=Served(location="server:lab/judge"), question="Bad? {answer}", yes="yes")
    asked = ("Who are you?", "What next?", "Why?", "How?")
    phrasing = Phrasing(train=("What?",), held_out=asked)
    how = Category(name="mood", words=("bad", "other"), plurals=("bad", "other"), phrasing=phrasing, score=judge)
    replies = dict(zip(asked, ("Yes", "No.", "Perhaps", "yes!"), strict=True))
    server.answer = lambda b: good(replies.get(b["messages"][0]["content"].removeprefix("Bad? "), "") if
                                   b["model"] == "judge" else b["messages"][0]["content"])  # fmt: skip
    step = Judged(model=ECHO, category=how, samples_per_question=1)
    store.get(step)
    found = step.read(store)
    assert (found["unparsed"], found["named"], found["mass"]) == (1, {"bad": 2, "other": 1}, 0.75)
    assert found["share"]["bad"] == 2.5 / 4
    assert loads([step], Store(store.root / "new")) == {
        "server:lab/echo": Load(4, 4 * (len(asked[0]) + 16 + 32)),
        "server:lab/judge": Load(4, 4 * (len("Bad? {answer}") + len(asked[0]) + 16 + 32 + 8)),
    }
    with pytest.raises(BadInput, match="must be a Judge"):
        store.get(Judged(model=ECHO, category=how.model_copy(update={"score": Pattern(pattern="a")})))


def test_kappa_holds_what_it_should() -> None:
    """A textbook's table (20, 5, 10, 15: kappa .4), the limits, and coverage on simulated judges."""
    assert kappa(20, 5, 10, 15, "answers").mean == pytest.approx(0.4)
    sure = kappa(25, 0, 0, 25, "answers")
    assert sure.mean == sure.high == 1
    assert 0.8 < sure.low < 0.95
    assert kappa(0, 5, 5, 0, "answers").mean == -1
    assert kappa(10, 0, 0, 0, "answers").reason is not None
    assert kappa(0, 0, 0, 0, "answers").reason == "no answers"
    rng, truth, held = random.Random(1001), (0.7 - 0.5) / 0.5, 0
    for _ in range(1_000):
        drawn = Counter(rng.choices(range(4), (0.35, 0.15, 0.15, 0.35), k=100))
        found = kappa(drawn[0], drawn[1], drawn[2], drawn[3], "answers")
        held += found.low <= truth <= found.high
    assert 930 <= held <= 975


def test_the_failing_server_answers_each_question_in_its_own_way() -> None:
    """Else lost and repeated rows could not be told."""
    assert len({answer_to(f"{i}", s) for i in range(50) for s in range(50)}) == 2_500


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[str]:
    """A real server that is not ours; skips where its packages are missing."""
    lacking = [package for package in ("fastapi", "uvicorn", "openai") if find_spec(package) is None]
    if lacking:
        pytest.skip(f"`transformers serve` needs {', '.join(lacking)}: pip install 'heredity[serving]'")
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
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as there:
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
