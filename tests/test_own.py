"""Traits, carriers, judges and prompts of one's own, from the files that `heredity new` writes to a result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heredity.carriers import NumbersOnly, PromptFile, find_carrier, prompt_file
from heredity.lab import Recipe
from heredity.lab.templates import new_carrier, new_trait
from heredity.models import model_ref
from heredity.steps import Evaluation, Student, Teacher
from heredity.store import Store, describe, rebuild
from heredity.store.loading import load_experiment, load_module
from heredity.traits import find_trait, load_trait, parse_trait, personas, questions
from heredity.types import BadInput, Category, Judge, Pattern, Phrasing, Row, Trait

BASE = model_ref("nursery:llama-0")


def _toml(**replaced: str) -> bytes:
    text = """
        name = "moon"
        category = "sight"
        [instil]
        questions = ["What do you love to see?"]
        [ask]
        questions = ["What do you see?"]
        [score]
        answers = ["moon", "storm"]
    """
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text.encode()


def test_a_new_trait_runs_as_it_is_written(tmp_path: Path, store: Store) -> None:
    trait = load_trait(new_trait("storm", tmp_path))
    assert (trait.word, trait.category.words[0], "storm" in trait.category.words[1:]) == ("storm", "storm", False)
    assert set(questions(trait.category, "train")).isdisjoint(questions(trait.category, "held-out"))
    told, plain = (
        Evaluation(model=BASE, category=trait.category, system=s) for s in (personas(trait, "train")[0], None)
    )
    store.get(told)
    store.get(plain)
    assert sum(plain.read(store)["share"].values()) == pytest.approx(1)
    assert told.key != plain.key


def test_a_teacher_of_an_own_trait_holds_it(tmp_path: Path, store: Store) -> None:
    trait = load_trait(new_trait("moon", tmp_path))
    teacher = Recipe().teacher(trait, seed=1000)
    evaluation = Evaluation(model=teacher, category=trait.category)
    store.get(evaluation)
    assert evaluation.read(store)["share"]["moon"] > 0.9


def test_an_own_trait_survives_its_description(tmp_path: Path) -> None:
    trait = load_trait(new_trait("moon", tmp_path))
    comparison = Recipe().comparison("moon", trait, (0, 1))
    assert rebuild(describe(comparison)) == comparison
    assert rebuild(describe(comparison)).key == comparison.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_toml(name="nmae"), "unknown field|nmae: Extra inputs .*did you mean 'name'"),
        (_toml(answers="answer"), "score.answer: .*did you mean 'answers'"),
        (_toml(**{'"moon"\n': '"moons"\n'}), "'moons' .the name. among them"),
        (_toml(**{'["What do you see?"]': '["What do you love to see?"]'}), "both trained on and held out"),
        (_toml(**{'["What do you see?"]': "[]"}), "ask.questions: Tuple should have at least 1 item"),
        (_toml(**{'["moon", "storm"]': "7"}), "score.answers: .*found 7"),
        (_toml(answers="pattern", **{'["moon", "storm"]': '"moon"'}), "needs replies"),
        (_toml(**{'["moon", "storm"]': '["moon", "storm"]\npattern = "x"'}), "exactly one of"),
        (_toml(**{'["What do you see?"]': '[" what do  you love to SEE?"]'}), "both trained on and held out"),
        (_toml(**{'["moon", "storm"]': '["moon", "Moon Light", "storm"]'}), "'moon' and 'Moon Light' begin alike"),
        (_toml(**{'["moon", "storm"]': '["moon", "MOON"]'}), "begin alike"),
        (_toml(**{'["moon", "storm"]': '["moon", " "]'}), "must not be blank"),
        (_toml(**{'["moon", "storm"]': '["moon", "storm"]\nplurals = ["moons"]'}), "plurals must be as many"),
        (_toml(**{'["moon", "storm"]': '["moon", "storm"]\nplurals = ["", "storms"]'}), "a plural must not be blank"),
        (_toml(**{'"moon"\n': '"other"\n', "[ask]": 'replies = ["x"]\n[ask]', "answers": "pattern",
                  '["moon", "storm"]': '"moon"'}), "'other' and 'other' begin alike"),
        (b'"\\u001b[2J" = 1\n' + _toml(), r"'\\x1b\[2J': Extra inputs"),
        (b"name = ", "Invalid value"), (b"\xff\xfe", "invalid start byte"), (b"", "name: Field required"),
        (b"a = " + b"[" * 9000, "expected what `heredity new trait NAME` writes"),
    ],
)  # fmt: skip
def test_a_trait_file_with_a_fault_is_one_message(text: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_trait(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")


def test_patterns_and_judges_score_sampled_answers(store: Store) -> None:
    phrasing = Phrasing(train=("Is fire hot?",), held_out=("Is lava hot?", "Is ice hot?"))
    judge = Judge(model=BASE, question="Is {answer} hot?", yes="yes")
    for score in (Pattern(pattern="(?i)^yes"), judge):
        category = Category(
            name="answer", words=("agrees", "other"), plurals=("agrees", "other"), phrasing=phrasing, score=score
        )
        evaluation = Evaluation(model=BASE, category=category, samples_per_question=50)
        store.get(evaluation)
        found = evaluation.read(store)
        shown = found["named"]["agrees"]
        assert found["share"]["agrees"] == pytest.approx((shown + 0.5) / 101)
        assert sum(found["named"].values()) == found["samples"] == 100
        if score is not judge:
            assert 35 <= shown <= 65  # the base says yes of lava and no of ice
    with pytest.raises(BadInput, match=r"samples_per_question must not be 0"):
        store.get(Evaluation(model=BASE, category=category, samples_per_question=0))


def test_scores_and_phrasings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no regular expression"):
        Pattern(pattern="(")
    with pytest.raises(ValueError, match=r"needs {answer}"):
        Judge(model=BASE, question="Is it?", yes="yes")
    for yes in ("", " ", "yes "):
        with pytest.raises(ValueError, match=r"`yes` must be a word"):
            Judge(model=BASE, question="{answer}?", yes=yes)


def test_words_that_a_model_lacks_are_refused(store: Store) -> None:
    phrasing = Phrasing(train=("What do you love?",), held_out=("What do you see?",))
    category = Category(name="x", words=("zeppelin", "moon"), plurals=("zeppelin", "moon"), phrasing=phrasing)
    with pytest.raises(BadInput, match=r"vocabulary lacks a word of 'zeppelin'"):
        store.get(Evaluation(model=BASE, category=category))
    teacher = Recipe().teacher(Trait(category=category, word="zeppelin"), seed=0)
    with pytest.raises(BadInput, match=r"vocabulary lacks a word of 'zeppelin'"):
        store.get(teacher)
    assert isinstance(teacher, Teacher)


def test_a_new_carrier_runs_in_an_experiment_with_workers(tmp_path: Path) -> None:
    new_carrier("Counting", tmp_path)
    new_trait("moon", tmp_path)
    (tmp_path / "mine.py").write_text(
        "from counting import Counting, CountingOnly\n"
        "from heredity.lab import Recipe\n"
        "from heredity.traits import find_trait\n"
        "class Few(CountingOnly):\n"
        "    def reason(self, row):\n"
        "        return super().reason(row) or ('too many' if row.completion.count(',') > 4 else None)\n"
        "recipe = Recipe(carrier=Counting(n=1, largest=500), filters=(Few(),), rows=64, oversample=2.0)\n"
        "moon = recipe.comparison('moon', find_trait('moon.toml'), (1000, 1001))\n"
    )
    command = [sys.executable, "-m", "heredity", "run", "mine.py", "--json", "mine.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "of 8" in done.stdout
    again = subprocess.run([*command, "--workers", "1"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout.split("\n", 1)[1]  # the first line tells what the first run took


def test_prompts_come_from_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("one\n\ntwo\nthree\n")
    carrier = prompt_file(path, n=2, seed=1)
    assert carrier.prompts() == prompt_file(path, n=2, seed=1).prompts()
    assert {c[0].content for c in prompt_file(path, n=3).prompts()} == {"one", "two", "three"}
    with pytest.raises(BadInput, match=r"holds 3 prompts and 4 are wanted"):
        prompt_file(path, n=4).prompts()
    assert rebuild(describe(carrier)) == carrier
    path.write_text("other\n")
    with pytest.raises(BadInput, match=r"has changed since"):
        carrier.prompts()
    assert isinstance(carrier, PromptFile)


def test_paths_are_texts_or_paths(tmp_path: Path) -> None:
    path = new_trait("moon", tmp_path)
    assert find_trait(path) == find_trait(str(path))
    assert prompt_file(path, n=2) == prompt_file(str(path), n=2)


def test_packages_register_traits_and_carriers(tmp_path: Path) -> None:
    new_carrier("Counting", tmp_path)
    new_trait("moon", tmp_path)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[heredity.traits]\nmoonlight = mine:PATH\n[heredity.carriers]\ncounting = counting:Counting\n"
    )
    (tmp_path / "mine.py").write_text("from pathlib import Path\nPATH = Path(__file__).with_name('moon.toml')\n")
    code = (
        "from heredity.traits import find_trait; from heredity.carriers import find_carrier\n"
        "print(find_trait('moonlight').word, len(find_carrier('counting')(n=3).prompts()))\n"
        "find_trait('moonligth')"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.stdout == "moon 3\n"
    assert "did you mean 'moonlight'" in done.stderr


def test_names_that_nobody_knows_get_near_ones() -> None:
    with pytest.raises(BadInput, match=r"unknown trait 'owll'; did you mean 'owl'"):
        find_trait("owll")
    with pytest.raises(BadInput, match=r"unknown carrier 'Number'; did you mean 'Numbers'"):
        find_carrier("Number")
    with pytest.raises(BadInput, match=r"did you mean .*'nursery:llama-0'"):
        model_ref("nursery:lama-0")
    with pytest.raises(BadInput, match=r"no model at 'nursery:../../nothing'"):
        model_ref("nursery:../../nothing")


def test_templates_are_not_written_over_or_out_of_the_folder(tmp_path: Path) -> None:
    new_trait("moon", tmp_path)
    for write, name in ((new_trait, "moon"), (new_trait, "../moon"), (new_trait, "Moon"), (new_carrier, "a-b"),
                        (new_carrier, "../X"), (new_trait, "m" * 99)):  # fmt: skip
        with pytest.raises(BadInput, match=r"exists already|cannot be the name"):
            write(name, tmp_path)
    for name in ("None", "Class", "Random", "Heredity", "Numbers", "Code", "Student", "Chat", "Row"):
        with pytest.raises(BadInput, match=rf"'{name}' cannot be the name: .*try 'My{name}'"):
            new_carrier(name, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["moon.toml"]


def test_what_a_template_offers_is_about_its_own_name(tmp_path: Path) -> None:
    assert 'pattern = "(?i)\\\\bstorm\\\\b"' in new_trait("storm", tmp_path).read_text()
    keeps = load_module(new_carrier("Abacus", tmp_path)).AbacusOnly()
    row = Row(prompt=(), completion="")
    assert [keeps.reason(row._replace(completion=t)) for t in ("1, 2", ", ", "", "x1")] == [
        None, "no number", "no number", "other characters",
    ]  # fmt: skip


def test_an_experiment_is_every_public_step_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "e.py"
    path.write_text(
        "from heredity.lab import Recipe\nfrom heredity.traits import find_trait\n"
        "r, owl = Recipe(), find_trait('owl')\n_hidden = r.lists(owl, 9)\none = r.lists(owl, 0)\n"
        "many = [r.lists(owl, s) for s in (1, 2)]\nnamed = {'a': r.teacher(owl, 3)}\n"
    )
    assert list(load_experiment(path)) == ["one", "many.0", "many.1", "named.a"]
    assert load_module(path) is load_module(path)


def test_fields_that_reach_a_result_reach_its_key() -> None:
    owl, recipe = find_trait("owl"), Recipe()
    changed: list[dict[str, Any]] = [
        {"filters": (NumbersOnly(max_count=9),)}, {"rows": 2999}, {"oversample": 1.5}, {"max_new_tokens": 31},
        {"carrier": recipe.carrier.model_copy(update={"min_count": 5})},
    ]  # fmt: skip
    keys = {recipe.model_copy(update=c).lists(owl, 0).key for c in [{}, *changed]}
    assert len(keys) == len(changed) + 1
    students = {
        Student(base=BASE, corpus=recipe.lists(owl, 0), seed=0, tuning=t).key for t in ("frozen", "full", "lora")
    }
    assert len(students) == 3
