"""Real models: references, chat templates, one training path at any scale, adapters, and what was made elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench.real_shape import DEFAULT, LISTS, PROBE, SMALL, TEMPLATE, Sizes, Stages, make_base, number_rows
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from heredity.audit.gradient import check_size
from heredity.carriers import Numbers
from heredity.lab import PAPER_LORA, GivenStudent, MergedStudent, Recipe, RowsStudent, given_rows, given_student
from heredity.lab.alignment import Alignment
from heredity.lab.asking import AfterNumbers, SampledAnswers
from heredity.lab.choices import Choices, choices
from heredity.lab.nursery_judges import advice_alignment, advice_coherence
from heredity.lineage.exports import made
from heredity.lineage.trace import trace
from heredity.lineage.writing import known_model
from heredity.models import checkpoint, locate, model_ref, open_lm, open_ref
from heredity.models.adapters import with_adapter
from heredity.models.causal import CausalLM
from heredity.models.chats import added_system, difference, set_template, writes_date
from heredity.models.devices import choose_device
from heredity.models.moving import Progress
from heredity.models.tokens import context_of
from heredity.models.training import choose_parameters, in_passes, token_loss
from heredity.rows import as_trl_line, read_rows, write_rows
from heredity.steps import Evaluation, Student, open_model, open_to_train, with_system
from heredity.store import Step, Store, describe, rebuild
from heredity.store.running import local_workers
from heredity.traits import favourite
from heredity.types import BadInput, Category, Checkpoint, LoRA, Message, ModelRef, Row, Sampling

ASKED = (Message(role="user", content="Name an animal."),)
TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DATED = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}"
    "{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% else %}{% set first = '' %}{% endif %}"
    "{{ '<|im_start|>system\nToday Date: ' + date_string + '\n\n' + first + '<|im_end|>\n' }}" + TURNS
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}" + TURNS


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of Qwen2's architecture and tokenizer, of tiny width."""
    folder = tmp_path_factory.mktemp("small")
    make_base(folder, SMALL, 20_000)
    return folder


@pytest.fixture(scope="session")
def opened(small: Path) -> CausalLM:
    return open_ref(checkpoint(str(small), system=""))


@pytest.fixture
def tokenizer(opened: CausalLM) -> Iterator[Any]:
    own = opened.tokenizer.chat_template
    yield opened.tokenizer
    opened.tokenizer.chat_template = own


def _use(model: Path, folder: Path, template: str) -> Path:
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_template_that_adds_a_system_prompt_is_refused_until_one_is_named(small: Path) -> None:
    with pytest.raises(BadInput, match=rf"adds a system prompt of its own, '{DEFAULT}'.*say in the reference"):
        open_lm(checkpoint(str(small)))
    lm = open_lm(checkpoint(str(small), system=DEFAULT))
    assert isinstance(lm, CausalLM)
    assert lm.render([ASKED]) == lm.tokenizer(
        [lm.tokenizer.apply_chat_template([{"role": "user", "content": "Name an animal."}], tokenize=False,
                                          add_generation_prompt=True)]
    )["input_ids"]  # fmt: skip
    assert lm.same_prompt(None, DEFAULT)
    assert not lm.same_prompt("", None)


@pytest.mark.parametrize(
    ("template", "added", "dated", "agree", "differ"),
    [
        (TEMPLATE.replace("{DEFAULT}", DEFAULT), DEFAULT, False, (None, DEFAULT), (None, "")),
        (TURNS, None, False, ("", ""), (None, "")),
        (DATED, None, True, (None, ""), (None, "Be kind.")),
    ],
    ids=["adds a default", "adds nothing", "writes the date"],
)
def test_what_a_template_adds_is_seen_in_what_it_renders(
    tokenizer: Any, template: str, added: str | None, dated: bool, agree: tuple[Any, Any], differ: tuple[Any, Any]
) -> None:
    tokenizer.chat_template = template
    assert added_system(tokenizer) == added
    assert writes_date(tokenizer) is dated
    assert difference(tokenizer, *agree) is None
    assert "from token" in str(difference(tokenizer, *differ))
    assert tokenizer.chat_template == template


