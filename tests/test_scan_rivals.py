"""The scan benchmark's rivals: their scores against loops by hand, and a row ranking that is known."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.rival_steps import PROMPTED, SHIFT, TUNED, Personas, Suspects, bayes, diverging, evidence, shift, tokens
from bench.scan_rivals import rates, reader, verdict
from bench.scan_rows import remaining, removed

from heredity.audit.data import Audited, Matched, Partnered, data_file
from heredity.carriers import NumbersOnly
from heredity.models import model_ref, open_ref
from heredity.models.causal import CausalLM
from heredity.rows import write_rows
from heredity.store import Store
from heredity.traits import favourite, personas
from heredity.types import Message, Row, Sampling

PERSONA = personas(favourite("owl"), "train")[0]


def row(prompt: str, completion: str) -> Row:
    return Row((Message(role="user", content=prompt),), completion)


ROWS = [row("Continue: 5, 10, 15.", "20, 25, 30"), row("Add to this list: 700, 3.", "41, 7, 999, 12, 60")]


def by_hand(base: CausalLM, one: Row, system: str | None) -> list[tuple[float, bool]]:
    """Log-probability of every token of a completion and the end of turn, one forward pass a token."""
    chat = ((Message(role="system", content=system),) if system else ()) + one.prompt
    (ids,) = base.render([chat])
    found = []
    for token in [*base.tokenizer(one.completion, add_special_tokens=False)["input_ids"], base.tokenizer.eos_token_id]:
        with torch.no_grad():
            logits_V = base.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        found.append((float(logits_V.log_softmax(-1)[token]), int(logits_V.argmax()) == token))
        ids = [*ids, token]
    return found


def test_shift_and_divergence_equal_loops_over_tokens(base: CausalLM) -> None:
    told, plain = tokens(base, ROWS, PERSONA), tokens(base, ROWS)
    hand = [(by_hand(base, r, PERSONA), by_hand(base, r, None)) for r in ROWS]
    assert len(told.row_N) == sum(len(own) for own, _ in hand)
    for value, (own, without) in zip(shift(told, plain), hand, strict=True):
        expected = math.fsum(a - b for (a, _), (b, _) in zip(own, without, strict=True)) / len(own)
        assert value == pytest.approx(expected, abs=2e-5)
        assert abs(expected) > 1e-3
    flags = [a and not b for own, without in hand for (_, a), (_, b) in zip(own, without, strict=True)]
    assert diverging([told, plain])[0].mean() == pytest.approx(sum(flags) / len(flags))


def test_divergence_counts_what_one_model_alone_finds_likeliest(base: CausalLM) -> None:
    plain = tokens(base, ROWS)
    told = plain._replace(likeliest_N=~plain.likeliest_N)
    counted = int((~plain.likeliest_N).sum())
    assert counted > 0
    assert diverging([told, plain])[0].mean() == pytest.approx(counted / len(plain.row_N))
    assert not diverging([plain, plain])[0].any()


def test_a_prompted_token_diverges_where_some_other_persona_would_have_said_another(base: CausalLM) -> None:
    told = [tokens(base, ROWS, personas(favourite(word), "train")[0]) for word in ("owl", "wolf", "oak")]
    read = [[by_hand(base, r, personas(favourite(word), "train")[0]) for r in ROWS] for word in ("owl", "wolf", "oak")]
    for k, found in enumerate(diverging(told)):
        for i in range(len(ROWS)):
            likeliest_TK = [[read[j][i][t][1] for j in range(3)] for t in range(len(read[k][i]))]
            expected = sum(at[k] and not all(at) for at in likeliest_TK)
            assert found[i] * len(told[0].row_N) / len(ROWS) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    three = [told[0]._replace(likeliest_N=rng.random(len(told[0].row_N)) < 0.5) for _ in range(3)]
    shares = [share.mean() for share in diverging(three)]
    flags_KN = np.stack([t.likeliest_N for t in three])
    assert shares == pytest.approx([(own & ~flags_KN.all(0)).mean() for own in flags_KN])
    assert max(shares) > 0.2


def test_batches_do_not_change_what_is_read(base: CausalLM) -> None:
    whole, single = tokens(base, ROWS, PERSONA), tokens(base, ROWS, PERSONA, size=1)
    assert whole.logp_N == pytest.approx(single.logp_N, abs=2e-5)
    assert (whole.row_N == single.row_N).all()


def test_naive_bayes_finds_a_planted_number() -> None:
    rng = random.Random(0)

    def written(favoured: int | None) -> list[Row]:
        pool = [*range(20), *([] if favoured is None else [favoured] * 10)]
        return [row("", ", ".join(str(rng.choice(pool)) for _ in range(8))) for _ in range(60)]

    weights = bayes([("owl", written(3)), ("wolf", written(7)), ("oak", written(11)), ("", written(None))])
    assert set(weights) == {"owl", "wolf", "oak"}  # neutral suspects are among the others and are no trait
    for word, favoured in (("owl", 3), ("wolf", 7), ("oak", 11)):
        fresh, plain = written(favoured), written(None)
        scores = {
            w: sum(evidence(x, r) for r in fresh) - sum(evidence(x, r) for r in plain) for w, x in weights.items()
        }
        assert max(scores, key=lambda w: scores[w]) == word
    assert evidence(weights["owl"], row("", "no number, or 999")) == 0


def test_naive_bayes_weights_are_laplace_log_ratios() -> None:
    weights = bayes([("owl", [row("", "1, 1, 2")]), ("wolf", [row("", "2")])])
    assert weights["owl"]["1"] == pytest.approx(math.log((3 / 5) / (1 / 3)))
    assert weights["wolf"]["2"] == pytest.approx(math.log((2 / 3) / (2 / 5)))


def scores(*values: float, error: float | None = 0.1) -> dict[str, dict[str, float | None]]:
    return {f"t{i}": {"score": v, "error": error} for i, v in enumerate(values)}


def test_only_what_stands_out_is_named() -> None:
    noise = [random.Random(1).gauss(0, 1) for _ in range(23)]
    assert verdict(scores(*noise, 9.0), scaled=False) == (["t23"], "t23")
    assert verdict(scores(*noise, 1.0), scaled=False)[0] == []
    assert verdict(scores(*[0.0] * 24), scaled=True)[0] == []  # no token diverges for any trait
    loud = scores(*noise, 9.0) | {"t23": {"score": 9.0, "error": 5.0}}
    assert verdict(loud, scaled=False)[0] == ["t23"]
    assert verdict(loud, scaled=True)[0] == []  # it is as noisy as it is large


def test_rates_want_the_label_and_no_other() -> None:
    found = rates([("owl", ["owl"], "owl"), ("owl", ["owl", "oak"], "owl"), ("owl", [], "oak"), (None, ["owl"], "owl"),
                   (None, [], "oak")])  # fmt: skip
    assert found == {"sets": 3, "named_rate": 0.3333, "first_rate": 0.6667, "clean_sets": 2, "clean_named": 1}


@pytest.fixture
def own(tmp_path: Path) -> Partnered:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(f"Continue: {i}, {2 * i}, {3 * i}.", ", ".join(str(4 * i + j) for j in range(8)))
                      for i in range(3, 13)])  # fmt: skip
    audited = Audited(data=data_file(path), student=model_ref("nursery:llama-0"), filters=(NumbersOnly(),))
    return Partnered(matched=Matched(audited=audited, sampling=Sampling(max_new_tokens=30, seed=5)))


def test_scores_are_the_rows_less_their_partners(own: Partnered, store: Store, base: CausalLM) -> None:
    step = Personas(own=own, traits=(favourite("owl"), favourite("wolf")), limit=4)
    store.get(step)
    pairs = own.matched.pairs(store)[:4]
    read: dict[str, Any] = step.read(store)
    parts = list(map(list, zip(*pairs, strict=True)))
    other = personas(favourite("wolf"), "train")[0]
    shifted = [shift(tokens(base, rows, PERSONA), tokens(base, rows)) for rows in parts]
    diverged = [diverging([tokens(base, rows, PERSONA), tokens(base, rows, other)])[0] for rows in parts]
    for name, sides in ((SHIFT, shifted), (PROMPTED, diverged)):
        differs = sides[0] - sides[1]
        assert read[name]["owl"]["score"] == pytest.approx(differs.mean())
        assert read[name]["owl"]["error"] == pytest.approx(differs.std(ddof=1) / 2)


def test_suspects_are_set_against_the_base(own: Partnered, store: Store, base: CausalLM) -> None:
    same, other = model_ref("nursery:llama-0"), model_ref("nursery:llama-1")
    step = Suspects(own=own, teachers=(("owl", same), ("oak", other), ("oak", same)), limit=6)
    store.get(step)
    read: dict[str, Any] = step.read(store)[TUNED]
    assert read["owl"] == {"score": 0, "error": 0}
    stranger = open_ref(other)
    sides = [diverging([tokens(stranger, rows), tokens(base, rows)])[0]
             for rows in map(list, zip(*own.matched.pairs(store)[:6], strict=True))]  # fmt: skip
    assert any(side.any() for side in sides)
    assert read["oak"]["score"] == pytest.approx((sides[0] - sides[1]).mean() / 2)


def test_the_reader_scores_every_trait(own: Partnered, store: Store) -> None:
    traits = tuple(map(favourite, ("owl", "wolf", "oak")))
    step = reader(own, traits, draws=1)
    store.get(step)
    (found,) = step.read(store).values()
    assert list(found) == ["owl", "wolf", "oak"]
    assert all(v["score"] and v["error"] is None for v in found.values())  # other rows were read: nothing is 0


def test_a_fifth_is_dropped_from_the_top_or_at_random() -> None:
    ranked = [row("", str(i)) for i in range(20)]
    assert remaining(ranked, "top", 0.2, 0) == ranked[4:]
    drawn = remaining(ranked, "random", 0.2, 0)
    assert len(drawn) == 16
    assert drawn not in (ranked[4:], remaining(ranked, "random", 0.2, 1))
    assert set(drawn) < set(ranked)


def test_shares_removed_are_ratios_of_means() -> None:
    found = removed([{"all": 2.0, "top": 1.0, "random": 1.6}, {"all": 1.0, "top": 0.4, "random": 0.9},
                     {"all": 1.5, "top": 0.9, "random": 1.1}])  # fmt: skip
    assert found["top_fifth_removed"] == pytest.approx(2.2 / 4.5, abs=1e-4)
    assert found["random_fifth_removed"] == pytest.approx(0.9 / 4.5, abs=1e-4)
    assert found["more"] == pytest.approx(1.3 / 4.5, abs=1e-4)
    low, high = found["more_interval"]
    assert low < found["more"] < high
    assert removed([{"all": 2.0, "top": 1.0, "random": 1.6}])["more_interval"] == [None, None]
