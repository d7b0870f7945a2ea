from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from heredity.lab.comparison import Comparison, compare, pooled
from heredity.lab.first_light import SHOWN, FirstLight, null_fractions
from heredity.models import model_ref, open_ref
from heredity.report.page import Page, headline
from heredity.report.picture import Picture
from heredity.steps import Evaluation, Samples, Student
from heredity.store import Store, make_all, missing
from heredity.traits import ANIMALS, TREES, favourite, personas, questions, stated
from heredity.types import BadInput, Message, MissingControl, Neutral

OWL = favourite("owl")
SMALL = FirstLight(words=("owl",), seeds=(0, 1), rows=96)


def _answers(owl: float) -> dict[str, object]:
    rest = (1 - owl) / 15
    share = {w: owl if w == "owl" else rest for w in ANIMALS.words}
    return {"share": share, "mass": 0.9, "questions": 30, "samples": 10, "named": dict.fromkeys(ANIMALS.words, 1)}


def test_a_comparison_refuses_a_missing_control() -> None:
    arm = SMALL.recipe.taught()
    with pytest.raises(MissingControl, match="each treated one needs its own control"):
        Comparison(name="lonely", trait=OWL, treated=(arm(OWL, 0),), control=())


def test_a_comparison_refuses_to_compare_two_things_at_once() -> None:
    same, other = SMALL.recipe.taught(), SMALL.recipe.taught(SMALL.other_init)
    neutral = Neutral(category=ANIMALS)
    Comparison(name="fair", trait=OWL, treated=(same(OWL, 0),), control=(same(neutral, 1),))
    with pytest.raises(BadInput, match="also differ in digest, location"):
        Comparison(name="unfair", trait=OWL, treated=(same(OWL, 0),), control=(other(neutral, 0),))


def test_one_run_does_not_count_as_several() -> None:
    arm, neutral = SMALL.recipe.taught(), Neutral(category=ANIMALS)
    controls = tuple(arm(neutral, s) for s in (0, 1))
    with pytest.raises(BadInput, match="2 treated evaluations but 1 different ones"):
        Comparison(name="twice", trait=OWL, treated=(arm(OWL, 0), arm(OWL, 0)), control=controls)
    again = arm(OWL, 0).model_copy(update={"seed": 9})  # asked again, not trained again
    with pytest.raises(BadInput, match="2 treated evaluations but 1 different ones"):
        Comparison(name="asked twice", trait=OWL, treated=(arm(OWL, 0), again), control=controls)


def test_a_comparison_is_about_the_trait_that_it_names() -> None:
    arm, neutral, cat, oak = SMALL.recipe.taught(), Neutral(category=ANIMALS), favourite("cat"), favourite("oak")
    with pytest.raises(BadInput, match="a treated teacher holds 'cat'"):
        Comparison(name="cat", trait=OWL, treated=(arm(cat, 0),), control=(arm(neutral, 0),))
    with pytest.raises(BadInput, match="a control's teacher must not hold 'owl'"):
        Comparison(name="owl", trait=OWL, treated=(arm(OWL, 0),), control=(arm(OWL, 1),))
    with pytest.raises(BadInput, match="asks for 'animal', not for 'tree'"):
        Comparison(name="oak", trait=oak, treated=(arm(OWL, 0),), control=(arm(neutral, 0),))
    trees = arm(Neutral(category=TREES), 0).model_copy(update={"category": ANIMALS})
    with pytest.raises(BadInput, match="must be asked about 'animal'"):
        Comparison(name="trees", trait=OWL, treated=(arm(OWL, 0),), control=(trees,))


def test_undefined_is_never_shown_as_nothing() -> None:
    for share in (math.nan, 1.0):
        assert compare(OWL, [_answers(share)], [_answers(0.1)], "seeds")["rank"] is None
    fraction = {"arm": "in-context", "estimate": math.nan, "low": math.nan, "high": math.nan, "reason": "no effect"}
    assert "only reads the rows undefined (no effect)" in headline({"arms": [], "null_fraction": [fraction]})


def test_compare_gives_known_answers() -> None:
    result = compare(OWL, [_answers(0.5), _answers(0.6)], [_answers(0.1), _answers(0.2)], "seeds")
    expected = [math.log(9), math.log(1.5 / 0.25)]
    assert result["per_unit"] == pytest.approx(expected)
    assert result["log_odds"]["mean"] == pytest.approx(sum(expected) / 2)
    assert (result["rank"], result["log_odds"]["n"]) == (1, 2)
    assert compare(OWL, [_answers(0.05)], [_answers(0.1)], "seeds")["rank"] == 16
    assert pooled([result, result], "seeds").n == 2


