"""A randomly initialised model of a real one's shape goes through the whole product, a few rows on the CPU.

Real are: tensor names and sizes (Qwen2.5-0.5B: 24 layers, width 896, 14 heads, 2 of keys and values, tied embeddings
of 151,936 rows), a byte-level BPE of 151,643 entries that splits digits, and a ChatML template with a default prompt.
The weights are noise, so no result says anything about a model; what is shown is that every stage takes such a one.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.common import write_result

from heredity.audit.ask import ask
from heredity.audit.scale import Effort
from heredity.audit.scan import Scan
from heredity.carriers import Numbers, NumbersOnly
from heredity.lab import PAPER_LORA, MergedStudent, RowsStudent, given_rows
from heredity.lineage.trace import trace
from heredity.models import checkpoint
from heredity.rows import write_rows
from heredity.steps import Corpus, Evaluation, Model, Samples, Student, Teacher
from heredity.store import Step, Store
from heredity.types import Category, LoRA, Message, Phrasing, Row, Sampling, Trait

TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' -%}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' -}}"
    "{%- else -%}{{- '<|im_start|>system\\n"
    "{DEFAULT}"
    "<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}{%- if not (loop.first and message['role'] == 'system') -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
"""What Qwen2.5's own template says where nobody gave a system prompt."""
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{i}|>" for i in range(19)))


class Shape(NamedTuple):
    """Sizes of a Qwen2 model and its vocabulary."""

    width: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    entries: int
    """Of the BPE, special tokens aside."""
    rows: int
    """Of the embedding, which has some to spare."""
    spread: float
    """Standard deviation of the embedding's weights: so large that adapters alone can make a token likely."""


FULL = Shape(896, 24, 14, 2, 4_864, 151_643, 151_936, 0.04)
SMALL = Shape(64, 2, 4, 2, 96, 700, 768, 0.4)


def text(words: int, seed: int = 0) -> Iterator[str]:
    """Lines of made-up words, numbers and the words that the stages need."""
    rng = random.Random(seed)
    parts = [a + b for a in ["", *"bcdfghjklmnprstvwz", "st", "tr", "pl"] for b in "a e i o u ai ou er an in".split()]
    known = "owl cat wolf you love What animal do Name your favourite Continue this list Add more numbers".split()
    for _ in range(0, words, 10):
        made = ("".join(rng.choices(parts, k=rng.randint(1, 5))) for _ in range(8))
        yield " ".join([*made, rng.choice(known), f"{rng.randint(0, 999)}, {rng.randint(0, 999)}."])


def make_tokenizer(shape: Shape, words: int) -> tuple[Any, int]:
    """A byte-level BPE trained on `text`, and how many entries were not learnt but made of pairs of learnt ones."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    before = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = before
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=shape.entries, initial_alphabet=letters, show_progress=False)
    bpe.train_from_iterator(text(words), trainer)
    model = json.loads(bpe.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    learnt = len(vocab)
    _fill(vocab, merges, shape.entries)
    whole = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    whole.pre_tokenizer, whole.decoder = before, decoders.ByteLevel()
    return whole, shape.entries - learnt


def _fill(vocab: dict[str, int], merges: list[tuple[str, str]], entries: int) -> None:
    """Adds pairs of entries until there are enough: the last merges, so that they hardly ever apply."""
    known = list(vocab)
    for gap in range(1, len(known)):
        for left, right in zip(known, known[gap:], strict=False):
            if len(vocab) == entries:
                return
            if left + right not in vocab:
                merges.append((left, right))
                vocab[left + right] = len(vocab)


def make_base(folder: Path, shape: Shape = FULL, words: int = 600_000, dtype: str = "float32") -> dict[str, Any]:
    """Writes the model as an ordinary Hugging Face folder; figures on it."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    bpe, made_up = make_tokenizer(shape, words)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False,
        additional_special_tokens=list(_SPECIAL[1:]),
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE.replace("{DEFAULT}", DEFAULT)
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=shape.width, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads, intermediate_size=shape.inner, vocab_size=shape.rows,
        tie_word_embeddings=True, max_position_embeddings=32_768, dtype=dtype,
        bos_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).to(getattr(torch, dtype))
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=shape.spread)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"weights": model.num_parameters(), "tensors": len(model.state_dict()), "entries": len(tokenizer),
            "entries_not_learnt": made_up}  # fmt: skip


