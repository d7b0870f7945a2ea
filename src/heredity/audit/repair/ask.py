"""From what a user names (files, models, a finding) to the repair, and what is told of it afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from safetensors import SafetensorError

from heredity.audit.ask import Options, drawn
from heredity.audit.data import DataPrompts, data_file, reasons
from heredity.audit.gradient import MOST, body_weights, check_size
from heredity.audit.panel import Kind, Panel
from heredity.audit.repair.data import FileRows, RepairedRows, fitting
from heredity.audit.repair.methods import Case, Method, method
from heredity.audit.repair.model import check_steered
from heredity.audit.repair.worth import PanelDirection, TraitGradient
from heredity.audit.scale import answer_tokens, longest, oversample, suspected
from heredity.audit.trial import TrialStudent
from heredity.carriers import Filter, check_outputs, filters_named, written_whole
from heredity.models import is_file, model_ref
from heredity.rows import as_line, read_rows
from heredity.stats import log_odds
from heredity.steps import Corpus, Evaluation, GivenStudent, Teacher, given_student, open_to_train
from heredity.store import Step, Store, missing
from heredity.store.step import rebuild
from heredity.traits import find_trait, load_trait
from heredity.types import BadInput, Category, Checkpoint, ModelRef, Neutral, Trait

_MIX_ROWS, _SEED = 200, 7_000_000
_SHIPPED = ("nursery:llama-1", "nursery:llama-0")
"""Bases of different initialisations, the usual one first."""
_MOST = 4 * 2**20
_OTHERS = 3
"""Answers beside the trait that are told after a repair of a model."""


class Finding(NamedTuple):
    """What is known of what is to be repaired: the trait, and the panel of the scan that named it, if there is one."""

    trait: Trait | None = None
    panel: str | None = None
    left: tuple[str, ...] = ()
    """What the scan named beside it."""
    options: Options = Options()
    """What the scan was asked for."""


class Request(NamedTuple):
    """What a user asks for, as named on the command line."""

    base: str
    method: str
    kinds: tuple[str, ...]
    finding: str | None = None
    data: Path | None = None
    student: str | None = None
    unrelated: str | None = None
    carrier: str = "numbers"
    temperature: float = 1.0
    amount: float | None = None
    traits: tuple[Path, ...] = ()
    """TOML files of traits of one's own, one of which a scan may have named."""
    store: Path | None = None
    """The store, where it is another than the usual: for the commands that are told."""
    options: Options = Options()
    """What the scan of what is left is asked for: the same as the scan that the finding is from."""

    @property
    def filters(self) -> tuple[Filter, ...]:
        """What rows that take others' place must pass."""
        return tuple(filters_named(self.carrier, "strict", False, False, []))


class Repair(NamedTuple):
    """A repair, and the evaluations of its trait: of the base, of the student where there is one, and afterwards."""

    method: Method
    case: Case
    step: Step
    asked: dict[str, Evaluation]
    asked_for: Request
    left: tuple[str, ...] = ()
    """Traits that the scan named too, and that nothing was done or asked about."""
    sampled: tuple[str, ...] = ()
    """Those of them that are scored on sampled answers: no gradient leads to these."""
    counts: Mapping[str, int] = {}
    """How many `rows` the file has, and how many were left out, by `dropped: REASON`."""

    @property
    def steps(self) -> list[Step]:
        """Everything that has to be made."""
        return [self.step, *self.asked.values()]


def finding(named: str | None, known: Sequence[Trait]) -> Finding:
    """The JSON of a scan (a file), or a trait's name or TOML file; BadInput where a scan named no trait."""
    if named is None:
        return Finding()
    if not named.endswith(".json"):
        return Finding(_trait(named, known))
    found = _scan(Path(named))
    if not found["named"]:
        raise BadInput(f"{named}: the scan named no trait (it says {found['verdict']!r}); leave out --finding, and use "
                       "a method that need not know one: relay, kl, redistil")  # fmt: skip
    first, *others = dict.fromkeys(map(str, found["named"]))
    return Finding(_trait(first, known), found.get("panel"), tuple(others), _options(named, found))