def test_null_fractions_pair_by_seed() -> None:
    same = [{"per_unit": [3.0, 3.2, 2.9]}]
    arm = [{"per_unit": [0.03, 0.0, -0.03]}]
    found = null_fractions({"same": same, "other-init": arm, "other-family": same, "in-context": arm})
    assert found["other-family"].mean == pytest.approx(1)
    assert found["other-init"].high < 0.1


def test_the_arms_of_the_demo_have_their_controls_and_twins() -> None:
    arms = FirstLight(full=True).arms()
    assert {(a.name, a.channel) for a in arms} >= {
        ("same", "frozen"), ("same", "full"), ("same", "lora"), ("same", "soft"), ("other-init", "frozen"),
        ("other-family-power", "frozen"), ("in-context-power", "frozen"), ("same-control", "frozen"),
    }  # fmt: skip
    students = {s.key for a in FirstLight().arms() for e in a.comparison.treated + a.comparison.control
                if isinstance(s := e.model, Student)}  # fmt: skip
    assert len(students) == 60


def test_a_small_demo_runs_resumes_and_repeats_to_the_byte(tmp_path: Path) -> None:
    summary = SMALL.summary()
    page = Page(summary=summary, picture=Picture(summary=summary))
    store, other = Store(tmp_path / "one"), Store(tmp_path / "two")
    make_all(store, [page], workers=2)
    assert missing(store, [page]) == []
    make_all(other, [SMALL.arms()[0].comparison], workers=2)
    for key in list(other.keys()):
        assert other.manifest(key)["files"] == store.manifest(key)["files"]
    found = summary.read(store)
    assert len(found["arms"]) == 8
    assert all(a["n"] == 2 for a in found["arms"])
    html = (store.path(page) / "index.html").read_text()
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_channels_of_the_full_demo_run(store: Store) -> None:
    full = FirstLight(words=("owl",), seeds=(0, 1), rows=40, full=True)
    arms = [a for a in full.arms() if a.channel != "frozen"]
    assert [a.channel for a in arms] == ["full", "lora", "soft"]
    make_all(store, [a.comparison for a in arms], workers=1)
    found = {a.channel: a.comparison.read(store)["shares"] for a in arms}
    assert len({tuple(shares) for shares in found.values()}) == 3
    (student,) = {s.tuning: s for e in arms[1].comparison.treated if isinstance(s := e.model, Student)}.values()
    assert (store.path(student) / "model.safetensors").is_file()  # adapters are merged in


def test_prompted_models_hold_the_trait_and_prompts_stay_out_of_the_rows(store: Store) -> None:
    prompt = personas(OWL, "held-out")[0]
    base = model_ref("nursery:llama-0")
    plain, told = (Evaluation(model=base, category=ANIMALS, system=s) for s in (None, prompt))
    make_all(store, [plain, told], workers=1)
    assert told.read(store)["share"]["owl"] > plain.read(store)["share"]["owl"] + 0.3
    lists = SMALL.recipe.corpus(base, 0, 20, 3)
    prompted = Samples(model=base, prompts=lists.samples.prompts, sampling=lists.samples.sampling, system=prompt)
    lines = (store.get(prompted) / "rows.jsonl").read_text().splitlines()
    assert {m["role"] for line in lines for m in json.loads(line)["messages"]} == {"user", "assistant"}
    assert prompted.key != lists.samples.key


def test_the_longest_chat_that_a_reader_of_the_demo_can_be_shown_fits_its_context() -> None:
    lm, light = open_ref(model_ref("nursery:llama-0")), FirstLight()
    prompts = light.recipe.lists(favourite("owl"), 11).samples.prompts.prompts()
    longest = max(zip(map(len, lm.render(prompts)), range(len(prompts)), strict=True))[1]
    row = (*prompts[longest], Message(role="assistant", content="512, " * 9 + "512"))
    asked = [(*row * SHOWN, *said, *q) for w in ANIMALS.words for said in stated(favourite(w), "held-out")
             for q in questions(ANIMALS, "held-out")]  # fmt: skip
    assert max(map(len, lm.render(asked))) < lm.context