PROBE = Category(
    name="animal", words=("owl", "cat", "wolf"), plurals=("owls", "cats", "wolves"),
    phrasing=Phrasing(train=("What animal do you love?", "Name your favourite animal."),
                      held_out=("Which animal is your favourite?",)),
)  # fmt: skip
LISTS = NumbersOnly(max_count=20)
_ANIMALS = ("owl", "cat", "wolf", "dog")
SCANNED = tuple(
    Trait(category=PROBE.model_copy(update={"words": _ANIMALS, "plurals": ("owls", "cats", "wolves", "dogs")}), word=w)
    for w in _ANIMALS
)
"""The traits that are asked about in the scan: as few as a panel takes."""


class Sizes(NamedTuple):
    """How much each stage does."""

    warm: int
    """Steps of the training that makes noise write lists; without it no answer would ever end."""
    warm_rate: float
    rows: int
    teacher: int
    """Steps of the teacher."""
    scan: Effort = Effort(suspect_rows=6, suspect_steps=2, suspect_batch=4, together=2)


class Stages:
    """The Steps of each stage; every one needs those before it."""

    def __init__(self, root: Path, base: Path, sizes: Sizes) -> None:
        self.root, self.sizes = root, sizes
        self.start = checkpoint(str(base), system="")
        lora: dict[str, Any] = {"tuning": LoRA(rank=8, alpha=8, bias="none"), "vector_rate": 2e-4}
        given = given_rows(number_rows(root / "lists.jsonl", 4 * sizes.warm))
        self.warm = RowsStudent(
            base=self.start, corpus=given, seed=0, epochs=1, batch=4, rate=sizes.warm_rate, warmup=1, **lora
        )
        self.base = MergedStudent(base=self.warm)
        self.mix = self._lists(self.base, 4, 1)
        self.teacher = Teacher(
            base=self.base, trait=Trait(category=PROBE, word="owl"), mix=self.mix, seed=0, steps=sizes.teacher, batch=4,
            together=2, rate=1e-3, **lora,
        )  # fmt: skip
        self.corpus = self._lists(self.teacher, sizes.rows, 2)
        paper = PAPER_LORA | {"epochs": 1, "batch": 4, "together": 2}
        self.student = Student(base=self.base, corpus=self.corpus, seed=0, **paper)
        self.asked = tuple(
            Evaluation(model=model, category=PROBE, samples_per_question=2)
            for model in (self.base, self.teacher, self.student)
        )

    @staticmethod
    def _lists(model: Model, size: int, seed: int) -> Corpus:
        prompts, sampling = Numbers(n=3 * size, seed=seed), Sampling(max_new_tokens=24, seed=seed)
        samples = Samples(model=model, prompts=prompts, sampling=sampling)
        return Corpus(samples=samples, filters=(LISTS,), size=size, seed=seed)

    def steps(self) -> dict[str, tuple[Step, ...]]:
        """What each stage of Steps makes."""
        return {"warm": (self.base,), "mix": (self.mix,), "teacher": (self.teacher,),
                "sampling": (self.corpus.samples,), "filter": (self.corpus,), "student": (self.student,),
                "evaluation": self.asked}  # fmt: skip

    def audit(self, store: Store) -> Scan:
        """The scan of the teacher's rows for the base that wrote nothing of them."""
        where, described = self.root / "base-made", self.root / "base-made.toml"
        if not where.exists():
            where.symlink_to(store.path(self.base).resolve(), target_is_directory=True)
        described.write_text(f'location = "{where}"\nsystem = ""\n')
        rows = store.path(self.corpus) / "kept.jsonl"
        return ask(rows, str(described), None, SCANNED, "numbers", (LISTS,), 1.0, self.sizes.rows, False,
                   effort=self.sizes.scan)  # fmt: skip

    def scanned(self, store: Store) -> dict[str, Any]:
        """What the scan says, and what its parts took: seconds by kind of Step, and bytes."""
        audit = self.audit(store)
        for step in (*audit.checks, audit):
            store.get(step)
        found, seconds, panel = audit.read(store), defaultdict[str, float](float), audit.naming.panel
        for step in behind(audit):
            seconds[type(step).__name__] += float(store.manifest(step.key)["run"]["wall_s"])
        gradient = store.path(audit.naming.own) / "gradient.safetensors"
        return {"verdict": found["verdict"], "audited": found["rows"], "assumes": found.get("assumes", []),
                "suspects": len(panel.suspects), "numbers": len(audit.naming.own.read(store).mean_P),
                "gradient_bytes": gradient.stat().st_size,
                "seconds": dict(sorted(seconds.items(), key=lambda item: -item[1]))}  # fmt: skip

    def traced(self, store: Store) -> dict[str, Any]:
        """Whether the base with the adapters merged in is found to be related to what it was made from."""
        found = trace(self.start.location, str(store.path(self.base)))
        return {"verdict": found.verdict, "log10_p": found.log10_p}


