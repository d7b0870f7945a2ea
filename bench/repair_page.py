"""The benchmark's part of docs/repair.md, from bench/results/repair.json: whether the goal is met, and every method.

`python -m bench.repair_page` writes it between the two marks of that page. It computes no figure.
"""

from __future__ import annotations

from bench.pages import Found, part, short, source, table

from heredity.report.repair import GOAL

FAILS = 0.5
"""A method fails that leaves more than this of the trait by both measures: against controls, and against the base."""


def goals(found: Found) -> str:
    """The three that judge the goal, over all runs and on the later seeds."""
    rows, later = ({r["name"]: r for r in some} for some in (found["methods"], found["later_seeds"]))
    lines = []
    for what, told in found["goal"].items():
        every, late = rows[told["method"]], later[told["method"]]
        lines.append([what, f"`{told['method']}`", left(every), kept(every), str(every["capability"]),
                      met(told["met"]), left(late), kept(late), met(told["met_on_later_seeds"])])  # fmt: skip
    asked = f"residual at most {short(GOAL[0])}, retained at least {short(GOAL[1])}, by their limits"
    head = ["what", "method", "residual", "retained", "capability", f"met ({asked})", "later seeds: residual",
            "retained", "met"]  # fmt: skip
    return table(head, lines)


def met(told: bool | None) -> str:
    """Whether a goal is met."""
    return {True: "yes", False: "**no**", None: "no limits"}[told]


def left(row: Found) -> str:
    """What is left of the trait, and its upper limit."""
    return f"{short(row['residual'])} (to {short(row['residual_high'])})"


def kept(row: Found) -> str:
    """What is left of the skill, and its lower limit."""
    return f"{short(row['retained'])} (from {short(row['retained_low'])})"


def methods(found: Found) -> str:
    """A line for everything that was compared."""
    head = ["method", "kind", "knows", "residual", "signed", "against the base", "retained", "capability change",
            "random arm leaves", "less than it by"]  # fmt: skip
    return table(head, [line(row) for row in found["methods"]])


def line(row: Found) -> list[str]:
    """One of them."""
    rival, less = row["kind"] == "rival", row["less_than_random"]
    base = f"{short(row['residual_base'])} (to {short(row['residual_base_high'])})"
    return [row["name"] if rival else f"`{row['name']}`", row["kind"], "yes" if row["knows_trait"] else "no",
            left(row), signed(row["signed"]), base, kept(row),
            f"{between(row, 'capability_change')}, {row['capability'] or 'no limits'}",
            short(row["random_arm_residual"]), "-" if less is None else between(row, "less_than_random")]  # fmt: skip


def between(row: Found, name: str) -> str:
    """A figure with its interval."""
    low, high = (short(row[f"{name}_{end}"]) for end in ("low", "high"))
    return f"{short(row[name])} ({low} to {high})"


def signed(x: float | None) -> str:
    """A figure with its sign."""
    return short(x) if x is None or x < 0 else f"+{short(x)}"


def failing(found: Found) -> str:
    """Which methods leave the trait by both measures."""
    judged = [(r["name"], (r["residual"], r["residual_base"])) for r in found["methods"] if r["kind"] != "rival"]
    names = [f"`{name}`" for name, both in judged if all(x is not None and x > FAILS for x in both)]
    return f"More than {short(FAILS)} of the trait is left, by both measures, after: {', '.join(names) or 'none'}."


def written(found: Found) -> str:
    """The whole part of the page."""
    words, seeds = ", ".join(found["traits"]), ", ".join(map(str, found["seeds"]))
    about = (f"{found['runs']} runs of {len(found['traits'])} traits ({words}), seeds {seeds}; {found['left_out']} "
             f"left out. Loss on ordinary text: base {short(found['ordinary_base'])}, unrepaired students "
             f"{short(found['ordinary_student'])} nats a token.")  # fmt: skip
    return "\n\n".join([source(found), about, goals(found), methods(found), failing(found)]) + "\n"


PART = part("repair", written, "bench.repair_page")

if __name__ == "__main__":
    PART.write()