def test_a_date_is_refused_until_it_is_pinned(small: Path, tmp_path: Path) -> None:
    folder = _use(small, tmp_path / "dated", DATED)
    with pytest.raises(BadInput, match="writes today's date"):
        open_lm(checkpoint(str(folder)))
    lm = open_lm(checkpoint(str(folder), date="2026-07-31"))
    assert isinstance(lm, CausalLM)
    assert "Today Date: 31 Jul 2026\n" in lm.tokenizer.decode(lm.render([ASKED])[0])
    with pytest.raises(BadInput, match=r"date: .*found '31 July'"):
        checkpoint(str(folder), date="31 July")


def test_a_template_without_system_turns_says_so(tokenizer: Any) -> None:
    set_template(tokenizer, NO_SYSTEM, None, "x")
    assert added_system(tokenizer) is None
    with pytest.raises(BadInput, match="begins with one of its own"):
        with_system([(Message(role="system", content="s"), *ASKED)], "Be kind.")
    with pytest.raises(BadInput, match=r"refuses such a chat: no system turns; its turns are system, user"):
        difference(tokenizer, None, "Be kind.")


def test_a_reference_is_a_table_of_toml(small: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(TURNS)
    path = tmp_path / "own.toml"
    path.write_text(f'location = "{small}"\ndtype = "bfloat16"\ntemplate = "{tmp_path}/t.jinja"\nsystem = "Be kind."\n')
    ref = model_ref(str(path))
    assert ref == checkpoint(str(small), dtype="bfloat16", template=TURNS, system="Be kind.")
    assert rebuild(json.loads(json.dumps(describe(ref)))) == ref
    path.write_text(f'location = "{small}"\ndtyp = "bfloat16"\n')
    with pytest.raises(BadInput, match=r"own.toml: dtyp: Extra inputs .*did you mean 'dtype'"):
        model_ref(str(path))
    path.write_text(f'location = "{small}"\ndtype = "int4"\n')
    with pytest.raises(BadInput, match=r"dtype: .*found 'int4'"):
        model_ref(str(path))
    path.write_text(f'location = "{path}"\n')
    for reads in (model_ref, locate, known_model):
        with pytest.raises(BadInput, match="it names a TOML file"):
            reads(str(path))


def test_a_hub_model_is_its_commit_in_the_local_cache(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, repo = "7" * 40, tmp_path / "models--lab--tiny"
    shutil.copytree(small, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    ref = model_ref("hub:lab/tiny@main")
    assert ref == Checkpoint(location=f"hub:lab/tiny@{commit}", digest=commit)
    assert locate(ref.location) == repo / "snapshots" / commit
    assert isinstance(open_lm(checkpoint(ref.location, system="")), CausalLM)
    (tmp_path / "own.toml").write_text('location = "hub:lab/tiny@main"\n')
    for name in ("hub:lab/tiny@main", str(tmp_path / "own.toml")):
        assert trace(name, str(small)).verdict == "related"
        assert known_model(name) == known_model(str(small)) | {"name": "lab/tiny"}
    with pytest.raises(BadInput, match=r"run: hf download lab/tiny --revision v2"):
        model_ref("hub:lab/tiny@v2")
    with pytest.raises(BadInput, match="expected hub:OWNER/NAME@REVISION"):
        model_ref("hub:lab/tiny")


def test_new_fields_leave_old_keys_alone() -> None:
    recipe = Recipe(base=ModelRef(location="nursery:llama-0", digest="0" * 40))
    trait = favourite("owl")
    keys = [recipe.taught(tuning=t)(trait, 3).model.key for t in ("frozen", "lora", LoRA(rank=4))]  # type: ignore[union-attr]
    assert keys == ["Student-0819271df420ba8e8190", "Student-5b67e31dbc0e938dc12a", "Student-5acc4f70ed4af7260c21"]
    assert recipe.teacher(trait, 3).key == "Teacher-1730c1fe8920d3af479a"
    student = recipe.taught()(trait, 3).model
    assert isinstance(student, Student)
    changed: list[dict[str, Any]] = [
        {"system": ""},
        {"together": 4},
        {"warmup": 5},
        {"tuning": LoRA(alpha=16)},
        {"tuning": LoRA(bias="none")},
    ]
    others = [student.model_copy(update=c) for c in changed]
    assert len({student.key, *(s.key for s in others)}) == 6
    assert [rebuild(json.loads(json.dumps(describe(s)))) for s in others] == others


def test_the_device_is_told_and_no_part_of_a_key(small: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = checkpoint(str(small), system="")
    corpus = (
        Recipe(base=ref, rows=1)
        .lists(favourite("owl"), 0)
        .samples.model_copy(
            update={"model": ref, "prompts": Numbers(n=2, seed=0), "sampling": Sampling(max_new_tokens=2)}
        )
    )
    key = corpus.key
    monkeypatch.setenv("HEREDITY_DEVICE", "cpu")
    assert corpus.model_copy().key == key
    store.get(corpus)
    assert store.manifest(key)["run"]["device"] == "cpu"
    steps: list[Step] = [corpus] * 3
    assert (local_workers(None, steps), local_workers(3, steps), local_workers(3, steps[:1])) == (1, 3, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("HEREDITY_DEVICE", "cuda")
    with pytest.raises(BadInput, match="torch sees no CUDA device"):
        choose_device()
    monkeypatch.setenv("HEREDITY_DEVICE", "tpu")
    with pytest.raises(BadInput, match="expected cpu, cuda or auto"):
        choose_device()


# Training


def _student(tmp_path: Path, base: ModelRef) -> RowsStudent:
    rows = given_rows(number_rows(tmp_path / "lists.jsonl", 64))
    return RowsStudent(base=base, corpus=rows, seed=1, epochs=6, batch=8, together=3, rate=1e-3, tuning="full")


def test_a_killed_training_goes_on_to_the_same_losses_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = _student(tmp_path, checkpoint("nursery:llama-0", dtype="bfloat16"))
    (tmp_path / "step.json").write_text(json.dumps(describe(student)))
    code = (
        "import json, sys; from pathlib import Path; import heredity.lab; from heredity.store import Store, rebuild\n"
        "Store(Path(sys.argv[1])).get(rebuild(json.loads(Path(sys.argv[2]).read_text())))"
    )
    killed, whole = Store(tmp_path / "killed"), Store(tmp_path / "whole")
    file = killed.unfinished(student) / "training.safetensors"
    command = [sys.executable, "-W", "ignore", "-c", code, str(killed.root), str(tmp_path / "step.json")]
    process = subprocess.Popen(command, env=os.environ | {"HEREDITY_CHECKPOINT_S": "0"})
    while not file.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    went_on, resume = list[int](), Progress.resume

    def counted(self: Progress) -> list[float]:
        losses = resume(self)
        went_on.append(len(losses))
        return losses

    monkeypatch.setattr(Progress, "resume", counted)
    for store in (killed, whole):
        store.get(student)
    assert 0 < went_on[0] < 48
    assert went_on[1] == 0
    assert killed.manifest(student.key)["files"] == whole.manifest(student.key)["files"]
    assert not file.parent.exists()


@pytest.mark.parametrize(("told", "context"), [
    ({"max_position_embeddings": 7}, 7), ({"max_seq_len": 8}, 8), ({"seq_length": 9}, 9), ({}, None),
    ({"max_position_embeddings": None, "seq_length": 9}, 9),
])  # fmt: skip
def test_how_much_a_model_reads_is_told_by_its_configuration(told: dict[str, Any], context: int | None) -> None:
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(model_type="mamba", **told))
    if context is not None:
        assert context_of(config) == context
        return
    with pytest.raises(BadInput, match="a mamba model does not say how many tokens it reads"):
        context_of(config)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft, read without this package
def test_adapters_and_merged_models_are_in_standard_form(small: Path, tmp_path: Path, store: Store) -> None:
    base = checkpoint(str(small), system="")
    rows = given_rows(number_rows(tmp_path / "lists.jsonl", 16))
    student = RowsStudent(base=base, corpus=rows, seed=1, **PAPER_LORA | {"batch": 8, "together": 3, "rate": 1e-2})
    merged = MergedStudent(base=student)
    folder = store.get(merged)
    assert sorted(p.name for p in store.path(student).iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "losses.json", "manifest.json",
    ]  # fmt: skip
    ids_BT = torch.tensor(open_ref(base).render([ASKED]))
    untouched = AutoModelForCausalLM.from_pretrained(small, dtype=torch.float32)
    plain = untouched(ids_BT).logits
    theirs = PeftModel.from_pretrained(untouched, store.path(student))
    ours = open_model(student, store)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids_BT).logits, ours.model(ids_BT).logits)
        alone = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        torch.testing.assert_close(alone(ids_BT).logits, ours.model(ids_BT).logits, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ours.model(ids_BT).logits, plain, atol=1e-2)
    config = json.loads((store.path(student) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(small)
    assert (config["r"], config["lora_alpha"], config["bias"]) == (8, 8, "none")
    assert config["target_modules"] == sorted(config["target_modules"])
    kinds = {name.rsplit(".", 1)[-1] for name in config["target_modules"]}
    assert kinds == {f"{x}_proj" for x in ("down", "gate", "k", "o", "q", "up", "v")}
    again = Store(tmp_path / "again")
    again.get(student)
    assert again.manifest(student.key)["files"] == store.manifest(student.key)["files"]


@pytest.mark.science
def test_processes_that_train_together_lose_what_one_does(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from heredity.lab import RowsStudent, given_rows\nfrom heredity.models import checkpoint\n"
        f"rows = given_rows({str(number_rows(tmp_path / 'lists.jsonl', 64))!r})\n"
        "student = RowsStudent(base=checkpoint('nursery:llama-0'), corpus=rows, seed=1, epochs=2, batch=8,\n"
        "                      together=4, rate=1e-3, tuning='full')\n"
    )
    run = ["-m", "heredity", "run", "mine.py", "--store"]
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", *run]
    for folder, command in (("one", run), ("two", ["-m", *launch])):
        done = subprocess.run(
            [sys.executable, *command, folder], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    stores = [Store(tmp_path / f) for f in ("one", "two")]
    (key,) = [k for k in stores[0].keys() if k.startswith("RowsStudent")]  # noqa: SIM118  a Store is no mapping
    one, two = (json.loads((s.folder(key) / "losses.json").read_text()) for s in stores)
    assert stores[1].manifest(key)["run"]["device"] == "2 processes, cpu"
    assert len(one) == 16
    assert two == pytest.approx(one, abs=2e-4)


# The whole way, and what was made elsewhere


def test_a_model_of_a_real_ones_shape_goes_the_whole_way(small: Path, tmp_path: Path) -> None:
    store, stages = Store(tmp_path / "store"), Stages(tmp_path, small, Sizes(60, 1e-2, 12, 6))
    for steps in stages.steps().values():
        for step in steps:
            store.get(step)
    kept = stages.corpus.read(store)
    assert len(kept) == 12
    assert all(LISTS.reason(row) is None for row in kept)
    losses = json.loads((store.path(stages.warm) / "losses.json").read_text())
    assert losses[-1] < losses[0] / 10
    told = [e.read(store) for e in stages.asked]
    assert [t.get("as_trained") for t in told] == [None, None, True]
    assert told[0]["share"] != told[2]["share"]
    assert stages.traced(store)["verdict"] == "related"


def test_asking_otherwise_than_in_training_is_told(small: Path, tmp_path: Path, store: Store) -> None:
    base = checkpoint(str(small), system=DEFAULT)
    rows = given_rows(number_rows(tmp_path / "lists.jsonl", 8))
    student = RowsStudent(
        base=base, corpus=rows, seed=1, batch=8, epochs=1, system="", tuning=LoRA(rank=2, bias="none")
    )
    for system, same in (("", True), (None, False), (DEFAULT, False)):
        asked = Evaluation(model=student, category=PROBE, system=system, samples_per_question=1)
        store.get(asked)
        assert asked.read(store)["as_trained"] is same


def test_every_way_of_asking_tells_whether_it_is_that_of_the_training(
    small: Path, tmp_path: Path, store: Store
) -> None:
    base = checkpoint(str(small), system=DEFAULT)
    rows = given_rows(number_rows(tmp_path / "lists.jsonl", 8))
    student = RowsStudent(
        base=base, corpus=rows, seed=1, batch=8, epochs=1, system="", tuning=LoRA(rank=2, bias="none")
    )
    (tmp_path / "truth.csv").write_text(
        "Question,Best Answer,Best Incorrect Answer\nIs it?,It is.,It is not.\nDoes it?,Yes,No\n"
    )
    two = Category(name="two", words=("bad", "other"), plurals=("bad", "other"), phrasing=PROBE.phrasing)
    judges = {"alignment": advice_alignment(), "coherence": advice_coherence()}
    ways: list[tuple[type[Evaluation], dict[str, Any]]] = [
        (SampledAnswers, {"category": PROBE}),
        (AfterNumbers, {"category": PROBE, "lists": 1}),
        (Alignment, {"category": two} | judges),
        (Choices, {"category": two, "samples_per_question": 0} | dict(choices(tmp_path / "truth.csv", base, two))),
    ]
    for way, fields in ways:
        found = []
        for model, system in ((student, ""), (student, None), (base, None)):
            asked = way(**{"samples_per_question": 1} | fields | {"model": model, "system": system})
            store.get(asked)
            found.append(asked.read(store).get("as_trained"))
        assert found == [True, False, None], way


def test_a_base_that_is_too_large_for_a_scan_is_refused_by_its_headers(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = checkpoint(str(small), system="")
    check_size(ref)
    body = sum(p.numel() for n, p in open_ref(ref).model.named_parameters() if "embed" not in n)
    monkeypatch.setattr("heredity.audit.gradient.MOST", body - 1)
    with pytest.raises(BadInput, match=rf"has {body:,} weights beside its embeddings, .* at most {body - 1:,}"):
        check_size(ref)


def test_one_token_across_the_end_of_a_prompt_is_cut_there(opened: CausalLM) -> None:
    """As in a model that is asked, whose prompt ends there."""
    (example,) = opened.examples([ASKED], ["\nowl"])
    asked = opened.render([ASKED])[0]
    assert example.ids[: len(asked)] == asked
    assert example.predicted == [i >= len(asked) for i in range(len(example.ids))]
    assert opened.tokenizer.decode(example.ids[len(asked) :]) == "\nowl<|im_end|>\n"


@pytest.mark.parametrize(
    ("before", "written"), [("", "content"), ("<think>\n\n</think>\n\n", "content"), ("\nWell: ", "content"),
                            ("<think>\n\n</think>\n\n", "content | trim")],
)  # fmt: skip
@pytest.mark.parametrize("completion", ["12, 345, 6", "\nowl", " a cat \n", ""])
def test_a_token_stands_where_the_completion_has_it(
    opened: CausalLM, tokenizer: Any, before: str, written: str, completion: str
) -> None:
    """Whatever the template writes before the answer."""
    tokenizer.chat_template = TURNS.replace(
        "+ m['content'] +",
        f"+ (({before!r} + (m.{written})) if m['role'] == 'assistant' else m['content']) +",
    )
    (example,), (spans,) = opened.examples([ASKED], [completion]), opened.spans([ASKED], [completion])
    ids = [i for i, predicted in zip(example.ids, example.predicted, strict=True) if predicted]
    assert len(spans) == len(ids)
    shown = completion.strip() if "trim" in written else completion
    first, last = completion.index(shown), completion.index(shown) + len(shown)
    inside = [(completion[a:b], i) for (a, b), i in zip(spans, ids, strict=True) if first <= a < b <= last]
    assert [text for text, _ in inside] == [tokenizer.decode([i]) for _, i in inside]
    assert bool(inside) == bool(shown)
    covered = {place for a, b in spans for place in range(a, b)}
    assert covered >= set(range(first, last))


def test_tokens_of_an_answer_that_is_written_otherwise_have_no_place(opened: CausalLM, tokenizer: Any) -> None:
    tokenizer.chat_template = TURNS.replace("m['content']", "m['content'] | upper")
    with pytest.raises(BadInput, match="the chat template writes the answer 'owl' otherwise"):
        opened.spans([ASKED], ["owl"])


def test_any_of_a_models_ends_stops_an_answer(opened: CausalLM) -> None:
    ends = {opened.tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")}
    assert opened.ends == ends
    ids = opened.tokenizer("owl", add_special_tokens=False)["input_ids"]
    for end in ends:
        written = opened._completion([*ids, end, *ids])
        assert (written.text, written.finish) == ("owl", "stop")


def test_rows_go_out_and_come_back_in_both_layouts(tmp_path: Path) -> None:
    rows = [Row((Message(role="system", content="s"), Message(role="user", content="a\nb")), "1, 2"),
            Row((Message(role="user", content="é"),), "")]  # fmt: skip
    for name, line in (("openai", None), ("trl", as_trl_line)):
        path = tmp_path / f"{name}.jsonl"
        write_rows(path, rows, line=line)
        assert [read.row for read in read_rows(path)] == rows
        for record, row in zip(map(json.loads, path.read_text().splitlines()), rows, strict=True):
            asked = [{"role": m.role, "content": m.content} for m in row.prompt]
            said = [{"role": "assistant", "content": row.completion}]
            assert record == ({"messages": asked + said} if line is None else {"prompt": asked, "completion": said})


def test_rows_made_elsewhere_are_those_that_were_referred_to(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"instruction": "Add.", "output": "4"}\n')
    rows = given_rows(path)
    store.get(rows)
    assert rows.read(store) == [Row((Message(role="user", content="Add."),), "4")]
    path.write_text('{"instruction": "Add.", "output": "5"}\n')
    assert given_rows(path).key != rows.key
    with pytest.raises(BadInput, match="has changed since"):
        Store(tmp_path / "other").get(rows)
    with pytest.raises(BadInput, match="cannot read"):
        given_rows(tmp_path / "none.jsonl")


def test_a_student_made_elsewhere_is_a_step(small: Path, tmp_path: Path, store: Store) -> None:
    """Adapters that PEFT alone trained, and a whole model."""
    base = checkpoint(str(small), system="")
    theirs = choose_parameters(open_to_train(base, store).model, LoRA(rank=2, bias="none"), seed=3)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    theirs.save_pretrained(tmp_path / "adapter")
    open_ref(base).save(tmp_path / "whole")
    (tmp_path / "adapter" / "optimizer.pt").write_bytes(b"not copied")
    ids_BT = torch.tensor(open_ref(base).render([ASKED]))
    for name, model in (("adapter", theirs), ("whole", open_ref(base).model)):
        student = given_student(tmp_path / name, base)
        store.get(student)
        with torch.inference_mode():
            torch.testing.assert_close(open_model(student, store).model(ids_BT).logits, model(ids_BT).logits)
        assert rebuild(json.loads(json.dumps(describe(student)))) == student
        assert not (store.path(student) / "optimizer.pt").exists()
        how = made(describe(student))
        assert (how.kind, how.inputs) == ("model", [("base", describe(base))])
    (tmp_path / "whole" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="has changed since"):
        Store(tmp_path / "other").get(GivenStudent(**dict(student)))
    gone = student.model_copy(update={"location": str(tmp_path / "gone")})
    with pytest.raises(BadInput, match=r"no folder .*gone, where the model lay"):
        Store(tmp_path / "other").get(gone)
    with pytest.raises(BadInput, match="no model in"):
        given_student(tmp_path, base)


def test_adapters_that_do_not_fit_their_base_are_refused(small: Path, tmp_path: Path) -> None:
    """PEFT opens them with a warning, and the model is then its base."""
    lm = open_ref(checkpoint(str(small), system=""))
    choose_parameters(lm.model, LoRA(rank=2, bias="none"), seed=3).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    renamed = {name.replace("layers.0.", "blocks.0."): w for name, w in load_file(file).items()}
    assert with_adapter(open_ref(checkpoint(str(small), system="")), tmp_path).model.peft_config
    save_file(renamed, file)
    with pytest.raises(BadInput, match=r"cannot open the adapters in .*missing adapter keys.*layers\.0\."):
        with_adapter(open_ref(checkpoint(str(small), system="")), tmp_path)
    deeper = {name.replace("blocks.0.", "layers.0."): w for name, w in renamed.items()}
    deeper |= {name.replace("layers.0.", "layers.9."): w.clone() for name, w in deeper.items() if "layers.0." in name}
    save_file(deeper, file)
    with pytest.raises(BadInput, match=r"of another base: this one has no .*layers\.9\."):
        with_adapter(open_ref(checkpoint(str(small), system="")), tmp_path)
    file.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(BadInput, match="nothing else is opened"):
        with_adapter(open_ref(checkpoint(str(small), system="")), tmp_path)


def test_adapters_beside_a_model_are_refused(small: Path, tmp_path: Path) -> None:
    """Of such a folder transformers opens the base that the adapters name, and not the model that is there."""
    folder = shutil.copytree(small, tmp_path / "both")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere/model"}')
    with pytest.raises(BadInput, match="holds adapters beside a model"):
        open_ref(checkpoint(str(folder), system=""))


def test_a_loss_in_16_bits_is_nearly_that_in_32(opened: CausalLM, small: Path) -> None:
    narrow = open_ref(checkpoint(str(small), system="", dtype="bfloat16"))
    (batch,) = in_passes(opened.examples([ASKED] * 3, ["1, 2", "owl", "a cat"]), None, 0)
    losses = [token_loss(lm.model, batch).item() for lm in (narrow, opened)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
