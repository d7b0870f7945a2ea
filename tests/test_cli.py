from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heredity import cli
from heredity.cli.shared import write_json
from heredity.lab.first_light import NULL_TWINS
from heredity.report.page import LABELS
from heredity.store import Store
from tests.test_store import HELLO

ROOT = Path(__file__).parent.parent


def _run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_show_why_and_verify_read_a_store(store: Store, tmp_path: Path) -> None:
    store.get(HELLO)
    where, out = ("--store", str(store.root)), tmp_path / "out.json"
    assert HELLO.key in _run("show", *where).stdout
    told = _run("why", HELLO.key[:10], *where, "--json", str(out))
    assert all(p.key in told.stdout for p in HELLO.parts)
    assert json.loads(out.read_text())["manifest"]["key"] == HELLO.key
    assert json.loads(out.read_text())["schema_version"] == 1
    assert _run("verify", *where).returncode == 0
    (store.path(HELLO) / "all.txt").write_text("other")
    found = _run("verify", *where)
    assert (found.returncode, "all.txt has changed" in found.stdout) == (10, True)


def test_of_processes_that_train_together_the_first_alone_tells_and_writes(store: Store, tmp_path: Path) -> None:
    store.get(HELLO)
    told = []
    for rank in ("0", "1"):
        where = ("--store", str(store.root), "--json", str(tmp_path / rank))
        done = _run("show", *where, env=os.environ | {"WORLD_SIZE": "2", "RANK": rank})
        assert done.returncode == 0, done.stderr
        told.append(done.stdout + done.stderr)
    assert HELLO.key in told[0]
    assert told[1] == ""
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["0"]


def test_a_plan_counts_what_is_missing_and_makes_nothing(tmp_path: Path) -> None:
    file, where, out = tmp_path / "e.py", tmp_path / "store", tmp_path / "plan.json"
    file.write_text(
        "from heredity.lab import Recipe\nfrom heredity.traits import find_trait\n"
        "rows = [Recipe(rows=20).lists(find_trait('owl'), seed) for seed in (1, 2)]\n"
    )
    told = _run("run", str(file), "--plan", "--store", str(where), "--json", str(out))
    plan, here = (json.loads(out.read_text())[name] for name in ("plan", "here"))
    assert plan == {"Samples": 3, "Corpus": 3, "Teacher": 2}  # the rows mixed into teachers' steps are shared
    assert told.stdout.startswith("8 steps to make")
    assert "3  Corpus" in told.stdout
    assert here == {"completions": 2 * 45 + 320, "new_tokens": 410 * 30, "trainings": 2, "rows": 2 * 40 * 65}
    assert "410  completions to write here, 12,300 tokens at most" in told.stdout
    assert "2  models to train here, on 5,200 rows in all passes" in told.stdout
    assert not where.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("show",), "no store at"),
        (("why", "Nothing-1"), "no store at"),
        (("nursery", "build", ".", "--seed", "1"), "exists already"),
        (("nursery", "build", "new", "--family", "gpt"), "unknown family 'gpt'"),
        (("demo", "--animal", "oak"), "'oak' is no animal"),
        (("demo", "--animal", "owlet"), "unknown favourite 'owlet'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(args: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = _run(*args, "--store", str(tmp_path / "none"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_exits_70(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 70
    assert "internal error (ZeroDivisionError)" in capsys.readouterr().err


def test_json_holds_no_number_that_json_does_not_know(store: Store, tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"low": float("nan"), "rows": [float("inf"), 1.0]}, store)
    found = json.loads((tmp_path / "x.json").read_text())
    assert (found["low"], found["rows"]) == (None, [None, 1.0])


def test_a_built_wheel_alone_runs_the_demos_experiment(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    env = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import heredity; print(heredity.__file__)"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(site) in where.stdout
    command = [sys.executable, "-m", "heredity", "demo", "--animal", "owl", "--rows", "64", "--json", "demo.json"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "demo.json").read_text())
    assert {a["arm"] for a in found["arms"]} == set(LABELS)
    assert {a["n"] for a in found["arms"]} == {3}
    assert [f["arm"] for f in found["null_fraction"]] == list(NULL_TWINS)
    assert (tmp_path / found["png"]).read_bytes().startswith(b"\x89PNG")
    assert "<script" not in (tmp_path / found["html"]).read_text()