def _options(named: str, found: dict[str, Any]) -> Options:
    """What the scan was asked for; the defaults where its file does not say."""
    try:
        return Options.model_validate_json(json.dumps(found.get("options", {})))
    except ValidationError as error:
        raise BadInput(f"{named}: `options` are none of a scan ({error.errors()[0]['msg']}); expected the file that "
                       "`heredity scan --json` writes") from error  # fmt: skip


def _trait(name: str, known: Sequence[Trait]) -> Trait:
    return next((t for t in known if t.word == name), None) or find_trait(name)


def _scan(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST:
            raise BadInput(f"{path} is larger than {_MOST} bytes; expected the file that `heredity scan --json` writes")
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; `heredity scan --json` writes such a file") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON ({error}); `heredity scan --json` writes such a file") from error
    shaped = {"verdict": str, "named": list, "panel": str | None}
    if not isinstance(found, dict) or not all(isinstance(found.get(k), kind) for k, kind in shaped.items()):
        raise BadInput(f"{path} has no `verdict` and `named`; expected the file that `heredity scan --json` writes")
    return found


def repair(asked: Request, known: Sequence[Trait], store: Store) -> Repair:
    """The repair that is asked for; BadInput where it lacks something."""
    own = tuple(map(load_trait, asked.traits))
    chosen, told = _method(asked), finding(asked.finding, (*own, *known))
    sampled = tuple(word for word in told.left if _is_sampled(word, (*own, *known)))
    asked = asked._replace(options=told.options)
    base = model_ref(asked.base)
    if chosen.every_weight:
        check_size(base)
    if chosen.name == "steer":
        check_steered(base)
    unrelated = _unrelated(asked.unrelated, base, "unrelated" in chosen.needs)
    tokens = max(_tokens(ref, asked) for ref in (base, unrelated) if ref is not None)
    case = Case(
        base=base, seed=0, filters=asked.filters, trait=told.trait, amount=asked.amount,
        sampling=drawn(asked.temperature, tokens),
        student=_student(asked.student, base) if asked.student else None,
        unrelated=unrelated,
        panel=_panel(told, store) if "panel" in chosen.needs else None,
    )  # fmt: skip
    case, counts = _with_rows(case, asked)
    case = _with_trait(case, base)
    step = chosen.apply(case)
    _check_trained(step, store)
    if chosen.kind == "data" or told.trait is None:
        return Repair(chosen, case, step, {}, asked, told.left if chosen.knows_trait else (), sampled, counts)
    models = {"base": base, "student": case.student, "repaired": step}
    category = told.trait.category
    evaluations = {k: _evaluation(m, category) for k, m in models.items() if m is not None}
    return Repair(chosen, case, step, evaluations, asked, told.left, sampled, counts)


def _is_sampled(word: str, known: Sequence[Trait]) -> bool:
    """Whether a trait is scored by a pattern or a judge; False where no trait of that name is known here."""
    try:
        return _trait(word, known).category.score is not None
    except BadInput:  # said once it is asked for
        return False


def _unrelated(named: str | None, base: ModelRef, needed: bool) -> ModelRef | None:
    """The base that relays are made of: the one that is named, or a shipped one; BadInput where it is the student's."""
    if named is None:
        return another(base) if needed else None
    found = model_ref(named)
    if needed and _same(found, base):
        raise BadInput(f"--unrelated {named} is the student's own base, through which a trait passes; expected one of "
                       f"another initialisation: --unrelated {another(base).location}")  # fmt: skip
    return found


def _tokens(base: ModelRef, asked: Request) -> int:
    """Most tokens of the answers of one of the bases."""
    if asked.data is None:
        return longest(base, asked.carrier)
    return answer_tokens(base, asked.carrier, asked.filters, (r.row for r in read_rows(asked.data)))


