"""`heredity record`: writing down who made data and models, so that lineage can be audited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from heredity.cli.shared import (
    DEFAULT_STORE,
    JsonOption,
    StoreOption,
    check_written,
    open_store,
    write_json,
    write_text,
)

record = typer.Typer(help="Write down who made data and models, so that lineage can be audited.", no_args_is_help=True)

OutOption = Annotated[Path | None, typer.Option("--out", help="Write the statement here; default: to the terminal.")]
CardOption = Annotated[Path | None, typer.Option("--card", help="Also write a Hugging Face model card.")]
CroissantOption = Annotated[Path | None, typer.Option("--croissant", help="Also write a Croissant description.")]


@record.command("generation")
def record_generation(
    data: Annotated[list[Path], typer.Option("--data", help="The rows that the record is about (repeatable).")],
    models: Annotated[list[str] | None, typer.Option("--model", help="Who wrote them: folder or name.")] = None,
    people: Annotated[bool, typer.Option("--people", help="People wrote them.")] = False,
    sources: Annotated[list[Path] | None, typer.Option("--source", help="Rows that they were made of.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="File of what was asked.")] = None,
    system: Annotated[Path | None, typer.Option("--system", help="File with the system prompt.")] = None,
    no_system: Annotated[bool, typer.Option("--no-system", help="There was no system prompt.")] = False,
    judges: Annotated[list[str] | None, typer.Option("--judge", help="A model that ranked or chose rows.")] = None,
    content: Annotated[str | None, typer.Option(help="numbers, code, worked, text or preferences.")] = None,
    filters: Annotated[list[str] | None, typer.Option("--filter", help="A filter's name (repeatable).")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0)] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0)] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    out: OutOption = None, croissant: CroissantOption = None,
) -> None:  # fmt: skip
    """Write down who wrote data, and how: an in-toto statement, and Croissant."""
    from heredity.lineage.writing import generation

    check_written([*data, *(sources or []), prompts, system], {"--out": out, "--croissant": croissant})
    sampling = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed}
    made = generation(data, models or (), people, sources or (), prompts, system, no_system, judges or (), content,
                      filters or (), sampling)  # fmt: skip
    write_record(made, out, croissant=croissant, example=data[0])


@record.command("training")
def record_training(
    model: Annotated[str, typer.Option("--model", help="Folder of the model that the record is about.")],
    bases: Annotated[list[str] | None, typer.Option("--base", help="What it was trained from (repeatable).")] = None,
    relation: Annotated[str | None, typer.Option(help="finetune, adapter, merge, quantized or cut.")] = None,
    start: Annotated[str | None, typer.Option("--start", help="Fresh weights: what made them, and the seed.")] = None,
    data: Annotated[list[Path] | None, typer.Option("--data", help="Rows it was trained on (repeatable).")] = None,
    teachers: Annotated[list[str] | None, typer.Option("--teacher", help="Whose distributions it saw.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="File of row numbers, as-it-is, or unknown.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    method: Annotated[str | None, typer.Option(help="For example full, or lora.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    out: OutOption = None, card: CardOption = None,
) -> None:  # fmt: skip
    """Write down what a model was trained from, on which rows, in which order: a statement, and a card."""
    from heredity.lineage.writing import training

    check_written([*(data or []), order], {"--out": out, "--card": card})
    settings = {"epochs": epochs, "method": method, "seed": seed}
    made = training(model, bases or (), relation, start, data or (), teachers or (), order, epochs, settings)
    write_record(made, out, card=card)


@record.command("test")
def record_test(
    a: Annotated[str, typer.Argument(help="A model: nursery:NAME, or a Hugging Face folder.")],
    b: Annotated[str, typer.Argument(help="Another model.")],
    out: OutOption = None,
) -> None:
    """Compare two models as trace does, and write down what was found."""
    from heredity.lineage.writing import lineage_test

    write_record(lineage_test(a, b), out)


@record.command("export")
def record_export(
    key: Annotated[str, typer.Argument(help="A step's key, or enough of its beginning.")],
    out: OutOption = None, croissant: CroissantOption = None, card: CardOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:  # fmt: skip
    """Write a finished step's manifest as an in-toto statement; data as Croissant, models as a card too."""
    from heredity.lineage.exports import export, row_files

    check_written([], {"--out": out, "--croissant": croissant, "--card": card})

    keeper = open_store(store, must_exist=True)
    made = export(keeper, key)
    folder = keeper.folder(keeper.manifest(key)["key"])
    write_record(made, out, croissant, card, folder / row_files(p.name for p in folder.iterdir())[0])


@record.command("inspect")
def record_inspect(
    key: Annotated[str, typer.Argument(help="An evaluation's key, or enough of its beginning.")],
    out: Annotated[Path, typer.Option("--out", help="The log: a file that ends with .eval or .json.")],
    word: Annotated[str | None, typer.Option("--word", help="Whose share it tells; default: the largest.")] = None,
    store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Write a finished evaluation as a log that `inspect view` opens; its model is asked again."""
    from heredity.evals import write_log

    check_written([], {"--out": out, "--json": json_file})
    found = write_log(open_store(store, must_exist=True), key, out, word)
    typer.echo(f"{out} written: {found['samples']} answers, share of {found['word']} {found['share']:.3f}")
    write_json(json_file, found | {"written": str(out)})


def write_record(
    made: dict[str, Any], out: Path | None, croissant: Path | None = None, card: Path | None = None,
    example: Path | None = None,
) -> None:  # fmt: skip
    """Writes a statement, and what else was asked for; what cannot be written so is told before anything is written."""
    from heredity.lineage.records import as_text, claims
    from heredity.lineage.writing import card_of, croissant_of

    name = made["subject"][0]["name"]
    called = name.partition("/")[0] if "/" in name else Path(name).stem
    described = croissant_of(made, claims(made, name), called, example) if croissant else {}
    carded = card_of(made) if card else ""
    if out is None:
        typer.echo(as_text(made), nl=False)
    write_text(out, "--out", lambda: as_text(made))
    write_text(croissant, "--croissant", lambda: json.dumps(described, indent=1) + "\n")
    write_text(card, "--card", lambda: carded)
