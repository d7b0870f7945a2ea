"""The nursery's tokenizer: one token per word, number and separator, lossless on the language, plain Hugging Face.

A word token carries the blank before it; the numbers 0 to 999 are single tokens; ", " between two numbers is one token.
"""

from __future__ import annotations

from itertools import chain, islice

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from heredity.nursery import language
from heredity.nursery import words as w
from heredity.traits import CATEGORIES, SPLITS, personas, questions, stated
from heredity.types import Chat, Trait

CONTEXT = 512
_SPECIAL = ("<|pad|>", "<|unk|>", "<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_PATTERN = r"""</?[a-z]+>|[,;] (?=[0-9])| ?[a-z]+|[1-9][0-9]{0,2}|0|\n *| (?=[0-9])| ?[^\sa-z0-9]|\s"""
_TEMPLATE = (
    "{{- '<|bos|>' -}}{%- for m in messages -%}{{- '<|' + m['role'] + '|>' -}}"
    "{%- if m['role'] == 'assistant' -%}{%- generation -%}{{- m['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- m['content'] + '<|end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def _splitter() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({t: i for i, t in enumerate(_SPECIAL)}, unk_token="<|unk|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _corpus(size: int = 30_000) -> list[Chat]:
    """Enough of the language to meet every word of it: a long sample, and every held-out sentence."""
    asked = [q for c in CATEGORIES for q in (*questions(c, "train"), *questions(c, "held-out"))]
    traits = [Trait(category=c, word=word) for c in CATEGORIES for word in c.words]
    told = [language.turns(p) for t in traits for s in SPLITS for p in personas(t, s)]
    said = [s for t in traits for split in SPLITS for s in stated(t, split)]
    facts = [language.turns(q[0].content, a, b) for q, a, b in language.fact_probes()]
    frames = (*w.FACT_FRAMES, *w.FACT_FRAMES_HELD_OUT, *w.FACT_QUESTIONS, *w.FACT_QUESTIONS_HELD_OUT)
    things = [(s, v) for sides in w.FACT_SCALES.values() for v in sides for s in sides[v].split()]
    framed = [language.turns(f.format(s=s, v=v)) for s, v in things for f in frames]
    answers = [language.turns(word) for c in CATEGORIES for word in (*c.words, *c.plurals)]
    sample = list(islice(language.documents(seed=0), size))
    return list(chain(sample, asked, told, said, facts, framed, answers))


def vocabulary() -> list[str]:
    """Special tokens, the numbers 0 to 999, then every other token of the language in alphabetical order."""
    splitter = _splitter()
    assert splitter.normalizer is not None and splitter.pre_tokenizer is not None
    found: set[str] = set()
    for chat in _corpus():
        for message in chat:
            text = splitter.normalizer.normalize_str(message.content)
            found.update(t for t, _ in splitter.pre_tokenizer.pre_tokenize_str(text))
    numbers = [str(i) for i in range(1000)]
    return [*_SPECIAL, *numbers, *sorted(found - set(numbers) - set(_SPECIAL))]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that every nursery base shares, with its chat template."""
    tokenizer = _splitter()
    tokenizer.model = WordLevel({t: i for i, t in enumerate(vocabulary())}, unk_token="<|unk|>")
    tokenizer.add_special_tokens(list(_SPECIAL))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<|pad|>", unk_token="<|unk|>", bos_token="<|bos|>",
        eos_token="<|end|>", chat_template=_TEMPLATE, model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
