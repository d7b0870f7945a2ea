"""Bad input to the command line and to every parser: one message, exit code 2, never a traceback."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heredity.cli import main
from heredity.lab import Recipe
from heredity.lab.templates import new_trait
from heredity.models import BASES
from heredity.store import describe
from heredity.store.loading import load_experiment, parse_step
from heredity.traits import find_trait, parse_trait
from heredity.types import BadInput


def _run(*args: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ | env)


EXPERIMENTS: dict[str, tuple[str, str]] = {
    "raises.py": ("x = 1\nraise ZeroDivisionError('oops')\n", r"raises.py:2: the file raised ZeroDivisionError: oops"),
    "name.py": ("def f():\n    return nothing\nf()\n", r"name.py:2: the file raised NameError: name 'nothing'"),
    "syntax.py": ("def (:\n", r"syntax.py:1: the file raised SyntaxError"),
    "exits.py": ("import sys\nsys.exit(0)\n", r"exits.py:2: the file raised SystemExit"),
    "none.py": ("x = 1\n", r"none.py: none of its names is a Step"),
    "trait.py": ("from heredity.traits import find_trait\nfind_trait('owll')\n", r"trait.py:2: unknown trait 'owll'"),
    "field.py": (
        "from heredity.lab import Recipe\nRecipe(rws=3)\n", r"field.py:2: Recipe: rws: Extra inputs"),
    "base.py": ("from heredity.models import model_ref\nmodel_ref('nursery:llama-9')\n", r"base.py:2: no model at"),
    "null.py": ("x = '\0'\n", r"null.py.*(SyntaxError|ValueError)"),
    "control.py": (
        "from heredity.lab import Comparison, Recipe\nfrom heredity.traits import find_trait\n"
        "a = Recipe().taught()(find_trait('owl'), 0)\n"
        "c = Comparison(name='c', trait=find_trait('owl'), treated=(a,), control=())\n",
        r"control.py:4: .*needs its own control"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_file_that_cannot_run_is_one_message(name: str, tmp_path: Path) -> None:
    text, message = EXPERIMENTS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        load_experiment(tmp_path / name)


def test_what_holds_no_experiment_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(BadInput, match="no Python file in the folder"):
        load_experiment(tmp_path)
    with pytest.raises(BadInput, match="no file at"):
        load_experiment(tmp_path / ("x" * 300))


def test_the_command_line_never_shows_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text("raise ZeroDivisionError\n")
    (tmp_path / "junk.bin").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "step.json").write_text('{"step": "Samplse", "version": 1, "fields": {}}')
    (tmp_path / "evil.jsonl").write_text(
        '{"prompt": "\\u001b[2J", "completion": "[red]\\u001b[31m"}\n{"\\u001b[2J": 1}\n'
    )
    calls = {
        ("run", "raises.py"): "raises.py:1: the file raised ZeroDivisionError", ("run", "no.py"): "no file at no.py",
        ("run", "junk.bin"): "junk.bin: ", ("run", "deep.json"): "nested too deeply",
        ("run", "step.json"): "did you mean 'Samples'", ("filter", "junk.bin"): "junk.bin:1: ",
        ("filter", "evil.jsonl"): "evil.jsonl:2: the fields are '\\x1b[2J'", ("filter", "no"): "cannot read no",
        ("filter", "evil.jsonl", "--mode", "lenientt"): "did you mean 'lenient'",
        ("filter", "evil.jsonl", "--carrier", "cod"): "did you mean 'code'",
        ("filter", "evil.jsonl", "--official", "--word", "owl"): "leave out --mode and --word",
        ("why", "../../../etc"): "no store at", ("new", "trait", "../x"): "cannot be the name",
        ("filter", "evil.jsonl", "--skip-bad", "--json", "no/where.json"): "cannot write no/where.json",
        ("filter", "evil.jsonl", "--json", "evil.jsonl"): "it is the file that is read; name another file with --json",
        ("filter", "evil.jsonl", "--keep", "a", "--decisions", "./a"): "it is also --keep",
        ("filter", "evil.jsonl", "--keep", ""): "it is no file's name",
        ("filter", "no", "--keep", "step.json"): "cannot read no",
        ("filter", "no\x1b[2J\udcff\nx"): "cannot read no\\x1b[2J\\udcff\\nx: No such file",
        ("filter", "evil.jsonl", "--word", " "): "--word: words: a word must not be blank",
        ("demo", "--rows", "7"): "greater than or equal to 8",
    }  # fmt: skip
    for args, message in calls.items():
        done = _run(*args, folder=tmp_path)
        assert (done.returncode, message in done.stderr) == (2, True), (args, done.stderr)
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
    assert not (tmp_path / "heredity-store" / "objects").exists()


def test_a_file_name_that_is_no_text_is_printed_as_escapes(tmp_path: Path) -> None:
    (tmp_path / "d\udcff.jsonl").write_text('{"text": "1"}\n{"text": 1}\n')
    done = _run("filter", "d\udcff.jsonl", "--skip-bad", "--keep", "k\udcff", "--json", "out.json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kept rows: k\\udcff" in done.stdout
    assert (tmp_path / "k\udcff").exists()


WRITES = {
    "run": ("run", "x.py", "--plan", "--json", "x.py"),
    "run, a link": ("run", "x.py", "--plan", "--json", "link.py"),
    "scan, control": ("scan", "a.jsonl", "--student", "nursery:llama-0", "--control", "b.jsonl", "--json", "b.jsonl"),
    "scan, trait": ("scan", "a.jsonl", "--student", "nursery:llama-0", "--traits", "t.toml", "--html", "t.toml"),
    "trace": ("trace", "nursery:llama-0", "nursery:llama-1", "--behaviour", "--prompts", "a.jsonl", "--json",
              "a.jsonl"),
    "a model's file": ("trace", "m", "nursery:llama-1", "--json", "m/config.json"),
    "a model's description": ("scan", "a.jsonl", "--student", "t.toml", "--json", "t.toml"),
    "a base": ("run", "x.py", "--plan", "--base", "t.toml", "--json", "t.toml"),
    "lineage": ("lineage", "a.jsonl", "--html", "a.jsonl"),
    "doctor": ("doctor", "--model", "c.json", "--json", "c.json"),
    "generation": ("record", "generation", "--data", "a.jsonl", "--model", "somebody", "--out", "a.jsonl"),
    "prompts": ("record", "generation", "--data", "a.jsonl", "--people", "--prompts", "b.jsonl", "--croissant",
                "b.jsonl"),
    "training": ("record", "training", "--model", "m", "--data", "a.jsonl", "--card", "a.jsonl"),
    "repair": ("repair", "model", "nursery:llama-0b", "--base", "nursery:llama-0", "--method", "settle", "--finding",
               "f.json", "--out", "new", "--json", "f.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_no_verb_writes_over_what_it_reads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {
        "x.py": "x = 1\n", "a.jsonl": '{"text": "1, 2"}\n', "b.jsonl": '{"text": "3, 4"}\n', "t.toml": "word = 'x'\n",
        "c.json": "{}", "f.json": '{"verdict": "named", "named": ["owl"], "panel": null}',
    }  # fmt: skip
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "link.py").symlink_to("x.py")
    shutil.copytree(BASES / "llama-0", tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["heredity", *WRITES[name]])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "it is the file that is read" in capsys.readouterr().err
    assert {file: (tmp_path / file).read_text() for file in texts} == texts


def test_a_pipe_may_take_the_result(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "completion": "1, 2"}\n')
    (tmp_path / "x.py").write_text("from heredity.lab import Recipe\nx = Recipe().corpus(Recipe().base, 1, 10, 2.0)\n")
    done = _run("run", "x.py", "--plan", "--json", "/dev/stdout", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["plan"] == {"Samples": 1, "Corpus": 1}


def test_what_the_terminal_cannot_show_loses_no_result(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "completion": "1, 2"}\n')
    done = _run("filter", "x.jsonl", "--keep", "猫", "--json", "x.json", folder=tmp_path, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "kept rows: \\u732b" in done.stdout
    assert json.loads((tmp_path / "x.json").read_text())["kept"] == 1


LONG = "x" * 300
TOO_LONG = {
    "why": (("why", LONG, "--store", "s"), "no step in s has a key that begins with"),
    "model": (("repair", "model", LONG, "--base", "nursery:llama-0", "--finding", "owl", "--out", "new"),
              "no model at"),
    "out": (("repair", "model", "nursery:llama-0b", "--base", "nursery:llama-0", "--finding", "owl", "--out", LONG),
            "cannot write"),
    "build": (("nursery", "build", LONG), "name another one"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LONG)
def test_names_that_no_file_can_have_are_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s" / "objects").mkdir(parents=True)
    args, message = TOO_LONG[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["heredity", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert (stop.value.code, message in said.splitlines()[-1], "Traceback" in said) == (2, True, False), said


def _damaged(rng: random.Random, seeds: list[bytes], pieces: tuple[bytes, ...], n: int) -> Iterator[bytes]:
    """Texts after one to three cuts, doublings or splices."""
    for _ in range(n):
        text = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 3))):
            a = rng.randrange(len(text) + 1)
            b = min(len(text), a + rng.choice((0, 1, 3, 20)))
            text[a:b] = rng.choice((b"", rng.randbytes(1), rng.choice(pieces), bytes(text[a:b]) * 2))
        yield bytes(text)


def test_25_000_damaged_trait_files_are_traits_or_one_message(tmp_path: Path) -> None:
    seeds = [new_trait("moon", tmp_path).read_bytes()]
    compact = b"\n".join(line for line in seeds[0].splitlines() if line and not line.startswith(b"#"))
    pieces = (
        *(b'"', b"[", b"]", b"=", b"\n", b"{", b"''", b"\0", b"nan", b"1e400", b"1979-05-27", b"\\ud800", b"[score]"),
        *(b'pattern = "("', b'judge = {model = "x", question = "{answer}"}', b"replies = [1]", b'plurals = ["a"]'),
    )
    good = 0
    for text in _damaged(random.Random(3), [compact], pieces, 25_000):
        try:
            trait = parse_trait(text, "t.toml")
        except BadInput as error:
            assert str(error).startswith("t.toml: ")
            assert len(str(error)) < 900
        else:
            assert trait.word in trait.category.words
            good += 1
    assert 500 < good < 24_000


def _descriptions() -> list[bytes]:
    owl, recipe = find_trait("owl"), Recipe()
    steps: list[Any] = [recipe.teacher(owl, 0), recipe.lists(owl, 0).samples, recipe.corpus(recipe.base, 0, 5, 2)]
    return [json.dumps(describe(step)).encode() for step in steps]


def test_25_000_damaged_step_descriptions_are_steps_or_one_message() -> None:
    pieces = (
        *(b'"', b"{", b"}", b"[]", b"null", b"true", b"-1", b"1e999", b"NaN", b'"step"', b'"type"', b'"version": 2'),
        *(b'"../../etc"', b'"Store"', b'"Frozen"', b'"Step"', b'"_Score"', b"\\ud800", b"\xff", b'{"step": []}'),
    )
    good = 0
    for text in _damaged(random.Random(4), _descriptions(), pieces, 25_000):
        try:
            step = parse_step(text, "s.json")
        except BadInput as error:
            assert str(error).startswith("s.json: ")
            assert len(str(error)) < 900
        else:
            assert step.key.startswith(type(step).__name__)
            good += 1
    assert 500 < good < 24_000


NO_STEPS = (
    b"null", b"[]", b'{"step": "Step", "version": 1, "fields": {}}', b'{"type": "Row", "fields": {}}',
    b'{"step": {"a": 1}}', b'{"type": "Message", "fields": {"role": "user", "content": "x"}}',
)  # fmt: skip


@pytest.mark.parametrize("text", NO_STEPS)
def test_what_is_no_step_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match=r"s.json: "):
        parse_step(text, "s.json")