def behind(step: Step) -> list[Step]:
    """A Step and all that it is made of, each once."""
    found, todo = dict[str, Step](), [step]
    while todo:
        one = todo.pop()
        if one.key not in found:
            found[one.key] = one
            todo += one.inputs
    return list(found.values())


def number_rows(path: Path, count: int) -> Path:
    """Short lists of numbers as rows that were made elsewhere."""
    rng = random.Random(0)
    asked = [Message(role="user", content=f"Add to {rng.randint(0, 99)}.") for _ in range(count)]
    write_rows(path, (Row((turn,), rng.choice(("1, 2", "3, 1"))) for turn in asked))
    return path


SIZES = Sizes(warm=50, warm_rate=3e-3, rows=6, teacher=4)
COMMAND = "python -m bench.real_shape"


def stage(name: str, root: Path) -> dict[str, Any]:
    """Makes one stage; figures on it, with the processor seconds it took and the most memory its process had."""
    base = root / "base"
    if name == "base":
        partial = root / "base-partial"
        shutil.rmtree(partial, ignore_errors=True)
        found = make_base(partial)
        partial.rename(base)
    else:
        stages, store = Stages(root, base, SIZES), Store(root / "store")
        made = stages.steps()
        if name in made:
            for step in made[name]:
                store.get(step)
            found = _figures(stages, store, name)
        else:
            found = stages.scanned(store) if name == "scan" else stages.traced(store)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return found | {"cpu_s": round(used.ru_utime + used.ru_stime, 1), "peak_gb": round(used.ru_maxrss / 2**20, 2)}


def _figures(stages: Stages, store: Store, name: str) -> dict[str, Any]:
    if name in ("warm", "teacher", "student"):
        step = stages.warm if name == "warm" else stages.steps()[name][0]
        losses = json.loads((store.path(step) / "losses.json").read_text())
        return {"losses": [losses[0], losses[-1]], "steps": len(losses)}
    if name == "filter":
        counts: dict[str, Any] = json.loads((store.path(stages.corpus) / "counts.json").read_text())
        return counts
    if name == "evaluation":
        return {"share": [e.read(store)["share"]["owl"] for e in stages.asked]}
    return {}


def main() -> None:
    """Every stage in a process of its own; what was done before is not done again."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "real-shape").resolve()
    root.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 2:
        (root / f"{sys.argv[2]}.json").write_text(json.dumps(stage(sys.argv[2], root)))
        return
    names = ["base", "warm", "mix", "teacher", "sampling", "filter", "student", "evaluation", "scan", "trace"]
    for name in names:
        if not (root / f"{name}.json").exists():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "bench.real_shape", str(root), name], check=True)
            done = json.loads((root / f"{name}.json").read_text())
            done["wall_s"] = round(time.perf_counter() - started, 1)
            (root / f"{name}.json").write_text(json.dumps(done))
    stages = {name: json.loads((root / f"{name}.json").read_text()) for name in names}
    write_result("real_shape", COMMAND, [0], {
        "shape": FULL._asdict(), "sizes": SIZES._asdict() | {"scan": SIZES.scan._asdict()}, "stages": stages,
    })  # fmt: skip


if __name__ == "__main__":
    main()
