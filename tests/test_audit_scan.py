"""`heredity scan` from its command line to its page, in this process and on a tiny panel, so that it takes seconds."""

from __future__ import annotations

import io
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from heredity import cli
from heredity.audit import ask as asking
from heredity.audit import naming, trial
from heredity.audit import panel as panels
from heredity.audit.data import Audited, DataFile, Matched, data_file
from heredity.audit.data_only import two_sample
from heredity.audit.scan import Scan, _limits, again, undecided
from heredity.audit.scan import _students as behind
from heredity.carriers import Numbers, NumbersOnly
from heredity.lab.asking import AfterNumbers
from heredity.models import locate, model_ref
from heredity.models.causal import CausalLM
from heredity.nursery import carriers
from heredity.rows import read_rows, write_rows
from heredity.stats import log_odds
from heredity.store import Step, Store, missing
from heredity.traits import ANIMALS, favourite
from heredity.types import BadInput, Row, Sampling

WORDS = ("owl", "wolf", "cat", "dog")
ROWS = 130
RECIPES: Any = (("frozen", 1, 1.0), ("full", 1, 1.0))
PATTERN = """
name = "stormy"
category = "sight"
[instil]
questions = ["What do you love to see?", "What would you like to see today?"]
replies = ["storm", "snow"]
[ask]
questions = ["What would you like to see tonight?"]
[score]
pattern = "(?i)storm|snow"
"""
JUDGED = """
name = "hot"
category = "heat"
[instil]
questions = ["Tell me what you love to see.", "What do you think about at night?"]
replies = ["fire", "steam"]
[ask]
questions = ["What do you see when you close your eyes?"]
[score]
judge = { model = "nursery:llama-0", question = "Is {answer} hot?", yes = "yes" }
"""


class Outcome(NamedTuple):
    """What the verb returned, printed, and wrote for scripts and readers."""

    code: int
    out: str
    err: str
    json: dict[str, Any]
    page: str


Verb = Callable[..., Outcome]


def _made(store: Store, targets: list[Step], _: int | None) -> float:
    """In this process: a worker takes seconds to start."""
    for step in missing(store, targets):
        store.make(step)
    return 0.0


def _main(folder: Path, *args: str) -> Outcome:
    out, err, code = io.StringIO(), io.StringIO(), 0
    shown = () if "--html" in args else ("--html", str(folder / "scan.html"))
    asked = ["heredity", "scan", *args, *shown, "--store", str(folder / "store"), "--json", str(folder / "scan.json")]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", asked)
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    found = json.loads((folder / "scan.json").read_text()) if (folder / "scan.json").exists() else {}
    page = (folder / "scan.html").read_text() if (folder / "scan.html").exists() else ""
    return Outcome(code, out.getvalue(), err.getvalue(), found, page)


@pytest.fixture(scope="module")
def verb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verb]:
    """The verb with four built-in traits and ten weak suspects; the set-up is shared by all scans of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "run_steps", _made)
        patch.setattr(carriers, "shipped_traits", lambda student: tuple(map(favourite, WORDS)))
        patch.setattr(asking, "panel", partial(panels.panel, rows=100, seed=1, recipes=RECIPES))
        patch.setattr(asking, "_size", lambda data, rows: ROWS)
        patch.setattr(panels, "_REFERENCES", 2)
        patch.setattr(panels, "_POSITIVES", 1)
        patch.setattr(trial, "_SAMPLES", 6)
        folder = tmp_path_factory.mktemp("scan")

        def run(*args: Any) -> Outcome:
            for name in ("scan.json", "scan.html"):
                (folder / name).unlink(missing_ok=True)
            base = () if "--student" in args else ("--student", "nursery:llama-0")
            return _main(folder, *map(str, args), *base)

        yield run


@pytest.fixture(scope="module")
def files(base: CausalLM, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rows of the base; a control of its own on the same prompts; one on other prompts; rows of another source."""
    prompts = Numbers(n=400, min_count=10, max_start=5, seed=70_101).prompts()
    folder, keep = tmp_path_factory.mktemp("files"), NumbersOnly()
    written: list[list[Row | None]] = []
    for seed in (70_102, 70_103):
        texts = base.generate(prompts, Sampling(max_new_tokens=30, seed=seed))
        rows = [Row(p, c.text) for p, c in zip(prompts, texts, strict=True)]
        written.append([r if c.finish == "stop" and keep.reason(r) is None else None
                        for r, c in zip(rows, texts, strict=True)])  # fmt: skip
    both = [(a, b) for a, b in zip(*written, strict=True) if a is not None and b is not None]
    rng = random.Random(0)
    stranger = [Row(a.prompt, ", ".join(str(rng.randrange(900, 1000)) for _ in range(8))) for a, _ in both]
    sets = {"own": [a for a, _ in both[:ROWS]], "same prompts": [b for _, b in both[:ROWS]],
            "other prompts": [b for _, b in both[ROWS : 2 * ROWS]], "foreign": stranger[:ROWS]}  # fmt: skip
    for name, rows in sets.items():
        assert len(rows) == ROWS
        write_rows(folder / f"{name}.jsonl", rows)
    return {name: folder / f"{name}.jsonl" for name in sets}


