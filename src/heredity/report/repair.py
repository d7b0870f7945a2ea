"""What a repair did, on the terminal."""

from __future__ import annotations

from typing import Any

from heredity.report.terminal import console


def print_repair(found: dict[str, Any]) -> None:
    """What the method changed, what is left of the trait where models were asked, and what to run next."""
    trait = f", {found['trait']}" if found["trait"] else ""
    console.print(f"{found['method']} ({found['kind']}{trait}): written to {found['out']}")
    if "rows" in found:
        console.print(f"{found['left']} rows for {found['rows']}; {found['same']} of them are the same")
    for name, share in found.get("shares", {}).items():
        console.print(f"  {name:9} names {found['trait']} in {share:.3f} of its answers")
    if "scan" in found:
        console.print(f"what is left: {found['scan']}")