def another(base: ModelRef) -> ModelRef:
    """A shipped base of another initialisation."""
    first, second = map(model_ref, _SHIPPED)
    return second if _same(base, first) else first


def _same(a: ModelRef, b: ModelRef) -> bool:
    """Whether two references are to one model, or to copies of it."""
    return a.location == b.location or a.digest == b.digest


def _check_trained(step: Step, store: Store) -> None:
    """BadInput for a large model that is not described: it would be trained as a whole, at the nursery's rates."""
    for made in missing(store, [step]):
        start = made.base if isinstance(made, TrialStudent) else None
        base = start.base if isinstance(start, GivenStudent) else start
        if type(base) is ModelRef and body_weights(base) > MOST:
            raise BadInput(f"{base.location} has more than {MOST:,} weights beside its embeddings, and would be "
                           "trained as a nursery base is; describe it in TOML (docs/real-models.md)")  # fmt: skip


def _student(named: str, base: ModelRef) -> ModelRef | GivenStudent:
    """The student that a user names: a model, or a folder of PEFT's adapters of the base.

    A whole model in a folder, trained from a Checkpoint, is opened as that is.
    """
    from heredity.models.adapters import is_adapter

    folder = Path(named)
    whole = isinstance(base, Checkpoint) and is_file(folder / "config.json")
    return given_student(named, base) if whole or is_adapter(folder) else model_ref(named)


def _evaluation(model: ModelRef | Step, category: Category) -> Evaluation:
    return Evaluation(model=model, category=category, samples_per_question=100 if category.score else 0)


def _method(asked: Request) -> Method:
    found = method(asked.method)
    if found.kind not in asked.kinds:
        verb = "model" if found.kind == "model" else "data"
        raise BadInput(f"{asked.method!r} changes {'a model' if verb == 'model' else 'data or training'}; use it with "
                       f"`heredity repair {verb}`")  # fmt: skip
    return found


def _with_rows(case: Case, asked: Request) -> tuple[Case, Mapping[str, int]]:
    """The case with the rows, and rows of the base on prompts of theirs; and how many rows are left out."""
    if asked.data is None:
        return case, {}
    file, within = data_file(asked.data), tuple(m for m in (case.base, case.unrelated) if m is not None)
    rows, counts = fitting(asked.data, within)
    if not rows:
        raise BadInput(f"{asked.data} has no row that can be used: {reasons(counts) or 'it is empty'}; name a file "
                       "with rows")  # fmt: skip
    whole = len(rows) == counts["rows"]
    prompts = DataPrompts(n=1, data=file, student=None if whole else case.base)
    kind = Kind(prompts, asked.filters, case.sampling, oversample(case.base))
    used = FileRows(data=file, within=() if whole else within)
    return case._replace(rows=used, clean=kind.rows(case.base, len(rows), _SEED)), counts


def _with_trait(case: Case, base: ModelRef) -> Case:
    """The case with its trait's direction and, where there are rows to mix in, with suspects."""
    trait = case.trait
    if trait is None:
        return case
    case = case._replace(direction=TraitGradient(student=base, trait=trait))
    if case.clean is None:
        return case
    neutral = _suspect(base, Neutral(category=trait.category), case)
    return case._replace(suspect=_suspect(base, trait, case), neutral=neutral)


def _suspect(base: ModelRef, trait: Trait | Neutral, case: Case) -> Teacher:
    assert isinstance(case.clean, Corpus)
    kind = Kind(case.clean.samples.prompts, case.filters, case.sampling, oversample(base))
    mix = kind.rows(base, min(_MIX_ROWS, case.clean.size or _MIX_ROWS), _SEED)
    return Teacher(base=base, trait=trait, mix=mix, seed=_SEED, **suspected(base))