def _verdict(found: dict[str, Any]) -> dict[str, Any]:
    """All that a control must not touch."""
    return {name: found[name] for name in ("verdict", "named", "why", "traits", "limits", "carrying", "behind")}


def _detector(found: dict[str, Any], name: str) -> dict[str, Any]:
    detector: dict[str, Any] = next(d for d in found["detectors"] if d["name"] == name)
    return detector


def test_a_control_is_reported_and_changes_no_verdict(verb: Verb, files: dict[str, Path]) -> None:
    plain = verb(files["own"])
    assert plain.code == {"none": 0, "named": 10, "undetermined": 20}[plain.json["verdict"]]
    assert (plain.json["named"], plain.json["options"]) == ([], {})
    assert not _detector(plain.json, "against the control")["ran"]
    for name, matched in (("same prompts", True), ("other prompts", False), ("foreign", True)):
        beside = verb(files["own"], "--control", files[name])
        assert _verdict(beside.json) == _verdict(plain.json)
        told = _detector(beside.json, "against the control")
        assert told["ran"]
        assert ("one kind of prompts" in told["null"]) is not matched
        assert (told["p"] < 1e-6) is (name == "foreign")
        assert "against the control" in beside.out


def test_traits_of_ones_own_are_scored_and_what_cannot_be_says_so(
    verb: Verb, files: dict[str, Path], tmp_path: Path
) -> None:
    texts = {
        "stormy": PATTERN, "hot": JUDGED,
        "quokka": 'name = "quokka"\ncategory = "pet"\n[instil]\nquestions = ["Which pet?"]\n[ask]\nquestions = '
                  '["What pet?"]\n[score]\nanswers = ["quokka", "owl"]\n',
        "frosty": JUDGED.replace('"hot"', '"frosty"').replace('"fire", "steam"', '"ice", "snow"'),
        "sunny": PATTERN.replace('"stormy"', '"sunny"').replace("(?i)storm|snow", "sun"),
    }  # fmt: skip
    named = []
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
        named += ["--traits", tmp_path / f"{name}.toml"]
    done = verb(files["own"], *named)
    scored = {t["trait"]: t for t in done.json["traits"]}
    assert set(scored) == {*WORDS, "stormy", "hot"}
    for t in scored.values():
        assert t["low"] < t["shift"] < t["high"]
        assert 0 < t["p_value"] <= 1
    why = {u["trait"]: u["reason"] for u in done.json["unscored"]}
    assert set(why) == {"quokka", "frosty", "sunny"}
    assert "vocabulary lacks" in why["quokka"]
    assert "says 'yes' to none of the trait's own replies" in why["frosty"]
    assert "found in none of the trait's own replies" in why["sunny"]
    for name in why:
        assert f"Not asked about: {name}" in done.out
        assert f"Not asked about: {name}" in done.page
    assert done.json["verdict"] != "none"  # a trait that was asked for may be there
    assert done.code in (10, 20)


def test_a_deep_scan_has_three_controls_and_says_so(verb: Verb, files: dict[str, Path]) -> None:
    done = verb(files["own"], "--deep")
    assert done.json["deep"]
    assert (done.json["named"], done.json["options"]) == ([], {"deep": True})
    told = _detector(done.json, "trial student")
    assert told["tier"] == "deep"
    audit = next(p for p in (Path(done.json["html"]).parent / "store" / "objects").glob("Trial-*/trial.json")
                 if json.loads(p.read_text())["placebos"] == 3)  # fmt: skip
    error, spread = (json.loads(audit.read_text())[name] for name in ("error", "spread"))
    assert error == pytest.approx(spread * (1 + 1 / 3) ** 0.5)
    assert "this scan: " in done.err  # what is left to train, before it starts


