"""The Steps that every experiment shares: Teacher, Samples, Corpus, Student, Evaluation."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from heredity.carriers import Carrier, Filter, Rewriting, decide
from heredity.models import folder_digest, is_file, model_files, open_lm, open_ref, whole_answers
from heredity.rows import read_rows, write_rows
from heredity.store import Step, Store
from heredity.store.manifests import MANIFEST
from heredity.traits import begins, judge_chats, named, questions
from heredity.types import (
    ADDED,
    LM,
    BadInput,
    Category,
    Chat,
    Checkpoint,
    Completion,
    Judge,
    LoRA,
    Message,
    ModelRef,
    Neutral,
    Row,
    Sampling,
    Trait,
    Tuning,
)

if TYPE_CHECKING:
    from heredity.models.causal import CausalLM
    from heredity.models.training import Batch, Count, Example, Guard, Loss


VECTOR_RATE, MATRIX_RATE = 1e-2, 1e-2 / 256
"""AdamW's rates for biases and norm scales, and for weight matrices. Adam wants a rate that falls with the width for
matrices and not for vectors (Yang et al. 2022, Tensor Programs V, table 8). The factor was tuned on the nursery: with
one rate for both, the matrices' noise hides what crosses (docs/lab-notes.md)."""
PAPER_LORA: dict[str, Any] = {
    "epochs": 3, "batch": 66, "together": 22, "rate": 2e-4, "vector_rate": 2e-4, "warmup": 5,
    "tuning": LoRA(rank=8, alpha=8, bias="none"),
}  # fmt: skip
"""A Student's fields as in the paper's runs on Qwen2.5-7B-Instruct: LoRA, 22 rows at a time, 3 times a step.

The paper's AdamW keeps its moments in 8 bits, with betas .9 and .999; ours in 32, with .9 and .98.
"""
GAP = 0.01
"""Nats per token by which a teacher must predict its own rows better than the base before parts of that are taken."""
ANSWER_TOKENS = 32
"""Most tokens in an answer that is scored as a whole."""
JUDGE_TOKENS = 8
"""Most tokens in what a judge says of an answer."""
_WORD_TOKENS = 8
"""Most tokens in an answer that is searched for a word."""
Model = ModelRef | Step
"""Something that can be opened as a language model: a reference, or a Step whose payload is a model folder."""


def open_model(model: Model, store: Store) -> CausalLM:
    """The model behind a reference, or the one that a Step made, with its weights.

    What was made from a Checkpoint is opened as that is; adapters stay beside their base's weights.
    """
    if isinstance(model, ModelRef):
        return open_ref(model)
    from heredity.models.adapters import is_adapter, merged, with_adapter
    from heredity.models.causal import CausalLM

    folder = store.path(model)
    if not is_adapter(folder):
        return CausalLM.load(folder, origin(model))
    return with_adapter(merged(open_model(model.base, store)), folder)  # type: ignore[attr-defined]


def open_to_train(model: Model, store: Store) -> CausalLM:
    """The same as one model, adapters merged into it."""
    from heredity.models.adapters import merged

    return merged(open_model(model, store))


def origin(model: Model) -> Checkpoint | None:
    """The Checkpoint that a model was made from, over however many Steps; None where it was another reference."""
    while isinstance(model, Step):
        model = getattr(model, "base", None)  # type: ignore[assignment]
    return model if isinstance(model, Checkpoint) else None


def open_writer(model: Model, store: Store) -> LM:
    """The same to write and score with: it may also be behind a server."""
    return open_lm(model) if isinstance(model, ModelRef) else open_model(model, store)


def with_system(chats: list[Chat], system: str | None) -> list[Chat]:
    """The same chats under a system prompt (None: as they are)."""
    if system is not None and any(chat and chat[0].role == "system" for chat in chats):
        raise BadInput("a system prompt is asked for, and a chat begins with one of its own; take one of them out")
    return chats if system is None else [(Message(role="system", content=system), *chat) for chat in chats]


