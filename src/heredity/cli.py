"""The command line: thin verbs over the library. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.types import BadInput, HeredityError

if TYPE_CHECKING:
    from heredity.store import Step, Store

app = typer.Typer(
    help="What did your model inherit? A laboratory for hidden trait transmission between models.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
nursery = typer.Typer(help="The small models that this package trains and ships.", no_args_is_help=True)
app.add_typer(nursery, name="nursery")

StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps every finished step.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file (docs/json.md).")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")]
DEFAULT_STORE = Path("heredity-store")


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="Five seeds, and the full, LoRA and soft channels.")] = False,
    animals: Annotated[list[str] | None, typer.Option("--animal", help="Ask about this animal (repeatable).")] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows that each student is trained on.")] = 4_000,
    workers: WorkersOption = None, store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Show a hidden trait crossing from model to model through numbers, with controls."""
    from heredity.lab.first_light import FirstLight
    from heredity.report.page import Page
    from heredity.report.picture import Picture
    from heredity.report.terminal import print_summary

    seeds = (6, 7, 8, 9, 10) if full else (6, 7, 8)
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
def show(store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None) -> None:
    """List what the store holds, oldest first."""
    from heredity.report.terminal import print_steps

    keeper = open_store(store, must_exist=True)
    manifests = [keeper.manifest(key) for key in list(keeper.keys())]
    print_steps(manifests, store)
    write_json(json_file, {"steps": [{"key": m["key"], "wall_s": m["run"]["wall_s"]} for m in manifests]}, keeper)


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
    out: Annotated[Path, typer.Argument(help="Folder for the new base (made, must not exist).")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the initialisation.")] = 0,
    data_seed: Annotated[int, typer.Option("--data-seed", help="Seed of the data order.")] = 0,
    family: Annotated[str, typer.Option("--family", help="llama or neox.")] = "llama",
    store: StoreOption = DEFAULT_STORE, json_file: JsonOption = None,
) -> None:  # fmt: skip
    """Pretrain a new base from nothing and measure whether it speaks the language."""
    from heredity.nursery.build import build
    from heredity.report.terminal import step_bar

    keeper = open_store(store)
    with step_bar(f"pretraining {family}", store) as keeper.progress:
        quality, missed = build(keeper, out, family, seed, data_seed)
    typer.echo("\n".join(f"{k:14} {v:.3f}" for k, v in quality.items() if isinstance(v, float)))
    typer.echo(f"written to {out}" + ("; below the bar: " + "; ".join(missed) if missed else "; meets every bar"))
    write_json(json_file, {"folder": str(out), "quality": quality, "missed": missed}, keeper)
    raise typer.Exit(10 if missed else 0)


def open_store(root: Path, must_exist: bool = False) -> Store:
    """The store in a folder; BadInput where one is needed and there is none."""
    from heredity.store import Store

    if must_exist and not (root / "objects").is_dir():
        raise BadInput(f"no store at {root}; run `heredity demo` first, or name one with --store")
    return Store(root)


def run_steps(store: Store, targets: list[Step], workers: int | None) -> float:
    """Makes what is missing under a progress bar; returns the seconds it took (0 where nothing was missing)."""
    from heredity.store import make_all, missing

    count = len(missing(store, targets))
    if not count:
        return 0.0
    from heredity.report.terminal import progress_bar

    started = time.monotonic()
    with progress_bar(count, store.root) as report:
        make_all(store, targets, workers, report)
    return round(time.monotonic() - started, 2)


def write_json(path: Path | None, result: dict[str, Any], store: Store, made: Step | None = None) -> None:
    """Writes a verb's result for scripts; numbers that are undefined become null."""
    if path is None:
        return
    commit = store.manifest(made.key)["run"]["commit"] if made is not None else None
    head = {"schema_version": 1, "commit": commit, "command": shlex.join(["heredity", *sys.argv[1:]])}
    try:
        path.write_text(json.dumps(_finite(head | result), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; name another file with --json") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Runs a verb: one message and exit code 2 for what a user can cause, 70 for a fault of ours."""
    try:
        app()
    except HeredityError as error:
        typer.echo(f"heredity: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if getattr(stop, "code", 130) != 130:  # typer turns an interrupt into a silent exit with 130
            raise
        typer.echo("heredity: stopped; finished steps are kept, the same command goes on from there", err=True)
        sys.exit(130)
    except Exception as error:
        import traceback

        traceback.print_exc()
        typer.echo(
            f"heredity: internal error ({type(error).__name__}); please report it with the lines above", err=True
        )
        sys.exit(70)
