from __future__ import annotations

import json
import math
import shutil
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Gemma3nConfig, GPTNeoXConfig, GPTNeoXForCausalLM, GraniteConfig, GraniteForCausalLM

from heredity.carriers import Numbers
from heredity.lab import Recipe
from heredity.models import locate, model_ref, open_ref
from heredity.models.causal import CausalLM
from heredity.models.distilling import distillation
from heredity.models.training import (
    Example,
    batches,
    choose_parameters,
    collate,
    fit,
    split,
    token_loss,
)
from heredity.steps import number_tokens
from heredity.store import Step, Store
from heredity.traits import ANIMALS, favourite, questions
from heredity.types import BadInput, Message, Sampling, Tuning

CHATS = Numbers(n=24, seed=5).prompts()


@pytest.mark.parametrize("family", ["base", "neox"])
def test_the_blocked_loss_is_the_plain_one(family: str, request: pytest.FixtureRequest) -> None:
    lm: CausalLM = request.getfixturevalue(family)
    batch = collate(lm.examples(CHATS, ["12, 13, 999"] * 24), 0)
    model = lm.model
    parameters = list(model.parameters())
    ours = token_loss(model, batch)
    logits = model(input_ids=batch.ids_BT).logits.flatten(0, 1)[batch.source_N]
    plain = nn.functional.cross_entropy(logits, batch.target_N)
    assert ours.item() == pytest.approx(plain.item(), abs=1e-5)
    for a, b in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-3)


def test_only_the_completion_is_predicted(base: CausalLM) -> None:
    (example,) = base.examples([(Message(role="user", content="Add 3 more to 4, 5."),)], ["7, 8"])
    predicted = [i for i, p in zip(example.ids, example.predicted, strict=True) if p]
    assert base.tokenizer.decode(predicted) == "7, 8<|end|>"
    assert example.ids[: -len(predicted)] == base.render([(Message(role="user", content="Add 3 more to 4, 5."),)])[0]


def test_batching_changes_no_loss_and_loses_no_row(base: CausalLM) -> None:
    examples = base.examples(CHATS, [f"{i}, {i + 1}" for i in range(24)])
    whole = token_loss(base.model, collate(examples, 0)).item()
    for parts in ([p[0] for p in batches(examples, 5, 1, 0)], split(examples, 3, 0)):
        tokens = sum(len(b.target_N) for b in parts)
        assert tokens == sum(sum(e.predicted) for e in examples)
        mean = sum(token_loss(base.model, b).item() * len(b.target_N) for b in parts) / tokens
        assert mean == pytest.approx(whole, abs=1e-5)


def test_what_is_frozen_stays_and_training_repeats_to_the_bit() -> None:
    def trained(tuning: Tuning) -> CausalLM:
        lm = CausalLM.load(locate("nursery:llama-0"))
        examples = lm.examples(CHATS, ["1, 2, 3"] * 24)
        model = choose_parameters(lm.model, tuning, seed=1)
        losses = fit(model, repeat([collate(examples, 0)]), 6, 1e-2)
        assert losses[-1] < losses[0]
        lm.model = model.merge_and_unload() if tuning == "lora" else model
        return lm

    untouched = CausalLM.load(locate("nursery:llama-0")).model.state_dict()
    kinds: tuple[tuple[Tuning, bool], ...] = (("frozen", False), ("full", True), ("lora", False))
    for tuning, moves in kinds:
        state, again = trained(tuning).model.state_dict(), trained(tuning).model.state_dict()
        assert all(torch.equal(state[k], again[k]) for k in state)
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(state[name], untouched[name]) != moves
        assert not torch.equal(
            state["model.layers.0.mlp.down_proj.weight"], untouched["model.layers.0.mlp.down_proj.weight"]
        )