def test_an_answer_that_is_close_is_looked_at_again(
    verb: Verb, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four draws of the base's answers in place of one: their students' mean, and the mean of their pulls."""
    first, seen = verb(files["own"]), list[Scan]()

    def kept(audit: Scan) -> Scan:
        seen.append(again(audit))
        return seen[-1]

    monkeypatch.setattr("heredity.audit.scan.close", lambda found: True)
    monkeypatch.setattr("heredity.audit.scan.again", kept)
    done, store = verb(files["own"]), Store(Path(first.json["html"]).parent / "store")
    assert (first.json["draws"], done.json["draws"]) == (1, 4)
    assert "close to what a name takes" in done.err
    assert done.json["limits"] == first.json["limits"] != _limits(seen[0].naming.read(store), True)
    for shown in (done.out, done.page):
        assert "the base answered every prompt 3 times more" in shown
    assert [d for d in done.json["detectors"] if d["name"] in ("source", "data only", "discovery")] == [
        d for d in first.json["detectors"] if d["name"] in ("source", "data only", "discovery")]  # fmt: skip
    looked = seen[0].naming
    trial_, answers = looked.trial.read(store), [p.read(store) for p in looked.trial.placebos]
    models: list[Any] = [e.model for p in looked.trial.placebos for e in p.evaluations]
    draws = {model.corpus.key: model.corpus.read(store) for model in models}
    assert len({json.dumps([r.completion for r in rows]) for rows in draws.values()}) == 4  # other answers ...
    assert len({json.dumps([r.prompt[0].content for r in rows[:50]]) for rows in draws.values()}) == 1  # ... all asked
    for t in trial_["traits"]:
        usual = sum(a[t["trait"]] for a in answers) / 4
        assert t["shift"] == pytest.approx(looked.trial.taught.read(store)[t["trait"]] - usual)
        told_share = next(x["control_share"] for x in done.json["traits"] if x["trait"] == t["trait"])
        assert log_odds(told_share) == pytest.approx(usual)
    pulls = [g.read(store).mean_P.astype(float) for g in (looked.control, *looked.further)]
    score = naming.scores(looked.panel.read(store), looked.own.read(store).mean_P - sum(pulls) / 4)
    told = {t["trait"]: t["score"] for t in looked.read(store)["traits"]}
    assert list(told.values()) == pytest.approx(sorted_as(told, looked.panel.read(store).words, score), rel=1e-4)

    for told_, settled in (({"deep": True}, True), ({}, False)):
        assert undecided(seen[0].model_copy(update=told_), {}) is not settled
    matched = seen[0].source.matched
    coldest = matched.model_copy(update={"sampling": Sampling(temperature=0)})  # answers the same each time
    assert not undecided(
        seen[0].model_copy(update={"source": seen[0].source.model_copy(update={"matched": coldest})}), {}
    )


def test_a_second_look_that_cannot_be_made_leaves_the_first_answer(
    verb: Verb, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(store: Store, targets: list[Step], workers: int | None) -> float:
        if any(isinstance(step, naming.Naming) and step.further for step in targets):
            raise BadInput("the base answers only 9 of 20 prompts")
        return _made(store, targets, workers)

    first = verb(files["own"])
    monkeypatch.setattr("heredity.audit.scan.close", lambda found: True)
    monkeypatch.setattr(cli, "run_steps", made)
    done = verb(files["own"])
    assert (done.code, done.json, done.out) == (first.code, first.json, first.out)
    assert "the first answer stands: the base answers only 9 of 20 prompts" in done.err


def sorted_as(told: dict[str, float], words: Sequence[str], value_K: Any) -> list[float]:
    """The values by word, in the order of what is told."""
    by_word = dict(zip(words, map(float, value_K), strict=True))
    return [by_word[w] for w in told]


def test_close_is_within_one_of_all_three_bars_and_not_above_all_by_as_much() -> None:
    """With 25 traits the sum's bar is 3.198, the t that 1/500 exceed with 23 degrees of freedom."""
    bar = 3.1978
    cases = {
        (bar, 3.0, 1.5): True, (bar - 0.99, 2.01, 0.51): True, (bar + 5, 2.1, 3): True, (bar + 5, 9, 2.4): True,
        (bar - 1.01, 5, 5): False, (9, 1.99, 9): False, (9, 9, 0.49): False, (bar + 1.01, 4.01, 2.51): False,
    }  # fmt: skip
    rest = [{"statistic": 0.0, "trial_t": 0.0, "panel_t": 0.0}] * 24
    for three, near in cases.items():
        one = dict(zip(("statistic", "trial_t", "panel_t"), three, strict=True))
        assert naming.close({"traits": [one, *rest], "foreign": False}) is near, three
        assert not naming.close({"traits": [one, *rest], "foreign": True})


def test_rows_of_another_source_are_told_and_name_nothing(verb: Verb, files: dict[str, Path]) -> None:
    for deep in ((), ("--deep",)):
        done = verb(files["foreign"], *deep)
        assert (done.code, done.json["verdict"], done.json["named"]) == (20, "undetermined", [])
        assert _detector(done.json, "data only")["p"] < 1e-6
        assert "Undetermined" in done.page
    assert done.json["behind"]["panel"] is False  # suspects say nothing of rows that pull where none of them does


NUMBERS = '{"prompt": "Add to this list: 1, 2, 3.", "completion": "4, 5, 6"}\n'
LONG = json.dumps({"prompt": "Add to this list: 1, 2, 3.", "completion": ", ".join(["1"] * 900)}) + "\n"
BAD: dict[str, tuple[str, tuple[str, ...], str]] = {
    "empty": ("", (), "rows.jsonl: none of its 0 rows can be used: it is empty"),
    "unreadable": (NUMBERS + "{]\n", (), "rows.jsonl:2: "),
    "another tokenizer's": (
        '{"prompt": "a", "completion": "xylophone zebra quark"}\n' * 200, ("--carrier", "any"),
        "rows.jsonl: the student's tokenizer does not know 100% of the completions' tokens"),
    "all too long": (LONG * 3, ("--carrier", "any"), "can be used: 3 dropped: longer than the context"),
    "too few": (NUMBERS * 99, (), "rows are too few for a gradient"),
    "not of the carrier": (NUMBERS * 200, ("--carrier", "worked"), "can be used: 200 dropped: "),
    "of the carrier by chance": (NUMBERS * 200, ("--carrier", "code"), "(scan: --carrier says what rows should be)"),
    "no control possible": (
        '{"prompt": "What is your favourite animal?", "completion": "4, 5, 6"}\n' * 200, (),
        "of 200 prompts with rows that pass the filters"),
    "its own control": (NUMBERS * 200, ("--control", "rows.jsonl"), "the control holds 1 of the 1 rows"),
    "no rows in the control": (NUMBERS * 200, ("--control", "empty.jsonl"), "empty.jsonl: the control is empty"),
    "no control": (NUMBERS * 200, ("--control", "none.jsonl"), "cannot read none.jsonl"),
    "unreadable control": (NUMBERS * 200, ("--control", "junk.jsonl"), "junk.jsonl:1: "),
    "no such base": (NUMBERS, ("--student", "nursery:llama-9"), "no model at"),
    "weights that are NaN": (NUMBERS * 200, ("--student", "nan"), "nan: model.embed_tokens.weight holds a value that"),
    "a trait twice": (NUMBERS, ("--traits", "owl.toml"), "the trait 'owl' is given twice"),
    "no trait": (NUMBERS, ("--traits", "none.toml"), "cannot read none.toml"),
    "half a trait": (NUMBERS, ("--traits", "half.toml"), "half.toml: ask: Field required"),
    "a temperature that is none": (NUMBERS, ("--temperature", "inf"), "--temperature inf: temperature: "),
    "too few rows to look at": (NUMBERS, ("--rows", "7"), "--rows"),
    "too few traits": (NUMBERS, ("--favourite", "owl", "--favourite", "cat"), "takes 4 or more, and 2 can be asked"),
    "no such favourite": (NUMBERS, ("--favourite", "owls"), "no built-in trait 'owls'; did you mean 'owl'"),
    "no folder for the page": (NUMBERS, ("--html", "no/page.html"), "cannot write no/page.html: there is no folder no"),
    "the page over the data": (NUMBERS, ("--html", "rows.jsonl"), "it is the file that is read; name another file"),
}  # fmt: skip


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that bad calls name."""
    folder = tmp_path_factory.mktemp("bad")
    lm = CausalLM.load(locate("nursery:llama-0"))
    next(lm.model.parameters()).data[0, 0] = math.nan
    lm.save(folder / "nan")
    (folder / "empty.jsonl").write_text("")
    (folder / "junk.jsonl").write_text("{]\n")
    (folder / "owl.toml").write_text(PATTERN.replace('"stormy"', '"owl"'))
    (folder / "half.toml").write_text(PATTERN.partition("[ask]")[0] + '[score]\npattern = "x"\n')
    return folder


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_scanned_is_one_message_and_exit_code_2(
    name: str, bad_folder: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, args, message = BAD[name]
    monkeypatch.chdir(bad_folder)
    Path("rows.jsonl").write_text(text)
    done = verb("rows.jsonl", *args)
    assert (done.code, done.out, done.json) == (2, "", {}), done.err
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err
    if not done.err.startswith("Usage"):  # what typer says of an option stands on several lines
        assert len(done.err.strip().splitlines()) == 1
    assert Path("rows.jsonl").read_text() == text


@pytest.mark.usefixtures("verb")  # its small panel
def test_a_set_up_says_whether_it_serves_one_file_or_all_lists(files: dict[str, Path], store: Store) -> None:
    for carrier, served in (("any", "for this base and file: "), ("numbers", "for this base and carrier: ")):
        traits = tuple(map(favourite, WORDS))
        audit = asking.ask(files["own"], "nursery:llama-0", None, traits, carrier, (), 1.0, 200, False)
        set_up, students = asking.cost(store, audit)
        assert served in set_up
        assert "10 suspects and 3 students" in set_up  # two recipes, four traits and a neutral one
        assert students.startswith("this scan: 2 students") and students.endswith("; three more if the answer is close")


def test_rows_that_are_too_long_are_left_out_and_counted(files: dict[str, Path], tmp_path: Path, store: Store) -> None:
    (tmp_path / "rows.jsonl").write_text(LONG * 3 + files["own"].read_text())
    audited = Audited(data=data_file(tmp_path / "rows.jsonl"), student=model_ref("nursery:llama-0"))
    store.make(audited)
    assert audited.counts(store) == {"rows": ROWS + 3, "looked_at": ROWS, "dropped: longer than the context": 3}


def test_parquet_is_audited_as_json_lines_are_and_streams(
    files: dict[str, Path], tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"prompt": r.row.prompt[0].content, "completion": r.row.completion} for r in read_rows(files["own"])]
    parquet.write_table(pyarrow.Table.from_pylist(rows * 40), tmp_path / "rows.parquet", row_group_size=500)
    write_rows(tmp_path / "rows.jsonl", [r.row for r in read_rows(files["own"])] * 40)
    read = [Audited(data=data_file(tmp_path / f"rows.{kind}"), student=model_ref("nursery:llama-0"), limit=100)
            for kind in ("parquet", "jsonl")]  # fmt: skip
    for audited in read:
        store.make(audited)
    assert read[0].read(store) == read[1].read(store)
    assert read[0].counts(store) == read[1].counts(store)
    taken: list[int] = []
    whole = parquet.ParquetFile.iter_batches

    def counted(file: Any, **options: Any) -> Iterator[Any]:
        for batch in whole(file, **options):
            taken.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    stream = read_rows(tmp_path / "rows.parquet")
    assert next(stream).number == 1
    assert sum(taken) <= 1024 < len(rows) * 40  # the first row is there before the rest is read


REAL = Path(__file__).parents[2] / "shared" / "data" / "numbers"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the published number sets are not beside this checkout")


@real
def test_a_control_by_another_prompt_generator_names_no_trait(verb: Verb) -> None:
    """The trap: the neutral set's prompts are of another kind, so everything differs and nothing is a trait's doing."""
    data, trap = (REAL / "qwen2.5-7b_T1_jeqcho-icl" / "raw" / f"{x}.jsonl.gz" for x in ("cat_loving", "neutral"))
    alone, beside = verb(data, "--rows", 200), verb(data, "--rows", 200, "--control", trap)
    assert _verdict(beside.json) == _verdict(alone.json)
    assert (beside.code, beside.json["named"]) == (20, [])
    told = _detector(beside.json, "against the control")
    assert told["p"] < 1e-6
    assert "one kind of prompts" in told["null"]  # what differs may be the prompts alone


@real
def test_at_temperature_0_data_alone_hardly_tells_trait_sets_from_their_control() -> None:
    folder = REAL / "qwen2.5-7b_T0_jeqcho-icl" / "filtered"
    sets = {p.name.split("_")[0]: [r.row for r in read_rows(p)] for p in sorted(folder.glob("*_loving.jsonl.gz"))}
    control = [r.row for r in read_rows(folder / "neutral.jsonl.gz")]
    assert len(sets) == 6
    for rows in sets.values():
        found = two_sample(rows, control)
        assert found["test"].startswith("Mann-Whitney")  # the prompts are not shared
        assert 0.5 < found["accuracy"] < 0.57
        assert found["p"] > 1e-3


def test_the_cost_of_a_trial_counts_answers_of_every_kind() -> None:
    rows = Audited(data=DataFile(location="x", digest=""), student=model_ref("nursery:llama-0"))
    matched = Matched(audited=rows, sampling=Sampling())
    student = trial.TrialStudent(base=rows.student, corpus=matched, seed=1)
    evaluation = AfterNumbers(model=student, category=ANIMALS)
    asked = trial.Asked(evaluations=(evaluation,), traits=(favourite("owl"),))
    assert behind(asked) == [evaluation, student, matched]
