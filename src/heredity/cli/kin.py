"""Whether the base that a repair relays rows through is one of another initialisation, as its weights tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from heredity.types import BadInput, printable

if TYPE_CHECKING:
    from heredity.types import ModelRef


def check_unrelated(unrelated: ModelRef, base: ModelRef) -> dict[str, Any]:
    """What the lineage test says of the two: `location` of the first, `verdict` and `why`.

    BadInput where they are related, as a trait passes then; where it cannot be told, a warning on standard error.
    """
    from heredity.audit.repair.ask import another

    verdict, why = _compared(unrelated.location, base.location)
    if verdict == "related":
        raise BadInput(f"--unrelated {unrelated.location} shares its initialisation with {base.location}, so that a "
                       f"trait passes through it ({why}); expected a base of another one: --unrelated "
                       f"{another(unrelated).location}")  # fmt: skip
    if verdict == "undetermined":
        said = (f"warning: whether {unrelated.location} shares its initialisation with {base.location} could not be "
                f"told ({why}); if it does, the trait passes through it")  # fmt: skip
        typer.echo(f"heredity: {printable(said)}", err=True)
    return {"location": unrelated.location, "verdict": verdict, "why": why}


def _compared(a: str, b: str) -> tuple[str, str]:
    """The verdict of `trace`, and why; undetermined where it cannot read one of them."""
    from heredity.lineage.trace import trace

    try:
        found = trace(a, b)
    except BadInput as error:
        return "undetermined", str(error)
    return found.verdict, found.why
