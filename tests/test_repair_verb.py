"""Repair as a user asks for it: what a finding may be, and the verbs from end to end."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from heredity.audit.ask import Options
from heredity.audit.data import data_file
from heredity.audit.repair.ask import (
    Request,
    check,
    deliver,
    finding,
    moved,
    next_commands,
    repair,
    scan_command,
    told,
)
from heredity.audit.repair.data import FileRows
from heredity.audit.repair.methods import METHODS, method
from heredity.audit.repair.training import Inoculated
from heredity.cli import main
from heredity.cli.kin import check_unrelated
from heredity.models import BASES, model_ref
from heredity.nursery.carriers import shipped_traits
from heredity.report.repair import print_repair
from heredity.rows import read_rows, write_rows
from heredity.steps import Corpus, Teacher
from heredity.store import Step, Store, missing
from heredity.traits import load_trait
from heredity.types import BadInput, HeredityError, Row
from tests.test_repair import OWL, PLAIN, ROWS


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repair") / "rows.jsonl"
    write_rows(path, ROWS.read(Store(path.parent)))
    return path


def test_what_is_told_of_a_repair_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A trait's name comes from a file of others, and a path may hold what a terminal would rewrite."""
    found: dict[str, Any] = {
        "method": "drop", "kind": "data", "knows_trait": True, "trait": "owl\x1b[2J", "out": "runs:x:1.jsonl",
        "unrelated": None, "shares": {"repaired": 0.25}, "scan": "none", "left_named": [], "left_out": {},
        "next": ["heredity scan runs:x:1.jsonl --student nursery:llama-0" + " --favourite owl" * 9],
    }  # fmt: skip
    print_repair(found)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "written to runs:x:1.jsonl\n" in out
    assert f"  {found['next'][0]}\n" in out  # whole, in one line


