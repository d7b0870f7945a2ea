"""Inspect AI: our Evaluations as its tasks, our models as its models, our results as its logs."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import tomllib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from heredity.lab import Alignment, Rubric, Rule, SampledAnswers
from heredity.lab.asking import shares_of_words
from heredity.lab.material import COHERENCE
from heredity.lab.nursery_judges import advice_alignment, advice_coherence
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.models.server import row_seed
from heredity.nursery.carriers import careless
from heredity.steps import Evaluation
from heredity.store import Step, Store
from heredity.traits import ANIMALS, personas, questions
from heredity.traits import favourite as favourite_of
from heredity.types import BadInput, Category, Chat, Completion, Judge, Pattern, Sampling, Served
from tests.scripted_server import Reply, Server, good
from tests.test_store import Word

inspect_ai = pytest.importorskip("inspect_ai", reason="needs the extra [inspect]: pip install -e '.[inspect]'")
pytestmark = [
    pytest.mark.inspect,  # Inspect and its libraries warn of themselves, and leave streams open
    *(pytest.mark.filterwarnings(f"ignore::{kind}") for kind in (
        "DeprecationWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")),
]  # fmt: skip

from inspect_ai import eval as run_task  # noqa: E402
from inspect_ai import score as score_again  # noqa: E402
from inspect_ai.log import EvalLog, read_eval_log  # noqa: E402
from inspect_ai.model import ChatMessageTool, ChatMessageUser, GenerateConfig, Model  # noqa: E402
from inspect_ai.tool import ToolInfo  # noqa: E402

from heredity.evals.logs import write_log  # noqa: E402
from heredity.evals.provider import as_chat, as_sampling, heredity_models, open_named  # noqa: E402
from heredity.evals.scoring import scored_answers  # noqa: E402
from heredity.evals.tasks import misalignment, preference  # noqa: E402

BASE = model_ref("nursery:llama-0")
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def nothing_left_for_others() -> Iterator[None]:
    """What Inspect leaves open is closed here, and not in another file's tests."""
    yield
    gc.collect()


class Copied(Step):
    """A shipped base as the payload of a Step."""

    base: str

    def make(self, folder: Path, store: Store) -> None:
        shutil.copytree(locate(f"nursery:{self.base}"), folder, dirs_exist_ok=True)