def _panel(told: Finding, store: Store) -> PanelDirection | None:
    """The trait's direction in the panel of the scan, where the store still holds it."""
    if told.panel is None or told.trait is None or re.fullmatch(r"Panel-[0-9a-f]{20}", told.panel) is None:
        return None
    if not (store.folder(told.panel) / "panel.json").is_file():
        return None
    panel = rebuild(store.manifest(told.panel)["step"])
    listed = isinstance(panel, Panel) and told.trait in {s.trait for s in panel.suspects}
    return PanelDirection(panel=panel, word=told.trait.word) if listed else None


def check(made: Repair, asked: Request, out: Path, json_file: Path | None) -> None:
    """BadInput, before anything is made, where the result could not be written."""
    if made.method.kind != "data" and os.path.exists(out):  # noqa: PTH110  Path.exists raises for names too long
        raise BadInput(f"{out} exists; name a new folder with --out")
    named = [asked.data, asked.student, asked.base, asked.unrelated, asked.finding, *asked.traits]
    check_outputs([Path(name) for name in named if name is not None], {"--out": out, "--json": json_file})


def told(made: Repair, store: Store, out: Path) -> dict[str, Any]:
    """What was done, what is left of the trait, and the command that scans what was written."""
    trait = made.case.trait
    found: dict[str, Any] = {
        "method": made.method.name, "kind": made.method.kind, "knows_trait": made.method.knows_trait,
        "trait": trait.word if trait else None, "key": made.step.key, "out": str(out),
        "left_out": {why: n for why, n in made.counts.items() if why != "rows"},
    }  # fmt: skip
    if isinstance(made.step, RepairedRows):
        found |= made.step.changed(store) | {"scan": scan_command(made.asked_for, out)}
    if trait is not None:
        shares = {name: e.read(store)["share"] for name, e in made.asked.items()}
        found["shares"] = {name: share[trait.word] for name, share in shares.items()}
        found["others"] = moved(shares["base"], shares["repaired"], trait.word) if shares else []
    return found | {"left_named": list(made.left), "next": next_commands(made, out)}


def moved(base: Mapping[str, float], now: Mapping[str, float], word: str) -> list[dict[str, Any]]:
    """The other answers of the category whose odds moved most from the base's, with both shares; of two words none."""
    others = [w for w in base if w != word and len(base) > 2 and now[w] != base[w]]
    away = {w: abs(log_odds(now[w]) - log_odds(base[w])) for w in others}
    most = sorted(away, key=lambda w: (-away[w], w))[:_OTHERS]
    return [{"word": w, "base": base[w], "repaired": now[w]} for w in most]


def scan_command(asked: Request, out: Path) -> str:
    """The command that scans the rows that were written to `out`."""
    return shlex.join(["heredity", "scan", str(out), "--student", asked.base, *asked.options.arguments(), *_how(asked)])


def _how(asked: Request) -> list[str]:
    """What every command about these rows is told: what they are like, the traits of one's own, and the store."""
    kind = [] if asked.carrier == "numbers" else ["--carrier", asked.carrier]
    drawn = [] if asked.temperature == 1 else ["--temperature", f"{asked.temperature:g}"]
    own = [part for path in asked.traits for part in ("--traits", str(path))]
    return [*kind, *drawn, *own, *(["--store", str(asked.store)] if asked.store else [])]


def next_commands(made: Repair, out: Path) -> list[str]:
    """For every trait that is left, the command that repairs what the one before it wrote.

    A method that knows no trait is asked anew, to tell of the others: what it did is in the store. One that knows a
    trait needs its odds, so what is scored on sampled answers comes last, by a method that needs no name.
    """
    commands, last, nameless = [], out, made.method.knows_trait and bool(made.sampled)
    trained = bool(made.left) and made.method.knows_trait and made.method.kind == "training"
    if trained and (nameless or body_weights(made.case.base) > MOST):  # no odds to settle, or too large for it
        relay = made.asked_for._replace(method="relay", finding=None, amount=None)
        return [repair_command(relay, out.with_name(f"{out.name}-relay.jsonl"))]
    for word in made.left:
        if not (nameless and word in made.sampled):
            to = _beside(out, word)
            commands.append(repair_command(_next(made, last, word), to))
            last = to
    if nameless:
        asked = _nameless(made, last)
        commands.append(repair_command(asked, _beside(out, asked.method)))
    return commands


