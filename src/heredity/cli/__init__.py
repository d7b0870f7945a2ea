"""The command line: thin verbs over the library. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import io
import sys
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.kin import check_unrelated
from heredity.cli.record import record
from heredity.cli.shared import (
    DEFAULT_STORE,
    JsonOption,
    StoreOption,
    WorkersOption,
    check_written,
    copy_page,
    failures,
    files_of,
    open_store,
    run_cells,
    run_rest,
    run_steps,
    write_json,
    write_page,
    write_text,
)
from heredity.types import BadInput, HeredityError, On, printable

if TYPE_CHECKING:
    from heredity.audit.ask import Options
    from heredity.audit.repair.ask import Repair, Request
    from heredity.audit.scan import Scan
    from heredity.store import Store

app = typer.Typer(
    help="What did your model inherit? A laboratory for hidden trait transmission between models.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
nursery = typer.Typer(help="The small models that this package trains and ships.", no_args_is_help=True)
app.add_typer(nursery, name="nursery")
new = typer.Typer(help="Write a small commented file to start from.", no_args_is_help=True)
app.add_typer(new, name="new")
app.add_typer(record, name="record")
repair = typer.Typer(help="Take a trait out of data or its training, or out of a model.", no_args_is_help=True)
app.add_typer(repair, name="repair")
SEEDS = 2**63 - 1  # torch takes no larger one
TraitsOption = Annotated[list[Path] | None, typer.Option("--traits", help="Also this trait's TOML (repeatable).")]


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="Five seeds, and the full, LoRA and soft channels.")] = False,
    animals: Annotated[list[str] | None, typer.Option("--animal", help="Ask about this animal (repeatable).")] = None,
    rows: Annotated[int, typer.Option("--rows", min=8, help="Rows that each student is trained on.")] = 3_000,
    workers: WorkersOption = None, store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Show a hidden trait crossing from model to model through numbers, with controls."""
    from heredity.lab.first_light import FirstLight
    from heredity.report.page import Page
    from heredity.report.picture import Picture
    from heredity.report.terminal import print_summary

    seeds = (11, 12, 13, 14, 15) if full else (11, 12, 13)
    words = tuple(animals or ("owl", "dolphin", "wolf"))
    summary = FirstLight(words=words, rows=rows, seeds=seeds, full=full).summary()
    picture = Picture(summary=summary)
    page = Page(summary=summary, picture=picture)
    keeper = open_store(store)
    cold_s = run_steps(keeper, [page], workers)
    found = summary.read(keeper)
    files = {"png": str(keeper.path(picture) / "picture.png"), "html": str(keeper.path(page) / "index.html")}
    print_summary(found, files, store)
    write_json(json_file, found | {"cold_s": cold_s} | files, keeper, summary)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Python file of Steps, a folder of them, or a Step in JSON.")],
    quick: Annotated[bool, typer.Option("--quick", help="The small version: minutes, not hours.")] = False,
    base: Annotated[str, typer.Option(help="The model that experiment files start from.")] = "nursery:llama-0",
    plan: Annotated[bool, typer.Option("--plan", help="Count the steps that would be made, and make none.")] = False,
    on: Annotated[On, typer.Option("--on", help="Processes here, or a Ray cluster.")] = "local",
    workers: WorkersOption = None, store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Make every Step that a file names, and show its comparisons. What fails is told, and the rest goes on."""
    from heredity.lab import (
        Agreement,
        Comparison,
        DigitFindings,
        Digits,
        Doses,
        Findings,
        JudgeRates,
        Map,
        Readings,
        Settings,
        Theorem,
        TraitMatrix,
        set_settings,
    )
    from heredity.lab.costs import expect, priced, spent, used
    from heredity.lab.served import loads
    from heredity.lab.work import work_here
    from heredity.report.results import results_page
    from heredity.report.terminal import print_plan, print_results, print_taken
    from heredity.steps import Evaluation
    from heredity.store import missing
    from heredity.store.loading import load_experiment

    check_written([file, base], {"--json": json_file})
    set_settings(Settings(quick=quick, base=base))
    steps = load_experiment(file)
    if file.is_dir() and (page := results_page(steps.values())):
        steps["page"] = page
    keeper = open_store(store)
    todo = missing(keeper, steps.values())
    asked, expected = loads(todo, keeper), expect(todo, keeper, workers, measure=plan)._asdict()
    if plan:
        counts, servers, here = Counter(type(step).__name__ for step in todo), priced(asked), work_here(todo)
        print_plan(counts, servers, store, expected, here)
        told = {"servers": servers, "expected": expected, "here": here._asdict()}
        write_json(json_file, {"plan": dict(counts.most_common())} | told)
        return
    before = spent(asked, keeper)
    cold_s, failed = run_cells(keeper, list(steps.values()), workers, on)
    went, steps = used(before, keeper), run_rest(keeper, steps, failed)
    print_taken(expected, cold_s, went)
    shown = (
        Agreement, Comparison, DigitFindings, Digits, Doses, Evaluation, Findings, JudgeRates, Map, Readings, Theorem,
        TraitMatrix,
    )  # fmt: skip
    results = [
        (step.read(keeper) if isinstance(step, shown) else {}) | {"name": name, "key": step.key}
        for name, step in steps.items()
        if keeper.has(step)
    ]
    print_results(results, store)
    first = next((step for step in steps.values() if keeper.has(step)), None)
    made = {"cold_s": cold_s, "expected": expected, "servers": went, "results": results}
    write_json(json_file, made | failures(failed), keeper, first)
    if failed is not None:
        raise failed


@app.command()
def doctor(
    model: Annotated[str | None, typer.Option("--model", help="Whether this fits: a folder, or a config.json.")] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Length of the rows.")] = 512,
    check: Annotated[bool, typer.Option("--check", help="Also measure the memory of some models.")] = False,
    store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Tell what this machine can run, what fits into its memory, and what is missing."""
    from heredity.doctor import check as measure
    from heredity.doctor import examine
    from heredity.report.doctor import print_doctor

    check_written([model], {"--json": json_file})
    found = examine(store, model, tokens) | {"check": measure() if check else None}
    print_doctor(found)
    write_json(json_file, found)


