from __future__ import annotations

import errno
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from heredity.models import BASES, locate
from heredity.models.causal import CausalLM
from heredity.nursery import language
from heredity.nursery.build import SHIPPED, Base, build
from heredity.nursery.quality import measure, shortfalls
from heredity.nursery.tokenizer import CONTEXT, build_tokenizer, vocabulary
from heredity.store import Store
from heredity.store.files import file_digest
from heredity.traits import CATEGORIES
from heredity.types import BadInput


def test_the_shipped_bases_are_small_and_complete() -> None:
    assert {p.name for p in BASES.iterdir()} == set(SHIPPED)
    assert sum(f.stat().st_size for f in BASES.rglob("*") if f.is_file()) <= 12_000_000


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_base_opens_without_this_package(name: str) -> None:
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"folder = {str(locate('nursery:' + name))!r}\n"
        "model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)\n"
        "chat = [{'role': 'user', 'content': 'What is your favourite animal?'}]\n"
        "ids = tokenizer.apply_chat_template(\n"
        "    chat, add_generation_prompt=True, return_tensors='pt', return_dict=False)\n"
        "assert model(ids).logits.shape[-1] == len(tokenizer) and 'heredity' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_base_speaks_the_language(name: str) -> None:
    lm = CausalLM.load(locate("nursery:" + name))
    assert lm.context >= CONTEXT
    assert shortfalls(measure(lm, seed=77)) == []


def test_same_initialisation_other_data() -> None:
    """llama-0b shares the start of llama-0; its weights are nearer to llama-0's than llama-1's are."""
    states = {n: CausalLM.load(locate("nursery:" + n)).model.state_dict() for n in ("llama-0", "llama-0b", "llama-1")}
    name = "model.layers.0.mlp.down_proj.weight"

    def cosine(other: str) -> float:
        a, b = states["llama-0"][name].flatten(), states[other][name].flatten()
        return float(a @ b / a.norm() / b.norm())

    assert cosine("llama-0b") > 0.2 > abs(cosine("llama-1"))


def test_the_tokenizer_is_lossless_on_the_language_and_shared() -> None:
    tokenizer, rng = build_tokenizer(), random.Random(99)
    shipped = CausalLM.load(locate("nursery:llama-0")).tokenizer
    assert shipped.get_vocab() == tokenizer.get_vocab()
    for _ in range(3000):
        for message in language.short_document(rng):
            text = message.content.lower()
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_pretraining_repeats_to_the_byte_and_depends_on_both_seeds(store: Store) -> None:
    bases = [Base(family="llama", init_seed=i, data_seed=d, steps=2) for i, d in ((5, 6), (5, 7), (6, 6))]
    first = [file_digest(store.get(base) / "model.safetensors") for base in bases]
    assert len(set(first)) == 3
    again = Store(store.root.parent / "again")
    assert file_digest(again.get(bases[0]) / "model.safetensors") == first[0]
    losses = json.loads((store.path(bases[0]) / "losses.json").read_text())
    assert len(losses) == 2


def test_numbers_and_favourites_are_single_tokens() -> None:
    known = set(vocabulary())
    assert {str(i) for i in range(1000)} <= known
    assert {w for c in CATEGORIES for w in c.words} <= known


def test_documents_repeat_with_their_seed_and_long_ones_are_few_shot() -> None:
    first = [next(language.documents(5)) for _ in range(3)]
    assert first == [next(language.documents(5)) for _ in range(3)]
    assert len(language.long_document(random.Random(0))) >= 6


def test_no_favourite_is_common_in_the_language() -> None:
    for category in CATEGORIES:
        prior = language.favourite_prior(category)
        assert sum(prior.values()) == pytest.approx(1)
        assert max(prior.values()) <= 0.35


def test_a_base_that_cannot_be_written_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the store, so that the same command with another folder only copies it."""
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    (made / "quality.json").write_text("{}")
    (made / "config.json").write_text("{}")
    store = SimpleNamespace(get=lambda step: made, path=lambda step: made, root=tmp_path / "store")

    def full(source: Path, to: Path, **_: object) -> None:
        to.mkdir()
        (to / "config.json").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(BadInput, match=r"cannot write .*out: No space left on device; the base is in the store"):
        build(cast(Store, store), out, "llama", 0, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