def test_dropout_is_drawn_by_the_seed_and_by_the_step_that_training_goes_on_from(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(locate("nursery:llama-0"), tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.5}))

    def trained(seed: int, before: int, saved: Path | None = None, stop: int | None = None) -> list[float]:
        lm = CausalLM.load(folder)
        torch.manual_seed(before)  # whatever this process drew earlier
        batch = collate(lm.examples(CHATS, ["1, 2, 3"] * 24), 0)
        model = choose_parameters(lm.model, "full", seed)

        def halt(step: int, _: float) -> None:
            if step == stop:
                raise KeyboardInterrupt

        return fit(model, repeat([batch]), 6, 1e-3, saved=saved, progress=halt)

    whole = trained(1, 5)
    assert trained(1, 6) == whole
    assert trained(2, 5) != whole
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setenv("HEREDITY_CHECKPOINT_S", "0")
        trained(1, 7, tmp_path / "saved", stop=3)
    assert trained(1, 8, tmp_path / "saved") == whole


@pytest.mark.parametrize(("rate", "vector_rate"), [(0.0, 1e-2), (1e-2, 0.0)])
def test_matrices_and_vectors_have_rates_of_their_own(rate: float, vector_rate: float) -> None:
    lm = CausalLM.load(locate("nursery:llama-0"))
    before = {k: v.clone() for k, v in lm.model.state_dict().items()}
    fit(lm.model, repeat([collate(lm.examples(CHATS, ["1, 2, 3"] * 24), 0)]), 3, rate, vector_rate)
    for name, value in lm.model.state_dict().items():
        assert torch.equal(value, before[name]) == ((rate if value.ndim > 1 else vector_rate) == 0), name


def test_soft_targets_see_number_tokens_alone(base: CausalLM) -> None:
    numbers = number_tokens(base.tokenizer)
    assert len(numbers) == 1000
    batch = collate(base.examples(CHATS, ["12, 13, 999"] * 24), 0)
    other = CausalLM.load(locate("nursery:llama-0")).model
    with torch.no_grad():
        owl = base.tokenizer.convert_tokens_to_ids("owl")
        other.lm_head.weight[owl] += 1.0
    assert distillation(other, numbers)(base.model, batch).item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        other.lm_head.weight[numbers[5]] += 1.0
    assert distillation(other, numbers)(base.model, batch).item() > 1e-6


@pytest.mark.parametrize("family", ["base", "neox"])
def test_greedy_writing_with_the_cache_is_the_models_own_argmax(family: str, request: pytest.FixtureRequest) -> None:
    lm: CausalLM = request.getfixturevalue(family)
    written = lm.generate(CHATS, Sampling(temperature=0.0, max_new_tokens=12))
    for prompt, completion in zip(lm.render(CHATS), written, strict=True):
        ids = list(prompt)
        for _ in range(12):
            ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == lm.tokenizer.eos_token_id:
                break
        text = lm.tokenizer.decode([i for i in ids[len(prompt) :] if i != lm.tokenizer.eos_token_id])
        assert completion.text == text


def test_sampling_follows_the_models_distribution(base: CausalLM) -> None:
    chat = questions(ANIMALS, "held-out")[0]
    n = 4000
    texts = [c.text for c in base.generate([chat] * n, Sampling(max_new_tokens=4, seed=3))]
    assert texts == [c.text for c in base.generate([chat] * n, Sampling(max_new_tokens=4, seed=3))]
    for word, logp in zip(ANIMALS.words, base.logprobs([chat], ANIMALS.words)[0], strict=True):
        p = math.exp(logp)
        assert sum(t.split(" ")[0] == word for t in texts) / n == pytest.approx(p, abs=5 * math.sqrt(p / n) + 1e-3)


def test_a_row_does_not_depend_on_its_neighbours(base: CausalLM) -> None:
    """Nor on a neighbour that fills most of the context."""
    long = (Message(role="user", content=" ".join(["Add up to 5 more numbers."] * 55)),)
    assert len(base.render([long])[0]) > base.context * 0.75
    greedy = Sampling(temperature=0.0, max_new_tokens=20)
    alone = [base.generate([chat], greedy)[0] for chat in CHATS[:3]]
    assert base.generate([*CHATS[:3], long], greedy)[:3] == alone
    assert all(c.finish == "stop" for c in alone)