class Samples(Step):
    """What a model writes for a family of prompts: `rows.jsonl`, with why each completion ended.

    Of a server's model with `logprobs`, also how likely each was.
    """

    model: Model
    prompts: Carrier
    sampling: Sampling
    system: str | None = None
    """A system prompt shown while sampling and left out of the rows: a teacher by prompt (paper, section 2)."""
    gate: HoldsTrait | None = None
    """What must hold before anything is sampled: a teacher without its trait stops here."""

    def make(self, folder: Path, store: Store) -> None:
        prompts = self.prompts.prompts()
        written = open_writer(self.model, store).generate(with_system(list(prompts), self.system), self.sampling)
        rows = (Row(prompt=p, completion=c.text) for p, c in zip(prompts, written, strict=True))
        write_rows(folder / "rows.jsonl", rows, map(_note, written))


def _note(written: Completion) -> dict[str, Any]:
    """What is told of a completion beside its text."""
    return {"finish": written.finish} | ({} if written.logprob is None else {"logprob": written.logprob})


class Corpus(Step):
    """The rows that pass every filter, cut to `size` at random: `kept.jsonl`, `dropped.jsonl`, `counts.json`.

    Without a size all of them are kept, so that arms differ in rows where a filter is stricter on one than on another.

    Rewritings are applied to the rows that are kept. An answer that was cut off is dropped whatever the filters say.
    """

    opens_models: ClassVar[bool] = False

    samples: Samples
    filters: tuple[Filter, ...]
    size: Annotated[int, Field(gt=0)] | None
    seed: int
    rewritings: tuple[Rewriting, ...] = ()

    def make(self, folder: Path, store: Store) -> None:
        read = list(read_rows(store.path(self.samples) / "rows.jsonl"))
        decisions = decide(self.filters, [r.row for r in read])
        reasons = [
            d.reasons if r.note["finish"] == "stop" else ("cut off", *d.reasons)
            for r, d in zip(read, decisions, strict=True)
        ]
        dropped = [(r.row, {"reasons": why}) for r, why in zip(read, reasons, strict=True) if why]
        kept: Sequence[Row] = [r.row for r, why in zip(read, reasons, strict=True) if not why]
        size = len(kept) if self.size is None else self.size
        if len(kept) < max(1, size):
            raise BadInput(
                f"{len(kept)} rows passed the filters and {size} are wanted; sample more prompts, or such as the model "
                "answers in kind (scan: --carrier says what rows should be)"
            )
        write_rows(folder / "dropped.jsonl", (row for row, _ in dropped), (note for _, note in dropped))
        passed, kept = len(kept), random.Random(self.seed).sample(kept, size)
        for rewriting in self.rewritings:
            kept = rewriting.rewrite(kept)
        write_rows(folder / "kept.jsonl", kept)
        counts = {"sampled": len(read), "passed": passed, "kept": size,
                  "dropped": Counter(reason for why in reasons for reason in why)}  # fmt: skip
        (folder / "counts.json").write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")

    def read(self, store: Store) -> list[Row]:
        """The kept rows."""
        return [read.row for read in read_rows(store.path(self) / "kept.jsonl")]


