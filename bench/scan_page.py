"""The benchmark's part of docs/scan.md, from bench/results/scan.json: every bar beside what was found, and the tables.

`python -m bench.scan_page` writes it between the two marks of that page. It judges; it computes no figure.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.pages import Found, part, short, source, table

STRATUM_LIMIT = 0.015
FLAT = 1.1
"""Memory is flat where a thousand times the rows take at most this many times as much."""
LINEAR = (0.8, 1.25)
"""Time is linear where ten times the rows take ten times this."""


class Bar(NamedTuple):
    """What was asked of a figure, and what was found."""

    asked: str
    found: str
    held: bool


def at_least(asked: str, x: float | None, least: float, told: str = "") -> Bar:
    """A bar from below; what is undefined does not hold."""
    return Bar(f"{asked}: at least {short(least)}", short(x) + told, x is not None and x >= least)


def at_most(asked: str, x: float | None, most: float, told: str = "") -> Bar:
    """A bar from above."""
    return Bar(f"{asked}: at most {short(most)}", short(x) + told, x is not None and x <= most)


def within(asked: str, x: float | None, low: float, high: float, told: str = "") -> Bar:
    """A bar on both sides."""
    return Bar(f"{asked}: {short(low)} to {short(high)}", short(x) + told, x is not None and low <= x <= high)


def bars(found: Found) -> list[Bar]:
    """Everything that the benchmark asks, in its order."""
    return [*named(found), *clean(found), *shifted(found), *costing(found)]


def named(found: Found) -> list[Bar]:
    """Sets of a trait."""
    sets, deep, mixed = (found[name] for name in ("trait_sets", "deep_sets", "mixed_sets"))
    return [
        at_least("trait named, and no other", found["named_rate"], 0.95, of(sets, found["named_low"])),
        at_least("that of the worst trait", found["worst_trait_rate"], 0.8),
        at_least("trait named with `--deep`", found["deep_named_rate"], 0.98, of(deep, found["deep_named_low"])),
        at_least("trait in a tenth of 10,000 rows named, all looked at", found["mixed_found_rate"], 0.8,
                 of(mixed, found["mixed_found_low"])),
        at_least("the same files, 2,000 rows looked at", found["mixed_found_rate_2k"], 0.8, of(mixed)),
        Bar("the share of a teacher's rows and the mean t rise together", yes(found["dose_monotone"]),
            found["dose_monotone"] is True),
    ]  # fmt: skip


def clean(found: Found) -> list[Bar]:
    """Sets without a trait."""
    sizes = found["size"]
    return [
        *(at_most(f"{s['name']}: upper limit of the rate at which a trait is named", s["upper"], STRATUM_LIMIT,
                  f" ({s['named']} of {s['sets']})") for s in found["strata"]),
        *(at_most(f"smallest p of the base's own sets at most {name}, two standard errors allowed", sizes[name],
                  sizes[f"{name}_may"], of(sizes["sets"])) for name in (".01", ".05", ".1")),
        at_most("e-process of the base's own sets reaches 20", found["e_over_20_rate"], 0.05,
                of(found["e_over_20"]["own base"]["sets"])),
    ]  # fmt: skip


def shifted(found: Found) -> list[Bar]:
    """Shifts: predicted beside measured."""
    return [
        at_least("rank correlation of predicted and measured shift of the sets' own trait", found["spearman"], 0.9,
                 of(found["carried"])),
        within("slope of the same", found["slope"], 0.8, 1.25),
        at_least("predicted shifts of clean sets within .2 of zero", found["zero_within"], 0.95,
                 f" (of those that were measured there {short(found['measured_zero_within'])})"),
        within("the interval holds the measured shift, students of the same rows", found["coverage"], 0.9, 0.98,
               f" ({found['cells']} cells; of the own trait {short(found['coverage_own'])})"),
        within("students of other rows of the same teachers", found["coverage_fresh"], 0.9, 0.98,
               f" ({found['fresh_sets']} sets; of the own trait {short(found['coverage_fresh_own'])})"),
        Bar("dropping the top fifth of rows takes more of the effect than a random fifth",
            f"{share(found, 'top_fifth_removed')} against {share(found, 'random_fifth_removed')}; more by "
            f"{share(found, 'more')}; {found['ranked_sets']} sets", (found["more_interval"][0] or 0) > 0),
    ]  # fmt: skip


def costing(found: Found) -> list[Bar]:
    """What a scan costs."""
    small, large = found["rss_mb_1k"], found["rss_mb_1m"]
    return [
        at_most("2,000 of 100,000 rows looked at, beside training and evaluating three students", found["cost_ratio"],
                0.1),
        at_most("10,000 of 100,000 rows looked at", found["cost_ratio_10k"], 0.1),
        at_least("speed of scoring beside bare forward passes", found["throughput_ratio"], 0.8,
                 f" ({short(found['throughput_ratio_predicted'])} where these make logits only where needed)"),
        at_most("peak memory of a scan at 1,000,000 rows beside 1,000", large / small, FLAT,
                f" ({small:.0f} and {large:.0f} MB)"),
        within("time of reading ten times the rows, over ten", found["read_linear"], *LINEAR),
    ]  # fmt: skip


def of(sets: int, low: float | None = None) -> str:
    """How many sets a rate is of, and its lower limit."""
    return f" (of {sets}{'' if low is None else f'; 95 % limit {short(low)}'})"


def share(found: Found, name: str) -> str:
    """A share with its interval."""
    low, high = found[f"{name}_interval"]
    return f"{short(found[name])} ({short(low)} to {short(high)})"


def yes(x: bool | None) -> str:
    """A truth in words."""
    return "-" if x is None else "yes" if x else "no"


def strata(found: Found) -> str:
    """The clean sets, by who wrote their rows."""
    deep = {s["name"]: f"{s['named']} of {s['sets']}" for s in found["deep_clean"]}
    rows = []
    for s in found["strata"]:
        e, moved = found["e_over_20"][s["name"]], found["discovered"][s["name"]]
        rows.append([
            s["name"], str(s["writers"]), f"{s['named']} of {s['sets']}", short(s["upper"]), str(s["foreign"]),
            deep.get(s["name"], "-"), told(e), told(moved), short(found["zero_by_stratum"][s["name"]]),
        ])  # fmt: skip
    head = ["rows by", "writers", "named", "95 % limit", "foreign to the panel", "named with `--deep`",
            "another source (e of 20)", "discovery finds a word", "shifts within .2 of 0"]  # fmt: skip
    return table(head, rows)


def told(rate: Found) -> str:
    """How many of how many."""
    return f"{round(rate['rate'] * rate['sets'])} of {rate['sets']}"


def doses(found: Found) -> str:
    """Shares of a teacher's rows among the base's."""
    rows = [[short(d["share"]), str(d["sets"]), short(d["named_rate"]), short(d["mean_t"])] for d in found["doses"]]
    return table(["share of 2,000 rows", "sets", "named", "mean t"], rows)


def rivals(found: Found) -> str:
    """The scan beside the published means, on the same sets."""
    rows = []
    for name, row in found["rival_table"].items():
        other = row.get("scaled")
        rows.append([name, *rated(row), *(rated(other) if other else ["-"] * 3)])
    each = ["named right", "the trait is first", "clean sets named"]
    return table(["", *each, *(f"{name} (in standard errors)" for name in each)], rows)


def rated(row: Found) -> list[str]:
    """How often a means is right, and how often it names something where there is nothing."""
    return [f"{round(row[name] * row['sets'])} of {row['sets']}" for name in ("named_rate", "first_rate")] + [
        f"{row['clean_named']} of {row['clean_sets']}"]  # fmt: skip


def written(found: Found) -> str:
    """The whole part of the page."""
    asked = table(["asked", "found", "held"], [[b.asked, b.found, "yes" if b.held else "**no**"] for b in bars(found)])
    lost = ", ".join(f"{name} {n}" for name, n in sorted(found["left_out"].items())) or "none"
    sets = (f"{found['trait_sets']} trait sets ({found['trait_sets_foreign']} foreign to the panel) and "
            f"{sum(s['sets'] for s in found['strata'])} clean ones over {found['panels']} panels, which draw from "
            f"{found['pools']} pools of suspects; left out and replaced: {lost}.")  # fmt: skip
    answers = ", ".join(f"{name} {n}" for name, n in sorted(found["own_base_answers"].items()))
    alone = found["data_only_size"]
    return "\n\n".join([
        source(found), sets, asked, "Clean sets:", strata(found),
        f"What a scan answers of the base's own rows: {answers}. The data-only test's p there is at most .01, .05 and "
        f".1 in {short(alone['.01'])}, {short(alone['.05'])} and {short(alone['.1'])} of {alone['sets']} sets.",
        "Doses:", doses(found),
        f"Rivals; those that read with a model read {found['rival_rows']} rows of each set:", rivals(found),
        f"The set-up took {found['setup_s']:.0f} s in {found['setup_steps']} Steps; a scan that looks at 2,000 rows "
        f"{found['scan_cpu_s']:.0f} processor seconds, at 10,000 {found['scan_cpu_s_10k']:.0f}.",
    ]) + "\n"  # fmt: skip


PART = part("scan", written, "bench.scan_page")

if __name__ == "__main__":
    PART.write()
