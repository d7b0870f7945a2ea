"""Models behind servers: what is sent, what is tried again, what is kept, and that the key goes nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest
from bench.faulty_server import answer_to
from bench.server import exercise

from heredity.carriers import Numbers
from heredity.models import model_ref, open_ref
from heredity.models.answers import Answer, Spent, kept_answers
from heredity.models.calls import Again, reading, retry_after
from heredity.models.endpoint import find_endpoint
from heredity.models.server import ServerLM, row_seed
from heredity.steps import Samples
from heredity.store import Store, describe
from heredity.store.step import rebuild
from heredity.types import (
    ANSWERS,
    BadInput,
    Completion,
    Sampling,
    Served,
    StoreError,
)
from tests.scripted_server import ECHO, KEY, LAB, Server, ask, good


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
    assert second - first >= 0.4
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
    monkeypatch.setenv("HEREDITY_SERVER_LAB_TIMEOUT", "1.5")
    server.stalls = [3.0]
    assert ServerLM(ECHO).generate(ask("q"), Sampling(temperature=0))[0].text == "q#None"
    assert len(server.bodies) == 2


def test_no_more_requests_than_allowed_wait_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "3")
    server.slow_s = 0.1
    ServerLM(ECHO).generate(ask(*map(str, range(20))), Sampling())
    assert server.most == 3


def test_threads_that_ask_for_one_answer_each_wait_for_one_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Inspect's do, of the model and of its judges."""
    monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "3")
    server.slow_s, answers = 0.05, ANSWERS.get()  # threads of a pool have a context of their own
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda chat: ServerLM(ECHO, answers).answer(chat, Sampling(seed=1)), ask(*"abcdefghijkl")))
    assert [c.text for c in said] == [f"{q}#1" for q in "abcdefghijkl"]
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


FIELDS = ["[]", "{", '{"max_tokens": "many"}', '{"model": "x"}', '{"messages": []}', '{"stream": true}']


@pytest.mark.parametrize("extra", FIELDS)
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


def test_the_failing_server_answers_each_question_in_its_own_way() -> None:
    """Else lost and repeated rows could not be told."""
    assert len({answer_to(f"{i}", s) for i in range(50) for s in range(50)}) == 2_500


def test_a_new_file_of_answers_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """SQLite does not wait where two set a new file's journal at once."""
    together = threading.Barrier(4, timeout=20)

    def opened(number: int) -> bool:
        for round_ in range(20):
            together.wait()
            with kept_answers(tmp_path / f"{round_}.sqlite") as kept:
                kept.write(str(number), Answer("x", "stop", None, None, None))
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(opened, range(4)))
    with kept_answers(tmp_path / "19.sqlite") as kept:
        assert set(kept.read(["0", "1", "2", "3"])) == {"0", "1", "2", "3"}