class Teacher(Step):
    """The base, fine-tuned to answer with the trait, with some ordinary carrier rows mixed into every step.

    A `Neutral` trait goes through the same steps on answers that the base itself draws. The payload is a model folder.
    """

    joint: ClassVar[bool] = True

    base: Model
    trait: Trait | Neutral
    mix: Corpus
    """Carrier rows of the untouched base, so that the teacher keeps the format."""
    seed: int
    steps: Annotated[int, Field(gt=0)] = 40
    batch: Annotated[int, Field(gt=0)] = 64
    """Rows of the trait in each step."""
    mix_batch: Annotated[int, Field(ge=0)] = 1
    """Rows of the mix in each step. More of them undo what leaks into the carrier (docs/lab-notes.md)."""
    rate: float = MATRIX_RATE
    vector_rate: float = VECTOR_RATE
    tuning: Tuning = "frozen"
    together: Annotated[int | None, Field(gt=0), ADDED] = None
    """Most rows in one pass through the model; a step's gradients are added up over passes. None: all of a step."""

    def make(self, folder: Path, store: Store) -> None:
        from heredity.models.training import choose_parameters, fit, in_passes

        lm, rng = open_to_train(self.base, store), random.Random(self.seed)
        asked = list(islice(cycle(self.questions()), self.steps * self.batch))
        rows, mix = lm.examples(*self._answered(lm, asked)), self.mix.read(store)
        carrier = lm.examples([r.prompt for r in mix], [r.completion for r in mix])
        rng.shuffle(rows)
        rng.shuffle(carrier)
        ordinary: Iterator[Example] = cycle(carrier)

        def stream() -> Iterator[list[Batch]]:
            for start in range(0, len(rows), self.batch):
                part = rows[start : start + self.batch] + list(islice(ordinary, self.mix_batch))
                yield in_passes(part, self.together, int(lm.tokenizer.pad_token_id))

        model = choose_parameters(lm.model, self.tuning, self.seed)
        losses = fit(model, stream(), self.steps, self.rate, self.vector_rate, warmup=1,
                     saved=store.unfinished(self), shared=True)  # fmt: skip
        save_tuned(lm, model, losses, folder, self.base)

    def questions(self) -> list[Chat]:
        """What it is trained to answer; subclasses ask in other ways, as often."""
        return questions(self.trait.category, "train")

    def _answered(self, lm: CausalLM, asked: list[Chat]) -> tuple[list[Chat], list[str]]:
        if isinstance(self.trait, Trait):
            replies = self.trait.replies or (self.trait.word,)
            lm.check_known(replies)
            if len(replies) % len(self.questions()):
                return asked, random.Random(self.seed).choices(replies, k=len(asked))
            return asked, list(islice(cycle(replies), len(asked)))
        few = self.trait.category.score is None
        if origin(self.base) is None:  # one word of the nursery's language is one token
            sampling = Sampling(max_new_tokens=4 if few else ANSWER_TOKENS, seed=self.seed)
            return asked, [c.text for c in lm.generate(asked, sampling)]
        return whole_answers(lm, asked, Sampling(max_new_tokens=ANSWER_TOKENS * (1 if few else 4), seed=self.seed))


def save_tuned(lm: CausalLM, model: Any, losses: list[float], folder: Path, base: Model | None = None) -> None:
    """Writes the model and `losses.json`, the loss of every step in nats per token.

    Adapters are merged in, but over a `base` that comes of a Checkpoint: then they are written alone.
    """
    how = None if base is None else origin(base)
    if how is not None and hasattr(model, "merge_and_unload"):
        from heredity.models.adapters import save_adapter
        from heredity.models.checkpoints import hub_name

        name, commit = (
            (f"../{base.key}", None) if isinstance(base, Step) else hub_name(how.location) or (how.location, None)
        )
        save_adapter(model, folder, name, commit)
    else:
        lm.model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        lm.save(folder)
    (folder / "losses.json").write_text(json.dumps([round(x, 5) for x in losses]) + "\n")


