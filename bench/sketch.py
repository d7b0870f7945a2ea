"""What a panel loses by sketched gradients: the suspects of a store's panel, named from ever fewer numbers.

Each suspect is scored by a panel without it, as `norm` and `full` are. The stored gradients are of every weight; their
means are sketched as they are, and their variances by number as if weights varied independently of one another.

    heredity scan rows.jsonl --student nursery:llama-0 && python -m bench.sketch heredity-store
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.common import write_result

from heredity.audit.gradient import Pull, body_parameters
from heredity.audit.naming import FLOOR, stand_out
from heredity.audit.panel import Panel, discriminants, whitening
from heredity.audit.sketch import Sketch, plan
from heredity.models import open_ref
from heredity.store import Store, rebuild
from heredity.types import BadInput, Trait

DIMS = (None, 32_768, 16_384, 8_192, 4_096, 2_048, 1_024)


def panel_of(store: Store) -> Panel:
    """The largest panel that a store holds."""
    manifests = [json.loads(p.read_text()) for p in (store.root / "objects").glob("Panel-*/manifest.json")]
    panels = [step for m in manifests if isinstance(step := rebuild(m["step"]), Panel)]
    if not panels:
        raise BadInput(f"{store.root} holds no panel; `heredity scan` makes one")
    return max(panels, key=lambda p: len(p.suspects))


def folded(sketch: Sketch, pull: Pull) -> Pull:
    """The pull as a sketched gradient would have it."""
    means, variances = (torch.split(torch.from_numpy(x), list(sketch.entries)) for x in pull[:2])
    mean_D = torch.cat([sketch.fold(at, part) for at, part in enumerate(means)]).numpy()
    variance_D = np.concatenate([_added(sketch, at, part.numpy()) for at, part in enumerate(variances)])
    return Pull(mean_D, variance_D, pull.blocks, None if sketch.whole else sketch.folded())


def _added(sketch: Sketch, at: int, variance_P: Any) -> Any:
    """Variances added up by number."""
    kept = sketch.kept[at]
    if kept == sketch.entries[at]:
        return variance_P
    places = sketch.unfold(at, torch.arange(1, kept + 1, dtype=torch.float64)).abs().long().numpy() - 1
    return np.bincount(places, variance_P, kept)


def measured(store: Store, panel: Panel) -> Iterator[dict[str, Any]]:
    """For each size of the sketch: how many left-out suspects are named first, and how far they stand out."""
    own, pulls = panel.own.read(store), [s.gradient.read(store) for s in panel.suspects]
    labels = [s.trait.word if isinstance(s.trait, Trait) else "" for s in panel.suspects]
    words = tuple(dict.fromkeys(w for w in labels if w))
    shapes = [tuple(p.shape) for p in body_parameters(open_ref(panel.own.student).model)]
    for dims in DIMS:
        sketch = plan(shapes, dims)
        base = folded(sketch, own)
        weight_D = whitening(base)
        pull_SD = np.stack([(folded(sketch, p).mean_P - base.mean_P) * weight_D for p in pulls])
        found = discriminants(pull_SD, labels, words, panel.ridge * own.blocks)
        score_SK = found["left_out"] / found["norm"]
        told = [(score_K, words.index(w)) for score_K, w in zip(score_SK, labels, strict=True) if w]
        yield {"numbers": sketch.size, "suspects": len(told), "first": sum(int(x.argmax() == k) for x, k in told),
               "median_t": float(np.median([stand_out(x, FLOOR).t_K[k] for x, k in told]))}  # fmt: skip


def main() -> None:
    """Prints every size, and writes them all."""
    store = Store(Path(sys.argv[1] if len(sys.argv) > 1 else "heredity-store"))
    panel, sizes = panel_of(store), list[dict[str, Any]]()
    for one in measured(store, panel):
        sizes.append(one)
        print(one, flush=True)
    write_result("sketch", "python -m bench.sketch", [0], {"student": panel.own.student.location, "sizes": sizes})


if __name__ == "__main__":
    main()
