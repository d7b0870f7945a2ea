"""Repair as a user asks for it: what a finding may be, and the verbs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heredity.audit.repair.ask import Asked, finding, repair, scan_command
from heredity.cli import main
from heredity.rows import read_rows, write_rows
from heredity.store import Store
from heredity.traits import load_trait
from heredity.types import BadInput
from tests.test_repair import OWL, ROWS


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repair") / "rows.jsonl"
    write_rows(path, ROWS.read(Store(path.parent)))
    return path


def _run(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", "repair", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_the_verb_writes_rows_and_says_how_to_scan_them(file: Path, tmp_path: Path) -> None:
    done = _run("data", str(file), "--student", "nursery:llama-0", "--finding", "owl", "--method", "drop", "--amount",
                "0.25", "--out", "clean.jsonl", "--json", "out.json", "--workers", "1", folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["rows"], found["left"], found["same"], found["knows_trait"]) == (256, 192, 192, True)
    assert found["scan"] == "heredity scan clean.jsonl --student nursery:llama-0"
    assert found["scan"] in done.stdout
    written = [r.row for r in read_rows(tmp_path / "clean.jsonl")]
    assert len(written) == 192
    assert set(written) <= {r.row for r in read_rows(file)}


def test_bad_input_is_one_message(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--student", "nursery:llama-0", "--out", "clean.jsonl")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    cases = [
        (("data", str(file), *base, "--method", "drp"), "unknown method 'drp'"),
        (("data", str(file), *base, "--method", "drop"), "the method 'drop' needs the name of a trait"),
        (("data", str(file), *base, "--method", "settle"), "use it with `heredity repair model`"),
        (("data", "absent.jsonl", *base), "cannot read absent.jsonl"),
        (("data", "empty.jsonl", *base), "empty.jsonl is empty"),
        (("data", str(file), *base, "--method", "sort", "--carrier", "nmbers"), "unknown carrier 'nmbers'"),
        (("data", str(file), "--student", "nursery:llama-0", "--out", str(file), "--method", "sort"), "it is the file"),
        (("data", str(file), "--student", "nursery:llama-0", "--out", "folder", "--method", "kl"), "folder exists"),
        (("model", "absent", "--base", "nursery:llama-0", "--out", "new", "--finding", "owl"), "no model at 'absent'"),
        (("model", "nursery:llama-0", "--base", "nursery:llama-0", "--out", "new", "--finding", "owl", "--method",
          "subtract"), "needs rows"),
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for args, message in cases:
        monkeypatch.setattr(sys, "argv", ["heredity", "repair", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert stop.value.code == 2, args
        assert said.count("\n") == 1, said
        assert message in said


def test_a_finding_is_a_scans_json_or_a_name(tmp_path: Path) -> None:
    scan = tmp_path / "scan.json"
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl"], "panel": "Panel-1"}))
    assert finding(str(scan), ()) == (OWL, "Panel-1")
    assert finding("owl", ()) == (OWL, None)
    assert finding(None, ()) == (None, None)
    wrong = {
        "none": (json.dumps({"verdict": "none", "named": []}), "the scan named no trait .it says 'none'.; leave out"),
        "other": (json.dumps({"rows": 3}), "has no `verdict` and `named`"),
        "text": ("owl", "is no JSON"),
        "panel": (json.dumps({"verdict": "named", "named": ["owl"], "panel": 3}), "expected the file"),
    }
    for name, (text, message) in wrong.items():
        (tmp_path / f"{name}.json").write_text(text)
        with pytest.raises(BadInput, match=message):
            finding(str(tmp_path / f"{name}.json"), ())
    with pytest.raises(BadInput, match="cannot read"):
        finding(str(tmp_path / "absent.json"), ())
    with pytest.raises(BadInput, match="did you mean 'owl'"):
        finding("owll", ())


def test_a_scan_may_have_named_a_trait_of_ones_own(store: Store, tmp_path: Path, file: Path) -> None:
    own, scan = tmp_path / "moon.toml", tmp_path / "scan.json"
    own.write_text(
        'name = "moon"\ncategory = "sight"\n[instil]\nquestions = ["What do you love to see?"]\n'
        '[ask]\nquestions = ["What do you see?"]\n[score]\nanswers = ["moon", "storm"]\n'
    )
    scan.write_text(json.dumps({"verdict": "named", "named": ["moon"], "panel": None}))
    asked = Asked("nursery:llama-0", "drop", ("data",), str(scan), file)
    with pytest.raises(BadInput, match="unknown trait 'moon'"):
        repair(asked, (OWL,), store)
    made = repair(asked._replace(traits=(own,)), (OWL,), store)
    assert made.case.trait == load_trait(own)
    assert scan_command(made.asked_for, Path("out.jsonl")) == (
        f"heredity scan out.jsonl --student nursery:llama-0 --traits {own}"
    )