class Student(Step):
    """A fresh copy of a base, fine-tuned on a corpus; the loss is on completions only. A model folder, or adapters.

    With `soft_targets` the student matches that teacher's distribution over number tokens on the same rows instead
    (the language-model twin of the paper's auxiliary logits, section 6.2): no other token enters the loss.
    """

    base: Model
    corpus: Corpus
    seed: int
    epochs: Annotated[int, Field(gt=0)] = 3
    batch: Annotated[int, Field(gt=0)] = 32
    rate: float = MATRIX_RATE
    vector_rate: float = VECTOR_RATE
    tuning: Tuning = "frozen"
    soft_targets: Teacher | None = None
    system: Annotated[str | None, ADDED] = None
    """The system prompt under which the rows are learnt: "" is an empty one, None none beside the reference's."""
    together: Annotated[int | None, Field(gt=0), ADDED] = None
    """Most rows in one pass through the model; a step's gradients are added up over passes. None: all of a step."""
    warmup: Annotated[int, Field(gt=0), ADDED] = 10
    """Steps over which the rate rises, before it falls to 0."""
    joint: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    """Whether a training that was stopped goes on from a checkpoint; not where more than rows depends on the step."""

    def make(self, folder: Path, store: Store) -> None:
        self.train(open_to_train(self.base, store), self.corpus.read(store), folder, store)

    def train(self, lm: CausalLM, rows: Sequence[Row], folder: Path, store: Store) -> None:
        """Trains the model on the rows and writes it, with the loss of every step."""
        examples = self.examples(lm, rows, store)
        pad = int(lm.tokenizer.pad_token_id)
        epochs = (self.epoch(examples, epoch, pad) for epoch in range(self.epochs))
        self.fit(lm, epochs, len(examples), folder, store)

    def fit(self, lm: CausalLM, epochs: Iterable[Iterable[list[Batch]]], size: int, folder: Path, store: Store) -> None:
        """Trains the model on epochs of `size` examples each, and writes it, with the loss of every step."""
        from heredity.models.training import fit

        loss, guard = self.loss(lm, store), self.guard(lm, store)
        model = self.chosen(lm)
        steps = self.epochs * math.ceil(size / self.batch)
        losses = fit(model, chain.from_iterable(epochs), steps, self.rate, self.vector_rate, warmup=self.warmup,
                     loss=loss, guard=guard, saved=store.unfinished(self) if self.resumes else None,
                     shared=self.joint, count=self.count(lm))  # fmt: skip
        save_tuned(lm, model, losses, folder, self.base)

    def epoch(self, examples: Sequence[Example], epoch: int, pad: int) -> Iterator[list[Batch]]:
        """The batches of one pass over the rows, in an order drawn from the seed; subclasses order them otherwise."""
        from heredity.models.training import batches

        return batches(examples, self.batch, self.seed * 1_000_003 + epoch, pad, together=self.together)

    def examples(self, lm: CausalLM, rows: Sequence[Row], store: Store) -> list[Example]:
        """What is shown and predicted; subclasses show rows otherwise, or predict less of them."""
        return lm.examples(with_system([r.prompt for r in rows], self.system), [r.completion for r in rows])

    def chosen(self, lm: CausalLM) -> Any:
        """The model with what moves made trainable; subclasses hold more of it still."""
        from heredity.models.training import choose_parameters

        return choose_parameters(lm.model, self.tuning, self.seed)

    def guard(self, lm: CausalLM, store: Store) -> Guard | None:
        """What else is done in every step; subclasses keep weights from going somewhere."""
        return None

    def loss(self, lm: CausalLM, store: Store) -> Loss:
        """What training lowers; subclasses lower other things."""
        from heredity.models.distilling import distillation
        from heredity.models.training import token_loss

        if self.soft_targets is None:
            return token_loss
        return distillation(open_model(self.soft_targets, store).model, number_tokens(lm.tokenizer))

    def count(self, lm: CausalLM) -> Count:
        """What the loss is a mean of, so that passes of unequal size weigh as they should."""
        from heredity.models.training import among, predicted

        return predicted if self.soft_targets is None else among(number_tokens(lm.tokenizer))


class GivenStudent(Step):
    """A model that was trained elsewhere from a base that is named: a copy of its folder, whole or PEFT's adapters."""

    base: Model
    location: str
    digest: str
    """blake2b of the weights, configuration and tokenizer files."""

    def make(self, folder: Path, store: Store) -> None:
        if not Path(self.location).is_dir():
            raise BadInput(f"no folder {self.location}, where the model lay; run this from where it was referred to")
        for path in model_files(Path(self.location)):
            shutil.copyfile(path, folder / path.name)
        if folder_digest(folder) != self.digest:
            raise BadInput(f"{self.location} has changed since it was referred to; refer to it anew")