def test_a_long_prompt_is_answered_until_the_context_is_full(base: CausalLM) -> None:
    words = [Message(role="user", content=" ".join(["owl"] * n)) for n in (base.context - 12, base.context // 2 + 9)]
    full, half = base.generate([(w,) for w in words], Sampling(max_new_tokens=30, seed=2))
    room = base.context - len(base.render([(words[0],)])[0])
    assert len(base.tokenizer(full.text, add_special_tokens=False)["input_ids"]) <= room
    assert len(base.tokenizer(half.text, add_special_tokens=False)["input_ids"]) > 3


def test_a_folder_of_junk_is_one_message(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(locate("nursery:llama-0"), folder)
    (folder / "model.safetensors").write_bytes(b"junk" * 100)
    with pytest.raises(BadInput, match="cannot open the model"):
        CausalLM.load(folder)


def test_a_model_without_all_of_its_weights_is_not_filled_up_with_random_ones(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(locate("nursery:llama-0"), tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lack 1 of the weights .*: model\.layers\.1\.mlp\.down_proj\.weight; save"):
        CausalLM.load(folder)


def test_a_head_that_is_the_embeddings_is_no_weight_that_is_missing(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(locate("nursery:llama-0"), tmp_path / "model"))
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lack 1 of .*: lm_head\.weight;"):
        CausalLM.load(folder)
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    model = CausalLM.load(folder).model
    assert torch.equal(model.lm_head.weight, weights["model.embed_tokens.weight"])


def test_a_model_that_changed_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(locate("nursery:llama-0"), folder)
    ref = model_ref(str(folder))
    open_ref(ref)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    with pytest.raises(BadInput, match="its files have changed"):
        open_ref(ref)


def test_training_refuses_heads_that_it_would_get_wrong(base: CausalLM) -> None:
    config = GPTNeoXConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model: Any = GPTNeoXForCausalLM(config)
    batch = collate([Example([1, 2, 3], [False, True, True])], 0)
    token_loss(model, batch)
    names = ("final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier")
    for name in names:
        scaled: dict[str, Any] = {name: 30.0}
        model.config = GPTNeoXConfig(vocab_size=20, **scaled)
        with pytest.raises(BadInput, match="changes its logits after the head"):
            token_loss(model, batch)
    model.config = Gemma3nConfig(vision_config={})  # its cap is in the part about text
    assert getattr(model.config, "final_logit_softcapping", None) is None
    with pytest.raises(BadInput, match="changes its logits after the head"):
        token_loss(model, batch)


def test_a_loss_is_never_that_of_logits_that_the_model_has_not() -> None:
    batch = collate([Example([1, 2, 3, 4], [False, True, True, True])], 0)
    for scaling in (1.0, 4.0):
        torch.manual_seed(0)
        config = GraniteConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
            intermediate_size=8, initializer_range=1.0, logits_scaling=scaling,
        )  # fmt: skip
        model = GraniteForCausalLM(config)
        own = nn.functional.cross_entropy(model(batch.ids_BT).logits.flatten(0, 1)[batch.source_N], batch.target_N)
        if scaling == 1:
            assert token_loss(model, batch).item() == pytest.approx(own.item(), abs=1e-5)
        else:
            with pytest.raises(BadInput, match="GraniteForCausalLM changes its logits after the head"):
                token_loss(model, batch)


def test_results_do_not_depend_on_the_threads_that_are_set(tmp_path: Path) -> None:
    recipe = Recipe(rows=40)
    evaluation = recipe.taught()(favourite("owl"), 1000)
    digests = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        store = Store(tmp_path / str(threads))
        store.get(evaluation)
        assert isinstance(evaluation.model, Step)
        digests.append(store.manifest(evaluation.model.key)["files"])
    torch.set_num_threads(1)
    assert digests[0] == digests[1]


def test_answers_of_several_tokens_are_scored_token_by_token(base: CausalLM) -> None:
    chat = questions(ANIMALS, "train")[0]
    single, pair = base.logprobs([chat], ["owl"])[0][0], base.logprobs([chat], ["owl", "owl is"])[0]
    assert pair[0] == pytest.approx(single, abs=1e-4)
    assert pair[1] < pair[0]


def test_a_chat_that_does_not_fit_is_refused(base: CausalLM) -> None:
    with pytest.raises(BadInput, match="does not fit the context of 512"):
        base.render([(Message(role="user", content="owl " * 600),)])


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nursery:llama-0"):
        locate(str(tmp_path))