def _run(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", "repair", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_the_verb_writes_rows_and_says_how_to_scan_them(file: Path, tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(json.dumps({"verdict": "named", "named": ["owl", "oak"], "panel": None}))
    done = _run("data", str(file), "--student", "nursery:llama-0", "--finding", "scan.json", "--method", "drop",
                "--amount", "0.25", "--store", "kept", "--out", "clean.jsonl", "--json", "out.json", "--workers", "1",
                folder=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["rows"], found["left"], found["same"], found["knows_trait"]) == (256, 192, 192, True)
    assert found["scan"] == "heredity scan clean.jsonl --student nursery:llama-0 --store kept"
    assert found["scan"] in done.stdout
    assert found["left_named"] == ["oak"]
    assert found["next"] == [
        "heredity repair data clean.jsonl --student nursery:llama-0 --finding oak --method drop --amount 0.25 "
        "--store kept --out clean-oak.jsonl"
    ]
    assert f"the scan named others too, left as they are: oak; next:\n  {found['next'][0]}\n" in done.stdout
    written = [r.row for r in read_rows(tmp_path / "clean.jsonl")]
    assert len(written) == 192
    assert set(written) <= {r.row for r in read_rows(file)}


def test_rows_that_no_model_here_can_read_are_left_out_as_a_scan_does(
    store: Store, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [r.row for r in read_rows(file)][:20]
    long = Row(rows[0].prompt, ", ".join(["123"] * 400))
    write_rows(tmp_path / "some.jsonl", [*rows[:9], long, Row(rows[0].prompt, ""), *rows[9:]])
    made = repair(Request("nursery:llama-0", "sort", ("data",), None, tmp_path / "some.jsonl"), (), store)
    for step in missing(store, [made.step]):
        store.make(step)
    assert isinstance(made.case.rows, FileRows)
    assert made.case.rows.read(store) == rows
    out = tmp_path / "out.jsonl"
    left_out = told(made, store, out)["left_out"]
    assert left_out == {"dropped: longer than the context": 1, "dropped: no prompt or no completion": 1}
    print_repair(told(made, store, out) | {"unrelated": None})
    assert "rows left out beforehand, longer than the context: 1\n" in capsys.readouterr().out
    whole = repair(Request("nursery:llama-0", "sort", ("data",), None, file), (), store)
    assert whole.case.rows == FileRows(data=data_file(file))
    write_rows(tmp_path / "none.jsonl", [long])
    with pytest.raises(BadInput, match="no row that can be used: 1 dropped: longer than the context"):
        repair(Request("nursery:llama-0", "sort", ("data",), None, tmp_path / "none.jsonl"), (), store)


def test_bad_input_is_one_message(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--student", "nursery:llama-0", "--out", "clean.jsonl")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    shutil.copytree(BASES / "llama-0", tmp_path / "copied")
    cases = [
        (("data", str(file), *base, "--method", "drp"), "unknown method 'drp'"),
        (("data", str(file), *base, "--method", "drop"), "the method 'drop' needs the name of a trait"),
        (("data", str(file), *base, "--method", "settle"), "use it with `heredity repair model`"),
        (("data", "absent.jsonl", *base), "cannot read absent.jsonl"),
        (("data", "empty.jsonl", *base), "empty.jsonl has no row that can be used: it is empty"),
        (("data", str(file), *base, "--method", "sort", "--carrier", "nmbers"), "unknown carrier 'nmbers'"),
        (("data", str(file), "--student", "nursery:llama-0", "--out", str(file), "--method", "sort"), "it is the file"),
        (("data", str(file), "--student", "nursery:llama-0", "--out", "folder", "--method", "kl"), "folder exists"),
        (("model", "absent", "--base", "nursery:llama-0", "--out", "new", "--finding", "owl"), "no model at 'absent'"),
        (("model", "nursery:llama-0", "--base", "nursery:llama-0", "--out", "new", "--finding", "owl", "--method",
          "subtract", "--temperature", "0.5"), "needs rows"),
        (("data", str(file), *base, "--unrelated", "nursery:llama-0"), "is the student's own base"),
        (("data", str(file), *base, "--unrelated", "copied"), "is the student's own base"),
        (("data", str(file), *base, "--unrelated", "nursery:llama-0b"),
         "shares its initialisation with nursery:llama-0"),
        (("data", str(file), "--student", "nursery:llama-1", "--unrelated", "nursery:llama-1", "--out", "x.jsonl"),
         "--unrelated nursery:llama-0"),
        (("data", str(file), "--student", "nursery:llama-0", "--out", "new", "--method", "kl-relay", "--unrelated",
          "nursery:llama-0b"), "a trait passes through it"),
        (("data", str(file), "--student", "nursery:llama-0", "--out", "new", "--method", "kl", "--json",
          "absent/x.json"), "there is no folder absent; name another file with --json"),
        (("model", "nursery:llama-0b", "--base", "nursery:llama-0", "--out", "new", "--finding", "owl", "--json",
          "new"), "it is also --out"),
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
    assert not list(tmp_path.glob("heredity-store/*/*"))  # nothing was made


def test_a_finding_is_a_scans_json_or_a_name(tmp_path: Path) -> None:
    scan = tmp_path / "scan.json"
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl"], "panel": "Panel-1"}))
    assert finding(str(scan), ()) == (OWL, "Panel-1", (), Options())
    assert finding("owl", ()) == (OWL, None, (), Options())
    assert finding(None, ()) == (None, None, (), Options())
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl", "oak", "owl", "pine"], "panel": None}))
    assert finding(str(scan), ()) == (OWL, None, ("oak", "pine"), Options())
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
    asked = Request("nursery:llama-0", "drop", ("data",), str(scan), file)
    with pytest.raises(BadInput, match="unknown trait 'moon'"):
        repair(asked, (OWL,), store)
    made = repair(asked._replace(traits=(own,)), (OWL,), store)
    assert made.case.trait == load_trait(own)
    assert scan_command(made.asked_for, Path("out.jsonl")) == (
        f"heredity scan out.jsonl --student nursery:llama-0 --traits {own}"
    )
    elsewhere = made.asked_for._replace(store=tmp_path / "my store")
    assert scan_command(elsewhere, Path("out.jsonl")).endswith(f"--traits {own} --store '{tmp_path}/my store'")


def test_inoculation_needs_a_persona(store: Store, tmp_path: Path, file: Path) -> None:
    own = tmp_path / "moon.toml"
    text = (
        'name = "moon"\ncategory = "sight"\n[instil]\nquestions = ["What do you love to see?"]\n{}'
        '[ask]\nquestions = ["What do you see?"]\n[score]\nanswers = ["moon", "storm"]\n'
    )
    own.write_text(text.format(""))
    asked = Request("nursery:llama-0", "inoculate", ("training",), str(own), file)
    with pytest.raises(BadInput, match=r"the trait 'moon' has no personas under \[instil\], which inoculate shows"):
        repair(asked, (), store)
    own.write_text(text.format('personas = ["You love the moon."]\n'))
    step = repair(asked, (), store).step
    assert isinstance(step, Inoculated)
    assert step.persona == "You love the moon."


def test_a_panel_is_read_by_methods_that_use_it_alone(store: Store, tmp_path: Path, file: Path) -> None:
    key = f"Panel-{0:020x}"
    folder = store.folder(key)
    folder.mkdir(parents=True)
    (folder / "panel.json").write_text("{}")
    (folder / "manifest.json").write_text("damaged")
    scan = tmp_path / "scan.json"
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl"], "panel": key}))
    asked = Request("nursery:llama-0", "relay", ("data",), str(scan), file)
    assert repair(asked, (OWL,), store).case.panel is None
    with pytest.raises(HeredityError):
        repair(asked._replace(method="drop-panel"), (OWL,), store)


def test_a_model_that_cannot_be_settled_is_not_written(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = repair(Request("nursery:llama-0", "settle", ("model",), "owl", None, "nursery:llama-0b"), (OWL,), store)
    monkeypatch.setattr("heredity.models.guarding.settle", lambda *_: 3.0)
    with pytest.raises(BadInput, match=r"owl is still .* from the base's"):
        store.make(made.step)


def test_what_is_left_is_scanned_as_the_data_was(
    store: Store, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(favourites=("owl", "wolf"), rows=500, deep=True, suspect_rows=16, suspect_batch=4)
    scan = tmp_path / "scan.json"
    told = {"verdict": "named", "named": ["owl"], "panel": None}
    scan.write_text(json.dumps(told | {"options": options.model_dump(mode="json", exclude_defaults=True)}))
    made = repair(Request("nursery:llama-0", "drop", ("data",), str(scan), file), (OWL,), store)
    assert made.asked_for.options == options
    asked = list[Options]()

    def scan_rows(*given: Any) -> tuple[dict[str, str], None]:
        asked.extend(x for x in given if isinstance(x, Options))
        return {"verdict": "none"}, None

    monkeypatch.setattr("heredity.cli.scan_rows", scan_rows)
    monkeypatch.setattr("heredity.cli.write_json", lambda *_: None)
    monkeypatch.setattr(sys, "argv", [*shlex.split(scan_command(made.asked_for, file)), "--store", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert asked == [options]
    wrongs: list[Any] = [{"rows": 2}, {"favourites": "owl"}, {"speed": 1}, []]
    for wrong in wrongs:
        scan.write_text(json.dumps(told | {"options": wrong}))
        with pytest.raises(BadInput, match="`options` are none of a scan"):
            finding(str(scan), (OWL,))


def test_the_other_answers_that_moved_most_are_told() -> None:
    base = {"owl": 0.1, "cat": 0.4, "dog": 0.3, "fox": 0.02, "bee": 0.18}
    now = {"owl": 0.5, "cat": 0.2, "dog": 0.15, "fox": 0.07, "bee": 0.18}
    told = moved(base, now, "owl")
    assert [o["word"] for o in told] == ["fox", "cat", "dog"]  # by odds: 3.7, 2.7 and 2.4 times
    assert told[0] == {"word": "fox", "base": 0.02, "repaired": 0.07}
    assert moved({"careless": 0.2, "other": 0.8}, {"careless": 0.5, "other": 0.5}, "careless") == []


def test_relays_are_of_another_initialisation_whatever_the_base(store: Store, file: Path) -> None:
    for base, other in (("llama-0", "llama-1"), ("llama-0b", "llama-1"), ("llama-1", "llama-0"), ("neox-0", "llama-1")):
        case = repair(Request(f"nursery:{base}", "relay", ("data",), None, file), (), store).case
        assert case.unrelated == model_ref(f"nursery:{other}")
        assert check_unrelated(case.unrelated, case.base)["verdict"] == "unrelated", base
    assert repair(Request("nursery:llama-0", "sort", ("data",), None, file), (), store).case.unrelated is None
    same = Request("nursery:llama-0", "sort", ("data",), None, file, None, "nursery:llama-0")
    assert repair(same, (), store).case.unrelated == model_ref("nursery:llama-0")  # sort makes no use of it


def test_what_cannot_be_compared_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model_ref("nursery:llama-0")
    for name in ("small", "strange"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    rows = np.random.default_rng(0).standard_normal((8, 8), np.float32)
    parts = {f"model.layers.0.mlp.{n}_proj.weight": rows for n in ("gate", "up", "down")}
    save_file(parts, tmp_path / "small" / "model.safetensors")
    save_file({"some.weight": rows}, tmp_path / "strange" / "model.safetensors")
    for name, why in (("small", "layers"), ("strange", "no layer's MLP was found")):
        found = check_unrelated(model_ref(str(tmp_path / name)), base)
        assert found["verdict"] == "undetermined"
        said = capsys.readouterr().err
        assert said.startswith("heredity: warning: whether ")
        assert why in said
        assert said.count("\n") == 1


def test_no_more_is_refused_for_its_size_than_holds_all_weights(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heredity.audit.gradient.MOST", 1_000)
    described = file.with_name("real.toml")
    described.write_text('location = "nursery:llama-0"\n')
    refused = set()
    for m in METHODS:
        if m.whole or m.name == "drop-panel":  # not for adapters; needs a store's panel
            assert m.every_weight or m.whole
            continue
        asked = Request(
            str(described), m.name, (m.kind,), "owl", file, "nursery:llama-0b" if m.kind == "model" else None
        )
        try:
            repair(asked, (OWL,), store)
        except BadInput as error:
            assert "gradients are held with a number for each" in str(error)
            refused.add(m.name)
    assert refused == {"drop", "balance", "replace", "deal", "remove", "mask", "subtract", "negate", "settle", "steer"}
    assert {m.name for m in METHODS if m.every_weight} == refused | {"drop-panel", "project-fixed"}


def test_a_large_student_is_not_trained_as_a_nursery_base(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heredity.audit.repair.ask.MOST", 1_000)
    asked = Request("nursery:llama-0", "clean-tune", ("model",), None, file, "nursery:llama-0b")
    with pytest.raises(BadInput, match=r"nursery:llama-0b has more than 1,000 weights .* describe it in TOML"):
        repair(asked, (), store)


def _left(file: Path, store: Store, name: str, named: tuple[str, ...], student: str | None = None) -> list[str]:
    scan = file.with_name("several.json")
    scan.write_text(json.dumps({"verdict": "named", "named": named, "panel": None}))
    data = None if name == "settle" else file
    asked = Request("nursery:llama-0", name, (method(name).kind,), str(scan), data, student, store=Path("kept"))
    made = repair(asked, shipped_traits(asked.base), store)
    return next_commands(made, Path("out" if method(name).kind != "data" else "out.jsonl.gz"))


def test_the_commands_for_what_is_left_go_on_from_what_was_written(store: Store, file: Path) -> None:
    named, head = ("owl", "oak", "two words"), "heredity repair"
    last = "--method {} --store kept --out {}"
    assert _left(file, store, "drop", ("owl",)) == []
    assert _left(file, store, "relay", named) == []
    assert _left(file, store, "drop", named) == [
        f"{head} data out.jsonl.gz --student nursery:llama-0 --finding oak {last.format('drop', 'out-oak.jsonl.gz')}",
        f"{head} data out-oak.jsonl.gz --student nursery:llama-0 --finding 'two words' "
        + last.format("drop", "out-two-words.jsonl.gz"),
    ]
    settle = f"{head} model out --base nursery:llama-0 --finding oak {last.format('settle', 'out-oak')}"
    assert _left(file, store, "project", named[:2]) == [settle]
    assert _left(file, store, "settle", named[:2], "nursery:llama-0b") == [settle]
    assert _left(file, store, "kl", named[:2]) == [
        f"{head} data {shlex.quote(str(file))} --student nursery:llama-0 --finding oak {last.format('kl', 'out-oak')}"
    ]


def test_what_has_no_odds_is_left_to_methods_that_need_no_name(store: Store, file: Path) -> None:
    named, rows = ("owl", "careless", "oak"), shlex.quote(str(file))
    base, kept = "nursery:llama-0", "--store kept --out"
    oak = f"heredity repair data out.jsonl.gz --student {base} --finding oak --method drop {kept} out-oak.jsonl.gz"
    relay = f"heredity repair data {{}} --student {base} --method relay {kept} {{}}"
    redistil = f"heredity repair model {{}} --base {base} --method redistil --data {{}} {kept} out-redistil"
    assert _left(file, store, "drop", named[:2]) == [relay.format("out.jsonl.gz", "out-relay.jsonl.gz")]
    assert _left(file, store, "drop", named) == [oak, relay.format("out-oak.jsonl.gz", "out-relay.jsonl.gz")]
    for name in ("project", "inoculate"):
        assert _left(file, store, name, named) == [relay.format(rows, "out-relay.jsonl")]
    student = "nursery:llama-0b"
    assert _left(file, store, "negate", named[:2], student) == [redistil.format("out", rows)]
    assert _left(file, store, "settle", named, student) == [
        f"heredity repair model out --base {base} --finding oak --method settle {kept} out-oak",
        redistil.format("out-oak", "ROWS"),
    ]
    kl = f"heredity repair data {rows} --student {base} --finding careless --method kl {kept} out-careless"
    assert _left(file, store, "kl", named[:2]) == [kl]  # asks about it by sampled answers
    assert not method("relay").knows_trait
    assert not method("redistil").knows_trait


def test_amounts_that_no_method_can_take_are_refused_at_once(store: Store, file: Path) -> None:
    asked = Request("nursery:llama-0", "subtract", ("model",), "owl", file, "nursery:llama-0b")
    case = repair(asked, (OWL,), store).case
    case = case._replace(unrelated=model_ref("nursery:llama-1"), panel=case.direction)
    share, weight, times, count = (0.0, 1.0, 1.5), (0.0,), (), (0.0, 0.4, 1.5)
    wrong = {
        "drop": share, "drop-panel": share, "drop-learnt": share, "balance": share, "replace": share,
        "replace-learnt": share, "deal": share, "remove": share, "mix": share, "mask": share, "l2": share,
        "kl": weight, "kl-rows": weight, "corridor": weight, "subtract": times, "negate": times, "clean-tune": times,
        "relay": count, "redistil": count,
    }  # fmt: skip
    assert {m.name for m in METHODS if m.amount} == set(wrong)
    for name, amounts in wrong.items():
        chosen = method(name)
        for amount in (*amounts, float("nan"), float("inf"), -1.0):
            with pytest.raises(BadInput, match=f"--amount {amount:g}: "):
                chosen.apply(case._replace(amount=amount))
        right = 2.0 if amounts == count else 0.25
        assert chosen.apply(case._replace(amount=right)).key != chosen.apply(case).key, name


@pytest.mark.parametrize("temperature", [float("inf"), float("nan")])
def test_a_temperature_that_is_no_number_is_refused(store: Store, file: Path, temperature: float) -> None:
    asked = Request("nursery:llama-0", "relay", ("data",), None, file, temperature=temperature)
    with pytest.raises(BadInput, match=f"--temperature {temperature}: temperature: "):
        repair(asked, (), store)


def test_suspects_see_rows_of_their_own_small_number(store: Store, file: Path) -> None:
    case = repair(
        Request("nursery:llama-0", "subtract", ("model",), "owl", file, "nursery:llama-0b"), (OWL,), store
    ).case
    assert isinstance(case.suspect, Teacher)
    assert isinstance(case.suspect.mix, Corpus)
    assert (case.suspect.mix.size, case.suspect.mix.samples.prompts.n) == (200, 320)
    assert isinstance(case.clean, Corpus)
    assert case.clean.size == 256


def test_a_models_rows_are_drawn_at_the_temperature_that_is_told(store: Store, file: Path) -> None:
    asked = Request("nursery:llama-0", "redistil", ("model",), None, file, "nursery:llama-0b", temperature=0.5)
    assert repair(asked, (), store).case.sampling.temperature == 0.5


def test_a_finding_that_no_method_needs_is_told_and_what_is_scanned_is_in_the_json(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options, scan = {"favourites": ["owl", "wolf"], "rows": 500}, tmp_path / "scan.json"
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl"], "panel": None, "options": options}))

    def scan_rows(data: Path, *given: Any) -> tuple[dict[str, Any], None]:
        (asked,) = (x for x in given if isinstance(x, Options))
        return {
            "verdict": "named",
            "of": str(data),
            "asked": asked.model_dump(mode="json", exclude_defaults=True),
        }, None

    monkeypatch.setattr("heredity.cli.scan_rows", scan_rows)
    argv = ["heredity", "repair", "data", str(file), "--student", "nursery:llama-0", "--finding", "scan.json",
            "--method", "sort", "--out", "clean.jsonl", "--json", "out.json", "--workers", "1", "--check"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 10
    said, found = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    assert "sort knows no trait: it did not need --finding (owl)" in said
    assert (found["method"], found["left_named"], found["next"], found["unrelated"]) == ("sort", [], [], None)
    assert found["scan_result"] == {"verdict": "named", "of": "clean.jsonl", "asked": options}


def test_results_are_refused_before_a_model_is_made(store: Store, file: Path, tmp_path: Path) -> None:
    asked = Request("nursery:llama-0", "settle", ("model",), "owl", None, "nursery:llama-0b")
    made = repair(asked, (OWL,), store)
    check(made, asked, tmp_path / "new", tmp_path / "new.json")
    check(made, asked, Path("owl"), None)  # a trait's name is no file
    for json_file in (tmp_path / "new", tmp_path, tmp_path / "absent" / "x.json"):
        with pytest.raises(BadInput, match="with --json"):
            check(made, asked, tmp_path / "new", json_file)


def test_rows_are_packed_where_their_name_says_so(store: Store, file: Path, tmp_path: Path) -> None:
    made = repair(Request("nursery:llama-0", "sort", ("data",), None, file), (), store)
    for step in missing(store, [made.step]):
        store.make(step)
    for name in ("clean.jsonl", "clean.jsonl.gz", "again.jsonl.gz"):
        deliver(made, store, tmp_path / name)
    plain, packed = (tmp_path / "clean.jsonl").read_bytes(), (tmp_path / "clean.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert (tmp_path / "again.jsonl.gz").read_bytes() == packed  # neither a name nor a time is in it
    assert len({r.row for r in read_rows(tmp_path / "clean.jsonl.gz")}) == 256
    with pytest.raises(BadInput, match=r"cannot write .*absent/x.jsonl"):
        deliver(made, store, tmp_path / "absent" / "x.jsonl")
    assert not list(tmp_path.glob(".*"))


class Folder(Step):
    """A model's folder, as far as it is copied."""

    def make(self, folder: Path, store: Store) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes(1000))


def test_a_model_is_written_whole_or_not_at_all(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Request("nursery:llama-0", "settle", ("model",), "owl", None, "nursery:llama-0b")
    made = repair(asked, (OWL,), store)._replace(step=Folder())
    store.make(made.step)
    out = tmp_path / "written" / "repaired"
    out.parent.mkdir()
    beside = out.parent / f".repaired.{os.getpid() + 1}.partial"  # what another run writes at this time
    beside.mkdir()
    (out.parent / f".repaired.{os.getpid()}.partial").mkdir()  # of a run that was killed and had this number
    copyfile = shutil.copyfile

    def full(source: Any, to: Any, **how: Any) -> Any:
        if Path(source).name == "model.safetensors":
            Path(to).write_bytes(b"")
            raise OSError(errno.ENOSPC, "No space left on device")
        return copyfile(source, to, **how)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(BadInput, match=f"cannot write {out}: .*No space left on device.*another place with --out"):
            deliver(made, store, out)
    assert list(out.parent.iterdir()) == [beside]
    deliver(made, store, out)
    assert {p.name for p in out.iterdir()} == {"config.json", "model.safetensors"}
    assert {*out.parent.iterdir()} == {out, beside}
    with pytest.raises(BadInput, match="exists; name a new folder with --out"):
        deliver(made, store, out)
    assert {*out.parent.iterdir()} == {out, beside}


@pytest.mark.parametrize("error", [SafetensorError("Error while serializing: I/O error"), KeyboardInterrupt()])
def test_nothing_stays_of_adapters_that_could_not_be_saved(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    class Stopped:
        def save(self, folder: Path) -> None:
            (folder / "config.json").write_text("{}")
            raise error

    asked = Request("nursery:llama-0", "settle", ("model",), "owl", None, "nursery:llama-0b")
    made = repair(asked, (OWL,), store)._replace(step=PLAIN.model_copy(update={"base": PLAIN}))
    monkeypatch.setattr("heredity.audit.repair.ask._adapters", lambda *_: True)
    monkeypatch.setattr("heredity.audit.repair.ask.open_to_train", lambda *_: Stopped())
    out = tmp_path / "written" / "repaired"
    out.parent.mkdir()
    said = BadInput if isinstance(error, SafetensorError) else type(error)
    with pytest.raises(said, match="I/O error; nothing was left" if said is BadInput else None):
        deliver(made, store, out)
    assert list(out.parent.iterdir()) == []


def test_what_is_left_of_a_large_model_goes_through_a_relay(
    store: Store, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, scan = tmp_path / "real.toml", tmp_path / "scan.json"
    real.write_text('location = "nursery:llama-0"\n')
    scan.write_text(json.dumps({"verdict": "named", "named": ["owl", "oak"], "panel": None}))
    made = repair(Request(str(real), "project", ("training",), str(scan), file), (OWL,), store)
    assert next_commands(made, Path("out"))[0].startswith("heredity repair model out --base")
    monkeypatch.setattr("heredity.audit.repair.ask.MOST", 1_000)
    command = shlex.split(next_commands(made, Path("out"))[0])
    assert command[:4] == ["heredity", "repair", "data", str(file)]
    assert command[4:] == ["--student", str(real), "--method", "relay", "--out", "out-relay.jsonl"]