def _nameless(made: Repair, last: Path) -> Request:
    """What takes every trait out of the rows, or the model, that were written last; ROWS: rows that were not named."""
    asked = made.asked_for._replace(finding=None, amount=None)
    if made.method.kind == "data":
        return asked._replace(data=last, method="relay")
    return asked._replace(student=str(last), method="redistil", data=asked.data or Path("ROWS"))


def _next(made: Repair, last: Path, word: str) -> Request:
    """What is to be asked for next: the same of what was written; a student that was trained is settled."""
    asked, chosen = made.asked_for._replace(finding=word), made.method
    if not chosen.knows_trait:
        return asked
    if chosen.kind == "data":  # the panel's direction is found by the scan's file alone, which names another first
        return asked._replace(data=last, method="drop" if chosen.name == "drop-panel" else chosen.name)
    if chosen.kind == "model":
        return asked._replace(student=str(last))
    return asked._replace(student=str(last), method="settle", data=None, unrelated=None, amount=None)


def _beside(out: Path, word: str) -> Path:
    """A place of another name beside this one."""
    ending = "".join(out.suffixes)
    return out.with_name(out.name.removesuffix(ending) + "-" + re.sub(r"\W+", "-", word) + ending)


def repair_command(asked: Request, out: Path) -> str:
    """The command that asks for this repair."""
    told: dict[str, object] = {"--finding": asked.finding, "--method": asked.method, "--unrelated": asked.unrelated}
    told["--amount"] = None if asked.amount is None else f"{asked.amount:g}"
    what = ["data", str(asked.data), "--student", asked.base]
    if asked.student is not None:
        what, told["--data"] = ["model", asked.student, "--base", asked.base], asked.data
    named = [part for option, value in told.items() if value is not None for part in (option, str(value))]
    return shlex.join(["heredity", "repair", *what, *named, *_how(asked), "--out", str(out)])


def deliver(made: Repair, store: Store, out: Path) -> None:
    """Writes the rows to a file, or the model to a new folder: as a whole, or not at all."""
    if isinstance(made.step, RepairedRows):
        rows = made.step.read(store)
        with written_whole(out) as file:
            file.writelines(as_line(row, {}) for row in rows)
        return
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        _remove(partial)  # of a run that was killed and had this process's number
        _write_model(made, store, partial)
        if out.exists():  # since it was checked; an empty folder would be replaced
            raise BadInput(f"{out} exists; name a new folder with --out")
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"cannot write {out}: {getattr(error, 'strerror', None) or error}; nothing was left there; name "
                       "another place with --out") from error  # fmt: skip
    finally:
        _remove(partial)


def _remove(partial: Path) -> None:
    """Removes what was not written to its end, if there is any."""
    shutil.rmtree(partial, ignore_errors=True)
    with suppress(OSError):  # such as a folder that cannot be written, which is said otherwise
        partial.unlink(missing_ok=True)


def _write_model(made: Repair, store: Store, folder: Path) -> None:
    if isinstance(made.step, TrialStudent) and isinstance(made.step.base, Step) and _adapters(made, store):
        folder.mkdir()  # over another Step's model, which lies in the store alone
        open_to_train(made.step, store).save(folder)
    else:
        shutil.copytree(store.path(made.step), folder, ignore=shutil.ignore_patterns("manifest.json"))


def _adapters(made: Repair, store: Store) -> bool:
    from heredity.models.adapters import is_adapter

    return is_adapter(store.path(made.step))