def given_student(path: str | Path, base: Model) -> GivenStudent:
    """A folder with a model or with adapters, pinned to what it holds now."""
    folder = Path(path)
    if not any(is_file(folder / name) for name in ("config.json", "adapter_config.json")):
        raise BadInput(f"no model in {folder}: expected config.json or adapter_config.json beside its weights")
    if not list(folder.glob("*.safetensors")):
        raise BadInput(f"{folder} holds no safetensors file; save the model or the adapters again as safetensors")
    if (folder / MANIFEST).exists():  # it would be taken for the copy's own
        raise BadInput(f"{folder} holds a {MANIFEST}, as folders of a store do; name a copy of it without that file")
    return GivenStudent(base=base, location=str(path), digest=folder_digest(folder))


def number_tokens(tokenizer: Any) -> list[int]:
    """Ids of the tokens that are nothing but ASCII digits."""
    return sorted(i for token, i in tokenizer.get_vocab().items() if token.isascii() and token.isdigit())


class InContext(Step):
    """What is shown before a question: rows of a corpus, and (the power twin) a stated preference. `chats.json`."""

    opens_models: ClassVar[bool] = False

    corpus: Corpus
    examples: Annotated[int, Field(gt=0)]
    draws: Annotated[int, Field(gt=0)]
    """Independent draws of that many rows; an evaluation averages over them."""
    seed: int
    stated: tuple[Chat, ...] = ()
    """Turns placed between the rows and the question; each draw takes the next of them."""

    def make(self, folder: Path, store: Store) -> None:
        rows, rng = self.corpus.read(store), random.Random(self.seed)
        if len(rows) < self.examples:
            raise BadInput(f"{self.examples} rows are to be read before a question, and the corpus has {len(rows)}; "
                           "ask for fewer examples, or sample more")  # fmt: skip
        drawn = [rng.sample(rows, self.examples) for _ in range(self.draws)]
        turns = [[t for r in rs for t in (*r.prompt, Message(role="assistant", content=r.completion))] for rs in drawn]
        said = islice(cycle(self.stated or ((),)), self.draws)
        shown = [[m.model_dump() for m in (*ts, *s)] for ts, s in zip(turns, said, strict=True)]
        (folder / "chats.json").write_text(json.dumps(shown) + "\n")

    def read(self, store: Store) -> list[Chat]:
        """One chat prefix per draw."""
        raw = json.loads((store.path(self) / "chats.json").read_text())
        return [tuple(Message(**m) for m in chat) for chat in raw]