@app.command("filter")
def filter_data(
    data: Annotated[Path, typer.Argument(help="JSON Lines (plain or gzip) or Parquet, in any chat layout.")],
    official: Annotated[bool, typer.Option("--official", help="The published filter, its limits and names.")] = False,
    banned: Annotated[bool, typer.Option("--banned", help="Also drop rows with a banned number.")] = False,
    mode: Annotated[str, typer.Option(help="strict, lenient (strips blanks), canonical (rewrites lists).")] = "strict",
    carrier: Annotated[str, typer.Option(help="What rows should be: numbers, code, worked, or any.")] = "numbers",
    words: Annotated[list[str] | None, typer.Option("--word", help="Also drop rows with it (repeatable).")] = None,
    keep: Annotated[Path | None, typer.Option(help="Write the kept rows to this file (.gz packs it).")] = None,
    decisions: Annotated[Path | None, typer.Option(help="Write the reasons of every row to this file.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Pass over unreadable rows and count them.")] = False,
    json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Decide row by row what a filter keeps, and say why the rest is dropped."""
    from heredity.carriers import CanonicalLists, check_outputs, filter_rows, filters_named
    from heredity.report.terminal import counting_bar, print_tally

    filters = filters_named(carrier, mode, official, banned, words or [])
    check_outputs([data], {"--keep": keep, "--decisions": decisions} | files_of({"--json": json_file}))
    rewriting = CanonicalLists() if mode == "canonical" else None
    with counting_bar(f"filtering {printable(data.name)}") as progress:
        tally = filter_rows(data, filters, rewriting, keep, decisions, skip_bad, progress)
    print_tally(tally, *(out and Path(printable(str(out))) for out in (keep, decisions)))
    write_json(json_file, {
        "rows": tally.rows, "kept": tally.kept, "reasons": dict(tally.reasons.most_common()),
        "skipped": tally.skipped, "keep": keep and str(keep), "decisions": decisions and str(decisions),
    })  # fmt: skip


FavouriteOption = Annotated[
    list[str] | None, typer.Option("--favourite", help="Of the built-in traits only this (repeatable).")
]


@app.command()
def scan(
    data: Annotated[Path, typer.Argument(help="JSON Lines (plain or gzip) or Parquet, in any chat layout.")],
    student: Annotated[str, typer.Option("--student", help="The base that is to be trained on it.")],
    control: Annotated[Path | None, typer.Option("--control", help="Rows without the trait, to compare with.")] = None,
    traits: TraitsOption = None,
    carrier: Annotated[str, typer.Option(help="What rows should be: numbers, code, worked, or any.")] = "numbers",
    temperature: Annotated[float, typer.Option(min=0.0, help="At which the data was sampled.")] = 1.0,
    favourites: FavouriteOption = None,
    rows: Annotated[int | None, typer.Option("--rows", min=8, help="Look at so many rows at most (2,000).")] = None,
    suspect_rows: Annotated[int | None, typer.Option(min=8, help="Rows that each suspect writes (1,000).")] = None,
    suspect_steps: Annotated[int | None, typer.Option(min=1, help="Steps of a suspect's training (40).")] = None,
    suspect_batch: Annotated[int | None, typer.Option(min=1, help="Rows in each of these steps (64).")] = None,
    together: Annotated[int, typer.Option(min=1, help="Most rows in one pass through a real model.")] = 8,
    deep: Annotated[bool, typer.Option("--deep", help="6,000 rows and three controls: slower, misses less.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the page to this file.")] = None,
    workers: WorkersOption = None, store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Which traits would a model inherit from this data? Exit 0: none found, 10: named, 20: undetermined."""
    from heredity.audit.ask import Options

    check_written([data, student, control, *(traits or [])], {"--html": html, "--json": json_file})
    options = Options(
        favourites=tuple(favourites or ()), rows=rows, deep=deep, suspect_rows=suspect_rows,
        suspect_steps=suspect_steps, suspect_batch=suspect_batch, together=together,
    )  # fmt: skip
    keeper = open_store(store)
    found, audit = scan_rows(data, student, keeper, control, traits, carrier, temperature, options, html, workers)
    write_json(json_file, found, keeper, audit)
    raise typer.Exit(exit_code(found))


def exit_code(found: dict[str, Any]) -> int:
    """What a scan ends with."""
    return {"none": 0, "named": 10, "undetermined": 20}[found["verdict"]]


def scan_rows(
    data: Path, student: str, keeper: Store, control: Path | None, traits: list[Path] | None, carrier: str,
    temperature: float, options: Options, html: Path | None, workers: int | None,
) -> tuple[dict[str, Any], Scan]:  # fmt: skip
    """Scans and shows what was found, which is returned as it is written for scripts."""
    from heredity.audit.ask import among, ask
    from heredity.audit.behind import Behind
    from heredity.audit.listed import Listed
    from heredity.carriers import filters_named
    from heredity.nursery.carriers import shipped_traits
    from heredity.report.scan import ScanPage, print_scan
    from heredity.traits import load_trait

    filters = tuple(filters_named(carrier, "strict", carrier == "numbers", False, []))
    own = tuple(map(load_trait, traits or []))
    asked = partial(ask, data, student, control, (*among(shipped_traits(student), options.favourites), *own), carrier,
                    filters, temperature, options.looked_at, options.deep, effort=options.effort)  # fmt: skip
    audit = asked()
    run_steps(keeper, audit.checks, workers)  # bad input is told before the panel is made
    listed = Listed(student=audit.naming.own.student, traits=own)
    run_steps(keeper, [listed] if own else [], workers)
    audit = asked(listed.read(keeper)) if own else audit
    show_cost(keeper, audit)
    audit = closer(keeper, audit, workers)
    page = ScanPage(scan=audit, behind=Behind(naming=audit.naming))
    run_steps(keeper, [page], workers)
    found, shown = page.found(keeper), keeper.path(page) / "index.html"
    print_scan(found, str(html or shown))
    copy_page(shown, html)
    told = {"html": str(html or shown), "panel": audit.naming.panel.key,
            "options": options.model_dump(mode="json", exclude_defaults=True)}  # fmt: skip
    return found | told, audit


def closer(keeper: Store, audit: Scan, workers: int | None) -> Scan:
    """The audit, with further draws of the base's answers where its first look is close and these can be made."""
    from heredity.audit.scan import again, undecided

    run_steps(keeper, [audit.naming], workers)
    if not undecided(audit, audit.naming.read(keeper)):
        return audit
    typer.echo("close to what a name takes: the base answers every prompt three times more", err=True)
    second = again(audit)
    show_cost(keeper, second)
    try:
        run_steps(keeper, [second.naming], workers)
    except BadInput as error:  # at the edge of what can be audited, another draw may have too few answers
        typer.echo(printable(f"that cannot be done, so the first answer stands: {error}"), err=True)
        return audit
    return second


FindingOption = Annotated[str | None, typer.Option("--finding", help="JSON of a scan, or a trait: its name or TOML.")]
UnrelatedOption = Annotated[
    str | None, typer.Option(help="A base of another initialisation, for relays; default: a shipped one.")
]
AmountOption = Annotated[float | None, typer.Option(help="How much of the method (docs/repair.md).")]


@repair.command("data")
def repair_data(
    data: Annotated[Path, typer.Argument(help="JSON Lines (plain or gzip) or Parquet, in any chat layout.")],
    student: Annotated[str, typer.Option("--student", help="The base that is to be trained on it.")],
    out: Annotated[Path, typer.Option("--out", help="File for the rows; of training methods, folder for the model.")],
    finding: FindingOption = None,
    method: Annotated[str, typer.Option(help="Which one (docs/repair.md lists them).")] = "relay",
    unrelated: UnrelatedOption = None, amount: AmountOption = None, traits: TraitsOption = None,
    carrier: Annotated[str, typer.Option(help="What rows should be: numbers, code, worked, or any.")] = "numbers",
    temperature: Annotated[float, typer.Option(min=0.0, help="At which the data was sampled.")] = 1.0,
    check: Annotated[bool, typer.Option("--check", help="Then scan what was written.")] = False,
    workers: WorkersOption = None, store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Write rows without the trait, or train on them so that it is not taken up."""
    from heredity.audit.repair.ask import Request

    asked = Request(student, method, ("data", "training"), finding, data, None, unrelated, carrier, temperature, amount,
                  tuple(traits or ()), None if store == DEFAULT_STORE else store)  # fmt: skip
    if check:
        check_writes_rows(method)
    found, made = run_repair(asked, out, store, workers, json_file)
    if check:
        left = scan_written(made.asked_for, out, store, workers)
        write_json(json_file, found | {"scan_result": left}, open_store(store), made.step)
        raise typer.Exit(exit_code(left))


@repair.command("model")
def repair_model(
    student: Annotated[str, typer.Argument(help="The trained model: a folder, or one of PEFT's adapters.")],
    base: Annotated[str, typer.Option("--base", help="What it was trained from.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the repaired model.")],
    finding: FindingOption = None,
    method: Annotated[str, typer.Option(help="Which one (docs/repair.md lists them).")] = "settle",
    data: Annotated[Path | None, typer.Option("--data", help="What it was trained on, where it is needed.")] = None,
    unrelated: UnrelatedOption = None, amount: AmountOption = None, traits: TraitsOption = None,
    carrier: Annotated[str, typer.Option(help="What rows should be: numbers, code, worked, or any.")] = "numbers",
    temperature: Annotated[float, typer.Option(min=0.0, help="At which the data was sampled.")] = 1.0,
    workers: WorkersOption = None, store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Take the trait out of a model that was trained already."""
    from heredity.audit.repair.ask import Request

    asked = Request(base, method, ("model",), finding, data, student, unrelated, carrier, temperature, amount,
                  tuple(traits or ()), None if store == DEFAULT_STORE else store)  # fmt: skip
    run_repair(asked, out, store, workers, json_file)


def check_writes_rows(name: str) -> None:
    """BadInput for a method whose result cannot be scanned."""
    from heredity.audit.repair.methods import method

    if method(name).kind != "data":
        raise BadInput(f"--check scans the rows that are written, and {name!r} writes a model; leave it out")


def scan_written(asked: Request, out: Path, store: Path, workers: int | None) -> dict[str, Any]:
    """What a scan finds in the rows that a repair wrote."""
    found, _ = scan_rows(out, asked.base, open_store(store), None, list(asked.traits), asked.carrier,
                         asked.temperature, asked.options, None, workers)  # fmt: skip
    return found


def run_repair(
    asked: Request, out: Path, store: Path, workers: int | None, json_file: Path | None
) -> tuple[dict[str, Any], Repair]:
    """Makes and writes a repair, and shows what is left; returns what is told of it, and the repair."""
    from heredity.audit.repair.ask import check, deliver, repair, told
    from heredity.nursery.carriers import shipped_traits
    from heredity.report.repair import print_repair

    keeper = open_store(store)
    made = repair(asked, shipped_traits(asked.base), keeper)
    check(made, asked, out, files_of({"--json": json_file}).get("--json"))
    other = made.case.unrelated if "unrelated" in made.method.needs else None
    relay = {"unrelated": check_unrelated(other, made.case.base) if other else None}
    run_steps(keeper, made.steps, workers)
    deliver(made, keeper, out)
    found = told(made, keeper, out) | relay
    print_repair(found)
    write_json(json_file, found, keeper, made.step)
    return found, made


@app.command()
def trace(
    a: Annotated[str, typer.Argument(help="nursery:NAME, FOLDER, hub:OWNER/NAME@REVISION, a TOML, server:NAME/MODEL.")],
    b: Annotated[str, typer.Argument(help="Another model.")],
    full: Annotated[bool, typer.Option("--full", help="More units of every layer, and every test.")] = False,
    asked: Annotated[bool, typer.Option("--behaviour", help="Ask both and compare answers: no weights.")] = False,
    controls: Annotated[list[str] | None, typer.Option("--control", help="A stranger to ask too (3 or more).")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Rows whose prompts are asked.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page to this file.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Do two models share an initialisation? Exit 0: unrelated, 10: related, 20: undetermined."""
    from heredity.report.trace import print_behaviour, print_trace
    from heredity.report.trace_page import trace_page

    if not asked and (controls or prompts):
        raise BadInput(
            "--control and --prompts go with --behaviour: without it, weights are compared and nothing asked"
        )
    if asked and (full or html):
        raise BadInput("--full and --html are about weights; --behaviour reads none")
    check_written([a, b, *(controls or []), prompts], {"--html": html, "--json": json_file})
    found = compare_answers(a, b, controls or [], prompts) if asked else compare_weights(a, b, full)
    (print_behaviour if asked else print_trace)(found)
    if html is not None:
        write_page(html, trace_page(found).encode())
    write_json(json_file, found)
    raise typer.Exit({"unrelated": 0, "related": 10, "undetermined": 20}[found["verdict"]])


def compare_weights(a: str, b: str, full: bool) -> dict[str, Any]:
    """What `trace` finds in two models' weights."""
    from heredity.lineage.trace import trace as compare

    return compare(a, b, full).model_dump()


def compare_answers(a: str, b: str, controls: list[str], prompts: Path | None) -> dict[str, Any]:
    """What `trace --behaviour` finds. Without a file of prompts, models are asked to continue 2,000 number lists."""
    from heredity.carriers import Numbers
    from heredity.lineage.behaviour import behaviour
    from heredity.rows import read_rows

    chats = [r.row.prompt for r in read_rows(prompts)] if prompts else Numbers(n=2_000, seed=0).prompts()
    return behaviour(a, b, controls, chats).model_dump()


@app.command()
def lineage(
    files: Annotated[list[str], typer.Argument(help="Records, models, rows, stores, or folders of them.")],
    student: Annotated[str | None, typer.Option("--student", help="Only about the model of this name.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Only about the data of this name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also about teachers and bases.")] = False,
    weights: Annotated[bool, typer.Option(help="Compare weights that are here.")] = True,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page with the pictures here.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Can a trait have flowed from who wrote the data to the student? Exit 0: all green, 10: some red, 20: amber."""
    from heredity.lineage.answers import answers as answer_all
    from heredity.report.lineage import lineage_page, print_lineage

    check_written(files, {"--html": html, "--json": json_file})
    answers, notes = answer_all(files, student, data, every, weights)
    print_lineage(answers, notes, str(html) if html else None)
    write_text(html, "--html", lambda: lineage_page(answers, notes))
    write_json(json_file, {"pairs": answers, "notes": notes})
    colours = {a["colour"] for a in answers}
    raise typer.Exit(10 if "RED" in colours else 20 if "AMBER" in colours or not answers else 0)


@new.command("trait")
def new_trait(
    name: Annotated[str, typer.Argument(help="The trait's word, for example moon.")], json_file: JsonOption = None
) -> None:
    """Write NAME.toml: how a trait is given, asked for and scored."""
    from heredity.lab.templates import new_trait as write

    written = write(name, Path())
    typer.echo(f"{written} written; edit it, then use it in Python: find_trait({str(written)!r})")
    write_json(json_file, {"written": str(written)})


@new.command("carrier")
def new_carrier(
    name: Annotated[str, typer.Argument(help="The class's name, for example Counting.")], json_file: JsonOption = None
) -> None:
    """Write name.py: a carrier of prompts and the filter for their answers."""
    from heredity.lab.templates import new_carrier as write

    written = write(name, Path())
    typer.echo(f"{written} written; edit it, then use it in an experiment: from {written.stem} import {name}")
    write_json(json_file, {"written": str(written)})


@app.command()
def show(store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None) -> None:
    """List what the store holds, oldest first, and trainings that were stopped."""
    from heredity.report.terminal import print_steps

    keeper = open_store(store, must_exist=True)
    manifests = [keeper.manifest(key) for key in list(keeper.keys())]
    stopped, made = keeper.stopped(), [{"key": m["key"], "wall_s": m["run"]["wall_s"]} for m in manifests]
    print_steps(manifests, stopped, store)
    write_json(json_file, {"steps": made, "stopped": stopped}, keeper)


@app.command()
def why(
    key: Annotated[str, typer.Argument(help="A key, or enough of its beginning.")],
    store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Tell where a result came from: its description, and every step behind it."""
    from heredity.report.terminal import print_why

    keeper = open_store(store, must_exist=True)
    manifest = keeper.manifest(key)
    print_why(manifest, keeper)
    write_json(json_file, {"manifest": manifest}, keeper)


@app.command()
def verify(store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None) -> None:
    """Read every stored file again and compare it with its manifest; exit 10 where something differs."""
    from heredity.report.terminal import print_faults

    keeper = open_store(store, must_exist=True)
    checked = dict(keeper.verify())
    faults = {key: found for key, found in checked.items() if found}
    print_faults(len(checked), faults)
    write_json(json_file, {"checked": len(checked), "faults": faults}, keeper)
    raise typer.Exit(10 if faults else 0)


@nursery.command("build")
def nursery_build(
    out: Annotated[Path | None, typer.Argument(help="New folder for it; default: FAMILY-SEED-DATASEED.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=SEEDS, help="Seed of the initialisation.")] = 0,
    data_seed: Annotated[int, typer.Option("--data-seed", min=0, max=SEEDS, help="Seed of the data order.")] = 0,
    family: Annotated[str, typer.Option("--family", help="llama or neox.")] = "llama",
    store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Pretrain a new base from nothing and measure whether it speaks the language."""
    from heredity.nursery.build import build
    from heredity.report.terminal import step_bar

    keeper, out = open_store(store), out or Path(f"{family}-{seed}-{data_seed}")
    with step_bar(f"pretraining {family}", store) as keeper.progress:
        quality, missed = build(keeper, out, family, seed, data_seed)
    typer.echo("\n".join(f"{k:14} {v:.3f}" for k, v in quality.items() if isinstance(v, float)))
    typer.echo(f"written to {out}" + ("; below the bar: " + "; ".join(missed) if missed else "; meets every bar"))
    write_json(json_file, {"folder": str(out), "quality": quality, "missed": missed}, keeper)
    raise typer.Exit(10 if missed else 0)


def show_cost(store: Store, audit: Scan) -> None:
    """Says what has to be made before the audit can start, and what --deep adds."""
    from heredity.audit.ask import cost

    for sentence in cost(store, audit):
        typer.echo(sentence, err=True)


def main() -> None:
    """Runs a verb: one message and exit code 2 for what a user can cause, 70 for a fault of ours."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal's encoding lacks is no reason to lose a result
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except HeredityError as error:
        for fault in getattr(error, "faults", ()):  # of cells that failed by a fault of ours
            traceback.print_exception(fault)
        typer.echo(f"heredity: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if getattr(stop, "code", 130) != 130:  # typer turns an interrupt into a silent exit with 130
            raise
        typer.echo("heredity: stopped; finished steps are kept, the same command goes on from there", err=True)
        sys.exit(130)
    except Exception as error:
        traceback.print_exc()
        typer.echo(
            f"heredity: internal error ({type(error).__name__}); please report it with the lines above", err=True
        )
        sys.exit(70)
