"""What `heredity doctor` found, in the terminal."""

from __future__ import annotations

from typing import Any

from heredity.report.terminal import console, safe

_USES = {"sampling": "sampling", "lora": "LoRA (rank 8)", "full": "full training"}


def print_doctor(found: dict[str, Any]) -> None:
    """The machine, the libraries, the store, the servers, and what fits."""
    for line in (*_machine(found["machine"]), *_software(found), *_fits(found["fits"])):
        console.print(safe(line), soft_wrap=True)
    if found["model"] is not None:
        for line in _model(found["model"]):
            console.print(safe(line), soft_wrap=True)
    for trial in found.get("check") or []:
        console.print(safe(_trial(trial)), soft_wrap=True)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _machine(m: dict[str, Any]) -> list[str]:
    native = {True: "native", False: "emulated", None: "native or not: not told"}[m["bf16_native"]]
    where = "one core" if m["device"] == "cpu" else "the device"
    return [
        f"device    {m['device']}, {m['name']}; {m['cores']} cores for processes",
        f"memory    {_gb(m['memory'])}, {_gb(m['free'])} free",
        f"products  {m['fp32'] / 1e9:,.0f} Gflop/s in float32, {m['bf16'] / 1e9:,.0f} in bfloat16 ({native}), {where}",
    ]


def _software(found: dict[str, Any]) -> list[str]:
    told = ", ".join(f"{name} {version or 'missing'}" for name, version in found["versions"].items())
    store = found["store"]
    state = "writable" if store["writable"] else "NOT writable: name another folder with --store"
    lines = [f"versions  Python {found['machine']['python']}, {told}",
             f"store     {store['folder']}: {state}, {_gb(store['free'])} free"]  # fmt: skip
    lines += [f"missing   {name} ({', '.join(e['missing'])}): {e['command']}"
              for name, e in found["extras"].items() if e["missing"]]  # fmt: skip
    return [*lines, f"servers   {', '.join(found['servers']) or 'none is named (docs/real-models.md)'}"]


def _fits(fits: list[dict[str, Any]]) -> list[str]:
    lines = [f"largest model of a common size that fits, and the most rows of {fits[0]['tokens']} tokens:"]
    for f in fits:
        best = f"{f['size']}, {f['batch']} rows" if f["size"] else "none"
        lines.append(f"  {_USES[f['use']]:14} {f['dtype']:9} {best}")
    return lines


def _model(m: dict[str, Any]) -> list[str]:
    stored = "" if m["stored"] is None else f", {m['stored']:,} in its files"
    lines = [f"{m['location']}: {m['parameters']:,} parameters{stored}; rows of {m['tokens']} tokens"]
    for u in m["uses"]:
        fits = f"fits, {u['batch']} rows at most" if u["batch"] else "does not fit"
        lines.append(f"  {_USES[u['use']]:14} {u['dtype']:9} {_gb(u['needs'])} for one row: {fits}")
    return lines


def _trial(t: dict[str, Any]) -> str:
    return (f"measured  {t['name']}, {_USES[t['use']]}, {t['batch']} rows of {t['tokens']} tokens: "
            f"{_gb(t['measured'])}; the formula says {_gb(t['predicted'])}, {t['factor']:.2f} of it")  # fmt: skip