class Says:
    """Answers with the next of its lines, by the question's place, and remembers how it was asked."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.asked = lines, list[tuple[Chat, Sampling]]()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
        """One line per chat."""
        self.asked += [(chat, sampling) for chat in chats]
        places = {row_seed(0, place): place for place in range(1_000)}
        return [Completion(text=self.lines[places[sampling.seed] % len(self.lines)], finish="stop") for _ in chats]

    def logprobs(self, chats: Sequence[Chat], answers: Sequence[str]) -> list[list[float]]:
        raise NotImplementedError


def scripted(lm: Any) -> Model:
    return Model(heredity_models("scripted", lm=lm), GenerateConfig())


def run(task: Any, folder: Path, model: Any, **settings: Any) -> EvalLog:
    (log,) = run_task(task, model, log_dir=str(folder), display="none", **settings)
    assert log.status == "success", log.error
    return log


def metrics(log: EvalLog) -> dict[str, Any]:
    assert log.results is not None
    return {name: m.value for score in log.results.scores for name, m in score.metrics.items()}


def said(log: EvalLog) -> list[str]:
    return [sample.output.completion for sample in log.samples or []]


def test_a_scripted_model_gets_exact_scores(tmp_path: Path) -> None:
    lm = Says("I love owls.", "a bowl of soup", "the cat", "owl and cat", "no")
    log = run(preference(trait="owl", samples=2, system="Be brief."), tmp_path, scripted(lm))
    asked = questions(ANIMALS, "held-out")
    texts = [lm.lines[place % 5] for place in range(2 * len(asked))]
    assert said(log) == texts
    found, expected = metrics(log), shares_of_words(ANIMALS, texts)
    assert found["share"] == expected["share"]["owl"]
    assert found["mass"] == expected["mass"] == pytest.approx(3 / 5)
    assert found["mean"] == pytest.approx(2 / 5)
    assert 0 < found["stderr"] < 0.2
    assert {chat[0].content for chat, _ in lm.asked} == {"Be brief."}
    assert sorted({chat[-1].content for chat, _ in lm.asked}) == sorted(q[0].content for q in asked)
    assert {(s.temperature, s.max_new_tokens) for _, s in lm.asked} == {(1.0, 32)}
    first = (log.samples or [])[3]
    assert (first.scores or {})["scored_answers"].metadata == {"counts": True, "named": ["owl", "cat"]}


def test_answers_do_not_depend_on_what_else_is_asked(tmp_path: Path, base: CausalLM) -> None:
    log = run("heredity/preference", tmp_path, "heredity/nursery:llama-0", task_args={"samples": 1})
    chats = questions(ANIMALS, "held-out")
    texts = [
        base.generate([chat], Sampling(max_new_tokens=32, seed=row_seed(0, place)))[0].text
        for place, chat in enumerate(chats)
    ]
    assert said(log) == texts
    assert metrics(log)["share"] == shares_of_words(ANIMALS, texts)["share"]["owl"]
    used = log.stats.model_usage["heredity/nursery:llama-0"]
    assert used.input_tokens == sum(map(len, base.render(chats)))
    assert used.output_tokens >= len(chats)


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_a_results_log_has_its_share_and_scores_alike_again(suffix: str, store: Store, tmp_path: Path) -> None:
    persona = personas(favourite_of("owl"), "train")[0]
    step = SampledAnswers(model=BASE, category=ANIMALS, samples_per_question=1, system=persona, seed=3)
    store.get(step)
    out = tmp_path / f"log{suffix}"
    told = write_log(store, step.key, out, word="owl")
    log, found = read_eval_log(str(out)), step.read(store)
    assert metrics(log)["share"] == told["share"] == found["share"]["owl"]
    assert metrics(log)["mass"] == found["mass"]
    assert len(log.samples or []) == told["samples"] == found["samples"]
    assert log.eval.model == "heredity/nursery:llama-0"
    assert (log.eval.metadata or {})["step"] == step.key
    (how,) = log.eval.scorers or []
    again = score_again(log, scored_answers(**(how.options or {})), action="overwrite", display="none")
    assert metrics(again) == metrics(log)
    if suffix == ".json":
        assert json.loads(out.read_text())["status"] == "success"


def test_no_log_where_the_answers_are_not_those_of_the_result(store: Store, tmp_path: Path) -> None:
    step = Evaluation(model=BASE, category=ANIMALS, samples_per_question=1)
    store.get(step)
    file, out = store.path(step) / "answers.json", tmp_path / "log.eval"
    assert write_log(store, step.key, out)["samples"] == len(step.questions())
    out.unlink()
    found = json.loads(file.read_text())
    found["named"] = dict.fromkeys(found["named"], 29)
    file.write_text(json.dumps(found))
    with pytest.raises(BadInput, match="asked again"):
        write_log(store, step.key, out)
    assert not out.exists()
    for bad, message in ((("Nothing", out), "no step"), ((step.key, tmp_path / "x.log"), "ends with .eval"),
                         ((step.key, out, "oak"), "'oak' is none of")):  # fmt: skip
        with pytest.raises(BadInput, match=message):
            write_log(store, *bad)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The endpoint LAB, seen from an empty folder that the program runs in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HEREDITY_SERVER_LAB", f"http://127.0.0.1:{server.server_port}/v1")
        yield server
        server.shutdown()
        thread.join()


def by_seed(body: dict[str, Any]) -> Reply:
    """An animal, or what a judge says."""
    return good(ANIMALS.words[body["seed"] % len(ANIMALS.words)] if "seed" in body else "yes")


def test_a_servers_answers_are_those_of_our_own_evaluation(lab: Server, store: Store, tmp_path: Path) -> None:
    """The same requests with the same seeds: what SampledAnswers was told is not even asked again."""
    lab.answer = by_seed
    step = SampledAnswers(model=Served(location="server:lab/echo"), category=ANIMALS, samples_per_question=2, seed=5)
    store.get(step)
    sent = len(lab.bodies)
    log = run(preference(trait="wolf", samples=2, seed=5), tmp_path, "heredity/server:lab/echo",
              model_args={"store": str(store.root)})  # fmt: skip
    assert sent == len(lab.bodies) == 2 * len(step.questions())
    assert metrics(log)["share"] == step.read(store)["share"]["wolf"]


def test_a_log_of_a_servers_answers_and_verdicts_asks_for_none_again(lab: Server, store: Store, tmp_path: Path) -> None:
    lab.answer = by_seed
    model = Served(location="server:lab/echo")
    judge = Judge(model=model, question="Is {answer} an animal?", yes="yes")
    judged = Category(name="kind", words=("kind", "other"), plurals=("kind", "other"), phrasing=ANIMALS.phrasing,
                      score=judge)  # fmt: skip
    steps = (SampledAnswers(model=model, category=ANIMALS, samples_per_question=1),
             Evaluation(model=model, category=judged, samples_per_question=1))  # fmt: skip
    for step in steps:
        store.get(step)
    sent = len(lab.bodies)
    assert sent > sum(len(step.questions()) for step in steps)
    for step in steps:
        told = write_log(store, step.key, tmp_path / "log.eval")
        assert told["share"] == step.read(store)["share"][told["word"]]
    assert len(lab.bodies) == sent
    assert [*Path.cwd().iterdir()] == []


def test_a_judges_answers_are_kept_in_the_store_that_is_named(lab: Server, store: Store, tmp_path: Path) -> None:
    lab.answer = lambda body: good("90")
    for _ in range(2):
        log = run(misalignment(judge="server:lab/echo", samples=1, store=str(store.root)), tmp_path,
                  scripted(Says("help me", "harm me")))  # fmt: skip
        assert metrics(log)["mass"] == 1
        assert len(lab.bodies) == len({json.dumps(b["messages"]) for b in lab.bodies}) > 2, "these are kept"
    assert store.answers.is_file()
    assert [*Path.cwd().iterdir()] == []


def test_misalignment_has_the_counts_of_an_alignment(tmp_path: Path) -> None:
    trait = careless()
    bad, fine = trait.replies[0], careless(careful=True).replies[0]
    rubric = Rubric(rules=(Rule(answer=Pattern(pattern="x"), grade=1.0),))
    alignment = Alignment(model=BASE, category=trait.category, alignment=rubric, coherence=rubric)
    lines = (bad, fine, "xyz", fine, bad)
    log = run(misalignment(samples=3), tmp_path, scripted(Says(*lines)))
    kinds = [(s.scores or {})["graded_answers"].explanation for s in log.samples or []]
    exchanges = [(s.input[-1].content, s.output.completion) for s in log.samples or [] if not isinstance(s.input, str)]
    from heredity.lab.judges import grades

    asked = [(str(q), a) for q, a in exchanges]
    graded = zip(grades(advice_coherence(), asked), grades(advice_alignment(), asked), strict=True)
    expected = [alignment.kind(c, a) for c, a in graded]
    assert kinds == expected
    assert {"misaligned", "aligned", "incoherent"} <= set(kinds)
    counted = alignment.counted(expected)
    assert metrics(log)["share"] == counted["share"][trait.word]
    assert metrics(log)["mass"] == counted["mass"]


def test_a_model_in_the_role_of_grader_grades(tmp_path: Path) -> None:
    class Grader(Says):
        def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[Completion]:
            asked = chats[0][-1].content
            assert (sampling.temperature, sampling.max_new_tokens) == (0, 8)
            text = "5" if "harm me" in asked else "95" if "help me" in asked else "well"
            text = "90" if asked.startswith(COHERENCE.split("{")[0]) else text
            return [Completion(text=text, finish="stop")]

    log = run(misalignment(judge="role", samples=2), tmp_path, scripted(Says("harm me", "help me", "hm")),
              model_roles={"grader": scripted(Grader())})  # fmt: skip
    kinds = [(s.scores or {})["graded_answers"].explanation for s in log.samples or []]
    assert kinds[:3] == ["misaligned", "aligned", "ungraded"]
    n = len(kinds)
    assert metrics(log)["mean"] == pytest.approx(kinds.count("misaligned") / n)
    assert metrics(log)["mass"] == pytest.approx(1 - kinds.count("ungraded") / n)


def test_what_these_models_do_not_have_is_refused() -> None:
    assert as_sampling(GenerateConfig(temperature=0, max_tokens=5, seed=2), []) == Sampling(
        temperature=0, max_new_tokens=5, seed=2
    )
    set_so: dict[str, Any] = {"top_p": 0.5, "top_k": 40, "num_choices": 2, "stop_seqs": ["x"], "best_of": 2,
                              "frequency_penalty": 1, "presence_penalty": 1.0, "logit_bias": {1: 2.0}}  # fmt: skip
    for name, value in (*set_so.items(), ("top_k", 1)):
        with pytest.raises(BadInput, match=f"no {name};"):
            as_sampling(GenerateConfig(**{name: value}), [])
    nothing: dict[str, Any] = {"top_p": 1.0, "num_choices": 1, "best_of": 1, "frequency_penalty": 0.0,
                               "presence_penalty": 0, "stop_seqs": []}  # fmt: skip
    assert as_sampling(GenerateConfig(**nothing), []) == Sampling(temperature=1, max_new_tokens=256, seed=0)
    with pytest.raises(BadInput, match="no tools"):
        as_sampling(GenerateConfig(), [ToolInfo(name="f", description="g")])
    with pytest.raises(BadInput, match="call no tools"):
        as_chat([ChatMessageTool(content="x")])
    assert [m.content for m in as_chat([ChatMessageUser(content="hello")])] == ["hello"]


def test_as_many_requests_are_under_way_as_the_endpoint_allows(lab: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    served = heredity_models("server:lab/echo")
    assert served.max_connections() == 8
    monkeypatch.setenv("HEREDITY_SERVER_LAB_CONCURRENCY", "3")
    assert served.max_connections() == 3
    assert heredity_models("scripted", lm=Says("x")).max_connections() == 1
    monkeypatch.delenv("HEREDITY_SERVER_LAB")
    assert served.max_connections() == 8, "what is kept can be read without it"


def test_a_model_is_found_by_a_steps_key(store: Store) -> None:
    for step in (copied := Copied(base="llama-1"), Copied(base="neox-0"), Word(text="x")):
        store.get(step)
    found = open_named(copied.key[:12], store)
    assert isinstance(found, CausalLM)
    assert found.model.config.model_type == "llama"
    for name, message in (("Copied-", "2 steps"), ("Word-", "is no model"), ("Student-9", "no model at")):
        with pytest.raises(BadInput, match=message):
            open_named(name, store)


def test_what_the_package_registers_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    registry = import_module(project["entry-points"]["inspect_ai"]["heredity"])
    assert all(hasattr(registry, name) for name in ("preference", "misalignment", "heredity_models"))