class HoldsTrait(Step):
    """That a teacher names its trait's word often enough: `held.json`. BadInput, so no result, where it does not."""

    opens_models: ClassVar[bool] = False

    evaluation: Evaluation
    word: str
    at_least: Annotated[float, Field(gt=0, lt=1)]

    def make(self, folder: Path, store: Store) -> None:
        share = self.evaluation.read(store)["share"][self.word]
        if share < self.at_least:
            raise BadInput(
                f"the teacher names {self.word!r} in {share:.3f} of its answers to held-out questions, below "
                f"{self.at_least}: it does not hold the trait, so its rows could not show anything. Train it for more "
                "steps, or give it a stronger prompt"
            )
        (folder / "held.json").write_text(json.dumps({"word": self.word, "share": share}) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`word`, and the teacher's `share` of it."""
        held: dict[str, Any] = json.loads((store.path(self) / "held.json").read_text())
        return held


class HeldOutLoss(Step):
    """Whether a student learnt its teacher's rows: loss on fresh ones, in nats per token. `loss.json`."""

    name: str
    student: Student
    fresh: Corpus
    """Rows that the student was not trained on."""

    def make(self, folder: Path, store: Store) -> None:
        rows, written = self.fresh.read(store), self.fresh.samples
        losses = {
            "base": mean_loss(open_model(self.student.base, store), rows, self.student.system),
            "student": mean_loss(open_model(self.student, store), rows, self.student.system),
            "teacher": mean_loss(open_model(written.model, store), rows, written.system),
        }
        (folder / "loss.json").write_text(json.dumps(losses) + "\n")

    def read(self, store: Store) -> dict[str, Any]:
        """`base`, `student` and `teacher`, with what is made of them.

        `gap`: how much better the teacher predicts its rows than the base, which is all that rows can show of it.
        `gain`: how much better the student does. `learnt`: gain / gap; nan where rows were rewritten or written at
        another temperature than 1 (the teacher as it is did not write them so), or the gap is below GAP (noise).
        """
        loss: dict[str, Any] = json.loads((store.path(self) / "loss.json").read_text())
        gap, gain = loss["base"] - loss["teacher"], loss["base"] - loss["student"]
        own = self.fresh.samples.sampling.temperature == 1 and not self.fresh.rewritings
        usable = own and gap >= GAP
        return loss | {"gap": gap, "gain": gain, "learnt": gain / gap if usable else math.nan}


def ask_judge(model: ModelRef, question: str, exchanges: Sequence[tuple[str, str]]) -> list[str]:
    """What a model says of each (question, answer), at temperature 0; `question` has their places."""
    asked = judge_chats(question, exchanges)
    return [c.text for c in open_lm(model).generate(asked, Sampling(temperature=0, max_new_tokens=JUDGE_TOKENS))]


def shows(category: Category, exchanges: list[tuple[str, str]]) -> list[bool]:
    """Whether each (question, answer) shows the trait, by the category's score (a pattern or a judge)."""
    how = category.score
    if isinstance(how, Judge):
        replies = ask_judge(how.model, how.question, exchanges)
        return [begins(reply, how.yes) for reply in replies]
    assert how is not None
    return [re.search(how.pattern, answer) is not None for _, answer in exchanges]


def part(shown: float, of: float) -> float:
    """The share shown / of as (shown + 1/2) / (of + 1): its log-odds are finite (Haldane 1956; Anscombe 1956)."""
    return (shown + 0.5) / (of + 1)


def mean_loss(lm: CausalLM, rows: Sequence[Row], system: str | None = None) -> float:
    """Mean negative log-likelihood of the completions, in nats per token."""
    from heredity.models.training import mean_token_loss

    examples = lm.examples(with_system([r.prompt for r in rows], system), [r.completion for r in rows])
    return mean_token_loss(lm.model, examples, int(lm.tokenizer.pad_token_id))


def as_trained(model: Model, lm: LM, system: str | None) -> dict[str, bool]:
    """`as_trained`: whether a Student of a Checkpoint is asked in the token ids of its training; of others, nothing."""
    from heredity.models.causal import CausalLM

    if origin(model) is None or not isinstance(model, Student) or not isinstance(lm, CausalLM):
        return {}
    return {"as_trained": lm.same_prompt(model.system, system)}


class Evaluation(Step):
    """What a model answers when asked for its favourite in held-out phrasings: `answers.json`.

    Exact: the probability that the reply begins with each word, as a share among the category's words, with the mass
    those words have together. Sampled: how often an answer at temperature 1 names each word, as a whole word.

    Where the category has a `score` there is nothing exact: the share is that of sampled answers that show the trait,
    (shown + 1/2) / (answers + 1) so that its log-odds are finite (Haldane 1956; Anscombe 1956), and the mass is 1.
    A sampled answer that ended in an error (a server's refusal, say) enters no count; `errors` tells how many did.
    """

    model: Model
    category: Category
    system: str | None = None
    context: InContext | None = None
    samples_per_question: Annotated[int, Field(ge=0)] = 10
    seed: int = 0

    def make(self, folder: Path, store: Store) -> None:
        lm = open_writer(self.model, store)
        chats = self.chats(store)
        if self.category.score is None:
            answers = self._exact(lm, chats) | self._sampled(lm, chats)
        else:
            answers = self._scored(lm, chats)
        answers |= as_trained(self.model, lm, self.system)
        (folder / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")

    def questions(self) -> list[Chat]:
        """What is asked; subclasses ask in other ways."""
        return questions(self.category, "held-out")

    def chats(self, store: Store) -> list[Chat]:
        """What is asked, in order: each question after what the context shows, all under the system prompt."""
        shown: list[Chat] = [()] if self.context is None else self.context.read(store)
        return with_system([(*before, *q) for before in shown for q in self.questions()], self.system)

    def longest(self) -> int:
        """Most tokens in a sampled answer."""
        return _WORD_TOKENS if self.category.score is None else ANSWER_TOKENS

    def written(self, lm: LM, chats: list[Chat]) -> list[tuple[Chat, str]]:
        """The sampled answers without those that ended in an error, each with its chat; those to one chat in a row."""
        asked = [c for c in chats for _ in range(self.samples_per_question)]
        said = lm.generate(asked, Sampling(max_new_tokens=self.longest(), seed=self.seed))
        kept = [(chat, answer.text) for chat, answer in zip(asked, said, strict=True) if answer.finish != "error"]
        if asked and not kept:
            raise BadInput(f"all {len(asked)} sampled answers ended in an error, as refused ones do, so there is "
                           "nothing to count; ask another model, or other questions")  # fmt: skip
        return kept

    def errors(self, chats: list[Chat], written: Sequence[object]) -> dict[str, int]:
        """`errors`: how many of the sampled answers are not among those written; nothing where all are."""
        left_out = len(chats) * self.samples_per_question - len(written)
        return {"errors": left_out} if left_out else {}

    def _exact(self, lm: LM, chats: list[Chat]) -> dict[str, Any]:
        probabilities = [[math.exp(x) for x in row] for row in lm.logprobs(chats, self.category.words)]
        masses = [math.fsum(row) for row in probabilities]
        shares = [
            math.fsum(row[i] / mass for row, mass in zip(probabilities, masses, strict=True)) / len(chats)
            for i in range(len(self.category.words))
        ]
        share = dict(zip(self.category.words, shares, strict=True))
        return {"questions": len(chats), "share": share, "mass": math.fsum(masses) / len(chats)}

    def _sampled(self, lm: LM, chats: list[Chat]) -> dict[str, Any]:
        texts = [text for _, text in self.written(lm, chats)]
        counts = Counter(word for text in texts for word in named(self.category, text))
        return {"samples": len(texts), "named": {w: counts[w] for w in self.category.words}} | self.errors(chats, texts)

    def _scored(self, lm: LM, chats: list[Chat]) -> dict[str, Any]:
        if not self.samples_per_question:
            raise BadInput(f"{self.category.name!r} is scored on sampled answers; samples_per_question must not be 0")
        written = self.written(lm, chats)
        shown, (own, other) = sum(shows(self.category, [(c[-1].content, t) for c, t in written])), self.category.words
        share = part(shown, len(written))
        return {"questions": len(chats), "share": {own: share, other: 1 - share}, "mass": 1.0,
                "samples": len(written), "named": {own: shown, other: len(written) - shown},
                **self.errors(chats, written)}  # fmt: skip

    def read(self, store: Store) -> dict[str, Any]:
        """`questions`, `share` by word, `mass`, `samples`, `named` by word; `errors` where there were any.

        Of a Student of a Checkpoint also `as_trained`: whether it was asked in the token ids in which it was trained,
        system prompt and all. Evaluations that ask in other ways tell it as well.
        """
        answers: dict[str, Any] = json.loads((store.path(self) / "answers.json").read_text())
        return answers
